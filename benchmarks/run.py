"""Time hot parts against their plain yardsticks, in one run, as ratios: ``python3 benchmarks/run.py``.

Each measurement runs in a process of its own, so that neither side profits from what the other has set up;
the two sides take turns, and the table gives the median of their ratios with its range.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# modules of this folder, each with ``measure(side) -> {"seconds", "peak_mib"}``
PARTS = ("training_step", "frame_scores")
SIDES = ("plain", "ours")


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="example: python3 benchmarks/run.py --repeats 5")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--measure", nargs=2, metavar=("PART", "SIDE"), help=argparse.SUPPRESS)
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    sys.path.insert(0, str(ROOT))
    if args.measure:
        part, side = args.measure
        print(json.dumps(__import__(f"benchmarks.{part}", fromlist=["measure"]).measure(side)))
        return 0
    print(f"{platform.processor() or platform.machine()}, {_cores()} cores, Python {platform.python_version()}\n")
    print("| part | plain | ours | times faster (range) | peak memory, plain / ours |\n|---|---|---|---|---|")
    for part in PARTS:
        print(_row(part, args.repeats), flush=True)
    return 0


def _row(part, repeats):
    taken = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            taken[side].append(_measure(part, side))
    plain, ours = ([t["seconds"] for t in taken[side]] for side in SIDES)
    ratios = [p / o for p, o in zip(plain, ours)]
    memory = " / ".join(f"{max(t['peak_mib'] for t in taken[side]):.0f} MiB" for side in SIDES)
    return (f"| {part} | {statistics.median(plain):.3f} s | {statistics.median(ours):.3f} s "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | {memory} |")


def _measure(part, side):
    command = [sys.executable, __file__, "--measure", part, side]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def _cores():
    import os
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


if __name__ == "__main__":
    sys.exit(main())
