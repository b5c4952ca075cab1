"""Audio → features, annotations → labels, scaling, and where all of it lies on disk.

T feature frames (20 ms hop), C feature channels, F bands, K = n_fft/2 + 1 bins, M audio channels. On disk a
row is one frame, channel-major: (T, C*F), channel 0's F bands, channel 1's, and so on. Frame t is centred at
sample t*hop. Audio is float32 (samples, M) in [-1, 1).

Features (Adavanne et al., differentiable tracking-based training, and the DCASE2020 baseline):
foa: log-mels of W, Y, Z, X (ACN, SN3D), then the mel-weighted active intensity along y, z, x: C = 7;
mic: log-mels of the M = 4 capsules, then the GCC-PHAT of the pairs 01, 02, 03, 12, 13, 23 at F lags around
zero: C = 10.
magphase (ADRENALINE, Schymura et al., EUSIPCO 2020): magnitudes, then phases of the M = 4 channels in all bins but
that of 0 Hz: C = 8, as they come, not normalised. A further feature set is one class like these and one line in
FEATURES.
"""

import functools
import itertools
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from doanet_parameters import DEFAULTS, get_params
from doatools.data import audiofiles
from doatools.data.cache import digest, is_fresh, stamp
from doatools.data.readers import format_of
from doatools.errors import UserError
from doatools.files import replacing
from doatools.spatial.arrays import ARRAYS
from doatools.spatial.rotations import capsule_channel_map, foa_channel_map, phase_channel_map, vertical_turns

FORMAT = 1  # of the files on disk; raise it when their content changes for the same parameters
EPS = 1e-8  # added to every sample, and to the energy that intensities are divided by
AMIN = 1e-10  # the least power a log is taken of (-100 dB)
DATA_KEYS = ("dataset_dir", "feat_label_dir", "dataset", "format", "fold", "mode", "augmented", "max_sources",
             "overflow", "features", "fs", "hop_len_s", "label_hop_len_s", "annotation_hop_len_s", "max_audio_len_s",
             "nb_mel_bins", "num_fft_bins", "top_db")
BLOCK = 64  # frames worked on at once: keeps a recording's spectra out of memory, and in the cache
BAND_GROUP = 16  # mel bands summed at once


class MelFeatures:
    """What mel-band features have in common; on disk they are float32, and normalised for training."""

    normalised = True
    chunked = False  # whether frames see nothing of the sequence before theirs
    offset = EPS  # added to samples
    dtype = np.float32  # on disk

    def __init__(self, made):
        """Mel filters, float32: 0 Hz to fs/2, Slaney's scale and norm."""
        import librosa.filters  # takes a second, which who only asks for shapes and places need not wait
        mel = librosa.filters.mel(sr=made.fs, n_fft=made.n_fft, n_mels=made.nb_bands).T
        # A band holds few bins: for a group of neighbouring bands, only the bins that any of them holds are summed.
        self.groups = []
        for first in range(0, made.nb_bands, BAND_GROUP):
            bands = slice(first, first + BAND_GROUP)
            used = np.flatnonzero(mel[:, bands].any(1))
            bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
            self.groups.append((bins, bands, np.ascontiguousarray(mel[bins, bands])))

    def to_bands(self, values, out):
        """Values of bins (..., B, K) → their sums weighted by the mel filters, out (..., B, F)."""
        for bins, bands, weights in self.groups:
            np.matmul(values[..., bins], weights, out=out[..., bands])

    @staticmethod
    def bands(params):
        return params["nb_mel_bins"]

    @staticmethod
    def n_fft(params, window):
        return 2 ** math.ceil(math.log2(window))

    @staticmethod
    def shown(features):
        """Features (C, T, F) as a picture shows them."""
        return features


