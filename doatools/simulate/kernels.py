"""Inner loops of realistic simulation: noise, image sources, plane waves, convolutions, one-pole filters.

Signals are (channels, samples) float32. I images or waves, C channels, B bands, P positions, F frequencies.
"""

import functools

import numba
import numpy as np
from scipy import fft

BLOCKS_AT_ONCE = 16  # of a convolution: what fits the cache


# --- noise -----------------------------------------------------------------------------------------------------

def normals(rng, shape):
    """Standard normal float32 of a ``shape``: one of 65536 quantiles for each 16 random bits, which takes a seventh of
    the time of ``rng.standard_normal``."""
    count = int(np.prod(shape))
    bits = rng.bit_generator.random_raw(-(-count // 4)).view(np.uint16)
    return _looked_up(bits[:count], _quantiles()).reshape(shape)


@functools.cache
def _quantiles():
    from scipy.special import ndtri
    values = ndtri((np.arange(2**16) + 0.5) / 2**16)
    return (values / np.sqrt(np.mean(values**2))).astype(np.float32)


@numba.njit(cache=True)
def _looked_up(numbers, table):
    found = np.empty(len(numbers), np.float32)
    for i in range(len(numbers)):
        found[i] = table[numbers[i]]
    return found


# --- image sources ---------------------------------------------------------------------------------------------

@numba.njit(cache=True)
def near_images(signs, shifts, gains, sensor, position, axis, talker, early_s, fade_s, speed):
    """Images of a source that arrive up to ``early_s`` after its direct sound: see live_rooms.Lattice.

    signs, shifts (n, 3), gains (n, B); ``talker`` (B,): see live_rooms.talker_gains, 0 for a source that radiates alike
    everywhere. Returns directions (I, 3), delays (I,) s, amplitudes (I, B).
    """
    own = np.sqrt(np.sum(position**2))
    farthest = (own + speed * early_s) ** 2
    paths, squares = np.empty((len(signs), 3)), np.empty(len(signs))
    for i in range(len(signs)):
        squares[i] = 0.0
        for k in range(3):
            paths[i, k] = signs[i, k] * (sensor[k] + position[k]) + shifts[i, k] - sensor[k]
            squares[i] += paths[i, k] ** 2
    near = np.flatnonzero(squares < farthest)
    directions, delays = np.empty((len(near), 3)), np.empty(len(near))
    amplitudes = np.empty((len(near), gains.shape[1]))
    for place, i in enumerate(near):
        distance, cosine = np.sqrt(squares[i]), 0.0
        for k in range(3):
            directions[place, k] = paths[i, k] / distance
            cosine -= directions[place, k] * signs[i, k] * axis[k]  # images face mirrored ways
        delays[place] = max(distance - own, 0.0) / speed
        fade = np.cos(np.pi / 2 * min(max(1 + (delays[place] - early_s) / fade_s, 0.0), 1.0)) / distance
        for b in range(gains.shape[1]):
            amplitudes[place, b] = gains[i, b] * fade * (1 - talker[b] * (0.5 - 0.5 * cosine))
    return directions, delays, amplitudes


@numba.njit(cache=True, fastmath=True)
def add_waves(output, directions, steps, amplitudes, table, rigid, offsets, slopes, leads, first):
    """Add plane waves from ``directions`` (I, 3) with ``amplitudes`` (I, B) to ``output`` (C, B, n).

    A wave begins at sample ``first`` plus (``steps`` (I,) - directions · ``leads`` (C, 3)) / PHASES. Its taps are rows
    of ``table`` (angles, PHASES, taps): with ``rigid``, interpolated at the angle from the capsule in ``slopes`` (C,
    3); else its gain is ``offsets`` (C,) + directions · slopes.
    """
    phases, taps = table.shape[1], table.shape[2]
    wave = np.empty(taps, np.float32)
    for i in range(len(directions)):
        x, y, z = directions[i, 0], directions[i, 1], directions[i, 2]
        for c in range(len(slopes)):
            along = x * slopes[c, 0] + y * slopes[c, 1] + z * slopes[c, 2]
            step = int(np.rint(steps[i] - (x * leads[c, 0] + y * leads[c, 1] + z * leads[c, 2])))
            start, phase = first + step // phases, step % phases
            gain = np.float32(1)
            if rigid:
                angle = np.rad2deg(np.arccos(min(max(along, -1.0), 1.0)))
                lower = int(angle)
                share = np.float32(angle - lower)
                for t in range(taps):
                    wave[t] = (1 - share) * table[lower, phase, t] + share * table[lower + 1, phase, t]
            else:
                gain = np.float32(offsets[c] + along)
                wave[:] = table[0, phase]
            for b in range(amplitudes.shape[1]):
                amplitude = gain * amplitudes[i, b]
                for t in range(taps):
                    output[c, b, start + t] += amplitude * wave[t]


@numba.njit(cache=True, fastmath=True)
def banded(spectra, bands, factors):
    """Spectra (P, C, B, F) summed with the real weights of bands (B, F), times ``factors`` (P, F) → (P, C, F)."""
    output = np.zeros((spectra.shape[0], spectra.shape[1], spectra.shape[3]), spectra.dtype)
    ends = [(weighted[0], weighted[-1] + 1) for weighted in [np.flatnonzero(band) for band in bands]]
    for p in range(spectra.shape[0]):
        for c in range(spectra.shape[1]):
            for b in range(bands.shape[0]):  # most frequencies belong to one band
                for f in range(ends[b][0], ends[b][1]):
                    output[p, c, f] += spectra[p, c, b, f] * bands[b, f]
            for f in range(spectra.shape[3]):
                output[p, c, f] *= factors[p, f]
    return output


# --- filters ---------------------------------------------------------------------------------------------------

def convolved(signals, responses):
    """Signals (M, n) through responses (C, M, m) → (C, n + m - 1), by overlap-add."""
    samples, taps = signals.shape[1], responses.shape[-1]
    whole = samples + taps - 1
    size = fft.next_fast_len(min(max(8 * 512, 4 * taps), whole), real=True)
    step = size - taps + 1
    count = -(-samples // step)
    transfer = fft.rfft(responses, size)  # (C, M, F)
    used = [np.flatnonzero(row.any(axis=-1)) for row in responses]
    output = np.zeros((len(responses), count * step + size), np.float32)
    for first in range(0, count, BLOCKS_AT_ONCE):
        part = signals[:, first * step : (first + BLOCKS_AT_ONCE) * step]
        blocks = -(-part.shape[1] // step)
        if part.shape[1] < blocks * step:
            part = np.pad(part, ((0, 0), (0, blocks * step - part.shape[1])))
        spectra = fft.rfft(part.reshape(len(part), blocks, step), size)  # (M, blocks, F)
        for channel, row, heard in zip(output, transfer, used):
            if not len(heard):
                continue
            product = spectra[heard[0]] * row[heard[0]]
            for m in heard[1:]:
                product += spectra[m] * row[m]
            pieces = fft.irfft(product, size, overwrite_x=True)  # (blocks, size)
            start = channel[first * step :]
            if count == 1:  # the end of the response may be longer than a block
                start[:size] += pieces[0]
                continue
            start[: blocks * step].reshape(blocks, step)[:] += pieces[:, :step]
            start[step : (blocks + 1) * step].reshape(blocks, step)[:, : taps - 1] += pieces[:, step:]
    return output[:, :whole]


@numba.njit(cache=True, fastmath=True)
def one_pole(signals, gain, zero, pole):
    """Signals (C, n) through gain·(1 + zero·z⁻¹) / (1 - pole·z⁻¹)."""
    channels, samples = signals.shape
    output = np.empty((channels, samples), np.float32)
    last, state = np.zeros(channels), np.zeros(channels)
    for t in range(samples):
        for c in range(channels):  # channels at once: each of them waits for its own state
            now = signals[c, t]
            state[c] = gain * (now + zero * last[c]) + pole * state[c]
            last[c] = now
            output[c, t] = state[c]
    return output
