"""The study of losses: prints the commands of its runs, and writes docs/losses.md from what they leave.

    python3 docs/make_losses.py --commands | sh     # simulate, extract, train; finished runs are skipped
    python3 docs/make_losses.py                     # results/losses/ -> docs/losses.md, docs/losses.png
"""

import argparse
import json
import shlex
import statistics
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cls_metric import Scores, format_score  # noqa: E402 (the toolkit's modules lie one folder up)
from doatools import plots  # noqa: E402
from doatools.errors import UserError, exits_cleanly  # noqa: E402
from doatools.files import replacing, write_json  # noqa: E402
from doatools.report.breakdowns import moving_events  # noqa: E402
from evaluation import by_checkpoint  # noqa: E402

RESULTS = "results/losses"
DATA = "dataset_dir=datasets/losses"
SIMULATE = f"python3 simulate_dataset.py {DATA} sim_recordings_per_fold=12 sim_moving=0.6"
EXTRACT = f"python3 batch_feature_extraction.py 1 {DATA}"
COMMON = (f"{DATA} results_dir={RESULTS} quick_test=False nb_epochs=30 batch_size=32 nb_cnn2d_filt=64 "
          "gradient_clip=1 optimizer=adamw lr_schedule=onecycle turn_augment=True")
SQUARED = "dmotp=squared dmotp_weight=20"
KNOWS = "association_sees=activity"
PLAIN = "pit_distance=plain pit_distance_weight=50"
KEEPS = "association_gradient=track switch_cost=1"
HITS = "activity_gate_deg=40"

