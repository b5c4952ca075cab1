"""Shoebox rooms, recorded by several arrays at once: early image sources, late diffuse tail, moving sources.

Lengths in m, times in s; x is the front of the arrays, z up; signals are (channels, samples), the channels of all
arrays one after another. The arrays have the same centre.

Early reflections are image sources (Allen and Berkley, "Image method for efficiently simulating small-room acoustics",
JASA 1979). Each passes through the response of the array, tabulated by the angle to a capsule and interpolated between
neighbouring angles. The density of images grows with the square of time, and after the mixing time (about sqrt(volume)
ms, so 8 to 25 ms in the rooms of scenes.py) arrivals are dense and diffuse: after EARLY_S, the response is Gaussian
noise of a diffuse field, decaying by 60 dB per RT60. Its level follows from the images: they fill space with density
1/volume, so for amplitudes 1/distance the energy that arrives per second is 4πc/volume times the decay. Times are
relative to the direct sound: labels need no correction for propagation delay, and approaching sources have no Doppler
shift.
"""

from dataclasses import dataclass

import numpy as np
import pyroomacoustics as pra
from scipy import fft
from scipy.signal import oaconvolve

from doatools.spatial.arrays import SPEED_OF_SOUND, fibonacci_directions, foa_gains

EARLY_S = 0.06  # image sources up to this long after the direct sound
FADE_S = 0.02  # before that, images fade into the tail
HOP_S = 0.05  # the response of a moving source changes this often, cross-faded with Hann windows
PHASES = 16  # sub-sample shifts of a response; the error of up to 1/32 sample is 0.4 mm of path at 24 kHz
BLOCK = 1024  # samples per window of diffuse noise
DECAY = 3 * np.log(10)  # exp(-DECAY) is -60 dB


@dataclass(frozen=True)
class Room:
    """A shoebox of ``size_m`` (3,) with the arrays at ``sensor_m`` (3,) from a corner."""

    size_m: tuple
    rt60_s: float
    sensor_m: tuple

    @property
    def absorption(self):
        """Energy absorption of the walls that gives this RT60 in a diffuse field (Eyring)."""
        x, y, z = self.size_m
        volume, surface = x * y * z, 2 * (x * y + x * z + y * z)
        return 1 - np.exp(-8 * DECAY * volume / (SPEED_OF_SOUND * surface * self.rt60_s))

    def reach(self, directions, margin_m=0.3):
        """Distance (...,) from the arrays along ``directions`` (..., 3) to ``margin_m`` before a wall."""
        sensor, size = np.asarray(self.sensor_m), np.asarray(self.size_m)
        space = np.where(directions > 0, size - margin_m - sensor, sensor - margin_m)
        return np.min(space / np.maximum(np.abs(directions), 1e-9), axis=-1)


def early_images(room, positions):
    """Image sources up to EARLY_S after the direct sound, of sources at ``positions`` (K, 3) relative to the arrays.

    Yields for each position directions (I, 3), delays (I,) in s after the direct sound, and amplitudes (I,), which are
    1 for the direct sound from 1 m.
    """
    farthest = np.linalg.norm(positions, axis=-1).max() + SPEED_OF_SOUND * EARLY_S
    order = int(np.ceil(farthest * np.linalg.norm(1 / np.asarray(room.size_m)))) + 3
    shoebox = pra.ShoeBox(room.size_m, materials=pra.Material(float(room.absorption)), max_order=order)
    shoebox.add_microphone(list(room.sensor_m))
    for position in positions:
        shoebox.add_source(np.add(room.sensor_m, position))
    shoebox.image_source_model()
    for source, position in zip(shoebox.sources, positions):
        paths = source.images.T.astype(float) - room.sensor_m
        distances = np.linalg.norm(paths, axis=-1)
        delays = (distances - np.linalg.norm(position)) / SPEED_OF_SOUND
        near = delays < EARLY_S
        fade = np.cos(np.pi / 2 * np.clip(1 + (delays[near] - EARLY_S) / FADE_S, 0, 1))
        amplitudes = fade * source.damping[0, near] / distances[near]
        yield paths[near] / distances[near, None], np.maximum(delays[near], 0), amplitudes


