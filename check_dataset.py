"""Check a dataset: files, levels and labels, and whether directions and onsets in the audio agree with the labels.

The script reports all problems with their remedies: missing files, wrong names or sample rates, silent or clipped
channels, angles out of range; swapped, negated or reordered channels, other azimuth conventions, late labels. It does
not change any file. The exit status is 0 if no problem was found and 1 otherwise.
"""

import argparse
import sys
from pathlib import Path

from doatools.config.commandline import add_override_argument, add_threads_argument, parse_overrides, set_threads
from doatools.errors import UserError, exits_cleanly
from doatools.registry import READERS


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 check_dataset.py dataset_dir=datasets/mine\n"
               "         python3 check_dataset.py dataset_dir=datasets/mine array=mic fs=48000\n"
               "         python3 check_dataset.py dataset_dir=datasets/ring array=arrays/respeaker_6mic.yaml\n"
               "parameters: dataset_dir, format, array (a name, a YAML file, or both for foa and mic; default: all\n"
               "arrays with recordings), fs, max_sources, max_audio_len_s, mode (eval: also foa_eval and mic_eval)")
    add_override_argument(parser)
    parser.add_argument("--rotation", metavar="FILE",
                        help="write the orientation of the array relative to the labels to this file, for the "
                             "parameter rotation=FILE of extraction and evaluation and --rotation of localize.py")
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one per core)")
    return add_threads_argument(parser, "matrix products, in each process")


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    set_threads(args.threads)
    from doanet_parameters import get_params
    overrides = parse_overrides(args.overrides)
    wanted = [overrides.pop(key) for key in ("dataset", "array") if key in overrides]
    config = get_params(**overrides)
    usual = getattr(READERS[config.data.format], "usual_array", None)  # where no folder is named after the array
    arrays = find_arrays(config.data.dataset_dir, wanted[-1] if wanted else usual)
    from doatools.check import checks
    report = checks.check(config.data, config.features.fs, arrays, args.jobs or -1)
    print(f"{config.data.dataset_dir}:", *report.lines(), sep="\n")
    if args.rotation:
        write_rotation(args.rotation, report)
    return int(bool(report.findings))


def write_rotation(path, report):
    """The correction of the one array that was compared with its labels."""
    from doatools.spatial.corrections import write_correction
    if len(report.orientations) != 1:
        why = "several arrays were compared, select one by array=" if report.orientations else (
            "how the array stood could not be told")
        raise UserError(f"no correction written: {why}")
    (name, standing), = report.orientations.items()
    write_correction(path, standing.matrix, f"{name}: {standing.describe() or 'no rotation that is certain'}")
    print(f"correction written to {path}")


def find_arrays(dataset_dir, wanted):
    """{name: Array} of the array ``wanted``, or of all that ``dataset_dir`` holds recordings of."""
    from doatools.spatial.arrays import find_array, known_arrays
    names = ("foa", "mic") if wanted == "both" else () if wanted is None else (wanted,)
    found = [find_array(name) for name in names or known_arrays()]
    if names and found[0].drawn:
        raise UserError(f"array={wanted} stands for many arrays, one per recording; here, recordings of one array are "
                        "compared with their labels")
    found = [array for array in found if not array.drawn]
    if not names:
        found = [array for array in found if (Path(dataset_dir) / f"{array.name}_dev").is_dir()]
    if not found:
        raise UserError(f"{dataset_dir} holds neither foa_dev nor mic_dev, nor <name>_dev of another array in arrays/: "
                        "recordings belong in one of these (for an array of your own, give array=FILE), labels in "
                        "metadata_dev")
    return {array.name: array for array in found}


if __name__ == "__main__":
    sys.exit(main())
