"""DCASE annotation files, and folders in the layout of TAU-NIGENS Spatial Sound Events 2020 (Politis et al.).

An annotation is a CSV without a header, one line an active source and frame of 100 ms: frame (from 0), class, track id,
azimuth, elevation in degrees (azimuth counter-clockwise from the front in [-180, 180], elevation up in [-90, 90]), and in
DCASE2023 a sixth column, the distance in cm. A silent frame has no line.

An event is a maximal run of consecutive frames of one (class, track id).
"""

import csv
import itertools
import operator
import re
from pathlib import Path

import numpy as np

from doatools.errors import UserError, nearest
from doatools.files import replacing
from doatools.types import EVENT_ROWS, Recording

FRAME_S = 0.1  # of the format
# Which splits play which role: the folds of TAU-NIGENS, or the words of a splits.csv.
ROLES = {
    "dev": {"train": {"3", "4", "5", "6", "train"}, "val": {"2", "val"}, "test": {"1", "test"}},
    "eval": {"train": {"2", "3", "4", "5", "6", "train"}, "val": {"1", "val"}, "test": {"eval", "test"}},
}
SPLITS = ("1", "2", "3", "4", "5", "6", "train", "val", "test")

TAU_NAME = re.compile(r"fold(?P<split>[1-6])_room(?P<room>[^_]+)_(?:mix|aug)\d+(?:_ov(?P<overlap>\d+))?")
MIXTURE_NAME = re.compile(r"fold[1-6]_room[^_]+_aug\d+_ov1")  # as augment_files.py writes


# --- annotation files ----------------------------------------------------------------------------------------------

def read_dcase(path, n_frames=None):
    """A DCASE CSV of five or six columns → EVENT_ROWS; an empty file is a silent recording.

    Parameters
    ----------
    path : path of the CSV
    n_frames : int or None
        Label frames of the recording; a line at or beyond it is an error.

    Raises
    ------
    UserError
        Naming file and line: wrong number of columns, not a number, an angle out of range, a frame before
        the start or beyond the end, the same source (class, track id) twice in a frame.
    """
    lines = text_lines(path)
    table = _parse_together(lines, n_frames)
    if table is None:
        table = _parse_one_by_one(lines, n_frames, path)
    table = table[np.argsort(table[:, 0], kind="stable")]  # the order of lines stays inside a frame
    rows = np.empty(len(table), EVENT_ROWS)
    for name, column in zip(("frame", "class", "track", "azimuth", "elevation"), table.T):
        rows[name] = column
    rows["event"] = number_events(rows)
    return rows


def write_dcase(path, rows):
    """EVENT_ROWS (or anything with its fields but ``event``) → a DCASE CSV of five integer columns."""
    with replacing(path) as temporary:
        temporary.write_text("".join(
            f"{row['frame']},{row['class']},{row['track']},{round(float(row['azimuth']))},"
            f"{round(float(row['elevation']))}\n" for row in rows), encoding="ascii")


