"""The least work of each hot part: floating-point operations, and bytes read and written, derived in
docs/performance.md. A multiplication and an addition are two operations; a training step does a layer's forward
operations three times (forward, gradient of the input, gradient of the weights), the first layer's twice.

Dims: B sequences, T label frames, C feature channels.
"""

import math
from typing import NamedTuple

MAPS, HIDDEN = 128, 128  # of DOAnet; ADRENALINE has 64 maps
FRAMES, BINS, MINUTE = 3000, 513, 1_440_000  # feature frames, FFT bins and samples of a minute
FFT = 2.5 * 1024 * math.log2(1024)  # of 1024 real values


class Work(NamedTuple):
    operations: float
    bytes: float
    dtype: str = "float32"  # of the products


def convolution(c_in, c_out, positions):
    return 2 * 9 * c_in * c_out * positions


def gru(size_in, hidden, steps, directions=2):
    return directions * 2 * 3 * hidden * (size_in + hidden) * steps


def doanet(batch, training, value=4, dtype="float32", channels=7):
    """Sequences of 250 feature frames of 64 bands, 50 label frames; ``value``: bytes of a value between layers."""
    positions = (250 * 64, 50 * 32, 50 * 16)
    convolutions = [convolution(c, MAPS, p) for c, p in zip((channels, MAPS, MAPS), positions)]
    recurrent = gru(1024, HIDDEN, 50) + gru(2 * HIDDEN, HIDDEN, 50)
    maps = MAPS * sum(positions) * value
    if not training:  # each map is written and read once
        return Work(batch * (sum(convolutions) + recurrent), batch * (2 * maps + channels * 16000 * 4), dtype)
    # Written, read for the sums of batch norm, read by the next layer; backward: read, its gradient written and read.
    return Work(batch * (3 * (sum(convolutions) + recurrent) - convolutions[0]),
                batch * (6 * maps + 2 * channels * 16000 * 4), dtype)


def adrenaline(batch=16, value=4, dtype="float32"):
    """Chunks of 25 frames of 1024 bins: 64 maps, encoder of two layers, decoder of 25 steps."""
    positions = (25 * 1024, 25 * 128, 25 * 16)
    convolutions = [convolution(c, 64, p) for c, p in zip((8, 64, 64), positions)]
    encoder = gru(512, 128, 25) + gru(256, 128, 25)
    decoder = gru(268, 256, 25, 1) + gru(256, 256, 25, 1) + 25 * 2 * 25 * (256 + 768)  # and attention
    operations = 3 * (sum(convolutions) + encoder + decoder) - convolutions[0]
    return Work(batch * operations, batch * (6 * 64 * sum(positions) * value + 2 * 8 * 25 * 1024 * 4), dtype)


def tracking_loss(matrices=64 * 50, slots=2, channels=64):
    """dMOT with Hnet: four layers of maps of each element, its row and column, and the whole; forward and the gradient
    of the input (its weights are frozen). Each layer's values are written, and read again for the gradient."""
    elements, lines = slots**2, 2 * slots
    layer = (elements + lines + 1) * 2 * channels**2
    operations = 3 * layer + layer * 4 / channels + elements * 2 * channels
    return Work(2 * matrices * operations, matrices * elements * channels * 4 * 4 * 4)


def features(array):
    """A minute from WAV to normalised features on disk."""
    frames = 4 * FRAMES
    operations = frames * (2 * 480 + FFT + 3 * BINS + 4 * BINS)  # window, FFT, power, mel: a bin is in two bands
    if array == "foa":
        operations += FRAMES * BINS * (3 * 6 + 3 + 5 + 3 * 4)  # products, division, energy, mel
    else:
        operations += frames * 5 * BINS + 6 * FRAMES * (6 * BINS + FFT)  # phases; pairs and their inverse FFT
    made = FRAMES * (7 if array == "foa" else 10) * 64 * 4
    # Samples of 16 bits read, written and read as float32; features written, read, written normalised.
    return Work(operations, MINUTE * 4 * (2 + 4 + 4) + 3 * made)


def loading(batch=64):
    """Features of 250 frames of 448 values read and written."""
    return Work(0, 2 * batch * 250 * 448 * 4)


def scoring(frames=60_000, slots=2):
    """Angles of all pairs (about 60 operations each) and about 40 counts per frame; reads directions, references and
    flags."""
    return Work(frames * (60 * slots**2 + 40), frames * slots * (2 * 24 + 2))


def chain():
    """24 windows of 5 s, with features that stay in memory."""
    network, made = doanet(24, training=False), features("foa")
    return Work(network.operations + made.operations, network.bytes + MINUTE * 4 * 10 + 3 * FRAMES * 448 * 4)
