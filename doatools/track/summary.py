"""What is reported of a recording's tracks: a spectrogram to go with them, doubts about the recording, summaries, values.

Rows of tracks have the fields frame, track, azimuth, elevation (degrees), probability, sorted by frame.
"""

import json
from typing import NamedTuple

import numpy as np

from doatools.spatial.geometry import angular_distance, azimuth_elevation, unit_vectors

COLUMNS = 2000  # of a spectrogram


class Spectrogram:
    """Mean spectra of at most COLUMNS equal parts of a recording of ``frames`` label frames."""

    def __init__(self, frames):
        self._frames = max(int(np.ceil(frames - 1e-6)), 1)
        self._counts = np.zeros(min(self._frames, COLUMNS))
        self._sums, self._added = 0, 0

    def add(self, spectra):
        """The next label frames' (T, F)."""
        columns = (self._added + np.arange(len(spectra))) * len(self._counts) // self._frames
        sums = np.zeros((len(self._counts), spectra.shape[1]))
        columns = np.minimum(columns, len(sums) - 1)
        np.add.at(sums, columns, spectra)
        np.add.at(self._counts, columns, 1)
        self._sums = self._sums + sums
        self._added += len(spectra)

    def image(self):
        """(columns, F)"""
        return self._sums / np.maximum(self._counts, 1)[:, None]


def doubts(energy, array):
    """What the energies of the channels (M,) over a whole recording say against its being of this array."""
    silent = np.flatnonzero(energy < 1e-8 * energy.max())
    if len(silent):
        return [f"channel {channel + 1} is silent: directions are wrong" for channel in silent]
    if array.kind == "ambisonic":
        ratio = energy[1:].sum() / energy[0]
        return [] if ratio < 1.5 else [
            f"the last three channels together carry {ratio:.1f} times the energy of the first, about 1 or less is "
            "usual; FuMa has 2 (--foa-order fuma), N3D gains and raw capsules 3: directions may be wrong"]
    spread = 10 * np.log10(energy.max() / energy.min())
    return [] if spread < 4 else [
        f"levels of the channels are up to {spread:.0f} dB apart, those of capsules of one array hardly 1 dB: is this "
        "ambisonics, or are gains not set alike? Directions may be wrong"]


class Summary(NamedTuple):
    """One track in short; degrees and seconds."""

    track: int
    start_s: float
    end_s: float
    first: tuple  # (azimuth, elevation), mean of the first half second, or third of a shorter track
    last: tuple  # of the last one
    behind: bool  # whether it goes from first to last past ±180°

    def __str__(self):
        moved = angular_distance(unit_vectors(*self.first), unit_vectors(*self.last)) > MOVED_DEG
        places = (self.first, self.last) if moved else (self.first,)
        azimuth, elevation = (" to ".join(str(round(angle)) for angle in angles) for angles in zip(*places))
        azimuth += " past 180" if moved and self.behind else ""
        return f"{self.track:>5} {self.start_s:8.1f} {self.end_s:8.1f}   {azimuth:<20} {elevation}"


END_S = 0.5  # of a track's beginning and end
MOVED_DEG = 15.0  # between beginning and end, from which on a track is said to move


def summarize(rows, hop_s):
    """Rows → a Summary of each track, by number."""
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
    """The rows of each track, by number."""
    rows = rows[np.argsort(rows["track"], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(rows["track"])) + 1) if len(rows) else []


def summary_lines(rows, hop_s, most=20):
    """Lines of text: how many sources, when and where; beyond ``most`` tracks only the longest."""
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
    """Rows of tracks at frames of ``hop_s`` → at frames of ``frame_s``, as another format defines them.

    A frame holds the mean direction of a track's rows whose middles lie in it; where frames are shorter than the rows, each
    takes the row that its own middle lies in.
    """
    ratio = frame_s / hop_s
    if abs(ratio - 1) < 1e-9 or not len(rows):
        return rows
    if ratio < 1:
        wanted = np.arange(int(rows["frame"][0] / ratio) - 1, int((rows["frame"][-1] + 1) / ratio) + 2)
        parts = [rows[rows["frame"] == int((frame + 0.5) * ratio)].copy() for frame in wanted]
        for part, frame in zip(parts, wanted):
            part["frame"] = frame
        return np.concatenate(parts)
    frame = ((rows["frame"] + 0.5) / ratio + 1e-9).astype(int)
    cells, place = np.unique(np.stack([frame, rows["track"]]), axis=1, return_inverse=True)
    vectors = np.zeros((cells.shape[1], 3))
    np.add.at(vectors, place, unit_vectors(rows["azimuth"], rows["elevation"]))
    found = np.zeros(cells.shape[1], rows.dtype)
    found["frame"], found["track"] = cells
    found["azimuth"], found["elevation"] = azimuth_elevation(vectors)
    np.maximum.at(found["probability"], place, rows["probability"])
    return found


def as_values(rows):
    """Rows as plain values for JSON: a list of tracks with their frames."""
    return [{"track": int(own["track"][0]), "frame": own["frame"].tolist(),
             **{name: [round(value, 3) for value in own[name].tolist()]
                for name in ("azimuth", "elevation", "probability")}} for own in by_track(rows)]


def frame_lines(seconds, rows, how):
    """What is printed of one frame: CSV lines, one a track (without any: the time alone), or one JSON value."""
    values = [(int(row["track"]), *(round(float(row[name]), digits) for name, digits in
                                    (("azimuth", 1), ("elevation", 1), ("probability", 3)))) for row in rows]
    if how == "json":
        names = ("track", "azimuth", "elevation", "probability")
        return json.dumps({"time": round(seconds, 3), "tracks": [dict(zip(names, value)) for value in values]})
    return "\n".join(",".join(map(str, (f"{seconds:.1f}", *value))) for value in values) or f"{seconds:.1f},,,,"
