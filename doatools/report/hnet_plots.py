"""Plots of a Hungarian network: training curve, examples and errors, accuracy near ties, crossing sources.

M matrices (N, N): rows are predictions, columns are references. A model is any callable D (M, N, N) → logits (M, N, N).
"""

import numpy as np
import torch

from doatools.match.associations import INACTIVE, assignment_gap, optimal_association, pairwise_distance
from doatools.report import plots
from doatools.spatial.geometry import unit_vectors
from doatools.train.hnet_training import answer

ROWS = 4  # examples of each kind
GAPS = np.geomspace(1e-4, 2, 14)  # edges of the bins, in units of distance


def draw_curve(path, history):
    """Training loss and validation errors over steps, from the ``history`` that hnet_training.fit returns."""
    steps = [entry["step"] for entry in history]
    kept = [entry for entry in history if entry["kept"]][-1]
    with plots.figure(path, 1, 2, figsize=(10, 4)) as (fig, axes):
        fig.suptitle(f"Hungarian network, step {kept['step']} kept")
        axes[0].semilogy(steps, [entry["loss"] for entry in history], "k.-")
        axes[0].set(xlabel="step", ylabel="training loss")
        wrong = [max(1 - entry["right"], 1e-6) for entry in history]
        axes[1].semilogy(steps, wrong, "k.-", label="matrices not right")
        axes[1].semilogy(steps, [max(1 - entry["f1"], 1e-6) for entry in history], "C0.--", label="1 - weighted F1")
        axes[1].set(xlabel="step", ylabel="validation")
        axes[1].legend()


def draw_examples(path, pairs, soft, right):
    """Rows: the matrices with the most pairs, right and wrong ones. Columns: distance, exact and learned
    association."""
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
    """One matrix (N, N) in shades up to ``largest``, with its values."""
    matrix = matrix.numpy()
    axis.imshow(matrix, vmin=0, vmax=largest, cmap="Blues")
    axis.set(title=title, xticks=range(len(matrix)), yticks=range(len(matrix)))
    axis.tick_params(length=0)
    for (row, column), value in np.ndenumerate(matrix):
        axis.text(column, row, f"{value:.3f}" if value < INACTIVE else f"{value:.0f}", ha="center", va="center",
                  fontsize=8, color="white" if value > 0.6 * largest else "black")


def frame_errors(axis, wrong):
    """A red frame around each wrong element, (N, N) bool."""
    for row, column in wrong.nonzero().tolist():
        axis.add_patch(plots.pyplot.Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, color="red", lw=2.5))


def draw_gap(path, pairs, right):
    """Share of right answers in bins of the gap, and the number of pairs in each bin."""
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
    """Two references cross between two predictions; other predictions are far from both and have no reference."""
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
