"""The rotations and reflections that map an array onto itself, and how features change with them.

Each is an orthogonal matrix that keeps the vertical axis and maps a direction (x, y, z) to another one. For
ambisonics these are the 16 with azimuth ±φ + k·90° and elevation ±θ; for capsules those that map every capsule onto
one, found from the positions: 8 for a tetrahedron, 12 for a ring of six. Features follow exactly: channels are
exchanged, signs change (phases grow by π), lags are reversed. A planar array is its own mirror image from below;
since its elevations are folded into the upper half, that reflection changes nothing and is left out.

Shapes: C feature channels, F bands, M capsules, K rotations.

Papers: for ambisonics, Mazzon et al., "First order ambisonics domain spatial augmentation for DNN-based direction of
arrival estimation", DCASE 2019; for capsules, Wang et al., "A four-stage data augmentation approach to
ResNet-Conformer based acoustic modeling for sound event localization and detection", 2021.
"""

import itertools
from typing import NamedTuple

import numpy as np

from doatools.spatial.arrays import TOLERANCE_AXIS, TOLERANCE_M

MOST_COPIES = 4  # of the sound field, in test-time rotation


class ChannelMap(NamedTuple):
    """How the feature channels of a rotated sound field follow from those of the original one."""

    source: np.ndarray  # (C,) channel of the original
    sign: np.ndarray  # (C,) +1 or -1
    backwards: np.ndarray  # (C,) bool: lags τ become -τ
    inverted: np.ndarray  # (C,) bool: phases, which grow by π


def rotations_of(array):
    """The rotations and reflections of an Array, (K, 3, 3) float; the first is the identity."""
    axes = axis_rotations().astype(float)
    if array.kind == "ambisonic":
        return axes
    found = []
    for candidate in (*axes, *_about_vertical(array)):
        if array.planar and candidate[2, 2] < 0:
            continue
        if capsule_sources(candidate, array) is None:
            continue
        if not any(np.allclose(candidate, other, atol=1e-6) for other in found):
            found.append(candidate)
    return np.stack(found)


def axis_rotations():
    """The 16 that keep the vertical axis and exchange or negate coordinates, (16, 3, 3) int; identity first."""
    rotations = []
    for first, signs in itertools.product((0, 1), itertools.product((1, -1), repeat=3)):
        rotation = np.zeros((3, 3), int)
        rotation[[0, 1, 2], [first, 1 - first, 2]] = signs
        rotations.append(rotation)
    return np.stack(rotations)


def _about_vertical(array):
    """Candidates: rotations and reflections, also upside down, that map one capsule off the vertical axis onto
    another."""
    positions = _centred(array)
    radii, angles = np.hypot(*positions[:, :2].T), np.arctan2(positions[:, 1], positions[:, 0])
    off_axis = np.flatnonzero(radii > TOLERANCE_M)
    start = off_axis[0]
    for end, mirror, height in itertools.product(off_axis, (1, -1), (1, -1)):
        if abs(radii[end] - radii[start]) > TOLERANCE_M:
            continue
        candidate = _vertical(angles[end] - mirror * angles[start], mirror, height)
        source = capsule_sources(candidate, array)
        if source is not None:
            # Positions are rounded, and so is this angle. Its mean over all capsules is exact: they are permuted in
            # cycles, so that the errors of their angles cancel.
            angle = angles - mirror * angles[source]
            off = np.angle(np.exp(1j * (angle - angle[end])))[off_axis].mean()
            yield _vertical(angle[end] + off, mirror, height)


