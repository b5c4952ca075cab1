"""LOCATA (Löllmann et al. 2018; Evers et al. 2020): folders, tables, and directions in the frame of an array file.

    <dataset_dir>/{dev|eval}/task{1..6}/recording{n}/{array}/    (or without dev and eval: <dataset_dir>/task{1..6}/...)
        audio_array_{array}.wav                 48 kHz
        audio_array_timestamps_{array}.txt      year month day hour minute second of each sample
        position_array_{array}.txt              time, x y z, ref_vec_x ..., rotation_11 ... rotation_33, mic1_x ...
        position_source_{source}.txt            time, x y z, ...; absent from an evaluation set without labels
        VAD_{array}_{source}.txt                a header, then 0 or 1 for each sample
        required_time.txt                       time, valid_flag: where the tracking system saw all markers (120 Hz)

Arrays are eigenmike (32 capsules), benchmark2 (the robot head, 12), dicit (15), dummy (the hearing aids, 4). Positions
are those of the room. LOCATA's own frame of an array is R'(source - array) with x to the right, y to the front and z
up; azimuths count from y counter-clockwise. The frame of an array file need not be the same one, so it is found from
the capsules: the rotation and origin that map the measured capsules onto those of the file (Kabsch 1976). References
thus fit whatever was trained with that file, and a file with other capsules is refused.

References are stated at the centres of frames of 100 ms, positions interpolated linearly between valid times. A source
is active in a frame if it is in half of its samples or more. Its class is 0, its track its number in the order of
names, and an event is a period of voice activity, as in LOCATA's measures.
"""

import functools
import math
import re
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from doatools.data.dcase import number_events, text_lines, with_splits
from doatools.errors import UserError
from doatools.files import has_suffix
from doatools.spatial.arrays import channels_in, find_array
from doatools.spatial.geometry import azimuth_elevation
from doatools.types import EVENT_ROWS, Recording

FRAME_S = 0.1
FS = 48000
OTHER_NAMES = {"robot_head": "benchmark2"}
FOLDER = re.compile(r"task(?P<task>\d+)/recording(?P<recording>\d+)")
TIME = ("year", "month", "day", "hour", "minute", "second")
PARTS = ("dev", "eval")
# Splits are the parts, apart from recordings with this number in dev, which validate a training on dev.
VALIDATING = "dev, recording 1"
ROLES = {"dev": {"train": {"train"}, "val": {"val"}, "test": {"dev", VALIDATING, "test"}},
         "eval": {"train": {"dev", "train"}, "val": {VALIDATING, "val"}, "test": {"eval", "test"}}}
FARTHEST_M = 0.01  # root mean square distance of capsules from those of the array file, above which it is another array


class Frame(NamedTuple):
    """Where an array file's frame lies in LOCATA's frame of the array."""

    rotation: np.ndarray  # (3, 3), from LOCATA's frame to the file's
    origin: np.ndarray  # (3,) m, in LOCATA's frame


# --- recordings ----------------------------------------------------------------------------------------------------

def find_locata(dataset_dir, array, mode="dev"):
    """(labelled recordings, WAVs without labels) of an array, the former sorted by stem; those of eval/ in mode 'eval'
    only, unless a splits.csv says which serve as what.

    Stems are 'dev_task1_recording2'; the annotation is the array's table of positions.

    Raises
    ------
    UserError
        No such recordings; an array that cannot be used; a source without voice activity.
    """
    root = Path(dataset_dir)
    name, picked = folder_of(array)
    places = {part: root / part for part in PARTS if (root / part).is_dir()} or {"dev": root}
    table = root / "splits.csv"
    if mode == "dev" and not table.exists():
        places = {part: place for part, place in places.items() if part == "dev"} or places
    found, unlabelled = [], []
    for part, place in places.items():
        for audio in sorted(place.glob(f"task*/recording*/{name}/audio_array_{name}.wav")):
            match = FOLDER.fullmatch(audio.parent.parent.relative_to(place).as_posix())
            if not match:
                continue
            sources = source_names(audio.parent)
            if not sources:
                unlabelled.append(audio)
                continue
            stem = f"{part}_task{match['task']}_recording{match['recording']}"
            split = VALIDATING if part == "dev" and match["recording"] == "1" else part
            found.append(Recording(stem, audio, audio.parent / f"position_array_{name}.txt", split, place=array.name,
                                   channels=picked, fs=FS, more_annotations=_tables(audio.parent, name, sources)))
    if not found and not unlabelled:
        raise UserError(f"{root} holds no recording such as task1/recording1/{name}/audio_array_{name}.wav (below "
                        "dev/ and eval/, or itself): download LOCATA with 'python3 download_dataset.py locata', or "
                        "simulate a small dataset like it with 'python3 simulate_dataset.py --format locata "
                        f"dataset_dir={root}'")
    if table.exists():
        found = with_splits(found, table, root)
    return sorted(found, key=lambda recording: recording.stem), unlabelled


