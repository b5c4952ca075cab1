"""Localization and tracking scores: counts accumulated over recordings, divided once at the end.

One call of ``update`` adds one recording. Shapes: T frames, N predicted slots, M references at most at once.

    doa      (T, N, 3)  predicted directions, vectors of any length
    active   (T, N)     bool, which slots are predicted to be active
    pred_id  (T, N)     identities of predictions (see doatools/track/trackers.py); None: the slot is the identity
    ref_doa  (T, M, 3)  reference directions
    ref_id   (T, M)     identities of references, -1 where there is none
    ref_class, pred_class  (T, M), (T, N)  classes of both, for scores by class; None where they are not known

An identity occurs at most once per frame. Angles are great-circle angles in degrees, rates are in percent. A score
that is undefined (its denominator is zero, or the system has no activity branch) is NaN and printed as "n/a".

A family of scores holds ``counts``, which are sums over recordings; its ``figures`` are a pure function of them. So the
scores of a dataset follow from the summed counts of its recordings, and scores without one recording from a difference.

Sources: Adavanne et al. 2021 (LE, LR, LP, LF, MOTA'); Bernardin and Stiefelhagen 2008 (CLEAR MOT); Ristani et al.
2016 (IDF1); Luiten et al. 2021 (HOTA); DCASE 2019; Mesaros et al. 2019 (DCASE 2020); Politis et al. 2022 (DCASE 2022).
"""

from typing import ClassVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from doatools.match.assignment import Scene, chosen, most_similar
from doatools.metrics.family import GATE_DEG, SEGMENT_FRAMES, Family, Figure, ratio
from doatools.registry import METRICS
from doatools.track.identities import identified

COUNTED = 8  # the confusion matrix of source counts is this large; higher counts are clipped
ALPHAS = np.arange(0.05, 0.99, 0.05)  # similarity thresholds of HOTA
_EPS = np.finfo(float).eps  # tolerance when comparing a similarity with a threshold


class FrameScores(Family):
    """Scores that need no identities, from the optimal assignment of each frame (most pairs, then smallest angle).

    LE: mean angle of all pairs. LR, LP, LF: recall, precision and F-score of the number of sources. MOTA': with
    onsets of predicted activity in place of ID switches. F20: F-score of pairs within the gate. DOA error 2019: sum
    of all angles divided by the number of predictions. DOA error (as in ADRENALINE): mean over frames of the mean
    angle of a frame; frames without a pair are left out. Frame recall: share of frames with the right number of
    sources. Count accuracy: the same among the frames with k sources, averaged over the k that occur, so that silence
    and single sources do not dominate; it follows from the confusion matrix (rows: references, columns: predictions).
    """

    name = "frame"
    groups: ClassVar = {
        "frames": {
            "LE": Figure("°", "mean angle between paired predictions and references", lower=True, main=True),
            "LR": Figure("%", "recall of the number of sources", main=True),
            "LP": Figure("%", "precision of the number of sources", main=True),
            "LF": Figure("%", "F-score of the number of sources, regardless of direction", main=True),
            "MOTA'": Figure("%", "tracking accuracy as published with DOAnet: source counts and onsets, no directions"),
            "F20": Figure("%", "F-score of predictions within 20° of their reference", main=True),
        },
        "counting": {
            "frame recall": Figure("%", "frames with the right number of sources", main=True),
            "count accuracy": Figure("%", "frame recall averaged over the numbers of sources", main=True),
        },
        "DOA error": {
            "DOA error 2019": Figure("°", "DCASE 2019: sum of paired angles / number of predictions", lower=True),
            "DOA error": Figure("°", "mean over frames of the mean paired angle", lower=True),
        },
    }
    shapes: ClassVar = dict.fromkeys(
        ("angle", "pairs", "hits", "predicted", "references", "common", "miscounted", "onsets", "frames", "counted",
         "frame_angle", "frames_paired", "undecided"), ()) | {"confusion": (COUNTED + 1, COUNTED + 1)}

    def count(self, recording):
        columns, angles = recording.best
        active, paired = recording.active, columns >= 0
        predicted, references = active.sum(1), recording.present.sum(1)
        pairs, angle = paired.sum(1), np.where(paired, angles, 0).sum(1)
        size = COUNTED + 1
        cell = np.minimum(references, COUNTED) * size + np.minimum(predicted, COUNTED)
        return {
            "angle": angle.sum(), "pairs": pairs.sum(), "hits": np.count_nonzero(angles <= self.gate),
            "predicted": predicted.sum(), "references": references.sum(),
            "common": np.minimum(predicted, references).sum(),
            "miscounted": np.abs(predicted - references).sum(),
            "onsets": np.count_nonzero(active[1:] & ~active[:-1]) + np.count_nonzero(active[:1]),
            "frames": len(active), "counted": np.count_nonzero(predicted == references),
            "frame_angle": (angle / np.maximum(pairs, 1)).sum(), "frames_paired": np.count_nonzero(pairs),
            "undecided": 0 if self.has_activity else len(active),
            "confusion": np.bincount(cell, minlength=size * size).reshape(size, size),
        }

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        c = counts
        both = c["predicted"] + c["references"]
        mota = 1 - ratio(c["miscounted"] + c["onsets"], c["references"])
        occurring = c["confusion"].sum(1)
        right = np.diag(c["confusion"])[occurring > 0] / occurring[occurring > 0]
        return {
            "LE": ratio(c["angle"], c["pairs"]),
            "LR": 100 * ratio(c["common"], c["references"]), "LP": 100 * ratio(c["common"], c["predicted"]),
            "LF": 100 * ratio(2 * c["common"], both),
            "MOTA'": float("nan") if c["undecided"] else 100 * mota,
            f"F{gate:.0f}": 100 * ratio(2 * c["hits"], both),
            "DOA error 2019": ratio(c["angle"], c["predicted"]),
            "DOA error": ratio(c["frame_angle"], c["frames_paired"]),
            "frame recall": 100 * ratio(c["counted"], c["frames"]),
            "count accuracy": 100 * ratio(right.sum(), len(right)),
        }


