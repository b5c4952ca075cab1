"""Features and labels of recordings on disk: made in parallel, and only where they are out of date.

``files`` is a FeatureFiles throughout: paths of features and labels, and what they are made from.
"""

from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import threadpoolctl
from tqdm import tqdm

from doatools.cluster import results_of
from doatools.config.stored import Stored, read_json
from doatools.data import mixtures
from doatools.data.cache import forget, is_fresh, making
from doatools.data.slots import LISTED, count_overlap, count_without_slot, refuse_overflow
from doatools.errors import UserError
from doatools.files import in_memory, remove_leftovers, write_json
from doatools.npy import read_npy
from doatools.types import EVENT_ROWS

REMEDY = "delete it and run batch_feature_extraction.py again"
OWNER = "features_of.json"  # in a feat_label_dir outside the dataset: which dataset it belongs to


class Owner(Stored):
    dataset_dir: str


class Made(NamedTuple):
    """The work of ``make_features``."""

    samples: list  # lengths of the recordings
    extracted: int  # recordings
    normalised: int  # recordings
    without_slot: dict  # {annotation: (source frames beyond max_sources, all source frames)}, where there are any


def make_features(files, recordings, jobs):
    """Labels, features and normalised features of all recordings → Made."""
    _claim(files.folder, Path(files.config.data.dataset_dir).resolve())
    _clean(files)
    samples, without_slot = write_labels(files, recordings)
    sums = extract_features(files, recordings, samples, jobs)
    normalised = normalise_features(files, recordings, jobs, sums) if files.feature_class.kind.normalised else 0
    return Made(samples, len(sums), normalised, without_slot)


def write_labels(files, recordings):
    """Check all headers and annotations, then write labels that are out of date → samples of each recording, and the
    ``without_slot`` of Made.

    One UserError lists all problems, before any work is done.
    """
    data = files.config.data
    samples, overlaps, without_slot, stale, problems = [], {}, {}, [], []
    for recording in tqdm(recordings, desc="labels", unit="file", leave=False):
        path, made_from = files.labels(recording), files.labels_made_from(recording)
        try:
            samples.append(files.feature_class_of(recording).inspect_audio(recording))
            fresh = is_fresh(path, made_from)
            rows = read_labels(path) if fresh else files.read_labels(recording, samples[-1])
        except UserError as error:
            problems.append(str(error))
            continue
        overlaps[recording.annotation] = count_overlap(rows)
        if dropped := count_without_slot(rows, data.max_sources, data.label_slots):
            without_slot[recording.annotation] = dropped, len(rows)
        if not fresh:
            stale.append((path, made_from, rows))
    _refuse(problems)
    if data.overflow == "error":
        refuse_overflow(overlaps, data.max_sources)
    for path, made_from, rows in stale:
        _save(path, made_from, rows)
    return samples, without_slot


def extract_features(files, recordings, samples, jobs):
    """Extract features that are out of date → {path: sums of its features}. A bad file does not stop the others."""
    lengths = dict(zip(recordings, samples))
    stale = [r for r in recordings if not is_fresh(files.features(r), files.features_made_from(r))]
    if stale:
        files.feature_class.kind.prepare()  # once, rather than in each process
    tasks = (joblib.delayed(_extract)(files.feature_class_of(recording), recording,
                                      files.samples_used(lengths[recording]), files.label_frames(lengths[recording]),
                                      files.features(recording), files.features_made_from(recording))
             for recording in stale)
    results = list(_in_parallel(tasks, jobs, "features", len(stale)))
    _refuse([problem for problem, _ in results if problem], "; the features of the others stay valid")
    return {files.features(recording): sums for recording, (_, sums) in zip(stale, results)}


def normalise_features(files, recordings, jobs, sums):
    """Normalise features that are out of date by those of the training recordings → number of recordings.

    ``sums``: {path: sums} of features that were just extracted; the sums of others are computed from disk.
    """
    training = [recording for recording in files.reader.select(recordings, "train") if not recording.augmented]
    if not training:
        print(f"no training recordings in {files.reader.setting}: features are kept as extracted; "
              "a trained checkpoint brings its own normalisation")
        return 0
    made_from = files.scaler_made_from(training)
    if not is_fresh(files.scaler, made_from):
        paths = [files.features(recording) for recording in training]
        unknown = [path for path in paths if path not in sums]
        tasks = (joblib.delayed(_sums_of_file)(path) for path in unknown)
        sums = sums | dict(zip(unknown, _in_parallel(tasks, jobs, "scaler", len(unknown))))
        # Added in the order of the recordings, so that the result has the same bits each time.
        count, total, squares = map(sum, zip(*(sums[path] for path in paths)))
        with making(files.scaler, made_from) as temporary:
            files.write_scaler(temporary, count, total, squares)
    scaler = files.read_scaler()
    todo = [(files.features(r), files.normalised(r), files.normalised_made_from(r, made_from))
            for r in recordings]
    todo = [item for item in todo if not is_fresh(*item[1:])]
    tasks = (joblib.delayed(_normalise)(scaler, *item) for item in todo)
    for _ in _in_parallel(tasks, jobs, "normalise", len(todo)):
        pass
    return len(todo)