def folder_of(array):
    """(name of an array's folders in LOCATA, channels to read) of an Array; UserError for one that cannot be used.

    An array of some of the Eigenmike's capsules, such as that of TAU and STARSS (array=mic: 6, 10, 26 and 22, counted
    from 1), reads these.
    """
    if array.kind == "ambisonic":
        raise UserError("LOCATA holds recordings of capsules, not ambisonics: set array=mic (four capsules of the "
                        "Eigenmike, as the shipped model reads), array=eigenmike, or the YAML file of another array")
    picked = channels_in(array, find_array("eigenmike"))
    if picked:
        return "eigenmike", picked
    name = OTHER_NAMES.get(array.name, array.name)
    if name == "dicit":
        raise UserError("array=dicit: its 15 capsules are in one vertical plane, nearly all on a line, so that it "
                        "cannot tell front from back; use array=mic, eigenmike, or the YAML file of benchmark2 or "
                        "dummy")
    return name, ()


def source_names(folder):
    """Names of the sources whose positions a recording's folder holds, sorted."""
    return sorted(path.stem.removeprefix("position_source_") for path in folder.glob("position_source_*.txt"))


def _tables(folder, array, sources):
    """All files that labels follow from, but for the array's positions; UserError for one that is missing."""
    tables = [folder / f"audio_array_timestamps_{array}.txt", folder / "required_time.txt"]
    for source in sources:
        tables += [folder / f"position_source_{source}.txt", folder / f"VAD_{array}_{source}.txt"]
    for path in (folder / f"position_array_{array}.txt", *tables):
        if not path.is_file():
            raise UserError(f"{path} does not exist: a recording with source positions needs it; get the final "
                            "release of LOCATA ('python3 download_dataset.py locata')")
    return tuple(tables)


# --- annotations -----------------------------------------------------------------------------------------------

def read_locata(path, array, seconds):
    """The table of an array's positions, and those beside it → EVENT_ROWS at frames of 100 ms.

    Parameters
    ----------
    path : of position_array_*.txt
    array : Array
    seconds : length of the recording
    """
    folder, name = path.parent, folder_of(array)[0]
    start, pose, frame = _array_of(path, array)
    centres = (np.arange(math.ceil(seconds / FRAME_S - 1e-6)) + 0.5) * FRAME_S
    nearest = _nearest(pose.times, centres)
    rows = []
    for number, source in enumerate(source_names(folder)):
        table = read_table(folder / f"position_source_{source}.txt", (*TIME, "x", "y", "z"))
        positions = table.columns("x", "y", "z")
        valid = pose.valid if len(pose.valid) == len(positions) else np.ones(len(positions), bool)
        there = _interpolated(centres, table.times(start)[valid], positions[valid])
        array_there = _interpolated(centres, pose.times, pose.positions)
        # (T, 3, 3)' (T, 3): from the room's axes to LOCATA's, then to the file's
        inside = np.einsum("tji,tj->ti", pose.rotations[nearest], there - array_there) - frame.origin
        inside = inside @ frame.rotation.T
        azimuth, elevation = azimuth_elevation(inside)
        active = np.flatnonzero(_activity(folder / f"VAD_{name}_{source}.txt", len(centres)))
        rows += [(k, 0, 0, number, azimuth[k], elevation[k], np.linalg.norm(inside[k])) for k in active]
    rows = np.array(sorted(rows), EVENT_ROWS)
    rows["event"] = number_events(rows)
    return rows


