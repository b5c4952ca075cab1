"""The measures of the LOCATA challenge (Evers et al., "The LOCATA challenge: acoustic source localization and
tracking", IEEE/ACM TASLP 2020).

In each frame, references and predictions are paired one to one within 30° of AZIMUTH, as many as possible, with the
least sum of azimuth differences. A period of voice activity is a run of frames of one reference. Of each period:

- detection: the share of its frames with a pair;
- azimuth and elevation error: the mean absolute differences of its pairs (the elevation's is not gated);
- latency: the time from its start to its first pair; periods without a pair are left out;
- swaps: changes of the identity it is paired with, also after a gap;
- fragmentations: times it is lost and found again, plus swaps; both divided by the period's length.

Each measure is the mean over all periods of all recordings. The false-alarm rate is the number of predictions without a
reference divided by the length of the recordings. Differences from the published code: its latency and fragmentation
also count misses before the first detection in ways that depend on the frame rate, and it averages rates over the
sources of a recording first.
"""

from typing import ClassVar

import numpy as np

from doatools.match.assignment import assign
from doatools.metrics.family import GATE_DEG, Family, Figure, ratio
from doatools.spatial.geometry import azimuth_elevation
from doatools.track.identities import periods

GATE_AZIMUTH_DEG = 30.0


class LocataScores(Family):
    """Detection and false-alarm rates, azimuth and elevation errors, swaps, fragmentation and latency."""

    name = "locata"
    groups: ClassVar = {
        "LOCATA, gate of 30° azimuth": {
            "detection rate": Figure("%", "share of a source's active period that is detected, mean over periods"),
            "false alarm rate": Figure("/s", "predictions without a reference, per second of recording", lower=True),
            "azimuth error": Figure("°", "mean azimuth difference of the pairs of a period", lower=True),
            "elevation error": Figure("°", "mean elevation difference of the same pairs", lower=True),
            "swap rate": Figure("/s", "changes of identity per second of a period, mean over periods", lower=True),
            "fragmentation rate": Figure("/s", "interruptions and changes of identity per second of a period",
                                         lower=True),
            "latency": Figure(" s", "time from the start of a period to its first detection", lower=True),
        },
    }
    shapes: ClassVar = dict.fromkeys(
        ("periods", "found_periods", "detected", "azimuth", "elevation", "swaps", "fragments", "latency",
         "false_alarms", "seconds"), ())

    def count(self, recording):
        frames = len(recording.present)
        if not frames:
            return {}
        columns, azimuth, elevation = _paired(recording)
        frame, slot = np.nonzero(columns >= 0)
        column = columns[frame, slot]
        references = periods(recording.ref_id)
        lengths = np.bincount(references[references >= 0])
        period = references[frame, column]
        order = np.lexsort((frame, period))
        period, frame, slot, column = (values[order] for values in (period, frame, slot, column))
        n = len(lengths)
        pairs = np.bincount(period, minlength=n)
        again = period[1:] == period[:-1]
        identity = recording.pred_id[frame, slot]
        swapped = again & (identity[1:] != identity[:-1])
        lost = again & (frame[1:] - frame[:-1] > 1)
        seconds = lengths / self.segment_frames
        swaps, gaps = (np.bincount(period[1:][events], minlength=n) for events in (swapped, lost))
        where, there = np.nonzero(references >= 0)
        start = np.full(n, frames)
        np.minimum.at(start, references[where, there], where)
        first = np.full(n, frames)
        np.minimum.at(first, period, frame)
        found = pairs > 0
        mean = {name: np.bincount(period, values[frame, slot, column], n)[found] / pairs[found]
                for name, values in (("azimuth", azimuth), ("elevation", elevation))}
        return {
            "periods": n, "found_periods": found.sum(), "detected": (pairs / lengths).sum(),
            "azimuth": mean["azimuth"].sum(), "elevation": mean["elevation"].sum(), "swaps": (swaps / seconds).sum(),
            "fragments": ((swaps + gaps) / seconds).sum(),
            "latency": (first - start)[found].sum() / self.segment_frames,
            "false_alarms": np.count_nonzero(recording.active) - len(frame), "seconds": frames / self.segment_frames,
        }

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        c = counts
        return {"detection rate": 100 * ratio(c["detected"], c["periods"]),
                "false alarm rate": ratio(c["false_alarms"], c["seconds"]),
                "azimuth error": ratio(c["azimuth"], c["found_periods"]),
                "elevation error": ratio(c["elevation"], c["found_periods"]),
                "swap rate": ratio(c["swaps"], c["periods"]), "fragmentation rate": ratio(c["fragments"], c["periods"]),
                "latency": ratio(c["latency"], c["found_periods"])}


def _paired(recording):
    """The pairs of a Scene within the gate: column of each slot (T, N), and azimuth and elevation differences (T, N,
    M). Of pairs with the same azimuth differences, those nearest in elevation are taken."""
    azimuths, elevations = azimuth_elevation(recording.doa)
    ref_azimuths, ref_elevations = azimuth_elevation(recording.ref_doa)
    azimuth = np.abs((azimuths[:, :, None] - ref_azimuths[:, None] + 180) % 360 - 180)
    elevation = np.abs(elevations[:, :, None] - ref_elevations[:, None])
    both = recording.active[:, :, None] & recording.present[:, None]
    columns = assign(np.where(both & (azimuth <= GATE_AZIMUTH_DEG), azimuth + 1e-6 * elevation, np.inf))
    return columns, azimuth, elevation