class FoaFeatures(MelFeatures):
    """Log-mels of first-order ambisonics and the intensity vector, which points at the source."""

    audio_channels = 4  # W, Y, Z, X
    log_mels = 4  # the first feature channels are powers, to be told in dB
    mel_channels = channels = 7
    # What pictures show: channel, label, colours.
    pictured = ((0, "mel band", "log-mel of W (dB)", "magma"),
                (4, "mel band", "intensity along y, left > 0", "RdBu_r"))

    channel_map = staticmethod(foa_channel_map)  # of a turn of the sound field

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
    """Log-mels of four capsules and the GCC-PHAT of their pairs: a peak at lag d, n hears d later than m."""

    audio_channels = 4
    mel_channels = log_mels = 4
    channels = 10
    pictured = ((0, "mel band", "log-mel of capsule 1 (dB)", "magma"),
                (4, "lag (samples)", "GCC-PHAT of capsules 1 and 2", "RdBu_r"))

    @staticmethod
    def channel_map(turn):
        return capsule_channel_map(turn, ARRAYS["mic"].capsules)

    def __init__(self, made):
        super().__init__(made)
        bins, lags = made.n_fft // 2 + 1, made.nb_bands - made.nb_bands // 2 + 1  # lags 0 … F/2
        angles = 2 * np.pi * (np.outer(np.arange(bins), np.arange(lags)) % made.n_fft) / made.n_fft
        weights = np.full((bins, 1), 2 / made.n_fft)
        weights[[0, -1]] /= 2
        self.even, self.odd = (np.ascontiguousarray(weights * wave(angles), np.float32) for wave in (np.cos, np.sin))

    def __call__(self, spectra, power, out):
        """Spectra (4, B, K) complex64, their power (4, B, K) float32 → out (10, B, F) float32."""
        self.to_bands(power, out[:4])
        scale = 1 / np.maximum(np.sqrt(power), np.finfo(np.float32).tiny)
        real, imag = spectra.real * scale, spectra.imag * scale  # phases: their products are those of conj(X_m) X_n
        before = out.shape[-1] - out.shape[-1] // 2  # lags -before … F-before-1
        for channel, (m, n) in enumerate(itertools.combinations(range(4), 2), start=4):
            # Few lags are wanted: sums of cosines and sines, even and odd in the lag, in place of inverse FFTs.
            even = (real[m] * real[n] + imag[m] * imag[n]) @ self.even  # (B, F/2 + 1)
            odd = (real[m] * imag[n] - imag[m] * real[n]) @ self.odd
            out[channel, :, :before] = (even + odd)[:, before:0:-1]
            out[channel, :, before:] = (even - odd)[:, : out.shape[-1] - before]


class MagnitudePhase:
    """Magnitudes and phases as of scipy.signal.stft of a chunk that is cut out first: zeros lie before its start.

    Half precision on disk: its spacing below 6e-5 is 6e-8, less than what 16-bit samples leave of quantisation
    noise in a bin (3e-7), above it 0.1 % of a magnitude; and 0.002 rad of a phase.
    """

    audio_channels = 4
    mel_channels = log_mels = 0
    channels = 8
    normalised = False
    chunked = True
    offset = 0.0
    dtype = np.float16
    pictured = ((0, "frequency bin", "magnitude of channel 1 (dB)", "magma"),
                (1, "frequency bin", "magnitude of channel 2 (dB)", "magma"))

    channel_map = staticmethod(phase_channel_map)

    def __init__(self, made):
        full_scale = np.float32(32768 / 32767)  # samples are int16 / 32767 here, and int16 / 32768 as read
        self.scale = full_scale / made.window.sum(dtype=np.float64).astype(np.float32)

    @staticmethod
    def bands(params):
        return params["num_fft_bins"] // 2

    @staticmethod
    def n_fft(params, window):
        if params["num_fft_bins"] < window or params["num_fft_bins"] % 2:
            raise UserError(f"num_fft_bins={params['num_fft_bins']} must be even and hold a window of {window} samples "
                            "(two hops)")
        return params["num_fft_bins"]

    @staticmethod
    def shown(features):
        return np.concatenate([20 * np.log10(np.maximum(features[:4].astype(np.float32), 1e-6)), features[4:]])

    def __call__(self, spectra, power, out):
        """Spectra (4, B, K) complex64, their power (4, B, K) float32 → out (8, B, F) float32."""
        np.multiply(np.sqrt(power[..., 1:]), self.scale, out=out[:4])
        np.arctan2(spectra.imag[..., 1:], spectra.real[..., 1:], out=out[4:])


FEATURES = {"foa": FoaFeatures, "mic": MicFeatures, "magphase": MagnitudePhase}


