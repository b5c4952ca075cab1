"""Arrays drawn at random, one per recording, and the files that describe them.

An array of kind 'drawn' (arrays/drawn.yaml) states ranges. Capsules lie in a plane or in space, on rings, on spheres
or anywhere, a little off regular shapes; arrays like one of those in arrays/ are drawn again. A recording's array is in
the YAML file of its name, beside its audio.
"""

import functools

import numpy as np
import yaml

from doatools.errors import UserError
from doatools.files import replacing
from doatools.spatial.arrays import Array, find_array, known_arrays, read_array
from doatools.spatial.geometry import azimuth_elevation

STREAM = 7  # purpose of a random stream, after those of scenes and sensors
OFF_SHAPE = 0.02  # capsules are off a regular shape by up to this share of the aperture
APART_M = 0.008  # the least distance between two capsules
LOWEST_M = 0.006  # the least height of an array that is not planar
ALIKE_M = 0.002  # arrays are alike if no distance between two capsules differs by more than this
TRIES = 1000


def draw_array(array, name, rng):
    """An Array called ``name`` within the ranges of ``array`` (kind 'drawn'); randomness from ``rng`` alone."""
    ranges = dict(array.ranges)
    for _ in range(TRIES):
        found = _candidate(ranges, name, rng)
        if found is not None and not any(_alike(found, known) for known in _known()):
            return found
    raise UserError(f"array '{array.name}': capsules that are {1000 * APART_M:g} mm apart do not fit into its ranges; "
                    "allow fewer capsules or a larger aperture_m")


def path_of(audio):
    """The file of a recording's array, beside its audio."""
    return audio.with_suffix(".yaml")


def write_array(path, array):
    """Write an Array as a YAML file, which ``read_array`` reads as the same Array."""
    content = {key: value for key, value in array.plain().items() if value not in ([], 0.0, "")}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), encoding="utf-8")


@functools.lru_cache(maxsize=4096)
def array_of(path):
    """The Array of a recording's file, read once; UserError if it is missing."""
    if not path.is_file():
        raise UserError(f"{path} is missing: recordings of drawn arrays each have the file of their array beside them")
    return read_array(path)


def _candidate(ranges, name, rng):
    """An Array, or None where the draw failed."""
    count = int(rng.integers(ranges["capsules"][0], ranges["capsules"][1] + 1))
    aperture = float(np.exp(rng.uniform(*np.log(ranges["aperture_m"]))))
    planar, rigid, directional = (rng.random() < ranges[share] for share in ("planar", "rigid", "directional"))
    if rigid:
        return _on_sphere(name, count, aperture / 2, planar, rng)
    if rng.random() < 0.5:
        positions = _ring(count, rng) if planar else _shell(count, rng)
    else:
        positions = _anywhere(count, planar, rng)
    positions += OFF_SHAPE * rng.uniform(-1, 1, positions.shape)  # of shapes that are about 1 across
    positions[:, 2] *= not planar
    positions -= positions.mean(0)
    positions *= aperture / _gaps(positions).max()
    positions = np.round(positions, 5) + 0.0  # no -0.0
    if not _fits(positions, planar):
        return None
    words, axes = ("omni",) * count, ()
    if directional:
        words = tuple(np.round(rng.uniform(0.05, 0.5, count if rng.random() < 0.3 else 1), 2).tolist()) * count
        words, axes = words[:count], _axes(positions, planar, rng)
    return Array(name, "free", tuple(map(tuple, positions.tolist())), directivity=words, orientations_deg=axes)


def _on_sphere(name, count, radius, planar, rng):
    """Capsules on a rigid sphere, on its equator if ``planar``."""
    positions = _ring(count, rng) if planar else _shell(count, rng)
    positions += OFF_SHAPE * rng.uniform(-1, 1, positions.shape)
    positions[:, 2] *= not planar
    positions /= np.maximum(np.linalg.norm(positions, axis=1, keepdims=True), 1e-9)
    if not _fits(radius * positions, planar):
        return None
    degrees = np.round(np.stack(azimuth_elevation(positions), -1), 2)
    return Array(name, "rigid", radius_m=round(radius, 5), capsules_deg=tuple(map(tuple, degrees.tolist())))


def _ring(count, rng):
    """Capsules on a circle of diameter 1, in half of the arrays unevenly."""
    angles = 2 * np.pi * (np.arange(count) + rng.random() + 0.3 * rng.uniform(-1, 1, count) * (rng.random() < 0.5))
    angles /= count
    return 0.5 * np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], -1)


def _shell(count, rng):
    """Capsules on a sphere of diameter 1, the farthest apart of several draws."""
    draws = rng.standard_normal((20, count, 3))
    draws /= 2 * np.linalg.norm(draws, axis=-1, keepdims=True)
    return max(draws, key=lambda one: _gaps(one).min())


def _anywhere(count, planar, rng):
    """Capsules in a disc or an ellipsoid of diameter 1; in a third of the arrays, one is in the centre."""
    flatness = 1.0 if planar else rng.uniform(0.3, 1)
    draws = rng.uniform(-0.5, 0.5, (20, count, 3)) * np.array([1, 1, flatness])
    if rng.random() < 1 / 3:
        draws[:, 0] = 0
    draws[..., 2] *= not planar
    return max(draws, key=lambda one: _gaps(one).min())


def _axes(positions, planar, rng):
    """Where directional capsules point, (azimuth, elevation) each: outward, or in a fifth of the arrays all one way."""
    outward = positions / np.maximum(np.linalg.norm(positions, axis=1, keepdims=True), 1e-9)
    axes = outward + 0.1 * rng.standard_normal(positions.shape)
    if rng.random() < 0.2:
        axes = np.tile(rng.standard_normal(3), (len(positions), 1))
    axes[:, 2] *= not planar
    axes[np.linalg.norm(axes, axis=1) < 1e-6] = (1, 0, 0)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return tuple(map(tuple, np.round(np.stack(azimuth_elevation(axes), -1), 1).tolist()))


def _gaps(positions):
    """Distances between capsules, without those to themselves."""
    one, other = np.triu_indices(len(positions), 1)
    return np.linalg.norm(positions[one] - positions[other], axis=-1)


def _fits(positions, planar):
    """Whether capsules are apart, not nearly on a line and, unless ``planar``, not nearly in a plane."""
    spread = np.linalg.svd(positions - positions.mean(0), compute_uv=False)
    return _gaps(positions).min() >= APART_M and spread[1] > LOWEST_M and (planar or spread[2] > LOWEST_M)


@functools.cache
def _known():
    return [array for array in map(find_array, known_arrays()) if array.kind in ("free", "rigid")]


def _alike(one, other):
    """Whether two arrays have the same distances between capsules, whatever their order and orientation."""
    if one.channels != other.channels or one.kind != other.kind:
        return False
    gaps = [np.sort(_gaps(array.positions)) for array in (one, other)]
    return np.abs(gaps[0] - gaps[1]).max() < ALIKE_M
