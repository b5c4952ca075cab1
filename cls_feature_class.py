"""Audio → features, annotations → labels, scaling, and the files of all three.

T feature frames (20 ms hop), C feature channels, F bands, K = n_fft/2 + 1 bins, M audio channels. On disk a row is one
frame, channel-major: (T, C*F), the F bands of channel 0, of channel 1, and so on. Frame t is centred at sample t*hop.
Audio is float32 (samples, M) in [-1, 1). Files are as long as their recordings.

Feature sets (Adavanne et al., differentiable tracking-based training, and the DCASE2020 baseline):
foa: log-mels of W, Y, Z, X (ACN, SN3D), then the mel-weighted active intensity along y, z, x: C = 7;
mic: log-mels of the M capsules, then the GCC-PHAT of the pairs 01, 02, …, 12, … at F lags around 0: C = M + M(M-1)/2;
magphase (ADRENALINE, Schymura et al., EUSIPCO 2020): magnitudes, then phases of the M channels in all bins but that of
0 Hz: C = 2M, not normalised;
vectors: log-mels of the M capsules, then two vectors that point at the source, for any array: C = M + 6;
steered: the log-mel of all channels together, then what a steered response shows, with the same meaning for any array:
C = 8.
To add a feature set, write one class like these and add one line to doatools/registry.py.
"""

import functools
import itertools
import math
import shlex
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from doanet_parameters import get_params
from doatools.config.schema import FLAT, defaults
from doatools.data import audiofiles
from doatools.data.cache import digest, is_fresh, stamp
from doatools.data.mel import mel_filters, mel_frequencies
from doatools.data.mixtures import read_pieces
from doatools.data.readers import reader_of, training_recordings
from doatools.data.slots import rows_at
from doatools.errors import UserError
from doatools.registry import FEATURES
from doatools.spatial.corrections import read_correction, rotated
from doatools.spatial.drawn import array_of
from doatools.spatial.rotations import (
    axis_rotations,
    capsule_channel_map,
    foa_channel_map,
    phase_channel_map,
    rotations_of,
    steered_channel_map,
    vectors_channel_map,
)
from doatools.spatial.steered import SteeredResponse
from doatools.types import Recording, Scaler

FORMAT = 3  # of the features on disk; increase it when their content changes for the same parameters
LABEL_FORMAT = 3  # of the labels on disk, likewise
EPS = 1e-8  # added to each sample, and to the energy that intensities are divided by
AMIN = 1e-10  # smallest power before the logarithm (-100 dB)
BLOCK = 64  # frames per block: spectra of one block fit into the processor's cache
BAND_GROUP = 16  # mel bands that are summed together


class MelFeatures:
    """The common part of mel-band features; on disk they are float32, and normalised for training.

    Parameters
    ----------
    config : FeatureConfig
    array : Array

    Attributes
    ----------
    channels, bands : int, C and F
    mel_channels : int, number of channels, from the first, whose bands are mel bands
    log_mels : int, number of channels, from the first, that are powers and then converted to dB
    """

    normalised = True
    chunked = False  # whether each sequence is extracted by itself, without the samples before it
    offset = EPS  # added to samples
    without_dc = True  # whether the mean of each window is subtracted: an offset of the recorder is no sound
    dtype = np.float32  # on disk
    vectors = ()  # the first channel of each triple (y, z, x) that points at sources
    equivariant = False  # for any array, rotations about the vertical rotate vectors and change nothing else

    def __init__(self, config, array):
        if array.drawn and not self.equivariant:
            raise UserError(f"array '{array.name}' stands for many arrays, which takes features=steered; other "
                            "features are those of one array")
        self.fs, self.array, self.bands = config.fs, array, config.nb_mel_bins
        self.n_fft = 2 ** math.ceil(math.log2(max(2, 2 * config.hop)))

    @functools.cached_property
    def groups(self):
        """Mel filters, float32, 0 Hz to fs/2, Slaney's scale and norm: (bins, bands, weights) of neighbouring bands.

        A band covers few bins, so for each group only the bins that its bands cover are summed.
        """
        mel = mel_filters(self.fs, self.n_fft, self.bands).T
        groups = []
        for first in range(0, self.bands, BAND_GROUP):
            bands = slice(first, first + BAND_GROUP)
            used = np.flatnonzero(mel[:, bands].any(1))
            bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
            groups.append((bins, bands, np.ascontiguousarray(mel[bins, bands])))
        return groups

    def prepare(self):
        """Compute the tables that the first extraction would compute."""
        _ = self.groups

    def to_bands(self, values, out):
        """Values per bin (..., B, K) → sums weighted by the mel filters, out (..., B, F)."""
        for bins, bands, weights in self.groups:
            np.matmul(values[..., bins], weights, out=out[..., bands])

    @staticmethod
    def shown(features):
        """Features (C, T, F) as plotted."""
        return features


