"""What is reported of a recording and its tracks (see rows): spectrogram, and a summary as text."""

from typing import NamedTuple

import numpy as np

from doatools.spatial.geometry import angular_distance, azimuth_elevation, unit_vectors
from doatools.track.rows import by_track

COLUMNS = 2000  # at most, of a spectrogram in a picture
END_S = 0.5  # of the start and the end of a track, over which directions are averaged
MOVED_DEG = 15.0  # from start to end; a track that changes more is reported as moving


class Spectrogram:
    """Mean spectra over at most ``columns`` equal parts of a recording of ``frames`` label frames."""

    def __init__(self, frames, columns=COLUMNS):
        self._frames = max(int(np.ceil(frames - 1e-6)), 1)
        self._counts = np.zeros(min(self._frames, columns))
        self._sums, self._added = 0, 0

    def add(self, spectra):
        """Add the spectra (T, F) of the next label frames."""
        columns = (self._added + np.arange(len(spectra))) * len(self._counts) // self._frames
        sums = np.zeros((len(self._counts), spectra.shape[1]))
        columns = np.minimum(columns, len(sums) - 1)
        np.add.at(sums, columns, spectra)
        np.add.at(self._counts, columns, 1)
        self._sums = self._sums + sums
        self._added += len(spectra)

    def image(self):
        """The mean spectra, (columns, F)."""
        return self._sums / np.maximum(self._counts, 1)[:, None]


class Summary(NamedTuple):
    """One track in short, in degrees and seconds."""

    track: int
    start_s: float
    end_s: float
    first: tuple  # (azimuth, elevation), mean over the first END_S, or over the first third of a shorter track
    last: tuple  # the same at the end
    behind: bool  # whether it moves from first to last across ±180°

    def __str__(self):
        moved = angular_distance(unit_vectors(*self.first), unit_vectors(*self.last)) > MOVED_DEG
        places = (self.first, self.last) if moved else (self.first,)
        azimuth, elevation = (" to ".join(str(round(angle)) for angle in angles) for angles in zip(*places))
        azimuth += " past 180" if moved and self.behind else ""
        return f"{self.track:>5} {self.start_s:8.1f} {self.end_s:8.1f}   {azimuth:<20} {elevation}"


def summarize(rows, hop_s):
    """Rows → a list with a Summary of each track, in the order of their numbers."""
    summaries = []
    for own in by_track(rows):
        vectors = unit_vectors(own["azimuth"], own["elevation"])
        end = max(min(round(END_S / hop_s), len(own) // 3), 1)
        first, last = (tuple(map(float, azimuth_elevation(part.mean(0)))) for part in (vectors[:end], vectors[-end:]))
        course = np.unwrap(own["azimuth"].astype(float), period=360)
        behind = abs(course[-end:].mean() - course[:end].mean() - last[0] + first[0]) > 180
        summaries.append(Summary(int(own["track"][0]), float(own["frame"][0] * hop_s),
                                 float((own["frame"][-1] + 1) * hop_s), first, last, bool(behind)))
    return summaries


def summary_lines(rows, hop_s, most=20):
    """Lines of text: how many sources, when and where; of more than ``most`` tracks only the longest."""
    summaries = summarize(rows, hop_s)
    if not summaries:
        return ["  no source found"]
    at_once = np.unique(rows["frame"], return_counts=True)[1].max()
    heard = len(np.unique(rows["frame"])) * hop_s
    lines = [f"  {len(summaries)} track(s), at most {at_once} at once, {heard:.1f} s with a source",
             "  track   from (s) to (s)   azimuth (°)          elevation (°)"]
    longest = sorted(summaries, key=lambda one: one.start_s - one.end_s)[:most]
    lines += [f"  {one}" for one in sorted(longest)]
    if len(summaries) > most:
        longest_left = max(one.end_s - one.start_s for one in summaries if one not in longest)
        lines.append(f"  and {len(summaries) - most} more of {longest_left:.1f} s or less")
    return lines
