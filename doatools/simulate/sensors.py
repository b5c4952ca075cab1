"""Microphones and recorders as they are: what a recording holds of the sound at an array.

A sound field is rendered at the *capsules* of a sensor (an Array whose capsules may be misplaced; those of an ambisonic
microphone may be four cardioids). ``Sensor.record`` turns their signals into the channels of the *nominal* array: it
mixes, filters, adds noise and offset, and clips. A sensor is drawn per recording; with all ranges 0 it is perfect.

An ambisonic microphone is a tetrahedron of cardioids a, b, c, d at radius R that point outward. The A-format is encoded
as W = (a+b+c+d)/2, X = √3 (a+b-c-d)/2, Y = √3 (a-b+c-d)/2, Z = √3 (a-b-c+d)/2 (ACN order, SN3D gains). With x = ωR/c a
capsule at γ from a plane wave hears (½ + ½cos γ)·exp(ix cos γ). Its expansion in Legendre polynomials gives the
channels' responses, up to aliasing of third and higher orders: W: j0 + i·j1, dipoles: j0 - 2·j2 + 3i·j1 (j spherical
Bessel functions of x). Correction filters divide by these (Gerzon, "The design of precisely coincident microphone
arrays for stereo and surround sound", AES Convention 50, 1975; Faller and Kolundžija, "Design and limitations of
non-coincidence correction filters for soundfield microphones", AES Convention 126, 2009).

Signals are (channels, samples); C channels, M capsules, F bins. Phases follow exp(+iωt).
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from doatools.simulate import kernels
from doatools.spatial.arrays import SPEED_OF_SOUND, Array
from doatools.spatial.geometry import azimuth_elevation, unit_vectors

STREAM = 5  # purpose of a random stream, after those of scenes
LEVEL = 0.03  # r.m.s. that self-noise refers to: scenes.NOMINAL_RMS
TAPS = 512  # of the filters between capsules and channels
WINDY, GUST_S = 1 / 3, 0.7  # share of recordings with wind; time between the nodes of its level
LARGEST_GAIN_DB = 12.0  # of a correction filter
NODES_HZ = 125.0 * 2.0 ** np.arange(7)  # mismatches are drawn here and run smoothly between
TETRAHEDRON_DEG = ((45.0, 35.264), (-45.0, -35.264), (135.0, -35.264), (-135.0, 35.264))  # FLU, FRD, BLD, BRU
# Rows W, Y, Z, X of the encoder, columns FLU, FRD, BLD, BRU; scaled so that cardioids at one point give SN3D gains.
ENCODER = 0.5 * np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, -1, -1, 1], [1, 1, -1, -1]]) * np.sqrt([[1], [3], [3], [3]])


@dataclass(frozen=True)
class Sensor:
    """One array in one recording; ``filters`` (C, M, F) at the bins of TAPS, or None for signals as they are."""

    nominal: Array
    capsules: Array
    filters: np.ndarray | None = None
    self_noise: float = 0.0  # r.m.s. per capsule
    low_cut_hz: float = 0.0
    wind: float = 0.0  # r.m.s. per capsule
    stand: np.ndarray | None = None  # (3, 3): a direction in the room → the same in the array's own axes

    def heard(self, directions):
        """Directions (..., 3) in the room → in the array's axes."""
        return directions if self.stand is None else directions @ self.stand.T

    @property
    def pattern(self):
        """(offsets (M,), slopes (M, 3)): the gain of a channel for a wave from direction d in the room is offset + d ·
        slope; on a rigid sphere the slopes are the directions of the capsules."""
        array = self.capsules
        if array.kind == "rigid":
            offsets, slopes = np.zeros(array.channels), array.capsules
        else:
            offsets = array.gains(np.zeros(3))
            slopes = (array.gains(np.eye(3)) - offsets).T
        return offsets, self._in_room(slopes)

    @property
    def leads_s(self):
        """(M, 3): a wave from direction d in the room reaches a capsule in the free field d · lead before the
        centre."""
        array = self.capsules
        places = array.positions if array.kind == "free" else np.zeros((array.channels, 3))
        return self._in_room(places) / SPEED_OF_SOUND

    def _in_room(self, vectors):
        """Vectors (M, 3) in the array's axes → in those of the room."""
        return np.ascontiguousarray(vectors if self.stand is None else vectors @ self.stand)

    def record(self, signals, fs, rng):
        """Signals at the capsules (M, n) → channels (C, n) float32, before the recorder's limits."""
        for level, noise in ((self.self_noise, kernels.normals), (self.wind, functools.partial(wind, fs=fs))):
            if level:
                noise = noise(rng, signals.shape)
                noise *= np.float32(level)
                noise += signals
                signals = noise
        if self.filters is not None:
            signals = filtered(signals, self.filters)
        if self.low_cut_hz:
            pole = np.exp(-2 * np.pi * self.low_cut_hz / fs)
            signals = kernels.one_pole(signals, (1 + pole) / 2, -1.0, pole)
        return signals.astype(np.float32, copy=False)


