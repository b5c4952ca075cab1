"""Results of cross-validation on TUT Sound Events 2018: a row a test recording, and the table over folds.

A row is a dict of model, dataset, fold_idx and subset_idx (from 0: the split tested on, and ov1 to ov3), recording,
frame_recall (share of frames with the right number of sources) and doa_error (degrees; None where no frame has both
a source and a prediction).
"""

import json
from pathlib import Path

import numpy as np

from doatools.errors import UserError

KEYS = ("model", "dataset", "fold_idx", "subset_idx", "frame_recall", "doa_error")
SUBSETS = ("ov1", "ov2", "ov3")


def read_rows(paths):
    """The rows of results files (JSON), one after the other; UserError for a file that holds something else."""
    rows = []
    for path in paths:
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            assert all(key in row for row in found for key in KEYS)
        except FileNotFoundError:
            raise UserError(f"{path}: no such results; make them with: python3 run.py --config configs/cnn.yaml "
                            "--data_root DIR") from None
        except (ValueError, TypeError, AssertionError):
            raise UserError(f"{path}: holds no results of run.py") from None
        rows += found
    return rows


def table(rows):
    """A Markdown table: for each model and data set, DOA error and frame recall of each number of sources.

    A fold's figure is the mean over its recordings; told are the mean over folds ± their standard deviation.
    """
    heads = [f"{subset} {figure}" for subset in SUBSETS for figure in ("DOA error", "frame recall")]
    lines = [f"| model | data | folds | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 3)}"]
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["dataset"]), []).append(row)
    for (model, dataset), group in groups.items():
        cells = [_told(group, subset, key, factor, unit) for subset in range(len(SUBSETS))
                 for key, factor, unit in (("doa_error", 1, "°"), ("frame_recall", 100, "%"))]
        folds = len({row["fold_idx"] for row in group})
        lines.append(f"| {model} | {dataset} | {folds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _told(rows, subset, key, factor, unit):
    folds = {}
    for row in rows:
        if row["subset_idx"] == subset and row[key] is not None:
            folds.setdefault(row["fold_idx"], []).append(factor * row[key])
    means = [np.mean(values) for values in folds.values()]
    if not means:
        return "n/a"
    spread = f" ± {np.std(means, ddof=1):.1f}" if len(means) > 1 else ""
    return f"{np.mean(means):.1f}{spread}{unit}"
