"""Plot the output of a Hungarian network: examples and errors, accuracy near ties, crossing sources.

Pictures written to results/hnet_N/:

    examples.png    distances, exact and learned association side by side; wrong elements are framed
    gap.png         accuracy over the difference in cost between the best and the second-best assignment
    crossing.png    the soft association while two sources cross
"""

import argparse
import sys
from pathlib import Path

from doatools.config.commandline import seed
from doatools.errors import UserError, exits_cleanly


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python3 visualize_hnet_results.py --max-doas 2")
    parser.add_argument("--max-doas", type=int, default=2, help="N, number of simultaneous sources (default 2)")
    parser.add_argument("--model", help="file of the weights (default models/hnet_N.pt)")
    parser.add_argument("--data", help=".npz of generate_hnet_training_data.py (default: new pairs)")
    parser.add_argument("--examples", type=int, default=50000, help="number of random pairs (default 50000)")
    parser.add_argument("--seed", type=seed, default=99, help="seed of the pairs (default 99)")
    parser.add_argument("--results", help="folder for the plots (default results/hnet_N)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    n = args.max_doas
    if n < 1 or args.examples < 1:
        raise UserError("--max-doas and --examples must be at least 1")
    import torch

    from doatools.match.associations import LARGEST_ENUMERATED, is_right
    from doatools.report import hnet_plots
    from doatools.train.hnet_pairs import LARGEST_ON_GRID, draw_published, load_pairs
    from doatools.train.hnet_training import answer
    from hnet_model import load_hnet
    model = load_hnet(args.model, n)
    directions = "grid" if n <= LARGEST_ON_GRID else "sphere"
    pairs = load_pairs(args.data, n) if args.data else draw_published(
        args.examples, n, torch.Generator().manual_seed(args.seed), directions)
    soft = answer(model, pairs.distance).sigmoid()  # (M, N, N)
    right = is_right((soft > 0.5).float(), pairs.distance, pairs.active)
    folder = Path(args.results or f"results/hnet_{n}")
    hnet_plots.draw_examples(folder / "examples.png", pairs, soft, right)
    if n <= LARGEST_ENUMERATED:
        hnet_plots.draw_gap(folder / "gap.png", pairs, right)
    if n >= 2:
        hnet_plots.draw_crossing(folder / "crossing.png", model, n)
    print(f"{100 * right.double().mean():.3f} % of {len(right)} pairs right -> {folder}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