def text_lines(path):
    """Lines of a text file; UserError if it is not there or no text."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file: an annotation is a CSV (see the README)") from None


def _parse_together(lines, n_frames):
    """Numbers of all lines (rows, 5), or None where anything at all is wrong with them; faster than one line after the
    other."""
    lines = list(filter(None, lines))
    if not lines or not set(map(operator.methodcaller("count", ","), lines)) <= {4, 5}:
        return None
    try:
        table = np.loadtxt(lines, delimiter=",", comments=None, usecols=range(5), ndmin=2)
    except ValueError:
        return None
    whole = table[:, :3]
    in_order = whole[np.lexsort(whole.T)]
    twice = (in_order[1:] == in_order[:-1]).all(1).any()
    return None if twice or any(wrong.any() for wrong, _ in _faults(table.T, n_frames)) else table


def _faults(columns, n_frames):
    """What can be wrong with the numbers of a line, or of each line: (whether it is, what to tell of it)."""
    names = ("frame", "class", "track", "azimuth", "elevation")
    for name, value in zip(names[:3], columns):
        yield (value != np.floor(value)) | (np.abs(value) >= 2**31), f"{name} {{{name}:g}} is not a whole number"
    frame, _, _, *angles = columns
    yield frame < 0, "frame {frame:g} is negative; frames count from 0"
    if n_frames is not None:
        yield frame >= n_frames, f"frame {{frame:g}} is beyond the end of the recording ({n_frames} label frames)"
    for name, value, limit in zip(names[3:], angles, (180, 90)):  # what is not a number is outside, too
        yield ~(np.abs(value) <= limit), f"{name} {{{name}:g}} is outside [-{limit}, {limit}] degrees"


def _parse_one_by_one(lines, n_frames, path):
    """The same as ``_parse_together``, or a UserError that names the line."""
    rows, seen = [], set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _parse(line, n_frames)
            if row[:3] in seen:
                raise UserError(f"source (class {row[1]}, track {row[2]}) stands twice in frame {row[0]}")
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        seen.add(row[:3])
        rows.append(row)
    return np.array(rows, float).reshape(-1, 5)


def _parse(line, n_frames):
    """'0,2,1,-45,10' → (0, 2, 1, -45.0, 10.0)."""
    cells = line.split(",")
    if len(cells) not in (5, 6):
        raise UserError(f"{len(cells)} columns where 5 (frame, class, track, azimuth, elevation) or 6 "
                        "(and distance) belong")
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise UserError(f"not a number ({error})") from None
    told = dict(zip(("frame", "class", "track", "azimuth", "elevation"), numbers))
    for wrong, fault in _faults(np.array(numbers[:5]), n_frames):
        if wrong:
            raise UserError(fault.format(**told))
    return *map(int, numbers[:3]), *numbers[3:5]


def number_events(rows):
    """The event of each row, counted from 0 in order of first appearance; EVENT_ROWS sorted by frame → (rows,)."""
    order = np.lexsort((rows["track"], rows["class"]))  # the rows of a source together, in the order of frames
    frame, source = rows["frame"][order], rows[["class", "track"]][order]
    first = np.ones(len(rows), bool)
    first[1:] = (source[1:] != source[:-1]) | (frame[1:] > frame[:-1] + 1)
    births = order[first]  # the row that each event begins with
    number = np.empty(len(births), int)
    number[np.argsort(births)] = np.arange(len(births))
    events = np.empty(len(rows), int)
    events[order] = number[np.cumsum(first) - 1]
    return events


# --- recordings ----------------------------------------------------------------------------------------------------

def find_recordings(dataset_dir, dataset, mode="dev", augmented=False):
    """The recordings of a data set in TAU-NIGENS's layout, sorted by stem.

    ``{dataset_dir}/{foa|mic}_dev/*.wav`` with ``metadata_dev/{stem}.csv``; mode 'eval' lists
    ``{foa|mic}_eval`` and ``metadata_eval`` as well. Split, room and overlap are read off the names
    (``fold1_room2_mix003_ov2``) unless ``{dataset_dir}/splits.csv`` states them: columns file, split (a fold
    1 … 6, train, val or test) and, where known, room and overlap. Mixtures of augment_files.py are listed if
    ``augmented``; with a splits.csv there are none, whatever the names.

    Raises
    ------
    UserError
        A folder is missing or empty, a WAV has no CSV or the reverse, a name tells no split.
    """
    dataset_dir = Path(dataset_dir)
    table = dataset_dir / "splits.csv"
    splits = _read_splits(table) if table.exists() else None
    found = []
    for audio, annotation in _pairs(dataset_dir, dataset, "dev", augmented or splits is not None):
        found.append(_from_table(audio, annotation, splits, table) if splits is not None
                     else _from_name(audio, annotation))
    if splits is not None:
        _refuse_unlisted(splits, found, dataset_dir / f"{dataset}_dev", table)
    # A splits.csv may well hold the test recordings itself.
    if mode == "eval" and (splits is None or (dataset_dir / f"{dataset}_eval").exists()):
        found += [Recording(audio.stem, audio, annotation, "eval")
                  for audio, annotation in _pairs(dataset_dir, dataset, "eval", mixtures=True)]
    found.sort(key=lambda recording: recording.stem)
    for one, other in itertools.pairwise(found):
        if one.stem == other.stem:
            raise UserError(f"{one.audio} and {other.audio} have the same name; rename one of them")
    return found


def select(recordings, role, mode="dev"):
    """The recordings of a role ('train', 'val', 'test'); mixtures serve training only."""
    return [r for r in recordings if r.split in ROLES[mode][role] and (role == "train" or not r.augmented)]


def is_mixture(stem):
    """Whether a recording of a dataset without splits.csv is named as augment_files.py names its mixtures."""
    return MIXTURE_NAME.fullmatch(stem) is not None


def _pairs(dataset_dir, dataset, part, mixtures):
    """(WAV, CSV) paths of {dataset}_{part} and metadata_{part}; ``mixtures``: those named as such too."""
    audio_dir, csv_dir = dataset_dir / f"{dataset}_{part}", dataset_dir / f"metadata_{part}"
    for folder in (audio_dir, csv_dir):
        if not folder.is_dir():
            simulate = f"make a data set with 'python3 simulate_dataset.py dataset_dir={dataset_dir}', or "
            raise UserError(f"{folder} does not exist: {simulate if part == 'dev' else ''}download TAU-NIGENS "
                            "Spatial Sound Events 2020 with 'python3 download_dataset.py tau2020' and set "
                            "dataset_dir to its folder")
    audio = list_files(audio_dir, ".wav", mixtures)
    annotations = list_files(csv_dir, ".csv", mixtures)
    if not audio:
        raise UserError(f"{audio_dir} holds no WAV file")
    refuse_alone(audio, annotations, f"no annotation in {csv_dir}")
    refuse_alone(annotations, audio, f"no recording in {audio_dir}")
    return [(audio[stem], annotations[stem]) for stem in sorted(audio)]


def list_files(folder, suffix, mixtures):
    """{stem: path} of a folder's files with a suffix; hidden ones apart, and mixtures unless asked for."""
    return {path.stem: path for path in folder.iterdir()
            if path.suffix.lower() == suffix and not path.name.startswith(".")
            and (mixtures or not is_mixture(path.stem))}


def refuse_alone(files, partners, what):
    """UserError that names a file of ``files`` {stem: path} without a partner."""
    alone = sorted(files.keys() - partners.keys())
    if alone:
        others = f" (and {len(alone) - 1} other files)" if len(alone) > 1 else ""
        raise UserError(f"{files[alone[0]]}{others} has {what}; add it or take the file away")


def _from_name(audio, annotation):
    match = TAU_NAME.fullmatch(audio.stem)
    if not match:
        raise UserError(f"{audio}: the name does not tell the fold as 'fold1_room2_mix003_ov1.wav' does; "
                        f"rename it, or list all files in {audio.parents[1] / 'splits.csv'} with columns "
                        "file,split")
    augmented = is_mixture(audio.stem)
    overlap = 2 if augmented else match["overlap"] and int(match["overlap"])
    return Recording(audio.stem, audio, annotation, match["split"], match["room"], overlap, augmented)


def _from_table(audio, annotation, splits, table):
    if audio.stem not in splits:
        raise UserError(f"{table}: no line for {audio.name}; every recording needs one with its split")
    _, row = splits[audio.stem]
    overlap = int(row["overlap"]) if row.get("overlap") else None
    return Recording(audio.stem, audio, annotation, row["split"], row.get("room") or None, overlap)


def _refuse_unlisted(splits, found, folder, table):
    missing = splits.keys() - {recording.stem for recording in found}
    if missing:
        stem = min(missing, key=lambda stem: splits[stem][0])
        raise UserError(f"{table}, line {splits[stem][0]}: {folder} holds no recording '{stem}.wav'")


def _read_splits(table):
    """splits.csv → {stem: (line number, row)}."""
    reader = csv.DictReader(text_lines(table), skipinitialspace=True)
    if reader.fieldnames is None or not {"file", "split"} <= set(reader.fieldnames):
        raise UserError(f"{table}, line 1: the header must name the columns file,split "
                        "(and, if known, room,overlap)")
    splits = {}
    for row in reader:
        where = f"{table}, line {reader.line_num}"
        stem = re.sub(r"\.wav$", "", row["file"] or "", flags=re.IGNORECASE)
        if row["split"] not in SPLITS:
            raise UserError(f"{where}: split '{row['split']}' is not one of {', '.join(SPLITS)}."
                            f"{nearest(row['split'], SPLITS)}")
        if row.get("overlap") and not row["overlap"].isdecimal():
            raise UserError(f"{where}: overlap '{row['overlap']}' is not a number of sources")
        if stem in splits:
            raise UserError(f"{where}: '{stem}' stands in line {splits[stem][0]} already")
        splits[stem] = (reader.line_num, row)
    return splits