def draw(array, simulation, fs, rng):
    """A Sensor for ``array`` by the ranges of a SimulationConfig."""
    radius = 1e-3 * rng.uniform(*simulation.encoder_mm)
    encoded = array.kind == "ambisonic" and radius > 0
    corrected = rng.random() < simulation.encoder_corrected
    capsules = misplaced(tetrahedron(radius) if encoded else array, 1e-3 * simulation.position_mm, rng)
    frequencies = np.fft.rfftfreq(TAPS, 1 / fs)
    mismatch = mismatches(capsules.channels, frequencies, simulation.gain_db, simulation.phase_deg, rng)
    dipole = 10 ** (rng.uniform(*simulation.dipole_db) / 20)
    noise = LEVEL * simulation.self_noise * 10 ** -rng.uniform(0, 1)
    low_cut = simulation.low_cut_hz * 10 ** -rng.uniform(0, 1)
    angles = rng.uniform(-simulation.stand_deg, simulation.stand_deg, 3)
    wind_level = LEVEL * simulation.wind * 10 ** -rng.uniform(0, 1) * (rng.random() < WINDY)
    filters = None
    if encoded:
        filters = encoder(frequencies, radius if corrected else 0.0) * mismatch
    elif simulation.gain_db or simulation.phase_deg or (array.kind == "ambisonic" and dipole != 1):
        filters = np.eye(array.channels)[..., None] * mismatch
    if array.kind == "ambisonic" and filters is not None:
        filters = filters * np.array([1, dipole, dipole, dipole])[:, None, None]
    return Sensor(array, capsules, filters, noise, low_cut, wind_level,
                  rotation(*angles) if simulation.stand_deg else None)


def wind(rng, shape, fs):
    """Wind at capsules (M, n), r.m.s. 1: turbulence, which capsules do not share, below a few hundred Hz, in gusts."""
    pole = np.exp(-2 * np.pi * rng.uniform(40, 150) / fs)
    noise = kernels.normals(rng, shape)
    for _ in range(2):
        noise = kernels.one_pole(noise, 1 - pole, 0.0, pole)
    gusts = np.exp(rng.normal(0, 0.7, max(2, round(shape[1] / fs / GUST_S) + 1)))
    noise *= np.interp(np.arange(shape[1]), np.linspace(0, shape[1], len(gusts)), gusts).astype(np.float32)
    noise /= np.float32(np.sqrt(np.mean(noise**2)) + 1e-20)
    return noise


def of_scene(arrays, simulation, fs, key):
    """The Sensors of a scene's arrays, which follow from its key."""
    return [draw(array, simulation, fs, np.random.default_rng([*key, STREAM, 2, number]))
            for number, array in enumerate(arrays)]


def record(sensors, signals, simulation, fs, key):
    """Signals at the capsules of all ``sensors`` (M, n) → their channels (C, n), as the recorder writes them."""
    rng = np.random.default_rng([*key, STREAM, 1])
    ends = np.cumsum([sensor.capsules.channels for sensor in sensors])[:-1]
    channels = [sensor.record(own, fs, rng) for sensor, own in zip(sensors, np.split(signals, ends))]
    return limited(np.concatenate(channels), simulation.clipping_db, simulation.dc, rng)


