"""Do the channels of a recording belong to the array that they are said to be of?

Looked at are pairs of capsules: channels that are the same, or of reversed polarity; and the delays between channels,
which depend on the order of the channels and the distances of the capsules. Levels are judged in
doatools/check/levels.py.

M channels, P pairs, A attacks (see orientation); audio is (samples, M).
"""

import itertools

import numpy as np
from scipy.signal import butter, sosfilt

from doatools.check.delays import expected_delays, loud_delays
from doatools.check.permutations import unlabelled_order
from doatools.spatial.arrays import SPEED_OF_SOUND

SAME = 0.9999  # correlation of channels that are one signal
OPPOSITE = -0.5  # correlation of long waves at a channel of reversed polarity
LONG_WAVES = 8  # times the distance of two capsules: a wave that both hear nearly alike
FARTHER, FIT = 1.2, 0.85  # delays beyond this ratio disagree; their pattern must correlate so much to speak of a ratio
FEWEST = 40  # attacks
COMPARED_S = 30  # the loudest seconds of a recording, in which channels are compared
DISAGREES = 0.12  # misfit of delays, of the time that sound takes across the array, that only another array has


def same_channels(loudest):
    """Pairs of channels of ``loudest_part`` that hold the same signal, sign and level apart from DC: [(channel,
    channel), ...]."""
    changes = np.diff(loudest, axis=0)
    norms = np.linalg.norm(changes, axis=0)
    correlation = changes.T @ changes / np.maximum(np.outer(norms, norms), 1e-20)
    return [(one, other) for one, other in itertools.combinations(range(loudest.shape[1]), 2)
            if correlation[one, other] > SAME and norms[one] > 0]


def reversed_channels(loudest, fs, array):
    """Channels of ``loudest_part`` whose long waves run against those of most others; [] for ambisonics and for arrays
    too large to tell."""
    if array.kind == "ambisonic" or array.channels < 3:
        return []
    aperture = np.linalg.norm(array.positions[:, None] - array.positions, axis=-1).max()
    top = SPEED_OF_SOUND / (LONG_WAVES * aperture)
    if top < 120:
        return []
    band = butter(2, (max(60.0, top / 4), min(top, 0.45 * fs)), "bandpass", fs=fs, output="sos")
    long = sosfilt(band, loudest - np.median(loudest[::16], axis=0), axis=0)
    norms = np.linalg.norm(long, axis=0)
    correlation = long.T @ long / np.maximum(np.outer(norms, norms), 1e-20)
    np.fill_diagonal(correlation, 0)
    others = array.channels - 1
    against = [channel for channel in range(array.channels)
               if np.sum(correlation[channel] < OPPOSITE) > others / 2]
    return against if len(against) < array.channels / 2 else []


def loudest_part(audio, fs):
    """The loudest COMPARED_S seconds of audio, in order, without spikes: clicks and damaged samples would outweigh all
    else. Quantiles of every 16th sample take a tenth of the time."""
    seconds = audio[: len(audio) // fs * fs].reshape(-1, fs, audio.shape[1])
    if len(seconds) > COMPARED_S:
        levels = np.ptp(np.percentile(seconds[:, ::16], [5, 95], axis=1), axis=0).max(1)  # whatever the offset
        audio = seconds[np.sort(np.argsort(levels)[-COMPARED_S:])].reshape(-1, audio.shape[1])
    return np.clip(audio, *np.percentile(audio[::16], [0.01, 99.99]))


# --- delays ----------------------------------------------------------------------------------------------------

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
    """Sentences on the waves in the channels of audio: what can be told without labels."""
    if len(audio) < fs or not np.ptp(audio):
        return []
    loudest = loudest_part(audio, fs)
    sentences = [f"channels {one + 1} and {other + 1} hold the same signal" for one, other in same_channels(loudest)]
    sentences += [f"channel {channel + 1} has the wrong polarity"
                  for channel in reversed_channels(loudest, fs, array)]
    return sentences or doubts_of_delays(audio, fs, array)


def doubts_of_delays(audio, fs, array):
    """Without labels: [a sentence] where the delays at attacks suit another order of the channels or another array."""
    if array.kind == "ambisonic":
        return []
    delays = loud_delays(audio, fs, array, 4 * array.max_delay_s + 2e-4)
    order = unlabelled_order(delays, array)
    if order and order.exchanges:
        named = " or ".join(f"{one + 1} and {other + 1}" for one, other in order.exchanges)
        return [f"are channels {named} exchanged? The delays between channels differ from those of array "
                f"'{array.name}' by {1e6 * order.misfit:.0f} µs, with that corrected by {1e6 * order.mended:.0f} µs"]
    if text := _too_far_apart(delays, fs, array):
        return [text]
    if order and order.misfit > DISAGREES * order.crossing_s:
        return [f"no direction explains the delays between channels (they differ by {1e6 * order.misfit:.0f} µs): are "
                f"the channels of array '{array.name}' in another order, or is it another array?"]
    return []


def _too_far_apart(delays, fs, array):
    if len(delays) < FEWEST / 2:
        return ""
    positions = array.positions
    pairs = list(itertools.combinations(range(array.channels), 2))
    largest = np.array([np.linalg.norm(positions[one] - positions[other]) for one, other in pairs]) / SPEED_OF_SOUND
    largest = largest * (1.5 if array.kind == "rigid" else 1.0)
    beyond = np.mean(np.abs(delays) > FARTHER * largest + 0.5 / fs, axis=0)
    if np.median(beyond) > 0.3:
        return (f"delays between channels are longer than array '{array.name}' is large: its capsules are farther "
                "apart than the array file states, or it is another array")
    return ""