class FoaFeatures(MelFeatures):
    """Log-mels of first-order ambisonics and the intensity vector, which points at the source."""

    channels, mel_channels, log_mels = 7, 7, 4
    vectors = (4,)
    # What is plotted: channel, label, colours.
    pictured = ((0, "mel band", "log-mel of W (dB)", "magma"),
                (4, "mel band", "intensity along y, left > 0", "RdBu_r"))

    channel_map = staticmethod(foa_channel_map)  # rotation of the sound field → ChannelMap

    def __init__(self, config, array):
        super().__init__(config, array)
        if array.kind != "ambisonic":
            raise UserError(f"features=foa are for ambisonics; array '{array.name}' has capsules (features=mic)")

    def __call__(self, spectra, power, out):
        """Spectra (4, B, K) complex64, their power (4, B, K) float32 → out (7, B, F) float32."""
        self.to_bands(power, out[:4])
        energy = power[1:].sum(0)
        energy /= 3
        energy += power[0]
        energy += EPS
        products = spectra[0].conj() * spectra[1:]  # complex: numpy is faster at these than at real and imaginary parts
        self.to_bands(products.real * (1 / energy), out[4:])


class MicFeatures(MelFeatures):
    """Log-mels of M capsules and the GCC-PHAT of their pairs: a peak at lag d, n hears d later than m."""

    pictured = ((0, "mel band", "log-mel of capsule 1 (dB)", "magma"),
                (-1, "lag (samples)", "GCC-PHAT of the last two capsules", "RdBu_r"))

    def __init__(self, config, array):
        super().__init__(config, array)
        if array.kind == "ambisonic":
            raise UserError(f"features=mic are for capsules; array '{array.name}' is ambisonic (features=foa)")
        self.mel_channels = self.log_mels = array.channels
        self.pairs = list(itertools.combinations(range(array.channels), 2))
        self.channels = array.channels + len(self.pairs)
        needed = array.max_delay_s * config.fs
        if needed > self.bands // 2:
            raise UserError(f"array '{array.name}': sound takes up to {needed:.0f} samples from capsule to capsule, "
                            f"more than the {self.bands // 2} lags of nb_mel_bins={self.bands}; set nb_mel_bins="
                            f"{2 * math.ceil(needed / 16) * 16} or a lower fs")

    def channel_map(self, rotation):
        return capsule_channel_map(rotation, self.array)

    @functools.cached_property
    def waves(self):
        """Cosines and sines (K, F/2 + 1) of lags 0 … F/2, weighted as an inverse FFT weights its bins."""
        bins, lags = self.n_fft // 2 + 1, self.bands - self.bands // 2 + 1
        angles = 2 * np.pi * (np.outer(np.arange(bins), np.arange(lags)) % self.n_fft) / self.n_fft
        weights = np.full((bins, 1), 2 / self.n_fft)
        weights[[0, -1]] /= 2
        return tuple(np.ascontiguousarray(weights * wave(angles), np.float32) for wave in (np.cos, np.sin))

    def prepare(self):
        _ = self.groups, self.waves

    def __call__(self, spectra, power, out):
        """Spectra (M, B, K) complex64, their power (M, B, K) float32 → out (C, B, F) float32."""
        self.to_bands(power, out[: self.log_mels])
        scale = 1 / np.maximum(np.sqrt(power), np.finfo(np.float32).tiny)
        real, imag = spectra.real * scale, spectra.imag * scale  # phases: their products are those of conj(X_m) X_n
        before = out.shape[-1] - out.shape[-1] // 2  # lags -before … F-before-1
        for channel, (m, n) in enumerate(self.pairs, start=self.log_mels):
            # Few lags are needed: sums of cosines and sines, even and odd in the lag, instead of inverse FFTs.
            even = (real[m] * real[n] + imag[m] * imag[n]) @ self.waves[0]  # (B, F/2 + 1)
            odd = (real[m] * imag[n] - imag[m] * real[n]) @ self.waves[1]
            out[channel, :, :before] = (even + odd)[:, before:0:-1]
            out[channel, :, before:] = (even - odd)[:, : out.shape[-1] - before]


