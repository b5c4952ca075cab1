"""Microphone arrays as data, and how they respond to a plane wave.

An array is a YAML file (arrays/*.yaml, of which respeaker_6mic.yaml is a commented template): ambisonic channels,
capsules in the free field (omnidirectional or cardioid), or capsules on a rigid sphere. Everything that depends on the
array follows from it: the number of channels and of pairs, rendering, steering, the rotations that map it onto itself,
whether it can tell up from down.

Directions are unit vectors (x, y, z) toward the source (see geometry); frequencies in Hz, lengths in m. Responses are
relative to the sound at the array's centre, in the convention exp(+iωt) of numpy's FFT: a capsule that the wave reaches
before the centre has a positive phase. M capsules, D directions, F frequencies.

- ambisonic: W, Y, Z, X = 1, y, z, x (ACN order, SN3D gains).
- free: g(γ)·exp(iωp·d/c) for a capsule at p and a wave from d; g = 1 (omni) or ½ + ½cos γ (cardioid), γ the angle from
  the capsule's axis.
- rigid: a capsule on a sphere of radius R at the angle γ from the source, x = ωR/c (Politis, Adavanne and Virtanen, "A
  dataset of reverberant spatial sound scenes with moving sources for sound event localization and detection", DCASE 2020):
  H(γ, ω) = 1/x² · Σ_n i^(n-1) / h_n'^(2)(x) · (2n+1) · P_n(cos γ)
"""

import functools
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from doatools.config.yaml_files import read_yaml
from doatools.errors import UserError, nearest
from doatools.spatial.geometry import unit_vectors

SPEED_OF_SOUND = 343.0  # m/s
FOLDER = Path(__file__).resolve().parents[2] / "arrays"
KINDS = ("ambisonic", "free", "rigid")
DIRECTIVITIES = ("omni", "cardioid")
KEYS = ("name", "kind", "positions_m", "radius_m", "capsules_deg", "directivity", "orientations_deg")
FLAT_M = 1e-4  # capsules this near to a plane or a line lie in it


