"""Rooms whose surfaces differ and depend on frequency, directional sources, noise from one side, imperfect sensors.

As in rooms.py, early reflections are image sources and the late response is decaying noise of the diffuse field; what
is new is a dimension of BANDS. An image's amplitude is stated at each centre of BANDS_HZ; between them it runs linearly
over the logarithm of frequency (filters without delay whose sum is 1, so that a flat image stays as it is). The tail
decays at the RT60 of each frequency. Early images end at the room's mixing time (about sqrt(volume) ms), times
EARLY_MIXING.

A surface of absorption α reflects the amplitude sqrt(1 - α). Absorptions are drawn as exponents -ln(1 - α), whose mean
over the surfaces gives the RT60 of the band (Eyring). A directional source has the gain 1 - d + d·(½ + ½cos θ) at θ off
its axis, with d rising over frequency, roughly a talker's (Chu and Warnock, "Detailed directivity of sound fields
around human talkers", NRC 2002). Not modelled: near field, scattering, a tail that differs between directions.

K positions, I images, B bands, C channels; positions in m from the array.
"""

import functools
from dataclasses import dataclass, fields

import numba
import numpy as np
from scipy import fft
from scipy.signal import oaconvolve

from doatools.simulate import sensors
from doatools.simulate.rooms import BLOCK, DECAY, FADE_S, HOP_S, PHASES, Renderer, Room, _sum
from doatools.spatial.arrays import SPEED_OF_SOUND, foa_gains
from doatools.spatial.geometry import unit_vectors

BANDS_HZ = (250.0, 1000.0, 4000.0)
TALKER = (0.25, 0.65, 0.95)  # d of a talker at BANDS_HZ
TILTED_DEG = 20.0  # directional sources face up or down by up to this
EARLY_MIXING = 3.0  # times sqrt(volume) ms
EARLY_RANGE_S = (0.04, 0.06)
GUARD = 32  # samples before a response for the pre-ringing of its bands
HUM_HZ = (50.0, 60.0)
NOISE_PERIOD_S = 20.0  # noise from one side repeats after this


@dataclass(frozen=True)
class LiveRoom(Room):
    """``rt60_bands_s`` (B,), ``exponents`` (6, B): -ln(1 - α) of the surfaces x=0, x=L, y=0, y=W, floor, ceiling."""

    rt60_bands_s: tuple = ()
    exponents: tuple = ()
    margin_m: float = 0.3
    directivity: float = 0.0  # share of sources that are directional
    directional_noise: float = 0.0  # share of recordings

    def reach(self, directions, margin_m=None):
        return super().reach(directions, self.margin_m if margin_m is None else margin_m)

    @property
    def early_s(self):
        """Image sources up to this long after the direct sound."""
        mixing = EARLY_MIXING * 1e-3 * np.sqrt(np.prod(self.size_m))
        return float(np.clip(mixing, *EARLY_RANGE_S))


def furnished(room, simulation, rng):
    """A Room with surfaces and RT60 of bands by the ranges of a SimulationConfig."""
    low, high = rng.uniform(-0.5, 1), rng.uniform(0, 1.5)
    rt60 = room.rt60_s * 2.0 ** (simulation.decay_tilt * np.array([low, 0, -high]))
    x, y, z = room.size_m
    areas = np.array([y * z, y * z, x * z, x * z, x * y, x * y])
    mean = 8 * DECAY * x * y * z / (SPEED_OF_SOUND * areas.sum() * rt60)  # (B,) exponents
    contrast = simulation.surface_contrast
    weights = np.exp(contrast * (0.8 * rng.uniform(-1, 1, (6, 1)) + 0.2 * rng.uniform(-1, 1, (6, len(BANDS_HZ)))))
    weights /= areas @ weights / areas.sum()
    inherited = {field.name: getattr(room, field.name) for field in fields(Room)}
    return LiveRoom(**inherited, rt60_bands_s=tuple(rt60.tolist()),
                    exponents=tuple(map(tuple, (mean * weights).tolist())),
                    margin_m=simulation.margin_m,
                    directivity=simulation.directivity,
                    directional_noise=simulation.directional_noise)