class Renderer:
    """Signals of sources and of diffuse noise at ``arrays``, sampled at ``fs`` Hz.

    ``lead``: responses, and therefore rendered signals, start this many samples before the direct sound arrives.
    """

    def __init__(self, arrays, fs):
        self.arrays, self.fs = tuple(arrays), fs
        largest = max(_radius(array) for array in self.arrays)
        self.lead = 24 + int(np.ceil(2.6 * largest / SPEED_OF_SOUND * fs))  # half the taps of an image
        self.tables = [self._tap_table(array) for array in self.arrays]
        self.mixing = self._diffuse_mixing()
        self.channels = sum(array.channels for array in self.arrays)

    def _tap_table(self, array):
        """The response of an array in time (angles, PHASES sub-sample shifts, taps).

        Angles are those to a capsule on a rigid sphere, in steps of 1°. For other arrays there is one angle, and the
        response is a delay, early by the ``_reach`` of free capsules.
        """
        size = 8 * fft.next_fast_len(self.lead, real=True)
        frequencies = np.fft.rfftfreq(size, 1 / self.fs)
        shifts = (self.lead - self._reach(array) + np.arange(PHASES) / PHASES) / self.fs
        delay = np.exp(-2j * np.pi * np.outer(shifts, frequencies))
        response = array.angle_response(np.arange(182.0), frequencies)[:, None] * delay if array.kind == "rigid" else (
            delay[None])
        taps = fft.irfft(response, size)[..., : 2 * self.lead]
        ramp = np.sin(np.pi / 2 * np.clip((np.arange(self.lead) + 0.5) / 12, 0, 1)) ** 2
        return taps * np.concatenate([ramp, ramp[::-1]])

    def _reach(self, array):
        """The most samples by which a wave reaches a capsule in the free field before it reaches the centre."""
        return int(np.ceil(_radius(array) / SPEED_OF_SOUND * self.fs)) if array.kind == "free" else 0

    def _diffuse_mixing(self):
        """Matrices (F, C, C) that give C independent noises the coherence of a diffuse field at the arrays."""
        frequencies = np.fft.rfftfreq(BLOCK, 1 / self.fs)
        directions = fibonacci_directions(400)
        steering = np.concatenate([array.response(directions, frequencies) for array in self.arrays])
        steering = steering.transpose(2, 0, 1) / np.sqrt(len(directions))  # (F, C, D)
        coherence = steering @ steering.conj().swapaxes(1, 2)
        return np.linalg.cholesky(coherence + 1e-7 * np.eye(coherence.shape[1])).astype(np.complex64)

    def early_response(self, directions, delays, amplitudes):
        """Sum of plane waves with directions (I, 3), delays (I,) in s, amplitudes (I,) → (C, samples), float32."""
        taps = 2 * self.lead
        length = round(EARLY_S * self.fs) + taps
        channels = (channel for array, table in zip(self.arrays, self.tables)
                    for channel in self._waves(array, table, directions, delays))
        summed = []
        for steps, waves in channels:  # whole samples (I,), taps (I, taps)
            index = (steps[:, None] + np.arange(taps)).ravel()
            values = (waves * amplitudes[:, None]).ravel()
            summed.append(np.bincount(index, values, minlength=length)[:length])
        return np.stack(summed).astype(np.float32)

    def _waves(self, array, table, directions, delays):
        """Yield for each channel plane waves of amplitude 1 from ``directions`` (I, 3): the first sample (I,) and the
        taps (I, taps) of each wave."""
        steps = np.round(delays * self.fs * PHASES).astype(int)
        if array.kind == "free":
            gains, reach = array.gains(directions), self._reach(array)
            for capsule, lead_s in enumerate((directions @ array.positions.T / SPEED_OF_SOUND).T):
                own = np.round((delays - lead_s) * self.fs * PHASES).astype(int) + reach * PHASES
                yield own // PHASES, gains[:, capsule, None] * table[0, own % PHASES]
            return
        start, phase = steps // PHASES, steps % PHASES
        if array.kind == "ambisonic":
            for gain in foa_gains(directions).T:
                yield start, gain[:, None] * table[0, phase]
            return
        for angles in np.rad2deg(np.arccos(np.clip(array.capsules @ directions.T, -1, 1))):  # (M, I)
            lower = angles.astype(int)
            share = (angles - lower)[:, None]
            yield start, (1 - share) * table[lower, phase] + share * table[lower + 1, phase]

    def diffuse_noise(self, samples, rng, exponent=0.0, course=None):
        """Stationary noise of a diffuse field (C, samples), with unit variance at the centre.

        The amplitude spectrum is frequency^-``exponent`` above 100 Hz and flat below: 0 is white, 0.5 pink. ``course``
        (F, frames), if given, scales it over time; frames are BLOCK / 2 samples apart, the first centred on sample 0.
        """
        hop, chunk = BLOCK // 2, 256  # windows at a time, to limit memory for long recordings
        frames = -(-samples // hop) + 1
        frequencies = np.fft.rfftfreq(BLOCK, 1 / self.fs)
        spectrum = np.maximum(frequencies, 100.0) ** -exponent
        mixing = self.mixing * (spectrum / np.sqrt(np.mean(spectrum**2)))[:, None, None].astype(np.float32)
        window = np.sin(np.pi * (np.arange(BLOCK) + 0.5) / BLOCK).astype(np.float32)  # squares sum to 1
        noise = np.zeros((self.channels, (frames + 1) * hop), np.float32)
        for first in range(0, frames, chunk):
            count = min(chunk, frames - first)
            shape = (len(frequencies), self.channels, count)
            white = self.white(shape, rng)
            if course is not None:
                white *= course[:, None, first : first + count]
            shaped = (mixing @ white).transpose(1, 2, 0)  # (C, count, F)
            blocks = fft.irfft(shaped, BLOCK) * (window * np.float32(np.sqrt(BLOCK / 2)))
            start = first * hop
            for half in (0, hop):
                part = noise[:, start + half : start + half + count * hop]
                part += blocks[..., half : half + hop].reshape(self.channels, -1)
        return noise[:, hop : hop + samples]

    def white(self, shape, rng):
        """Complex normal noise of a ``shape``, with a variance of 2."""
        white = np.empty(shape, np.complex64)
        white.real, white.imag = rng.standard_normal((2, *shape), dtype=np.float32)
        return white

    def ambience(self, scene, samples, rng):
        """Ambient noise of a scene (C, samples), of any level."""
        return self.diffuse_noise(samples, rng, exponent=0.5)

    def power(self, signals, where=slice(None)):
        """Mean power of ``signals`` (C, n), at the samples ``where``, to which the level of the noise refers."""
        return np.mean(signals[0, where] ** 2)

    def recorded(self, scene, signals):
        """What ends up in the files, of ``signals`` (C, n) in the air."""
        return signals * np.float32(min(1, 0.95 / np.abs(signals).max()))

    def tail_response(self, room, distance, rng):
        """Late reverberation (C, samples) of a source at ``distance`` m whose direct sound has amplitude 1/distance."""
        time = np.arange(int(room.rt60_s * self.fs)) / self.fs
        fade = np.sin(np.pi / 2 * np.clip(1 + (time - EARLY_S) / FADE_S, 0, 1))
        density = 4 * np.pi * SPEED_OF_SOUND / np.prod(room.size_m) / self.fs  # energy per sample, without decay
        decay = np.exp(-DECAY * (time + distance / SPEED_OF_SOUND) / room.rt60_s)
        tail = self.diffuse_noise(len(time), rng) * (np.sqrt(density) * fade * decay).astype(np.float32)
        return np.pad(tail, ((0, 0), (self.lead, 0)))

    def source(self, room, dry, positions, rng):
        """The ``dry`` signal (n,) of a source at ``positions`` (K, 3) relative to the arrays in m, one per HOP_S.

        A static source has one position. The direct sound from the mean distance has gain 1. Returns (C, m), m > n,
        starting ``lead`` samples before the sound.
        """
        distance = np.linalg.norm(positions, axis=-1).mean()
        dry = np.asarray(dry, dtype=np.float32)
        tail = self.tail_response(room, distance, rng)
        responses = [self.early_response(*images) for images in early_images(room, positions)]
        if len(responses) == 1:
            return distance * oaconvolve(dry[None], _sum(tail, responses[0]), axes=1)
        return distance * _sum(self._crossfaded(dry, responses), oaconvolve(dry[None], tail, axes=1))

    def _crossfaded(self, dry, responses):
        """``dry`` convolved with response k around time k·HOP_S, with overlapping Hann windows."""
        hop, length = round(HOP_S * self.fs), responses[0].shape[1]
        if (len(responses) - 1) * hop < len(dry):
            raise ValueError("a moving source needs a position per HOP_S, up to the end of its sound")
        window = np.sin(np.pi * np.arange(2 * hop) / (2 * hop)).astype(np.float32) ** 2
        padded = np.zeros((len(responses) + 1) * hop, np.float32)
        padded[hop : hop + len(dry)] = dry
        size = fft.next_fast_len(2 * hop + length, real=True)
        output = np.zeros((self.channels, len(padded) + size), np.float32)
        for k, response in enumerate(responses):
            segment = fft.rfft(padded[k * hop : (k + 2) * hop] * window, size)
            output[:, k * hop : k * hop + size] += fft.irfft(segment * fft.rfft(response, size), size)
        return output[:, hop : hop + len(dry) + length]


class FreeField(Renderer):
    """A Renderer without walls or distance, for ambisonic channels: each source is one plane wave."""

    def __init__(self, arrays, fs):
        super().__init__(arrays, fs)
        self.lead = 0
        if any(array.kind != "ambisonic" for array in self.arrays):
            raise ValueError("only ambisonic channels are simulated in the free field")

    def source(self, room, dry, positions, rng):
        (position,) = positions
        gains = np.tile(foa_gains(position / np.linalg.norm(position)), len(self.arrays))
        return gains[:, None].astype(np.float32) * np.asarray(dry, np.float32)


def _radius(array):
    """Radius of the smallest sphere around the centre that contains all capsules, m."""
    return 0.0 if array.kind == "ambisonic" else float(np.linalg.norm(array.positions, axis=1).max())


def _sum(a, b):
    """Sum of signals (C, n) and (C, m) that start together."""
    longer, shorter = (a, b) if a.shape[1] >= b.shape[1] else (b, a)
    longer = longer.copy()
    longer[:, : shorter.shape[1]] += shorter
    return longer