class FeatureClass:
    """Features and labels of recordings under one set of parameters.

    Attributes
    ----------
    kind : the class of the features, of FEATURES
    nb_feature_channels, nb_bands : int, C and F
    nb_feature_frames, nb_label_frames, nb_annotation_frames : int, of a recording padded or cut to max_audio_len_s
    """

    def __init__(self, params):
        self.features = params["features"] or params["dataset"]
        self.kind = FEATURES[self.features]
        self.fs = params["fs"]
        self.top_db = params["top_db"]
        self.annotation_hop_len_s = params["annotation_hop_len_s"]
        self.hop = round(self.fs * params["hop_len_s"])
        self.n_fft = self.kind.n_fft(params, 2 * self.hop)
        self.nb_bands = self.kind.bands(params)
        self.nb_annotation_frames = int(params["max_audio_len_s"] / self.annotation_hop_len_s + 1e-6)
        self.nb_label_frames = self.nb_annotation_frames * params["label_annotation_resolution"]
        self.nb_feature_frames = self.nb_label_frames * params["feature_label_resolution"]
        if self.nb_annotation_frames < 1:
            raise UserError(f"max_audio_len_s={params['max_audio_len_s']} is shorter than a label frame")
        self.max_samples = self.nb_feature_frames * self.hop
        self.chunk = params["label_sequence_length"] * params["feature_label_resolution"] if self.kind.chunked else 0
        self.window = _hann(2 * self.hop)
        self.read_annotation = format_of(params).read
        self.audio_channels, self.nb_feature_channels = self.kind.audio_channels, self.kind.channels
        self.mel_channels = self.kind.mel_channels  # the first feature channels, whose bands are mel bands

    @functools.cached_property
    def extractor(self):
        return self.kind(self)

    @property
    def frequencies(self):
        """Centres of the mel bands, Hz, (F,)."""
        import librosa
        return librosa.mel_frequencies(self.nb_bands + 2, fmin=0, fmax=self.fs / 2)[1:-1]

    def inspect_audio(self, path):
        """Samples of a recording, from its header; the errors of ``read_audio`` that need no sample."""
        return audiofiles.inspect_audio(path, self.fs, self.audio_channels)

    def read_audio(self, path, max_samples=-1):
        """The first ``max_samples`` (-1: all), float32 (samples, M); UserError for a file that is unfit."""
        return audiofiles.read_audio(path, self.fs, self.audio_channels, max_samples)

    def extract(self, audio):
        """Audio (samples, M) of any length → features (samples // hop, C*F), float32, not normalised."""
        n_frames = len(audio) // self.hop
        features = np.empty((n_frames, self.nb_feature_channels, self.nb_bands), np.float32)
        # The samples of a block of frames, from half a window before its first; zeros before the recording's start,
        # so that frame 0 is centred at sample 0. The windows fill the FFT from its start rather than its middle: a
        # delay all channels share, which no feature sees.
        samples = np.zeros((self.audio_channels, (BLOCK + 1) * self.hop), np.float32)
        frames = sliding_window_view(samples, 2 * self.hop, axis=1)[:, :: self.hop]  # (M, BLOCK, 2 hop)
        padded = np.zeros((self.audio_channels, BLOCK, self.n_fft), np.float32)
        for start in range(0, n_frames, BLOCK):
            count = min(BLOCK, n_frames - start)
            known = self.hop if start == 0 else 0
            used = audio[max(start - 1, 0) * self.hop : (start + count) * self.hop].T
            np.add(used, np.float32(self.kind.offset), out=samples[:, known : known + used.shape[1]])
            windowed = padded[:, :count]
            np.multiply(frames[:, :count], self.window, out=windowed[..., : 2 * self.hop])
            if self.chunk:  # the first frame of a chunk begins half a window before it
                windowed[:, -start % self.chunk :: self.chunk, : self.hop] = 0
            spectra = scipy.fft.rfft(windowed, axis=-1)  # (M, B, K) complex64
            power = spectra.real**2
            power += spectra.imag**2
            self.extractor(spectra, power, features[start : start + BLOCK].swapaxes(0, 1))  # (C, B, F)
        if self.kind.log_mels:
            self._to_decibels(features[:, : self.kind.log_mels])
        return features.reshape(n_frames, self.nb_feature_channels * self.nb_bands)  # (T, C*F)

    def turns(self):
        """Turns of the sound field that these features can follow, (K, 3, 3), and their K ChannelMaps."""
        maps = [(turn, self.kind.channel_map(turn)) for turn in vertical_turns()]
        turns, maps = zip(*((turn, one) for turn, one in maps if one is not None))
        return np.stack(turns), maps

    def as_channels(self, features):
        """Features on disk (..., T, C*F) → (..., C, T, F), a view."""
        return features.reshape(*features.shape[:-1], self.nb_feature_channels, -1).swapaxes(-3, -2)

    def fit_length(self, audio):
        """Pad or cut audio to max_audio_len_s: (max_samples, M).

        The published features pad with noise of 1e-8, which keeps the phases of silence from pointing
        anywhere. Ours is drawn from a fixed seed: a recording has one set of features, not one a run.
        """
        missing = self.max_samples - len(audio)
        if missing <= 0:
            return audio[: self.max_samples]
        noise = np.random.default_rng(0).random((missing, audio.shape[1]), np.float32)
        return np.concatenate([audio, np.float32(-self.kind.offset) * noise])  # extract adds it: noise in (0, 1e-8]

    def labels(self, recording, samples=None):
        """A Recording's EVENT_ROWS by annotation frames, up to max_audio_len_s; UserError for a bad annotation.

        ``samples`` of its audio, where these have been read already.
        """
        samples = self.inspect_audio(recording.audio) if samples is None else samples
        n_frames = math.ceil(samples / (self.fs * self.annotation_hop_len_s) - 1e-6)
        rows = self.read_annotation(recording.annotation, n_frames, self.annotation_hop_len_s)
        return rows[rows["frame"] < self.nb_annotation_frames]

    def _to_decibels(self, mels):
        """In place: powers (T, 4, F) → dB, no lower than top_db below their channel's maximum."""
        np.maximum(mels, np.float32(AMIN), out=mels)
        np.log10(mels, out=mels)
        mels *= 10
        if self.top_db > 0 and len(mels):
            np.maximum(mels, mels.max(axis=(0, 2), keepdims=True) - np.float32(self.top_db), out=mels)