def hats(frequencies):
    """Weights (B, F) of the bands: triangles over log-frequency, flat beyond the ends; they sum to 1."""
    places = np.log2(np.maximum(frequencies, 1.0))
    centres = np.log2(BANDS_HZ)
    return np.stack([np.interp(places, centres, row) for row in np.eye(len(centres))]).astype(np.float32)


# --- image sources ---------------------------------------------------------------------------------------------

class Lattice:
    """Image sources of a shoebox around the array, out to ``reach_m``, of sources anywhere in it.

    Along an axis of length L the image (u, l) lies at (1 - 2u)·s + 2lL, after |l - u| reflections at 0 and |l| at L.
    """

    def __init__(self, room, reach_m):
        self.sensor = np.asarray(room.sensor_m)
        signs, shifts, exponents = [], [], []
        for axis, length in enumerate(room.size_m):
            last = int(np.ceil((reach_m + length) / (2 * length)))
            u, cell = (grid.ravel() for grid in np.meshgrid([0, 1], np.arange(-last, last + 1), indexing="ij"))
            near = np.abs((1 - 2 * u) * length / 2 + 2 * cell * length - self.sensor[axis]) <= reach_m + length / 2
            u, cell = u[near], cell[near]
            low, high = np.asarray(room.exponents)[2 * axis : 2 * axis + 2]
            signs.append(1.0 - 2 * u)
            shifts.append(2.0 * cell * length)
            exponents.append(np.abs(cell - u)[:, None] * low + np.abs(cell)[:, None] * high)  # (n, B)
        grid = [index.ravel() for index in np.meshgrid(*(np.arange(len(one)) for one in signs), indexing="ij")]
        signs, shifts = (np.stack([one[index] for one, index in zip(of, grid)], -1) for of in (signs, shifts))
        away = np.maximum(np.abs(signs * np.asarray(room.size_m) / 2 + shifts - self.sensor)
                          - np.asarray(room.size_m) / 2, 0)  # of the image of the whole room
        near = np.linalg.norm(away, axis=-1) <= reach_m
        self.signs, self.shifts = signs[near], shifts[near]
        self.gains = np.exp(-0.5 * sum(one[index[near]] for one, index in zip(exponents, grid)))  # (I, B)

    def images(self, position, early_s, axis=None):
        """Directions (I, 3), delays (I,) s after the direct sound, amplitudes (I, B) of a source at ``position`` (3,)
        that faces along ``axis`` (3,), None for one that radiates alike everywhere."""
        paths = self.signs * (self.sensor + position) + self.shifts - self.sensor
        squares = np.einsum("ij,ij->i", paths, paths)
        own = np.linalg.norm(position)
        near = squares < (own + SPEED_OF_SOUND * early_s) ** 2
        paths, distances = paths[near], np.sqrt(squares[near])
        delays = np.maximum(distances - own, 0) / SPEED_OF_SOUND
        fade = np.cos(np.pi / 2 * np.clip(1 + (delays - early_s) / FADE_S, 0, 1))
        amplitudes = self.gains[near] * (fade / distances)[:, None]
        directions = paths / distances[:, None]
        if axis is not None:
            cosines = -np.einsum("ij,ij->i", directions, self.signs[near] * axis)  # images face mirrored ways
            amplitudes *= talker_gains(cosines)
        return directions, delays, amplitudes


def talker_gains(cosines):
    """Gains (..., B) of a directional source at ``cosines`` of the angle from its axis."""
    return 1 - np.multiply.outer(0.5 - 0.5 * np.asarray(cosines), TALKER)


