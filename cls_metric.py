"""Scores of localization and tracking, accumulated over recordings and divided once at the end.

One call of ``update`` is one recording. Shapes: T label frames, N predicted slots, M references at most at once.
``doa`` (T, N, 3) vectors; ``active`` (T, N) bool; ``ref_doa`` (T, M, 3); ``ref_id`` (T, M) integers that name a
source over time, -1 where there is none. Angles are degrees on the great circle. A figure without meaning
(its denominator is zero, or the system has no activity branch) is NaN, told as "n/a".

Definitions: LE, LR, LP, LF and MOTA' as published with DOAnet (Adavanne et al. 2021); F20 after DCASE 2020-2022
without classes (Mesaros et al. 2019); CLEAR MOT: Bernardin and Stiefelhagen 2008.
"""

import itertools

import numpy as np
from scipy.optimize import linear_sum_assignment

from doatools.geometry import angular_distance

GATE_DEG = 20.0
_FORBIDDEN = 1e6  # cost of a pair that must not be, far above any sum of angles
_ENUMERATED = 4  # up to so many slots all permutations are compared at once


def ratio(numerator, denominator):
    """Their quotient, NaN where the denominator is zero."""
    return float(numerator) / float(denominator) if denominator else float("nan")


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
    frames, n, m = cost.shape
    size = max(n, m)
    square = np.full((frames, size, size), _FORBIDDEN)
    square[:, :n, :m] = np.where(np.isfinite(cost), cost, _FORBIDDEN)
    if size <= _ENUMERATED:
        orders = np.array(list(itertools.permutations(range(size))))  # (size!, size)
        sums = sum(square[:, i, orders[:, i]] for i in range(size))  # (T, size!)
        columns = orders[np.argmin(sums, axis=1)]
    else:
        columns = np.stack([linear_sum_assignment(c)[1] for c in square]) if frames else np.zeros((0, size), int)
    columns = columns[:, :n]
    chosen = np.take_along_axis(square[:, :n], columns[:, :, None], axis=2)[:, :, 0]  # (T, n)
    return np.where(chosen < _FORBIDDEN, columns, -1)


def _pair_angles(doa, active, ref_doa, ref_id):
    """Angles (T, N, M) in degrees, ``inf`` where either side is inactive."""
    angles = angular_distance(doa[:, :, None], ref_doa[:, None])
    return np.where(active[:, :, None] & (ref_id >= 0)[:, None], angles, np.inf)


class FrameScores:
    """LE, LR, LP, LF and MOTA' of the original, and F20; all from the optimal assignment of each frame."""

    def __init__(self, has_activity=True, gate=GATE_DEG):
        self.has_activity, self.gate = has_activity, gate
        self.counts = dict.fromkeys(
            ("angle", "pairs", "hits", "predicted", "references", "common", "miscounted", "onsets"), 0.0)

    def update(self, doa, active, ref_doa, ref_id):
        angles = _pair_angles(doa, active, ref_doa, ref_id)
        columns = assign(angles)
        paired = columns >= 0
        matched = np.take_along_axis(angles, np.maximum(columns, 0)[:, :, None], axis=2)[:, :, 0][paired]
        predicted, references = active.sum(1), (ref_id >= 0).sum(1)
        onsets = np.count_nonzero(active[1:] & ~active[:-1]) + np.count_nonzero(active[:1])
        for name, value in (
            ("angle", matched.sum()), ("pairs", len(matched)), ("hits", np.count_nonzero(matched <= self.gate)),
            ("predicted", predicted.sum()), ("references", references.sum()),
            ("common", np.minimum(predicted, references).sum()),
            ("miscounted", np.abs(predicted - references).sum()), ("onsets", onsets),
        ):
            self.counts[name] += float(value)

    def compute(self):
        c = self.counts
        both = c["predicted"] + c["references"]  # an F-score is the harmonic mean of recall and precision
        mota = 1 - ratio(c["miscounted"] + c["onsets"], c["references"]) if self.has_activity else float("nan")
        return {
            "LE": ratio(c["angle"], c["pairs"]),
            "LR": 100 * ratio(c["common"], c["references"]), "LP": 100 * ratio(c["common"], c["predicted"]),
            "LF": 100 * ratio(2 * c["common"], both),
            "MOTA'": 100 * mota,
            f"F{self.gate:.0f}": 100 * ratio(2 * c["hits"], both),
        }


