"""Write random training pairs for the Hungarian network, distance matrices and their associations, to a .npz file.

Rows are predictions, columns are references. The file contains distance and association (M, N, N), active (M, N, N;
the elements that may be associated), n_ref and n_pred (M,). The same seed gives the same file.
"""

import argparse
import sys
import time

from doatools.config.commandline import seed
from doatools.errors import UserError, exits_cleanly

EXAMPLES_PER_CELL = 45000  # with the nine cells of N = 2, the 405,000 of the published data


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 generate_hnet_training_data.py --max-doas 2 --directions grid")
    parser.add_argument("--max-doas", type=int, default=2, help="N, number of rows and columns of a matrix (default 2)")
    parser.add_argument("--directions", choices=("grid", "sphere"), default="grid",
                        help="grid: angular resolutions from 1 to 30 degrees, as published; sphere: uniform")
    parser.add_argument("--case", choices=("published", "slots"), default="published",
                        help="published: 0 to N predictions against 0 to N references; slots: always N unit "
                             "predictions, uniform on the sphere, as in DOAnet's loss")
    parser.add_argument("--balance", choices=("cells", "pairs"), default="cells",
                        help="cells: every (n_ref, n_pred) equally often; pairs: every number of associated "
                             "pairs equally often, as published")
    parser.add_argument("--examples", type=int, help=f"number of pairs (default {EXAMPLES_PER_CELL} per cell)")
    parser.add_argument("--seed", type=seed, default=1234, help="seed of the pairs (default 1234)")
    parser.add_argument("--out", help="file to write (default datasets/hnet/hnet_N_CASE_DIRECTIONS.npz)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    if args.max_doas < 1:
        raise UserError(f"--max-doas must be at least 1, not {args.max_doas}")
    count = EXAMPLES_PER_CELL * (args.max_doas + 1) ** 2 if args.examples is None else args.examples
    if count < 1:
        raise UserError(f"--examples must be at least 1, not {count}")
    import torch

    from doatools.train.hnet_pairs import draw_published, draw_slots, save_pairs
    start, generator = time.monotonic(), torch.Generator().manual_seed(args.seed)
    if args.case == "slots":
        pairs = draw_slots(count, args.max_doas, generator)
        name = f"hnet_{args.max_doas}_slots"
    else:
        pairs = draw_published(count, args.max_doas, generator, args.directions, args.balance)
        name = f"hnet_{args.max_doas}_published_{args.directions}"
    path = args.out or f"datasets/hnet/{name}.npz"
    save_pairs(path, pairs)
    print(f"{count} pairs in {time.monotonic() - start:.1f} s -> {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
