"""Mel bands of Slaney's Auditory Toolbox (1998), as librosa makes them by default, to the last bit.

Up to 1 kHz the scale is linear (200/3 Hz per mel), above it logarithmic (27 mels per factor of 6.4). Bands are
triangles that overlap by half, of area 1 Hz. librosa itself takes a second to import and brings numba along.
"""

import numpy as np

BREAK_HZ, LINEAR_HZ = 1000.0, 200.0 / 3
LOG_STEP = np.log(6.4) / 27.0  # per mel above the break


def mel_frequencies(count, top_hz):
    """Frequencies (count,) in Hz that are equally spaced in mels, from 0 to ``top_hz``."""
    break_mel = BREAK_HZ / LINEAR_HZ
    top = top_hz / LINEAR_HZ
    if top_hz >= BREAK_HZ:
        top = break_mel + np.log(top_hz / BREAK_HZ) / LOG_STEP
    mels = np.linspace(0.0, top, count)
    frequencies = LINEAR_HZ * mels
    above = mels >= break_mel
    frequencies[above] = BREAK_HZ * np.exp(LOG_STEP * (mels[above] - break_mel))
    return frequencies


def mel_filters(fs, n_fft, bands):
    """Weights (bands, n_fft/2 + 1), float32, of the power in the bins of an FFT of ``fs`` Hz."""
    bins = np.fft.rfftfreq(n_fft, 1 / fs)
    edges = mel_frequencies(bands + 2, fs / 2)
    widths, distances = np.diff(edges), np.subtract.outer(edges, bins)
    weights = np.zeros((bands, len(bins)), np.float32)
    for band in range(bands):
        rising, falling = -distances[band] / widths[band], distances[band + 2] / widths[band + 1]
        weights[band] = np.maximum(0, np.minimum(rising, falling))
    weights *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights
