"""Draw what a Hungarian network answers: examples and mistakes, accuracy near ties, sources that cross.

Writes to results/hnet_N/: examples.png (distances, exact and learned association side by side; wrong elements
framed), gap.png (right answers against the gap in cost between the best and second-best assignment) and
crossing.png (the soft association while two sources cross).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from doatools.errors import UserError, exits_cleanly
from doatools.match.associations import (
    INACTIVE,
    LARGEST_ENUMERATED,
    assignment_gap,
    is_right,
    optimal_association,
    pairwise_distance,
)
from doatools.report import plots
from doatools.spatial.geometry import unit_vectors
from doatools.train.hnet_pairs import LARGEST_ON_GRID, draw_published, load_pairs
from doatools.train.hnet_training import answer
from hnet_model import load_hnet

ROWS = 4  # of examples, each kind
GAPS = np.geomspace(1e-4, 2, 14)  # edges of the bins, in units of distance


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python3 visualize_hnet_results.py --max-doas 2")
    parser.add_argument("--max-doas", type=int, default=2, help="N, sources at once (default 2)")
    parser.add_argument("--model", help="weights (default models/hnet_N.pt)")
    parser.add_argument("--data", help=".npz of generate_hnet_training_data.py (default: pairs drawn afresh)")
    parser.add_argument("--examples", type=int, default=50000, help="pairs to draw (default 50000)")
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--results", help="folder for the pictures (default results/hnet_N)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    n, generator = args.max_doas, torch.Generator().manual_seed(args.seed)
    if n < 1 or args.examples < 1:
        raise UserError("--max-doas and --examples must be at least 1")
    model = load_hnet(args.model, n)
    directions = "grid" if n <= LARGEST_ON_GRID else "sphere"
    pairs = load_pairs(args.data, n) if args.data else draw_published(args.examples, n, generator, directions)
    soft = answer(model, pairs.distance).sigmoid()  # (M, N, N)
    right = is_right((soft > 0.5).float(), pairs.distance, pairs.active)
    folder = Path(args.results or f"results/hnet_{n}")
    draw_examples(folder / "examples.png", pairs, soft, right)
    if n <= LARGEST_ENUMERATED:
        draw_gap(folder / "gap.png", pairs, right)
    if n >= 2:
        draw_crossing(folder / "crossing.png", model, n)
    print(f"{100 * right.double().mean():.3f} % of {len(right)} pairs right -> {folder}/")
    return 0


def draw_examples(path, pairs, soft, right):
    """Rows: the fullest matrices, right and wrong. Columns: distance, exact and learned association."""
    full = pairs.association.sum((-2, -1))
    chosen = torch.cat([part[full[part].argsort(descending=True, stable=True)][:ROWS]
                        for part in (right.nonzero().flatten(), (~right).nonzero().flatten())])
    with plots.figure(path, len(chosen), 3, figsize=(8.5, 2.3 * len(chosen)), squeeze=False) as (fig, axes):
        fig.suptitle("rows: predictions, columns: references")
        for (distances, exact, learned), index in zip(axes, chosen.tolist()):
            draw_matrix(distances, pairs.distance[index], 2, "distance")
            draw_matrix(exact, pairs.association[index], 1, "exact association")
            verdict = "right" if right[index] else "WRONG"
            draw_matrix(learned, soft[index], 1, f"learned association: {verdict}")
            frame_errors(learned, (soft[index] > 0.5) != (pairs.association[index] > 0.5))


def draw_matrix(axis, matrix, largest, title):
    """One matrix (N, N) in shades up to ``largest``, with its numbers."""
    matrix = matrix.numpy()
    axis.imshow(matrix, vmin=0, vmax=largest, cmap="Blues")
    axis.set(title=title, xticks=range(len(matrix)), yticks=range(len(matrix)))
    axis.tick_params(length=0)
    for (row, column), value in np.ndenumerate(matrix):
        axis.text(column, row, f"{value:.3f}" if value < INACTIVE else f"{value:.0f}", ha="center", va="center",
                  fontsize=8, color="white" if value > 0.6 * largest else "black")


def frame_errors(axis, wrong):
    """A red frame around each element (N, N) that is wrong."""
    for row, column in wrong.nonzero().tolist():
        axis.add_patch(plots.pyplot.Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, color="red", lw=2.5))


def draw_gap(path, pairs, right):
    """Share of right answers in bins of the gap, and how many pairs lie in each."""
    gap = assignment_gap(pairs.distance, pairs.active).numpy()
    place = np.digitize(gap, GAPS)
    bins = [place == k for k in range(1, len(GAPS))]
    counts = [member.sum() for member in bins]
    share = [100 * right.numpy()[member].mean() if member.any() else np.nan for member in bins]
    centres = np.sqrt(GAPS[1:] * GAPS[:-1])
    ties = gap < GAPS[0]
    among_ties = f"{100 * right.numpy()[ties].mean():.1f} % right of {ties.sum()}" if ties.any() else "none"
    with plots.figure(path, 2, 1, figsize=(7, 6), sharex=True) as (_, axes):
        axes[0].semilogx(centres, share, "k.-")
        axes[0].set(ylabel="right answers (%)", ylim=(None, 100.5))
        axes[0].set(title=f"ties (gap below {GAPS[0]:.0e}): {among_ties}")
        axes[0].grid(alpha=0.3)
        axes[1].bar(GAPS[:-1], counts, np.diff(GAPS), align="edge", color=plots.COLOURS[0], edgecolor="white")
        axes[1].set(xlabel="gap between best and second-best assignment (distance)", ylabel="pairs", yscale="log")


def draw_crossing(path, model, n):
    """Two references cross between two predictions; the others are far from both and have no reference."""
    azimuth = np.linspace(-15, 15, 301)
    moving = np.stack([unit_vectors(azimuth, 5.0), unit_vectors(-azimuth, -5.0)], 1)  # (301, 2, 3)
    ref = torch.full((len(azimuth), n, 3), INACTIVE)
    ref[:, :2] = torch.from_numpy(moving).float()
    others = np.linspace(120, 240, n - 2)
    pred = torch.from_numpy(unit_vectors(np.array([-20.0, 20.0, *others]), 0.0)).float()
    distance = pairwise_distance(pred.expand(len(azimuth), n, 3), ref)
    active = torch.arange(n).expand(n, n) < 2
    soft = answer(model, distance).sigmoid().numpy()
    exact = optimal_association(distance, active.expand_as(distance)).numpy()
    with plots.figure(path, 2, 1, figsize=(8, 6), sharex=True) as (_, axes):
        for row, side in enumerate(("-20°", "+20°")):
            for column, name in enumerate(("first", "second")):
                colour = plots.COLOURS[column]
                axes[row].plot(azimuth, soft[:, row, column], color=colour, label=f"{name} source, learned")
                axes[row].plot(azimuth, exact[:, row, column], ":", color=colour, label=f"{name} source, exact")
            axes[row].set(ylabel=f"association of the\nprediction at {side}")
        axes[0].set(title="two sources cross: first at this azimuth, second at its opposite")
        axes[0].legend(loc="center left")
        axes[1].set(xlabel="azimuth of the first source (°)")


if __name__ == "__main__":
    sys.exit(main())
