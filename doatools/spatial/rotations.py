"""Turns of the sound field, and how features follow them.

A turn is an orthogonal matrix of 0, 1 and -1 that carries a direction (x, y, z) to another one: the 16 that keep
the vertical axis (azimuth ±φ + k·90°, elevation ±θ). Ambisonic channels allow them all, capsules those that carry
the array onto itself: 8 for a tetrahedron. Features follow exactly, since a turn only exchanges channels, changes
signs (adds π to phases) and runs lags backwards.

Shapes: C feature channels, F bands.

Papers: turns of ambisonics: Mazzon et al., "First order ambisonics domain spatial augmentation for DNN-based
direction of arrival estimation", DCASE 2019; capsules: Wang et al., "A four-stage data augmentation approach to
ResNet-Conformer based acoustic modeling for sound event localization and detection", 2021.
"""

import itertools
from typing import NamedTuple

import numpy as np


class ChannelMap(NamedTuple):
    """How the feature channels of a turned sound field follow from those of the original one."""

    source: np.ndarray  # (C,) the original's channel
    sign: np.ndarray  # (C,) +1 or -1
    backwards: np.ndarray  # (C,) bool: lags τ become -τ
    inverted: np.ndarray  # (C,) bool: phases, to which a change of sign adds π


def vertical_turns():
    """The 16 turns that keep the vertical axis, (16, 3, 3) int; the first one changes nothing."""
    turns = []
    for first, signs in itertools.product((0, 1), itertools.product((1, -1), repeat=3)):
        turn = np.zeros((3, 3), int)
        turn[[0, 1, 2], [first, 1 - first, 2]] = signs
        turns.append(turn)
    return np.stack(turns)


def foa_channel_map(turn):
    """ChannelMap of log-mels of W, Y, Z, X and intensities along y, z, x."""
    axes = [1, 2, 0]  # of Y, Z, X
    source = np.abs(turn).argmax(1)[axes]  # the axis that each one is read from
    place = np.array([axes.index(axis) for axis in source])
    return ChannelMap(np.concatenate([[0], 1 + place, 4 + place]),
                      np.concatenate([np.ones(4, int), turn.sum(1)[axes]]), np.zeros(7, bool), np.zeros(7, bool))


def phase_channel_map(turn):
    """ChannelMap of magnitudes and phases of W, Y, Z, X."""
    powers, signs = (values[:4] for values in (foa_channel_map(turn).source, np.append(1, turn.sum(1)[[1, 2, 0]])))
    return ChannelMap(np.concatenate([powers, 4 + powers]), np.ones(8, int), np.zeros(8, bool),
                      np.concatenate([np.zeros(4, bool), signs < 0]))


def capsule_channel_map(turn, capsules):
    """ChannelMap of M log-mels and M(M-1)/2 GCCs, or None where the turned capsules (M, 3) are others."""
    nearness = capsules @ turn.T @ capsules.T  # [old, new]
    source = nearness.argmax(0)  # whose signal a capsule has after the turn
    if not np.allclose(nearness[source, np.arange(len(capsules))], 1, atol=1e-4):
        return None
    pairs = list(itertools.combinations(range(len(capsules)), 2))
    gcc, backwards = [], []
    for m, n in pairs:
        before = (source[m], source[n])
        gcc.append(len(capsules) + pairs.index(tuple(sorted(before))))
        backwards.append(before[0] > before[1])
    return ChannelMap(np.concatenate([source, gcc]), np.ones(len(source) + len(gcc), int),
                      np.concatenate([np.zeros(len(source), bool), backwards]),
                      np.zeros(len(source) + len(gcc), bool))


def scaled_map(channel_map, mean, scale):
    """A ChannelMap of features normalised by ``mean`` and ``scale`` (C*F,), phases apart.

    Where each column (C*F,) is read from, its gain and its offset, float32.
    """
    channels = len(channel_map.source)
    mean, scale = mean.reshape(channels, -1), scale.reshape(channels, -1)
    bands = mean.shape[1]
    band = np.where(channel_map.backwards[:, None], lags_backwards(bands), np.arange(bands))  # (C, F)
    place = channel_map.source[:, None] * bands + band
    sign = channel_map.sign[:, None]
    gain = sign * scale.ravel()[place] / scale
    offset = (sign * mean.ravel()[place] - mean) / scale
    return place.ravel(), gain.astype(np.float32).ravel(), offset.astype(np.float32).ravel()


def lags_backwards(n_lags):
    """Places that lags -F/2 … F/2-1 are read from when they run backwards.

    The lag +F/2 that the first one would need is not kept; its neighbour F/2 - 1 stands in.
    """
    return np.minimum(n_lags - np.arange(n_lags), n_lags - 1)
