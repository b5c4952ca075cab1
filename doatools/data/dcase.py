"""DCASE annotation files, and folders in the layout of TAU-NIGENS Spatial Sound Events 2020 (Politis et al.).

An annotation is a CSV without a header, one line per active source and frame of 100 ms: frame (from 0), class, track
id, azimuth and elevation in degrees (azimuth counter-clockwise from the front in [-180, 180], elevation up in
[-90, 90]), and since DCASE2023 a sixth column, the distance in cm. A silent frame has no line.

An event is a maximal run of consecutive frames with one (class, track id).
"""

import csv
import itertools
import operator
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from doatools.errors import UserError, nearest
from doatools.files import has_suffix, list_files, read_text, replacing
from doatools.spatial.geometry import azimuth_elevation
from doatools.types import EVENT_ROWS, Recording

FRAME_S = 0.1  # of the annotation format
LONGEST = 1.5  # of a coordinate in results that state x, y, z
MOST_FRAMES = 1_000_000  # of a recording: 28 hours; each frame costs memory, whether it has a source or not
LARGEST = 2**30  # of a class or track id: those of two recordings can be added in 32 bits
SHARED = 1000  # added to the track id of a source that shares it with another one in its frame
# The splits of each role: the folds of TAU-NIGENS, or the words in a splits.csv.
ROLES = {
    "dev": {"train": {"3", "4", "5", "6", "train"}, "val": {"2", "val"}, "test": {"1", "test"}},
    "eval": {"train": {"2", "3", "4", "5", "6", "train"}, "val": {"1", "val"}, "test": {"eval", "test"}},
}
SPLITS = ("1", "2", "3", "4", "5", "6", "train", "val", "test")

TAU_NAME = re.compile(r"fold(?P<split>[1-6])_room(?P<room>[^_]+)_(?:mix|aug)\d+(?:_ov(?P<overlap>\d+))?")
MIXTURE_NAME = re.compile(r"fold[1-6]_room[^_]+_aug\d+_ov1")  # of the published code and of an earlier edition


# --- annotation files ----------------------------------------------------------------------------------------------

def read_dcase(path, n_frames=None, shared_ids=False):
    """A DCASE CSV of five or six columns → EVENT_ROWS; an empty file is a silent recording.

    Results of some programs state x, y, z in place of azimuth, elevation and distance, as vectors of any length (DCASE
    2022's baseline: longer ones are more certain). They are recognised (``holds_vectors``) and read as directions.

    Parameters
    ----------
    path : path of the CSV
    n_frames : int or None
        Frames of the recording; a line at or beyond the last one is an error.
    shared_ids : bool or 'any'
        Several sources of a class may have track id 0 in a frame, as loudspeakers in STARSS, and as all sources in
        result files of the DCASE challenges; 'any': whatever their track id. The second, third, ... line of a frame
        gets a track id that is SHARED, 2·SHARED, ... higher.

    Raises
    ------
    UserError
        Naming file and line: wrong number of columns, not a number, an angle out of range, a negative distance, a frame
        before the start or beyond the end, the same source (class, track id) twice in a frame.
    """
    lines = text_lines(path)
    vectors = holds_vectors(lines)
    table = _parse_together(lines, n_frames, shared_ids, vectors)
    if table is None:
        table = _parse_one_by_one(lines, n_frames, path, shared_ids, vectors)
    table = table[np.argsort(table[:, 0], kind="stable")]  # within a frame, lines keep their order
    rows = np.empty(len(table), EVENT_ROWS)
    for name, column in zip(("frame", "class", "track", "azimuth", "elevation"), table.T):
        rows[name] = column
    rows["distance"] = table[:, 5] / 100  # cm
    if shared_ids:
        rows["track"] = _told_apart(rows)
    rows["event"] = number_events(rows)
    return rows


def holds_vectors(lines):
    """Whether the lines of a CSV state x, y, z in columns 4 to 6: none is beyond ±LONGEST, and x and y are not written
    as whole numbers. (As angles and cm, all sources would be within 2° of the front and 2 cm of the array.)"""
    if not lines or lines[0].count(",") != 5:
        return False
    cells = [line.split(",")[3:] for line in lines if line.strip()]
    if not all(len(own) == 3 for own in cells) or not any("." in cell for own in cells for cell in own[:2]):
        return False
    try:
        return bool((np.abs(np.array(cells, float)) <= LONGEST).all())
    except ValueError:
        return False


def _told_apart(rows):
    """Track ids of rows, sorted by frame, of which several of a class may share one in a frame: (rows,), distinct."""
    repetitions = _repetitions(rows)
    if repetitions.any() and rows["track"].max() >= SHARED:  # adding SHARED could meet another id
        pairs = np.stack([rows["track"], repetitions], 1)
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return rows["track"] + SHARED * repetitions


