"""Determine the order of channels and the rotation of a microphone array from recordings of one source.

Record one person talking, or claps, from two or three known directions, for ten seconds each. The script prints the
orders of channels and the rotations of the array that explain these recordings. If several explain them equally well,
all are printed. The exit status is 0 if the array file is among them and 1 otherwise.
"""

import argparse
import sys
from pathlib import Path

from doatools.config.commandline import add_threads_argument, set_threads
from doatools.errors import UserError, exits_cleanly


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 check_capsules.py --array arrays/mine.yaml --source front.wav 0 0 "
               "--source left.wav 90 0")
    parser.add_argument("--array", required=True, metavar="NAME|FILE",
                        help="the array: a name in arrays/, or a YAML file")
    parser.add_argument("--source", nargs=3, action="append", required=True,
                        metavar=("RECORDING", "AZIMUTH", "ELEVATION"),
                        help="a recording of one source and its direction in degrees (azimuth counter-clockwise from "
                             "the front); can be repeated")
    return add_threads_argument(parser)


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    set_threads(args.threads)
    from doatools.spatial.arrays import find_array
    array = find_array(args.array)
    if array.kind == "ambisonic":
        raise UserError(f"array '{array.name}' has no capsules; check_dataset.py compares ambisonic channels with "
                        "labels")
    angles = [(angle(azimuth, "azimuth", 360), angle(elevation, "elevation", 90))
              for _, azimuth, elevation in args.source]
    from doatools.check import permutations
    arrivals = [arrivals_of(Path(path), array) for path, *_ in args.source]
    stated, answers = permutations.explain(arrivals, angles, array)
    print(report(array, stated, answers))
    return int(stated not in answers)


def angle(text, name, largest):
    """An angle of the command line; UserError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= largest:
        raise UserError(f"--source: {name} is an angle in degrees within ±{largest}, not {text!r}")
    return value


def arrivals_of(path, array):
    """Measured arrivals of a recording; prints what they rest on."""
    import numpy as np

    from doatools.check import permutations
    from doatools.data import sound_input
    sound = sound_input.open_file(path)
    if sound.channels != array.channels:
        raise UserError(f"{path} has {sound.channels} channel(s); array '{array.name}' has {array.channels}")
    audio = np.concatenate(list(sound.blocks))
    try:
        arrivals = permutations.measured_arrivals(audio, sound.rate, array)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    print(f"{path}: the sound takes {1e6 * np.ptp(arrivals):.0f} µs from the first channel that it reaches to the last")
    return arrivals


def report(array, stated, answers):
    """The lines about the answers."""
    from doatools.check.permutations import LISTED
    lines = [f"as array '{array.name}' states: times differ by {1e6 * stated.misfit:.0f} µs r.m.s."]
    if stated in answers:
        return "\n".join([*lines, stated.describe()])
    lines.append("not as the array file states. What explains the recordings:")
    lines += [f"{1e6 * answer.misfit:5.0f} µs  {answer.describe()}" for answer in answers[:LISTED]]
    if len(answers) > LISTED:
        lines.append(f"and {len(answers) - LISTED} more")
    if len(answers) > 1:
        lines.append("these explain the recordings about equally well; the first ones assume least. A recording from "
                     "another direction (add --source) may decide between them")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
