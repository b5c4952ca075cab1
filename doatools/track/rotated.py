"""Test-time rotation: predictions averaged over rotated copies of the sound field.

The rotations are those that map the array onto itself (doatools/spatial/rotations.py): 0, 90, 180 and 270 degrees for
ambisonics; for a tetrahedron, each quarter rotation also mirrors up and down. Computation grows by their number. The
error of a network that was trained with rotations falls by about a degree, and the predictions follow these rotations
exactly, except where the copies disagree about the order of slots.
"""

import numpy as np

from doatools.spatial.rotations import copies_of, scaled_map
from doatools.track.slots import weighted_mean
from doatools.types import Predictions


class RotatedCopies:
    """A ``predict`` that averages over rotated copies.

    Parameters
    ----------
    predict : callable, normalised features (B, C, T', F) → Predictions (B, T, N, ...)
    rotations : (K, 3, 3), those that map the array onto itself
    channel_maps : K ChannelMap
    scaler : Scaler of the features
    """

    def __init__(self, predict, rotations, channel_maps, scaler):
        self._predict = predict
        self._copies = copies_of(rotations)
        places = [np.abs(rotations - copy).max((1, 2)).argmin() for copy in self._copies]
        self._maps = [scaled_map(channel_maps[place], scaler.mean, scaler.scale) for place in places]

    def __call__(self, features):
        """Normalised features (B, C, T', F) → Predictions (B, T, N, ...)."""
        count, size = len(self._copies), len(features)
        found = self._predict(np.concatenate([self._rotated(features, *one) for one in self._maps]))
        parts = []
        for number, copy in enumerate(self._copies):
            own = slice(number * size, (number + 1) * size)
            parts.append(Predictions(found.doa[own] @ copy.astype(np.float32),  # rotated back
                                     None if found.probability is None else found.probability[own],
                                     {name: values[own] for name, values in found.others.items()}))
        return weighted_mean(parts, [np.full((1, 1, 1), 1 / count, np.float32)] * count)

    def _rotated(self, features, place, gain, offset):
        """Normalised features (B, C, T', F) of the sound field → those of the rotated sound field."""
        rows = features.swapaxes(1, 2)  # (B, T', C, F)
        rotated = rows.reshape(*rows.shape[:2], -1)[..., place] * gain + offset
        return rotated.reshape(rows.shape).swapaxes(1, 2)