def _hann(length):
    """Periodic Hann window, float32."""
    return np.sin(np.pi * np.arange(length) / length).astype(np.float32) ** 2


@dataclass(frozen=True)
class Scaler:
    """Zero mean and unit variance for each column; ``mean`` and ``scale`` are float64 (C*F,)."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def from_sums(cls, count, total, squares):
        """From the number of rows, their sum and their sum of squares (float64); constants get scale 1."""
        mean = total / count
        variance = squares / count - mean**2
        varies = variance > 1e-10 * mean**2  # below is rounding
        return cls(mean, np.sqrt(np.where(varies, variance, 1.0)))

    @classmethod
    def identity(cls, size):
        """Of features that are used as they come."""
        return cls(np.zeros(size), np.ones(size))

    def apply(self, features):
        """Features (..., C*F) → normalised, float32."""
        normalised = features - self.mean.astype(np.float32)
        normalised *= (1 / self.scale).astype(np.float32)
        return normalised

    def invert(self, normalised):
        """Normalised features (..., C*F) → as extracted, float32."""
        return normalised * self.scale.astype(np.float32) + self.mean.astype(np.float32)

    def save(self, path):
        with replacing(path) as temporary:
            np.savez(temporary, mean=self.mean, scale=self.scale)

    @classmethod
    def load(cls, path):
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["mean"], arrays["scale"])


class FeatureFiles:
    """Where each recording's features and labels lie, and what they must have been made from.

    Under feat_label_dir: ``foa_dev/{stem}.npy`` features as extracted, a folder for each of audio, and
    ``foa_dev_label/{stem}.npy`` EVENT_ROWS (of 100 ms); ``foa_dev_norm/{stem}.npy`` normalised features and
    ``foa_dev_scaler.npz``, of each division of the recordings (by mode or fold). Features that are not those of the
    dataset by default have their name after it: ``foa_dev_magphase``.
    """

    def __init__(self, params):
        self.params = params
        self.feature_class = FeatureClass(params)
        self.folder = Path(params["feat_label_dir"])
        self.suffix = "" if self.feature_class.features == params["dataset"] else f"_{self.feature_class.features}"
        self.name = f"{format_of(params).division(params)}{self.suffix}"
        hop_s = self.feature_class.annotation_hop_len_s
        self.label_suffix = "_label" if hop_s == 0.1 else f"_label_{1000 * hop_s:g}ms"
        self.scaler = self.folder / f"{self.name}_scaler.npz"

    def features(self, recording):
        return self.folder / f"{recording.audio.parent.name}{self.suffix}" / f"{recording.stem}.npy"

    def labels(self, recording):
        return self.folder / f"{recording.audio.parent.name}{self.label_suffix}" / f"{recording.stem}.npy"

    def normalised(self, recording):
        return self.folder / f"{self.name}_norm" / f"{recording.stem}.npy"

    def read_scaler(self):
        """The Scaler of the training recordings; the identity for features that are not normalised."""
        made = self.feature_class
        return (Scaler.load(self.scaler) if made.kind.normalised
                else Scaler.identity(made.nb_feature_channels * made.nb_bands))

    def write_scaler(self, path, count, total, squares):
        """From sums over the training recordings' rows."""
        Scaler.from_sums(count, total, squares).save(path)

    def features_made_from(self, recording):
        made = self.feature_class
        note = {"format": FORMAT, "features": made.features, "fs": made.fs, "hop": made.hop,
                "frames": made.nb_feature_frames, "bands": made.nb_bands, "top_db": made.top_db,
                "source": stamp(recording.audio)}
        return note | {"chunk": made.chunk} if made.chunk else note

    def labels_made_from(self, recording):
        made = self.feature_class
        return {"format": FORMAT, "label_hop_len_s": made.annotation_hop_len_s, "frames": made.nb_annotation_frames,
                "source": stamp(recording.annotation), "audio": stamp(recording.audio)}

    def scaler_made_from(self, training):
        """``training``: the original recordings that means and scales are taken of."""
        return {"features": digest([[r.stem, self.features_made_from(r)] for r in training])}

    def normalised_made_from(self, recording, scaler_made_from):
        return {"features": digest(self.features_made_from(recording)), "scaler": digest(scaler_made_from)}


