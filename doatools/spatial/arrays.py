"""Sensor arrays as data, and how they answer a plane wave.

Directions are unit vectors (x, y, z) toward the source (see geometry); frequencies in Hz, lengths in m.
Responses are relative to the sound at the array's centre, in the convention exp(+iωt) of numpy's FFT, so a
capsule that the wave reaches before the centre has a positive phase.

Ambisonics (FOA) is ACN order with SN3D gains: W, Y, Z, X = 1, y, z, x. The rigid sphere follows the formula
of the TAU-NIGENS 2020 recordings (Politis, Adavanne and Virtanen, "A dataset of reverberant spatial sound
scenes with moving sources for sound event localization and detection", DCASE 2020), for a capsule at the
angle γ from the source, with x = ωR/c:

    H(γ, ω) = 1/x² · Σ_n i^(n-1) / h_n'^(2)(x) · (2n+1) · P_n(cos γ)

A new array is one entry in ARRAYS.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import eval_legendre, spherical_jn, spherical_yn

from doatools.spatial.geometry import unit_vectors

SPEED_OF_SOUND = 343.0  # m/s
KINDS = ("ambisonic", "rigid", "open")


@dataclass(frozen=True)
class Array:
    """Ambisonic channels at one point, or capsules on a sphere that is rigid or open (free in the air).

    ``capsules_deg`` are the (azimuth, elevation) of the capsules in degrees, ``radius_m`` their distance from
    the centre; the four ambisonic channels need neither.
    """

    name: str
    kind: str
    capsules_deg: tuple = ()
    radius_m: float = 0.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"array '{self.name}': kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.kind != "ambisonic" and (len(self.capsules_deg) == 0 or self.radius_m <= 0):
            raise ValueError(f"array '{self.name}' needs capsule directions and a positive radius_m")

    @classmethod
    def from_plain(cls, values):
        """From the dict of lists that a checkpoint holds."""
        return cls(**{**values, "capsules_deg": tuple(map(tuple, values["capsules_deg"]))})

    def describe(self):
        """What a recording must be, in words."""
        if self.kind == "ambisonic":
            return "first-order ambisonics in 4 channels: W, Y, Z, X (ACN order, SN3D gains), or W, X, Y, Z (FuMa)"
        places = " ".join(f"({azimuth:g}, {elevation:g})" for azimuth, elevation in self.capsules_deg)
        return (f"{self.channels} capsules, in this order at (azimuth, elevation) {places} degrees on "
                f"{'a rigid' if self.kind == 'rigid' else 'an open'} sphere of {100 * self.radius_m:g} cm radius")

    @property
    def channels(self):
        """Number of channels."""
        return 4 if self.kind == "ambisonic" else len(self.capsules_deg)

    @property
    def capsules(self):
        """Unit vectors of the capsules (M, 3)."""
        azimuth, elevation = np.asarray(self.capsules_deg, dtype=float).T
        return unit_vectors(azimuth, elevation)

    def angle_response(self, angles_deg, frequencies):
        """Response of a capsule to sources ``angles_deg`` (A,) from it → complex (A, F); 1 for ambisonics."""
        cosines = np.cos(np.deg2rad(np.asarray(angles_deg, dtype=float)))
        if self.kind == "ambisonic":
            return np.ones((len(cosines), len(frequencies)), dtype=complex)
        x = 2 * np.pi * np.asarray(frequencies, dtype=float) * self.radius_m / SPEED_OF_SOUND
        if self.kind == "open":
            return np.exp(1j * np.outer(cosines, x))
        return rigid_sphere_response(cosines, x)

    def response(self, directions, frequencies):
        """Responses to plane waves from ``directions`` (D, 3) → complex (channels, D, F)."""
        directions = np.asarray(directions, dtype=float)
        if self.kind == "ambisonic":
            return np.repeat(foa_gains(directions).T[:, :, None], len(frequencies), axis=2).astype(complex)
        angles = np.rad2deg(np.arccos(np.clip(self.capsules @ directions.T, -1, 1)))
        return self.angle_response(angles.ravel(), frequencies).reshape(*angles.shape, -1)


def foa_gains(directions):
    """Unit vectors (..., 3) → gains (..., 4) of W, Y, Z, X."""
    x, y, z = np.moveaxis(np.asarray(directions), -1, 0)
    return np.stack([np.ones_like(x), y, z, x], axis=-1)


def rigid_sphere_response(cosines, x):
    """Pressure on a rigid sphere at cos γ (A,) and x = ωR/c (F,) → complex (A, F); 1 in the limit x = 0.

    Orders up to 30, and beyond where x asks for more: terms fall off steeply once the order exceeds x.
    """
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


# The names are values of the parameter ``dataset``, and the folders <name>_dev.
ARRAYS = {
    "foa": Array("foa", "ambisonic"),
    "mic": Array("mic", "rigid", ((45, 35), (-45, -35), (135, -35), (-135, 35)), 0.042),
}
