"""Rows of tracks: one per track and frame, as results, in files and as text.

A file format may define frames of another length than a model predicts; ``at_frames`` converts.
"""

import json

import numpy as np

from doatools.spatial.geometry import azimuth_elevation, unit_vectors

# Angles in degrees; sorted by frame. Tracks are numbered from 1; the class is always 0, sources are not classified.
TRACK_ROWS = np.dtype([("frame", "i4"), ("class", "i4"), ("track", "i4"), ("azimuth", "f4"), ("elevation", "f4"),
                       ("probability", "f4")])
# The same of a model that estimates its error: the angle (°) that holds the true direction in 90 % of the cases.
TRACK_ROWS_WITH_RADIUS = np.dtype([*TRACK_ROWS.descr, ("radius", "f4")])
DIGITS = {"azimuth": 1, "elevation": 1, "probability": 3, "radius": 1}  # of values in text


def value_names(rows):
    """Names of the values of each row, with those that only some models estimate."""
    return [name for name in DIGITS if name in rows.dtype.names]


def by_track(rows):
    """The rows of each track, in the order of their numbers."""
    rows = rows[np.argsort(rows["track"], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(rows["track"])) + 1) if len(rows) else []


def at_frames(rows, hop_s, frame_s, seconds=np.inf):
    """Rows at frames of ``hop_s`` → rows at frames of ``frame_s`` that start before ``seconds``.

    Longer frames: a track is active where the middle of one of its rows lies in the frame, at the mean direction and
    radius and the highest probability of these rows. Shorter frames: each takes the rows at its own middle.
    """
    ratio = frame_s / hop_s
    if abs(ratio - 1) > 1e-9 and len(rows):
        rows = _repeated(rows, ratio) if ratio < 1 else _averaged(rows, ratio)
    return rows[rows["frame"] * frame_s < seconds - 1e-9]


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
    if "radius" in rows.dtype.names:
        averaged["radius"] = np.bincount(place, rows["radius"]) / np.bincount(place)
    return averaged


def as_values(rows):
    """Rows as plain values for JSON: a list of tracks, each with its frames."""
    return [{"track": int(own["track"][0]), "frame": own["frame"].tolist(),
             **{name: [round(value, 3) for value in own[name].tolist()] for name in value_names(own)}}
            for own in by_track(rows)]


def table_header(rows):
    """The names of the columns of ``frame_lines`` as CSV."""
    return ",".join(("time", "track", *value_names(rows)))


def frame_lines(seconds, rows, how):
    """One frame as text: CSV lines, one per track (without any: one line with the time alone), or one line of JSON."""
    names = value_names(rows)
    values = [(int(row["track"]), *(round(float(row[name]), DIGITS[name]) for name in names)) for row in rows]
    if how == "json":
        return json.dumps({"time": round(seconds, 3), "tracks": [dict(zip(("track", *names), one)) for one in values]})
    time = f"{seconds:.3f}".removesuffix("0").removesuffix("0")  # 0.1, 0.02, 0.125
    return "\n".join(",".join(map(str, (time, *one))) for one in values) or time + "," * (1 + len(names))
