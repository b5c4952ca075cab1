"""Answers of networks whose slots may be permuted, put together.

Slots are compared as vectors, direction times probability, by the sum of scalar products, which is the permutation of
least squared difference: an inactive slot weighs nothing. Shapes: N slots; ... any axes before, label frames the last.
"""

import numpy as np

from doatools.match.assignment import cheapest


def as_vectors(doa, probability):
    """Directions (..., N, 3) and probabilities (..., N) → (..., N, 3)."""
    return doa * probability[..., None]


def mixed(answers, weights):
    """Several answers → one, each put in each frame into the order of slots that agrees best with the first.

    ``answers``: pairs of directions (..., N, 3) and probabilities (..., N); ``weights``: of each, arrays that broadcast
    to (..., N) and sum to 1. Where no direction is left, the first answer's stands.
    """
    (doa, probability), *others = answers
    first = as_vectors(doa, probability)
    vectors, likely = weights[0][..., None] * first, weights[0] * probability
    for other, weight in zip(others, weights[1:]):
        theirs, told = as_vectors(*other), other[1]
        agreement = np.einsum("...nx,...mx->...nm", first, theirs)
        order = cheapest(-agreement.reshape(-1, *agreement.shape[-2:])).reshape(told.shape)
        vectors = vectors + weight[..., None] * np.take_along_axis(theirs, order[..., None], -2)
        likely = likely + weight * np.take_along_axis(told, order, -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), doa), likely
