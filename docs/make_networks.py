"""The study of networks and recipes: prints the commands of its runs, and writes docs/networks.md from their results.

    python3 docs/make_networks.py --commands | sh   # simulate, extract, train, score; finished runs are skipped
    python3 docs/make_networks.py                   # results/networks/ -> docs/networks.md, docs/networks.png
"""

import argparse
import itertools
import shlex
import statistics
import sys

import study  # which makes the modules of the toolkit, one folder up, importable
from study import ROOT, SEEDS

from doatools.errors import UserError, exits_cleanly
from doatools.train.runs import Run

DOCS = ROOT / "docs"
RESULTS = "results/networks"
# Those of docs/models.md, without drum kits.
SOUNDS = " ".join(f"--sounds {folder}" for folder in (
    "sounds/usr", *(f"more/usr/share/{part}" for part in ("asterisk", "games/hedgewars", "games/wesnoth",
                                                          "ktuberling"))))
# name → (what it is, words of its simulation): 48 minutes for training, 12 for validation and 12 for the test each.
SETS = {"generated": ("generated sounds", ""), "recorded": ("recorded sounds", SOUNDS)}
COMMON = "--full precision=32-true"
SLOTS = "duplicate_deg=0 tracker=off"  # slots as they are: what networks learn, regardless of what follows them
BOTH = "duplicate_deg=15 tracker=kalman"  # as task 22 does it
SCORED = ("LE", "LR", "LP", "LF", "F20", "MOTA@20", "ID switches")

# name → (epochs, overrides, what it is): task 22 with one change, seed 1, in about the same CPU time.
CANDIDATES = {
    "base": (18, "", "task 22"),
    "long": (18, "label_sequence_length=100 batch_size=16", "sequences of 10 s"),
    "nomix": (26, "mix_augment=0", "without mixtures"),
    "gru1": (21, "nb_rnn_layers=1", "one recurrent layer"),
    "causal": (18, "causal=True", "unidirectional, for live sound"),
    "gate40": (18, "activity_gate_deg=40", "activity within 40°"),
    "switch300": (18, "switch_cost=300", "cost of a slot change 300"),
    "competing": (18, "model=competing", "slots compete for pointers"),
    "squeeze": (18, "model=squeeze", "squeeze-and-excitation"),
    "separable": (19, "model=separable", "depthwise separable convolutions"),
    "conforming": (18, "model=conforming", "two Conformer blocks in place of the recurrent layers"),
    "recalling": (18, "model=recalling nb_cnn2d_filt=64", "64 maps, without pointers"),
}
# name → (task, epochs, {set: seeds}, what it is): the comparison with task 20.
FINALISTS = {
    "reference": (20, 40, {"generated": SEEDS, "recorded": SEEDS[:1]}, "task 20"),
    "third": (22, 40, {"generated": SEEDS, "recorded": SEEDS}, "task 22"),
}
COLOURS, LINES = {"reference": "C3", "third": "C0"}, {"generated": "-", "recorded": ":"}
# What follows the networks → (overrides, what it is), on the test recordings with generated sounds.
FOLLOWED = {"slots": (SLOTS, "slots as they are"), "followed": (BOTH, "duplicates dropped, Kalman filter")}


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", action="store_true", help="print the commands that make the results, and exit")
    return parser


@exits_cleanly
def main(argv=None):
    if build_parser().parse_args(argv).commands:
        print("\n".join(commands()))
        return 0
    wanted = [*(candidate(name) for name in CANDIDATES), *(run for group in finalists().values() for run in group)]
    missing = [f"{run.parent.name}/{run.name}" for run in wanted if not study.finished(run)]
    if missing:
        raise UserError(f"{RESULTS} lacks the runs {', '.join(missing)}; see python3 docs/make_networks.py --commands")
    study.write_page(DOCS, "networks", {
        "COMMANDS": "\n".join([
            *preparation(), "# each run: python3 train_doanet.py TASK NAME_SEED dataset_dir=datasets/networks/SET "
            f"results_dir={RESULTS}/SET {COMMON} nb_epochs=EPOCHS seed=SEED OVERRIDES",
            "python3 docs/make_networks.py --commands | sh"]),
        "CANDIDATES": candidate_table(), "FINALISTS": finalist_table(), "FOLLOWED": followed_table()})
    draw(DOCS / "networks.png")
    print("docs/networks.md and docs/networks.png written")
    return 0


def commands():
    """Shell commands of all runs."""
    yield from preparation()
    for name, (epochs, words, _) in CANDIDATES.items():
        yield training("generated", 22, name, SEEDS[0], epochs, f"{words} {SLOTS}")
    for name, (task, epochs, sets, _) in FINALISTS.items():
        for kind, seeds in sets.items():
            for seed in seeds:
                yield training(kind, task, name, seed, epochs, "")
        for seed in sets["generated"]:
            for how, (words, _) in FOLLOWED.items():
                run = run_of("generated", task, name, seed)
                yield (f"test -f {run}/{how}/evaluation.json || python3 evaluate_doanet.py {task} {name}_{seed} "
                       f"results_dir={RESULTS}/generated {words} --out {run}/{how}")


