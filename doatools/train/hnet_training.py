"""Training and scoring of Hungarian networks, on pairs from a file or drawn on the fly.

Conventions
-----------
Matrices (M, N, N) have predictions as rows and references as columns. A *cell* is a pair (n_ref, n_pred) of
numbers of active vectors. A model is any callable D (M, N, N) → logits (M, N, N).

The target is not the exact association, which is a step at each tie, but its soft twin at a temperature
(``soft_association``). Near a tie it is a smooth function of the distance to the tie, which trains far faster, and its
slope, which is the gradient that DOAnet receives, is chosen rather than accidental. Temperature 0 is the exact one, as
published (Adavanne et al. 2021).
"""

import numpy as np
import torch
from sklearn.metrics import f1_score
from tqdm import tqdm

from doatools.match.associations import excess_cost, is_right, optimal_association, places, soft_association
from doatools.train.hnet_pairs import LARGEST_ON_GRID, draw_published, draw_slots, joined

TIE_BREAK = 5e-4  # weight of the position in the matrix, in units of cost: exact ties have one solution
VALIDATIONS = 20  # per training
MUON_RATE = 0.02  # learning rate of Muon


def draw_mixture(count, max_doas, generator):
    """Pairs for training on the fly: half from the published distribution, half as in DOAnet's loss."""
    quarter, rest = count // 4, count - 3 * (count // 4)
    directions = "grid" if max_doas <= LARGEST_ON_GRID else "sphere"
    return joined([
        draw_published(quarter, max_doas, generator, directions, balance="pairs"),
        draw_published(quarter, max_doas, generator, "sphere", balance="pairs"),
        draw_slots(quarter, max_doas, generator, near=0.3),
        draw_slots(rest, max_doas, generator, near=0.5, penalty=1.0)])


def batches_on_the_fly(max_doas, batch_size, steps, generator):
    """Yield ``steps`` batches of new Pairs."""
    for _ in range(steps):
        yield draw_mixture(batch_size, max_doas, generator)