class ClearMOT(Family):
    """CLEAR MOT with an angular gate. An identity of the predictions is a hypothesis, a reference is an object.

    Pairs of the previous frame are kept while they stay within the gate; the others are matched within the gate so
    that the sum of similarities (1 - angle/(2·gate)) is largest. As in TrackEval, the previous frame is the last one
    with both predictions and references: frames that are empty on either side are skipped. ID switch: the hypothesis
    of an object is not the last one it had, also after a gap. Fragmentation: an object is matched again after it was
    not, while it was there (TrackEval also counts its pauses, so that perfect predictions would be fragmented).
    MT and ML: share of objects that are matched in more than 80 % and in less than 20 % of their frames. MOTA may be
    negative.
    """

    name = "clear"
    groups: ClassVar = {
        "CLEAR MOT": {
            "MOTA@20": Figure(
                "%", "1 - (misses + false positives + ID switches) / references, gate 20°; may be negative", main=True),
            "MOTP@20": Figure("°", "mean angle of the matches behind MOTA@20", lower=True, main=True),
            "ID switches": Figure("", "changes of identity along a reference", lower=True, main=True),
            "misses": Figure("", "references without a prediction within 20°", lower=True),
            "false positives": Figure("", "predictions without a reference within 20°", lower=True),
            "fragmentations": Figure("", "references lost and found again", lower=True),
            "MT": Figure("%", "mostly tracked: references matched in more than 80 % of their frames"),
            "ML": Figure("%", "mostly lost: references matched in less than 20 % of their frames", lower=True),
        },
    }
    shapes: ClassVar = dict.fromkeys(
        ("angle", "matches", "misses", "false_positives", "id_switches", "objects", "fragmentations", "tracks",
         "mostly_tracked", "mostly_lost"), ())

    def count(self, recording):
        predicted, objects = np.count_nonzero(recording.active), np.count_nonzero(recording.present)
        both = np.flatnonzero(recording.active.any(1) & recording.present.any(1))
        references, lengths = recording.references
        predictions, references = recording.predictions[0][both], references[both]
        similarity = recording.within(self.gate)[both]
        columns = self._match(np.where(similarity >= 0.5 - _EPS, similarity, 0), predictions, references)
        frame, slot = np.nonzero(columns >= 0)
        column = columns[frame, slot]
        thing, hypothesis = references[frame, column], predictions[frame, slot]
        order = np.lexsort((frame, thing))
        before, after = order[:-1], order[1:]
        again = thing[before] == thing[after]
        there = _occurrences(references)[frame, column]
        share = np.bincount(thing, minlength=len(lengths)) / lengths
        return {
            "angle": recording.angles[both[frame], slot, column].sum(), "matches": len(frame), "objects": objects,
            "misses": objects - len(frame), "false_positives": predicted - len(frame),
            "id_switches": np.count_nonzero(again & (hypothesis[before] != hypothesis[after])),
            "fragmentations": np.count_nonzero(again & (there[after] - there[before] > 1)),
            "tracks": len(lengths), "mostly_tracked": np.count_nonzero(share > 0.8),
            "mostly_lost": np.count_nonzero(share < 0.2),
        }

    @staticmethod
    def _match(similarity, predictions, references):
        """Similarity (T, N, M), 0 beyond the gate, and identities → column of each slot (T, N), -1 for none.

        The matching of a frame depends on the previous one, but rarely differs from what it would be alone. So all
        frames are matched at once, then again those whose predecessor has changed, until nothing changes.
        """
        columns = most_similar(similarity)
        stale = np.arange(1, len(columns))
        while len(stale):
            objects = np.broadcast_to(references[stale - 1][:, None], similarity[stale].shape)
            last = chosen(objects, columns[stale - 1], -1)  # (S, N): object of each slot in the previous frame
            same = predictions[stale][:, :, None] == predictions[stale - 1][:, None]  # (S, N, N')
            held = np.where(same, last[:, None], -1).max(2)  # (S, N): that of each hypothesis
            kept = (held >= 0)[:, :, None] & (held[:, :, None] == references[stale][:, None])
            now = most_similar(similarity[stale] + 1000 * (kept & (similarity[stale] > 0)))
            changed = (now != columns[stale]).any(1)
            columns[stale] = now
            stale = stale[changed] + 1
            stale = stale[stale < len(columns)]
        return columns

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        c = counts
        errors = c["misses"] + c["false_positives"] + c["id_switches"]
        return {
            f"MOTA@{gate:.0f}": 100 * (1 - ratio(errors, c["objects"])),
            f"MOTP@{gate:.0f}": ratio(c["angle"], c["matches"]),
            "misses": round(c["misses"]), "false positives": round(c["false_positives"]),
            "ID switches": round(c["id_switches"]), "fragmentations": round(c["fragmentations"]),
            "MT": 100 * ratio(c["mostly_tracked"], c["tracks"]), "ML": 100 * ratio(c["mostly_lost"], c["tracks"]),
        }


