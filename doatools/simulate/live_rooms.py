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

import copy
import functools
from dataclasses import dataclass, fields

import numpy as np
from scipy import fft

from doatools.simulate import kernels, sensors
from doatools.simulate.rooms import BLOCK, DECAY, FADE_S, HOP_S, PHASES, Renderer, Room, _sum
from doatools.spatial.arrays import SPEED_OF_SOUND
from doatools.spatial.geometry import unit_vectors

BANDS_HZ = (250.0, 1000.0, 4000.0)
TALKER = (0.25, 0.65, 0.95)  # d of a talker at BANDS_HZ
TILTED_DEG = 20.0  # directional sources face up or down by up to this
EARLY_MIXING = 3.0  # times sqrt(volume) ms
EARLY_RANGE_S = (0.04, 0.06)
POSITIONS_AT_ONCE = 4  # of a moving source: what fits the cache
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
        talker = np.zeros(self.gains.shape[1]) if axis is None else np.array(TALKER)
        return kernels.near_images(self.signs, self.shifts, self.gains, self.sensor, np.asarray(position, float),
                                   np.zeros(3) if axis is None else np.asarray(axis, float), talker, early_s, FADE_S,
                                   SPEED_OF_SOUND)


def talker_gains(cosines):
    """Gains (..., B) of a directional source at ``cosines`` of the angle from its axis."""
    return 1 - np.multiply.outer(0.5 - 0.5 * np.asarray(cosines), TALKER)


# --- rendering -------------------------------------------------------------------------------------------------

