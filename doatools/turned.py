"""A sound field heard from four sides: what a network says of turned copies of it, averaged.

The copies are turned by 0, 90, 180 and 270 degrees about the vertical axis, each quarter mirrored up and down as well
where the array's capsules follow no other (a tetrahedron's). They cost four times the computation, take about a
degree off the errors of a network that was trained with turns, and make it follow such turns exactly, but where copies
disagree about the order of slots.
"""

import numpy as np

from doatools.matching import cheapest
from doatools.turns import scaled_map

QUARTER = np.array([[0, -1], [1, 0]])  # counter-clockwise


class TurnedCopies:
    """A localizer (see inference) whose answers are means over turned copies; it reads what ``localizer`` reads."""

    def __init__(self, localizer):
        self.localizer = localizer
        self.params, self.features = localizer.params, localizer.features
        self.scaler, self.array = localizer.scaler, localizer.array
        turns, maps = self.features.turns()
        quarters = [turn for turn in turns if np.array_equal(turn[:2, :2], QUARTER)]
        quarter = max(quarters, key=lambda turn: turn[2, 2])  # mirrored only if need be
        self._turns = [np.linalg.matrix_power(quarter, k) for k in range(4)]
        self._maps = [scaled_map(maps[(turns == turn).all((1, 2)).argmax()], self.scaler.mean, self.scaler.scale)
                      for turn in self._turns]

    def predict(self, features):
        """Normalised features (B, C, T', F) → directions (B, T, N, 3), probabilities (B, T, N) or None; arrays."""
        copies = np.concatenate([self._turned(features, *table) for table in self._maps])
        doa, probability = self.localizer.predict(copies)
        doa = np.split(doa, len(self._turns))
        told = probability is not None
        weights = np.split(probability, len(doa)) if told else [np.ones(doa[0].shape[:-1], np.float32)] * len(doa)
        doa = [one @ turn.astype(np.float32) for one, turn in zip(doa, self._turns)]  # turned back
        doa, probability = mean_of_slots(doa, weights)
        return doa, probability if told else None

    def _turned(self, features, place, gain, offset):
        """Normalised features of the turned sound field."""
        rows = features.swapaxes(1, 2)  # (B, T', C, F)
        turned = rows.reshape(*rows.shape[:2], -1)[..., place] * gain + offset
        return turned.reshape(rows.shape).swapaxes(1, 2)


def mean_of_slots(doa, probability):
    """Several answers → one: lists of directions (B, T, N, 3) and probabilities (B, T, N) → their means.

    In each frame the slots of an answer are put into the order that agrees best with the first answer, as vectors,
    direction times probability, whose sum is the mean direction.
    """
    first = total = doa[0] * probability[0][..., None]
    likely = probability[0]
    for one, weight in zip(doa[1:], probability[1:]):
        vectors = one * weight[..., None]
        agreement = np.einsum("btnx,btmx->btnm", first, vectors)
        order = cheapest(-agreement.reshape(-1, *agreement.shape[2:])).reshape(weight.shape)
        total = total + np.take_along_axis(vectors, order[..., None], 2)
        likely = likely + np.take_along_axis(weight, order, 2)
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.where(length > 1e-6, total / np.maximum(length, 1e-6), doa[0]), likely / len(doa)
