"""Annotation formats, each behind the same few questions; the registry of them is FORMATS.

``params`` are those of get_params. A recording's annotation becomes EVENT_ROWS at frames of annotation_hop_len_s,
whatever the file; a further format is one class and one line.
"""

from pathlib import Path

from doatools.data.annotations import find_recordings, read_dcase, select
from doatools.data.tut import find_tut, read_tut, select_tut
from doatools.errors import UserError


class Dcase:
    """TAU-NIGENS 2020 and other folders of that layout (see annotations)."""

    @staticmethod
    def find(params, augmented=False):
        """Recordings, sorted by stem."""
        return find_recordings(params["dataset_dir"], params["dataset"], params["mode"], augmented)

    @staticmethod
    def select(recordings, role, params):
        """Those that play a role: 'train', 'val', 'test'."""
        return select(recordings, role, params["mode"])

    @staticmethod
    def read(path, n_frames, hop_s):
        """EVENT_ROWS of an annotation; a line at or beyond frame ``n_frames`` is an error."""
        return read_dcase(path, n_frames)

    @staticmethod
    def division(params):
        """A name for what decides which recordings train."""
        return f"{params['dataset']}_{params['mode']}"

    @staticmethod
    def audio_stems(params):
        """{name of a folder of audio: stems of what lies there, in any mode}."""
        folders = (f"{params['dataset']}_{part}" for part in ("dev", "eval"))
        return {folder: {path.stem for path in Path(params["dataset_dir"], folder).glob("*")} for folder in folders}


class Tut2018:
    """TUT Sound Events 2018 (see tut); ``dataset_dir`` is one of its sets, <data_root>/ansim say."""

    @staticmethod
    def find(params, augmented=False):
        if params["dataset"] != "foa" or augmented:
            raise UserError("recordings of format=tut2018 are dataset=foa, and augmented=True does not apply to them")
        return find_tut(params["dataset_dir"])

    @staticmethod
    def select(recordings, role, params):
        return select_tut(recordings, role, params["fold"])

    @staticmethod
    def read(path, n_frames, hop_s):
        """EVENT_ROWS of an annotation; what is beyond ``n_frames`` is cut off."""
        return read_tut(path, n_frames, hop_s)

    @staticmethod
    def division(params):
        return f"fold{params['fold']}"

    @staticmethod
    def audio_stems(params):
        stems = {}
        for recording in find_tut(params["dataset_dir"]):
            stems.setdefault(recording.audio.parent.name, set()).add(recording.stem)
        return stems


FORMATS = {"dcase": Dcase, "tut2018": Tut2018}


def format_of(params):
    return FORMATS[params["format"]]


def recordings_for(params, role):
    """The recordings that play a role, of all there are; UserError if none does."""
    kind = format_of(params)
    found = kind.find(params, augmented=params["augmented"] and role == "train")
    playing = kind.select(found, role, params)
    if not playing:
        raise UserError(f"{params['dataset_dir']}: none of its {len(found)} recordings serves as '{role}' in "
                        f"{_setting(params)}")
    if params["augmented"] and role == "train" and not any(recording.augmented for recording in playing):
        raise UserError(f"{params['dataset_dir']} holds no mixtures, which this task trains on as well: make them with "
                        f"python3 augment_files.py dataset_dir={params['dataset_dir']} and extract their features, or "
                        "set augmented=False")
    return playing


def _setting(params):
    return f"mode={params['mode']} (see ROLES in doatools/data/annotations.py)" if params["format"] == "dcase" else (
        f"fold={params['fold']} (see doatools/data/tut.py)")