class VectorFeatures(MelFeatures):
    """Log-mels of M capsules, and two vectors that point at the source: C = M + 6 for any array.

    An ambisonic encoder without filters computes W, the mean of the capsules, and [Y, Z, X], the gradient of the sound
    field (least squares over the positions). At long wavelengths, the gradient is 90 degrees ahead of W in the
    direction of the source, so Im(conj(W)·[Y, Z, X]) points at it; where a sphere or a cardioid casts a shadow, so does
    Re(conj(W)·[Y, Z, X]). Planar arrays have no gradient along z.
    """

    def __init__(self, config, array):
        super().__init__(config, array)
        if array.kind == "ambisonic":
            raise UserError(f"features=vectors are for capsules; array '{array.name}' is ambisonic (features=foa)")
        count = array.channels
        self.log_mels, self.channels, self.mel_channels = count, count + 6, count + 6
        self.vectors = (count, count + 3)
        self.pictured = ((0, "mel band", "log-mel of capsule 1 (dB)", "magma"),
                         (count + 3, "mel band", "phase gradient along y, left > 0", "RdBu_r"))
        places = array.positions - array.positions.mean(0)
        places = places / np.sqrt((places**2).sum(1).mean())
        self.encoder = np.linalg.pinv(places, rcond=1e-3)[[1, 2, 0]].astype(np.complex64)  # (3, M): y, z, x

    def channel_map(self, rotation):
        return vectors_channel_map(rotation, self.array)

    def __call__(self, spectra, power, out):
        """Spectra (M, B, K) complex64, their power (M, B, K) float32 → out (M + 6, B, F) float32."""
        self.to_bands(power, out[: self.log_mels])
        mean = spectra.mean(0)  # (B, K)
        gradient = np.tensordot(self.encoder, spectra, 1)  # (3, B, K)
        energy = (gradient.real**2 + gradient.imag**2).sum(0)
        energy /= 3
        energy += mean.real**2 + mean.imag**2 + EPS
        products = mean.conj() * gradient * (1 / energy)
        self.to_bands(np.ascontiguousarray(products.real), out[self.log_mels : self.log_mels + 3])
        self.to_bands(np.ascontiguousarray(products.imag), out[self.log_mels + 3 :])