# name → (overrides, what it is). Seed 1 of each; of the FINALISTS seeds 2 and 3 as well.
VARIANTS = {
    "raw": ("gradient_clip=0 optimizer=adam lr_schedule=constant turn_augment=False batch_size=64",
            "task 1 as published, its optimizer and no rotations"),
    "pub": ("", "dMOT + activity as published"),
    "switch": ("ids=switch", "switches counted only for references that go on"),
    "know": (KNOWS, "association that knows activity"),
    "know_mean": (f"{KNOWS} dmotp=mean", "… and plain mean distance"),
    "know_straight": (f"{KNOWS} association_gradient=straight", "… and exact association, straight-through gradient"),
    "sq": (SQUARED, "mean squared distance over the detached association"),
    "know_sq": (f"{KNOWS} {SQUARED}", "association that knows activity, squared distance"),
    "ksq_hung": (f"{KNOWS} {SQUARED} association=hungarian", "… with exact association"),
    "ksq_sink": (f"{KNOWS} {SQUARED} association=sinkhorn", "… with Sinkhorn association"),
    "ksq_w5": (f"{KNOWS} {SQUARED} dmota_weight=5", "… dMOTa five times as heavy"),
    "know_sq_sw_prob": (f"{KNOWS} {SQUARED} ids=switch predicted=probable",
                        "… true switches only, false positives from activity"),
    "ksq_track1": (f"{KNOWS} {SQUARED} association=track switch_cost=1", "… exact over time, a switch costs 1"),
    "ksq_track3": (f"{KNOWS} {SQUARED} association=track switch_cost=3", "… exact over time, a switch costs 3"),
    "ksq_sttrack1": (f"{KNOWS} {SQUARED} {KEEPS}",
                     "dMOT: knows activity, squared, keeps slots"),
    "g40ksqtrack1": (f"{KNOWS} {SQUARED} {KEEPS} {HITS}",
                     "dMOT: the same, activity within 40°"),
    "meansink": (f"{KNOWS} dmotp=mean association=sinkhorn", "dMOT: knows activity, plain mean distance, Sinkhorn"),
    "meansinktrack1": (f"{KNOWS} dmotp=mean association=sinkhorn {KEEPS}", "… keeps slots"),
    "g40meansink": (f"{KNOWS} dmotp=mean association=sinkhorn {HITS}", "… activity within 40°"),
    "g40meansinktrack1": (f"{KNOWS} dmotp=mean association=sinkhorn {KEEPS} {HITS}",
                          "dMOT: the same, keeps slots, activity within 40°"),
    "g60meansinktrack1": (f"{KNOWS} dmotp=mean association=sinkhorn {KEEPS} activity_gate_deg=60",
                          "… keeps slots, activity within 60°"),
    "sinktrack1": (f"{KNOWS} {SQUARED} association=sinkhorn {KEEPS}", "… squared distance, keeps slots"),
    "g40sinktrack1": (f"{KNOWS} {SQUARED} association=sinkhorn {KEEPS} {HITS}",
                      "… squared distance, keeps slots, activity within 40°"),
    "pit": ("loss=pit", "frame PIT"),
    "seq": ("loss=pit pit_level=sequence", "sequence PIT"),
    "track10": ("loss=pit pit_level=track switch_cost=10", "frame PIT, a switch costs 10"),
    "track30": ("loss=pit pit_level=track switch_cost=30", "frame PIT, a switch costs 30"),
    "track100": ("loss=pit pit_level=track switch_cost=100", "frame PIT, a switch costs 100"),
    "track1e4": ("loss=pit pit_level=track switch_cost=10000", "frame PIT, a switch costs 10000"),
    "g40pit": (f"loss=pit {HITS}", "frame PIT, activity within 40°"),
    "g40pitplain": (f"loss=pit {PLAIN} {HITS}", "frame PIT, plain distance, activity within 40°"),
    "g40plaintrack30": (f"loss=pit {PLAIN} pit_level=track switch_cost=30 {HITS}",
                        "frame PIT, plain distance, a switch costs 30, activity within 40°"),
    "g40plaintrack100": (f"loss=pit {PLAIN} pit_level=track switch_cost=100 {HITS}",
                         "frame PIT, plain distance, a switch costs 100, activity within 40°"),
    "g60plaintrack30": (f"loss=pit {PLAIN} pit_level=track switch_cost=30 activity_gate_deg=60",
                        "frame PIT, plain distance, a switch costs 30, activity within 60°"),
    "g25track10": ("loss=pit pit_level=track switch_cost=10 activity_gate_deg=25",
                   "frame PIT, a switch costs 10, activity within 25°"),
    "g40track30": (f"loss=pit pit_level=track switch_cost=30 {HITS}",
                   "frame PIT, a switch costs 30, activity within 40°"),
    "pitdmot": (f"loss=pit_dmot {KNOWS} ids=switch predicted=probable", "frame PIT + dMOTa, true switches"),
    "warm": (f"loss=pit_dmot {KNOWS} init_weights={RESULTS}/1_pit_1/best.pt learning_rate=3e-4 nb_epochs=10",
             "frame PIT for 30 epochs, then + dMOTa for 10"),
    "pdtrack10": (f"loss=pit_dmot pit_level=track switch_cost=10 {KNOWS}", "frame PIT + dMOTa, a switch costs 10"),
}
FINALISTS = ("raw", "pub", "pit", "g40track30", "meansink", "g40meansinktrack1", "g40pitplain", "g40plaintrack30",
             "g40plaintrack100", "g60plaintrack30")
SEEDS = (1, 2, 3)
FIGURES = ("LE", "LR", "LP", "LF", "F20", "MOTA@20", "ID switches", "IDF1", "HOTA")


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", action="store_true", help="print what makes the results, and do nothing")
    return parser


@exits_cleanly
def main(argv=None):
    if build_parser().parse_args(argv).commands:
        print("\n".join(commands()))
        return 0
    validation = {name: read(name, 1)["validation"] for name in VARIANTS if finished(name, 1)}
    missing = [f"{name}_{seed}" for name in FINALISTS for seed in SEEDS if not finished(name, seed)]
    if missing:
        raise UserError(f"{RESULTS} lacks the runs {', '.join(missing)}; see python3 docs/make_losses.py --commands")
    test = {name: [tested(name, seed) for seed in tqdm(SEEDS, desc=name, leave=False)] for name in FINALISTS}
    text = (ROOT / "docs" / "losses.template.md").read_text()
    tables = {"COMMANDS": "\n".join([SIMULATE, EXTRACT, f"# of each run: python3 train_doanet.py 1 NAME_SEED {COMMON} "
                                     "seed=SEED OVERRIDES", "python3 docs/make_losses.py --commands | sh"]),
              "VALIDATION": validation_table(validation)}
    tables |= {part.upper(): test_table(test, part) for part in ("all", "moving", "static")}
    for word, table in tables.items():
        text = text.replace(f"[[{word}]]", table)
    with replacing(ROOT / "docs" / "losses.md") as temporary:
        temporary.write_text(text)
    draw({VARIANTS[name][1]: runs for name, runs in test.items()}, ROOT / "docs" / "losses.png")
    print("docs/losses.md and docs/losses.png written")
    return 0


