"""Scores by class over segments of one second, as in DCASE 2022 and 2023, for systems that classify.

Politis et al., "STARSS22: A dataset of spatial recordings of real scenes with spatiotemporal annotations of sound
events", DCASE 2022, and the evaluation code of those challenges. In a segment and class there are R reference
instances, the most active at once in a frame, and P predicted ones. In each frame, references and predictions of a
class are paired optimally; an instance is the k-th reference of its class in the frame, and its error in the segment is
the mean angle of its pairs. K instances have a pair; H of these have an error within the gate (20°).

    R > 0, P > 0, K > 0:   TP += H, spatial FP += K - H, FP += max(0, P - R), FN += max(0, R - P)
    R > 0, P > 0, K = 0:   FN += P (never in the same frame; the challenges' code counts predictions here)
    otherwise:             FN += R, FP += P

LE of a class is Σ error/Σ K, 180° where it has no pair; LR is Σ K/(Σ K + FN); F20 is TP/(TP + spatial FP + (FP +
FN)/2). All three are averaged over the classes that occur in the references (macro). ER20 is over all classes together
(micro): in each segment max(FP + spatial FP, FN), summed, divided by Σ R.
"""

from typing import ClassVar

import numpy as np

from doatools.errors import UserError
from doatools.match.assignment import assign_with_cost
from doatools.metrics.family import GATE_DEG, Family, Figure, ratio

CLASSES = 100  # classes are numbered from 0 to 99


class ClassScores(Family):
    """LE, LR, F20 by class, averaged over classes, and ER20."""

    name = "class"
    groups: ClassVar = {
        "DCASE 2022-2023, by class": {
            "class LE": Figure("°", "mean angle of paired sources of one class in one-second segments, mean over "
                                    "classes",
                               lower=True),
            "class LR": Figure("%", "sources of one-second segments that are paired within their class, mean over "
                                    "classes"),
            "class F20": Figure("%", "F-score of sources of one-second segments with the right class within 20°, mean "
                                     "over classes"),
            "class ER20": Figure("%", "error rate of the same, all classes together", lower=True),
        },
    }
    shapes: ClassVar = dict.fromkeys(("references", "angle", "paired", "hits", "spatial", "false", "missed"),
                                     (CLASSES,)) | {"errors": (), "classified": ()}

    def count(self, recording):
        counts = {name: np.zeros(shape) if shape else 0 for name, shape in self.shapes.items()}
        if recording.ref_class is None or recording.pred_class is None or not len(recording.present):
            return counts
        counts["classified"] = 1
        ref_class = np.where(recording.present, recording.ref_class, -1)
        pred_class = np.where(recording.active, recording.pred_class, -1)
        segment = np.arange(len(ref_class)) // self.segment_frames
        wrong = np.zeros((2, segment[-1] + 1))  # false positives of both kinds, and misses, of each segment
        for number in np.union1d(ref_class, pred_class):
            if number >= CLASSES:
                raise UserError(f"class {number}: scores by class take classes from 0 to {CLASSES - 1}")
            if number >= 0:
                own = self._of_class(recording.angles, ref_class == number, pred_class == number, segment)
                wrong += own.pop("wrong")
                for name, value in own.items():
                    counts[name][number] += value
        counts["errors"] = wrong.max(0).sum()
        return counts

    def _of_class(self, angles, references, predictions, segment):
        """Counts of one class, and 'wrong' (2, segments)."""
        starts, size = np.arange(0, len(segment), self.segment_frames), references.shape[1]
        n_ref = np.maximum.reduceat(references.sum(1), starts)
        n_pred = np.maximum.reduceat(predictions.sum(1), starts)
        columns, paid = assign_with_cost(np.where(predictions[:, :, None] & references[:, None], angles, np.inf))
        frame, slot = np.nonzero(columns >= 0)
        instance = (references.cumsum(1) - 1)[frame, columns[frame, slot]]  # k-th of the class in its frame
        item, of_item = np.unique(segment[frame] * size + instance, return_inverse=True)
        error = np.bincount(of_item, paid[frame, slot]) / np.maximum(np.bincount(of_item), 1)
        where = item // max(size, 1)
        paired = np.bincount(where, minlength=len(starts))
        hits = np.bincount(where[error <= self.gate], minlength=len(starts))
        apart = (n_ref > 0) & (n_pred > 0) & (paired == 0)
        missed = np.where(apart, n_pred, np.maximum(0, n_ref - n_pred))
        false = np.where(apart, 0, np.maximum(0, n_pred - n_ref))
        return {"references": n_ref.sum(), "angle": error.sum(), "paired": paired.sum(), "hits": hits.sum(),
                "spatial": (paired - hits).sum(), "false": false.sum(), "missed": missed.sum(),
                "wrong": np.stack([false + paired - hits, missed])}

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        c, occurring = counts, counts["references"] > 0
        if not c["classified"] or not occurring.any():
            return dict.fromkeys(("class LE", "class LR", f"class F{gate:.0f}", f"class ER{gate:.0f}"), float("nan"))
        angle, paired, hits, spatial, false, missed = (
            c[name][occurring] for name in ("angle", "paired", "hits", "spatial", "false", "missed"))
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.where(paired > 0, angle / paired, 180.0)
            recall = paired / (paired + missed)
            score = hits / (hits + spatial + 0.5 * (false + missed))
        return {"class LE": float(error.mean()), "class LR": 100 * float(recall.mean()),
                f"class F{gate:.0f}": 100 * float(score.mean()),
                f"class ER{gate:.0f}": 100 * ratio(c["errors"], c["references"].sum())}
