"""Check a dataset of your own: files, levels, labels, and whether the audio points where the labels say.

Tells all that is wrong at once, and what to do about it: missing files, names, sample rates, silent or clipped
channels, angles out of range; channels that are exchanged, negated or in another order, azimuths that run the
other way, labels that come late. Nothing is changed. Exit code 0: healthy, 1: not.
"""

import argparse
import sys
from pathlib import Path

from doanet_parameters import CHOICES, add_override_argument, get_params, parse_overrides
from doatools.check import checks
from doatools.errors import UserError, exits_cleanly, nearest


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 check_dataset.py dataset_dir=datasets/mine\n"
               "         python3 check_dataset.py dataset_dir=datasets/mine dataset=mic fs=48000\n"
               "parameters that matter here: dataset_dir, dataset (foa, mic or both; default: those that are there),\n"
               "fs, max_sources, max_audio_len_s, label_hop_len_s, mode (eval: foa_eval, mic_eval too)")
    add_override_argument(parser)
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    overrides = parse_overrides(args.overrides)
    wanted = overrides.pop("dataset", None)
    params = get_params(**overrides)
    report = checks.check(params, find_datasets(params["dataset_dir"], wanted), args.jobs or -1)
    print(f"{params['dataset_dir']}:", *report.lines(), sep="\n")
    return int(bool(report.findings))


def find_datasets(dataset_dir, wanted):
    """['foa'], ['mic'] or both: those ``wanted``, or those that ``dataset_dir`` holds."""
    known = CHOICES["dataset"]
    if wanted not in (None, "both", *known):
        raise UserError(f"parameter 'dataset' is one of {', '.join(known)}, both, not {wanted!r}."
                        f"{nearest(wanted, (*known, 'both'))}")
    if wanted is not None:
        return list(known) if wanted == "both" else [wanted]
    present = [name for name in known if (Path(dataset_dir) / f"{name}_dev").is_dir()]
    if not present:
        raise UserError(f"{dataset_dir} holds neither {' nor '.join(f'{name}_dev' for name in known)}: recordings lie "
                        "in one of these, their labels in metadata_dev")
    return present


if __name__ == "__main__":
    sys.exit(main())
