"""The study of losses: prints the commands of its runs, and writes docs/losses.md from their results.

    python3 docs/make_losses.py --commands | sh     # simulate, extract, train; finished runs are skipped
    python3 docs/make_losses.py                     # results/losses/ -> docs/losses.md, docs/losses.png

Some variants need options that have been removed since. At commit REPRODUCIBLE they still exist; if results/losses/
holds runs made there, these are used, otherwise the figures recorded in docs/losses.recorded.json.
"""

import argparse
import json
import shlex
import sys

import study  # which makes the modules of the toolkit, one folder up, importable
from study import FIGURES, PARTS, ROOT, SEEDS

from doanet_parameters import get_params, parse_overrides
from doatools.errors import UserError, exits_cleanly

REPRODUCIBLE = "c5f157c"
DOCS = ROOT / "docs"
RESULTS = "results/losses"
DATA = "dataset_dir=datasets/losses"
SIMULATE = f"python3 simulate_dataset.py {DATA} sim_recordings_per_fold=12 sim_moving=0.6"
EXTRACT = f"python3 batch_feature_extraction.py 1 {DATA}"
COMMON = (f"{DATA} results_dir={RESULTS} --full nb_epochs=30 batch_size=32 nb_cnn2d_filt=64 gradient_clip=1 "
          "optimizer=adamw lr_schedule=onecycle rotation_augment=True")
SQUARED = "dmotp=squared dmotp_weight=20"
SEES = "association_sees=activity"
PLAIN = "pit_distance=plain pit_distance_weight=50"
KEEPS = "association_gradient=track switch_cost=1"
GATED = "activity_gate_deg=40"

