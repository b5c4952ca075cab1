"""Predictions slot by slot: averages where slots may be permuted, and slots that follow one source.

Slots are compared as vectors, direction times probability: the best order has the largest sum of scalar products, and
so the smallest sum of squared differences. Inactive slots have no weight. Shapes: N slots, label frames the axis
before; ... any axes before.
"""

import dataclasses

import numpy as np

from doatools.match.assignment import cheapest
from doatools.spatial.geometry import angular_distance
from doatools.types import Predictions


def as_vectors(predictions):
    """Predictions → directions times probability (..., N, 3)."""
    return predictions.doa * predictions.weights[..., None]


def weighted_mean(predictions, weights):
    """The mean of several Predictions, each in the order of slots that agrees best with the first, frame by frame.

    ``weights``: one array per Predictions, which broadcast to (..., N) and sum to 1. Directions, and all other
    outputs except the probability, are weighted by probability as well; where nothing has weight, those of the first
    are used.
    """
    first, *others = predictions
    ordered = [first, *(other.permuted(_order(first, other)) for other in others)]
    vectors = sum(weight[..., None] * as_vectors(one) for one, weight in zip(ordered, weights))
    probability = None if first.probability is None else sum(
        weight * one.probability for one, weight in zip(ordered, weights))
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    doa = np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), first.doa)
    shares = [weight * one.weights for one, weight in zip(ordered, weights)]
    mass = sum(shares)
    return Predictions(doa, probability, {
        name: np.where(mass > 1e-6, sum(share * one.others[name] for one, share in zip(ordered, shares))
                       / np.maximum(mass, 1e-6), values) for name, values in first.others.items()})


def without_duplicates(predictions, within_deg):
    """Where a slot points within this angle of a more probable one, both follow the same source: its probability
    becomes 0. Unchanged without probabilities, and by 0 degrees.

    As the outputs of Multi-ACCDOA are unified (Shimada et al., ICASSP 2022), but without averaging directions."""
    if predictions.probability is None or not within_deg:
        return predictions
    order = np.argsort(-predictions.probability, -1, kind="stable")
    found = predictions.permuted(order)
    probability = found.probability.copy()
    for later in range(1, probability.shape[-1]):
        for earlier in range(later):
            close = angular_distance(found.doa[..., later, :], found.doa[..., earlier, :]) < within_deg
            probability[..., later][close & (probability[..., earlier] > 0)] = 0
    return dataclasses.replace(found, probability=probability).permuted(np.argsort(order, -1))


def settled(predictions, array, duplicate_deg, held=1):
    """Predictions as they are scored: means over groups of ``held`` frames, directions that the Array can tell apart,
    no duplicates."""
    found = predictions.pooled(held)
    return without_duplicates(dataclasses.replace(found, doa=array.folded(found.doa)), duplicate_deg)


def best_order(now, following):
    """The slot of ``following`` that belongs to each slot of ``now``, (N,), from all their frames together."""
    return cheapest(-np.einsum("tnx,tmx->nm", as_vectors(now), as_vectors(following))[None])[0]


def _order(first, other):
    """The slot of ``other`` that belongs to each slot of ``first``, for each frame by itself, (..., N)."""
    agreement = np.einsum("...nx,...mx->...nm", as_vectors(first), as_vectors(other))
    return cheapest(-agreement.reshape(-1, *agreement.shape[-2:])).reshape(other.doa.shape[:-1])