def _occurrences(ids):
    """Identities (T, M) → (T, M): the occurrences of each identity have consecutive numbers, in the order of frames."""
    frame, column = np.nonzero(ids >= 0)
    order = np.lexsort((frame, ids[frame, column]))
    numbers = np.full(ids.shape, -1)
    numbers[frame[order], column[order]] = np.arange(len(frame))
    return numbers


class Identity(Family):
    """IDF1, IDP, IDR: one identity of the predictions is assigned to each reference for the whole recording, so that
    the two are within the gate in as many frames as possible; F-score, precision and recall of those frames."""

    name = "identity"
    groups: ClassVar = {
        "identity": {
            "IDF1": Figure("%", "F-score of frames with the identity that fits the reference best over the recording",
                           main=True),
            "IDP": Figure("%", "precision of the same"),
            "IDR": Figure("%", "recall of the same"),
        },
    }
    shapes: ClassVar = dict.fromkeys(("true", "predicted", "references"), ())

    def count(self, recording):
        (references, lengths), (predictions, durations) = recording.references, recording.predictions
        frame, slot, column = np.nonzero(recording.within(self.gate) >= 0.5)
        together = np.zeros((len(lengths), len(durations)))
        np.add.at(together, (references[frame, column], predictions[frame, slot]), 1)
        best = linear_sum_assignment(together, maximize=True)
        return {"true": together[best].sum(), "predicted": durations.sum(), "references": lengths.sum()}

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        c = counts
        return {"IDF1": 100 * ratio(2 * c["true"], c["predicted"] + c["references"]),
                "IDP": 100 * ratio(c["true"], c["predicted"]), "IDR": 100 * ratio(c["true"], c["references"])}


