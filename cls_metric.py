"""Scores of localization and tracking, accumulated over recordings and divided once at the end.

One call of ``update`` is one recording. Shapes: T label frames, N predicted slots, M references at most at once.
``doa`` (T, N, 3) vectors; ``active`` (T, N) bool; ``ref_doa`` (T, M, 3); ``ref_id`` (T, M) integers that name a
source over time, -1 where there is none; ``pred_id`` (T, N) the same for predictions (doatools/track/trackers.py makes
them), None where the slot is the identity. An identity stands once in a frame at most. Angles are degrees on the
great circle, rates percent. A figure without meaning (its denominator is zero, or the system has no activity
branch) is NaN, told as "n/a".

A family of figures holds ``counts``, sums over recordings, and its ``figures`` are a pure function of them: the
scores of a set follow from the counts of its recordings, those without one recording from the difference.

Sources: Adavanne et al. 2021 (LE, LR, LP, LF, MOTA'); Bernardin and Stiefelhagen 2008 (CLEAR MOT); Ristani et al.
2016 (IDF1); Luiten et al. 2021 (HOTA); DCASE 2019; Mesaros et al. 2019 (DCASE 2020); Politis et al. 2022 (DCASE 2022).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from doatools.match.assignment import Scene, chosen, most_similar
from doatools.registry import METRICS

GATE_DEG = 20.0
COUNTED = 8  # most sources that the confusion of their number tells apart; more count as this many
SEGMENT_FRAMES = 10  # label frames of 100 ms in a one-second segment
ALPHAS = np.arange(0.05, 0.99, 0.05)  # HOTA's thresholds of similarity
_EPS = np.finfo(float).eps  # a threshold of similarity is reached within this


def ratio(numerator, denominator):
    """Their quotient, NaN where the denominator is zero."""
    return float(numerator) / float(denominator) if denominator else float("nan")


class Figure(NamedTuple):
    """How one figure is written, and what it means."""

    unit: str  # '°', '%' or '' for numbers of events
    meaning: str
    lower: bool = False  # whether less is better
    main: bool = False  # whether comparisons of two systems show it


class Family:
    """Counts of one family of figures; a subclass states what it counts in a recording, what follows from the counts, and
    how its figures are written. A further family is one class and one line in doatools/registry.py.
    """

    name = ""  # as registered
    groups = {}  # noqa: RUF012 (title of a group → {figure: Figure})
    shapes = {}  # noqa: RUF012 (count → shape; () for a number)

    def __init__(self, has_activity=True, gate=GATE_DEG, segment_frames=SEGMENT_FRAMES):
        self.has_activity, self.gate, self.segment_frames = has_activity, gate, segment_frames
        self.counts = {name: np.zeros(shape) if shape else 0.0 for name, shape in self.shapes.items()}

    def update(self, doa, active, ref_doa, ref_id, pred_id=None):
        self.add(self.count(Scene(doa, active, ref_doa, ref_id, pred_id)))

    def add(self, counts):
        for name, value in counts.items():
            self.counts[name] = self.counts[name] + (value if self.shapes[name] else float(value))

    def count(self, recording):
        """Counts of one recording."""
        raise NotImplementedError

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        """Dict of figures that follow from counts."""
        raise NotImplementedError

    def compute(self):
        return self.figures(self.counts, self.gate)


class FrameScores(Family):
    """What needs no identities, each from the optimal assignment of a frame (most pairs, then least angle).

    LE: mean angle of all pairs. LR, LP, LF: recall, precision and F-score of the number of sources. MOTA': with
    onsets of predicted activity for identity switches. F20: F-score of pairs within the gate. DOA error 2019: sum
    of all angles over the number of predictions. DOA error (ADRENALINE's): mean over frames of the frame's mean
    angle, frames without a pair left out. Frame recall: share of frames with the right number of sources. Count
    accuracy: the same among frames of k sources, averaged over the k that occur, so that silence and single
    sources do not outweigh the rest; it follows from the confusion (rows: references, columns: predictions).
    """

    name = "frame"
    groups = {  # noqa: RUF012
        "frames": {
            "LE": Figure("°", "mean angle between paired predictions and references", lower=True, main=True),
            "LR": Figure("%", "recall of the number of sources", main=True),
            "LP": Figure("%", "precision of the number of sources", main=True),
            "LF": Figure("%", "F-score of the number of sources, whatever their directions", main=True),
            "MOTA'": Figure("%",
                            "tracking accuracy as published with DOAnet: counts sources and onsets, not directions"),
            "F20": Figure("%", "F-score of predictions within 20° of their reference", main=True),
        },
        "counting": {
            "frame recall": Figure("%", "frames with the right number of sources", main=True),
            "count accuracy": Figure("%",
                                     "frames with the right number of sources, each number weighted alike", main=True),
        },
        "DOA error": {
            "DOA error 2019": Figure("°",
                                     "DCASE 2019: sum of paired angles over the number of predictions", lower=True),
            "DOA error": Figure("°", "mean over frames of the mean paired angle", lower=True),
        },
    }
    shapes = dict.fromkeys(("angle", "pairs", "hits", "predicted", "references", "common", "miscounted", "onsets",
                            "frames", "counted", "frame_angle", "frames_paired", "undecided"), ()) | {
        "confusion": (COUNTED + 1, COUNTED + 1)}

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
        both = c["predicted"] + c["references"]  # an F-score is the harmonic mean of recall and precision
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
    """CLEAR MOT with an angular gate: an identity of the predictions is a hypothesis, a reference an object.

    Pairs of the last frame are kept while within the gate; the rest is matched within the gate so that the sum of
    similarities (1 - angle/(2·gate)) is largest. The last frame is the last one with predictions and references, as
    TrackEval has it: frames empty on either side are passed over. A mismatch: an object's hypothesis is not its last
    known one, also after a gap. A fragmentation: an object is matched again, and not in the last frame. MT and ML:
    share of objects matched in more than 80 %, in less than 20 % of their frames. MOTA may be negative.
    """

    name = "clear"
    groups = {  # noqa: RUF012
        "CLEAR MOT": {
            "MOTA@20": Figure("%",
                              "1 - (misses + false positives + ID switches) / references, gate 20°; may be negative", main=True),
            "MOTP@20": Figure("°", "mean angle of the matches behind MOTA@20", lower=True, main=True),
            "ID switches": Figure("", "changes of identity along a reference", lower=True, main=True),
            "misses": Figure("", "references without a prediction within 20°", lower=True),
            "false positives": Figure("", "predictions without a reference within 20°", lower=True),
            "fragmentations": Figure("", "references lost and found again", lower=True),
            "MT": Figure("%", "mostly tracked: references matched in more than 80 % of their frames"),
            "ML": Figure("%", "mostly lost: references matched in less than 20 % of their frames", lower=True),
        },
    }
    shapes = dict.fromkeys(("angle", "matches", "misses", "false_positives", "ID switches", "objects", "fragmentations",
                            "tracks", "mostly_tracked", "mostly_lost"), ())

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
        share = np.bincount(thing, minlength=len(lengths)) / lengths
        return {
            "angle": recording.angles[both[frame], slot, column].sum(), "matches": len(frame), "objects": objects,
            "misses": objects - len(frame), "false_positives": predicted - len(frame),
            "ID switches": np.count_nonzero(again & (hypothesis[before] != hypothesis[after])),
            "fragmentations": np.count_nonzero(again & (frame[after] - frame[before] > 1)),
            "tracks": len(lengths), "mostly_tracked": np.count_nonzero(share > 0.8),
            "mostly_lost": np.count_nonzero(share < 0.2),
        }

    @staticmethod
    def _match(similarity, predictions, references):
        """Similarity (T, N, M), 0 where not within the gate, and identities → column of each slot (T, N), -1 for none.

        A frame's answer follows from the one before, and most often is what it would be without. So all frames
        are matched at once, then those whose predecessor has changed, until none changes.
        """
        columns = most_similar(similarity)
        stale = np.arange(1, len(columns))
        while len(stale):
            objects = np.broadcast_to(references[stale - 1][:, None], similarity[stale].shape)
            last = chosen(objects, columns[stale - 1], -1)  # (S, N): object of each slot in the last frame
            same = predictions[stale][:, :, None] == predictions[stale - 1][:, None]  # (S, N, N')
            held = np.where(same, last[:, None], -1).max(2)  # (S, N): and of each hypothesis
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
        errors = c["misses"] + c["false_positives"] + c["ID switches"]
        return {
            f"MOTA@{gate:.0f}": 100 * (1 - ratio(errors, c["objects"])),
            f"MOTP@{gate:.0f}": ratio(c["angle"], c["matches"]),
            "misses": round(c["misses"]), "false positives": round(c["false_positives"]),
            "ID switches": round(c["ID switches"]), "fragmentations": round(c["fragmentations"]),
            "MT": 100 * ratio(c["mostly_tracked"], c["tracks"]), "ML": 100 * ratio(c["mostly_lost"], c["tracks"]),
        }


class Identity(Family):
    """IDF1, IDP, IDR: one prediction to one reference for a whole recording, so that they are together within the
    gate in as many frames as possible; F-score, precision and recall of those frames."""

    name = "identity"
    groups = {  # noqa: RUF012
        "identity": {
            "IDF1": Figure("%",
                           "F-score of frames whose prediction has the identity that fits the reference best over the recording", main=True),
            "IDP": Figure("%", "precision of the same"),
            "IDR": Figure("%", "recall of the same"),
        },
    }
    shapes = dict.fromkeys(("true", "predicted", "references"), ())

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
    """HOTA, DetA, AssA: means over thresholds of similarity 0.05 … 0.95, at each HOTA = √(DetA·AssA).

    Similarity is max(0, 1 - angle/(2·gate)), so the gate is 0.5. A frame's pairs are those of largest sum of
    similarity times how well the two go together over the recording; they count where the similarity reaches the
    threshold. DetA = TP/(TP + FN + FP); AssA = mean over TP of the Jaccard index of its two tracks.
    """

    name = "hota"
    groups = {  # noqa: RUF012
        "HOTA": {
            "HOTA": Figure("%",
                           "tracking: geometric mean of detection and association, averaged over localization thresholds", main=True),
            "DetA": Figure("%", "detection accuracy of HOTA", main=True),
            "AssA": Figure("%", "association (identity) accuracy of HOTA", main=True),
        },
    }
    shapes = {"true": ALPHAS.shape, "association": ALPHAS.shape, "predicted": (), "references": ()}  # noqa: RUF012

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
        reached = np.searchsorted(ALPHAS - _EPS, similarity[frame, slot, column], side="right")  # thresholds
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
    """LE, LR, F20 and ER20 over segments of one second, as DCASE 2020 and 2022 take them, but without classes.

    The challenges count within a class and average over classes; here all sources are one class. Pairs are those
    of the optimal assignment of each frame. An item's error is the mean angle of its pairs (2020: the mean over
    frames of the frame's mean), it is a hit where that is within the gate.

    2020, an item is a segment, as the challenge's is a class in a segment, however many sources sound: a reference
    or predicted item where any reference or prediction is active in it. FN: reference items that are no hit, FP:
    predicted items that are no hit. 2022, an item is an instance: the R reference tracks active in a segment,
    of which K have a pair and of these H hit; predictions are as many as P, the most active at once in a frame of
    the segment. FN = R - K; FP = (K - H) + max(0, P - K), so a pair beyond the gate is a false positive, no miss.

    LE = mean error of items with a pair; LR = their share of the reference items; F20 = 2·hits/(reference +
    predicted items), of the latter max(P, K) in 2022; ER20 = Σ max(FN, FP)/reference items, the maximum (that is,
    substitutions + deletions + insertions) taken in each segment.
    """

    name = "segment"
    groups = {  # noqa: RUF012
        "DCASE 2020, segments of 1 s": {
            "LE 2020": Figure("°",
                              "mean angle of one-second segments with references and predictions", lower=True),
            "LR 2020": Figure("%", "segments with references that have predictions"),
            "F20 2020": Figure("%", "F-score of segments localized within 20°", main=True),
            "ER20 2020": Figure("%", "error rate of segments at 20°; lower is better", lower=True),
        },
        "DCASE 2022, segments of 1 s": {
            "LE 2022": Figure("°", "mean angle of sources paired in one-second segments", lower=True),
            "LR 2022": Figure("%", "sources of one-second segments that are paired"),
            "F20 2022": Figure("%", "F-score of sources of one-second segments within 20°", main=True),
            "ER20 2022": Figure("%",
                                "error rate of sources of one-second segments at 20°; lower is better", lower=True),
        },
    }
    years = ("2020", "2022")
    shapes = {f"{what} {year}": () for year in years  # noqa: RUF012
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


QUICK = (FrameScores, ClearMOT)  # enough to watch a training


class Scores:
    """All the figures of a run together, from one ``update`` a recording.

    ``counts`` maps 'family/count' to a number or an array: a sum over recordings, to be added and subtracted.
    ``segment_frames`` is how many label frames make a second.
    """

    def __init__(self, has_activity=True, gate=GATE_DEG, only=None, segment_frames=SEGMENT_FRAMES):
        self.gate = gate
        self.parts = tuple(family(has_activity, gate, segment_frames) for family in only or families())

    @property
    def counts(self):
        return {f"{part.name}/{name}": value for part in self.parts for name, value in part.counts.items()}

    def update(self, doa, active, ref_doa, ref_id, pred_id=None):
        recording = Scene(doa, active, ref_doa, ref_id, pred_id)
        for part in self.parts:
            part.add(part.count(recording))

    def add(self, counts):
        """Take in the counts of other recordings."""
        for part in self.parts:
            part.add({name: counts[f"{part.name}/{name}"] for name in part.counts})

    def compute(self):
        """Dict of figures: angles in degrees, rates in percent, NaN where a figure has no meaning."""
        return figures(self.counts, self.gate)


def figures(counts, gate=GATE_DEG):
    """Figures of the counts of ``Scores``, or of any sum or difference of them; a pure function."""
    found = {}
    for family in families():
        start = f"{family.name}/"
        own = {name.removeprefix(start): value for name, value in counts.items() if name.startswith(start)}
        if own:
            found |= family.figures(own, gate)
    return found


def selection_score(scores):
    """What picks the best epoch, lower is better: the mean of LE/180° and 1 - F20, so that neither a timid nor
    a careless model gains. A model that associates nothing has LE taken as 180°."""
    angle = 180.0 if np.isnan(scores["LE"]) else scores["LE"]
    hits = 0.0 if np.isnan(scores["F20"]) else scores["F20"]
    return 0.5 * (angle / 180.0 + 1 - hits / 100.0)


def groups():
    """{title of a group: {figure: Figure}} of all registered families."""
    return {title: figures for family in families() for title, figures in family.groups.items()}


def all_figures():
    """{figure: Figure} of all registered families."""
    return {name: figure for figures in groups().values() for name, figure in figures.items()}


SUMMARY = (*FrameScores.groups["frames"], "MOTA@20", "MOTP@20", "ID switches")  # of a training and in tables of runs


def _scored(results, only):
    scores = Scores(has_activity=all(result.probability is not None for result in results), only=only)
    for result in results:
        scores.update(result.doa, result.active, result.ref_doa, result.ref_id, result.pred_id)
    return scores.compute()


def summary_scores(results):
    """The figures that a training reports, over a list of Result."""
    figures = _scored(results, QUICK)
    return {name: figures[name] for name in SUMMARY}


def frame_figures(results):
    """What ADRENALINE is published with, over a list of Result: DOA error (degrees) and frame recall (percent)."""
    figures = _scored(results, (FrameScores,))
    return {name: figures[name] for name in ("DOA error", "frame recall")}


def format_score(name, value):
    """'12.3°', '85.0%' or 'n/a'."""
    if isinstance(value, float) and np.isnan(value):
        return "n/a"
    figure = all_figures().get(name)
    return f"{value:.1f}{figure.unit if figure else ''}" if isinstance(value, float) else f"{value}"
