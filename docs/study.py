"""What the studies of losses and of networks share: figures of finished runs, and the rows of their tables."""

import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from doatools.files import replacing, write_json  # noqa: E402 (the modules of the toolkit are one folder up)

SEEDS = (1, 2, 3)
PARTS = ("all", "moving", "static")
FIGURES = ("LE", "LR", "LP", "LF", "F20", "MOTA@20", "ID switches", "IDF1", "HOTA")
EARLIER_NAMES = {"mismatches": "ID switches"}  # of figures, in files of the first edition


def finished(run):
    """Whether the folder of a run holds its scores."""
    return (run / "scores.json").is_file()


def load(path):
    """A file of figures, whose earlier names are replaced."""
    def renamed(values):
        return {EARLIER_NAMES.get(key, key): value for key, value in values.items()}
    return json.loads(path.read_text(encoding="utf-8"), object_hook=renamed)


def validated(run):
    """Figures of the validation fold, of the best epoch."""
    return load(run / "scores.json")["validation"]


def tested(runs):
    """Figures of the test fold over runs that differ in their seed: {part: {figure: [mean, standard deviation, value of
    each run]}}."""
    figures, found = [tested_run(run) for run in runs], {}
    for part in PARTS:
        values = {key: [own[part][key] for own in figures] for key in FIGURES}
        found[part] = {key: [statistics.mean(own), statistics.stdev(own), *own] for key, own in values.items()}
    return found


def tested_run(run):
    """Figures of one run on the test fold, {part: {figure: value}}; kept beside the run as study.json."""
    kept, best = run / "study.json", run / "best.pt"
    if not kept.is_file() or kept.stat().st_mtime < best.stat().st_mtime:
        import numpy as np

        from cls_metric import Scores
        from doatools.report.breakdowns import moving_events
        from doatools.track.identities import identified
        from evaluation import by_checkpoint
        results, config = by_checkpoint(best, {})
        parts = {part: Scores() for part in PARTS}
        for result in (identified(result, config.score_hop_s) for result in results):
            moving, there = moving_events(result).any(1), (result.ref_id >= 0).any(1)
            for part, frames in (("all", np.ones_like(there)), ("moving", moving), ("static", there & ~moving)):
                parts[part].update(result.doa, result.active & frames[:, None], result.ref_doa,
                                   np.where(frames[:, None], result.ref_id, -1), result.pred_id)
        write_json(kept, {part: scores.compute() for part, scores in parts.items()})
    return load(kept)


def header(*names):
    """The first two lines of a table."""
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


def score_cells(scores, names):
    """Cells of the figures ``names`` of one run."""
    from cls_metric import format_score
    return " | ".join(format_score(key, scores[key]) for key in names)


def spread_cells(figures, names):
    """Cells of mean ± standard deviation over seeds; ``figures``: one part of ``tested``."""
    return " | ".join(f"{figures[key][0]:.{digits}f} ± {figures[key][1]:.{digits}f}"
                      for key, digits in ((key, 0 if key == "ID switches" else 1) for key in names))


def write_page(docs, name, tables):
    """docs/<name>.template.md → docs/<name>.md, with each [[WORD]] replaced by a table."""
    text = (docs / f"{name}.template.md").read_text(encoding="utf-8")
    for word, table in tables.items():
        text = text.replace(f"[[{word}]]", table)
    with replacing(docs / f"{name}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