class Table(NamedTuple):
    """Numbers of a text file with a header, (rows, columns)."""

    path: Path
    names: list
    values: np.ndarray

    def columns(self, *names):
        return self.values[:, [self.names.index(name) for name in names]]

    def times(self, start=0.0):
        """Seconds of each row since ``start``."""
        return _seconds(self.columns(*TIME)) - start


def read_table(path, needed):
    """A table of LOCATA; UserError without one of the columns ``needed``, or for what is not a number."""
    lines = text_lines(path)
    names = re.split(r"[,\s]+", lines[0].strip()) if lines else []
    for name in needed:
        if name not in names:
            raise UserError(f"{path}, line 1: no column '{name}'")
    if len(lines) < 2:
        raise UserError(f"{path} has no rows below its header")
    try:
        values = np.loadtxt(lines[1:], delimiter="," if "," in lines[0] else None, ndmin=2)
    except ValueError as error:
        raise UserError(f"{path}: not a table of numbers ({error!s:.100})") from None
    if values.shape[1:] != (len(names),):
        raise UserError(f"{path}: {len(names)} columns in its header, and {values.shape[1]} below")
    return Table(path, names, values)


class Pose(NamedTuple):
    """Where an array is, at valid times."""

    times: np.ndarray  # (P,) s from the start of the audio
    positions: np.ndarray  # (P, 3) m
    rotations: np.ndarray  # (P, 3, 3)
    valid: np.ndarray  # bool, of all rows of the tables


