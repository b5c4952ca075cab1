"""Losses: (Localization, Target) → a dict of named terms, with ``loss``, their weighted sum, among them.

Dims: B batch, T label frames, N slots. An association A (B, T, N, N) has predictions as rows and references as
columns. Everything is float32, whatever precision the network ran in. Inactive references are a mask
(``Target.activity``), not a point in space; only Hnet, which was trained that way, reads them as one. Sums are taken
over the batches of all processes before any division, so a loss does not depend on how many processes share a batch.

A loss is a module made from (LossConfig, number of slots); ``weights`` names the terms that it adds up. An association
is a callable made from the same; it maps predictions (B, T, N, 3), a penalty (B, T, N) or None, and a Target to A. A
new one is one class and one line in doatools/registry.py.

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
    all_permutations,
    cheapest_path,
    check_orders,
    optimal_association,
    order_changes,
    pairwise_distance,
    penalised,
    sinkhorn_association,
)
from doatools.registry import ASSOCIATIONS, LOSSES
from doatools.train.processes import count, total

RADIUS_QUANTILE = 0.9
CORRECT_DEG = 20.0  # a direction this close is correct, as in F20
EPSILON = 1.19e-7  # float32 machine epsilon, keeps the count ratio of dMOTa finite


def build_criterion(config):
    """The loss of a Config, frozen parts included."""
    return LOSSES[config.loss.loss](config.loss, config.data.max_sources)


def weighted(terms, weights):
    """The terms, and ``loss``, the sum of those that have a weight; the others are only reported."""
    return {"loss": sum(weight * terms[name] for name, weight in weights.items() if name in terms), **terms}


def mean(values):
    """The mean over the batches of all processes."""
    return total(values) / count(values.numel(), values)


# --- associations ----------------------------------------------------------------------------------------------

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

def dmotp(distance, association, kind="published"):
    """Mean distance of associated pairs, 0 where nothing is associated.

    ``published``: Σ_t (Σ D∘A)_t (Σ A)_t / Σ A, so a frame counts by its number of pairs; ``mean``: Σ D∘A / Σ A.
    """
    mass = association.sum((-1, -2))  # (B, T)
    distances = (distance * association).sum((-1, -2))
    distances = total(distances * mass if kind == "published" else distances)
    pairs = total(mass)
    return torch.where(pairs > 0, distances / pairs.clamp(min=EPSILON), distances * 0)


def switches(association, active, kind):
    """Soft ID switches of each frame (B, T), 0 in the first frame of a sequence.

    ``published``: Σ A_t ∘ (1 - A_{t-1}), which counts births as well; ``switch``: only columns whose reference is
    active both at t-1 and t.
    """
    changed = association[:, 1:] * (1 - association[:, :-1])  # (B, T - 1, N, N)
    if kind == "switch":
        changed = changed * (active[:, 1:] * active[:, :-1]).unsqueeze(-2)
    return functional.pad(changed.sum((-1, -2)), (1, 0))


def dmota(association, active, ids_weight, kind="published"):
    """Soft false positives, misses and ID switches, divided by the soft number of predictions.

    Returns dmota and its three parts, each summed over frames.
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
    """Differentiable tracking loss: w_p·dMOTp + w_a·dMOTa, and w·activity if the model predicts activity."""

    def __init__(self, config, slots):
        super().__init__()
        self.config = config
        self.associate = ASSOCIATIONS[config.association](config, slots)
        self.weights = {"dmotp": config.dmotp_weight, "dmota": config.dmota_weight, "activity": config.activity_weight}

    def forward(self, localization, target):
        config = self.config
        distance, association = self.pair(localization, target)
        terms = {"dmotp": dmotp(distance, association, config.dmotp),
                 **dmota(association, target.activity, config.ids_weight, config.ids)}
        if localization.activity_logits is not None:
            hits = association.detach() * (distance.detach() <= chord(config.activity_gate_deg))
            associated = (hits.amax(-1) > 0.5).float()  # (B, T, N) slots with a source within the gate
            terms["activity"] = mean(functional.binary_cross_entropy_with_logits(
                localization.activity_logits.float(), associated, reduction="none"))
        return weighted(terms, self.weights)

    def pair(self, localization, target):
        """Distances and associations (B, T, N, N); associations up to one half, and of inactive references, are 0."""
        doa, penalty = localization.doa.float(), None
        if self.config.association_sees == "activity" and localization.activity_logits is not None:
            # A slot that is probably inactive counts as farther away, by up to 1 (60 degrees).
            penalty = torch.sigmoid(-localization.activity_logits.detach().float())
        association = self.associate(doa, penalty, target)
        association = association * (association > 0.5) * target.activity.unsqueeze(-2)
        return pairwise_distance(doa, target.doa), association


