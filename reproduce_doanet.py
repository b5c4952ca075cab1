"""Run the experiment of the DOAnet paper on TAU-NIGENS 2020: its losses, on plain and augmented data, on FOA and MIC.

The script makes the mixtures, extracts features, trains and scores one run per row of the table, and prints the table.
Each step is a command of this toolkit, printed before it runs. Finished steps are skipped, so the same command
continues a stopped experiment. The table is also written to reproduction.md. docs/differences.md lists the differences
from the published experiment.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from doanet_parameters import add_override_argument, get_params, split_words
from doatools.errors import UserError, exits_cleanly
from doatools.files import replacing

HERE = Path(__file__).resolve().parent
JOB = "paper"
# Row of the paper's table → tasks of FOA and MIC.
ROWS = {
    "MSE": ("2", "7"),
    "dMOT": ("3", "8"),
    "dMOT + activity": ("4", "9"),
    "dMOT, augmented": ("5", "10"),
    "dMOT + activity, augmented": ("6", "11"),
    "dMOTp, augmented": ("12", "16"),
    "dMOTp + activity, augmented": ("14", "18"),
}
ARRAYS = ("foa", "mic")
EXTRACTED = ("6", "11")  # tasks whose extraction covers plain and augmented recordings
FIGURES = ("LE", "LR", "LP", "LF", "MOTA'", "ID switches", "F20", "MOTA@20")


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 reproduce_doanet.py dataset_dir=datasets/tau2020\n"
               "         python3 reproduce_doanet.py dataset_dir=datasets/tau2020 --arrays foa --rows MSE 'dMOT + "
               "activity'\n         python3 reproduce_doanet.py dataset_dir=datasets/tau2020 --dry-run")
    add_override_argument(parser)
    parser.add_argument("--arrays", nargs="+", choices=ARRAYS, default=list(ARRAYS), help="arrays (default: both)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), metavar="ROW", default=list(ROWS),
                        help=f"rows of the table: {', '.join(map(repr, ROWS))} (default: all)")
    parser.add_argument("--quick", action="store_true", help="2 epochs of 2 batches, to see that everything works")
    parser.add_argument("--dry-run", action="store_true", help="print the remaining commands without running them")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    _, overrides = split_words(args.overrides)
    config = get_params(**overrides)
    if overrides.keys() & {"array", "dataset"}:
        raise UserError("the rows of the table set the array; choose by --arrays")
    words = [word for word in args.overrides if "=" in word]
    results = Path(config.run.results_dir)
    for command in commands(args, words, results):
        print(f"\n$ {shlex.join(command)}", flush=True)
        if not args.dry_run and subprocess.run([sys.executable, HERE / command[1], *command[2:]]).returncode:
            raise UserError(f"stopped in: {shlex.join(command)}; when that is mended, the same command goes on from "
                            "there")
    text = table(results)
    if text:
        print(f"\n{text}")
        with replacing(results / "reproduction.md") as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
    return 0


def commands(args, words, results):
    """The commands that are left to run, lazily: what is finished is looked up when its turn comes."""
    length = "--quick" if args.quick else "--full"
    todo = [(name, array) for name in args.rows for array in args.arrays
            if not finished(results, ROWS[name][ARRAYS.index(array)], args.quick)]
    if todo:
        data = [word for word in words if not word.startswith("results_dir=")]
        yield ["python3", "augment_files.py", *data]
        for array in args.arrays:
            yield ["python3", "batch_feature_extraction.py", EXTRACTED[ARRAYS.index(array)], *data]
    for name, array in todo:
        task = ROWS[name][ARRAYS.index(array)]
        yield ["python3", "train_doanet.py", task, JOB, length, "--resume", *words]
    for name in args.rows:
        for array in args.arrays:
            task = ROWS[name][ARRAYS.index(array)]
            if not (folder_of(results, task) / "evaluation.json").is_file():
                moved = [word for word in words if word.startswith("results_dir=")]
                yield ["python3", "evaluate_doanet.py", task, JOB, *moved]


def folder_of(results, task):
    return results / f"{task}_{JOB}"


def finished(results, task, quick):
    """Whether a row was trained to its end, in full or as a quick test as asked for."""
    from doatools.train.runs import read_scores
    folder = folder_of(results, task)
    return (folder / "scores.json").is_file() and read_scores(folder).quick_test == quick


def table(results):
    """All rows that are finished as a Markdown table, with 95 % intervals; '' where there is none."""
    from cls_metric import all_figures
    from doatools.report.intervals import Interval
    from doatools.report.tables import with_interval
    from doatools.train.runs import read_evaluation, read_scores
    lines = []
    for name in ROWS:
        for array in ARRAYS:
            folder = folder_of(results, ROWS[name][ARRAYS.index(array)])
            if (folder / "evaluation.json").is_file():
                figures = read_evaluation(folder).figures
                cells = (with_interval(as_interval(Interval, figures.get(one)), all_figures()[one].unit)
                         for one in FIGURES)
                quick = " (quick test)" if read_scores(folder).quick_test else ""
                lines.append(f"| {array.upper()} | {name}{quick} | {' | '.join(cells)} |")
    head = f"| | loss | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 2)}"
    return "\n".join([head, *lines]) if lines else ""


def as_interval(kind, bounds):
    """An Interval as JSON stores it: NaN is null; None for a score that is not there."""
    values = (getattr(bounds, name, None) for name in kind._fields)
    return kind(*(float("nan") if value is None else value for value in values))


if __name__ == "__main__":
    sys.exit(main())
