"""Classical baselines: what is possible without learning.

``srp`` (SRP-PHAT: DiBiase 2000) and ``music`` (frequency-normalised MUSIC: Schmidt 1986, Salvati et al. 2014) are for
capsules. They are steered by the response of the array (rigid sphere, directivity) instead of delays in the free field.
Their spectra are those of pyroomacoustics, computed for all frames at once. ``intensity`` (after Jarrett et al. 2010
and Pavlidi et al. 2015) is a histogram of the active intensity vectors of ambisonics. Each method gives a spectrum over
G directions, spread evenly over the sphere (over its upper half for planar arrays), for each label frame, from that
frame and its two neighbours. The peaks of the spectrum are candidates, and two thresholds decide which of them are
sources.

A new baseline is one class like ``Intensity`` and one line in doatools/registry.py.

T label frames, N candidates at most, M channels, K bins, S spectra of a recording, G directions. Audio is (samples, M).
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.signal import stft

from doatools.errors import UserError
from doatools.spatial.arrays import fibonacci_directions

GRID = 800  # directions, about 7° apart
BAND_HZ = (500.0, 4000.0)
SPECTRA_PER_FRAME = 10
CONTEXT = 1  # label frames before and after
APART_DEG = 30.0  # smallest angle between two candidates
KERNEL_DEG = 12.0  # width of the smoothing of the histogram
REFINE_DEG = 10.0  # a direction is the centre of gravity of the spectrum within this angle of a peak
FLOOR_PERCENTILE = 10  # of the frame levels of a recording: its noise floor
SILENCE = 1e-12  # mean square per bin below which a frame is digital silence


class Rule(NamedTuple):
    """The thresholds above which a candidate counts as a source."""

    level_db: float  # of the frame above the noise floor of the recording
    height: float  # of the peak relative to the highest peak of the frame, where the median of the spectrum is 0


@dataclass(frozen=True)
class Candidates:
    """The peaks of each label frame, the highest first."""

    doa: np.ndarray  # (T, N, 3)
    height: np.ndarray  # (T, N) relative to the first; 0 where there is no such peak
    level_db: np.ndarray  # (T,) above the noise floor of the recording

    def active(self, rule):
        """(T, N) bool: which candidates count as sources."""
        return (self.level_db >= rule.level_db)[:, None] & (self.height >= rule.height)


class Baseline:
    """What the baselines have in common.

    Parameters
    ----------
    array : Array
    fs : Hz
    label_hop_s : s

    Attributes
    ----------
    name : as in the registry
    rule : Rule with the highest F20 on the validation fold (benchmarks/tune_baselines.py)
    channels : 'ambisonics' or 'capsules', the kind of recording that it reads
    """

    name, rule, channels = "", Rule(0.5, 0.5), "capsules"

    def __init__(self, array, fs, label_hop_s):
        if not self.reads(array):
            raise UserError(f"{self.name} reads {self.channels}, which array '{array.name}' does not have")
        self.array, self.fs = array, fs
        self.hop = round(fs * label_hop_s / SPECTRA_PER_FRAME)
        self.n_fft = 2 ** int(np.ceil(np.log2(2 * self.hop)))
        grid = fibonacci_directions(2 * GRID if array.planar else GRID)
        self.grid = grid[grid[:, 2] >= 0] if array.planar else grid

    @classmethod
    def reads(cls, array):
        """Whether this baseline reads recordings of an Array."""
        return (array.kind == "ambisonic") == (cls.channels == "ambisonics")

    def __call__(self, audio, max_sources):
        """Audio (samples, M) → doa (T, N, 3) and active (T, N) at label frames."""
        found = self.candidates(audio, max_sources)
        return found.doa, found.active(self.rule)

    def candidates(self, audio, max_sources):
        """Audio (samples, M) → Candidates; UserError for less than a label frame."""
        spectra, frequencies = _spectra(audio, self.fs, self.hop, self.n_fft)  # (M, K, S)
        n_frames = spectra.shape[2] // SPECTRA_PER_FRAME
        if not n_frames:
            raise UserError(f"a recording of {len(audio)} samples is shorter than a label frame")
        level_db = _level_above_floor(spectra, n_frames)
        spectrum = self.spectrum(spectra, frequencies, np.flatnonzero(level_db >= 0), n_frames)
        return Candidates(*_peaks(spectrum, max_sources, self.grid), level_db)

    def spectrum(self, spectra, frequencies, loud, n_frames):
        """Spectra (M, K, S) at frequencies (K,) → (T, G); only the frames ``loud`` (indices) are needed."""
        raise NotImplementedError


class Intensity(Baseline):
    """Smoothed histogram of the directions of the active intensity."""

    name, rule, channels = "intensity", Rule(0.5, 0.4), "ambisonics"

    def spectrum(self, spectra, frequencies, loud, n_frames):
        return _intensity(spectra, n_frames)


class SRP(Baseline):
    """Steered response power with phase transform."""

    name, rule = "srp", Rule(0.5, 0.95)

    def steering(self, frequencies):
        """Response of the array to the directions of the grid (M, G, K), normalised as the method requires."""
        steering = self.array.response(self.grid, frequencies)
        return steering / np.maximum(np.abs(steering), 1e-6)

    def spectrum(self, spectra, frequencies, loud, n_frames):
        steering, found = self.steering(frequencies), np.zeros((n_frames, len(self.grid)))
        for number in range(len(frequencies)):
            found[loud] += self._of_bin(spectra[:, number], steering[..., number], loud, n_frames)
        return found

    def _of_bin(self, spectra, steering, loud, n_frames):
        """Spectra (M, S) and steering (M, G) of one bin → (frames of ``loud``, G).

        The power in direction d is the sum over pairs of 2·Re(conj(a_m)·C_mn·a_n), and a constant.
        """
        m, n = np.triu_indices(len(spectra), 1)
        phases = spectra / np.maximum(np.abs(spectra), SILENCE)
        products = _in_context(phases[m] * phases[n].conj(), n_frames)[:, loud].T  # C_mn: (frames, pairs)
        pairs = steering[m].conj() * steering[n]  # (pairs, G)
        return products.real @ pairs.real - products.imag @ pairs.imag


class MUSIC(SRP):
    """Frequency-normalised MUSIC.

    One source per bin: a second signal dimension would hold the residue of the first and show its mirror image.
    """

    name, rule = "music", Rule(0.5, 0.5)

    def steering(self, frequencies):
        steering = self.array.response(self.grid, frequencies)
        return steering / np.maximum(np.linalg.norm(steering, axis=0), 1e-9)

    def _of_bin(self, spectra, steering, loud, n_frames):
        covariances = _in_context(spectra[:, None] * spectra.conj(), n_frames)[..., loud]  # (M, M, frames)
        signal = np.linalg.eigh(np.moveaxis(covariances, 2, 0))[1][..., -1]  # (frames, M)
        noise = 1 - np.abs(signal.conj() @ steering) ** 2  # share of the steering vector in the noise subspace
        noise = np.maximum(noise, 1e-9)
        return noise.min(1, keepdims=True) / noise  # 1/noise relative to its maximum


def _in_context(values, n_frames):
    """Values (..., S) of spectra → their sums (..., T) over a label frame and its neighbours."""
    values = values[..., : n_frames * SPECTRA_PER_FRAME]
    frames = values.reshape(*values.shape[:-1], n_frames, SPECTRA_PER_FRAME).sum(-1)
    return _with_neighbours(frames, axis=-1)


def _with_neighbours(frames, axis):
    """Sums over each label frame and CONTEXT frames before and after it, along an axis."""
    frames = np.moveaxis(frames, axis, 0)
    padded = np.pad(frames, [(CONTEXT, CONTEXT), *[(0, 0)] * (frames.ndim - 1)])
    summed = sum(padded[shift : shift + len(frames)] for shift in range(2 * CONTEXT + 1))
    return np.moveaxis(summed, 0, axis)


def _spectra(audio, fs, hop, n_fft):
    """Spectra in BAND_HZ (M, K, S), SPECTRA_PER_FRAME per label frame, and their frequencies (K,)."""
    padded = np.pad(audio, ((0, hop), (0, 0)))  # the last window extends beyond the end
    frequencies, _, spectra = stft(padded.T, fs, nperseg=2 * hop, noverlap=hop, nfft=n_fft, boundary=None, padded=False)
    kept = (frequencies >= BAND_HZ[0]) & (frequencies < BAND_HZ[1])
    return spectra[:, kept], frequencies[kept]


def _level_above_floor(spectra, n_frames):
    """(T,) dB above the FLOOR_PERCENTILE of the recording; -inf in digital silence."""
    power = np.mean(np.abs(spectra) ** 2, axis=(0, 1))[: n_frames * SPECTRA_PER_FRAME]
    power = power.reshape(n_frames, -1).mean(1)
    level_db = 10 * np.log10(np.maximum(power, SILENCE))
    return np.where(power > SILENCE, level_db - np.percentile(level_db, FLOOR_PERCENTILE), -np.inf)


# --- intensity -------------------------------------------------------------------------------------------

def _intensity(spectra, n_frames):
    """Smoothed histogram (T, G) of the directions of the active intensity, weighted by the root of its length."""
    w, yzx = spectra[0], spectra[1:, :, : n_frames * SPECTRA_PER_FRAME]
    vectors = np.real(np.conj(w[None, :, : yzx.shape[2]]) * yzx)[[2, 0, 1]]  # x, y, z: (3, K, S)
    vectors = vectors.transpose(2, 1, 0).reshape(n_frames, -1, 3)
    lengths = np.linalg.norm(vectors, axis=-1)
    nearest = _directions_tree().query(vectors / np.maximum(lengths, SILENCE)[..., None])[1]
    cells = nearest + GRID * np.arange(n_frames)[:, None]
    histogram = np.bincount(cells.ravel(), np.sqrt(lengths).ravel(), n_frames * GRID).reshape(n_frames, GRID)
    return _with_neighbours(histogram, axis=0) @ _kernel()


@functools.cache
def _directions_tree():
    from scipy.spatial import cKDTree
    return cKDTree(fibonacci_directions(GRID))


@functools.cache
def _kernel():
    """(G, G) von Mises-Fisher weights between the directions of the grid."""
    directions = fibonacci_directions(GRID)
    return np.exp((directions @ directions.T - 1) / np.deg2rad(KERNEL_DEG) ** 2)


# --- peaks -------------------------------------------------------------------------------------------------

def _peaks(spectrum, count, directions):
    """Spectrum (T, G) at directions (G, 3) → its ``count`` highest local maxima that are APART_DEG apart: directions
    (T, N, 3) and heights (T, N) relative to the first."""
    cosines = directions @ directions.T  # (G, G)
    beside = np.argsort(-cosines, axis=1)[:, 1:7]  # the six neighbours
    raised = np.maximum(spectrum - np.median(spectrum, axis=1, keepdims=True), 0)
    left = np.where((raised[:, beside] <= raised[:, :, None]).all(2), raised, 0)
    frames = np.arange(len(spectrum))
    doa, height = np.zeros((len(spectrum), count, 3)), np.zeros((len(spectrum), count))
    for n in range(count):
        best = left.argmax(1)
        height[:, n] = left[frames, best]
        near = cosines[best] > np.cos(np.deg2rad(REFINE_DEG))
        centre = (raised * near) @ directions
        doa[:, n] = np.where(height[:, n, None] > 0, centre, directions[best])
        left[cosines[best] > np.cos(np.deg2rad(APART_DEG))] = 0
    doa /= np.linalg.norm(doa, axis=-1, keepdims=True)
    return doa, height / np.maximum(height[:, :1], np.finfo(float).tiny)