# name → (overrides, what it is). Seed 1 of each; seeds 2 and 3 of the FINALISTS as well.
VARIANTS = {
    "raw": ("gradient_clip=0 optimizer=adam lr_schedule=constant rotation_augment=False batch_size=64",
            "task 1 as published, its optimizer and no rotations"),
    "pub": ("", "dMOT + activity as published"),
    "switch": ("ids=switch", "switches counted only for references that continue"),
    "know": (SEES, "association that sees activity"),
    "know_mean": (f"{SEES} dmotp=mean", "… and plain mean distance"),
    "know_straight": (f"{SEES} association_gradient=straight", "… and exact association, straight-through gradient"),
    "sq": (SQUARED, "mean squared distance over the detached association"),
    "know_sq": (f"{SEES} {SQUARED}", "association that sees activity, squared distance"),
    "ksq_hung": (f"{SEES} {SQUARED} association=hungarian", "… with exact association"),
    "ksq_sink": (f"{SEES} {SQUARED} association=sinkhorn", "… with Sinkhorn association"),
    "ksq_w5": (f"{SEES} {SQUARED} dmota_weight=5", "… five times the weight of dMOTa"),
    "know_sq_sw_prob": (f"{SEES} {SQUARED} ids=switch predicted=probable",
                        "… true switches only, false positives from activity"),
    "ksq_track1": (f"{SEES} {SQUARED} association=track switch_cost=1", "… exact over time, switch cost 1"),
    "ksq_track3": (f"{SEES} {SQUARED} association=track switch_cost=3", "… exact over time, switch cost 3"),
    "ksq_sttrack1": (f"{SEES} {SQUARED} {KEEPS}",
                     "dMOT: sees activity, squared distance, keeps slots"),
    "g40ksqtrack1": (f"{SEES} {SQUARED} {KEEPS} {GATED}",
                     "dMOT: the same, activity within 40°"),
    "meansink": (f"{SEES} dmotp=mean association=sinkhorn", "dMOT: sees activity, plain mean distance, Sinkhorn"),
    "meansinktrack1": (f"{SEES} dmotp=mean association=sinkhorn {KEEPS}", "… keeps slots"),
    "g40meansink": (f"{SEES} dmotp=mean association=sinkhorn {GATED}", "… activity within 40°"),
    "g40meansinktrack1": (f"{SEES} dmotp=mean association=sinkhorn {KEEPS} {GATED}",
                          "dMOT: the same, keeps slots, activity within 40°"),
    "g60meansinktrack1": (f"{SEES} dmotp=mean association=sinkhorn {KEEPS} activity_gate_deg=60",
                          "… keeps slots, activity within 60°"),
    "sinktrack1": (f"{SEES} {SQUARED} association=sinkhorn {KEEPS}", "… squared distance, keeps slots"),
    "g40sinktrack1": (f"{SEES} {SQUARED} association=sinkhorn {KEEPS} {GATED}",
                      "… squared distance, keeps slots, activity within 40°"),
    "pit": ("loss=pit", "frame PIT"),
    "seq": ("loss=pit pit_level=sequence", "sequence PIT"),
    "track10": ("loss=pit pit_level=track switch_cost=10", "frame PIT, switch cost 10"),
    "track30": ("loss=pit pit_level=track switch_cost=30", "frame PIT, switch cost 30"),
    "track100": ("loss=pit pit_level=track switch_cost=100", "frame PIT, switch cost 100"),
    "track1e4": ("loss=pit pit_level=track switch_cost=10000", "frame PIT, switch cost 10000"),
    "g40pit": (f"loss=pit {GATED}", "frame PIT, activity within 40°"),
    "g40pitplain": (f"loss=pit {PLAIN} {GATED}", "frame PIT, plain distance, activity within 40°"),
    "g40plaintrack30": (f"loss=pit {PLAIN} pit_level=track switch_cost=30 {GATED}",
                        "frame PIT, plain distance, switch cost 30, activity within 40°"),
    "g40plaintrack100": (f"loss=pit {PLAIN} pit_level=track switch_cost=100 {GATED}",
                         "frame PIT, plain distance, switch cost 100, activity within 40°"),
    "g60plaintrack30": (f"loss=pit {PLAIN} pit_level=track switch_cost=30 activity_gate_deg=60",
                        "frame PIT, plain distance, switch cost 30, activity within 60°"),
    "g25track10": ("loss=pit pit_level=track switch_cost=10 activity_gate_deg=25",
                   "frame PIT, switch cost 10, activity within 25°"),
    "g40track30": (f"loss=pit pit_level=track switch_cost=30 {GATED}",
                   "frame PIT, switch cost 30, activity within 40°"),
    "pitdmot": (f"loss=pit_dmot {SEES} ids=switch predicted=probable", "frame PIT + dMOTa, true switches"),
    "warm": (f"loss=pit_dmot {SEES} init_weights={RESULTS}/1_pit_1/best.pt learning_rate=3e-4 nb_epochs=10",
             "frame PIT for 30 epochs, then + dMOTa for 10"),
    "pdtrack10": (f"loss=pit_dmot pit_level=track switch_cost=10 {SEES}", "frame PIT + dMOTa, switch cost 10"),
}
FINALISTS = ("raw", "pub", "pit", "g40track30", "meansink", "g40meansinktrack1", "g40pitplain", "g40plaintrack30",
             "g40plaintrack100", "g60plaintrack30")
NOTE = f"† needs options that have been removed since; recorded results, reproducible at commit `{REPRODUCIBLE}`."


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", action="store_true", help="print the commands that make the results, and exit")
    return parser


