"""TUT Sound Events 2018 (Adavanne et al.): folders, annotations and cross-validation.

A dataset (ansim, resim or real) is a folder ``<data_root>/ansim`` that holds, for at most o = 1, 2, 3 simultaneous
sources and splits s = 1, 2, 3, ``wav_ov{o}_split{s}_30db/*.wav`` and ``desc_ov{o}_split{s}/*.csv`` with the same names,
which begin with train_ or test_. Recordings are first-order ambisonics (ACN, SN3D), 44.1 kHz, about 30 s.

An annotation has the header ``sound_event_recording,start_time,end_time,ele,azi,dist`` and one line per event, in
seconds and degrees. The elevation precedes the azimuth (counter-clockwise, as in geometry). Events are static.

Fold k of three: all recordings of split k are for testing; in the two other splits, train_ recordings are for training
and test_ recordings for validation. A ``splits.csv`` in the folder (columns file, split: train, val or test; file as
in the stems of ``find_tut``) replaces the folds.
"""

import csv
import re
from pathlib import Path

import numpy as np

from doatools.data.dcase import pair_files, text_lines, with_splits
from doatools.errors import UserError
from doatools.files import replacing
from doatools.types import EVENT_PIECES, Recording

HEADER = ("sound_event_recording", "start_time", "end_time", "ele", "azi", "dist")
SPLITS = (1, 2, 3)
OVERLAPS = (1, 2, 3)
AUDIO_FOLDER = re.compile(r"wav_ov(?P<overlap>\d+)_split(?P<split>\d+)_30db")
PARTS = ("train", "test")


def folders(overlap, split):
    """Names of the audio folder and of the annotation folder."""
    return f"wav_ov{overlap}_split{split}_30db", f"desc_ov{overlap}_split{split}"


# --- annotations -----------------------------------------------------------------------------------------------

def read_tut(path):
    """A TUT CSV → EVENT_PIECES, one per event, sorted and numbered by start time; class 0, the track is the event.

    Raises
    ------
    UserError
        Naming file and line: a column missing in the header, a missing or surplus cell, not a number, an angle out of
        range, an event that starts before 0 or does not end after its start.
    """
    reader = csv.DictReader(text_lines(path), skipinitialspace=True)
    missing = [name for name in HEADER if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path}, line 1: no column '{missing[0]}'; the header is {','.join(HEADER)}")
    events = []
    for row in reader:
        try:
            events.append(_parse(row))
        except UserError as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    events.sort(key=lambda event: event[0])  # stable: of events that start together, the first line is first
    return np.array([(start, end, number, 0, number, azimuth, elevation, distance)
                     for number, (start, end, azimuth, elevation, distance) in enumerate(events)], EVENT_PIECES)


def write_tut(path, events):
    """(name, start s, end s, azimuth, elevation, distance m), ... → a TUT CSV."""
    lines = [",".join(HEADER)]
    lines += [f"{name},{start:.3f},{end:.3f},{elevation:.0f},{azimuth:.0f},{distance:.1f}"
              for name, start, end, azimuth, elevation, distance in events]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _parse(row):
    """A line as a dict → (start, end, azimuth, elevation, distance)."""
    if None in row or None in row.values():
        raise UserError(f"not as many cells as in the header ({len(HEADER)})")
    values = {}
    for name in HEADER[1:]:
        try:
            values[name] = float(row[name])
        except ValueError:
            raise UserError(f"{name} '{row[name]}' is not a number") from None
    start, end, azimuth, elevation = (values[name] for name in ("start_time", "end_time", "azi", "ele"))
    if not 0 <= start < end < 1e6:
        raise UserError(f"an event from {start:g} s to {end:g} s: times start at 0, and an event ends after its start")
    if not -180 <= azimuth <= 180:
        raise UserError(f"azi {azimuth:g} is outside [-180, 180] degrees")
    if not -90 <= elevation <= 90:
        raise UserError(f"ele {elevation:g} is outside [-90, 90] degrees")
    return start, end, azimuth, elevation, values["dist"]


# --- recordings -----------------------------------------------------------------------------------------------

def find_tut(folder):
    """The recordings of one dataset (a folder such as <data_root>/ansim), sorted by stem.

    Stems are those of the files, preceded by overlap and split (``ov1_split2_train_3_desc_30_100``), so that all are
    different; ``split`` is the part and the number of the split (``train2``).

    Raises
    ------
    UserError
        The folder or one of its three splits is missing, or there are other splits; a WAV has no CSV or the reverse; a
        name begins neither with train_ nor with test_.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: download the dataset with "
                        f"'python3 download_dataset.py {folder.name}', or simulate small datasets like it with "
                        f"'python3 simulate_dataset.py --format tut2018 dataset_dir={folder.parent}'")
    found, splits = [], set()
    for place in sorted(folder.iterdir()):
        match = AUDIO_FOLDER.fullmatch(place.name)
        if match and place.is_dir():
            overlap, split = int(match["overlap"]), int(match["split"])
            _refuse_unknown(place, overlap, split)
            splits.add(split)
            found += _of_folder(place, overlap, split)
    if not found:
        raise UserError(f"{folder} holds no folder such as {folders(1, 1)[0]} with WAV files in it")
    if len(splits) < len(SPLITS):
        raise UserError(f"{folder}: no recordings of split {min(set(SPLITS) - splits)} (folders such as "
                        f"{folders(1, min(set(SPLITS) - splits))[0]}); cross-validation needs all three")
    table = folder / "splits.csv"
    return sorted(with_splits(found, table, folder) if table.exists() else found, key=lambda recording: recording.stem)


def select_tut(recordings, role, fold):
    """The recordings that play ``role`` ('train', 'val', 'test') in fold 1, 2 or 3, or by a splits.csv."""
    wanted = {"test": {f"{part}{fold}" for part in PARTS},
              "train": {f"train{split}" for split in SPLITS if split != fold},
              "val": {f"test{split}" for split in SPLITS if split != fold}}[role]
    return [recording for recording in recordings if recording.split in {*wanted, role}]


def _refuse_unknown(place, overlap, split):
    if split not in SPLITS:
        raise UserError(f"{place}: splits are 1, 2 and 3; rename those of REAL (1, 8 and 9) to 1, 2 and 3, as "
                        "download_dataset.py does")
    if overlap not in OVERLAPS:
        raise UserError(f"{place}: recordings have at most 1, 2 or 3 sources at once (ov1, ov2, ov3)")


def _of_folder(place, overlap, split):
    annotations = place.parent / folders(overlap, split)[1]
    if not annotations.is_dir():
        raise UserError(f"{annotations} does not exist; it should hold the annotations of {place}")
    found = []
    for audio, annotation in pair_files(place, annotations):
        part = audio.stem.partition("_")[0]
        if part not in PARTS:
            raise UserError(f"{audio}: the name begins neither with train_ nor with test_")
        found.append(Recording(f"ov{overlap}_split{split}_{audio.stem}", audio, annotation, f"{part}{split}",
                               overlap=overlap))
    return found