class ClearMOT:
    """CLEAR MOT with an angular gate: a slot is a hypothesis, a ``ref_id`` an object.

    Last frame's pairs are kept while within the gate; the rest is matched at least cost within the gate; an
    object whose last known hypothesis is another one is a mismatch, also after a gap. MOTA may be negative.
    """

    def __init__(self, gate=GATE_DEG):
        self.gate = gate
        self.counts = dict.fromkeys(("angle", "matches", "misses", "false_positives", "mismatches", "objects"), 0.0)

    def update(self, doa, active, ref_doa, ref_id):
        angles = _pair_angles(doa, active, ref_doa, ref_id)
        angles[angles > self.gate] = np.inf
        fallback = assign(angles)  # right wherever no pair of the last frame stands in the way
        predicted, references = active.sum(1), (ref_id >= 0).sum(1)
        last_slot, angle, matches, mismatches = {}, 0.0, 0, 0  # last_slot: object → its last known hypothesis
        previous = {}  # object → slot in the frame before
        for t in np.flatnonzero((predicted > 0) & (references > 0)):
            if t == 0 or predicted[t - 1] == 0 or references[t - 1] == 0:
                previous = {}
            pairs = self._match(angles[t], ref_id[t], previous, fallback[t])
            previous = {}
            for slot, column in pairs:
                identity = int(ref_id[t, column])
                mismatches += last_slot.get(identity, slot) != slot
                last_slot[identity] = previous[identity] = slot
                angle += angles[t, slot, column]
            matches += len(pairs)
        for name, value in (
            ("angle", angle), ("matches", matches), ("mismatches", mismatches), ("objects", references.sum()),
            ("misses", references.sum() - matches), ("false_positives", predicted.sum() - matches),
        ):
            self.counts[name] += float(value)

    @staticmethod
    def _match(angles, ids, previous, fallback):
        """Pairs (slot, column) of one frame."""
        column_of = {int(i): column for column, i in enumerate(ids) if i >= 0}
        kept = [(slot, column_of[i]) for i, slot in previous.items()
                if i in column_of and np.isfinite(angles[slot, column_of[i]])]
        if not kept:
            return [(slot, column) for slot, column in enumerate(fallback) if column >= 0]
        rest = angles.copy()
        for slot, column in kept:
            rest[slot, :] = np.inf
            rest[:, column] = np.inf
        if np.isfinite(rest).any():
            kept += [(slot, column) for slot, column in enumerate(assign(rest[None])[0]) if column >= 0]
        return kept

    def compute(self):
        c = self.counts
        errors = c["misses"] + c["false_positives"] + c["mismatches"]
        gate = f"{self.gate:.0f}"
        return {
            f"MOTA@{gate}": 100 * (1 - ratio(errors, c["objects"])),
            f"MOTP@{gate}": ratio(c["angle"], c["matches"]),
            "mismatches": int(c["mismatches"]),
        }


class Scores:
    """All the figures of a run together, from one ``update`` a recording."""

    def __init__(self, has_activity=True, gate=GATE_DEG):
        self.parts = (FrameScores(has_activity, gate), ClearMOT(gate))

    def update(self, doa, active, ref_doa, ref_id):
        for part in self.parts:
            part.update(doa, active, ref_doa, ref_id)

    def compute(self):
        """Dict of figures: angles in degrees, rates in percent, NaN where a figure has no meaning."""
        return {name: value for part in self.parts for name, value in part.compute().items()}


def selection_score(scores):
    """What picks the best epoch, lower is better: the mean of LE/180° and 1 - F20, so that neither a timid nor
    a careless model gains. A model that associates nothing has LE taken as 180°."""
    angle = 180.0 if np.isnan(scores["LE"]) else scores["LE"]
    hits = 0.0 if np.isnan(scores["F20"]) else scores["F20"]
    return 0.5 * (angle / 180.0 + 1 - hits / 100.0)


# How a figure is printed: format and unit.
UNITS = {
    "LE": "°", "LR": "%", "LP": "%", "LF": "%", "MOTA'": "%", "F20": "%", "MOTA@20": "%", "MOTP@20": "°",
    "mismatches": "",
}


def format_score(name, value):
    """'12.3°', '85.0%' or 'n/a'."""
    if isinstance(value, float) and np.isnan(value):
        return "n/a"
    return f"{value:.1f}{UNITS.get(name, '')}" if isinstance(value, float) else f"{value}"
