"""DCASE datasets of 2021 and later: recordings in sub-folders, whose roles follow from the fold in their names.

    <dataset_dir>/{foa|mic}_dev/<sub-folder>/fold{f}_room{r}_mix{nnn}.wav
    <dataset_dir>/metadata_dev/<sub-folder>/fold{f}_room{r}_mix{nnn}.csv
    <dataset_dir>/{foa|mic}_eval/mix{nnn}.wav, and metadata_eval/ where labels were published

TAU-NIGENS 2021 (Politis et al., DCASE2021): dev-train (folds 1 to 4), dev-val (5), dev-test (6). STARSS22 and STARSS23
(Politis et al. 2022, Shimada et al. 2023): dev-train-sony and dev-train-tau (fold 3), dev-test-sony and dev-test-tau
(4). The synthetic recordings published for training with STARSS (folds 1 and 2) may lie in any other sub-folder.

STARSS has no validation fold. VALIDATION_SHARE of the rooms of fold 3 validate, the others train: the rooms in the
order of their names, and of these evenly spaced ones, so that the choice follows from the folder's content alone and no
room is on both sides. A ``splits.csv`` in ``dataset_dir`` overrides all of this.
"""

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path

from doatools.data.dcase import by_table, pair_by_stem
from doatools.errors import UserError
from doatools.files import list_files
from doatools.types import Recording

NAME = re.compile(r"fold(?P<split>\d+)_room(?P<room>[^_]+)_(?:mix|aug)\d+(?:_ov(?P<overlap>\d+))?")
VALIDATION_SHARE = 0.2
VALIDATING = "validation room"  # the split of a recording of fold 3 whose room validates


@dataclass(frozen=True)
class Layout:
    """What tells the datasets of this layout from each other."""

    title: str
    download: str  # name for download_dataset.py
    roles: dict  # {mode: {role: splits}}
    rooms_validate: bool = False  # whether rooms of fold 3 serve as validation

    @property
    def folds(self):
        splits = set().union(*(splits for roles in self.roles.values() for splits in roles.values()))
        return {split for split in splits if split.isdigit()}


DCASE2021 = Layout("TAU-NIGENS Spatial Sound Events 2021", "dcase2021", {
    "dev": {"train": {"1", "2", "3", "4", "train"}, "val": {"5", "val"}, "test": {"6", "test"}},
    "eval": {"train": {"1", "2", "3", "4", "5", "train"}, "val": {"6", "val"}, "test": {"eval", "test"}}})
_STARSS = {
    "dev": {"train": {"1", "2", "3", "train"}, "val": {VALIDATING, "val"}, "test": {"4", "test"}},
    "eval": {"train": {"1", "2", "3", VALIDATING, "train"}, "val": {"4", "val"}, "test": {"eval", "test"}}}
STARSS22 = Layout("STARSS22", "starss22", _STARSS, rooms_validate=True)
STARSS23 = Layout("STARSS23", "starss23", _STARSS, rooms_validate=True)


def find_nested(dataset_dir, array, mode, layout):
    """The recordings of a dataset in sub-folders, sorted by stem; with those of the evaluation set where mode is 'eval'
    and their labels are there.

    Raises
    ------
    UserError
        A folder is missing or empty, a WAV has no CSV or the reverse, two recordings have one name, a name does not
        state a fold of the layout.
    """
    root = Path(dataset_dir)
    table = root / "splits.csv"
    pairs = _pairs(root, array, "dev", layout)
    if not table.exists():
        found = [_from_name(audio, annotation, root, layout) for audio, annotation in pairs]
        found = _with_validation_rooms(found) if layout.rooms_validate else found
    else:
        found = by_table(pairs, table, root / f"{array}_dev")
    evaluated = (root / "metadata_eval").is_dir() and (not table.exists() or (root / f"{array}_eval").is_dir())
    if mode == "eval" and evaluated:
        found += [Recording(audio.stem, audio, annotation, "eval")
                  for audio, annotation in _pairs(root, array, "eval", layout)]
    found.sort(key=lambda recording: recording.stem)
    for one, other in itertools.pairwise(found):
        if one.stem == other.stem:
            raise UserError(f"{one.audio} and {other.audio} have the same name; rename one of them")
    return [replace(recording, place=recording.audio.relative_to(root).parts[0]) for recording in found]


def validation_rooms(rooms):
    """The rooms that validate, of those of fold 3: VALIDATION_SHARE of them, at least one of two, evenly spaced."""
    rooms = sorted(set(rooms), key=lambda room: [(not word.isdigit(), int(word) if word.isdigit() else 0, word)
                                                 for word in re.split(r"(\d+)", room)])
    count = max(1, round(VALIDATION_SHARE * len(rooms))) if len(rooms) > 1 else 0
    return {rooms[(2 * number + 1) * len(rooms) // (2 * count)] for number in range(count)}


def files_below(folder, suffix):
    """{stem: path} of the files of a folder and of its sub-folders; UserError for two of one name."""
    found = {}
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for place in (folder, *places):
        for stem, path in list_files(place, suffix).items():
            if stem in found:
                raise UserError(f"{found[stem]} and {path} have the same name; rename one of them")
            found[stem] = path
    return found


def _pairs(root, array, part, layout):
    """(WAV, CSV) paths of {array}_{part} and metadata_{part}, at any depth up to a sub-folder."""
    audio_dir, csv_dir = root / f"{array}_{part}", root / f"metadata_{part}"
    for folder in (audio_dir, csv_dir):
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist: download {layout.title} with 'python3 download_dataset.py "
                            f"{layout.download} --to {root}', or simulate a small dataset of that layout with 'python3 "
                            f"simulate_dataset.py --format {layout.download} dataset_dir={root}'")
    audio, annotations = files_below(audio_dir, ".wav"), files_below(csv_dir, ".csv")
    if not audio:
        raise UserError(f"{audio_dir} and its sub-folders hold no WAV file")
    return pair_by_stem(audio, annotations, audio_dir, csv_dir)


def _from_name(audio, annotation, root, layout):
    match = NAME.fullmatch(audio.stem)
    if not match or match["split"] not in layout.folds:
        raise UserError(f"{audio}: the name does not state a fold of {layout.title} "
                        f"({', '.join(sorted(layout.folds))}) as "
                        f"'fold{3 if layout.rooms_validate else 1}_room2_mix003.wav' does; rename it, or list all "
                        f"recordings in {root / 'splits.csv'} with columns file,split")
    overlap = match["overlap"] and int(match["overlap"])
    return Recording(audio.stem, audio, annotation, match["split"], match["room"], overlap)


def _with_validation_rooms(recordings):
    rooms = validation_rooms(recording.room for recording in recordings if recording.split == "3")
    return [replace(recording, split=VALIDATING) if recording.split == "3" and recording.room in rooms else recording
            for recording in recordings]