class SteeredFeatures(MelFeatures):
    """The log-mel of all channels together, and in each band where the sound comes from: C = 8, and the same meaning,
    for any array.

    With S(d), the share of the power that a wave from d explains (see doatools.spatial.steered), directions are
    weighted by (1 - S(d) + DOUBT)^-n, and their mean points at the source; it is the longer, the more one direction
    stands out (the least weight is subtracted, so that it is 0 where all directions are alike). The first vector
    (n = 8) is that of a band alone. One frame and band hold few independent values, so that some direction explains
    much by chance; the second vector (n = 32) follows from the mean of S over the bands up to AROUND away, and so does
    the last channel, the largest S. Nothing depends on the order of the channels, and a rotated array with a rotated
    sound field has rotated vectors.
    """

    DOUBT, AROUND = 0.1, 2
    channels, mel_channels, log_mels = 8, 8, 1
    vectors = (1, 4)
    equivariant = True
    pictured = ((0, "mel band", "log-mel of all channels (dB)", "magma"),
                (4, "mel band", "direction along y, left > 0", "RdBu_r"))

    @functools.cached_property
    def steered(self):
        centres = mel_frequencies(self.bands + 2, self.fs / 2)[1:-1]
        return SteeredResponse(self.array, np.arange(self.n_fft // 2 + 1) * self.fs / self.n_fft, centres)

    @functools.cached_property
    def sums(self):
        """(G, 4): directions y, z, x of the grid and 1."""
        grid = self.steered.grid[:, [1, 2, 0]]
        return np.concatenate([grid, np.ones((len(grid), 1))], 1).astype(np.float32)

    def prepare(self):
        _ = self.groups
        if not self.array.drawn:
            _ = self.steered.tables

    def channel_map(self, rotation):
        return steered_channel_map(rotation, self.array)

    def __call__(self, spectra, power, out):
        """Spectra (M, B, K) complex64, their power (M, B, K) float32 → out (8, B, F) float32."""
        self.to_bands(power.mean(0), out[0])
        shares = self.steered(spectra)  # (F, B, G)
        means, counts = shares.copy(), np.ones((len(shares), 1, 1), np.float32)
        for apart in range(1, min(self.AROUND, len(shares) - 1) + 1):
            for to, of in ((slice(apart, None), slice(-apart)), (slice(-apart), slice(apart, None))):
                means[to] += shares[of]
                counts[to] += 1
        means *= 1 / counts
        out[7] = means.max(2).T
        out[1:4] = self._point(self._weights(shares, 3))
        out[4:7] = self._point(self._weights(means, 5))

    def _weights(self, share, squarings):
        """Weights of directions for S (F, B, G), in place, relative to S = 1; n is 2 to the power of ``squarings``."""
        weights = np.subtract(np.float32(1 + self.DOUBT), share, out=share)
        np.divide(np.float32(self.DOUBT), weights, out=weights)
        for _ in range(squarings):
            np.multiply(weights, weights, out=weights)
        return weights

    def _point(self, weights):
        """Weights (F, B, G) → their vectors y, z, x (3, B, F)."""
        found = weights @ self.sums  # (F, B, 4)
        if self.array.planar:  # otherwise the directions of the grid add up to 0
            found[..., :3] -= weights.min(2, keepdims=True) * self.sums[:, :3].sum(0)
        return (found[..., :3] / found[..., 3:]).transpose(2, 1, 0)


class MagnitudePhase:
    """Magnitudes and phases as computed by scipy.signal.stft from each chunk by itself, with zeros before its start.

    Half precision on disk: its spacing is 6e-8 below 6e-5, less than the quantisation noise of 16-bit samples in a bin
    (3e-7), and above that 0.1 % of a magnitude; for phases it is at most 0.002 rad.
    """

    mel_channels = log_mels = 0
    vectors = ()
    normalised = False
    chunked = True
    offset = 0.0
    dtype = np.float16
    pictured = ((0, "frequency bin", "magnitude of channel 1 (dB)", "magma"),
                (1, "frequency bin", "magnitude of channel 2 (dB)", "magma"))

    def __init__(self, config, array):
        window = 2 * config.hop
        self.array, self.channels = array, 2 * array.channels  # UserError for drawn arrays
        self.n_fft = config.num_fft_bins or 2 ** math.ceil(math.log2(max(2, window)))
        if self.n_fft < window or self.n_fft % 2:
            raise UserError(f"num_fft_bins={self.n_fft} must be even and hold a window of {window} samples (two hops)")
        self.bands = self.n_fft // 2
        full_scale = np.float32(32768 / 32767)  # samples are int16 / 32767 here, and int16 / 32768 as read
        self.scale = full_scale / _hann(window).sum(dtype=np.float64).astype(np.float32)

    def channel_map(self, rotation):
        if self.array.kind != "ambisonic":
            raise UserError("features=magphase can be rotated only for ambisonic recordings")
        return phase_channel_map(rotation)

    def prepare(self):
        """There are no tables."""

    def shown(self, features):
        half = self.channels // 2
        decibels = 20 * np.log10(np.maximum(features[:half].astype(np.float32), 1e-6))
        return np.concatenate([decibels, features[half:]])

    def __call__(self, spectra, power, out):
        """Spectra (M, B, K) complex64, their power (M, B, K) float32 → out (2M, B, F) float32."""
        half = self.channels // 2
        np.multiply(np.sqrt(power[..., 1:]), self.scale, out=out[:half])
        np.arctan2(spectra.imag[..., 1:], spectra.real[..., 1:], out=out[half:])


def build_features(config, array=None):
    """The FeatureClass of a Config, for its own array or for ``array``."""
    return FeatureClass(config.features, array or config.array, config.features_name,
                        config.batches.label_sequence_length)


class FeatureClass:
    """Features of recordings.

    Parameters
    ----------
    config : FeatureConfig
    array : Array
    name : str
        Name in FEATURES.
    sequence_length : int
        Label frames of a training sequence; chunked feature sets are extracted from each sequence by itself.

    Attributes
    ----------
    kind : the feature set
    nb_feature_channels, nb_bands : int, C and F
    ratio : int, feature frames per label frame
    equivariant : bool, whether, for any array, vectors follow any rotation about the vertical and nothing else changes
    """

    def __init__(self, config, array, name, sequence_length=0):
        self.name, self.array, self.fs, self.top_db = name, array, config.fs, config.top_db
        self.hop, self.ratio = config.hop, config.ratio
        if self.hop < 1:
            raise UserError(f"hop_len_s={config.hop_len_s:g} is less than a sample of fs={config.fs}")
        self.kind = FEATURES[name](config, array)
        self.n_fft, self.nb_bands, self.nb_feature_channels = self.kind.n_fft, self.kind.bands, self.kind.channels
        self.chunk = sequence_length * self.ratio if self.kind.chunked else 0
        self.equivariant = getattr(self.kind, "equivariant", False)
        self.without_dc = getattr(self.kind, "without_dc", False)
        self.window = _hann(2 * self.hop)

    @property
    def size(self):
        """Columns of a feature frame on disk, C*F."""
        return self.nb_feature_channels * self.nb_bands

    @property
    def frequencies(self):
        """Centres of the bands, Hz, (F,): mel bands, or bins of the FFT from the first one above 0 Hz."""
        if not self.kind.log_mels:
            return np.arange(1, self.nb_bands + 1) * self.fs / self.n_fft
        return mel_frequencies(self.nb_bands + 2, self.fs / 2)[1:-1]

    def inspect_audio(self, source):
        """Samples of a Recording or WAV at fs, from its header; the errors of ``read_audio`` that do not depend on
        samples."""
        path, picked, file_fs = _file_of(source)
        return audiofiles.inspect_audio(path, self.fs, self.array.channels, picked, file_fs)

    def read_audio(self, source, max_samples=-1):
        """The first ``max_samples`` (-1: all) of a Recording or WAV, float32 (samples, M); UserError for an unsuitable
        file."""
        path, picked, file_fs = _file_of(source)
        return audiofiles.read_audio(path, self.fs, self.array.channels, max_samples, picked, file_fs)

    def extract(self, audio):
        """Audio (samples, M) of any length → features (samples // hop, C*F), float32, not normalised."""
        n_frames = len(audio) // self.hop
        features = np.empty((n_frames, self.nb_feature_channels, self.nb_bands), np.float32)
        # The samples of a block of frames, from half a window before the first one; before the start of the recording
        # these are zeros (or its offset), so frame 0 is centred at sample 0. Windows are at the start of the FFT,
        # not in its middle: a delay common to all channels, which no feature depends on.
        samples = np.zeros((self.array.channels, (BLOCK + 1) * self.hop), np.float32)
        frames = sliding_window_view(samples, 2 * self.hop, axis=1)[:, :: self.hop]  # (M, BLOCK, 2 hop)
        padded = np.zeros((self.array.channels, BLOCK, self.n_fft), np.float32)
        for start in range(0, n_frames, BLOCK):
            count = min(BLOCK, n_frames - start)
            known = self.hop if start == 0 else 0
            used = audio[max(start - 1, 0) * self.hop : (start + count) * self.hop].T
            np.add(used, np.float32(self.kind.offset), out=samples[:, known : known + used.shape[1]])
            if known and self.without_dc:  # an offset did not begin with the recording
                samples[:, :known] = (frames[:, 0, known:] @ _shares(self.window[known:]))[:, None]
            windowed = padded[:, :count]
            self._windowed(frames[:, :count], out=windowed[..., : 2 * self.hop])
            if self.chunk:  # the first frame of a chunk begins half a window before the chunk
                windowed[:, -start % self.chunk :: self.chunk, : self.hop] = 0
            spectra = scipy.fft.rfft(windowed, axis=-1)  # (M, B, K) complex64
            if self.without_dc:
                spectra[..., 0] = 0  # what is left are rounding errors, whose phase GCC-PHAT would see
            power = spectra.real**2
            power += spectra.imag**2
            self.kind(spectra, power, features[start : start + BLOCK].swapaxes(0, 1))  # (C, B, F)
        if self.kind.log_mels:
            self._to_decibels(features[:, : self.kind.log_mels])
        return features.reshape(n_frames, self.nb_feature_channels * self.nb_bands)  # (T, C*F)

    def _windowed(self, frames, out):
        """Samples (M, B, 2 hop) → the same times the window, without the mean that it sees where the kind asks for
        it."""
        if self.without_dc:
            mean = np.einsum("mbn,n->mb", frames, _shares(self.window)) - np.float32(self.kind.offset)
            frames = np.subtract(frames, mean[..., None], out=out)
        np.multiply(frames, self.window, out=out)

    def rotations(self):
        """Rotations that map the array onto itself, or that equivariant features follow, and have a ChannelMap
        (K, 3, 3), and their K ChannelMaps."""
        candidates = axis_rotations().astype(float) if self.equivariant else rotations_of(self.array)
        pairs = [(rotation, self.kind.channel_map(rotation)) for rotation in candidates]
        rotations, maps = zip(*((rotation, one) for rotation, one in pairs if one is not None))
        return np.stack(rotations), list(maps)

    def as_channels(self, features):
        """Features on disk (..., T, C*F) → (..., C, T, F), a view."""
        return features.reshape(*features.shape[:-1], self.nb_feature_channels, -1).swapaxes(-3, -2)

    def padded(self, audio, label_frames):
        """Audio (samples, M) padded or cut to ``label_frames``.

        As in the published features, the padding is noise of 1e-8, so that the phases of silence have no direction. It
        is drawn with a fixed seed, so that extraction gives the same features each time.
        """
        wanted = label_frames * self.ratio * self.hop
        missing = wanted - len(audio)
        if missing <= 0:
            return audio[:wanted]
        noise = np.random.default_rng(0).random((missing, audio.shape[1]), np.float32)
        return np.concatenate([audio, np.float32(-self.kind.offset) * noise])  # extract adds the offset: (0, 1e-8]

    def _to_decibels(self, mels):
        """In place: powers (T, M, F) → dB, no lower than top_db below their channel's maximum."""
        np.maximum(mels, np.float32(AMIN), out=mels)
        np.log10(mels, out=mels)
        mels *= 10
        if self.top_db > 0 and len(mels):
            np.maximum(mels, mels.max(axis=(0, 2), keepdims=True) - np.float32(self.top_db), out=mels)


def _file_of(source):
    """A Recording or the path of a WAV → (path, channels to read, sample rate of the file)."""
    return (source.audio, source.channels, source.fs) if isinstance(source, Recording) else (source, (), 0)


def _hann(length):
    """Periodic Hann window, float32."""
    return np.sin(np.pi * np.arange(length) / length).astype(np.float32) ** 2


def _shares(window):
    """Weights of a mean."""
    return window / window.sum()


class FeatureFiles:
    """The files of features and labels: their paths, how labels are read, and what everything is made from.

    In the feature folder, for recordings in ``foa_dev``: ``foa_dev/{stem}.npy``, features as extracted;
    ``foa_dev_label/{stem}.npy``, EVENT_ROWS at the frames of scores (100 ms); ``foa_dev_norm/{stem}.npy`` and
    ``foa_dev_scaler.npz``, normalised features and their scaler, for each division of the recordings into roles (by
    mode or fold). Other features than those of the array have their name in the path: ``foa_dev_magphase``.
    """

    def __init__(self, config):
        self.config = config
        self.reader = reader_of(config)
        self.feature_class = build_features(config)
        self.folder = Path(config.data.feature_dir)
        _refuse_drift(config.features)
        self.suffix = "" if self.feature_class.name == config.array_features else f"_{self.feature_class.name}"
        self.name = f"{self.reader.division}{self.suffix}"
        hop_s = config.score_hop_s
        self.label_suffix = "_label" if hop_s == 0.1 else f"_label_{1000 * hop_s:g}ms"
        self.scaler = self.folder / f"{self.name}_scaler.npz"

    # --- arrays ------------------------------------------------------------------------------------------------

    def array_of(self, recording):
        """The Array of a Recording: its own, or that of all."""
        return array_of(recording.array) if recording.array else self.config.array

    def feature_class_of(self, recording):
        """The FeatureClass of a Recording's array."""
        return build_features(self.config, self.array_of(recording)) if recording.array else self.feature_class

    # --- lengths and labels ------------------------------------------------------------------------------------

    def samples_used(self, samples):
        """Those of a recording's ``samples`` that max_audio_len_s leaves."""
        limit = self.config.data.max_audio_len_s
        return min(samples, round(limit * self.feature_class.fs)) if limit else samples

    def score_frames(self, samples):
        """Frames of labels and scores in ``samples``; the last one can extend beyond the end."""
        return math.ceil(self.samples_used(samples) / (self.feature_class.fs * self.config.score_hop_s) - 1e-6)

    def label_frames(self, samples):
        """Frames that the network predicts for ``samples``."""
        return self.score_frames(samples) * self.config.labels_per_score

    def read_labels(self, recording, samples=None):
        """EVENT_ROWS of a recording at the frames of scores, up to max_audio_len_s; UserError for a bad annotation.

        ``samples``: the length of its audio, if it is known. For planar arrays, elevations are folded.
        """
        samples = self.feature_class_of(recording).inspect_audio(recording) if samples is None else samples
        seconds = samples / self.feature_class.fs
        pieces = (read_pieces(recording.annotation) if recording.augmented
                  else self.reader.read(recording.annotation, seconds))
        rows = rows_at(pieces, self.config.score_hop_s)
        if self.config.data.rotation:
            rows = rotated(rows, read_correction(self.config.data.rotation).T)
        if self.array_of(recording).planar:
            rows["elevation"] = np.abs(rows["elevation"])
        return rows[rows["frame"] < self.score_frames(samples)]

    # --- paths -------------------------------------------------------------------------------------------------

    def features(self, recording):
        return self.folder / f"{recording.folder}{self.suffix}" / f"{recording.stem}.npy"

    def labels(self, recording):
        return self.folder / f"{recording.folder}{self.label_suffix}" / f"{recording.stem}.npy"

    def normalised(self, recording):
        return self.folder / f"{self.name}_norm" / f"{recording.stem}.npy"

    # --- scaling -----------------------------------------------------------------------------------------------

    def read_scaler(self):
        """The Scaler of the training recordings; the identity for features that are not normalised."""
        made = self.feature_class
        return (Scaler.load(self.scaler) if made.kind.normalised
                else Scaler.identity(made.nb_feature_channels * made.nb_bands))

    def write_scaler(self, path, count, total, squares):
        """From sums over the rows of the training recordings. Vectors that are equivariant keep their directions: their
        means are not subtracted, and x, y and z have one scale."""
        made = self.feature_class
        for first in made.kind.vectors if made.equivariant else ():
            own = slice(first * made.nb_bands, (first + 3) * made.nb_bands)
            total[own] = 0
            squares[own] = np.tile(squares[own].reshape(3, -1).mean(0), 3)
        Scaler.from_sums(count, total, squares).save(path)

    # --- what files are made from ------------------------------------------------------------------------------

    def features_made_from(self, recording):
        made = self.feature_class
        note = {"format": FORMAT, "features": made.name, "fs": made.fs, "hop": made.hop,
                "frames_of_s": self.config.score_hop_s, "limit_s": self.config.data.max_audio_len_s,
                "bands": made.nb_bands, "top_db": made.top_db, "array": digest(self.array_of(recording).plain()),
                "source": stamp(recording.audio)}
        if recording.channels or recording.fs:
            note |= {"channels": list(recording.channels), "file_fs": recording.fs}
        return note | {"chunk": made.chunk} if made.chunk else note

    def labels_made_from(self, recording):
        note = {"format": LABEL_FORMAT, "hop_s": self.config.score_hop_s, "limit_s": self.config.data.max_audio_len_s,
                "planar": self.array_of(recording).planar, "source": stamp(recording.annotation),
                "audio": stamp(recording.audio)}
        if recording.more_annotations:  # positions, which become directions in the array's frame
            note |= {"more": [stamp(path) for path in recording.more_annotations],
                     "array": digest(self.config.array.plain())}
        if self.config.data.rotation:
            note |= {"rotation": read_correction(self.config.data.rotation).tolist()}
        return note

    def scaler_made_from(self, training):
        """``training``: the original recordings that means and scales are computed from."""
        return {"features": digest([[r.stem, self.features_made_from(r)] for r in training])}

    def normalised_made_from(self, recording, scaler_made_from):
        return {"features": digest(self.features_made_from(recording)), "scaler": digest(scaler_made_from)}


def _refuse_drift(config):
    """UserError for a hop that is no whole number of samples: frames would drift against the annotation."""
    samples = config.fs * config.hop_len_s
    if abs(samples - config.hop) > 1e-6 * samples:
        raise UserError(f"hop_len_s={config.hop_len_s:g} is {samples:g} samples at fs={config.fs}, so features would "
                        "drift against the labels; choose a hop of whole samples, or resample the recordings")


def check_up_to_date(config, recordings, normalised=True):
    """UserError unless features (normalised or as extracted) and labels of all recordings are up to date."""
    files = FeatureFiles(config)
    stale = [r.stem for r in recordings if not is_fresh(files.labels(r), files.labels_made_from(r))
             or not is_fresh(files.features(r), files.features_made_from(r))]
    if normalised and files.feature_class.kind.normalised and not stale:
        scaler = files.scaler_made_from(training_recordings(config))
        if not is_fresh(files.scaler, scaler):
            stale = ["its scaler"]
        stale += [r.stem for r in recordings
                  if not is_fresh(files.normalised(r), files.normalised_made_from(r, scaler))]
    if stale:
        words = ["python3", "batch_feature_extraction.py", config.task_id, *data_words(config)]
        raise UserError(f"features of {config.data.dataset_dir} are missing or out of date "
                        f"(first: {stale[0]}); run: {shlex.join(words)}")


def data_words(config):
    """The key=value words that, together with the task id, select the same recordings and features in any script."""
    given = {"dataset_dir": config.data.dataset_dir, "format": config.data.format}
    try:
        usual = get_params(config.task_id, **given)
    except UserError:  # of a checkpoint whose YAML file no longer exists
        usual = get_params("1", **given)
    usual = usual.flat() | {key: defaults()[key] for key in given}
    keys = [name for name, (section, _) in FLAT.items()
            if section in ("data", "features") and name != "label_slots"]
    if build_features(config).chunk:
        keys.append("label_sequence_length")
    values = config.flat()
    return [f"{key}={_word(values[key])}" for key in keys if values[key] != usual[key]]


def _word(value):
    return f"{value:g}" if isinstance(value, float) else value
