"""Microphone arrays as data, and their response to a plane wave.

An array is a YAML file (arrays/*.yaml; respeaker_6mic.yaml is a commented template): ambisonic channels, capsules in
the free field (omnidirectional or cardioid), or capsules on a rigid sphere. All that depends on the array follows
from the file: the numbers of channels and pairs, rendering, steering, the rotations that map the array onto itself,
and whether it can distinguish up from down.

Directions are unit vectors (x, y, z) toward the source (see geometry), frequencies are in Hz, lengths in m. Responses
are relative to the sound at the origin, with the sign convention exp(+iωt) of numpy's FFT: a capsule that the wave
reaches before the origin has a positive phase. M capsules, D directions, F frequencies.

- ambisonic: W, Y, Z, X = 1, y, z, x (ACN order, SN3D gains).
- free: g(γ)·exp(iωp·d/c) for a capsule at p and a wave from d; g = 1 - a + a·cos γ, where γ is the angle between the
  wave and the axis of the capsule: a = 0 (omni), ½ (cardioid) or between.
- rigid: a capsule on a sphere of radius R at the angle γ from the source, x = ωR/c (Politis, Adavanne and Virtanen, "A
  dataset of reverberant spatial sound scenes with moving sources for sound event localization and detection", DCASE
  2020): H(γ, ω) = 1/x² · Σ_n i^(n-1) / h_n'^(2)(x) · (2n+1) · P_n(cos γ)
"""

import functools
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from doatools.config.yaml_files import read_yaml
from doatools.errors import UserError, nearest
from doatools.files import has_suffix
from doatools.spatial.geometry import azimuth_elevation, unit_vectors

SPEED_OF_SOUND = 343.0  # m/s
FOLDER = Path(__file__).resolve().parents[2] / "arrays"
KINDS = ("ambisonic", "free", "rigid", "drawn")
DIRECTIVITIES = {"omni": 0.0, "cardioid": 0.5}
KEYS = ("name", "kind", "positions_m", "radius_m", "capsules_deg", "directivity", "orientations_deg")
# Of kind: drawn: what they mean and their limits; the first two are ranges, the others shares of all arrays.
DRAWN_KEYS = {"capsules": (4, 32), "aperture_m": (0.01, 1.0), "planar": (0, 1), "rigid": (0, 1), "directional": (0, 1)}
TOLERANCE_M = 1e-3  # 3 µs of sound: capsules this close to a plane, to a line or to each other are in it, or the same
TOLERANCE_AXIS = 0.02  # radians, the same for the axes of cardioids; files round these to degrees
MOST_CAPSULES = 64
LARGEST_M = 2.0  # distance of a capsule from the origin


