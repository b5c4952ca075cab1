"""Losses: (Localization, Target) → a dict of named terms, with ``loss`` among them.

Dims: B batch, T label frames, N slots. An association A (B, T, N, N) has predictions as rows and references
as columns. Everything is float32 whatever the network ran in. Each criterion replaces the directions of
inactive references (zeros in a Target) as its method wants.

Papers: dMOTp and dMOTa: Adavanne, Politis, Virtanen, WASPAA 2021, after Xu et al., "How to train your deep
multi-object tracker", CVPR 2020. PIT: Yu et al., ICASSP 2017; Cao et al., "An improved event-independent
network for polyphonic sound event localization and detection", ICASSP 2021. SEL: Schymura et al., "Exploiting
attention-based sequence-to-sequence architectures for sound event localization", EUSIPCO 2020; its authors' code
takes the azimuth for the latitude, here the angle is the great circle's.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional

from doatools.association import INACTIVE, pairwise_distance

EPSILON = 1.19e-7  # float32 machine epsilon, keeps the count ratio of dMOTa finite


def dmotp(distance, association, weight):
    """Count-weighted mean distance of associated pairs: Σ_t (Σ D∘A)_t (Σ A)_t w / Σ A, 0 where nothing is."""
    mass = association.sum((-1, -2))  # (B, T)
    total = mass.sum()
    weighted = ((distance * association).sum((-1, -2)) * mass).sum() * weight
    return torch.where(total > 0, weighted / total.clamp(min=EPSILON), weighted * 0)


def switches(association, active, kind):
    """Soft identity switches of each frame (B, T), 0 at the first frame of a sequence.

    ``published``: Σ A_t ∘ (1 - A_{t-1}), which counts a birth as well; ``switch``: only the columns whose
    reference is active both at t-1 and t.
    """
    changed = association[:, 1:] * (1 - association[:, :-1])  # (B, T - 1, N, N)
    if kind == "switch":
        changed = changed * (active[:, 1:] * active[:, :-1]).unsqueeze(-2)
    return functional.pad(changed.sum((-1, -2)), (1, 0))


def dmota(association, active, ids_weight, kind="published"):
    """Soft false positives, misses and identity switches over the soft number of predictions.

    Returns dmota and its three parts, summed over frames.
    """
    predicted = association.amax(-1).sum(-1)  # (B, T): M_t
    surplus = predicted - active.sum(-1)
    terms = {
        "false_positives": surplus.clamp(min=0).sum(),
        "misses": (-surplus).clamp(min=0).sum(),
        "switches": switches(association, active, kind).sum(),
    }
    errors = terms["false_positives"] + terms["misses"] + ids_weight * terms["switches"]
    return {"dmota": errors / (predicted + EPSILON).sum(), **terms}


class DMOTLoss(nn.Module):
    """Differentiable tracking loss: dMOTp + w_a·dMOTa, and w·activity where the model has such a branch.

    Parameters
    ----------
    associate : callable
        Distances (B, T, N, N) → soft association in [0, 1], the gradient flowing through it.
    params : dict
        dmotp_weight, dmota_weight, ids_weight, ids, activity_weight.
    """

    def __init__(self, associate, params):
        super().__init__()
        self.associate = associate
        self.params = params

    def forward(self, localization, target):
        params = self.params
        active = target.activity
        references = torch.where(active.unsqueeze(-1) > 0, target.doa, INACTIVE)
        distance = pairwise_distance(localization.doa.float(), references)  # (B, T, N, N)
        association = self.associate(distance)
        association = association * (association > 0.5)
        terms = {"dmotp": dmotp(distance, association, params["dmotp_weight"])}
        terms |= dmota(association, active, params["ids_weight"], params["ids"])
        loss = terms["dmotp"] + params["dmota_weight"] * terms["dmota"]
        if localization.activity_logits is not None:
            associated = (association.detach().amax(-1) > 0.5).float()  # (B, T, N) slots that Hnet gave a source
            terms["activity"] = functional.binary_cross_entropy_with_logits(
                localization.activity_logits.float(), associated)
            loss = loss + params["activity_weight"] * terms["activity"]
        return {"loss": loss, **terms}


class MSELoss(nn.Module):
    """Mean squared error of unit vectors in fixed slots; an inactive slot is to point up, (0, 0, 1)."""

    def forward(self, localization, target):
        up = target.doa.new_tensor([0.0, 0.0, 1.0])
        references = torch.where(target.activity.unsqueeze(-1) > 0, target.doa, up)
        return {"loss": functional.mse_loss(localization.doa.float(), references)}


def great_circle(a, b):
    """Angles in radians between unit vectors (..., 3), broadcast, precise at any angle: arctan2(|a × b|, a · b).

    The gradient is finite everywhere; where two directions coincide or oppose each other it is 0.
    """
    return torch.atan2(torch.linalg.vector_norm(torch.linalg.cross(*torch.broadcast_tensors(a, b)), dim=-1),
                       (a * b).sum(-1))


def activity_entropy(localization, active):
    """What giving slot i reference j adds to the mean binary cross-entropy: (B, T, N, N)."""
    logits = localization.activity_logits.float().unsqueeze(-1)
    logits, wanted = torch.broadcast_tensors(logits, active.unsqueeze(-2))
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") / active.numel()


def summed_in_order(pair_terms, level):
    """Named costs (B, T, N, N) of giving slot i reference j → their sums under one order of the slots, and ``loss``.

    ``level``: ``fixed``, slot i is reference i; else the permutation of least cost, one for each ``frame`` or one
    for each ``sequence``.
    """
    pairs = sum(pair_terms.values())
    rows = torch.arange(pairs.shape[-1], device=pairs.device)
    if level == "fixed":
        columns = rows.expand(pairs.shape[:-1])
    else:
        orders = torch.tensor(list(itertools.permutations(range(len(rows)))), device=pairs.device)  # (N!, N)
        cost = pairs[..., rows, orders].sum(-1)  # (B, T, N!)
        best = (cost.sum(1, keepdim=True).expand_as(cost) if level == "sequence" else cost).argmin(-1)
        columns = orders[best]  # (B, T, N)
    terms = {name: pair.gather(-1, columns.unsqueeze(-1)).sum() for name, pair in pair_terms.items()}
    return {"loss": sum(terms.values()), **terms}


class PITLoss(nn.Module):
    """Permutation-invariant training: w_d·(squared distance of active pairs) + w·(BCE of activity).

    The permutation with the least sum is taken for each frame, or one for each sequence (``pit_level``).
    Without an activity branch only the distance counts. 0 distance where no reference is active.
    """

    def __init__(self, params):
        super().__init__()
        self.params = params

    def forward(self, localization, target):
        params, active = self.params, target.activity
        gaps = pairwise_distance(localization.doa.float(), target.doa).square() * active.unsqueeze(-2)  # (B, T, N, N)
        pair_terms = {"distance": params["pit_distance_weight"] * gaps / active.sum().clamp(min=1)}
        if localization.activity_logits is not None:
            pair_terms["activity"] = params["activity_weight"] * activity_entropy(localization, active)
        return summed_in_order(pair_terms, params["pit_level"])


class SELLoss(nn.Module):
    """BCE of activity + α·(mean great-circle distance of active references, radians; 0 where there is none).

    Slots are compared in their order (``sel_slots`` 'start': references are ordered by start time), or in the
    order of least loss, one for each frame or sequence ('pit', ``pit_level``). Without an activity branch only
    the distance counts.
    """

    def __init__(self, params):
        super().__init__()
        self.alpha = params["alpha"]
        self.level = params["pit_level"] if params["sel_slots"] == "pit" else "fixed"

    def forward(self, localization, target):
        active = target.activity
        up = target.doa.new_tensor([0.0, 0.0, 1.0])  # any direction: an inactive reference has none, nor a gradient
        references = torch.where(active.unsqueeze(-1) > 0, target.doa, up)
        angles = great_circle(localization.doa.float().unsqueeze(-2), references.unsqueeze(-3))  # (B, T, N, N)
        angles = angles * active.unsqueeze(-2)
        pair_terms = {"distance": self.alpha * angles / active.sum().clamp(min=1)}
        if localization.activity_logits is not None:
            pair_terms["activity"] = activity_entropy(localization, active)
        return summed_in_order(pair_terms, self.level)
