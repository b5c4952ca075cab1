"""Do the channels of a recording belong to the array that they are said to be of?

Looked at are pairs of capsules: channels that are the same, or of reversed polarity; and the delays between channels,
whose sizes tell the distances of the capsules. Levels are judged in doatools/check/levels.py.

M channels, P pairs, A attacks (see orientation); audio is (samples, M).
"""

import itertools

import numpy as np
import scipy.fft
from scipy.signal import butter, sosfilt

from doatools.check import orientation
from doatools.spatial.arrays import SPEED_OF_SOUND

SAME = 0.9999  # correlation of channels that are one signal
OPPOSITE = -0.5  # correlation of long waves at a channel of reversed polarity
LONG_WAVES = 8  # times the distance of two capsules: a wave that both hear nearly alike
FARTHER, FIT = 1.2, 0.85  # delays beyond this ratio disagree; their pattern must correlate so much to speak of a ratio
FEWEST = 40  # attacks


def same_channels(audio):
    """Pairs of channels that hold the same signal, sign and level apart from DC: [(channel, channel), ...]."""
    changes = np.diff(np.clip(audio, *np.percentile(audio, [0.01, 99.99])), axis=0)
    norms = np.linalg.norm(changes, axis=0)
    correlation = changes.T @ changes / np.maximum(np.outer(norms, norms), 1e-20)
    return [(one, other) for one, other in itertools.combinations(range(audio.shape[1]), 2)
            if correlation[one, other] > SAME and norms[one] > 0]


def reversed_channels(audio, fs, array):
    """Channels whose long waves run against those of most others; [] for ambisonics and for arrays too large to
    tell."""
    if array.kind == "ambisonic" or array.channels < 3:
        return []
    aperture = np.linalg.norm(array.positions[:, None] - array.positions, axis=-1).max()
    top = SPEED_OF_SOUND / (LONG_WAVES * aperture)
    if top < 120:
        return []
    band = butter(2, (max(60.0, top / 4), min(top, 0.45 * fs)), "bandpass", fs=fs, output="sos")
    long = sosfilt(band, np.clip(audio - np.median(audio, axis=0), *np.percentile(audio, [0.01, 99.99])), axis=0)
    norms = np.linalg.norm(long, axis=0)
    correlation = long.T @ long / np.maximum(np.outer(norms, norms), 1e-20)
    np.fill_diagonal(correlation, 0)
    others = array.channels - 1
    against = [channel for channel in range(array.channels)
               if np.sum(correlation[channel] < OPPOSITE) > others / 2]
    return against if len(against) < array.channels / 2 else []


# --- delays ----------------------------------------------------------------------------------------------------

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


def compare_delays(measured, expected):
    """(ratio of measured to expected delays, correlation of their patterns), robustly; each (A, P)."""
    kept = np.abs(measured - expected) <= 2 * np.abs(expected).max() + 1e-4
    m, e = measured[kept], expected[kept]
    weights = np.ones(len(m))
    for _ in range(20):
        ratio = np.sum(weights * m * e) / max(np.sum(weights * e * e), 1e-30)
        weights = 1 / np.maximum(np.abs(m - ratio * e), 2e-5)
    correlation = np.sum(weights * m * e) / np.sqrt(max(np.sum(weights * m * m) * np.sum(weights * e * e), 1e-60))
    return float(ratio), float(correlation)


def judge_delays(measured, labelled, fs, array):
    """What the delays (A, P) at attacks from ``labelled`` directions (A, 3) say about the array: a sentence or ''."""
    if len(measured) < FEWEST:
        return ""
    ratio, correlation = compare_delays(measured, expected_delays(labelled, fs, array))
    if correlation >= FIT and not 1 / FARTHER <= ratio <= FARTHER:
        return (f"the delays between channels are {ratio:.2f} times those of array '{array.name}': its capsules are "
                f"{'farther apart' if ratio > 1 else 'closer together'} than the array file states; measure them, or "
                "give the right array file")
    if correlation < 0.5:
        return (f"the delays between channels have nothing to do with array '{array.name}' (correlation "
                f"{correlation:.2f}): is it another array, or are the channels in another order?")
    return ""


def doubts(audio, fs, array):
    """Sentences on the waves in the channels of audio: what can be told without labels, by its first minutes."""
    if len(audio) < fs or not np.ptp(audio):
        return []
    sentences = [f"channels {one + 1} and {other + 1} hold the same signal" for one, other in same_channels(audio)]
    sentences += [f"channel {channel + 1} has the wrong polarity"
                  for channel in reversed_channels(audio, fs, array)]
    return sentences or [text for text in (too_far_apart(audio, fs, array),) if text]


def too_far_apart(audio, fs, array):
    """Without labels: a sentence where delays are longer than the array is large, or ''."""
    if array.kind == "ambisonic":
        return ""
    starts = loud_attacks(audio, fs)
    if len(starts) < FEWEST / 2:
        return ""
    delays = np.abs(measured_delays(audio, fs, starts, array, 4 * array.max_delay_s + 2e-4))
    positions = array.positions
    pairs = list(itertools.combinations(range(array.channels), 2))
    largest = np.array([np.linalg.norm(positions[one] - positions[other]) for one, other in pairs]) / SPEED_OF_SOUND
    largest = largest * (1.5 if array.kind == "rigid" else 1.0)
    beyond = np.mean(delays > FARTHER * largest + 0.5 / fs, axis=0)
    if np.median(beyond) > 0.3:
        return (f"delays between channels are longer than array '{array.name}' is large: its capsules are farther "
                "apart than the array file states, or it is another array")
    return ""


def loud_attacks(audio, fs, count=100):
    """Samples of the strongest attacks of a recording."""
    rows = np.zeros(int(len(audio) / fs / 0.1) + 1, [("frame", "i4"), ("event", "i4")])
    rows["frame"] = np.arange(len(rows))
    rows["event"] = rows["frame"] // 20
    return orientation.attacks(audio, fs, rows, 0.1)[0][:count]
