"""Time hot parts against plain reference implementations, in one run, as ratios: ``python3 benchmarks/run.py``.

Each measurement runs in its own process, so that neither side profits from what the other has set up, and the sides
take turns. A run of all parts writes docs/benchmarks.md; a run of some parts only prints.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import page  # noqa: E402
from benchmarks.parts import ALL  # noqa: E402
from doatools.errors import nearest  # noqa: E402
from doatools.files import replacing  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="example: python3 benchmarks/run.py training_step --repeats 5")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"print only these: {', '.join(ALL)} (default: all, "
                        f"written to {PAGE.relative_to(ROOT)})")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side (default 3)")
    parser.add_argument("--measure", nargs=2, metavar=("PART", "SIDE"), help=argparse.SUPPRESS)
    return parser


def main(argv=None):
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.measure:
        part, side = args.measure
        measured = importlib.import_module(f"benchmarks.{ALL[part].module}").measure(side, *ALL[part].arguments)
        print(json.dumps(measured))
        return 0
    unknown = [part for part in args.parts if part not in ALL]
    if unknown:
        parser.error(f"no part '{unknown[0]}'.{nearest(unknown[0], ALL)} Known: {', '.join(ALL)}")
    taken = {}
    for part in args.parts or ALL:
        taken[part] = measure(part, args.repeats)
        print("\n".join(page.rows(part, taken[part])), flush=True)
    print("\n".join([*page.bars(taken), *page.reading_multiples(taken), *page.least_rows(taken)]))
    if not args.parts:
        with replacing(PAGE) as temporary:
            temporary.write_text(page.page(taken), encoding="utf-8")
        print(f"-> {PAGE}")
    return 0


def measure(part, repeats):
    """{side: measurements} of a part; the sides take turns."""
    taken = {side: [] for side in ALL[part].sides}
    for _ in range(ALL[part].repeats or repeats):
        for side in taken:
            command = [sys.executable, __file__, "--measure", part, side]
            environment = os.environ | dict.fromkeys(THREADS, str(ALL[part].threads))
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
            if done.returncode:
                raise SystemExit(f"{part}, {side}: failed\n{done.stderr}")
            taken[side].append(json.loads(done.stdout.splitlines()[-1]))
    return taken


if __name__ == "__main__":
    sys.exit(main())