def commands():
    yield from (SIMULATE, EXTRACT)
    for name, (words, _) in VARIANTS.items():
        for seed in SEEDS if name in FINALISTS else SEEDS[:1]:
            yield (f"test -f {RESULTS}/1_{name}_{seed}/scores.json || "
                   + shlex.join(["python3", "train_doanet.py", "1", f"{name}_{seed}", *COMMON.split(), *words.split(),
                                 f"seed={seed}", "--overwrite"]))


def folder(name, seed):
    return ROOT / RESULTS / f"1_{name}_{seed}"


def finished(name, seed):
    return (folder(name, seed) / "scores.json").is_file()


def read(name, seed):
    return json.loads((folder(name, seed) / "scores.json").read_text())


def tested(name, seed):
    """Figures of the test fold, {'all' | 'moving' | 'static': {name: value}}, kept beside the run."""
    kept, best = folder(name, seed) / "study.json", folder(name, seed) / "best.pt"
    if not kept.is_file() or kept.stat().st_mtime < best.stat().st_mtime:
        tracks, _ = by_checkpoint(best, {})
        parts = {"all": Scores(), "moving": Scores(), "static": Scores()}
        for track in tracks:
            moving, there = moving_events(track).any(1), (track.ref_id >= 0).any(1)
            for part, frames in (("all", np.ones_like(there)), ("moving", moving), ("static", there & ~moving)):
                parts[part].update(track.doa, track.active & frames[:, None], track.ref_doa,
                                   np.where(frames[:, None], track.ref_id, -1), track.pred_id)
        write_json(kept, {part: scores.compute() for part, scores in parts.items()})
    return json.loads(kept.read_text())


def validation_table(validation):
    names = FIGURES[:7]
    rows = [f"| loss | {' | '.join(names)} |", f"|{'---|' * (len(names) + 1)}"]
    for name, scores in validation.items():
        words, told = VARIANTS[name]
        figures = " | ".join(format_score(key, scores[key]) for key in names)
        rows.append(f"| {told} (`{words or 'task 1'}`) | {figures} |")
    return "\n".join(rows)


def test_table(test, part):
    rows = [f"| loss | {' | '.join(FIGURES)} |", f"|{'---|' * (len(FIGURES) + 1)}"]
    for name, runs in test.items():
        cells = []
        for key in FIGURES:
            values = [run[part][key] for run in runs]
            digits = 0 if key == "ID switches" else 1
            cells.append(f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}")
        rows.append(f"| {VARIANTS[name][1]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def draw(test, path):
    """Each run of the finalists as a point: error, accuracy and mismatches, for moving and static sources."""
    with plots.figure(path, 1, 3, figsize=(12.5, 3.6)) as (_, axes):
        for axis, (key, label) in zip(axes, (("LE", "localization error (°)"), ("MOTA@20", "MOTA@20° (%)"),
                                                  ("ID switches", "ID switches"))):
            for row, runs in enumerate(test.values()):
                for part, colour, shift in (("moving", "C3", 0.12), ("static", "C0", -0.12)):
                    axis.plot([run[part][key] for run in runs], [row + shift] * len(runs), "o", color=colour,
                              label=part if row == 0 else None)
            axis.set_yticks(range(len(test)), test if axis is axes[0] else [""] * len(test))
            axis.invert_yaxis()
            axis.set_xlabel(label)
            axis.grid(axis="x", alpha=0.3)
        axes[2].legend(title="sources that are", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


if __name__ == "__main__":
    sys.exit(main())
