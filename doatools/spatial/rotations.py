"""Rotations and reflections that map an array onto itself, and how features follow them.

Each is an orthogonal matrix that keeps the vertical axis and carries a direction (x, y, z) to another one. Ambisonic
channels allow the 16 with azimuth ±φ + k·90° and elevation ±θ; capsules allow those that carry the array onto itself, found
from the positions: 8 for a tetrahedron, 12 for a ring of six. Features follow exactly, since each of these only exchanges
channels, changes signs (adds π to phases) and reverses lags. A planar array is its own mirror image from below; as its
elevations are folded into the upper half, that reflection changes nothing and is left out.

Shapes: C feature channels, F bands, M capsules, K rotations.

Papers: ambisonics: Mazzon et al., "First order ambisonics domain spatial augmentation for DNN-based direction of arrival
estimation", DCASE 2019; capsules: Wang et al., "A four-stage data augmentation approach to ResNet-Conformer based acoustic
modeling for sound event localization and detection", 2021.
"""

import itertools
from typing import NamedTuple

import numpy as np

TOLERANCE_M = 1e-3  # capsules this near are at the same place: 3 µs of sound, and data sheets round to 0.1 mm
MOST_COPIES = 4  # of the sound field, in test-time rotation: more cost more and add little


class ChannelMap(NamedTuple):
    """How the feature channels of a rotated sound field follow from those of the original one."""

    source: np.ndarray  # (C,) the original's channel
    sign: np.ndarray  # (C,) +1 or -1
    backwards: np.ndarray  # (C,) bool: lags τ become -τ
    inverted: np.ndarray  # (C,) bool: phases, to which a change of sign adds π


def rotations_of(array):
    """The rotations and reflections of an Array, (K, 3, 3) float; the first one changes nothing."""
    axes = axis_rotations().astype(float)
    if array.kind == "ambisonic":
        return axes
    found = []
    for one in (*axes, *_about_vertical(array)):
        if array.planar and one[2, 2] < 0:
            continue
        if capsule_sources(one, array) is not None and not any(np.allclose(one, other, atol=1e-6) for other in found):
            found.append(one)
    return np.stack(found)


def axis_rotations():
    """The 16 that keep the vertical axis and exchange or negate coordinates, (16, 3, 3) int; the first is the identity."""
    rotations = []
    for first, signs in itertools.product((0, 1), itertools.product((1, -1), repeat=3)):
        rotation = np.zeros((3, 3), int)
        rotation[[0, 1, 2], [first, 1 - first, 2]] = signs
        rotations.append(rotation)
    return np.stack(rotations)


def _about_vertical(array):
    """Candidates: rotations and reflections, also upside down, that carry one capsule off the axis to another."""
    horizontal = np.hypot(*array.positions[:, :2].T)
    off_axis = np.flatnonzero(horizontal > TOLERANCE_M)
    start, angles = off_axis[0], np.arctan2(array.positions[:, 1], array.positions[:, 0])
    for end, mirror, height in itertools.product(off_axis, (1, -1), (1, -1)):
        if abs(horizontal[end] - horizontal[start]) > TOLERANCE_M:
            continue
        turn = angles[end] - mirror * angles[start]
        if mirror > 0:  # positions are rounded; a rotation that maps the array onto itself is a whole share of a circle
            turn = min((2 * np.pi / n * round(turn * n / (2 * np.pi)) for n in range(1, len(off_axis) + 1)),
                       key=lambda whole: round(abs(whole - turn), 3))
        cosine, sine = np.cos(turn), np.sin(turn)
        yield np.array([[cosine, -mirror * sine, 0], [sine, mirror * cosine, 0], [0, 0, height]])


def capsule_sources(rotation, array):
    """Whose signal each capsule has once the sound field is rotated (M,), or None where the array is not mapped onto
    itself, directivity included."""
    gaps = np.linalg.norm(array.positions[:, None] - array.positions @ rotation, axis=-1)  # [old, new]
    source = gaps.argmin(0)
    if gaps.min(0).max() > TOLERANCE_M or len(set(source.tolist())) < len(source):
        return None
    if array.kind == "free" and not np.allclose(array.axes[source], array.axes @ rotation, atol=1e-3):
        return None
    return source


def foa_channel_map(rotation):
    """ChannelMap of log-mels of W, Y, Z, X and intensities along y, z, x."""
    rotation = np.asarray(rotation).round().astype(int)
    axes = [1, 2, 0]  # of Y, Z, X
    source = np.abs(rotation).argmax(1)[axes]  # the axis that each one is read from
    place = np.array([axes.index(axis) for axis in source])
    return ChannelMap(np.concatenate([[0], 1 + place, 4 + place]),
                      np.concatenate([np.ones(4, int), rotation.sum(1)[axes]]), np.zeros(7, bool), np.zeros(7, bool))


def phase_channel_map(rotation):
    """ChannelMap of magnitudes and phases of W, Y, Z, X."""
    rotation = np.asarray(rotation).round().astype(int)
    powers = foa_channel_map(rotation).source[:4]
    signs = np.append(1, rotation.sum(1)[[1, 2, 0]])
    return ChannelMap(np.concatenate([powers, 4 + powers]), np.ones(8, int), np.zeros(8, bool),
                      np.concatenate([np.zeros(4, bool), signs < 0]))


def capsule_channel_map(rotation, array):
    """ChannelMap of M log-mels and M(M-1)/2 GCCs."""
    source = capsule_sources(rotation, array)
    pairs = list(itertools.combinations(range(len(source)), 2))
    gcc, backwards = [], []
    for m, n in pairs:
        before = (source[m], source[n])
        gcc.append(len(source) + pairs.index(tuple(sorted(before))))
        backwards.append(before[0] > before[1])
    channels = len(source) + len(gcc)
    return ChannelMap(np.concatenate([source, gcc]), np.ones(channels, int),
                      np.concatenate([np.zeros(len(source), bool), backwards]), np.zeros(channels, bool))


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


def copies_of(rotations):
    """Those of ``rotations`` (K, 3, 3) to average over in test-time rotation: the powers of one, (1 to 4, 3, 3).

    The rotation about the vertical axis of the highest order up to MOST_COPIES, upright if possible; where there is none, a
    reflection; else the identity alone.
    """
    best, rank = np.eye(3), (0,)
    for rotation in rotations:
        order = _order(rotation)
        turn = np.arctan2(rotation[1, 0], rotation[0, 0]) % (2 * np.pi)
        proper = np.linalg.det(rotation[:2, :2]) > 0 and turn > 1e-6
        own = (proper, order, rotation[2, 2], -turn)
        if 1 < order <= MOST_COPIES and own > rank:
            best, rank = rotation, own
    return np.stack([np.linalg.matrix_power(best, k) for k in range(max(_order(best), 1))])


def _order(rotation):
    """The least n with rotation^n = identity, up to 64."""
    power = rotation
    for order in range(1, 65):
        if np.allclose(power, np.eye(3), atol=1e-6):
            return order
        power = power @ rotation
    return 65
