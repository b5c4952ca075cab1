"""Mixtures of two recordings: where augment_files.py puts them, how they are named and read. The same for all readers.

``<dataset_dir>/mixtures/<array>/<one>_mixed_with_<other>.wav`` has the channels and the sample rate of the experiment.
The CSV of the same name holds the EVENT_PIECES of both recordings as the reader of the dataset returns them, one line
each: start and end (s), event, class, track, azimuth, elevation (degrees), distance (m or nan).
"""

import shutil
from pathlib import Path

import numpy as np

from doatools.errors import UserError
from doatools.files import list_files, replacing
from doatools.types import EVENT_PIECES, Recording

FOLDER = "mixtures"
BETWEEN = "_mixed_with_"
FORMATS = ("%.9g", "%.9g", "%d", "%d", "%d", "%.7g", "%.7g", "%.7g")


def folder_of(dataset_dir, array):
    """Folder of the mixtures of recordings of an Array."""
    return Path(dataset_dir, FOLDER, array.name)


def place_of(array):
    """Name of the folder of their features."""
    return f"{FOLDER}_{array.name}"


def name_of(one, other):
    """The stem of the mixture of two stems."""
    return f"{one}{BETWEEN}{other}"


def find_mixtures(dataset_dir, array, recordings):
    """The mixtures of ``recordings`` (list of Recording) as list of Recording, sorted by stem.

    Split and room are those of the first of their two recordings. Mixtures of recordings that are not among these are
    left out: those of other roles, or files that were removed.
    """
    folder, known = folder_of(dataset_dir, array), {recording.stem: recording for recording in recordings}
    found = []
    for stem, audio in list_files(folder, ".wav").items() if folder.is_dir() else ():
        one, _, other = stem.partition(BETWEEN)
        annotation = audio.with_suffix(".csv")
        if one in known and other in known and annotation.is_file():
            found.append(Recording(stem, audio, annotation, known[one].split, known[one].room, augmented=True,
                                   place=place_of(array)))
    return found


def mixture_stems(dataset_dir, array):
    """Stems of all mixtures."""
    folder = folder_of(dataset_dir, array)
    return set(list_files(folder, ".wav")) if folder.is_dir() else set()


def remove_all(root):
    """Remove the mixtures of a dataset, or of the datasets in the folders of ``root``."""
    for folder in (*Path(root).glob(FOLDER), *Path(root).glob(f"*/{FOLDER}")):
        shutil.rmtree(folder)


def mix_pieces(one, other):
    """EVENT_PIECES of two recordings → of their mixture; tracks and events stay different."""
    other = other.copy()
    for name in ("track", "event"):
        if len(one) and len(other):
            other[name] += one[name].max() + 1 - other[name].min()
    pieces = np.concatenate([one, other])
    pieces = pieces[np.argsort(pieces["start"], kind="stable")]
    _, first, number = np.unique(pieces["event"], return_index=True, return_inverse=True)
    pieces["event"] = np.argsort(np.argsort(first))[number]  # in the order of their starts
    return pieces


def write_pieces(path, pieces):
    """EVENT_PIECES → the CSV of a mixture."""
    with replacing(path) as temporary:
        np.savetxt(temporary, pieces, FORMATS, ",", header=",".join(EVENT_PIECES.names), comments="")


def read_pieces(path):
    """The CSV of a mixture → EVENT_PIECES; UserError for anything else."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.readline().strip() != ",".join(EVENT_PIECES.names):
                raise ValueError
            lines = file.readlines()
        return np.loadtxt(lines, EVENT_PIECES, delimiter=",", ndmin=1) if lines else np.zeros(0, EVENT_PIECES)
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"{path} is not a mixture that augment_files.py made; remove it and run augment_files.py "
                        "again") from None


def mix_audio(one, other):
    """Half the sum of two recordings (samples, M), as long as the longer one."""
    mixture = np.zeros((max(len(one), len(other)), one.shape[1]), np.float32)
    mixture[: len(one)] += 0.5 * one
    mixture[: len(other)] += 0.5 * other
    return mixture