@functools.lru_cache(8)
def _array_of(path, array):
    """(start of the audio, Pose, Frame) of position_array_*.txt."""
    name, picked = folder_of(array)
    start = _first_time(path.with_name(f"audio_array_timestamps_{name}.txt"))
    rotation_names = [f"rotation_{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3)]
    table = read_table(path, (*TIME, "x", "y", "z", *rotation_names))
    required = read_table(path.with_name("required_time.txt"), (*TIME, "valid_flag"))
    valid = required.columns("valid_flag")[:, 0] > 0
    if len(valid) != len(table.values):
        valid = np.ones(len(table.values), bool)
    if not valid.any():
        raise UserError(f"{required.path}: no time is valid, so nothing is known of where the array was")
    pose = Pose(table.times(start)[valid], table.columns("x", "y", "z")[valid],
                table.columns(*rotation_names)[valid].reshape(-1, 3, 3), valid)
    capsules = [index + 1 for index in picked or range(array.channels)]
    names = [f"mic{number}_{axis}" for number in capsules for axis in "xyz"]
    missing = [name for name in names if name not in table.names]
    if missing or (not picked and f"mic{array.channels + 1}_x" in table.names):
        held = sum(re.fullmatch(r"mic\d+_x", name) is not None for name in table.names)
        raise UserError(f"{path} has positions of {held} capsules, and array '{array.name}' has {array.channels}")
    measured = table.columns(*names)[valid].reshape(len(pose.times), -1, 3)
    inside = np.einsum("tji,tmj->tmi", pose.rotations, measured - pose.positions[:, None])
    return start, pose, _fit(inside.mean(0), array, path)


def _fit(measured, array, path):
    """Capsules in LOCATA's frame (M, 3) → the Frame in which they are those of the array file."""
    wanted = array.positions
    centre, target = measured.mean(0), wanted.mean(0)
    left, _, right = np.linalg.svd((measured - centre).T @ (wanted - target))
    rotation = right.T @ np.diag([1, 1, np.sign(np.linalg.det(right.T @ left.T))]) @ left.T
    error = np.sqrt((((measured - centre) @ rotation.T - (wanted - target)) ** 2).sum(1).mean())
    if error > FARTHEST_M:
        raise UserError(f"{path}: its capsules lie {100 * error:.1f} cm (root mean square) from those of array "
                        f"'{array.name}', turned as fits best; correct the positions in the array's YAML file, or "
                        "their order")
    return Frame(rotation, centre - rotation.T @ target)


def _first_time(path):
    lines = [*text_lines(path), "", ""]
    names = re.split(r"[,\s]+", lines[0].strip())
    try:
        row = [float(cell) for cell in re.split(r"[,\s]+", lines[1].strip())]
        return float(_seconds(np.array([[row[names.index(name)] for name in TIME]]))[0])
    except (ValueError, IndexError):
        raise UserError(f"{path}: line 2 does not state a time under the columns {' '.join(TIME)}") from None


def _seconds(columns):
    """Rows of calendar columns (rows, 6) → seconds."""
    days = _ordinals(columns[:, :3])
    # Relative to 2017 of the recordings: seconds since year 1 would leave few digits for what is after the point.
    return (days - 736330.0) * 86400 + columns[:, 3] * 3600 + columns[:, 4] * 60 + columns[:, 5]


def _ordinals(days):
    unique, number = np.unique(days, axis=0, return_inverse=True)
    return np.array([date(*map(int, day)).toordinal() for day in unique])[number.reshape(-1)]


def _interpolated(at, times, values):
    """(P, 3) at ``times`` → (T, 3) ``at`` other times; the first and last values beyond the ends."""
    order = np.argsort(times, kind="stable")
    return np.stack([np.interp(at, times[order], column[order]) for column in values.T], -1)


def _nearest(times, at):
    """Index of the time nearest to each of ``at``."""
    if len(times) == 1:
        return np.zeros(len(at), int)
    order = np.argsort(times, kind="stable")
    after = np.clip(np.searchsorted(times[order], at), 1, len(times) - 1)
    before = after - 1
    closer = np.abs(times[order[before]] - at) <= np.abs(times[order[after]] - at)
    return np.where(closer, order[before], order[after])


def _activity(path, n_frames):
    """(n_frames,) bool: whether a source is active in half of a frame's samples or more."""
    lines = text_lines(path)
    try:
        active = np.array(lines[1:], dtype=float) if lines else np.zeros(0)
    except ValueError as error:
        raise UserError(f"{path}: not a column of 0 and 1 below a header ({error!s:.100})") from None
    size = round(FS * FRAME_S)
    active = np.pad(active, (0, max(0, n_frames * size - len(active))))[: n_frames * size]
    return active.reshape(n_frames, size).mean(1) >= 0.5


# --- predictions of submissions --------------------------------------------------------------------------------

def submitted_files(folder, recording):
    """Files source_<n>.txt of a submission for a recording: below its task, recording and array."""
    place = recording.audio.parent
    part = place.parent.parent.parent.name
    below = Path(place.parent.parent.name, place.parent.name, place.name)
    for root in (Path(folder) / part, Path(folder)):
        found = sorted(path for path in (root / below).rglob("source_*") if has_suffix(path, "", ".txt", ".csv"))
        if found:
            return found
    return []


def read_submission(paths, recording, array, n_frames):
    """Files of a submission for one recording → EVENT_ROWS in the array file's frame; the track is a file's number.

    A file has LOCATA's columns of time, azimuth and, where estimated, elevation, in radians and LOCATA's convention:
    azimuths from the array's y axis, elevations from its z axis. An azimuth that is not a number is no estimate. Each
    frame takes the estimate nearest to its centre, within half a frame.
    """
    start, _, frame = _array_of(recording.annotation, array)
    centres = (np.arange(n_frames) + 0.5) * FRAME_S
    rows = []
    for number, path in enumerate(paths):
        table = read_table(path, (*TIME, "azimuth"))
        azimuth = table.columns("azimuth")[:, 0]
        inclination = (table.columns("elevation")[:, 0] if "elevation" in table.names
                       else np.full(len(azimuth), np.pi / 2))
        known = np.isfinite(azimuth)
        if known.sum() < 1:
            continue
        times, azimuth, inclination = table.times(start)[known], azimuth[known], inclination[known]
        nearest = _nearest(times, centres)
        close = np.flatnonzero(np.abs(times[nearest] - centres) <= FRAME_S / 2)
        azimuth, inclination = azimuth[nearest[close]], np.nan_to_num(inclination[nearest[close]], nan=np.pi / 2)
        inside = np.stack([-np.sin(azimuth) * np.sin(inclination), np.cos(azimuth) * np.sin(inclination),
                           np.cos(inclination)], -1) @ frame.rotation.T
        rows += [(k, 0, 0, number, *angles, np.nan) for k, *angles in zip(close, *azimuth_elevation(inside))]
    rows = np.array(sorted(rows, key=lambda row: row[:4]), EVENT_ROWS)
    rows["event"] = number_events(rows)
    return rows