class LiveRenderer(Renderer):
    """A Renderer of LiveRooms as Sensors hear them; ``arrays`` are the capsules, ``sensors`` what becomes of them."""

    def __init__(self, sensors_, fs, simulation=None):
        super().__init__([sensor.capsules for sensor in sensors_], fs)
        self.tables = [table.astype(np.float32) for table in self.tables]
        self.lead += GUARD
        self.hats_of_block = hats(np.fft.rfftfreq(BLOCK, 1 / fs))
        self._place(sensors_, simulation)

    def _place(self, sensors_, simulation):
        self.sensors, self.simulation = tuple(sensors_), simulation
        ends = np.cumsum([array.channels for array in self.arrays])
        self.waves = [(slice(end - array.channels, end), table, array.kind == "rigid", *sensor.pattern,
                       sensor.leads_s * self.fs * PHASES, GUARD + self._reach(array))
                      for end, array, table, sensor in zip(ends, self.arrays, self.tables, self.sensors)]

    def replaced(self, sensors_, simulation):
        """The renderer of other sensors with the same capsules."""
        other = copy.copy(self)
        other._place(sensors_, simulation)
        return other

    def source(self, room, dry, positions, rng):
        """See Renderer; directional sources face any way, which ``rng`` draws."""
        distance = np.linalg.norm(positions, axis=-1).mean()
        dry = np.asarray(distance * dry, np.float32)
        axis = _facing(rng) if rng.random() < room.directivity else None
        tail = self.tail_response(room, distance, rng, axis)
        lattice = Lattice(room, SPEED_OF_SOUND * room.early_s + np.linalg.norm(positions, axis=-1).max())
        if len(positions) == 1:
            response = _sum(tail, self.early_response(lattice, positions[0], room.early_s, axis))
            return kernels.convolved(dry[None], response[:, None])
        return _sum(self._passing(lattice, dry, positions, room.early_s, axis),
                    kernels.convolved(dry[None], tail[:, None]))

    def early_response(self, lattice, position, early_s, axis=None):
        """Direct sound and early reflections (C, samples) of a source at ``position`` (3,)."""
        length = self._early_length(early_s)
        size = fft.next_fast_len(length + GUARD, real=True)
        response = self.early_bands(*lattice.images(position, early_s, axis), length)
        spectra = fft.rfft(response, size)[None]
        bands = hats(np.fft.rfftfreq(size, 1 / self.fs))
        summed = kernels.banded(spectra, bands, np.ones((1, len(bands[0])), np.complex64))
        return fft.irfft(summed[0], size)[:, :length]

    def _early_length(self, early_s):
        return round(early_s * self.fs) + 2 * self.lead

    def early_bands(self, directions, delays, amplitudes, length):
        """Sum of plane waves: directions (I, 3), delays (I,) s, amplitudes (I, B) → (C, B, length) float32."""
        output = np.zeros((self.channels, amplitudes.shape[1], length), np.float32)
        self._add_waves(output, directions, delays, amplitudes)
        return output

    def _add_waves(self, output, directions, delays, amplitudes):
        steps, amplitudes = delays * self.fs * PHASES, amplitudes.astype(np.float32)
        for channels, *geometry in self.waves:
            kernels.add_waves(output[channels], directions, steps, amplitudes, *geometry)

    def _passing(self, lattice, dry, positions, early_s, axis):
        """``dry`` through the early response of position k around the time k·HOP_S, with overlapping Hann windows."""
        hop, length = round(HOP_S * self.fs), self._early_length(early_s)
        if (len(positions) - 1) * hop < len(dry):
            raise ValueError("a moving source needs a position every HOP_S, to the end of its sound")
        size = fft.next_fast_len(2 * hop + length, real=True)
        bands = hats(np.fft.rfftfreq(size, 1 / self.fs))
        window = np.sin(np.pi * np.arange(2 * hop) / (2 * hop)).astype(np.float32) ** 2
        padded = np.zeros((len(positions) + 1) * hop, np.float32)
        padded[hop : hop + len(dry)] = dry
        segments = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
        output = np.zeros((self.channels, len(padded) + size), np.float32)
        responses = np.empty((POSITIONS_AT_ONCE, self.channels, len(bands), length), np.float32)
        for first in range(0, len(positions), POSITIONS_AT_ONCE):
            some = positions[first : first + POSITIONS_AT_ONCE]
            responses[: len(some)] = 0
            for response, position in zip(responses, some):
                self._add_waves(response, *lattice.images(position, early_s, axis))
            factors = fft.rfft(segments[first : first + len(some)] * window, size)
            spectra = kernels.banded(fft.rfft(responses[: len(some)], size), bands, factors)
            for k, passed in enumerate(fft.irfft(spectra, size, overwrite_x=True), first):
                output[:, k * hop : k * hop + size] += passed
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
        total = self.diffuse_noise(samples, rng, exponent=0.5)
        if rng.random() >= scene.room.directional_noise:
            return total
        noise, period = NOISES[rng.integers(len(NOISES))], min(samples, round(NOISE_PERIOD_S * self.fs))
        sources = [(dry, self._from_afar(scene.room, period, rng)) for dry in noise(period, self.fs, rng)]
        dry = np.stack([dry for dry, _ in sources]).astype(np.float32)
        directed = _repeating(kernels.convolved(dry, _stacked([response for _, response in sources])), period)
        ratio = 10 ** (rng.uniform(-10, 10) / 20)
        scale = 1 / np.sqrt(1 + ratio**2)
        directed *= np.float32(scale * ratio * np.sqrt(self.power(total) / (self.power(directed) + 1e-20)))
        total *= np.float32(scale)
        for start in range(0, samples, period):
            part = total[:, start : start + period]
            part += directed[:, : part.shape[1]]
        return total

    def white(self, shape, rng):
        return kernels.normals(rng, (*shape, 2)).view(np.complex64)[..., 0]

    def _from_afar(self, room, longest, rng):
        """The response (C, up to ``longest``) to a source as far as the room allows, in some direction near the
        horizon."""
        direction = unit_vectors(rng.uniform(-180, 180), rng.uniform(-20, 30))
        return self.source(room, np.ones(1), (direction * room.reach(direction))[None], rng)[:, :longest]

    def power(self, signals, where=slice(None)):
        """Mean power at the centre of the first array: of W, of W as encoded, or the mean of its capsules."""
        first = signals[: self.sensors[0].capsules.channels, where]
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
        return _shared_renderer(tuple(arrays), fs).replaced(drawn, simulation)
    return LiveRenderer(drawn, fs, simulation)


@functools.lru_cache(maxsize=4)
def _shared_renderer(arrays, fs):
    return LiveRenderer([sensors.Sensor(array, array) for array in arrays], fs)


def _stacked(responses):
    """Responses (C, any length) of M sources → (C, M, samples)."""
    stacked = np.zeros((len(responses[0]), len(responses), max(one.shape[1] for one in responses)), np.float32)
    for m, response in enumerate(responses):
        stacked[:, m, : response.shape[1]] = response
    return stacked


def _repeating(signals, period):
    """Signals (C, n) of sources that repeat after ``period`` samples: one period (C, period), with what went on."""
    output = signals[:, :period].copy()
    for start in range(period, signals.shape[1], period):
        part = signals[:, start : start + period]
        output[:, : part.shape[1]] += part
    return output


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