def tetrahedron(radius):
    """The Array of four cardioids on a sphere of ``radius`` m, pointing outward."""
    positions = radius * unit_vectors(*np.array(TETRAHEDRON_DEG).T)
    return Array("tetrahedron", "free", tuple(map(tuple, positions.tolist())), directivity=("cardioid",) * 4,
                 orientations_deg=TETRAHEDRON_DEG)


def encoder(frequencies, corrected_radius=0.0):
    """A-format → W, Y, Z, X: (4, 4, F); with correction filters for capsules at ``corrected_radius`` m, if not 0."""
    matrix = ENCODER[..., None] * np.ones(len(frequencies), complex)
    if corrected_radius:
        omni, dipole = coincidence(frequencies, corrected_radius)
        matrix /= np.stack([omni, dipole, dipole, dipole])[:, None]
    return matrix


def coincidence(frequencies, radius):
    """Responses of W and of a dipole channel along its axis without correction, aliasing apart: (F,), (F,) complex.

    Limited to -LARGEST_GAIN_DB, since correction filters divide by them.
    """
    from scipy.special import spherical_jn
    x = 2 * np.pi * np.asarray(frequencies, float) * radius / SPEED_OF_SOUND
    j0, j1, j2 = (spherical_jn(order, x) for order in range(3))
    least = 10 ** (-LARGEST_GAIN_DB / 20)
    return tuple(response * np.maximum(1, least / np.maximum(np.abs(response), 1e-9))
                 for response in (j0 + 1j * j1, j0 - 2 * j2 + 3j * j1))


def misplaced(array, error_m, rng):
    """``array`` with each coordinate of each capsule off by up to ``error_m``; ambisonic channels have no places."""
    if array.kind == "ambisonic" or not error_m:
        return array
    positions = array.positions + rng.uniform(-error_m, error_m, (array.channels, 3))
    if array.kind == "free":
        return replace(array, positions_m=tuple(map(tuple, positions.tolist())))
    return replace(array, capsules_deg=tuple(zip(*(angle.tolist() for angle in azimuth_elevation(positions)))))


def mismatches(channels, frequencies, gain_db, phase_deg, rng):
    """Complex factors (channels, F) that differ smoothly over frequency; a gain is mostly the same at all
    frequencies."""
    places = np.log2(np.maximum(frequencies, 1.0))

    def smooth(nodes):
        return np.stack([np.interp(places, np.log2(NODES_HZ), row) for row in nodes])

    shape = channels, len(NODES_HZ)
    gains = gain_db * (0.75 * rng.uniform(-1, 1, (channels, 1)) + 0.25 * smooth(rng.uniform(-1, 1, shape)))
    phases = np.deg2rad(phase_deg) * smooth(rng.uniform(-1, 1, shape))
    return 10 ** (gains / 20) * np.exp(1j * phases)


def rotation(yaw, pitch, roll):
    """(3, 3): axes turned by ``yaw`` about z, ``pitch`` about y and ``roll`` about x, degrees; maps room to array."""
    yaw, pitch, roll = np.deg2rad([yaw, pitch, roll])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
    return (about_z @ about_y @ about_x).T


def filtered(signals, filters):
    """Signals (M, n) through filters (C, M, F) at the bins of TAPS, without delay → (C, n) float32."""
    taps = np.roll(fft.irfft(filters, TAPS), TAPS // 2, axis=-1) * np.hanning(TAPS + 1)[:-1]
    late = kernels.convolved(signals.astype(np.float32, copy=False), taps.astype(np.float32))
    return late[:, TAPS // 2 : TAPS // 2 + signals.shape[1]]


def limited(channels, over_db, dc, rng):
    """What the recorder writes of ``channels`` (C, n): within full scale, with a DC offset of up to ±``dc`` per
    channel.

    Peaks that would lie beyond full scale, by up to ``over_db``, are clipped.
    """
    peak = max(channels.max(), -channels.min()) + 1e-20
    over = 10 ** (rng.uniform(-over_db, over_db) / 20)
    offsets = rng.uniform(-dc, dc, (len(channels), 1)).astype(np.float32)
    channels = channels * np.float32(over / peak if over > 1 else min(1, 0.95 / peak))
    channels += offsets
    return np.clip(channels, -1, 1, out=channels)
