"""Losses: (Localization, Target) → a dict of named terms, with ``loss`` among them.

Dims: B batch, T label frames, N slots. An association A (B, T, N, N) has predictions as rows and references
as columns. Everything is float32 whatever the network ran in. Inactive references are a mask (``Target.activity``), no
point in space; only Hnet, which was trained so, sees them as one. Sums run over the batches of all processes before any
quotient is taken, so a loss does not depend on how many processes share a batch.

A loss is a module made of (LossConfig, number of slots), an association a callable made of the same, from predictions
(B, T, N, 3), a penalty (B, T, N) or None, and a Target to A; a further one is one class and one line in
doatools/registry.py.

Papers: dMOTp and dMOTa: Adavanne, Politis, Virtanen, WASPAA 2021, after Xu et al., "How to train your deep
multi-object tracker", CVPR 2020. PIT: Yu et al., ICASSP 2017; Cao et al., "An improved event-independent
network for polyphonic sound event localization and detection", ICASSP 2021. SEL: Schymura et al., "Exploiting
attention-based sequence-to-sequence architectures for sound event localization", EUSIPCO 2020; its authors' code
takes the azimuth for the latitude, here the angle is the great circle's.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from doatools.match.associations import (
    INACTIVE,
    all_permutations,
    cheapest_path,
    check_orders,
    optimal_association,
    order_changes,
    pairwise_distance,
    sinkhorn_association,
)
from doatools.registry import ASSOCIATIONS, LOSSES
from doatools.train.processes import count, total

EPSILON = 1.19e-7  # float32 machine epsilon, keeps the count ratio of dMOTa finite


def build_criterion(config):
    """The loss of a Config, frozen parts included."""
    return LOSSES[config.loss.loss](config.loss, config.data.max_sources)


# --- associations ----------------------------------------------------------------------------------------------

def penalised(distance, penalty):
    """Distances (B, T, N, N) of slots that are farther away by ``penalty`` (B, T, N), or not (None)."""
    return distance if penalty is None else distance + penalty.unsqueeze(-1)


class HnetAssociation(nn.Module):
    """A soft association in [0, 1] by the frozen Hungarian network, for which inactive references are at (10, 10, 10)."""

    def __init__(self, config, slots):
        super().__init__()
        from hnet_model import load_hnet  # the one place where the toolkit's own network is part of a loss
        self.hnet = load_hnet(config.hnet_weights or None, slots)

    def forward(self, doa, penalty, target):
        references = torch.where(target.activity.unsqueeze(-1) > 0, target.doa, INACTIVE)
        return torch.sigmoid(self.hnet(penalised(pairwise_distance(doa, references), penalty)))


class HungarianAssociation:
    """The exact association, without gradient."""

    def __init__(self, config, slots):
        pass

    def __call__(self, doa, penalty, target):
        distance = penalised(pairwise_distance(doa, target.doa), penalty)
        return optimal_association(distance, target.activity.unsqueeze(-2) > 0)


class SinkhornAssociation:
    """The soft association of entropic optimal transport."""

    def __init__(self, config, slots):
        pass

    def __call__(self, doa, penalty, target):
        distance = penalised(pairwise_distance(doa, target.doa), penalty)
        return sinkhorn_association(distance, (target.activity.unsqueeze(-2) > 0).expand_as(distance))


# --- the differentiable tracking loss ----------------------------------------------------------------------------

def dmotp(distance, association, weight, kind="published"):
    """Weighted mean distance of associated pairs, 0 where nothing is associated.

    ``published``: Σ_t (Σ D∘A)_t (Σ A)_t w / Σ A, so a frame counts by its number of pairs; ``mean``: w Σ D∘A / Σ A.
    """
    mass = association.sum((-1, -2))  # (B, T)
    weighted = (distance * association).sum((-1, -2))
    weighted = total(weighted * mass if kind == "published" else weighted) * weight
    pairs = total(mass)
    return torch.where(pairs > 0, weighted / pairs.clamp(min=EPSILON), weighted * 0)


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
        "false_positives": total(surplus.clamp(min=0)),
        "misses": total((-surplus).clamp(min=0)),
        "switches": total(switches(association, active, kind)),
    }
    errors = terms["false_positives"] + terms["misses"] + ids_weight * terms["switches"]
    return {"dmota": errors / total(predicted + EPSILON), **terms}


class DMOTLoss(nn.Module):
    """Differentiable tracking loss: dMOTp + w_a·dMOTa, and w·activity where the model has such a branch."""

    def __init__(self, config, slots):
        super().__init__()
        self.config = config
        self.associate = ASSOCIATIONS[config.association](config, slots)

    def forward(self, localization, target):
        config = self.config
        distance, association = self.pair(localization, target)
        terms = {"dmotp": dmotp(distance, association, config.dmotp_weight, config.dmotp)}
        terms |= dmota(association, target.activity, config.ids_weight, config.ids)
        loss = terms["dmotp"] + config.dmota_weight * terms["dmota"]
        if localization.activity_logits is not None:
            hits = association.detach() * (distance.detach() <= chord(config.activity_gate_deg))
            associated = (hits.amax(-1) > 0.5).float()  # (B, T, N) slots that were given a source, within the gate
            terms["activity"] = mean(functional.binary_cross_entropy_with_logits(
                localization.activity_logits.float(), associated, reduction="none"))
            loss = loss + config.activity_weight * terms["activity"]
        return {"loss": loss, **terms}

    def pair(self, localization, target):
        """Distances (B, T, N, N), and the association with what is not above one half, and inactive columns, set to 0."""
        doa, penalty = localization.doa.float(), None
        if self.config.association_sees == "activity" and localization.activity_logits is not None:
            # A slot that is not thought active is farther away by up to 1 (60 degrees).
            penalty = torch.sigmoid(-localization.activity_logits.detach().float())
        association = self.associate(doa, penalty, target)
        association = association * (association > 0.5) * target.activity.unsqueeze(-2)
        return pairwise_distance(doa, target.doa), association


class MSELoss(nn.Module):
    """Mean squared error of unit vectors in fixed slots; an inactive slot is to point up, (0, 0, 1)."""

    def __init__(self, config, slots):
        super().__init__()

    def forward(self, localization, target):
        return {"loss": mean((localization.doa.float() - with_inactive_up(target)).square())}


def with_inactive_up(target):
    """Directions of the references, (0, 0, 1) in place of inactive ones."""
    up = torch.eye(3, device=target.doa.device)[2]  # made there: a device need not wait for the host
    return torch.where(target.activity.unsqueeze(-1) > 0, target.doa, up)


def mean(values):
    return total(values) / count(values.numel(), values)


def great_circle(a, b):
    """Angles in radians between unit vectors (..., 3), broadcast, precise at any angle: arctan2(|a × b|, a · b).

    The gradient is finite everywhere; where two directions coincide or oppose each other it is 0.
    """
    return torch.atan2(torch.linalg.vector_norm(torch.linalg.cross(*torch.broadcast_tensors(a, b)), dim=-1),
                       (a * b).sum(-1))


def activity_entropy(localization, wanted):
    """What giving slot i reference j adds to the mean binary cross-entropy (B, T, N, N), when slot i is then to be
    active as ``wanted`` says, (B, T, N or 1, N)."""
    logits = localization.activity_logits.float()
    cells = count(logits.numel(), logits)
    logits, wanted = torch.broadcast_tensors(logits.unsqueeze(-1), wanted)
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") / cells


def chord(angle_deg):
    """Euclidean distance of two unit vectors that are ``angle_deg`` apart, and a hair more for rounding."""
    return 2 * math.sin(math.radians(angle_deg) / 2) + 1e-5


def summed_in_order(pair_terms, active, level, switch_cost):
    """Named costs (B, T, N, N) of giving slot i reference j → their sums under one order of the slots, and ``loss``.

    ``level``: ``fixed``, slot i is reference i; else the permutations of least cost, see PITLoss. ``switch_cost``
    is in units of the cost of a frame.
    """
    pairs = sum(pair_terms.values())
    rows = torch.arange(pairs.shape[-1], device=pairs.device)
    if level == "fixed":
        columns = rows.expand(pairs.shape[:-1])
    else:
        orders = all_permutations(len(rows), pairs.device).argmax(-1)  # (N!, N)
        cost = pairs.detach()[..., rows, orders].sum(-1)  # (B, T, N!)
        if level == "track":
            best = cheapest_path(cost, switch_cost / total(active).clamp(min=1) * order_changes(orders, active))
        else:
            best = (cost.sum(1, keepdim=True).expand_as(cost) if level == "sequence" else cost).argmin(-1)
        columns = orders[best]  # (B, T, N)
    terms = {name: total(pair.gather(-1, columns.unsqueeze(-1))) for name, pair in pair_terms.items()}
    return {"loss": sum(terms.values()), **terms}


class PITLoss(nn.Module):
    """Permutation-invariant training: w_d·(squared or plain distance of active pairs) + w·(BCE of activity).

    Which slot is to answer for which reference is a permutation of the least sum (``pit_level``): one for each
    frame; one for each sequence; or, for ``track``, one for each frame where every change of the slot of a
    reference that goes on costs ``switch_cost`` besides. Between the frame's (a cost of 0) and a slot for
    life (a large one), the last is CLEAR MOT's own idea: it asks nothing of a source that is born or ends.
    Without an activity branch only the distance counts. 0 distance where no reference is active.
    """

    def __init__(self, config, slots):
        super().__init__()
        check_orders(slots, f"loss={config.loss} pit_level={config.pit_level}", over_time=config.pit_level == "track")
        self.config = config

    def forward(self, localization, target):
        config, active = self.config, target.activity
        gaps = pairwise_distance(localization.doa.float(), target.doa) * active.unsqueeze(-2)  # (B, T, N, N)
        costs = gaps if config.pit_distance == "plain" else gaps.square()
        pair_terms = {"distance": config.pit_distance_weight * costs / total(active).clamp(min=1)}
        if localization.activity_logits is not None:
            within = gaps.detach() <= chord(config.activity_gate_deg)
            pair_terms["activity"] = config.activity_weight * activity_entropy(
                localization, active.unsqueeze(-2) * within)
        return summed_in_order(pair_terms, active, config.pit_level, config.switch_cost)


class SELLoss(nn.Module):
    """BCE of activity + α·(mean great-circle distance of active references, radians; 0 where there is none).

    Slots are compared in their order (``sel_slots`` 'start': references are ordered by start time), or in the
    order of least loss ('pit', ``pit_level`` as in PITLoss). Without an activity branch only
    the distance counts.
    """

    def __init__(self, config, slots):
        super().__init__()
        self.alpha, self.switch_cost = config.alpha, config.switch_cost
        self.level = config.pit_level if config.sel_slots == "pit" else "fixed"
        if self.level != "fixed":
            check_orders(slots, f"sel_slots=pit pit_level={self.level}", self.level == "track")

    def forward(self, localization, target):
        active = target.activity
        references = with_inactive_up(target)  # any direction does: an inactive reference has none, nor a gradient
        angles = great_circle(localization.doa.float().unsqueeze(-2), references.unsqueeze(-3))  # (B, T, N, N)
        angles = angles * active.unsqueeze(-2)
        pair_terms = {"distance": self.alpha * angles / total(active).clamp(min=1)}
        if localization.activity_logits is not None:
            pair_terms["activity"] = activity_entropy(localization, active.unsqueeze(-2))
        return summed_in_order(pair_terms, active, self.level, self.switch_cost)
