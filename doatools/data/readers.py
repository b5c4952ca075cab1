"""Dataset readers: which recordings a folder holds, their roles, and which source is active when and where.

A reader is a class with the attributes and methods of ``Dcase`` below. ``frame_s`` is the frame length of its
annotations in s, or None for annotations that state times of any resolution. Readers return EVENT_PIECES, in seconds;
labels at any hop are made of these (doatools/data/slots.py). To add a format, write such a class and add one line to
doatools/registry.py.
"""

from pathlib import Path

import numpy as np

from doatools.data.dcase import FRAME_S, find_recordings, read_dcase, select
from doatools.data.slots import pieces_of_rows
from doatools.data.tut import find_tut, read_tut, select_tut
from doatools.errors import UserError
from doatools.registry import READERS


class Dcase:
    """TAU-NIGENS 2020 and other folders in this layout (see dcase).

    Parameters
    ----------
    data : DataConfig
    array : str
        Name of the array; recordings are in ``<array>_dev`` and ``<array>_eval``.
    """

    frame_s = FRAME_S

    def __init__(self, data, array):
        self.data, self.array = data, array

    def find(self, augmented=False):
        """Recordings, sorted by stem; with the mixtures of augment_files.py if ``augmented``."""
        return find_recordings(self.data.dataset_dir, self.array, self.data.mode, augmented)

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


class Tut2018:
    """TUT Sound Events 2018 (see tut); ``dataset_dir`` is one of its datasets, such as <data_root>/ansim."""

    frame_s = None

    def __init__(self, data, array):
        self.data, self.array = data, array

    def find(self, augmented=False):
        if self.array != "foa" or augmented:
            raise UserError("recordings of format=tut2018 are array=foa, and augmented=True does not apply to them")
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
        return f"fold={self.data.fold} (see doatools/data/tut.py)"


def reader_of(config):
    """The reader of a Config's recordings."""
    return READERS[config.data.format](config.data, config.array.name)


def recordings_for(config, role):
    """The recordings with a role; UserError if there is none."""
    reader, data = reader_of(config), config.data
    found = reader.find(augmented=data.augmented and role == "train")
    chosen = reader.select(found, role)
    if not chosen:
        raise UserError(f"{data.dataset_dir}: none of its {len(found)} recordings is for '{role}' in {reader.setting}")
    if data.augmented and role == "train" and not any(recording.augmented for recording in chosen):
        raise UserError(f"{data.dataset_dir} holds no mixtures, which this task also trains on: make them with python3 "
                        f"augment_files.py dataset_dir={data.dataset_dir} and extract their features, or set "
                        "augmented=False")
    return chosen


def training_recordings(config):
    """The original (not augmented) training recordings; UserError if there is none."""
    reader = reader_of(config)
    training = reader.select(reader.find(), "train")
    if not training:
        raise UserError(f"{config.data.dataset_dir} holds no training recordings in {reader.setting}; features are "
                        "normalised by those of folds 3-6, or of split 'train' in splits.csv")
    return training