# --- mean squared error ------------------------------------------------------------------------------------------

class MSELoss(nn.Module):
    """Mean squared error of unit vectors in fixed slots; an inactive slot should point up, (0, 0, 1)."""

    def __init__(self, config, slots):
        super().__init__()

    def forward(self, localization, target):
        return {"loss": mean((localization.doa.float() - with_inactive_up(target)).square())}


def with_inactive_up(target):
    """Directions of the references, (0, 0, 1) in place of inactive ones."""
    up = torch.eye(3, device=target.doa.device)[2]  # created on the device, which then does not wait for the host
    return torch.where(target.activity.unsqueeze(-1) > 0, target.doa, up)


# --- pairs of slots and references, summed in one order of the slots ---------------------------------------------

def great_circle(a, b):
    """Angles in radians between unit vectors (..., 3), broadcast, precise at any angle: arctan2(|a × b|, a · b).

    The gradient is finite everywhere; it is 0 where two directions coincide or oppose each other.
    """
    return torch.atan2(torch.linalg.vector_norm(torch.linalg.cross(*torch.broadcast_tensors(a, b)), dim=-1),
                       (a * b).sum(-1))


def chord(angle_deg):
    """Euclidean distance of two unit vectors ``angle_deg`` apart, plus a little for rounding."""
    return 2 * math.sin(math.radians(angle_deg) / 2) + 1e-5


def activity_entropy(localization, wanted):
    """What assigning reference j to slot i adds to the mean binary cross-entropy, (B, T, N, N), if the slot should then
    be as active as ``wanted``, (B, T, N or 1, N)."""
    logits = localization.activity_logits.float()
    cells = count(logits.numel(), logits)
    logits, wanted = torch.broadcast_tensors(logits.unsqueeze(-1), wanted)
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") / cells


def summed_in_order(pair_terms, weights, active, level, switch_cost, more_terms=None):
    """Terms (B, T, N, N) of assigning reference j to slot i → their sums under one order of the slots, and ``loss``.

    ``more_terms`` are summed as well, but have no say in the order.
    ``level``: ``fixed``, slot i has reference i; otherwise the permutations of least weighted cost, see PITLoss.
    ``switch_cost`` is in units of the loss of a frame.
    """
    slots = torch.arange(active.shape[-1], device=active.device)
    if level == "fixed":
        columns = slots.expand(active.shape)
    else:
        cost = weighted(pair_terms, weights)["loss"].detach()  # (B, T, N, N)
        orders = all_permutations(len(slots), active.device).argmax(-1)  # (N!, N)
        cost = cost[..., slots, orders].sum(-1)  # (B, T, N!)
        if level == "track":
            best = cheapest_path(cost, switch_cost / total(active).clamp(min=1) * order_changes(orders, active))
        else:
            best = (cost.sum(1, keepdim=True).expand_as(cost) if level == "sequence" else cost).argmin(-1)
        columns = orders[best]  # (B, T, N)
    terms = {name: total(pair.gather(-1, columns.unsqueeze(-1)))
             for name, pair in {**pair_terms, **(more_terms or {})}.items()}
    return weighted(terms, weights)


