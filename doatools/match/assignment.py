"""Assignment of predictions to references in each frame, for many frames at once.

Shapes: T frames, N predictions (rows), M references (columns). Arrays (T, N, M) that are created here have the frames
innermost in memory, so that each step runs over many frames, one block at a time.
"""

import functools
import itertools
import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from doatools.spatial.geometry import pairwise_angles

ENUMERATED = 24  # up to this many ways of pairing are enumerated; with more, scipy solves one frame after the other
BLOCK = 4096  # frames whose arrays fit into a core's cache
_FORBIDDEN = 1e6  # cost of a forbidden pair, far above any sum of angles


def frames_inside(array):
    """A copy of (T, N) with the frames innermost in memory."""
    return np.ascontiguousarray(array.T).T


def assign(cost):
    """The cheapest one-to-one assignment of each frame.

    Parameters
    ----------
    cost : (T, N, M) array
        ``inf`` forbids a pair. As many of the other pairs as possible are made, at the least total cost.

    Returns
    -------
    columns : (T, N) int array
        Column of each row, -1 for none.
    """
    return assign_with_cost(cost)[0]


def assign_with_cost(cost):
    """The columns of ``assign`` and the cost of each pair (T, N), ``inf`` for none."""
    columns = cheapest(np.where(cost < _FORBIDDEN, cost, _FORBIDDEN))  # NaN is forbidden as well
    paid = chosen(cost, columns, np.inf)
    made = paid < _FORBIDDEN
    return np.where(made, columns, -1), np.where(made, paid, np.inf)


def cheapest(cost):
    """The min(N, M) pairs of least total cost: finite (T, N, M) → column of each row (T, N), -1 for none."""
    frames, n, m = cost.shape
    if min(n, m) == 0 or frames == 0:
        return np.full((frames, n), -1)
    if math.perm(max(n, m), min(n, m)) > ENUMERATED:
        columns = np.full((frames, n), -1)
        for frame, matrix in zip(columns, cost):
            rows, best = linear_sum_assignment(matrix)
            frame[rows] = best
        return columns
    ways = _ways(n, m)
    columns = np.empty((n, frames), int).T
    for first in range(0, frames, BLOCK):
        block = slice(first, first + BLOCK)
        columns[block] = _cheapest_way(cost[block], ways)
    return columns


def most_similar(similarity):
    """Pairs of largest sum: (T, N, M), not negative → column of each row (T, N), -1 for none or a similarity of 0."""
    columns = cheapest(-similarity)
    return np.where(chosen(similarity, columns, 0) > 0, columns, -1)


def _ways(n, m):
    """All ways of making min(n, m) pairs: column of each row, -1 for none; (W, n)."""
    if n <= m:
        return np.array(list(itertools.permutations(range(m), n)))
    ways = np.full((math.perm(n, m), n), -1)
    for way, rows in zip(ways, itertools.permutations(range(n), m)):
        way[list(rows)] = range(m)
    return ways


def _cheapest_way(cost, ways):
    least = number = None
    for k, way in enumerate(ways):
        pairs = [cost[:, row, column] for row, column in enumerate(way) if column >= 0]
        total = sum(pairs[1:], pairs[0])
        if least is None:
            least, number = total.copy(), np.zeros(len(total), np.intp)
            continue
        better = total < least
        np.copyto(least, total, where=better)
        np.copyto(number, k, where=better)
    return ways.T[:, number].T


def chosen(values, columns, otherwise):
    """The values (T, N, M) at the column of each row (T, N); ``otherwise`` where that is -1."""
    picked = np.full(columns.shape[::-1], otherwise, values.dtype).T
    for column in range(values.shape[2]):
        np.copyto(picked, values[:, :, column], where=columns == column)
    return picked


class Scene:
    """Predictions and references of one recording; angles and assignments are computed once, when first needed.

    The arguments are those of ``update`` of a family of scores (see cls_metric).
    """

    def __init__(self, doa, active, ref_doa, ref_id, pred_id=None, ref_class=None, pred_class=None):
        self.doa, self.ref_doa, self.ref_class, self.pred_class = doa, ref_doa, ref_class, pred_class
        self.ref_id = frames_inside(ref_id)
        self.present = self.ref_id >= 0
        self.active = frames_inside(active)
        self._pred_id = None if pred_id is None else frames_inside(pred_id)
        if pred_id is not None:
            self.active = self.active & (self._pred_id >= 0)

    @functools.cached_property
    def pred_id(self):
        names = np.arange(self.active.shape[1]) if self._pred_id is None else self._pred_id
        return np.where(self.active, names, -1)

    @functools.cached_property
    def angles(self):
        """Angles (T, N, M) in degrees, ``inf`` where either side is inactive or NaN."""
        angles = pairwise_angles(self.doa, self.ref_doa)
        return np.where(self.active[:, :, None] & self.present[:, None] & (angles < np.inf), angles, np.inf)

    @functools.cached_property
    def best(self):
        """The optimal assignment: column of each slot (T, N), -1 for none, and its angle, ``inf`` for none."""
        return assign_with_cost(self.angles)

    @functools.cached_property
    def references(self):
        """Identities numbered from 0 (T, M), -1 where there is none, and the number of active frames of each, (R,)."""
        return _numbered(self.ref_id)

    @functools.cached_property
    def predictions(self):
        """The same of the predictions: (T, N) and (P,)."""
        return _numbered(self.pred_id)

    def within(self, gate):
        """Similarity (T, N, M): 1 at 0°, 1/2 at the gate, 0 from twice the gate on and where inactive."""
        return np.maximum(0, 1 - self.angles / (2 * gate))


def _numbered(ids):
    there = ids >= 0
    _, number, frames = np.unique(ids[there], return_inverse=True, return_counts=True)
    numbered = np.full(ids.shape, -1)
    numbered[there] = number
    return numbered, frames