@dataclass(frozen=True)
class Array:
    """One array. ``kind`` is 'ambisonic' (four channels), 'free' (``positions_m``) or 'rigid' (``capsules_deg``).

    Attributes
    ----------
    positions_m : M tuples (x, y, z), from the centre; free only
    radius_m : of the sphere; rigid only
    capsules_deg : M tuples (azimuth, elevation); rigid only
    directivity : M words of DIRECTIVITIES; free only
    orientations_deg : M tuples (azimuth, elevation), the axes of cardioids; () where there is none
    """

    name: str
    kind: str
    positions_m: tuple = ()
    radius_m: float = 0.0
    capsules_deg: tuple = ()
    directivity: tuple = ()
    orientations_deg: tuple = ()

    @classmethod
    def from_plain(cls, values):
        """From the dict of plain types that ``plain`` returns, or that checkpoints of the first edition hold."""
        values = {key: tuple(tuple(v) if isinstance(v, (list, tuple)) else v for v in value)
                  if isinstance(value, (list, tuple)) else value for key, value in values.items()}
        if values["kind"] == "open":  # of the first edition: a sphere in the free field
            directions = unit_vectors(*np.asarray(values["capsules_deg"], float).T)
            positions = tuple(map(tuple, (values["radius_m"] * directions).tolist()))
            return cls(values["name"], "free", positions, directivity=("omni",) * len(positions))
        return cls(**values)

    def plain(self):
        """As a dict of strings, numbers and lists, for files."""
        return {key: [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple) else value
                for key, value in asdict(self).items()}

    def __eq__(self, other):
        """Whether both are the same array; their names do not matter."""
        return isinstance(other, Array) and {**asdict(self), "name": ""} == {**asdict(other), "name": ""}

    def __hash__(self):
        return hash((self.kind, self.positions_m, self.radius_m, self.capsules_deg))

    @property
    def channels(self):
        """Number of channels."""
        return 4 if self.kind == "ambisonic" else len(self.positions_m or self.capsules_deg)

    @property
    def channel_names(self):
        """'W', 'Y', ... or 'capsule 1', 'capsule 2', ..."""
        return list("WYZX") if self.kind == "ambisonic" else [f"capsule {m + 1}" for m in range(self.channels)]

    @functools.cached_property
    def positions(self):
        """Capsules (M, 3), m from the centre."""
        return self.radius_m * self.capsules if self.kind == "rigid" else np.asarray(self.positions_m, float)

    @functools.cached_property
    def capsules(self):
        """Unit vectors (M, 3) from the centre of a rigid sphere to its capsules."""
        return unit_vectors(*np.asarray(self.capsules_deg, float).T)

    @functools.cached_property
    def axes(self):
        """Unit vectors (M, 3) along which cardioids point; zeros for omnidirectional capsules."""
        axes = np.zeros((self.channels, 3))
        cardioid = np.array([word == "cardioid" for word in self.directivity])
        if cardioid.any():
            axes[cardioid] = unit_vectors(*np.asarray(self.orientations_deg, float)[cardioid].T)
        return axes

    @property
    def planar(self):
        """Whether all capsules lie in the horizontal plane and respond alike above and below it: elevations are then
        known up to their sign only."""
        if self.kind == "ambisonic":
            return False
        flat = np.ptp(self.positions[:, 2]) < FLAT_M and (self.kind == "free" or np.abs(self.positions[:, 2]).max() < FLAT_M)
        return bool(flat and np.abs(self.axes[:, 2]).max() < 1e-6)

    @property
    def max_delay_s(self):
        """The longest time that a wave takes from one capsule to another, bending around a rigid sphere."""
        if self.kind == "ambisonic":
            return 0.0
        aperture = np.linalg.norm(self.positions[:, None] - self.positions, axis=-1).max()
        return aperture * (np.pi / 2 if self.kind == "rigid" else 1) / SPEED_OF_SOUND

    def describe(self):
        """What a recording must be, in words."""
        if self.kind == "ambisonic":
            return "first-order ambisonics in 4 channels: W, Y, Z, X (ACN order, SN3D gains), or W, X, Y, Z (FuMa)"
        if self.kind == "rigid":
            places = " ".join(f"({azimuth:g}, {elevation:g})" for azimuth, elevation in self.capsules_deg)
            return (f"{self.channels} capsules, in this order at (azimuth, elevation) {places} degrees on a rigid sphere "
                    f"of {100 * self.radius_m:g} cm radius")
        places = " ".join("({:.3g}, {:.3g}, {:.3g})".format(*(100 * np.array(place))) for place in self.positions_m)
        kinds = "cardioid" if "cardioid" in self.directivity else "omnidirectional"
        return f"{self.channels} {kinds} capsules, in this order at (x, y, z) {places} cm ({self.name})"

    def folded(self, directions):
        """Directions (..., 3) as the array can tell them: those below a planar array are mirrored above it."""
        directions = np.asarray(directions)
        return np.concatenate([directions[..., :2], np.abs(directions[..., 2:])], -1) if self.planar else directions

    def angle_response(self, angles_deg, frequencies):
        """Response of a rigid sphere's capsule to sources ``angles_deg`` (A,) from it → complex (A, F)."""
        cosines = np.cos(np.deg2rad(np.asarray(angles_deg, dtype=float)))
        x = 2 * np.pi * np.asarray(frequencies, dtype=float) * self.radius_m / SPEED_OF_SOUND
        return rigid_sphere_response(cosines, x)

    def gains(self, directions):
        """Gains of the channels for waves from ``directions`` (..., 3), frequency and delay apart → (..., M)."""
        directions = np.asarray(directions, float)
        if self.kind == "ambisonic":
            return foa_gains(directions)
        omni = np.array([word == "omni" for word in self.directivity])
        return np.where(omni, 1.0, 0.5 + 0.5 * directions @ self.axes.T)

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


# --- files -----------------------------------------------------------------------------------------------------

def known_arrays():
    """Names of the arrays that come with the toolkit: the files in arrays/."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_array(word):
    """The Array of a name in arrays/ ('foa') or of a YAML file ('arrays/mine.yaml'); UserError if there is none."""
    return read_array(word) if str(word).endswith((".yaml", ".yml")) else _named(str(word))


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
        Naming the file and the key: a key or kind that is unknown, positions that are not numbers in metres, capsules at
        one place, capsules on one line (a line cannot tell directions from each other on a cone around it).
    """
    content = read_yaml(path, "an array")
    for key in content:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key '{key}'.{nearest(key, KEYS)} Known: {', '.join(KEYS)}")
    name, kind = content.get("name"), content.get("kind")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9]\w*", name):
        raise UserError(f"{path}: key 'name' takes letters, digits and underscores (recordings are in <name>_dev), "
                        f"not {name!r}")
    if kind not in KINDS:
        raise UserError(f"{path}: key 'kind' is one of {', '.join(KINDS)}, not {kind!r}.{nearest(kind, KINDS)}")
    try:
        array = {"ambisonic": _ambisonic, "free": _free, "rigid": _rigid}[kind](name, content)
        _check_geometry(array)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return array


def _ambisonic(name, content):
    _refuse_keys(content, "ambisonic", KEYS[2:])
    return Array(name, "ambisonic")


