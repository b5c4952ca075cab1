"""Extract features and labels of all recordings and normalise them; what is up to date is left alone.

Under feat_label_dir (default <dataset_dir>/features): <dataset>_dev/ features as extracted,
<dataset>_dev_label/ labels, <dataset>_<mode>_norm/ features normalised by the training folds,
<dataset>_<mode>_scaler.npz. A feat_label_dir outside the dataset's folder serves this dataset alone.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import threadpoolctl
from tqdm import tqdm

from cls_feature_class import FeatureFiles, Scaler, data_words
from doanet_parameters import add_override_argument, get_params, split_words
from doatools.annotations import LISTED, count_overlap, find_recordings, refuse_overflow, select
from doatools.errors import UserError, exits_cleanly
from doatools.files import in_memory, write_json
from doatools.freshness import forget, is_fresh, making, remove_leftovers

OWNER = "features_of.json"  # in a feat_label_dir outside the dataset's folder: that folder


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id] [key=value ...] [--jobs N]",
        epilog="example: python3 batch_feature_extraction.py 1 dataset=mic dataset_dir=datasets/simulated",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_override_argument(parser)
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    (task_id,), overrides = split_words(args.overrides, "1")
    params = get_params(task_id, **overrides)
    started = time.perf_counter()
    recordings = find_recordings(
        params["dataset_dir"], params["dataset"], params["mode"], params["augmented"])
    files = FeatureFiles(params)
    _claim(files.folder, Path(params["dataset_dir"]).resolve())
    _clean(files)
    samples = write_labels(files, recordings)
    jobs = args.jobs if args.jobs != 0 else 1
    extracted = extract_features(files, recordings, jobs)
    normalised = normalise_features(files, recordings, jobs)
    _tell(files, samples, extracted, normalised, time.perf_counter() - started)
    return 0


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
            rows = np.load(path) if fresh else made.labels(recording)
        except UserError as error:
            problems.append(str(error))
            continue
        overlaps[recording.annotation] = count_overlap(rows)
        if not fresh:
            stale.append((path, made_from, rows))
    _refuse(problems)
    if files.params["overflow"] == "error":
        refuse_overflow(overlaps, files.params["max_sources"])
    for path, made_from, rows in stale:
        _save(path, made_from, rows)
    return samples


def extract_features(files, recordings, jobs):
    """Extract what is not up to date → how many recordings. One bad file does not stop the others."""
    stale = [r for r in recordings if not is_fresh(files.features(r), files.features_made_from(r))]
    if stale:
        _ = files.feature_class.extractor  # made here once rather than in each process
    tasks = (joblib.delayed(_extract)(files.feature_class, recording.audio, files.features(recording),
                                      files.features_made_from(recording)) for recording in stale)
    _refuse([problem for problem in _in_parallel(tasks, jobs, "features", len(stale)) if problem],
            "; the features of the others stay valid")
    return len(stale)


def normalise_features(files, recordings, jobs):
    """Normalise what is not up to date by the originals of the training splits → how many recordings."""
    training = [r for r in select(recordings, "train", files.params["mode"]) if not r.augmented]
    if not training:
        print(f"no training recordings in mode={files.params['mode']}: features are kept as extracted; "
              "a trained checkpoint brings its own normalisation")
        return 0
    made_from = files.scaler_made_from(training)
    if not is_fresh(files.scaler, made_from):
        tasks = (joblib.delayed(_sums)(files.features(recording)) for recording in training)
        # Sums come in the order of the recordings: floating-point addition gives the same bits each time.
        count, total, squares = map(sum, zip(*_in_parallel(tasks, jobs, "scaler", len(training))))
        with making(files.scaler, made_from) as temporary:
            Scaler.from_sums(count, total, squares).save(temporary)
    scaler = Scaler.load(files.scaler)
    todo = [(files.features(r), files.normalised(r), files.normalised_made_from(r, made_from))
            for r in recordings]
    todo = [item for item in todo if not is_fresh(*item[1:])]
    tasks = (joblib.delayed(_normalise)(scaler, *item) for item in todo)
    for _ in _in_parallel(tasks, jobs, "normalise", len(todo)):
        pass
    return len(todo)


def _extract(feature_class, audio_path, path, made_from):
    """Features of one recording to disk; returns what is wrong with it, or None."""
    with threadpoolctl.threadpool_limits(1):  # a process a core, and the same bits for any number of them
        try:
            audio = feature_class.read_audio(audio_path, feature_class.max_samples)
        except UserError as error:
            return str(error)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at right after
            features = feature_class.extract(feature_class.fit_length(audio))
        if not np.isfinite(features).all():
            return f"{audio_path} holds samples too large to compute with (full scale is 1); mend it"
        _save(path, made_from, features)
    return None


def _sums(path):
    """Rows, their sum and their sum of squares (float64) of one recording."""
    features = np.load(path).astype(np.float64)  # (T, C*F)
    return len(features), features.sum(0), np.einsum("tk,tk->k", features, features)


def _normalise(scaler, source, path, made_from):
    _save(path, made_from, scaler.apply(np.load(source)))


def _save(path, made_from, array):
    with making(path, made_from) as temporary:
        temporary.write_bytes(in_memory(lambda file: np.save(file, array)))


def _in_parallel(tasks, jobs, what, total):
    """Results in the order of tasks, a few of them under way at a time."""
    if not total:
        return ()
    results = joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)
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
    dataset, made = files.params["dataset"], files.folder
    here = {part: {path.stem for path in Path(files.params["dataset_dir"], f"{dataset}_{part}").glob("*")}
            for part in ("dev", "eval")}
    places = {f"{dataset}_{part}{kind}": here[part] for part in here for kind in ("", "_label")}
    places |= {f"{dataset}_{mode}_norm": here["dev"] | here["eval"] for mode in ("dev", "eval")}
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


def _tell(files, samples, extracted, normalised, seconds):
    made, params = files.feature_class, files.params
    cut = sum(length > made.max_samples for length in samples)
    if cut:
        print(f"{cut} recording(s) are longer than max_audio_len_s={params['max_audio_len_s']:g} and were "
              "cut; raise it to use all of them")
    padded = sum(length < made.max_samples for length in samples)
    if padded:
        print(f"{padded} recording(s) are shorter than max_audio_len_s={params['max_audio_len_s']:g} and "
              "were padded with silence")
    minutes = sum(samples) / made.fs / 60
    up_to_date = len(samples) - max(extracted, normalised)
    print(f"{len(samples)} recordings ({minutes:.1f} minutes of audio), {made.nb_feature_channels} channels "
          f"of {made.nb_mel_bins} bands: {extracted} extracted, {normalised} normalised, {up_to_date} up to "
          f"date; {seconds:.1f} s")
    print(f"features and labels are in {files.folder}/")
    next_command = ["python3", "train_doanet.py", params["task_id"], "first", *data_words(params)]
    print(f"next: {shlex.join(next_command)}")


if __name__ == "__main__":
    sys.exit(main())
