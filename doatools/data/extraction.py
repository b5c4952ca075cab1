"""Making the features and labels of recordings on disk: in parallel, and only what is not up to date.

``files`` is a FeatureFiles throughout: where each recording's features lie, and what they are made from.
"""

import json
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import threadpoolctl
from tqdm import tqdm

from doatools.data.cache import forget, is_fresh, making
from doatools.data.slots import LISTED, count_overlap, refuse_overflow
from doatools.errors import UserError
from doatools.files import in_memory, remove_leftovers, write_json

OWNER = "features_of.json"  # in a feat_label_dir outside the dataset's folder: that folder


class Made(NamedTuple):
    """What ``make_features`` did."""

    samples: list  # of each recording
    extracted: int
    normalised: int


def make_features(files, recordings, jobs):
    """Labels, features and normalised features of all recordings → Made."""
    _claim(files.folder, Path(files.config.data.dataset_dir).resolve())
    _clean(files)
    samples = write_labels(files, recordings)
    sums = extract_features(files, recordings, samples, jobs)
    normalised = normalise_features(files, recordings, jobs, sums) if files.feature_class.kind.normalised else 0
    return Made(samples, len(sums), normalised)


def write_labels(files, recordings):
    """Check headers and annotations of all recordings, then write stale labels → samples of each recording.

    Raises one UserError for all that is wrong, before any work is done.
    """
    made = files.feature_class
    samples, overlaps, stale, problems = [], {}, [], []
    for recording in tqdm(recordings, desc="labels", unit="file", leave=False):
        path, made_from = files.labels(recording), files.labels_made_from(recording)
        try:
            samples.append(made.inspect_audio(recording.audio))
            fresh = is_fresh(path, made_from)
            rows = np.load(path) if fresh else files.read_labels(recording, samples[-1])
        except UserError as error:
            problems.append(str(error))
            continue
        overlaps[recording.annotation] = count_overlap(rows)
        if not fresh:
            stale.append((path, made_from, rows))
    _refuse(problems)
    if files.config.data.overflow == "error":
        refuse_overflow(overlaps, files.config.data.max_sources)
    for path, made_from, rows in stale:
        _save(path, made_from, rows)
    return samples


def extract_features(files, recordings, samples, jobs):
    """Extract what is not up to date → {path: sums of its features}. One bad file does not stop the others."""
    lengths = dict(zip(recordings, samples))
    stale = [r for r in recordings if not is_fresh(files.features(r), files.features_made_from(r))]
    if stale:
        files.feature_class.kind.prepare()  # here once rather than in each process
    tasks = (joblib.delayed(_extract)(files.feature_class, recording.audio, files.samples_used(lengths[recording]),
                                      files.label_frames(lengths[recording]), files.features(recording),
                                      files.features_made_from(recording)) for recording in stale)
    results = list(_in_parallel(tasks, jobs, "features", len(stale)))
    _refuse([problem for problem, _ in results if problem], "; the features of the others stay valid")
    return {files.features(recording): sums for recording, (_, sums) in zip(stale, results)}


def normalise_features(files, recordings, jobs, sums):
    """Normalise what is not up to date by the originals of the training splits → how many recordings.

    ``sums``: {path: sums} of features that are in memory no more; those of others are read again.
    """
    playing = files.reader.select(recordings, "train")
    training = [recording for recording in playing if not recording.augmented]
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
        # Added in the order of the recordings: floating-point addition gives the same bits each time.
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


def _extract(feature_class, audio_path, samples, label_frames, path, made_from):
    """Features of one recording to disk → (what is wrong with it or None, sums of its features)."""
    with threadpoolctl.threadpool_limits(1):  # a process a core, and the same bits for any number of them
        try:
            audio = feature_class.read_audio(audio_path, samples)
        except UserError as error:
            return str(error), None
        with np.errstate(over="ignore", invalid="ignore"):  # looked at right after
            features = feature_class.extract(feature_class.padded(audio, label_frames))
            features = features.astype(feature_class.kind.dtype, copy=False)
        if not np.isfinite(features).all():
            return f"{audio_path} holds samples too large to compute with (full scale is 1); mend it", None
        _save(path, made_from, features)
        return None, _sums(features) if feature_class.kind.normalised else None


def _sums(features):
    """Rows, their sum and their sum of squares (float64) of features (T, C*F)."""
    features = features.astype(np.float64)
    return len(features), features.sum(0), np.einsum("tk,tk->k", features, features)


def _sums_of_file(path):
    return _sums(np.load(path))


def _normalise(scaler, source, path, made_from):
    _save(path, made_from, scaler.apply(np.load(source)))


def _save(path, made_from, array):
    """The file that ``np.save`` writes; only its header is made in memory first, for the reason of ``in_memory``."""
    array = np.ascontiguousarray(array)
    header = in_memory(lambda file: np.lib.format.write_array_header_1_0(
        file, np.lib.format.header_data_from_array_1_0(array)))
    with making(path, made_from) as temporary, open(temporary, "wb") as file:
        file.write(header)
        file.write(array)


def _in_parallel(tasks, jobs, what, total):
    """Results in the order of tasks, a few of them under way at a time."""
    if not total:
        return ()
    # Tasks one by one: joblib's growing batches would leave a process without work at the end.
    results = joblib.Parallel(n_jobs=jobs, return_as="generator", batch_size=1)(tasks)
    return tqdm(results, desc=what, total=total, unit="file", leave=False)


def _claim(folder, dataset_dir):
    """Note in ``folder`` whose features it holds; refuse one that belongs to another dataset.

    A folder inside the dataset's (resolved) is the dataset's own, and moves with it. Where the noted dataset
    is gone (moved or renamed, most likely), this one takes over.
    """
    if folder.resolve().is_relative_to(dataset_dir):
        return
    note = folder / OWNER
    owner = Path(json.loads(note.read_text())["dataset_dir"]) if note.exists() else None
    if owner == dataset_dir:
        return
    if owner and owner.exists():
        raise UserError(f"{folder} holds the features of {owner}; choose another feat_label_dir for "
                        f"{dataset_dir}")
    write_json(note, {"dataset_dir": str(dataset_dir)})


def _clean(files):
    """Remove what killed runs left, and what was made of recordings that are gone."""
    made, there = files.folder, files.reader.audio_stems()
    kinds = (files.label_suffix, files.suffix)
    places = {f"{folder}{kind}": stems for folder, stems in there.items() for kind in kinds}
    places[f"{files.name}_norm"] = set().union(*there.values())
    remove_leftovers(made)
    for name, stems in places.items():
        remove_leftovers(made / name)
        for path in (made / name).glob("*.npy"):
            if path.stem not in stems and not path.name.startswith("."):
                forget(path)


def _refuse(problems, consequence=""):
    if len(problems) == 1:
        raise UserError(f"{problems[0]}{consequence}")
    if problems:
        named = "".join(f"\n  {problem}" for problem in problems[:LISTED])
        more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise UserError(f"{len(problems)} recordings cannot be used{consequence}:{named}{more}")