def quantile_loss(errors, quantile):
    """Its mean is least where ``errors`` (actual - predicted) are negative in a share of ``quantile`` (Koenker and
    Bassett, "Regression quantiles", Econometrica 1978)."""
    return torch.maximum(quantile * errors, (quantile - 1) * errors)


class PITLoss(nn.Module):
    """Permutation-invariant training: w_d·(mean squared or plain distance of active pairs) + w·(BCE of activity).

    Slots and references are paired by a permutation of least cost (``pit_level``): one per frame, one per sequence, or
    ``track``: one per frame, where each change of the slot of a reference that continues costs ``switch_cost`` as
    well. At a cost of 0 the last is the first; at a large one each source keeps its slot for life. As in CLEAR MOT,
    births and ends cost nothing. Without activity logits only the distance counts; it is 0 if no reference is active.

    A model's ``radius`` (degrees) is trained to be the RADIUS_QUANTILE of the error, in radians, of the pairs that are
    at most CORRECT_DEG apart.
    """

    def __init__(self, config, slots):
        super().__init__()
        check_orders(slots, f"loss={config.loss} pit_level={config.pit_level}", over_time=config.pit_level == "track")
        self.config = config
        self.weights = {"distance": config.pit_distance_weight, "activity": config.activity_weight, "radius": 1.0}

    def forward(self, localization, target):
        config, active = self.config, target.activity
        gaps = pairwise_distance(localization.doa.float(), target.doa) * active.unsqueeze(-2)  # (B, T, N, N)
        costs = gaps if config.pit_distance == "plain" else gaps.square()
        pair_terms = {"distance": costs / total(active).clamp(min=1)}
        if localization.activity_logits is not None:
            within = gaps.detach() <= chord(config.activity_gate_deg)
            pair_terms["activity"] = activity_entropy(localization, active.unsqueeze(-2) * within)
        more_terms = {}
        if "radius" in (localization.others or {}):
            more_terms["radius"] = self._radius_terms(localization, gaps.detach(), active)
        return summed_in_order(pair_terms, self.weights, active, config.pit_level, config.switch_cost, more_terms)

    @staticmethod
    def _radius_terms(localization, gaps, active):
        """What a pair adds to the mean quantile loss of the radius, (B, T, N, N); ``gaps``: its distances."""
        correct = (gaps <= chord(CORRECT_DEG)) * active.unsqueeze(-2)
        angles = 2 * torch.asin((gaps / 2).clamp(max=1))
        radius = torch.deg2rad(localization.others["radius"].float()).unsqueeze(-1)
        # A reference is in one pair, so their number is about that of the references with a correct slot.
        return quantile_loss(angles - radius, RADIUS_QUANTILE) * correct / total(correct.amax(-2)).clamp(min=1)


class SELLoss(nn.Module):
    """BCE of activity + α·(mean great-circle distance of active references, radians; 0 if there is none).

    Slots are compared in their order (``sel_slots`` 'start': references are ordered by start time) or in the order of
    least cost ('pit', ``pit_level`` as in PITLoss). Without activity logits only the distance counts.
    """

    def __init__(self, config, slots):
        super().__init__()
        self.weights, self.switch_cost = {"distance": config.alpha, "activity": 1.0}, config.switch_cost
        self.level = config.pit_level if config.sel_slots == "pit" else "fixed"
        if self.level != "fixed":
            check_orders(slots, f"sel_slots=pit pit_level={self.level}", over_time=self.level == "track")

    def forward(self, localization, target):
        active = target.activity
        references = with_inactive_up(target)  # masked below; a zero vector has no angle
        angles = great_circle(localization.doa.float().unsqueeze(-2), references.unsqueeze(-3))  # (B, T, N, N)
        pair_terms = {"distance": angles * active.unsqueeze(-2) / total(active).clamp(min=1)}
        if localization.activity_logits is not None:
            pair_terms["activity"] = activity_entropy(localization, active.unsqueeze(-2))
        return summed_in_order(pair_terms, self.weights, active, self.level, self.switch_cost)
