"""Delays between the channels of a recording: measured at the attacks of sounds, and expected of plane waves.

Delays are of pairs of channels, arrivals of single channels relative to their mean; both in s.

M channels, P pairs of them, A attacks (see orientation); audio is (samples, M), directions are unit vectors.
"""

import itertools

import numpy as np
import scipy.fft

from doatools.check import orientation
from doatools.spatial.arrays import SPEED_OF_SOUND

LOUD = 100  # attacks of a recording that are looked at
BEFORE_S, SHORT_S = 0.001, 0.007  # a window about an attack, short, as reflections follow within milliseconds


def loud_delays(audio, fs, array, longest_s=None):
    """Delays (A, P) at attacks of a recording, whatever its sources."""
    rows = np.zeros(int(len(audio) / fs / 0.1) + 1, [("frame", "i4"), ("event", "i4")])
    rows["frame"] = np.arange(len(rows))
    rows["event"] = rows["frame"] // 20
    starts, _ = orientation.attacks(audio, fs, rows, 0.1)
    if not len(starts):
        return np.zeros((0, array.channels * (array.channels - 1) // 2))
    starts = np.unique(starts)[np.linspace(0, len(starts) - 1, min(len(starts), LOUD)).astype(int)]
    return measured_delays(audio, fs, np.maximum(starts - round(BEFORE_S * fs), 0), array, longest_s, SHORT_S)


def measured_delays(audio, fs, starts, array, longest_s=None, window_s=0.02):
    """Delays (A, P) s of the second channel of each pair after the first, in windows at ``starts``.

    From the cross-power spectrum with phase transform, interpolated by eight.
    """
    length = round(window_s * fs)
    starts = np.minimum(starts, len(audio) - length)
    frames = audio[starts[:, None] + np.arange(length)].swapaxes(1, 2)
    frames = (frames - frames.mean(-1, keepdims=True)) * np.hanning(length)
    return _pair_delays(scipy.fft.rfft(frames, 2 * length), fs, 2 * length, longest_s or _longest(array))


def expected_delays(directions, fs, array):
    """The same (A, P) of plane waves from ``directions`` (A, 3), by the array's response."""
    n_fft = 2 * round(0.02 * fs)
    response = array.response(directions, np.fft.rfftfreq(n_fft, 1 / fs)).transpose(1, 0, 2)
    return _pair_delays(response, fs, n_fft, _longest(array))


def _longest(array):
    """Delays that are looked for, s: twice as long as the array's."""
    return 2 * array.max_delay_s + 2e-4


def _pair_delays(spectra, fs, n_fft, longest):
    """Spectra (A, M, F) → delays (A, P)."""
    frequencies = np.fft.rfftfreq(n_fft, 1 / fs)
    band = (frequencies > 300) & (frequencies < min(8000, 0.45 * fs))
    fine, delays = 8, []
    reach = int(np.ceil(longest * fs * fine))
    for one, other in itertools.combinations(range(spectra.shape[1]), 2):
        cross = spectra[:, other] * spectra[:, one].conj()
        cross = np.where(band, cross / np.maximum(np.abs(cross), 1e-20) ** 0.8, 0)
        correlation = scipy.fft.irfft(cross, n_fft * fine)
        correlation = np.concatenate([correlation[:, -reach:], correlation[:, : reach + 1]], axis=1)
        delays.append((correlation.argmax(1) - reach) / (fs * fine))
    return np.stack(delays, axis=1)


def as_arrivals(delays, channels):
    """Delays (..., P) → arrivals (..., M) by least squares, and the r.m.s. (...) of the delays that they leave: little
    of a single wave, more of noise, reflections and several sources."""
    pairs = list(itertools.combinations(range(channels), 2))
    differences = np.zeros((len(pairs), channels))
    for row, (one, other) in zip(differences, pairs):
        row[one], row[other] = -1, 1
    found = delays @ np.linalg.pinv(differences).T
    return found, np.sqrt(np.mean((found @ differences.T - delays) ** 2, axis=-1))


def expected_arrivals(directions, array):
    """Arrivals (..., M) of waves from ``directions`` (..., 3). Around a rigid sphere as a ray (Woodworth 1938)."""
    if array.kind == "rigid":
        cosines = directions @ array.capsules.T
        behind = np.arccos(np.clip(cosines, -1, 1)) - np.pi / 2
        times = array.radius_m / SPEED_OF_SOUND * np.where(behind > 0, behind, -cosines)
    else:
        times = -(directions @ array.positions.T) / SPEED_OF_SOUND
    return times - times.mean(-1, keepdims=True)
