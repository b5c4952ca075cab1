"""Dataset readers: which recordings a folder holds, their roles, and which source is active when and where.

A reader is a class made of a DataConfig and an Array, with the attributes and methods of ``Dcase`` below. ``frame_s``
is the frame length of its annotations in s, or None for annotations that state times of any resolution. Readers return
EVENT_PIECES, in seconds; labels at any hop are made of these (doatools/data/slots.py). To add a format, write such a
class and add one line to doatools/registry.py.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from doatools.data.dcase import FRAME_S, find_recordings, read_dcase, select
from doatools.data.locata import ROLES as LOCATA_ROLES
from doatools.data.locata import find_locata, folder_of, read_locata, read_submission, submitted_files
from doatools.data.mixtures import find_mixtures
from doatools.data.nested import DCASE2021, STARSS22, STARSS23, find_nested
from doatools.data.slots import pieces_of_rows
from doatools.data.tut import find_tut, read_tut, select_tut
from doatools.errors import UserError
from doatools.files import list_files
from doatools.registry import READERS
from doatools.spatial.drawn import path_of


class Dcase:
    """TAU-NIGENS 2020 and other folders in this layout (see dcase).

    Parameters
    ----------
    data : DataConfig
    array : Array
        Recordings are in ``<name>_dev`` and ``<name>_eval``.
    """

    frame_s = FRAME_S

    def __init__(self, data, array):
        self.data, self.array, self.drawn = data, array.name, array.drawn

    def find(self):
        """Recordings, sorted by stem; of drawn arrays with the files of these."""
        found = find_recordings(self.data.dataset_dir, self.array, self.data.mode)
        return [replace(one, array=path_of(one.audio)) for one in found] if self.drawn else found

    def select(self, recordings, role):
        """Those with a role: 'train', 'val', 'test'."""
        return select(recordings, role, self.data.mode)

    @staticmethod
    def read(path, seconds=None):
        """EVENT_PIECES of an annotation; UserError that names the line of a frame that begins after ``seconds``."""
        n_frames = None if seconds is None else int(np.ceil(seconds / FRAME_S - 1e-6))
        return pieces_of_rows(read_dcase(path, n_frames), FRAME_S)

    @property
    def division(self):
        """Names how recordings are divided into roles; normalised features are kept separately for each."""
        return f"{self.array}_{self.data.mode}"

    def audio_stems(self):
        """{name of an audio folder: stems of the recordings in it}, in all modes."""
        folders = (f"{self.array}_{part}" for part in ("dev", "eval"))
        return {folder: {path.stem for path in Path(self.data.dataset_dir, folder).glob("*")} for folder in folders}

    @property
    def setting(self):
        """What decides the roles, for messages."""
        return f"mode={self.data.mode} (folds of the file names, or splits.csv)"

    def unlabelled(self):
        """WAVs of an evaluation set whose labels are not there; they can be localized, but not scored."""
        folder = Path(self.data.dataset_dir, f"{self.array}_eval")
        if self.data.mode != "eval" or not folder.is_dir() or Path(self.data.dataset_dir, "metadata_eval").is_dir():
            return []
        return list(list_files(folder, ".wav").values())


class Nested(Dcase):
    """DCASE datasets of later years, in sub-folders (see nested); a subclass states its Layout."""

    layout = None
    shared_ids = False

    def find(self):
        return find_nested(self.data.dataset_dir, self.array, self.data.mode, self.layout)

    def select(self, recordings, role):
        return [recording for recording in recordings if recording.split in self.layout.roles[self.data.mode][role]]

    @classmethod
    def read(cls, path, seconds=None):
        n_frames = None if seconds is None else int(np.ceil(seconds / FRAME_S - 1e-6))
        return pieces_of_rows(read_dcase(path, n_frames, cls.shared_ids), FRAME_S)

    def audio_stems(self):
        folders = (f"{self.array}_{part}" for part in ("dev", "eval"))
        return {folder: {path.stem for path in Path(self.data.dataset_dir, folder).rglob("*")} for folder in folders}


class Dcase2021(Nested):
    """TAU-NIGENS Spatial Sound Events 2021."""

    layout = DCASE2021


class Starss22(Nested):
    """STARSS22: CSVs of five columns."""

    layout = STARSS22
    shared_ids = True


class Starss23(Nested):
    """STARSS23: CSVs of six columns, the last one the distance."""

    layout = STARSS23
    shared_ids = True


class Locata:
    """LOCATA (see locata); ``dataset_dir`` holds dev/ and eval/, or is one of them."""

    frame_s = FRAME_S
    usual_array = "mic"

    def __init__(self, data, array):
        self.data, self.array = data, array

    def find(self):
        return find_locata(self.data.dataset_dir, self.array, self.data.mode)[0]

    def select(self, recordings, role):
        return [recording for recording in recordings if recording.split in LOCATA_ROLES[self.data.mode][role]]

    def read(self, path, seconds):
        return pieces_of_rows(read_locata(path, self.array, seconds), FRAME_S)

    @property
    def division(self):
        return f"{self.array.name}_{self.data.mode}"

    def audio_stems(self):
        return {self.array.name: {recording.stem for recording in self.find()}}

    @property
    def setting(self):
        return (f"mode={self.data.mode} (dev: all of dev/ is for testing; eval: dev/ trains, its recordings 1 "
                "validate, eval/ "
                "is for testing; or splits.csv)")

    def unlabelled(self):
        return find_locata(self.data.dataset_dir, self.array, self.data.mode)[1]

    def submitted(self, folder):
        """Whether a folder of predictions is a submission to LOCATA."""
        name = folder_of(self.array)[0]
        return any(Path(folder).glob(f"**/task*/recording*/{name}/**/source_*"))

    def read_submission(self, folder, recording, n_frames):
        """Predictions of a submission for a recording as EVENT_ROWS; None where it has none."""
        paths = submitted_files(folder, recording)
        return read_submission(paths, recording, self.array, n_frames) if paths else None


class Tut2018:
    """TUT Sound Events 2018 (see tut); ``dataset_dir`` is one of its datasets, such as <data_root>/ansim."""

    frame_s = None
    usual_array = "foa"

    def __init__(self, data, array):
        self.data, self.array = data, array

    def find(self):
        if self.array.name != "foa":
            raise UserError("recordings of format=tut2018 are array=foa")
        return find_tut(self.data.dataset_dir)

    def select(self, recordings, role):
        return select_tut(recordings, role, self.data.fold)

    @staticmethod
    def read(path, seconds=None):
        """EVENT_PIECES of an annotation, cut off at ``seconds``."""
        pieces = read_tut(path)
        if seconds is None:
            return pieces
        pieces = pieces[pieces["start"] < seconds]
        pieces["end"] = np.minimum(pieces["end"], seconds)
        return pieces

    @property
    def division(self):
        return f"fold{self.data.fold}"

    def audio_stems(self):
        stems = {}
        for recording in find_tut(self.data.dataset_dir):
            stems.setdefault(recording.audio.parent.name, set()).add(recording.stem)
        return stems

    @property
    def setting(self):
        return f"fold={self.data.fold} (of the splits in the folder names, or splits.csv)"


def reader_of(config):
    """The reader of a Config's recordings."""
    if config.array.drawn and config.data.format != "dcase":
        raise UserError(f"array={config.data.array} stands for many arrays, which recordings of format=dcase can have, "
                        f"not those of format={config.data.format}")
    return READERS[config.data.format](config.data, config.array)


