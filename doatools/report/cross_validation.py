"""Cross-validation on TUT Sound Events 2018: result files with one row per test recording, and the table over folds.

A row is a dict with the keys model, dataset, fold_idx and subset_idx (from 0: the split that is tested on, and ov1 to
ov3), recording, frame_recall (share of frames with the right number of sources) and doa_error (degrees; None where no
frame has both a source and a prediction).
"""

import numpy as np

from doatools.config.stored import Stored, read_json

SUBSETS = ("ov1", "ov2", "ov3")


class Row(Stored):
    """One test recording."""

    model: str
    dataset: str
    fold_idx: int
    subset_idx: int
    frame_recall: float
    doa_error: float | None


def read_rows(paths):
    """The rows (dicts) of several result files; UserError for a file with other content."""
    remedy = "create it with: python3 run.py --config configs/cnn.yaml --data_root DIR"
    return [row.model_dump() for path in paths for row in read_json(path, list[Row], remedy)]


def table(rows):
    """A Markdown table of DOA error and frame recall by number of sources, one row per model and dataset.

    The score of a fold is the mean over its recordings; cells hold the mean over folds ± their standard deviation.
    """
    heads = [f"{subset} {figure}" for subset in SUBSETS for figure in ("DOA error", "frame recall")]
    lines = [f"| model | data | folds | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 3)}"]
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["dataset"]), []).append(row)
    for (model, dataset), group in groups.items():
        cells = [_cell(group, subset, key, factor, unit) for subset in range(len(SUBSETS))
                 for key, factor, unit in (("doa_error", 1, "°"), ("frame_recall", 100, "%"))]
        folds = len({row["fold_idx"] for row in group})
        lines.append(f"| {model} | {dataset} | {folds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(rows, subset, key, factor, unit):
    folds = {}
    for row in rows:
        if row["subset_idx"] == subset and row[key] is not None:
            folds.setdefault(row["fold_idx"], []).append(factor * row[key])
    means = [np.mean(values) for values in folds.values()]
    if not means:
        return "n/a"
    spread = f" ± {np.std(means, ddof=1):.1f}" if len(means) > 1 else ""
    return f"{np.mean(means):.1f}{spread}{unit}"
