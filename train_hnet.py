"""Train a Hungarian network on random pairs, drawn during training (always new ones) or read from a file.

The weights with the best validation score are written to models/hnet_N.pt. Scores on separate test pairs and the
training curve are written to results/hnet_N/.
"""

import argparse
import sys
import time
from pathlib import Path

from doatools.config.commandline import seed
from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json
from doatools.registry import HNETS

STEPS, MANY_STEPS = {1: 1000, 2: 6000, 3: 6000}, 5000  # by number of sources; for more of them
LAYERS, MANY_LAYERS = {1: 4, 2: 4}, 6


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python3 train_hnet.py --max-doas 2")
    add = parser.add_argument
    add("--max-doas", type=int, default=2, help="N, number of simultaneous sources (default 2)")
    add("--arch", choices=tuple(HNETS), default="equivariant",
        help="; ".join(f"{name}: {HNETS.title(name)}" for name in HNETS) + " (default equivariant)")
    add("--data", help=".npz of generate_hnet_training_data.py: 80 %% train, 10 %% validation, 10 %% test")
    add("--steps", type=int, help="batches to train on (default 6000 for 2 and 3 sources, 5000 for more)")
    add("--epochs", type=int, help="with --data: passes over the training pairs, instead of --steps")
    add("--batch-size", type=int, default=1024, help="pairs in a batch (default 1024)")
    add("--learning-rate", type=float, default=3e-3, help="peak learning rate (default 0.003)")
    add("--optimizer", choices=("adam", "muon"), help="default: adam for up to 3 sources, muon for more")
    add("--schedule", choices=("onecycle", "constant"), default="onecycle",
        help="schedule of the learning rate (default onecycle)")
    add("--temperature", type=float, help="temperature of the soft target associations, in units of distance; 0: "
        "exact ones, as published (default 0.02 for 2 sources, 0.015 for more, 0 for gru)")
    add("--patience", type=int, default=0, help="stop after this many of the 20 validations without a better score "
        "(default: never)")
    add("--held-out", type=int, default=40500, help="pairs for validation, and for each test (default 40500)")
    add("--seed", type=seed, default=1234, help="seed of weights and pairs (default 1234)")
    add("--out", help="file for the weights (default models/hnet_N.pt)")
    add("--results", help="folder for the training curve and scores (default results/hnet_N)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    check(args)
    import torch

    from doatools.train.hnet_training import fit, score
    from hnet_model import HNet, hnet_loss, save_hnet
    n, start = args.max_doas, time.monotonic()
    torch.manual_seed(args.seed)
    batches, steps, validation, tests = prepare(args)
    options = {"layers": LAYERS.get(n, MANY_LAYERS)} if args.arch == "equivariant" else {}
    model = HNet(n, args.arch, **options)
    temperature = default_temperature(args) if args.temperature is None else args.temperature
    history = fit(model, hnet_loss, batches, steps, validation, temperature=temperature, patience=args.patience,
                  learning_rate=args.learning_rate, schedule=args.schedule,
                  optimizer=args.optimizer or ("adam" if n <= 3 else "muon"))
    seconds = time.monotonic() - start
    model.eval()
    scores = {name: score(model, pairs, torch.Generator().manual_seed(args.seed)) for name, pairs in tests.items()}
    for name, figures in scores.items():
        report(name, figures, n)
    out = Path(args.out or f"models/hnet_{n}.pt")
    save_hnet(out, model, scores)
    folder = Path(args.results or f"results/hnet_{n}")
    write_json(folder / "scores.json", {"arguments": vars(args), "temperature": temperature, "seconds": seconds,
                                        "history": history, "test": scores})
    from doatools.report.hnet_plots import draw_curve
    draw_curve(folder / "curve.png", history)
    print(f"trained in {seconds:.0f} s, {sum(p.numel() for p in model.parameters())} parameters -> {out}, {folder}/")
    return 0


def check(args):
    """UserError for values that argparse accepts and that make no sense."""
    for name in ("max_doas", "steps", "epochs", "batch_size", "held_out"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    if args.epochs and not args.data:
        raise UserError("--epochs counts passes over a file: give --data as well, or --steps")


def default_temperature(args):
    return 0.0 if args.arch == "gru" else 0.02 if args.max_doas <= 2 else 0.015


def prepare(args):
    """Arguments → (iterator of batches, number of steps, validation Pairs, {name: test Pairs}).

    Training, validation and test use different pairs: parts of a file, or draws from different seeds.
    """
    import torch

    from doatools.train.hnet_pairs import LARGEST_ON_GRID, draw_published, draw_slots, load_pairs
    from doatools.train.hnet_training import batches_of, batches_on_the_fly
    training, held_out, test = (torch.Generator().manual_seed(3 * args.seed + part) for part in range(3))
    n, count = args.max_doas, args.held_out
    steps = args.steps or STEPS.get(n, MANY_STEPS)
    if args.data:
        pairs = load_pairs(args.data, n)
        tenth = len(pairs.distance) // 10
        if tenth < 1:
            raise UserError(f"{args.data} has {len(pairs.distance)} pairs; at least ten are needed to split it")
        order = torch.randperm(len(pairs.distance), generator=held_out)
        train = pairs.take(order[2 * tenth:])
        if args.epochs:
            steps = -(-args.epochs * len(train.distance) // args.batch_size)
        batches = batches_of(train, args.batch_size, steps, training)
        return batches, steps, pairs.take(order[:tenth]), {"file": pairs.take(order[tenth:2 * tenth])}
    directions = "grid" if n <= LARGEST_ON_GRID else "sphere"
    tests = {"published": draw_published(count, n, test, directions, "pairs"),
             "published, cells alike": draw_published(count, n, test, directions, "cells"),
             "slots": draw_slots(count, n, test),
             "slots, near": draw_slots(count, n, test, near=1.0)}
    validation = draw_published(count, n, held_out, directions, "pairs")
    return batches_on_the_fly(n, args.batch_size, steps, training), steps, validation, tests


def report(name, figures, max_doas):
    from doatools.train.hnet_training import table
    print(f"\n{name} ({figures['pairs']} test pairs): right {100 * figures['right']:.3f} %, label-exact "
          f"{100 * figures['label_exact']:.3f} %, weighted F1 {figures['f1']:.5f}, excess cost "
          f"{figures['excess_cost']:.1e}, equivariant {100 * figures['equivariant']:.3f} %")
    print(table(figures, max_doas))


if __name__ == "__main__":
    sys.exit(main())
