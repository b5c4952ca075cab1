"""Final frames of a live recording, one by one, with the time each took from its first sample to here.

A message is what programs receive (docs/live.md); viewers receive the levels of its spectrum as well.
"""

import base64
import json
import statistics
import time
from collections import deque
from typing import NamedTuple

import numpy as np

from doatools.spatial.geometry import unit_vectors

LEVEL_DB = (-100.0, 2 / 3)  # of levels 0 to 255: the lowest, and the step
REMEMBERED = 6000  # latencies that figures are taken of


class Frame(NamedTuple):
    """One label frame."""

    number: int
    rows: np.ndarray  # TRACK_ROWS
    levels: np.ndarray  # (F,) uint8, of the first channel
    latency_s: float  # since its first sample was recorded


class Arrivals:
    """When samples were recorded, as far as the arrival of their blocks shows."""

    def __init__(self, rate):
        self._rate, self._samples = rate, 0
        self._blocks = deque()  # (samples up to its end, when it came)

    def watched(self, blocks):
        """The blocks themselves."""
        for block in blocks:
            self._samples += len(block)
            self._blocks.append((self._samples, time.monotonic()))
            yield block

    def time_of(self, seconds):
        """The time.monotonic() of a time of the recording; times before it are forgotten."""
        sample = seconds * self._rate
        while len(self._blocks) > 1 and self._blocks[0][0] <= sample:
            self._blocks.popleft()
        end, came = self._blocks[0]
        return came - (end - sample) / self._rate


def live_frames(pieces, arrivals, hop_s):
    """Tracked pieces of a recording as they become final → its Frames."""
    number, spectra = 0, deque()
    for piece in pieces:
        spectra.extend(piece.spectrum)
        for frame in range(number, piece.frames):
            latency = time.monotonic() - arrivals.time_of(frame * hop_s)
            yield Frame(frame, piece.rows[piece.rows["frame"] == frame], levels(spectra.popleft()), latency)
        number = piece.frames


def levels(spectrum):
    """dB → 0 to 255."""
    lowest, step = LEVEL_DB
    return np.clip(np.rint((spectrum - lowest) / step), 0, 255).astype(np.uint8)


def message(frame, hop_s):
    """A Frame as plain values: what docs/live.md describes."""
    vectors = unit_vectors(frame.rows["azimuth"].astype(float), frame.rows["elevation"].astype(float))
    tracks = []
    for row, vector in zip(frame.rows, vectors):
        track = {"id": int(row["track"]), "azimuth": round(float(row["azimuth"]), 1),
                 "elevation": round(float(row["elevation"]), 1),
                 **{axis: round(value, 4) for axis, value in zip("xyz", vector.tolist())},
                 "activity": round(float(row["probability"]), 3)}
        if "radius" in frame.rows.dtype.names:
            track["radius"] = round(float(row["radius"]), 1)
        tracks.append(track)
    return {"frame": frame.number, "time": round(frame.number * hop_s, 3), "latency": round(frame.latency_s, 3),
            "tracks": tracks}


def message_lines(frame, hop_s):
    """(line for programs, line for viewers), JSON."""
    plain = message(frame, hop_s)
    shown = plain | {"levels": base64.b64encode(frame.levels.tobytes()).decode()}
    return tuple(json.dumps(value, separators=(",", ":")) for value in (plain, shown))


class Latencies:
    """Figures of the latencies of the last REMEMBERED frames, but the ``first`` ones, which wait for a whole window."""

    def __init__(self, first):
        self._first, self.count = first, 0
        self._largest_first, self._largest, self._last = 0.0, 0.0, deque(maxlen=REMEMBERED)

    def add(self, seconds):
        self.count += 1
        if self.count <= self._first:
            self._largest_first = max(self._largest_first, seconds)
        else:
            self._largest = max(self._largest, seconds)
            self._last.append(seconds)

    def __str__(self):
        first = f"{self._largest_first:.2f} s for the first frames"
        if not self._last:
            return first
        return f"median {statistics.median(self._last):.2f} s, at most {self._largest:.2f} s; {first}"