def _vertical(angle, mirror, height):
    """The matrix that maps azimuth φ to ``angle`` + ``mirror``·φ and z to ``height``·z."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -mirror * sine, 0], [sine, mirror * cosine, 0], [0, 0, height]])


def _centred(array):
    """Capsules (M, 3) about the point that rotations keep: their mean in the free field, or the centre of a sphere."""
    return array.positions - array.positions.mean(0) if array.kind == "free" else array.positions


def capsule_sources(rotation, array):
    """The capsule whose signal each capsule receives once the sound field is rotated (M,); None where the rotation does
    not map the array, directivity included, onto itself."""
    positions = _centred(array)
    gaps = np.linalg.norm(positions[:, None] - positions @ rotation, axis=-1)  # [old, new]
    source = gaps.argmin(0)
    if gaps.min(0).max() > TOLERANCE_M or len(set(source.tolist())) < len(source):
        return None
    if array.kind == "free" and not np.allclose(array.axes[source], array.axes @ rotation, atol=TOLERANCE_AXIS):
        return None
    return source


def rotated_channels(rotation, array):
    """Audio of a rotated sound field: the channel that each channel is read from (M,), and its sign (M,) float32."""
    if array.kind == "ambisonic":
        field = foa_channel_map(rotation)
        return field.source[:4], np.append(1, field.sign[4:]).astype(np.float32)
    return capsule_sources(rotation, array), np.ones(array.channels, np.float32)


def foa_channel_map(rotation):
    """ChannelMap of log-mels of W, Y, Z, X and intensities along y, z, x."""
    rotation = np.asarray(rotation).round().astype(int)
    axes = [1, 2, 0]  # of the channels Y, Z, X
    source = np.abs(rotation).argmax(1)[axes]  # the axis that each channel is read from
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


def vectors_channel_map(rotation, array):
    """ChannelMap of M log-mels and two vectors along y, z, x; None for a rotation that mixes x and y, which a
    ChannelMap cannot follow."""
    if not np.allclose(np.abs(rotation).max(1), 1, atol=1e-6):
        return None
    source, field = capsule_sources(rotation, array), foa_channel_map(rotation)
    places, signs, count = field.source[4:] - 4, field.sign[4:], len(source)
    return ChannelMap(np.concatenate([source, count + places, count + 3 + places]),
                      np.concatenate([np.ones(count, int), signs, signs]), np.zeros(count + 6, bool),
                      np.zeros(count + 6, bool))


def steered_channel_map(rotation, array):
    """ChannelMap of a log-mel, two vectors along y, z, x and a share; None for a rotation that mixes x and y, which a
    ChannelMap cannot follow, and for one that turns a planar array, or one that may be planar, upside down."""
    upside_down = rotation[2, 2] < 0 and (array.planar or array.drawn)
    if not np.allclose(np.abs(rotation).max(1), 1, atol=1e-6) or upside_down:
        return None
    field = foa_channel_map(rotation)
    places, signs, none = field.source[4:] - 4, field.sign[4:], np.zeros(8, bool)
    return ChannelMap(np.concatenate([[0], 1 + places, 4 + places, [7]]),
                      np.concatenate([[1], signs, signs, [1]]), none, none)


def scaled_map(channel_map, mean, scale):
    """A ChannelMap for features normalised by ``mean`` and ``scale`` (C*F,), phases excepted → the column that each
    column (C*F,) is read from, its gain and its offset, float32.
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
    """The places that lags -F/2 … F/2-1 are read from when they are reversed.

    The lag +F/2, which the first one would need, is not stored; its neighbour F/2 - 1 takes its place.
    """
    return np.minimum(n_lags - np.arange(n_lags), n_lags - 1)


def copies_of(rotations):
    """The ``rotations`` (K, 3, 3) that test-time rotation averages over: the powers of one of them, (1 to 4, 3, 3).

    That one is the rotation about the vertical axis of the highest order up to MOST_COPIES, upright if possible;
    where there is none, a reflection, and else the identity.
    """
    best, rank = np.eye(3), (0,)
    for rotation in rotations:
        order = _order(rotation)
        angle = np.arctan2(rotation[1, 0], rotation[0, 0]) % (2 * np.pi)
        rotates = np.linalg.det(rotation[:2, :2]) > 0 and angle > 1e-6
        own = (rotates, order, rotation[2, 2], -angle)
        if 1 < order <= MOST_COPIES and own > rank:
            best, rank = rotation, own
    return np.stack([np.linalg.matrix_power(best, k) for k in range(max(_order(best), 1))])


def _order(rotation):
    """The smallest n ≤ 64 with rotation^n = identity, else 65."""
    power = rotation
    for order in range(1, 65):
        if np.allclose(power, np.eye(3), atol=1e-6):
            return order
        power = power @ rotation
    return 65