def batches_of(pairs, batch_size, steps, generator):
    """Yield ``steps`` batches of the given Pairs, in a new order in each pass."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(pairs.distance), generator=generator)])
        yield pairs.take(order[:batch_size])
        order = order[batch_size:]


def target_of(pairs, temperature):
    """The associations (M, N, N) of Pairs to learn: exact (temperature 0) or soft."""
    if not temperature:
        return pairs.association
    return soft_association(pairs.distance + TIE_BREAK * places(pairs.distance.shape[-1]), pairs.active, temperature)


def make_optimizers(model, kind, learning_rate):
    """'adam' for all weights; 'muon' (Jordan et al. 2024): Muon for the matrices of hidden layers, Adam for the
    rest."""
    hidden = [weight for name, weight in model.named_parameters() if "layers" in name and weight.ndim == 2]
    if kind == "adam" or not hidden:
        return [torch.optim.Adam(model.parameters(), learning_rate, betas=(0.9, 0.99))]
    rest = [weight for weight in model.parameters() if not any(weight is other for other in hidden)]
    return [torch.optim.Muon(hidden, MUON_RATE, weight_decay=0.0),
            torch.optim.Adam(rest, learning_rate, betas=(0.9, 0.99))]


def fit(model, loss_of, batches, steps, validation, *, temperature, learning_rate, optimizer="adam",
        schedule="onecycle", patience=0):
    """Train ``model`` in place; it ends with the weights of its best validation.

    loss_of : logits and target (M, N, N) → scalar
    optimizer : 'adam' or 'muon', see ``make_optimizers``
    schedule : 'onecycle' (the peak is ``learning_rate``) or 'constant'
    patience : stop after this many of the VALIDATIONS without a larger share of right answers; 0 for never

    Returns
    -------
    history : one dict per validation: step, loss (mean since the last), right, f1, kept
    """
    optimizers = make_optimizers(model, optimizer, learning_rate)
    factors = [torch.optim.lr_scheduler.OneCycleLR(
        o, o.param_groups[0]["lr"], steps, pct_start=0.1, cycle_momentum=len(optimizers) == 1)
        for o in optimizers] if schedule == "onecycle" else []
    every, history, losses, best = max(1, steps // VALIDATIONS), [], [], None
    progress = tqdm(batches, total=steps, unit="step", mininterval=1)
    for step, pairs in enumerate(progress, 1):
        loss = loss_of(model(pairs.distance), target_of(pairs, temperature))
        model.zero_grad()
        loss.backward()
        for stepped in (*optimizers, *factors):
            stepped.step()
        losses.append(loss.item())
        if step % every and step != steps:
            continue
        entry = {"step": step, "loss": float(np.mean(losses)), **quick_score(model, validation), "kept": False}
        if best is None or entry["right"] > max(e["right"] for e in history):
            entry["kept"] = True
            best = {name: value.clone() for name, value in model.state_dict().items()}
        history.append(entry)
        losses = []
        progress.set_postfix(loss=f"{entry['loss']:.4f}", right=f"{100 * entry['right']:.3f} %")
        if patience and not any(e["kept"] for e in history[-patience:]):
            break
    progress.close()
    model.load_state_dict(best)
    return history


@torch.no_grad()
def answer(model, distance, batch_size=8192):
    """Logits (M, N, N) for distances (M, N, N), in batches."""
    return torch.cat([model(part) for part in distance.split(batch_size)])


def weighted_f1(answers, association, weight):
    """Weighted F1 of the elements, each with the sample weight of its position (N, N), as published."""
    weight = weight.expand_as(association).flatten().numpy()
    return float(f1_score(association.flatten().numpy(), answers.flatten().numpy(), average="weighted",
                          sample_weight=weight, zero_division=0))


def quick_score(model, pairs):
    """Share of right answers and weighted F1, for validation."""
    answers = (answer(model, pairs.distance) > 0).float()
    return {"right": is_right(answers, pairs.distance, pairs.active).double().mean().item(),
            "f1": weighted_f1(answers, pairs.association, pairs.association.mean(0))}


def score(model, pairs, generator):
    """All reported figures of a model on test pairs, as plain numbers; shares are from 0 to 1.

    right : valid assignment within 1e-3 of the least cost
    label_exact : every element as in the label
    f1 : weighted F1 of the elements
    excess_cost : mean over all pairs of the cost of the assignment with the largest sum of logits, minus the least cost
        (finite even if the thresholded answer is no assignment); excess_cost_valid: of the valid answers alone
    equivariant : share of pairs whose answer follows a random permutation of rows and columns
    cells : {'n_ref,n_pred': [share of right answers, number of pairs]}
    """
    logits = answer(model, pairs.distance)
    answers = (logits > 0).float()
    right = is_right(answers, pairs.distance, pairs.active)
    excess = excess_cost(answers, pairs.distance, pairs.active)
    nearest = excess_cost(optimal_association(-logits, pairs.active), pairs.distance, pairs.active)
    return {
        "pairs": len(right),
        "right": right.double().mean().item(),
        "label_exact": (answers == pairs.association).flatten(1).all(1).double().mean().item(),
        "f1": weighted_f1(answers, pairs.association, pairs.association.mean(0)),
        "excess_cost": nearest.double().mean().item(),
        "excess_cost_valid": excess[excess.isfinite()].double().mean().item(),
        "equivariant": equivariance(model, pairs.distance, generator),
        "cells": cells_of(right, pairs),
    }


def cells_of(right, pairs):
    """{'n_ref,n_pred': [share of right answers, number of pairs]} of the cells that occur."""
    cells = {}
    for n_ref in range(pairs.distance.shape[-1] + 1):
        for n_pred in range(pairs.distance.shape[-1] + 1):
            member = right[(pairs.n_ref == n_ref) & (pairs.n_pred == n_pred)]
            if len(member):
                cells[f"{n_ref},{n_pred}"] = [member.double().mean().item(), len(member)]
    return cells


def equivariance(model, distance, generator):
    """Share of pairs whose answer, after a random permutation of rows and columns, is permuted likewise."""
    count, n, _ = distance.shape
    rows, columns = (torch.rand(count, n, generator=generator).argsort(-1) for _ in range(2))

    def permuted(x):
        return x.gather(1, rows[:, :, None].expand_as(x)).gather(2, columns[:, None].expand_as(x))

    direct, other = answer(model, distance) > 0, answer(model, permuted(distance)) > 0
    return (permuted(direct) == other).flatten(1).all(1).double().mean().item()


def table(scores, max_doas):
    """Cells of a score as text: rows n_ref, columns n_pred, percent right."""
    lines = ["n_ref \\ n_pred" + "".join(f"{n_pred:>9}" for n_pred in range(max_doas + 1))]
    for n_ref in range(max_doas + 1):
        cells = (scores["cells"].get(f"{n_ref},{n_pred}") for n_pred in range(max_doas + 1))
        lines.append(f"{n_ref:>14}" + "".join(f"{100 * cell[0]:9.3f}" if cell else f"{'-':>9}" for cell in cells))
    return "\n".join(lines)