@dataclass(frozen=True)
class Array:
    """One array; make one by ``find_array``, which checks it.

    Attributes
    ----------
    name : str
        Recordings are in <name>_dev.
    kind : 'ambisonic' (four channels), 'free' (``positions_m``) or 'rigid' (``capsules_deg``)
    positions_m : M tuples (x, y, z); free only
    radius_m : of the sphere around the origin; rigid only
    capsules_deg : M tuples (azimuth, elevation); rigid only
    directivity : M words of DIRECTIVITIES, or numbers from 0 (omni) to 0.5 (cardioid); free only
    orientations_deg : M tuples (azimuth, elevation), where directional capsules point; () if there is none
    ranges : (key of DRAWN_KEYS, value) of kind 'drawn': each recording has an array of its own, whose file is beside
        it (doatools/spatial/drawn.py)
    """

    name: str
    kind: str
    positions_m: tuple = ()
    radius_m: float = 0.0
    capsules_deg: tuple = ()
    directivity: tuple = ()
    orientations_deg: tuple = ()
    ranges: tuple = ()

    @classmethod
    def from_plain(cls, values):
        """From the dict of plain types that ``plain`` returns, or from that of a checkpoint of the first edition.

        UserError for anything else.
        """
        values = {key: as_lists(value) for key, value in values.items() if value not in ((), [], 0, "")}
        if values.get("kind") == "open":  # first edition: capsules on a sphere, in the free field
            sphere = _rigid("open", {key: value for key, value in values.items() if key != "name"})
            values = {"name": values.get("name"), "kind": "free", "positions_m": sphere.positions.tolist()}
        return _checked(values | dict(values.pop("ranges", ())))

    def plain(self):
        """As a dict of strings, numbers and lists, to be stored."""
        return {key: as_lists(value) for key, value in asdict(self).items() if key != "ranges" or value}

    def __eq__(self, other):
        """Whether both are the same array, whatever their names."""
        return isinstance(other, Array) and {**asdict(self), "name": ""} == {**asdict(other), "name": ""}

    def __hash__(self):
        return hash((self.kind, self.positions_m, self.radius_m, self.capsules_deg, self.ranges))

    @property
    def drawn(self):
        """Whether each recording has an array of its own; this one then has no channels and no response."""
        return self.kind == "drawn"

    @property
    def channels(self):
        """Number of channels."""
        if self.drawn:
            raise UserError(f"array '{self.name}' stands for many arrays; give the file of one")
        return 4 if self.kind == "ambisonic" else len(self.positions_m or self.capsules_deg)

    @functools.cached_property
    def positions(self):
        """Capsules (M, 3), m from the origin."""
        return self.radius_m * self.capsules if self.kind == "rigid" else np.asarray(self.positions_m, float)

    @functools.cached_property
    def capsules(self):
        """Unit vectors (M, 3) from the centre of the rigid sphere to its capsules."""
        return unit_vectors(*np.asarray(self.capsules_deg, float).T)

    @functools.cached_property
    def axes(self):
        """Unit vectors (M, 3), where directional capsules point; zeros for omnidirectional capsules."""
        axes = np.zeros((self.channels, 3))
        directional = self.patterns > 0
        if directional.any():
            axes[directional] = unit_vectors(*np.asarray(self.orientations_deg, float)[directional].T)
        return axes

    @functools.cached_property
    def patterns(self):
        """a (M,) of capsules in the free field, whose gain is 1 - a + a·cos γ; 0 for all others."""
        words = self.directivity or ("omni",) * self.channels
        return np.array([DIRECTIVITIES.get(word, word) for word in words], float)

    @functools.cached_property
    def mirror(self):
        """Normal (3,) of the plane of which the array cannot distinguish the two sides; None if there is no such plane.

        All capsules are in that plane, all cardioids point along it, and it contains the centre of a rigid sphere.
        """
        if self.kind in ("ambisonic", "drawn"):
            return None
        if self._mirrored(np.eye(3)[2]):
            return np.eye(3)[2]
        normal = np.linalg.svd(self.positions - self.positions.mean(0))[2][2]
        return normal if self._mirrored(normal) else None

    def _mirrored(self, normal):
        heights = self.positions @ normal
        spread = np.abs(heights).max() if self.kind == "rigid" else np.ptp(heights)
        return bool(spread < TOLERANCE_M and np.abs(self.axes @ normal).max() < TOLERANCE_AXIS)

    @property
    def planar(self):
        """Whether the array cannot distinguish above from below, so that elevations are known up to their sign."""
        return bool(self.mirror is not None and abs(self.mirror[2]) > 1 - 1e-9)

    @property
    def max_delay_s(self):
        """The longest time that a wave takes from one capsule to another, around a rigid sphere."""
        if self.kind == "ambisonic":
            return 0.0
        return self.aperture_m * (np.pi / 2 if self.kind == "rigid" else 1) / SPEED_OF_SOUND

    @property
    def aperture_m(self):
        """The largest distance between two capsules; 0 for ambisonics."""
        if self.kind == "ambisonic":
            return 0.0
        return float(np.linalg.norm(self.positions[:, None] - self.positions, axis=-1).max())

    def unlike(self, array):
        """In what an Array is outside of the ranges of this one (kind 'drawn'), in words; '' where it is not."""
        ranges, centimetres = dict(self.ranges), 100 * array.aperture_m
        (fewest, most), (smallest, largest) = ranges["capsules"], 100 * np.array(ranges["aperture_m"])
        if array.kind == "ambisonic":
            return f"array '{array.name}' is ambisonic"
        if not fewest <= array.channels <= most:
            return f"array '{array.name}' has {array.channels} capsules"
        if not 0.9 * smallest <= centimetres <= 1.1 * largest:
            return f"array '{array.name}' is {centimetres:.3g} cm across"
        return ""

    def describe(self):
        """What recordings of the array are, in words."""
        if self.drawn:
            ranges = dict(self.ranges)
            return ("arrays of {:g} to {:g} capsules, ".format(*ranges["capsules"])
                    + "{:g} to {:g} cm across".format(*(100 * np.array(ranges["aperture_m"]))))
        if self.kind == "ambisonic":
            return "first-order ambisonics in 4 channels: W, Y, Z, X (AmbiX: ACN, SN3D), or W, X, Y, Z (FuMa)"
        if self.kind == "rigid":
            places = " ".join(f"({azimuth:g}, {elevation:g})" for azimuth, elevation in self.capsules_deg)
            return (f"{self.channels} capsules, in this order at (azimuth, elevation) {places} degrees on a rigid "
                    f"sphere of {100 * self.radius_m:g} cm radius")
        places = " ".join("({:.3g}, {:.3g}, {:.3g})".format(*(100 * np.array(place))) for place in self.positions_m)
        kinds = "directional" if self.patterns.any() else "omnidirectional"
        return f"{self.channels} {kinds} capsules, in this order at (x, y, z) {places} cm ({self.name})"

    def folded(self, directions):
        """Directions (..., 3) as far as the array can distinguish them: below a planar array they are mirrored
        upward."""
        directions = np.asarray(directions)
        return np.concatenate([directions[..., :2], np.abs(directions[..., 2:])], -1) if self.planar else directions

    def angle_response(self, angles_deg, frequencies):
        """Response of a capsule on the rigid sphere to sources at angles (A,) from it → complex (A, F)."""
        cosines = np.cos(np.deg2rad(np.asarray(angles_deg, dtype=float)))
        x = 2 * np.pi * np.asarray(frequencies, dtype=float) * self.radius_m / SPEED_OF_SOUND
        return rigid_sphere_response(cosines, x)

    def gains(self, directions):
        """Frequency-independent gains of the channels for waves from ``directions`` (..., 3) → (..., M)."""
        directions = np.asarray(directions, float)
        if self.kind == "ambisonic":
            return foa_gains(directions)
        return 1 - self.patterns + self.patterns * (directions @ self.axes.T)

    def response(self, directions, frequencies):
        """Responses to plane waves from ``directions`` (D, 3) → complex (M, D, F)."""
        directions = np.asarray(directions, dtype=float)
        if self.kind == "ambisonic":
            return np.repeat(foa_gains(directions).T[:, :, None], len(frequencies), axis=2).astype(complex)
        if self.kind == "free":
            leads = self.positions @ directions.T / SPEED_OF_SOUND  # (M, D) s
            phases = np.exp(2j * np.pi * leads[..., None] * np.asarray(frequencies, float))
            return self.gains(directions).T[:, :, None] * phases
        angles = np.rad2deg(np.arccos(np.clip(self.capsules @ directions.T, -1, 1)))
        return self.angle_response(angles.ravel(), frequencies).reshape(*angles.shape, -1)


