"""Extract features and labels of all recordings and normalise them; what is up to date is left alone.

Under feat_label_dir (default <dataset_dir>/features): <dataset>_dev/ features as extracted,
<dataset>_dev_label/ labels, <dataset>_<mode>_norm/ features normalised by the training folds,
<dataset>_<mode>_scaler.npz. A feat_label_dir outside the dataset's folder serves this dataset alone.
"""

import argparse
import shlex
import sys
import time

from cls_feature_class import FeatureFiles, data_words
from doanet_parameters import add_override_argument, get_params, split_words
from doatools import cluster
from doatools.data.extraction import make_features
from doatools.data.readers import format_of
from doatools.errors import exits_cleanly


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id | config.yaml] [key=value ...] [--jobs N] [--dask ADDRESS]",
        epilog="example: python3 batch_feature_extraction.py 1 dataset=mic dataset_dir=datasets/simulated\n"
               "         python3 batch_feature_extraction.py configs/seldnet.yaml dataset_dir=datasets/simulated",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_override_argument(parser)
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    cluster.add_argument(parser)
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    (task_id,), overrides = split_words(args.overrides, "1")
    params = get_params(task_id, **overrides)
    started = time.perf_counter()
    recordings = format_of(params).find(params, params["augmented"])
    files = FeatureFiles(params)
    with cluster.on(args.dask):
        made = make_features(files, recordings, args.jobs if args.jobs != 0 else 1)
    _tell(files, *made, time.perf_counter() - started)
    return 0


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
          f"of {made.nb_bands} bands: {extracted} extracted, {normalised} normalised, {up_to_date} up to "
          f"date; {seconds:.1f} s")
    print(f"features and labels are in {files.folder}/")
    next_command = ["python3", "train_doanet.py", params["task_id"], "first", *data_words(params)]
    print(f"next: {shlex.join(next_command)}")


if __name__ == "__main__":
    sys.exit(main())