@exits_cleanly
def main(argv=None):
    if build_parser().parse_args(argv).commands:
        print("\n".join(commands()))
        return 0
    missing = [f"{name}_{seed}" for name in FINALISTS if is_available(name)
               for seed in SEEDS if not finished(name, seed)]
    if missing:
        raise UserError(f"{RESULTS} lacks the runs {', '.join(missing)}; see python3 docs/make_losses.py --commands")
    recorded = json.loads((DOCS / "losses.recorded.json").read_text(encoding="utf-8"))
    validation = {name: study.validated(folder(name, 1)) if finished(name, 1) else recorded["validation"][name]
                  for name in VARIANTS if finished(name, 1) or name in recorded["validation"]}
    test = {name: study.tested([folder(name, seed) for seed in SEEDS])
            if all(finished(name, seed) for seed in SEEDS) else recorded["test"][name]
            for name in FINALISTS}
    tables = {"COMMANDS": "\n".join([SIMULATE, EXTRACT, f"# each run: python3 train_doanet.py 1 NAME_SEED {COMMON} "
                                     "seed=SEED OVERRIDES", "python3 docs/make_losses.py --commands | sh"]),
              "VALIDATION": validation_table(validation)}
    tables |= {part.upper(): test_table(test, part) for part in PARTS}
    study.write_page(DOCS, "losses", tables)
    draw(test, DOCS / "losses.png")
    print("docs/losses.md and docs/losses.png written")
    return 0


def is_available(name):
    """Whether the options of a variant exist in this version of the toolkit."""
    try:
        get_params("1", **parse_overrides(VARIANTS[name][0].split()))
    except UserError:
        return False
    return True


def commands():
    """Shell commands of everything that this version can run."""
    yield from (SIMULATE, EXTRACT)
    for name, (words, _) in VARIANTS.items():
        for seed in SEEDS if name in FINALISTS else SEEDS[:1]:
            if is_available(name):
                yield (f"test -f {RESULTS}/1_{name}_{seed}/scores.json || "
                       + shlex.join(["python3", "train_doanet.py", "1", f"{name}_{seed}", *COMMON.split(),
                                     *words.split(), f"seed={seed}", "--overwrite"]))
    removed = [name for name in VARIANTS if not is_available(name)]
    yield f"# removed since, to be run at commit {REPRODUCIBLE} (git checkout {REPRODUCIBLE}): {', '.join(removed)}"


# --- results -----------------------------------------------------------------------------------------------------

def folder(name, seed):
    return ROOT / RESULTS / f"1_{name}_{seed}"


def finished(name, seed):
    return study.finished(folder(name, seed))


# --- tables and plot ---------------------------------------------------------------------------------------------

def validation_table(validation):
    names = FIGURES[:7]
    rows = [f"| {title(name)} (`{VARIANTS[name][0] or 'task 1'}`) | {study.score_cells(scores, names)} |"
            for name, scores in validation.items()]
    return with_note(study.header("loss", *names) + rows, validation)


def test_table(test, part):
    rows = [f"| {title(name)} | {study.spread_cells(figures[part], FIGURES)} |" for name, figures in test.items()]
    return with_note(study.header("loss", *FIGURES) + rows, test)


def title(name):
    return VARIANTS[name][1] + ("" if is_available(name) else " †")


def with_note(rows, names):
    """The lines of a table, and what † means if it occurs."""
    return "\n".join(rows if all(map(is_available, names)) else [*rows, "", NOTE])


def draw(test, path):
    """A point for each run of the finalists: error, accuracy and ID switches, for moving and static sources.

    Recorded results are drawn as their mean and standard deviation.
    """
    from doatools.report import plots
    with plots.figure(path, 1, 3, figsize=(12.5, 3.6)) as (_, axes):
        for axis, (key, label) in zip(axes, (("LE", "localization error (°)"), ("MOTA@20", "MOTA@20° (%)"),
                                             ("ID switches", "ID switches"))):
            for row, figures in enumerate(test.values()):
                for part, colour, shift in (("moving", "C3", 0.12), ("static", "C0", -0.12)):
                    mean, deviation, *runs = figures[part][key]
                    axis.errorbar(runs or [mean], [row + shift] * (len(runs) or 1), fmt="o", color=colour,
                                  xerr=None if runs else deviation, label=part if row == 0 else None)
            axis.set_yticks(range(len(test)), list(map(title, test)) if axis is axes[0] else [""] * len(test))
            axis.invert_yaxis()
            axis.set_xlabel(label)
            axis.grid(axis="x", alpha=0.3)
        axes[2].legend(title="sources that are", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


if __name__ == "__main__":
    sys.exit(main())