def _free(name, content):
    _refuse_keys(content, "free", ("radius_m", "capsules_deg"))
    positions = _numbers(content, "positions_m", 3)
    far = np.abs(positions).max()
    if far > 2:
        raise UserError(f"key 'positions_m': a capsule {far:g} m from the centre; positions are in metres")
    words = content.get("directivity", "omni")
    words = [words] * len(positions) if isinstance(words, str) else words
    if not isinstance(words, list) or len(words) != len(positions) or not set(words) <= set(DIRECTIVITIES):
        raise UserError(f"key 'directivity' takes {' or '.join(DIRECTIVITIES)}, or a list with one of them per capsule "
                        f"({len(positions)}), not {words!r}")
    orientations = ()
    if "cardioid" in words:
        orientations = _numbers(content, "orientations_deg", 2)
        if len(orientations) != len(positions):
            raise UserError(f"key 'orientations_deg' has {len(orientations)} directions for {len(positions)} capsules")
    elif "orientations_deg" in content:
        raise UserError("key 'orientations_deg' has no meaning for omnidirectional capsules; add 'directivity: cardioid' "
                        "or remove it")
    return Array(name, "free", positions, directivity=tuple(words), orientations_deg=orientations)


def _rigid(name, content):
    _refuse_keys(content, "rigid", ("directivity", "orientations_deg"))
    radius = content.get("radius_m")
    if isinstance(radius, bool) or not isinstance(radius, (int, float)) or not 0.001 <= radius <= 2:
        raise UserError(f"key 'radius_m' takes the radius of the sphere in metres (0.001 to 2), not {radius!r}")
    if "capsules_deg" in content:
        _refuse_keys(content, "rigid with capsules_deg", ("positions_m",))
        return Array(name, "rigid", radius_m=float(radius), capsules_deg=_numbers(content, "capsules_deg", 2))
    positions = np.array(_numbers(content, "positions_m", 3), float)
    away = np.linalg.norm(positions, axis=1)
    if np.abs(away - radius).max() > 0.02 * radius:
        raise UserError(f"key 'positions_m': a capsule {away[np.abs(away - radius).argmax()]:.4g} m from the centre is "
                        f"not on the sphere of {radius:g} m radius")
    x, y, z = (positions / away[:, None]).T
    degrees = np.rad2deg(np.stack([np.arctan2(y, x), np.arcsin(np.clip(z, -1, 1))], -1))
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
    return tuple(tuple(row) for row in rows)


def _check_geometry(array):
    """UserError for an array that cannot tell directions."""
    if array.kind == "ambisonic":
        return
    positions = array.positions
    if len(positions) < 3:
        raise UserError(f"{len(positions)} capsule(s); directions take three or more that are not on one line")
    if len(positions) > 64:
        raise UserError(f"{len(positions)} capsules; up to 64 are supported")
    gaps = np.linalg.norm(positions[:, None] - positions, axis=-1) + 9 * np.eye(len(positions))
    if gaps.min() < FLAT_M:
        one, other = np.argwhere(gaps == gaps.min())[0]
        raise UserError(f"capsules {one + 1} and {other + 1} are at the same place")
    spread = np.linalg.svd(positions - positions.mean(0), compute_uv=False)
    if spread[1] < FLAT_M:
        raise UserError("all capsules are on one line: such an array hears the same from all directions on a cone around "
                        "the line, so neither azimuth nor elevation can be told; at least one capsule must be off the line")
    if array.kind == "free" and spread[2] < FLAT_M and not array.planar and np.ptp(positions[:, 2]) >= FLAT_M \
            and not np.abs(array.axes).any():
        raise UserError("all capsules are in one plane that is not horizontal: the array cannot tell the two sides of that "
                        "plane apart, and labels are folded for horizontal arrays only; state the positions with the array "
                        "lying flat (z = 0), or add a capsule outside the plane")


# --- physics ---------------------------------------------------------------------------------------------------

def foa_gains(directions):
    """Unit vectors (..., 3) → gains (..., 4) of W, Y, Z, X."""
    x, y, z = np.moveaxis(np.asarray(directions), -1, 0)
    return np.stack([np.ones_like(x), y, z, x], axis=-1)


def rigid_sphere_response(cosines, x):
    """Pressure on a rigid sphere at cos γ (A,) and x = ωR/c (F,) → complex (A, F); 1 in the limit x = 0.

    Orders up to 30, and beyond where x asks for more: terms fall off steeply once the order exceeds x.
    """
    from scipy.special import eval_legendre, spherical_jn, spherical_yn  # scipy.special takes a while to import
    x = np.asarray(x, dtype=float)
    orders = np.arange(max(30, int(np.ceil(x.max(initial=0.0))) + 15) + 1)[:, None]
    safe = np.where(x > 0, x, 1.0)
    with np.errstate(all="ignore"):  # y_n overflows at small x and high n, where the term is zero
        derivative = spherical_jn(orders, safe, True) - 1j * spherical_yn(orders, safe, True)
        terms = 1j ** (orders - 1.0) * (2 * orders + 1) / (safe**2 * derivative)
    terms = np.where(np.isfinite(terms) & (np.abs(derivative) < 1e200), terms, 0)
    response = eval_legendre(orders.T, np.asarray(cosines, dtype=float)[:, None]) @ terms
    return np.where(x > 0, response, 1.0)


def fibonacci_directions(count):
    """``count`` unit vectors (count, 3) spread evenly over the sphere."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    azimuth = np.pi * (1 + np.sqrt(5)) * k
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z], axis=-1)
