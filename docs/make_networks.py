"""The study of networks and recipes: prints the commands of its runs, and writes docs/networks.md from their results.

    python3 docs/make_networks.py --commands | sh   # simulate, extract, train; finished runs are skipped
    python3 docs/make_networks.py                   # results/networks/ -> docs/networks.md, docs/networks.png
"""

import argparse
import shlex
import statistics
import sys

import study  # which makes the modules of the toolkit, one folder up, importable
from study import ROOT, SEEDS

from doatools.errors import UserError, exits_cleanly
from doatools.train.runs import Run

DOCS = ROOT / "docs"
RESULTS = "results/networks"
DATA = "dataset_dir=datasets/networks"
PREPARE = (f"python3 simulate_dataset.py {DATA} sim_recordings_per_fold=12",
           f"python3 batch_feature_extraction.py 22 {DATA} features=vectors",
           f"python3 batch_feature_extraction.py 23 {DATA} features=vectors")
COMMON = f"results_dir={RESULTS} --full precision=32-true features=vectors"  # those of the tasks at that time
VALIDATED = ("LE", "LR", "LP", "LF", "F20", "MOTA@20", "ID switches")

# name → (task, epochs, overrides, what it is), seed 1, in about the same CPU time.
CANDIDATES = {
    "base": (22, 18, "", "task 22"),
    "nomix": (22, 20, "mix_augment=0", "without mixtures"),
    "adamw": (22, 20, "optimizer=adamw learning_rate=1e-3", "AdamW instead of Muon"),
    "gru1": (22, 22, "nb_rnn_layers=1", "one recurrent layer"),
    "doanet32": (20, 21, "nb_cnn2d_filt=32 optimizer=muon learning_rate=2e-3 weight_decay=0.05 lr_schedule=linear "
                 "dropout_rate=0.2 spec_augment=True mix_augment=0.4", "DOAnet of 32 maps, with the recipe of task 22"),
    "switch100": (22, 18, "switch_cost=100", "cost of a slot change 100"),
    "switch1000": (22, 18, "switch_cost=1000", "cost of a slot change 1000"),
}
# name → (task, epochs, seeds, what it is): the comparison with task 20.
FINALISTS = {
    "reference": (20, 40, SEEDS[:1], "task 20"),
    "third": (22, 55, SEEDS, "task 22"),
    "mic": (23, 30, SEEDS[:1], "task 23 (capsules)"),
}


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", action="store_true", help="print the commands that make the results, and exit")
    return parser


@exits_cleanly
def main(argv=None):
    if build_parser().parse_args(argv).commands:
        print("\n".join(commands()))
        return 0
    runs = {name: [folder(task, name, seed) for seed in seeds] for name, (task, _, seeds, _) in FINALISTS.items()}
    runs |= {name: [folder(task, name, SEEDS[0])] for name, (task, *_) in CANDIDATES.items()}
    missing = [run.name for group in runs.values() for run in group if not study.finished(run)]
    if missing:
        raise UserError(f"{RESULTS} lacks the runs {', '.join(missing)}; see python3 docs/make_networks.py --commands")
    study.write_page(DOCS, "networks", {
        "COMMANDS": "\n".join([
            *PREPARE, f"# each run: python3 train_doanet.py TASK NAME_SEED {DATA} {COMMON} nb_epochs=EPOCHS seed=SEED "
            "OVERRIDES", "python3 docs/make_networks.py --commands | sh"]),
        "CANDIDATES": candidate_table(runs),
        "VALIDATION": finalist_table(runs, "validation"), "TEST": finalist_table(runs, "test")})
    draw(runs, DOCS / "networks.png")
    print("docs/networks.md and docs/networks.png written")
    return 0


def commands():
    """Shell commands of all runs."""
    yield from PREPARE
    for name, (task, epochs, words, _) in CANDIDATES.items():
        yield command(task, name, SEEDS[0], epochs, words)
    for name, (task, epochs, seeds, _) in FINALISTS.items():
        for seed in seeds:
            yield command(task, name, seed, epochs, "")


def command(task, name, seed, epochs, words):
    run = ["python3", "train_doanet.py", str(task), f"{name}_{seed}", DATA, *COMMON.split(), f"nb_epochs={epochs}",
           f"seed={seed}", *words.split(), "--overwrite"]
    return f"test -f {RESULTS}/{task}_{name}_{seed}/scores.json || OMP_NUM_THREADS=1 {shlex.join(run)}"


def folder(task, name, seed):
    return ROOT / RESULTS / f"{task}_{name}_{seed}"


# --- tables and plot ---------------------------------------------------------------------------------------------

def cpu_seconds(run):
    """CPU time of the training steps of a run, s."""
    return sum(entry["cpu_seconds"] for entry in Run(run).history())


def weights(run):
    """The number of weights of a run's network."""
    from doatools.train import checkpoint
    held = checkpoint.load(run / "best.pt")["model"]
    return sum(values.numel() for name, values in held.items() if "running_" not in name and "num_batches" not in name)


def candidate_table(runs):
    rows = study.header("change", "epochs", "CPU time", *VALIDATED)
    for name, (_, epochs, words, title) in CANDIDATES.items():
        run, = runs[name]
        rows.append(f"| {title}{f' (`{words}`)' if words else ''} | {epochs} | {cpu_seconds(run):.0f} s | "
                    f"{study.score_cells(study.validated(run), VALIDATED)} |")
    return "\n".join(rows)


def finalist_table(runs, fold):
    rows = study.header("run", "weights", "epochs", "CPU time", *VALIDATED)
    for name, (_, epochs, seeds, title) in FINALISTS.items():
        own = [study.load(run / "scores.json")[fold] for run in runs[name]]
        if len(seeds) > 1:
            spread = {key: [statistics.mean(found[key] for found in own), statistics.stdev(found[key] for found in own)]
                      for key in VALIDATED}
            cells, title = study.spread_cells(spread, VALIDATED), f"{title}, {len(seeds)} seeds"
        else:
            cells = study.score_cells(own[0], VALIDATED)
        seconds = statistics.mean(map(cpu_seconds, runs[name]))
        rows.append(f"| {title} | {weights(runs[name][0]):,} | {epochs} | {seconds:.0f} s | {cells} |")
    return "\n".join(rows)


def draw(runs, path):
    """Validation scores against the CPU time spent so far."""
    from doatools.report import plots
    with plots.figure(path, 1, 2, figsize=(10, 3.8)) as (_, axes):
        for axis, key, label in ((axes[0], "LE", "localization error (°)"), (axes[1], "F20", "F20 (%)")):
            for name, colour in (("reference", "C3"), ("third", "C0")):
                for number, run in enumerate(runs[name]):
                    history, spent, times = Run(run).history(), 0, []
                    for entry in history:
                        spent += entry["cpu_seconds"]
                        times.append(spent / 60)
                    axis.plot(times, [entry["scores"][key] for entry in history], color=colour, lw=1.2,
                              label=FINALISTS[name][-1] if number == 0 else None)
            axis.set_xlabel("CPU time of training (minutes)")
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
        axes[0].set_ylim(0, 30)
        axes[1].set_ylim(50, 100)
        axes[1].legend(loc="lower right")


if __name__ == "__main__":
    sys.exit(main())
