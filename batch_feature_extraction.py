"""Extract features and labels of all recordings, and normalise the features. Files that are up to date are skipped.

Files written to feat_label_dir (default <dataset_dir>/features):

    <array>_dev/                features
    <array>_dev_label/          labels
    <array>_<mode>_norm/        features normalised with mean and scale of the training folds
    <array>_<mode>_scaler.npz   mean and scale of the training folds

A feat_label_dir outside of the dataset must not be shared with another dataset.
"""

import argparse
import shlex
import sys
import time

from doanet_parameters import add_override_argument, get_params, split_words
from doatools import cluster
from doatools.errors import exits_cleanly


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id | config.yaml] [key=value ...] [--jobs N] [--dask ADDRESS]",
        epilog="example: python3 batch_feature_extraction.py 22 array=mic dataset_dir=datasets/simulated\n"
               "         python3 batch_feature_extraction.py 24 array=respeaker_6mic dataset_dir=datasets/ring\n"
               "         python3 batch_feature_extraction.py configs/seldnet.yaml dataset_dir=datasets/simulated",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_override_argument(parser)
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one per core)")
    cluster.add_argument(parser)
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    (task_id,), overrides = split_words(args.overrides, "1")
    config = get_params(task_id, **overrides)
    from cls_feature_class import FeatureFiles
    from doatools.data.extraction import make_features
    from doatools.data.readers import recordings_to_extract
    started = time.perf_counter()
    files = FeatureFiles(config)
    recordings = recordings_to_extract(files.reader, config)
    with cluster.on(args.dask):
        made = make_features(files, recordings, args.jobs if args.jobs != 0 else 1)
    _report(files, *made, time.perf_counter() - started)
    return 0


def _report(files, samples, extracted, normalised, without_slot, seconds):
    from cls_feature_class import data_words
    from doatools.data.readers import unlabelled_note
    made, config = files.feature_class, files.config
    cut = sum(files.samples_used(length) < length for length in samples)
    if cut:
        print(f"{cut} recording(s) are longer than max_audio_len_s={config.data.max_audio_len_s:g} and were cut; set "
              "max_audio_len_s=0 to use them in full")
    if without_slot:
        dropped, total = (sum(counts) for counts in zip(*without_slot.values()))
        print(f"{len(without_slot)} recording(s) have more than max_sources={config.data.max_sources} sources at once: "
              f"{dropped} of their {total} source frames ({100 * dropped / total:.1f} %) find no slot and take no part "
              "in training (overflow=drop: of simultaneous sources, the later ones); scores keep them")
    if note := unlabelled_note(files.reader, config):
        print(note)
    if config.array.planar:
        print(f"array '{config.array.name}' is planar and cannot distinguish above from below: elevations are folded "
              "into the upper half in labels, scores and output")
    minutes = sum(samples) / made.fs / 60
    up_to_date = len(samples) - max(extracted, normalised)
    print(f"{len(samples)} recordings ({minutes:.1f} minutes of audio), {made.nb_feature_channels} channels "
          f"of {made.nb_bands} bands: {extracted} extracted, {normalised} normalised, {up_to_date} up to "
          f"date; {seconds:.1f} s")
    print(f"features and labels are in {files.folder}/")
    next_command = ["python3", "train_doanet.py", config.task_id, "first", *data_words(config)]
    print(f"next: {shlex.join(next_command)}")


if __name__ == "__main__":
    sys.exit(main())