def as_lists(value):
    """Nested tuples as nested lists."""
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


# --- files -----------------------------------------------------------------------------------------------------

def known_arrays():
    """Names of the arrays in arrays/."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_array(word):
    """The Array of a name in arrays/ ('foa') or of a YAML file ('arrays/mine.yaml'); UserError if there is none."""
    return read_array(word) if has_suffix(word, ".yaml", ".yml") else _named(str(word))


@functools.cache
def _named(name):
    path = FOLDER / f"{name}.yaml"
    if not re.fullmatch(r"\w+", name) or not path.is_file():
        raise UserError(f"unknown array '{name}'.{nearest(name, known_arrays())} Known: {', '.join(known_arrays())}; "
                        "or give a file such as arrays/mine.yaml (arrays/respeaker_6mic.yaml is a template)")
    return read_array(path)


def read_array(path):
    """The Array of a YAML file.

    Raises
    ------
    UserError
        Naming the file and the key: an unknown key or kind, a value of the wrong type or range, capsules at the same
        place, capsules on one line, capsules in a plane that is not horizontal.
    """
    content = read_yaml(path, "an array")
    try:
        array = _checked(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    known = FOLDER / f"{array.name}.yaml"
    if known.is_file() and not known.samefile(path) and _checked(read_yaml(known, "an array")) != array:
        raise UserError(f"{path}: key 'name': arrays/{known.name} is another array of the name '{array.name}'; choose "
                        "another name, so that the recordings of the two are not mixed up")
    return array


def _checked(content):
    """The content of a file → Array."""
    known = ("name", "kind", *DRAWN_KEYS) if content.get("kind") == "drawn" else KEYS
    for key in content:
        if key not in known:
            raise UserError(f"unknown key '{key}'.{nearest(key, known)} Known: {', '.join(known)}")
    name, kind = content.get("name"), content.get("kind")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9]\w*", name):
        raise UserError("key 'name' takes letters, digits and underscores (recordings are in <name>_dev), "
                        f"not {name!r}")
    if kind not in KINDS:
        raise UserError(f"key 'kind' is one of {', '.join(KINDS)}, not {kind!r}.{nearest(kind, KINDS)}")
    array = {"ambisonic": _ambisonic, "free": _free, "rigid": _rigid, "drawn": _drawn}[kind](name, content)
    if kind in ("free", "rigid"):
        _check_geometry(array, "positions_m" if "positions_m" in content else "capsules_deg")
    return array


def _ambisonic(name, content):
    _refuse_keys(content, "ambisonic", KEYS[2:])
    return Array(name, "ambisonic")


def _free(name, content):
    _refuse_keys(content, "free", ("radius_m", "capsules_deg"))
    positions = _numbers(content, "positions_m", 3)
    far = np.abs(positions).max()
    if far > LARGEST_M:
        raise UserError(f"key 'positions_m': a capsule is {far:g} m from the origin; positions are in metres")
    words = content.get("directivity", "omni")
    words = [words] * len(positions) if isinstance(words, str) else words
    words = [words] * len(positions) if _is_pattern(words) else words
    if not isinstance(words, list) or len(words) != len(positions) or not all(map(_is_pattern, words)):
        raise UserError(f"key 'directivity' takes {' or '.join(DIRECTIVITIES)}, a number from 0 (omni) to 0.5 "
                        f"(cardioid), or a list with one of them per capsule ({len(positions)}), not "
                        f"{content['directivity']!r}")
    orientations = ()
    if any(DIRECTIVITIES.get(word, word) > 0 for word in words):
        orientations = _numbers(content, "orientations_deg", 2)
        if len(orientations) != len(positions):
            raise UserError(f"key 'orientations_deg' has {len(orientations)} directions for {len(positions)} capsules")
    elif "orientations_deg" in content:
        raise UserError("key 'orientations_deg' has no meaning for omnidirectional capsules; add 'directivity: "
                        "cardioid' or remove it")
    return Array(name, "free", positions, directivity=tuple(words), orientations_deg=orientations)


def _is_pattern(value):
    if isinstance(value, str):
        return value in DIRECTIVITIES
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 0.5


def _drawn(name, content):
    """Ranges and shares; what is not stated has no share."""
    ranges = []
    for key, limits in DRAWN_KEYS.items():
        is_range = key in ("capsules", "aperture_m")
        value = content.get(key, None if is_range else 0.0)
        numbers = value if is_range else [value]
        kinds = int if key == "capsules" else (int, float)
        right = isinstance(numbers, list) and len(numbers) == 1 + is_range and all(
            isinstance(v, kinds) and not isinstance(v, bool) and limits[0] <= v <= limits[1] for v in numbers)
        if not right or (is_range and numbers[0] > numbers[1]):
            what = "[smallest, largest]" if is_range else "a share"
            raise UserError(f"key '{key}' takes {what} within {limits[0]:g} to {limits[1]:g}, not {value!r}")
        ranges.append((key, tuple(numbers) if is_range else float(value)))
    return Array(name, "drawn", ranges=tuple(ranges))


def _rigid(name, content):
    _refuse_keys(content, "rigid", ("directivity", "orientations_deg"))
    radius = content.get("radius_m")
    if isinstance(radius, bool) or not isinstance(radius, (int, float)) or not 0.001 <= radius <= LARGEST_M:
        raise UserError(f"key 'radius_m' takes the radius of the sphere in metres (0.001 to {LARGEST_M:g}), not "
                        f"{radius!r}")
    if "capsules_deg" in content:
        _refuse_keys(content, "rigid with capsules_deg", ("positions_m",))
        return Array(name, "rigid", radius_m=float(radius), capsules_deg=_numbers(content, "capsules_deg", 2))
    positions = np.array(_numbers(content, "positions_m", 3), float)
    away = np.linalg.norm(positions, axis=1)
    if np.abs(away - radius).max() > 0.02 * radius:
        raise UserError(f"key 'positions_m': a capsule {away[np.abs(away - radius).argmax()]:.4g} m from the origin is "
                        f"not on the sphere of {radius:g} m radius")
    degrees = np.stack(azimuth_elevation(positions), -1)
    return Array(name, "rigid", radius_m=float(radius), capsules_deg=tuple(map(tuple, degrees.tolist())))


def _refuse_keys(content, kind, keys):
    for key in keys:
        if key in content:
            raise UserError(f"key '{key}' has no meaning for kind: {kind}; remove it")


def _numbers(content, key, width):
    """The rows of ``key``: tuples of ``width`` finite numbers."""
    rows = content.get(key)
    names = {3: "[x, y, z] in metres", 2: "[azimuth, elevation] in degrees"}[width]
    if not isinstance(rows, list) or not rows:
        raise UserError(f"key '{key}' takes one {names} per capsule")
    for number, row in enumerate(rows, 1):
        right = isinstance(row, list) and len(row) == width and all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in row)
        if not right:
            raise UserError(f"key '{key}', capsule {number}: takes {names}, not {row!r}")
        if width == 2 and abs(row[1]) > 90:
            raise UserError(f"key '{key}', capsule {number}: elevation {row[1]:g} is outside [-90, 90] degrees")
    return tuple(tuple(row) for row in rows)


def _check_geometry(array, key):
    """UserError for capsules, stated by ``key``, that directions cannot be found with."""
    positions = array.positions
    count = len(positions)
    if count < 3:
        raise UserError(f"key '{key}': {count} capsule{'s' * (count > 1)}; directions take three or more that are not "
                        "on one line")
    if count > MOST_CAPSULES:
        raise UserError(f"key '{key}': {count} capsules; up to {MOST_CAPSULES} are supported")
    gaps = np.linalg.norm(positions[:, None] - positions, axis=-1)
    gaps[np.diag_indices(count)] = np.inf
    if gaps.min() < TOLERANCE_M:
        one, other = np.argwhere(gaps == gaps.min())[0]
        raise UserError(f"key '{key}': capsules {one + 1} and {other + 1} are at the same place")
    if np.linalg.svd(positions - positions.mean(0), compute_uv=False)[1] < TOLERANCE_M:
        raise UserError(f"key '{key}': all capsules are on one line; such an array hears the same from all directions "
                        "on a cone around the line, so that neither azimuth nor elevation follows: at least one "
                        "capsule must be off the line")
    if array.mirror is not None and not array.planar:
        raise UserError(f"key '{key}': all capsules are in one plane that is not horizontal; such an array cannot "
                        "distinguish the two sides of that plane, and labels are folded for horizontal arrays only: "
                        "state the positions of the array lying flat, or add a capsule outside the plane")


# --- physics ---------------------------------------------------------------------------------------------------

def foa_gains(directions):
    """Unit vectors (..., 3) → gains (..., 4) of W, Y, Z, X."""
    x, y, z = np.moveaxis(np.asarray(directions), -1, 0)
    return np.stack([np.ones_like(x), y, z, x], axis=-1)


def rigid_sphere_response(cosines, x):
    """Pressure on a rigid sphere at cos γ (A,) and x = ωR/c (F,) → complex (A, F); 1 in the limit x = 0.

    Orders up to 30, or up to x + 15 for large x: terms decay steeply once the order exceeds x.
    """
    from scipy.special import eval_legendre, spherical_jn, spherical_yn  # slow to import
    x = np.asarray(x, dtype=float)
    orders = np.arange(max(30, int(np.ceil(x.max(initial=0.0))) + 15) + 1)[:, None]
    safe = np.where(x > 0, x, 1.0)
    with np.errstate(all="ignore"):  # y_n overflows at small x and high n, where the term is 0
        derivative = spherical_jn(orders, safe, True) - 1j * spherical_yn(orders, safe, True)
        terms = 1j ** (orders - 1.0) * (2 * orders + 1) / (safe**2 * derivative)
    terms = np.where(np.isfinite(terms) & (np.abs(derivative) < 1e200), terms, 0)
    response = eval_legendre(orders.T, np.asarray(cosines, dtype=float)[:, None]) @ terms
    return np.where(x > 0, response, 1.0)


def channels_in(array, whole):
    """Where the capsules of an Array are in a larger one: their channels in it, from 0; None unless all are."""
    if {array.kind, whole.kind} != {"rigid"} or array.channels >= whole.channels or array.radius_m != whole.radius_m:
        return None
    closeness = array.capsules @ whole.capsules.T  # (M, M')
    return tuple(closeness.argmax(1).tolist()) if (closeness.max(1) > 1 - 1e-6).all() else None


def fibonacci_directions(count):
    """``count`` unit vectors (count, 3) spread evenly over the sphere."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    azimuth = np.pi * (1 + np.sqrt(5)) * k
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z], axis=-1)