def preparation():
    """Shell commands that simulate and extract the sets."""
    for kind, (_, words) in SETS.items():
        data = f"dataset_dir=datasets/networks/{kind}"
        yield f"python3 simulate_dataset.py {data} sim_recordings_per_fold=12 {words}".rstrip()
        for task in (20, 22):
            yield f"python3 batch_feature_extraction.py {task} {data}"


def training(kind, task, name, seed, epochs, words):
    run = [f"dataset_dir=datasets/networks/{kind}", f"results_dir={RESULTS}/{kind}", *COMMON.split(),
           f"nb_epochs={epochs}", f"seed={seed}", *words.split(), "--overwrite"]
    program = "-m benchmarks.network_variants" if "model=" in words else "train_doanet.py"
    return (f"test -f {run_of(kind, task, name, seed)}/scores.json || OMP_NUM_THREADS=1 python3 {program} {task} "
            f"{name}_{seed} {shlex.join(run)}")


def run_of(kind, task, name, seed):
    """The folder of a run, relative to the toolkit."""
    return f"{RESULTS}/{kind}/{task}_{name}_{seed}"


def candidate(name):
    """The folder of a run of CANDIDATES."""
    return ROOT / run_of("generated", 22, name, SEEDS[0])


def finalists():
    """{(name, set): folders of the runs}."""
    return {(name, kind): [ROOT / run_of(kind, task, name, seed) for seed in seeds]
            for name, (task, _, sets, _) in FINALISTS.items() for kind, seeds in sets.items()}


# --- tables and plot ---------------------------------------------------------------------------------------------

def cpu_seconds(run):
    """CPU time of the training steps of a run, s."""
    return sum(entry["cpu_seconds"] for entry in Run(run).history())


def weights(run):
    """The number of weights of a run's network."""
    from doatools.train import checkpoint
    held = checkpoint.load(run / "best.pt")["model"]
    return sum(values.numel() for name, values in held.items() if "running_" not in name and "num_batches" not in name)


def candidate_table():
    rows = study.header("change", "epochs", "CPU time", *SCORED)
    for name, (epochs, words, title) in CANDIDATES.items():
        run = candidate(name)
        rows.append(f"| {title}{f' (`{words}`)' if words else ''} | {epochs} | {cpu_seconds(run):.0f} s | "
                    f"{study.score_cells(study.validated(run), SCORED)} |")
    return "\n".join(rows)


def finalist_table():
    rows = study.header("sounds", "fold", "run", "weights", "CPU time", *SCORED)
    found = finalists()
    for kind, (sounds, _) in SETS.items():
        for fold in ("validation", "test"):
            for name, (_, epochs, _, title) in FINALISTS.items():
                runs = found[name, kind]
                seconds = statistics.mean(map(cpu_seconds, runs))
                cells = spread([study.load(run / "scores.json")[fold] for run in runs])
                seeds = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
                rows.append(f"| {sounds} | {fold} | {title}, {epochs} epochs, {seeds} | "
                            f"{weights(runs[0]):,} | {seconds:.0f} s | {cells} |")
    return "\n".join(rows)


def followed_table():
    names = (*SCORED, "IDF1", "HOTA")
    rows = study.header("run", "what follows the network", *names)
    found = finalists()
    for name, (*_, title) in FINALISTS.items():
        for how, (_, followed) in FOLLOWED.items():
            reports = [study.load(run / how / "evaluation.json")["figures"] for run in found[name, "generated"]]
            cells = spread([{key: own[key]["value"] for key in names} for own in reports], names)
            rows.append(f"| {title} | {followed} | {cells} |")
    return "\n".join(rows)


def spread(scores, names=SCORED):
    """Cells of mean ± standard deviation of several dicts of scores, or of the only one."""
    if len(scores) == 1:
        return study.score_cells(scores[0], names)
    return study.spread_cells({key: [statistics.mean(own[key] for own in scores), statistics.stdev(
        own[key] for own in scores)] for key in names}, names)


def draw(path):
    """Validation scores against the CPU time spent so far."""
    from doatools.report import plots
    with plots.figure(path, 1, 2, figsize=(10, 3.8)) as (_, axes):
        for axis, key, label in ((axes[0], "LE", "localization error (°)"), (axes[1], "F20", "F20 (%)")):
            for (name, kind), runs in finalists().items():
                for number, history in enumerate(Run(run).history() for run in runs):
                    minutes = [spent / 60 for spent in itertools.accumulate(entry["cpu_seconds"] for entry in history)]
                    axis.plot(minutes, [entry["scores"][key] for entry in history], color=COLOURS[name],
                              ls=LINES[kind], lw=1.2,
                              label=None if number else f"{FINALISTS[name][-1]}, {SETS[kind][0]}")
            axis.set_xlabel("CPU time of training (minutes)")
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
        axes[0].set_ylim(0, 30)
        axes[1].set_ylim(50, 100)
        axes[1].legend(loc="lower right")


if __name__ == "__main__":
    sys.exit(main())