def read_labels(path):
    """EVENT_ROWS of a label file; UserError for a damaged one."""
    return read_npy(path, REMEDY, EVENT_ROWS)


def _extract(feature_class, recording, samples, label_frames, path, made_from):
    """Write the features of one recording → (a problem or None, sums of the features)."""
    with threadpoolctl.threadpool_limits(1):  # one process per core; and the same bits for any number of them
        try:
            audio = feature_class.read_audio(recording, samples)
        except UserError as error:
            return str(error), None
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            features = feature_class.extract(feature_class.padded(audio, label_frames))
            features = features.astype(feature_class.kind.dtype, copy=False)
        if not np.isfinite(features).all():
            return f"{recording.audio} holds samples too large to compute with (full scale is 1); repair it", None
        _save(path, made_from, features)
        return None, _sums(features) if feature_class.kind.normalised else None


def _sums(features):
    """Number of rows, their sum and their sum of squares (float64) of features (T, C*F)."""
    features = features.astype(np.float64)
    return len(features), features.sum(0), np.einsum("tk,tk->k", features, features)


def _sums_of_file(path):
    return _sums(read_npy(path, REMEDY))


def _normalise(scaler, source, path, made_from):
    _save(path, made_from, scaler.apply(read_npy(source, REMEDY, width=len(scaler.mean))))


def _save(path, made_from, array):
    """Write the same file as ``np.save``, but as plain bytes, so that a full disk is reported (see ``in_memory``)."""
    array = np.ascontiguousarray(array)
    header = in_memory(lambda file: np.lib.format.write_array_header_1_0(
        file, np.lib.format.header_data_from_array_1_0(array)))
    with making(path, made_from) as temporary, open(temporary, "wb") as file:
        file.write(header)
        file.write(array)


def _in_parallel(tasks, jobs, what, total):
    """Results, in the order of the tasks."""
    if not total:
        return ()
    # Batches of one task: the growing batches of joblib would leave processes without work at the end.
    return tqdm(results_of(tasks, jobs, batch_size=1), desc=what, total=total, unit="file", leave=False)


def _claim(folder, dataset_dir):
    """Note in ``folder`` which dataset its features belong to; UserError if it belongs to another dataset.

    A folder inside ``dataset_dir`` (resolved) belongs to this dataset and moves with it, so it needs no note. If the
    noted dataset no longer exists (it was probably moved or renamed), this one takes over.
    """
    if folder.resolve().is_relative_to(dataset_dir):
        return
    note = folder / OWNER
    owner = None
    if note.exists():
        remedy = f"remove the folder if it holds nothing but features of {dataset_dir}"
        owner = Path(read_json(note, Owner, remedy).dataset_dir)
    if owner == dataset_dir:
        return
    if owner and owner.exists():
        raise UserError(f"{folder} holds the features of {owner}; choose another feat_label_dir for "
                        f"{dataset_dir}")
    write_json(note, {"dataset_dir": str(dataset_dir)})


def _clean(files):
    """Remove temporary files of killed runs, and what was made from recordings that no longer exist."""
    config = files.config
    mixed = mixtures.mixture_stems(config.data.dataset_dir, config.array)
    existing = files.reader.audio_stems() | {mixtures.place_of(config.array): mixed}
    kinds = (files.label_suffix, files.suffix)
    stems_of = {f"{folder}{kind}": stems for folder, stems in existing.items() for kind in kinds}
    stems_of[f"{files.name}_norm"] = set().union(*existing.values())
    remove_leftovers(files.folder)
    for name, stems in stems_of.items():
        remove_leftovers(files.folder / name)
        for path in (files.folder / name).glob("*.npy"):
            if path.stem not in stems and not path.name.startswith("."):
                forget(path)


def _refuse(problems, consequence=""):
    if len(problems) == 1:
        raise UserError(f"{problems[0]}{consequence}")
    if problems:
        named = "".join(f"\n  {problem}" for problem in problems[:LISTED])
        more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise UserError(f"{len(problems)} recordings cannot be used{consequence}:{named}{more}")
