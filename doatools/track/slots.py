"""Predictions of networks whose slots may be permuted, averaged.

Slots are compared as vectors, direction times probability, by the sum of scalar products, which is the permutation of
least squared difference: an inactive slot weighs nothing. Shapes: N slots; ... any axes before, label frames the last.
"""

import numpy as np

from doatools.match.assignment import cheapest
from doatools.types import Predictions


def as_vectors(predictions):
    """Predictions → directions times probability (..., N, 3)."""
    return predictions.doa * predictions.weights[..., None]


def weighted_mean(predictions, weights):
    """Several Predictions → one, each put in each frame into the order of slots that agrees best with the first.

    ``weights``: of each, arrays that broadcast to (..., N) and sum to 1. Directions, and all other outputs but the
    probability, also weigh by probability; where nothing is left, the first's stand.
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


def best_order(now, following):
    """The slot of ``following`` for each slot of ``now``, (N,), from all their frames together."""
    return cheapest(-np.einsum("tnx,tmx->nm", as_vectors(now), as_vectors(following))[None])[0]


def _order(first, other):
    """The same for each frame by itself, (..., N)."""
    agreement = np.einsum("...nx,...mx->...nm", as_vectors(first), as_vectors(other))
    return cheapest(-agreement.reshape(-1, *agreement.shape[-2:])).reshape(other.doa.shape[:-1])