def _repetitions(rows):
    """How often the source of each row, sorted by frame, stands in its frame before: (rows,)."""
    order = np.lexsort((np.arange(len(rows)), rows["track"], rows["class"], rows["frame"]))
    key = rows[["frame", "class", "track"]][order]
    first = np.ones(len(rows), bool)
    first[1:] = key[1:] != key[:-1]
    place = np.arange(len(rows))
    repetitions = np.empty(len(rows), int)
    repetitions[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return repetitions


def write_dcase(path, rows, distance=False):
    """EVENT_ROWS (or anything with its fields but ``event``) → a DCASE CSV of five integer columns; with ``distance``
    of six, the last in cm."""
    lines = [f"{row['frame']},{row['class']},{row['track']},{round(float(row['azimuth']))},"
             f"{round(float(row['elevation']))}" for row in rows]
    if distance:
        lines = [f"{line},{round(100 * float(row['distance']))}" for line, row in zip(lines, rows)]
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def text_lines(path):
    """Lines of a text file; UserError if there is none, or if it is not text."""
    return read_text(path, "an annotation", "a CSV (see docs/data.md)").splitlines()


def _parse_together(lines, n_frames, shared_ids, vectors):
    """The numbers of all lines (rows, 6), or None if anything is wrong with them; faster than line by line. Distances
    are NaN where there are none."""
    lines = list(filter(None, lines))
    columns = set(map(operator.methodcaller("count", ","), lines))
    if columns not in ({4}, {5}):
        return None
    try:
        table = np.loadtxt(lines, delimiter=",", comments=None, usecols=range(1 + max(columns)), ndmin=2)
    except ValueError:
        return None
    if vectors:
        table = np.concatenate([table[:, :3], _directions(table[:, 3:])], 1)
    elif columns == {4}:
        table = np.concatenate([table, np.full((len(table), 1), np.nan)], 1)
    elif not np.isfinite(table[:, 5]).all():
        return None
    whole = table[~_may_repeat(table[:, 2], shared_ids), :3]
    in_order = whole[np.lexsort(whole.T)]
    twice = (in_order[1:] == in_order[:-1]).all(1).any()
    return None if twice or any(wrong.any() for wrong, _ in _faults(table.T, n_frames)) else table


def _directions(vectors):
    """x, y, z (rows, 3) → azimuth, elevation and NaN; all NaN for a vector without a length."""
    directions = np.full(vectors.shape, np.nan)
    longer = np.abs(vectors).max(axis=1) > 0
    directions[longer, :2] = np.stack(azimuth_elevation(vectors[longer]), 1)
    return directions


def _may_repeat(track, shared_ids):
    """Whether several lines of a frame may have a track id (or ids)."""
    return np.full(np.shape(track), True) if shared_ids == "any" else (np.asarray(track) == 0) & bool(shared_ids)


def _faults(columns, n_frames):
    """Checks of the numbers of one line, or of all lines: pairs (whether something is wrong, the message)."""
    names = ("frame", "class", "track", "azimuth", "elevation")
    for name, value in zip(names[:3], columns):
        yield (value != np.floor(value)) | (np.abs(value) >= LARGEST), f"{name} {{{name}:g}} is not a whole number"
    frame, _, _, *angles, distance = columns
    yield frame < 0, "frame {frame:g} is negative; frames count from 0"
    if n_frames is not None:
        yield frame >= n_frames, f"frame {{frame:g}} is beyond the end of the recording ({n_frames} frames)"
    yield frame >= MOST_FRAMES, f"frame {{frame:g}} is {MOST_FRAMES * FRAME_S / 3600:g} hours or more after the start"
    for name, value, limit in zip(names[3:], angles, (180, 90)):  # NaN is outside as well
        yield ~(np.abs(value) <= limit), f"{name} {{{name}:g}} is outside [-{limit}, {limit}] degrees"
    yield distance < 0, "distance {distance:g} is negative; distances are in cm"


def _parse_one_by_one(lines, n_frames, path, shared_ids, vectors):
    """The same as ``_parse_together``; UserError that names the line where something is wrong."""
    rows, seen = [], set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _parse(line, n_frames, vectors)
            if row[:3] in seen and not _may_repeat(row[2], shared_ids):
                remedy = "; add tracker=kalman, which links predictions anew" if shared_ids else ""
                raise UserError(f"source (class {row[1]}, track {row[2]}) is given twice in frame {row[0]}{remedy}")
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        seen.add(row[:3])
        rows.append(row)
    return np.array(rows, float).reshape(-1, 6)


def _parse(line, n_frames, vectors):
    """'0,2,1,-45,10,230' → (0, 2, 1, -45.0, 10.0, 230.0); NaN where there is no distance, and for ``vectors``."""
    cells = line.split(",")
    if len(cells) not in (5, 6):
        raise UserError(f"{len(cells)} columns, not 5 (frame, class, track, azimuth, elevation) or 6 (and distance)")
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise UserError(f"not a number ({error})") from None
    if len(numbers) == 6 and not np.isfinite(numbers[5]):
        raise UserError(f"distance {numbers[5]:g} is not a number of cm")
    if vectors:
        if not any(numbers[3:]):
            raise UserError("the vector x, y, z has no length, so that it has no direction; leave the line out")
        numbers = [*numbers[:3], *_directions(np.array([numbers[3:]]))[0]]
    numbers = [*numbers, np.nan][:6]
    values = dict(zip(("frame", "class", "track", "azimuth", "elevation", "distance"), numbers))
    for wrong, message in _faults(np.array(numbers), n_frames):
        if wrong:
            raise UserError(message.format(**values))
    return *map(int, numbers[:3]), *numbers[3:]


def number_events(rows):
    """The event of each row (rows,), counted from 0 in order of first appearance; EVENT_ROWS are sorted by frame."""
    order = np.lexsort((rows["track"], rows["class"]))  # groups the rows of each source, by frame
    frame, source = rows["frame"][order], rows[["class", "track"]][order]
    first = np.ones(len(rows), bool)
    first[1:] = (source[1:] != source[:-1]) | (frame[1:] > frame[:-1] + 1)
    births = order[first]  # the first row of each event
    number = np.empty(len(births), int)
    number[np.argsort(births)] = np.arange(len(births))
    events = np.empty(len(rows), int)
    events[order] = number[np.cumsum(first) - 1]
    return events


# --- recordings ----------------------------------------------------------------------------------------------------

def find_recordings(dataset_dir, array, mode="dev"):
    """The recordings of a dataset in the layout of TAU-NIGENS, sorted by stem.

    ``{dataset_dir}/{array}_dev/*.wav`` with ``metadata_dev/{stem}.csv``; mode 'eval' lists ``{array}_eval`` as well, if
    its labels are in ``metadata_eval``. Split, room and overlap are read from the names (``fold1_room2_mix003_ov2``)
    unless ``{dataset_dir}/splits.csv`` states them: columns file, split (a fold 1 … 6, train, val or test) and, where
    known, room and overlap. Without it, mixtures of an earlier edition (``fold3_room1_aug001002_ov1``) are left out.

    Raises
    ------
    UserError
        A folder is missing or empty, a WAV has no CSV or the reverse, a name does not state the split.
    """
    dataset_dir = Path(dataset_dir)
    table = dataset_dir / "splits.csv"
    tabled = table.exists()
    pairs = _pairs(dataset_dir, array, "dev", tabled)
    found = (by_table(pairs, table, dataset_dir / f"{array}_dev") if tabled
             else [_from_name(audio, annotation) for audio, annotation in pairs])
    # With a splits.csv, the test recordings can be in the dev folder. An evaluation set without labels cannot be
    # scored.
    evaluation, labels = dataset_dir / f"{array}_eval", dataset_dir / "metadata_eval"
    if mode == "eval" and (labels.exists() or not evaluation.exists() if not tabled else
                           evaluation.exists() and labels.exists()):
        found += [Recording(audio.stem, audio, annotation, "eval")
                  for audio, annotation in _pairs(dataset_dir, array, "eval", mixtures=True)]
    found.sort(key=lambda recording: recording.stem)
    for one, other in itertools.pairwise(found):
        if one.stem == other.stem:
            raise UserError(f"{one.audio} and {other.audio} have the same name; rename one of them")
    return found


def select(recordings, role, mode="dev"):
    """The recordings of a role ('train', 'val', 'test')."""
    return [recording for recording in recordings if recording.split in ROLES[mode][role]]


def is_mixture(stem):
    """Whether a recording has the name of a mixture of an earlier edition; meaningless with a splits.csv."""
    return MIXTURE_NAME.fullmatch(stem) is not None


def pair_files(audio_dir, annotation_dir, is_left_out=lambda stem: False):
    """[(WAV, CSV)] of two folders, by their stems; UserError that names a file without its partner."""
    audio, annotations = ({stem: path for stem, path in list_files(folder, suffix).items() if not is_left_out(stem)}
                          for folder, suffix in ((audio_dir, ".wav"), (annotation_dir, ".csv")))
    return pair_by_stem(audio, annotations, audio_dir, annotation_dir)


def pair_by_stem(audio, annotations, audio_dir, annotation_dir):
    """The same of files found already, {stem: path} each."""
    if annotations and not audio:
        raise UserError(f"{audio_dir} {without_audio(audio_dir)}")
    for files, partners, missing in ((audio, annotations, f"no annotation in {annotation_dir}"),
                                     (annotations, audio, f"no recording in {audio_dir}")):
        alone = sorted(files.keys() - partners.keys())
        if alone:
            others = f" (and {len(alone) - 1} other files)" if len(alone) > 1 else ""
            raise UserError(f"{files[alone[0]]}{others} has {missing}; add it or remove the file")
    return [(audio[stem], annotations[stem]) for stem in audio]


def _pairs(dataset_dir, array, part, mixtures):
    """[(WAV, CSV)] of {array}_{part} and metadata_{part}; with ``mixtures``, whatever their names."""
    audio_dir, csv_dir = dataset_dir / f"{array}_{part}", dataset_dir / f"metadata_{part}"
    for folder in (audio_dir, csv_dir):
        if not folder.is_dir():
            simulate = f"simulate a dataset with 'python3 simulate_dataset.py dataset_dir={dataset_dir}', or "
            raise UserError(f"{folder} does not exist: {simulate if part == 'dev' else ''}download TAU-NIGENS "
                            "Spatial Sound Events 2020 with 'python3 download_dataset.py tau2020' and set "
                            "dataset_dir to its folder")
    pairs = pair_files(audio_dir, csv_dir, (lambda stem: False) if mixtures else is_mixture)
    if not pairs:
        raise UserError(f"{audio_dir} {without_audio(audio_dir)}")
    return pairs


def without_audio(folder):
    """'holds no WAV file', and where there are some in its sub-folders, what to do."""
    below = sorted(path for path in Path(folder).rglob("*") if has_suffix(path, ".wav"))
    if not below:
        return "holds no WAV file"
    return (f"holds no WAV file; its sub-folders hold {len(below)} (first: {below[0].relative_to(folder)}): for "
            "DCASE2021, STARSS22 and STARSS23 set format=dcase2021, starss22 or starss23, or else move the files up")


def _from_name(audio, annotation):
    match = TAU_NAME.fullmatch(audio.stem)
    if not match:
        raise UserError(f"{audio}: the name does not state the fold, as 'fold1_room2_mix003_ov1.wav' does; rename "
                        f"it, or list all files in {audio.parents[1] / 'splits.csv'} with columns file,split")
    overlap = match["overlap"] and int(match["overlap"])
    return Recording(audio.stem, audio, annotation, match["split"], match["room"], overlap)


def by_table(pairs, table, folder):
    """(WAV, CSV) paths of ``folder`` → Recordings with the splits, rooms and overlaps of a splits.csv."""
    return with_splits([Recording(audio.stem, audio, annotation, "") for audio, annotation in pairs], table, folder)


def with_splits(recordings, table, folder):
    """Recordings of ``folder`` with the splits of a splits.csv, and with its rooms and overlaps where it states them.

    Raises
    ------
    UserError
        A recording is not listed, or one that is listed does not exist.
    """
    splits, listed = read_splits(table), []
    for recording in recordings:
        if recording.stem not in splits:
            raise UserError(f"{table}: no line for {recording.stem}.wav; each recording needs one that states its "
                            "split")
        _, row = splits[recording.stem]
        overlap = int(row["overlap"]) if row.get("overlap") else recording.overlap
        listed.append(replace(recording, split=row["split"], room=row.get("room") or recording.room, overlap=overlap))
    missing = splits.keys() - {recording.stem for recording in listed}
    if missing:
        stem = min(missing, key=lambda stem: splits[stem][0])
        raise UserError(f"{table}, line {splits[stem][0]}: {folder} holds no recording '{stem}.wav'")
    return listed


def read_splits(table):
    """splits.csv → {stem: (line number, row)}."""
    reader = csv.DictReader(text_lines(table), skipinitialspace=True)
    if reader.fieldnames is None or not {"file", "split"} <= set(reader.fieldnames):
        raise UserError(f"{table}, line 1: the header must name the columns file,split "
                        "(and, if known, room,overlap)")
    splits = {}
    for row in reader:
        where = f"{table}, line {reader.line_num}"
        stem = row["file"] or ""
        stem = Path(stem).stem if has_suffix(stem, ".wav") else stem
        if row["split"] not in SPLITS:
            raise UserError(f"{where}: split '{row['split']}' is not one of {', '.join(SPLITS)}."
                            f"{nearest(row['split'], SPLITS)}")
        if row.get("overlap") and not row["overlap"].isdecimal():
            raise UserError(f"{where}: overlap '{row['overlap']}' is not a number of sources")
        if stem in splits:
            raise UserError(f"{where}: '{stem}' is given in line {splits[stem][0]} already")
        splits[stem] = (reader.line_num, row)
    return splits
