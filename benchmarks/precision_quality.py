"""Does bf16 cost quality? Pairs of short trainings of task 1 in float32 and in bf16-mixed from the same seeds:
``python3 benchmarks/precision_quality.py``.

Each figure is the mean over the last epochs of a training; a difference is bf16-mixed minus float32 of one seed,
reported with its 95 % interval over the seeds (Student's t).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("32-true", "bf16-mixed")
FIGURES = ("validation loss", "LE", "F20")
SIMULATED = ["sim_recordings_per_fold=4", "sim_recording_len_s=30"]
SMALL = ["nb_cnn2d_filt=32", "batch_size=16", "gradient_clip=1", "lr_schedule=onecycle", "optimizer=adamw"]


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 benchmarks/precision_quality.py --seeds 5 --epochs 20\n"
               "         python3 benchmarks/precision_quality.py dataset_dir=datasets/demo nb_cnn2d_filt=64")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="parameters of simulation and training; "
                        "without dataset_dir, a dataset is simulated (" + " ".join(SIMULATED) + ")")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings per precision (default 5)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="epochs of each (default 20)")
    parser.add_argument("--last", type=int, default=5, metavar="N", help="last epochs to average over (default 5)")
    return parser


def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        words = args.overrides
        if not any(word.startswith("dataset_dir=") for word in words):
            words = [f"dataset_dir={folder}/data", *words]
            script("simulate_dataset.py", *SIMULATED, *words)
        script("batch_feature_extraction.py", "1", *words)
        found = {precision: [] for precision in PRECISIONS}
        for seed in range(1, args.seeds + 1):
            for precision in PRECISIONS:
                script("train_doanet.py", "1", f"{precision}_{seed}", "--full", f"seed={seed}", "device=cpu",
                       f"nb_epochs={args.epochs}", f"precision={precision}", f"results_dir={folder}", *SMALL, *words)
                found[precision].append(figures(Path(folder) / f"1_{precision}_{seed}" / "log.jsonl", args.last))
                print(f"seed {seed}, {precision:>10}: " + ", ".join(
                    f"{name} {value:.4g}" for name, value in zip(FIGURES, found[precision][-1])), flush=True)
    print(table(*(np.array(found[precision]) for precision in PRECISIONS)))
    return 0


def script(name, *words):
    """Run a script of the toolkit; its output is shown if it fails."""
    done = subprocess.run([sys.executable, name, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} {' '.join(words)}: failed\n{done.stdout}{done.stderr}")


def figures(log, last):
    """FIGURES of a finished training, means over its last epochs."""
    epochs = [json.loads(line) for line in log.read_text().splitlines()][-last:]
    rows = [[epoch["val"]["loss"], epoch["scores"]["LE"], epoch["scores"]["F20"]] for epoch in epochs]
    return np.array(rows, float).mean(0)  # a null in one epoch makes the mean NaN


def table(single, half):
    """Figures (seeds, 3) in float32 and in bf16-mixed → a Markdown table of both and of their paired differences."""
    lines = ["", f"| mean of {len(single)} seeds | {' | '.join(PRECISIONS)} | difference, 95 % interval |",
             "|---|---|---|---|"]
    for name, before, after in zip(FIGURES, single.T, half.T):
        middle, half_width = (after - before).mean(), interval(after - before)
        within = "**excludes 0**" if abs(middle) > half_width else "contains 0"
        lines.append(f"| {name} | {before.mean():.4g} | {after.mean():.4g} | {middle:+.3g} "
                     f"[{middle - half_width:+.3g}, {middle + half_width:+.3g}], {within} |")
    return "\n".join(lines)


def interval(differences):
    """Half the width of the 95 % interval of the mean."""
    return stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)


if __name__ == "__main__":
    sys.exit(main())
