"""What is reported of the tracks of a recording: spectrogram, warnings, summary, and rows in the formats of files.

Rows of tracks (TRACK_ROWS in inference) have the fields frame, track, azimuth, elevation (degrees) and probability,
and are sorted by frame.
"""

import json
from typing import NamedTuple

import numpy as np

from doatools.spatial.geometry import angular_distance, azimuth_elevation, unit_vectors

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


def doubts(energy, array):
    """Warnings about a recording whose channel energies (M,) are unlikely for the array."""
    silent = np.flatnonzero(energy < 1e-8 * energy.max())
    if len(silent):
        return [f"channel {channel + 1} is silent: directions are wrong" for channel in silent]
    if array.kind == "ambisonic":
        ratio = energy[1:].sum() / energy[0]
        return [] if ratio < 1.5 else [
            f"channels 2 to 4 together have {ratio:.1f} times the energy of channel 1, where 1 or less is usual; 2 "
            "suggests FuMa (--foa-order fuma), 3 suggests N3D gains or raw capsules: directions may be wrong"]
    spread = 10 * np.log10(energy.max() / energy.min())
    return [] if spread < 4 or array.axes.any() else [  # cardioids differ by where they point
        f"the levels of the channels differ by up to {spread:.0f} dB, those of omnidirectional capsules by 1 dB: "
        "is this ambisonics, or do gains differ? Directions may be wrong"]


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


def by_track(rows):
    """The rows of each track, in the order of their numbers."""
    rows = rows[np.argsort(rows["track"], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(rows["track"])) + 1) if len(rows) else []


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


def at_frames(rows, hop_s, frame_s):
    """Rows at frames of ``hop_s`` → rows at frames of ``frame_s``, such as those that a file format defines.

    Longer frames: a track is active where the middle of one of its rows lies in the frame, at the mean direction and
    the highest probability of these rows. Shorter frames: each takes the rows at its own middle.
    """
    ratio = frame_s / hop_s
    if abs(ratio - 1) < 1e-9 or not len(rows):
        return rows
    return _repeated(rows, ratio) if ratio < 1 else _averaged(rows, ratio)


def _repeated(rows, ratio):
    """Rows at frames that are ``ratio`` (< 1) times as long."""
    first, end = (np.ceil((rows["frame"] + side) / ratio - 0.5 - 1e-9).astype(int) for side in (0, 1))
    counts = end - first
    source = np.repeat(np.arange(len(rows)), counts)
    repeated = rows[source]
    repeated["frame"] = first[source] + np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    return repeated[np.argsort(repeated["frame"], kind="stable")]


def _averaged(rows, ratio):
    """Rows at frames that are ``ratio`` (> 1) times as long."""
    frame = ((rows["frame"] + 0.5) / ratio + 1e-9).astype(int)
    cells, place = np.unique(np.stack([frame, rows["track"]]), axis=1, return_inverse=True)
    vectors = np.zeros((cells.shape[1], 3))
    np.add.at(vectors, place, unit_vectors(rows["azimuth"], rows["elevation"]))
    averaged = np.zeros(cells.shape[1], rows.dtype)
    averaged["frame"], averaged["track"] = cells
    averaged["azimuth"], averaged["elevation"] = azimuth_elevation(vectors)
    np.maximum.at(averaged["probability"], place, rows["probability"])
    return averaged


def as_values(rows):
    """Rows as plain values for JSON: a list of tracks, each with its frames."""
    return [{"track": int(own["track"][0]), "frame": own["frame"].tolist(),
             **{name: [round(value, 3) for value in own[name].tolist()]
                for name in ("azimuth", "elevation", "probability")}} for own in by_track(rows)]


def frame_lines(seconds, rows, how):
    """One frame as text: CSV lines, one per track (without any: one line with the time alone), or one line of JSON."""
    values = [(int(row["track"]), *(round(float(row[name]), digits) for name, digits in
                                    (("azimuth", 1), ("elevation", 1), ("probability", 3)))) for row in rows]
    if how == "json":
        names = ("track", "azimuth", "elevation", "probability")
        return json.dumps({"time": round(seconds, 3), "tracks": [dict(zip(names, value)) for value in values]})
    return "\n".join(",".join(map(str, (f"{seconds:.1f}", *value))) for value in values) or f"{seconds:.1f},,,,"