def training_recordings(params):
    """The original (not augmented) recordings of the mode's training splits; UserError if there is none."""
    kind = format_of(params)
    training = kind.select(kind.find(params), "train", params)
    if not training:
        raise UserError(f"{params['dataset_dir']} holds no training recordings for mode={params['mode']}: "
                        "features are normalised by theirs (folds 3-6, or split 'train' in splits.csv)")
    return training


def check_up_to_date(params, recordings, normalised=True):
    """UserError unless features (normalised or as extracted) and labels of all recordings are up to date."""
    files = FeatureFiles(params)
    stale = [r.stem for r in recordings if not is_fresh(files.labels(r), files.labels_made_from(r))
             or not is_fresh(files.features(r), files.features_made_from(r))]
    if normalised and files.feature_class.kind.normalised and not stale:
        scaler = files.scaler_made_from(training_recordings(params))
        if not is_fresh(files.scaler, scaler):
            stale = ["its scaler"]
        stale += [r.stem for r in recordings
                  if not is_fresh(files.normalised(r), files.normalised_made_from(r, scaler))]
    if stale:
        words = ["python3", "batch_feature_extraction.py", params["task_id"], *data_words(params)]
        raise UserError(f"features of {params['dataset_dir']} are missing or out of date "
                        f"(first: {stale[0]}); run: {shlex.join(words)}")


def data_words(params):
    """The key=value words that, after the task id, lead any script to the same recordings and features."""
    try:
        usual = get_params(params["task_id"], dataset_dir=params["dataset_dir"], format=params["format"])
    except UserError:  # of a checkpoint whose configuration is elsewhere by now
        usual = get_params("1", dataset_dir=params["dataset_dir"], format=params["format"])
    usual |= {key: DEFAULTS[key] for key in ("dataset_dir", "format")}
    keys = (*DATA_KEYS, "label_sequence_length") if FeatureClass(params).chunk else DATA_KEYS
    return [f"{key}={params[key]}" for key in keys if params[key] != usual[key]]