class HOTA(Family):
    """HOTA, DetA, AssA: means over the similarity thresholds 0.05 … 0.95, with HOTA = √(DetA·AssA) at each.

    Similarity is max(0, 1 - angle/(2·gate)), so that the gate is at 0.5. The pairs of a frame maximize the sum of
    similarity times how well the two identities agree over the recording; a pair counts at the thresholds that its
    similarity reaches. DetA = TP/(TP + FN + FP); AssA = mean over TP of the Jaccard index of the two tracks.
    """

    name = "hota"
    groups: ClassVar = {
        "HOTA": {
            "HOTA": Figure("%", "tracking: geometric mean of detection and association, over localization thresholds",
                           main=True),
            "DetA": Figure("%", "detection accuracy of HOTA", main=True),
            "AssA": Figure("%", "association (identity) accuracy of HOTA", main=True),
        },
    }
    shapes: ClassVar = {"true": ALPHAS.shape, "association": ALPHAS.shape, "predicted": (), "references": ()}

    def count(self, recording):
        (references, lengths), (predictions, durations) = recording.references, recording.predictions
        counts = {"predicted": durations.sum(), "references": lengths.sum(),
                  "true": np.zeros(ALPHAS.shape), "association": np.zeros(ALPHAS.shape)}
        similarity = recording.within(self.gate)
        frame, slot, column = np.nonzero(similarity > 0)
        if len(frame) == 0:
            return counts
        number, size = (references[frame, column], predictions[frame, slot]), (len(lengths), len(durations))
        either = similarity.sum(2)[frame, slot] + similarity.sum(1)[frame, column] - similarity[frame, slot, column]
        together = np.zeros(size)
        np.add.at(together, number, similarity[frame, slot, column] / either)
        alignment = together / (lengths[:, None] + durations - together)
        gain = np.zeros(similarity.shape)
        gain[frame, slot, column] = alignment[number] * similarity[frame, slot, column]
        columns = most_similar(gain)
        frame, slot = np.nonzero(columns >= 0)
        column = columns[frame, slot]
        reached = np.searchsorted(ALPHAS - _EPS, similarity[frame, slot, column], side="right")  # number of thresholds
        pair, of_pair = np.unique(references[frame, column] * size[1] + predictions[frame, slot], return_inverse=True)
        matches = np.zeros((len(pair), len(ALPHAS) + 1))
        np.add.at(matches, (of_pair, reached), 1)
        matches = matches[:, :0:-1].cumsum(1)[:, ::-1]  # (U, alphas): frames in which the pair reaches each
        joined = (lengths[pair // size[1]] + durations[pair % size[1]])[:, None] - matches
        return counts | {"true": matches.sum(0), "association": (matches * matches / joined).sum(0)}

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        c = counts
        detections = c["predicted"] + c["references"] - c["true"]  # TP + FN + FP at each threshold
        if not detections.any():
            return dict.fromkeys(("HOTA", "DetA", "AssA"), float("nan"))
        detection, association = c["true"] / detections, c["association"] / np.maximum(c["true"], 1)
        return {"HOTA": 100 * float(np.sqrt(detection * association).mean()),
                "DetA": 100 * float(detection.mean()), "AssA": 100 * float(association.mean())}


class Segments(Family):
    """LE, LR, F20 and ER20 over segments of one second, as in DCASE 2020 and DCASE 2022, but without classes.

    The challenges count within each class and average over classes; here all sources form one class. Pairs are those
    of the optimal assignment of each frame. The error of an item is the mean angle of its pairs (2020: the mean over
    frames of the mean of the frame); an item is a hit if its error is within the gate.

    2020: an item is a segment (in the challenge, a class in a segment), however many sources are active. It is a
    reference item if any reference is active in it, a predicted item if any prediction is. FN: reference items that
    are no hit; FP: predicted items that are no hit.

    2022: an item is an instance. R reference tracks are active in a segment, K of these have a pair, and H of those are
    hits; the number P of predictions is the most that are active at once in a frame of the segment. FN = R - K;
    FP = (K - H) + max(0, P - K): a pair beyond the gate is a false positive, not a miss.

    LE = mean error of items with a pair; LR = their share of the reference items; F20 = 2·hits/(reference + predicted
    items), where 2022 has max(P, K) predicted items; ER20 = Σ max(FN, FP)/reference items, where the maximum
    (substitutions + deletions + insertions) is taken in each segment.
    """

    name = "segment"
    groups: ClassVar = {
        "DCASE 2020, segments of 1 s": {
            "LE 2020": Figure("°", "mean angle of one-second segments with references and predictions", lower=True),
            "LR 2020": Figure("%", "segments with references that have predictions"),
            "F20 2020": Figure("%", "F-score of segments localized within 20°", main=True),
            "ER20 2020": Figure("%", "error rate of segments at 20°", lower=True),
        },
        "DCASE 2022, segments of 1 s": {
            "LE 2022": Figure("°", "mean angle of sources paired in one-second segments", lower=True),
            "LR 2022": Figure("%", "sources of one-second segments that are paired"),
            "F20 2022": Figure("%", "F-score of sources of one-second segments within 20°", main=True),
            "ER20 2022": Figure("%", "error rate of sources of one-second segments at 20°", lower=True),
        },
    }
    years = ("2020", "2022")
    shapes: ClassVar = {f"{what} {year}": () for year in years
                        for what in ("angle", "paired", "hits", "references", "predicted", "errors")}

    def count(self, recording):
        columns, angles = recording.best
        if not len(columns):
            return {}
        segment = np.arange(len(columns)) // self.segment_frames
        return self._of_segments(recording, segment, columns >= 0, angles) | self._of_instances(
            recording, segment, columns, angles)

    def _of_segments(self, recording, segment, paired, angles):
        pairs = paired.sum(1)
        frames = np.flatnonzero(pairs)
        means = np.where(paired, angles, 0).sum(1)[frames] / pairs[frames]
        common = np.bincount(segment[frames], minlength=segment[-1] + 1)
        both = common > 0
        error = np.bincount(segment[frames], means, segment[-1] + 1) / np.maximum(common, 1)
        hit = both & (error <= self.gate)
        starts = np.arange(0, len(segment), self.segment_frames)
        predicted = np.logical_or.reduceat(recording.active.any(1), starts)
        reference = np.logical_or.reduceat(recording.present.any(1), starts)
        return self._items("2020", error[both].sum(), both.sum(), hit.sum(), reference.sum(), predicted.sum(),
                           np.count_nonzero((reference | predicted) & ~hit))

    def _of_instances(self, recording, segment, columns, angles):
        references, lengths = recording.references
        total = segment[-1] + 1
        frame, slot = np.nonzero(columns >= 0)
        track = references[frame, columns[frame, slot]]
        item, of_item = np.unique(segment[frame] * len(lengths) + track, return_inverse=True)
        error = np.bincount(of_item, angles[frame, slot]) / np.bincount(of_item)
        where = item // max(len(lengths), 1)  # segment of each item
        paired = np.bincount(where, minlength=total)
        hits = np.bincount(where[error <= self.gate], minlength=total)
        frame, column = np.nonzero(recording.present)
        every = np.unique(segment[frame] * len(lengths) + references[frame, column])
        tracks = np.bincount(every // max(len(lengths), 1), minlength=total)
        predicted = np.maximum.reduceat(recording.active.sum(1), np.arange(0, len(segment), self.segment_frames))
        predicted = np.maximum(predicted, paired)
        errors = np.maximum(tracks - paired, predicted - hits)
        return self._items("2022", error.sum(), len(error), hits.sum(), tracks.sum(), predicted.sum(), errors.sum())

    @staticmethod
    def _items(year, angle, paired, hits, references, predicted, errors):
        return {f"angle {year}": angle, f"paired {year}": paired, f"hits {year}": hits,
                f"references {year}": references, f"predicted {year}": predicted, f"errors {year}": errors}

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        figures = {}
        for year in Segments.years:
            angle, paired, hits, references, predicted, errors = (
                counts[f"{what} {year}"] for what in ("angle", "paired", "hits", "references", "predicted", "errors"))
            figures |= {
                f"LE {year}": ratio(angle, paired), f"LR {year}": 100 * ratio(paired, references),
                f"F{gate:.0f} {year}": 100 * ratio(2 * hits, references + predicted),
                f"ER{gate:.0f} {year}": 100 * ratio(errors, references)}
        return figures


def families():
    """All registered families."""
    return tuple(METRICS[name] for name in METRICS)


QUICK = (FrameScores, ClearMOT)  # the families that a training computes


class Scores:
    """Several families at once (all of them unless ``only`` is given), one ``update`` per recording.

    ``counts`` maps 'family/count' to a number or an array, a sum over recordings. ``segment_frames`` is the number of
    frames in a second.
    """

    def __init__(self, has_activity=True, gate=GATE_DEG, only=None, segment_frames=SEGMENT_FRAMES):
        self.gate, self.segment_frames = gate, segment_frames
        self.parts = tuple(family(has_activity, gate, segment_frames) for family in only or families())

    @property
    def counts(self):
        return {f"{part.name}/{name}": value for part in self.parts for name, value in part.counts.items()}

    def update(self, doa, active, ref_doa, ref_id, pred_id=None, ref_class=None, pred_class=None):
        recording = Scene(doa, active, ref_doa, ref_id, pred_id, ref_class, pred_class)
        for part in self.parts:
            part.add(part.count(recording))

    def update_result(self, result):
        """The same for a Result, whose identities are split where a number was used again for another source, on both
        sides alike (doatools/track/identities.py)."""
        result = identified(result, 1 / self.segment_frames)
        self.update(result.doa, result.active, result.ref_doa, result.ref_id, result.pred_id, result.ref_class,
                    result.pred_class)

    def add(self, counts):
        """Add the counts of other recordings."""
        for part in self.parts:
            part.add({name: counts[f"{part.name}/{name}"] for name in part.counts})

    def compute(self):
        """All scores, {name: value}: angles in degrees, rates in percent, NaN where undefined."""
        return figures(self.counts, self.gate)


def figures(counts, gate=GATE_DEG):
    """The scores that follow from the counts of ``Scores``, or from a sum or difference of such counts; a pure
    function."""
    found = {}
    for family in families():
        start = f"{family.name}/"
        own = {name.removeprefix(start): value for name, value in counts.items() if name.startswith(start)}
        if own:
            found |= family.figures(own, gate)
    return found


def selection_score(scores):
    """What selects the best epoch (lower is better): the mean of LE/180° and 1 - F20, so that neither a model that
    predicts too little nor one that predicts too much gains. LE counts as 180° where nothing is paired."""
    angle = 180.0 if np.isnan(scores["LE"]) else scores["LE"]
    hits = 0.0 if np.isnan(scores["F20"]) else scores["F20"]
    return 0.5 * (angle / 180.0 + 1 - hits / 100.0)


def groups():
    """{title: {score: Figure}} of all registered families."""
    return {title: figures for family in families() for title, figures in family.groups.items()}


def all_figures():
    """{score: Figure} of all registered families."""
    return {name: figure for figures in groups().values() for name, figure in figures.items()}


SUMMARY = (*FrameScores.groups["frames"], "MOTA@20", "MOTP@20", "ID switches")  # what a training reports


def scored(results, only):
    """All scores of the families ``only``, over a list of Result."""
    scores = Scores(has_activity=all(result.probability is not None for result in results), only=only)
    for result in results:
        scores.update_result(result)
    return scores.compute()


def summary_scores(results):
    """The scores that a training reports, over a list of Result."""
    figures = scored(results, QUICK)
    return {name: figures[name] for name in SUMMARY}


def frame_figures(results):
    """The scores that ADRENALINE was published with, over a list of Result: DOA error (degrees) and frame recall
    (percent)."""
    figures = scored(results, (FrameScores,))
    return {name: figures[name] for name in ("DOA error", "frame recall")}


def format_score(name, value):
    """'12.3°', '85.0%' or 'n/a'."""
    if isinstance(value, float) and np.isnan(value):
        return "n/a"
    figure = all_figures().get(name)
    return f"{value:.1f}{figure.unit if figure else ''}" if isinstance(value, float) else f"{value}"
