"""Print a Markdown table of finished runs: the parameters in which they differ, test scores, seconds per epoch.

Runs are folders written by train_doanet.py, or result files (JSON) of run.py, which are printed in another table.
"""

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

from doatools.config.schema import FLAT
from doatools.errors import UserError, exits_cleanly
from doatools.files import has_suffix
from doatools.registry import MODELS

# Settings that do not distinguish experiments: where things are, what computes them, and the seed.
INCIDENTAL = {"seed", "dataset_dir", "feat_label_dir", "results_dir", "hnet_weights", "num_workers"}


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 compare_runs.py results/* --seeds\n"
               "         python3 compare_runs.py results/1_demo results/seldnet_demo --systems\n"
               "         python3 compare_runs.py experiments/results/*.json")
    parser.add_argument("runs", nargs="*", help="folders of runs (default: all in results/), or result files of run.py")
    parser.add_argument("--seeds", action="store_true",
                        help="combine runs that differ only in their seed: mean ± standard deviation")
    parser.add_argument("--systems", action="store_true", help="label runs by model and dataset only")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    from cls_metric import all_figures
    from doatools.report.cross_validation import read_rows, table
    if args.runs and all(has_suffix(run, ".json") for run in args.runs):
        print(table(read_rows(args.runs)))
        return 0
    folders = [Path(run) for run in args.runs] or sorted(
        best.parent for best in Path("results").glob("*/best.pt") if (best.parent / "scores.json").is_file())
    runs = [read_run(folder) for folder in folders if is_run(folder, len(folders) > 1)]
    if not runs:
        raise UserError("no finished run in results/; train one with: python3 train_doanet.py <task-id> <job-id>")
    groups = {}
    for run in runs:
        groups.setdefault(json.dumps(run["settings"], sort_keys=True) if args.seeds else run["name"], []).append(run)
    names = [name for name in all_figures() if name in runs[0]["scores"]]
    heads = ["system", "data"] if args.systems else ["run"]
    print(f"| {' | '.join(heads + names)} | precision | s/epoch |\n|{'---|' * (len(heads + names) + 2)}")
    for group in groups.values():
        cells = [spread(name, [run["scores"].get(name, math.nan) for run in group]) for name in names]
        seconds = [run["seconds"] for run in group if run["seconds"] is not None]
        name = system(group[0]) if args.systems else label(group, runs)
        print(f"| {name} | {' | '.join(cells)} | {group[0]['precision']} | "
              f"{f'{statistics.median(seconds):.1f}' if seconds else '-'} |")
    return 0


def is_run(folder, skipping):
    """Whether a folder holds a finished run or an evaluation; others in results/* are ``skipping``, with a note."""
    held = {name for name in ("evaluation.json", "scores.json", "best.pt", "last.pt") if (folder / name).is_file()}
    if "evaluation.json" in held or {"scores.json", "best.pt"} <= held:
        return True
    if {"best.pt", "last.pt"} & held or not folder.is_dir():
        reason = "the run is still training, or was stopped: continue it by --resume"
    else:
        reason = "this is no folder of train_doanet.py or evaluate_doanet.py"
    if not skipping:
        raise UserError(f"{folder / 'scores.json'} does not exist; {reason}")
    print(f"skipped: {folder} ({reason})", file=sys.stderr)
    return False


def read_run(folder):
    """Name, settings, test scores, precision and median seconds of a training epoch of a finished run."""
    from doatools.train import checkpoint
    from doatools.train.runs import Run, read_scores
    if not (folder / "scores.json").is_file() or not (folder / "best.pt").is_file():
        return read_evaluated(folder)
    stored = read_scores(folder)
    values = checkpoint.config_of(checkpoint.load(folder / "best.pt"), folder / "best.pt").flat()
    seconds = [entry["seconds"] for entry in Run(folder).history()]
    return {"name": folder.name, "scores": with_nan(stored.test), "precision": stored.precision,
            "data": values["dataset_dir"], "seconds": statistics.median(seconds) if seconds else None,
            "settings": {key: value for key, value in values.items()
                         if key not in INCIDENTAL and FLAT[key][0] != "simulation"}}


def read_evaluated(folder):
    """The same of what evaluate_doanet.py scored without a run: a baseline, or another program's CSVs."""
    from doatools.train.runs import read_evaluation
    stored = read_evaluation(folder)
    return {"name": stored.system, "scores": with_nan({name: one.value for name, one in stored.figures.items()}),
            "precision": "-", "data": "", "seconds": None, "settings": {"quick_test": False}}


def with_nan(scores):
    """{name: score}, NaN for None, which stands for it in JSON."""
    return {name: math.nan if value is None else value for name, value in scores.items()}


def system(run):
    """'SELDnet | demo': model and dataset of a run."""
    quick = " (quick test, means nothing)" if run["settings"]["quick_test"] else ""
    title = MODELS.title(run["settings"]["model"]) if "model" in run["settings"] else run["name"]
    return f"{title}{quick} | {Path(run['data']).name}"


def label(group, runs):
    """The runs of a group, and the settings in which the runs of the table differ."""
    settings = group[0]["settings"]
    trained = [run for run in runs if run["seconds"] is not None]
    differing = [key for key in settings if len({json.dumps(run["settings"].get(key)) for run in trained}) > 1]
    values = ", ".join(f"{key}={settings[key]}" for key in differing)
    names = group[0]["name"] if len(group) == 1 else f"{len(group)} seeds"
    if settings["quick_test"]:
        names += " (quick test, means nothing)"
    return f"{names}: {values}" if values else names


def spread(name, values):
    """'12.3°' for one run, '12.3 ± 0.4°' for several."""
    import numpy as np

    from cls_metric import all_figures, format_score
    if len(values) == 1:
        return format_score(name, values[0])
    if np.isnan(values).any():
        return format_score(name, float("nan"))
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}{all_figures()[name].unit}"


if __name__ == "__main__":
    sys.exit(main())
