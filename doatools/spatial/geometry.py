"""Directions of arrival.

Azimuth is counter-clockwise from the front (+x), elevation is upward from the horizontal plane, both in degrees;
inside the toolkit a direction is a unit vector (x, y, z), last axis, with x = cos(el) cos(az), y = cos(el) sin(az), z
= sin(el).
"""

import numpy as np


def unit_vectors(azimuth, elevation):
    """Degrees (...,) and (...,) → unit vectors (..., 3)."""
    azimuth, elevation = np.deg2rad(azimuth), np.deg2rad(elevation)
    flat = np.cos(elevation)
    return np.stack(np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)), -1)


def azimuth_elevation(vectors):
    """Vectors (..., 3) of any positive length → (azimuth in (-180, 180], elevation in [-90, 90]) degrees."""
    x, y, z = np.moveaxis(np.asarray(vectors), -1, 0)
    return np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def angular_distance(a, b):
    """Great-circle angle in degrees between vectors (..., 3), broadcast; exact at 0°, 180° and the poles.

    The arctan2 of the lengths of a-b and a+b (Kahan) is precise where the arccos of a scalar product is not.
    """
    a = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1e-12)
    b = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), 1e-12)
    return np.rad2deg(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))


def pairwise_angles(a, b):
    """Great-circle angles in degrees of all pairs in each frame: (T, N, 3) and (T, M, 3) → (T, N, M).

    The same as ``angular_distance(a[:, :, None], b[:, None])``, and many times faster: the frames are innermost in
    memory, here and in the result, and are processed in blocks that fit into the cache.
    """
    frames, n, m = len(a), a.shape[1], b.shape[1]
    angles = np.empty((n, m, frames))
    step = 16384 // max(n * m, 1) + 1
    for first in range(0, frames, step):
        block = slice(first, first + step)
        ours, theirs = _planes(a[block])[:, :, None], _planes(b[block])[:, None]  # (3, N, 1, t), (3, 1, M, t)
        apart, along = (np.sqrt(x * x + y * y + z * z) for x, y, z in (ours - theirs, ours + theirs))
        angles[:, :, block] = np.rad2deg(2 * np.arctan2(apart, along))
    return angles.transpose(2, 0, 1)


def _planes(vectors):
    """Vectors (T, N, 3) → unit vectors as planes of coordinates (3, N, T)."""
    planes = np.array(np.asarray(vectors).transpose(2, 1, 0), float, order="C")
    x, y, z = planes
    return planes / np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)