@numba.njit(cache=True, fastmath=True)
def _scatter(output, starts, rows, shares, amplitudes, table):
    """Add waves to ``output`` (C, B, n): table rows (C, I, 2) weighted by shares (C, I, 2) and amplitudes (I, B)."""
    taps = table.shape[1]
    for c in range(output.shape[0]):
        for i in range(starts.shape[1]):
            start, one, other = starts[c, i], rows[c, i, 0], rows[c, i, 1]
            for b in range(output.shape[1]):
                first, second = shares[c, i, 0] * amplitudes[i, b], shares[c, i, 1] * amplitudes[i, b]
                if second == 0:
                    for t in range(taps):
                        output[c, b, start + t] += first * table[one, t]
                else:
                    for t in range(taps):
                        output[c, b, start + t] += first * table[one, t] + second * table[other, t]


# --- rendering -------------------------------------------------------------------------------------------------

class LiveRenderer(Renderer):
    """A Renderer of LiveRooms as Sensors hear them; ``arrays`` are the capsules, ``sensors`` what becomes of them."""

    def __init__(self, sensors_, fs, simulation=None):
        super().__init__([sensor.capsules for sensor in sensors_], fs)
        self.sensors, self.simulation = tuple(sensors_), simulation
        self.flat_tables = [table.reshape(-1, table.shape[-1]).astype(np.float32) for table in self.tables]
        self.lead += GUARD
        self.hats_of_block = hats(np.fft.rfftfreq(BLOCK, 1 / fs))

    def source(self, room, dry, positions, rng):
        """See Renderer; directional sources face any way, which ``rng`` draws."""
        distance = np.linalg.norm(positions, axis=-1).mean()
        dry = np.asarray(dry, np.float32)
        axis = _facing(rng) if rng.random() < room.directivity else None
        tail = self.tail_response(room, distance, rng, axis)
        lattice = Lattice(room, SPEED_OF_SOUND * room.early_s + np.linalg.norm(positions, axis=-1).max())
        spectra, length, size = self._early_spectra(room, lattice, positions, axis)
        if len(positions) == 1:
            return distance * oaconvolve(dry[None], _sum(tail, fft.irfft(spectra[0], size)[:, :length]), axes=1)
        early = self._crossfaded_spectra(dry, spectra, length, size)
        return distance * _sum(early, oaconvolve(dry[None], tail, axes=1))

    def _early_spectra(self, room, lattice, positions, axis):
        """Spectra (C, F) of the early response at each position, its length and the size of the FFT."""
        length = round(room.early_s * self.fs) + 2 * self.lead
        hop = round(HOP_S * self.fs)
        size = fft.next_fast_len(length + (2 * hop if len(positions) > 1 else GUARD), real=True)
        bands = hats(np.fft.rfftfreq(size, 1 / self.fs))
        spectra = []
        for position in positions:
            response = self.early_bands(*lattice.images(position, room.early_s, axis), length)
            spectra.append(np.einsum("cbf,bf->cf", fft.rfft(response, size), bands))
        return spectra, length, size

    def early_bands(self, directions, delays, amplitudes, length):
        """Sum of plane waves: directions (I, 3), delays (I,) s, amplitudes (I, B) → (C, B, length) float32."""
        amplitudes = np.ascontiguousarray(amplitudes, np.float32)
        output = np.zeros((self.channels, amplitudes.shape[1], length), np.float32)
        first = 0
        for sensor, table in zip(self.sensors, self.flat_tables):
            own = output[first : first + sensor.capsules.channels]
            _scatter(own, *self._placed(sensor.capsules, sensor.heard(directions), delays), amplitudes, table)
            first += sensor.capsules.channels
        return output

    def _placed(self, array, directions, delays):
        """Where the waves begin (C, I) samples, and the rows of the table (C, I, 2) that they are mixed of by
        shares."""
        leads = directions @ array.positions.T / SPEED_OF_SOUND if array.kind == "free" else np.zeros((len(delays), 1))
        steps = np.round((delays[:, None] - leads).T * self.fs * PHASES).astype(np.int64) + self._reach(array) * PHASES
        starts, phase = steps // PHASES + GUARD, steps % PHASES
        shape = array.channels, len(delays)
        rows, shares = np.zeros((*shape, 2), np.int64), np.zeros((*shape, 2), np.float32)
        rows[..., 0] = phase
        if array.kind == "rigid":
            angles = np.rad2deg(np.arccos(np.clip(array.capsules @ directions.T, -1, 1)))
            lower = angles.astype(np.int64)
            rows[..., 0], rows[..., 1] = lower * PHASES + phase, (lower + 1) * PHASES + phase
            shares[..., 1] = angles - lower
            shares[..., 0] = 1 - shares[..., 1]
        else:
            shares[..., 0] = (foa_gains(directions) if array.kind == "ambisonic" else array.gains(directions)).T
        return np.ascontiguousarray(np.broadcast_to(starts, shape)), rows, shares

    def _crossfaded_spectra(self, dry, spectra, length, size):
        """``dry`` through the response of spectrum k around the time k·HOP_S, with overlapping Hann windows."""
        hop = round(HOP_S * self.fs)
        if (len(spectra) - 1) * hop < len(dry):
            raise ValueError("a moving source needs a position every HOP_S, to the end of its sound")
        window = np.sin(np.pi * np.arange(2 * hop) / (2 * hop)).astype(np.float32) ** 2
        padded = np.zeros((len(spectra) + 1) * hop, np.float32)
        padded[hop : hop + len(dry)] = dry
        output = np.zeros((self.channels, len(padded) + size), np.float32)
        for k, spectrum in enumerate(spectra):
            segment = fft.rfft(padded[k * hop : (k + 2) * hop] * window, size)
            output[:, k * hop : k * hop + size] += fft.irfft(segment * spectrum, size)
        return output[:, hop : hop + len(dry) + length]

    def tail_response(self, room, distance, rng, axis=None):
        """Late reverberation (C, samples): as in Renderer, each frequency with its own decay and power of the
        source."""
        samples, slowest = int(max(room.rt60_bands_s) * self.fs), max(room.rt60_bands_s)
        time = np.arange(samples) / self.fs
        fade = np.sin(np.pi / 2 * np.clip(1 + (time - room.early_s) / FADE_S, 0, 1))
        density = 4 * np.pi * SPEED_OF_SOUND / np.prod(room.size_m) / self.fs
        rt60 = np.exp(np.log(room.rt60_bands_s) @ self.hats_of_block)  # (F,)
        flight = distance / SPEED_OF_SOUND
        frames = np.arange(-(-samples // (BLOCK // 2)) + 1) * (BLOCK // 2) / self.fs + flight
        course = np.exp(-DECAY * np.outer(1 / rt60 - 1 / slowest, frames)).astype(np.float32)
        if axis is not None:  # the mean power of 1 - d + d·(½ + ½cos θ) over the sphere
            d = np.array(TALKER)
            course *= (np.sqrt((1 - d / 2) ** 2 + d**2 / 12) @ self.hats_of_block)[:, None].astype(np.float32)
        decay = np.exp(-DECAY * (time + flight) / slowest)
        tail = self.diffuse_noise(samples, rng, course=course) * (np.sqrt(density) * fade * decay).astype(np.float32)
        return np.pad(tail, ((0, 0), (self.lead, 0)))

    def ambience(self, scene, samples, rng):
        """Diffuse noise; in a share of recordings, one of NOISES from its own direction joins it at -10 to +10 dB."""
        diffuse = self.diffuse_noise(samples, rng, exponent=0.5)
        if rng.random() >= scene.room.directional_noise:
            return diffuse
        noise, period = NOISES[rng.integers(len(NOISES))], min(samples, round(NOISE_PERIOD_S * self.fs))
        spectrum = sum(fft.rfft(dry.astype(np.float32)) * fft.rfft(self._from_afar(scene.room, period, rng), period)
                       for dry in noise(period, self.fs, rng))
        directed = np.tile(fft.irfft(spectrum, period), -(-samples // period))[:, :samples]
        ratio = 10 ** (rng.uniform(-10, 10) / 20)
        level = np.float32(ratio * np.sqrt(self.power(diffuse) / (self.power(directed) + 1e-20)))
        return (diffuse + level * directed) / np.float32(np.sqrt(1 + ratio**2))

    def _from_afar(self, room, longest, rng):
        """The response (C, up to ``longest``) to a source as far as the room allows, in some direction near the
        horizon."""
        direction = unit_vectors(rng.uniform(-180, 180), rng.uniform(-20, 30))
        return self.source(room, np.ones(1), (direction * room.reach(direction))[None], rng)[:, :longest]

    def power(self, signals):
        """Mean power at the centre of the first array: of W, of W as encoded, or the mean of its capsules."""
        first = signals[: self.sensors[0].capsules.channels]
        if self.sensors[0].capsules.kind == "ambisonic":
            return np.mean(first[0] ** 2)
        if self.sensors[0].nominal.kind == "ambisonic":
            return np.mean((0.5 * first.sum(0)) ** 2)
        return np.mean(first**2)

    def recorded(self, scene, signals):
        """Signals at the capsules → channels of all nominal arrays, as the recorder writes them."""
        return sensors.record(self.sensors, signals, self.simulation, self.fs, scene.key)


def renderer_of(arrays, fs, simulation, key):
    """The LiveRenderer of a scene: its sensors follow from the scene's key."""
    drawn = sensors.of_scene(arrays, simulation, fs, key)
    if not (simulation.position_mm or any(simulation.encoder_mm)):  # the same capsules in every scene
        shared = _shared_renderer(tuple(arrays), fs)
        renderer = object.__new__(LiveRenderer)
        renderer.__dict__.update(shared.__dict__, sensors=tuple(drawn), simulation=simulation)
        return renderer
    return LiveRenderer(drawn, fs, simulation)


@functools.cache
def _shared_renderer(arrays, fs):
    return LiveRenderer([sensors.Sensor(array, array) for array in arrays], fs)


def _facing(rng):
    """The axis of a directional source."""
    return unit_vectors(rng.uniform(-180, 180), rng.uniform(-TILTED_DEG, TILTED_DEG))


# --- noise with a place ----------------------------------------------------------------------------------------
# Each takes (n, fs, rng) and yields the signals (n,) of its sources, which repeat without a seam.

def babble(n, fs, rng):
    """Four distant groups of talkers: noise with the spectrum of speech, in waves of a few syllables a second."""
    frequencies = np.fft.rfftfreq(n, 1 / fs)
    shape = np.where(frequencies > 120, 1 / np.hypot(1, frequencies / 500), 0)
    for _ in range(4):
        beats = rng.normal(0, 4, max(1, round(4 * n / fs)))
        level_db = np.interp(np.arange(n), np.linspace(0, n, len(beats) + 1), np.append(beats, beats[0]))
        yield _shaped_noise(n, shape, rng) * 10 ** (level_db / 20)


def fan(n, fs, rng):
    """Broadband noise that falls with frequency, and the tone of the blades with an overtone."""
    noise = _shaped_noise(n, 1 / np.hypot(1, np.fft.rfftfreq(n, 1 / fs) / rng.uniform(200, 1500)), rng)
    phase = 2 * np.pi * np.round(rng.uniform(60, 250) * n / fs) * np.arange(n) / n
    yield noise + np.std(noise) * rng.uniform(0, 0.7) * (np.sin(phase) + 0.4 * np.sin(2 * phase))


def hum(n, fs, rng):
    """Mains hum of a machine: harmonics of 50 or 60 Hz, the even ones strongest, and a little noise."""
    phase = 2 * np.pi * np.round(HUM_HZ[rng.integers(2)] * n / fs) * np.arange(n) / n
    tone = sum(rng.uniform(0.3, 1) * (1.0 if k % 2 == 0 else 0.4) / k**0.7 * np.sin(k * phase + rng.uniform(0, 6))
               for k in range(1, 13))
    yield tone + 0.1 * rng.standard_normal(n)


def _shaped_noise(n, magnitudes, rng):
    """Periodic noise (n,) of the given magnitudes (n // 2 + 1,)."""
    return fft.irfft(magnitudes * fft.rfft(rng.standard_normal(n)), n)


NOISES = (babble, fan, hum)
