"""Which prediction goes with which reference in each frame, for many frames at once.

Shapes: T frames, N predictions (rows), M references (columns). Arrays (T, N, M) are laid out with the frames
innermost in memory where they are made here, so that every step runs over frames, a block of them at a time.
"""

import itertools
import math

import numpy as np
from scipy.optimize import linear_sum_assignment

ENUMERATED = 24  # up to so many ways of pairing are compared at once; above, one frame after the other by scipy
BLOCK = 4096  # frames whose arrays fit into a core's cache
_FORBIDDEN = 1e6  # cost of a pair that must not be, far above any sum of angles


def frames_inside(frames, n, m, dtype=float):
    """An empty array (T, N, M) whose frames are innermost in memory."""
    return np.empty((n, m, frames), dtype).transpose(2, 0, 1)


def assign(cost):
    """The cheapest one-to-one assignment of each frame.

    Parameters
    ----------
    cost : (T, N, M) array
        ``inf`` marks a pair that must not be; as many other pairs as possible are made, the cheapest of them.

    Returns
    -------
    columns : (T, N) int array
        Column of each row, -1 for none.
    """
    columns = cheapest(np.where(cost < _FORBIDDEN, cost, _FORBIDDEN))  # not-a-number is forbidden, too
    return np.where(chosen(cost, columns, np.inf) < _FORBIDDEN, columns, -1)


def cheapest(cost):
    """The assignment of min(N, M) pairs at least cost: finite (T, N, M) → column of each row (T, N), -1 for none."""
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


def _ways(n, m):
    """Every way of making min(n, m) pairs: the column of each row, -1 for none; (W, n)."""
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
    """What (T, N, M) holds at the column of each row (T, N); ``otherwise`` where that is -1."""
    if values.shape[2] == 0:
        return np.full(columns.shape, otherwise)
    picked = np.take_along_axis(values, np.maximum(columns, 0)[:, :, None], axis=2)[:, :, 0]
    return np.where(columns >= 0, picked, otherwise)