def unlabelled(reader):
    """WAVs without labels that a reader knows of, which can be localized, but not scored."""
    return reader.unlabelled() if hasattr(reader, "unlabelled") else []


def unlabelled_note(reader, config):
    """What to do with recordings without labels, a sentence; '' where there are none."""
    found = unlabelled(reader)
    if not found:
        return ""
    folder = found[0].parent if len({path.parent for path in found}) == 1 else found[0]
    array = "" if config.array.name == "foa" else f" --array {config.data.array}"
    return (f"{len(found)} recordings without labels (first: {found[0]}) cannot be scored, and their features are not "
            f"extracted; localize them with: python3 localize.py {folder}{array}")


def is_tested(config):
    """Whether a training can be scored on the test recordings: False for an evaluation set without labels."""
    reader = reader_of(config)
    return bool(reader.select(reader.find(), "test")) or not unlabelled(reader)


def recordings_for(config, role):
    """The recordings with a role; UserError if there is none."""
    reader, data = reader_of(config), config.data
    found = reader.find()
    chosen = reader.select(found, role)
    if not chosen:
        raise UserError(no_role(config, reader, role, len(found)))
    if data.augmented and role == "train":
        mixtures = find_mixtures(data.dataset_dir, config.array, chosen)
        if not mixtures:
            layout = "" if data.format == "dcase" else f" format={data.format}"
            raise UserError(f"{data.dataset_dir} holds no mixtures, which this task also trains on: make them with "
                            f"python3 augment_files.py dataset_dir={data.dataset_dir}{layout} and extract their "
                            "features, or set augmented=False")
        chosen = sorted([*chosen, *mixtures], key=lambda recording: recording.stem)
    return chosen


def recordings_to_extract(reader, config):
    """All recordings, and the mixtures of those that train if the Config asks for them."""
    found = reader.find()
    if not config.data.augmented:
        return found
    return found + find_mixtures(config.data.dataset_dir, config.array, reader.select(found, "train"))


def training_recordings(config):
    """The original (not augmented) training recordings; UserError if there is none."""
    reader = reader_of(config)
    training = reader.select(reader.find(), "train")
    if not training:
        raise UserError(f"{no_role(config, reader, 'train')}; features are normalised by those")
    return training


def no_role(config, reader, role, count=None):
    """What to say where no recording has a role."""
    data, note = config.data, unlabelled_note(reader, config) if role == "test" else ""
    if note:
        return f"{data.dataset_dir}, {reader.setting}: {note}"
    count = len(reader.find()) if count is None else count
    return (f"{data.dataset_dir}: none of its {count} recordings is for '{role}' in {reader.setting}; assign roles "
            f"with {Path(data.dataset_dir, 'splits.csv')} (columns file,split; docs/data.md)")
