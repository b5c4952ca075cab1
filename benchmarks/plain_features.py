"""Plain reference extraction: features, labels and normalisation by their definitions, whole recordings at once.

Vectorised float32 numpy, one line per step of the definition (see cls_feature_class); tests compare its results with
those of the toolkit. T frames of 20 ms, C channels, F = 64 bands, K = 513 bins.
"""

import itertools

import librosa
import numpy as np
import scipy.fft
import soundfile
from numpy.lib.stride_tricks import sliding_window_view

FS, HOP, N_FFT, BANDS = 24000, 480, 1024, 64
WINDOW = (np.sin(np.pi * np.arange(2 * HOP) / (2 * HOP)) ** 2).astype(np.float32)
SLOTS = 2


def spectra(audio):
    """Audio (samples, 4) → (4, T, K) complex64, frame t centred at sample t·HOP, without the mean of its window."""
    before = np.tile(WINDOW[HOP:] @ audio[:HOP] / WINDOW[HOP:].sum(), (HOP, 1))  # an offset was there before the start
    padded = np.concatenate([before, audio, np.zeros_like(audio[:HOP])]).T
    frames = sliding_window_view(padded, 2 * HOP, axis=1)[:, :: HOP][:, : len(audio) // HOP]
    means = frames @ (WINDOW / WINDOW.sum())
    found = scipy.fft.rfft((frames - means[..., None] + np.float32(1e-8)) * WINDOW, N_FFT)
    found[..., 0] = 0
    return found


def read_and_transform(path):
    """The first steps of any features: read the WAV, take its FFTs."""
    return spectra(soundfile.read(path, dtype="float32")[0])


def plain_features(audio, array, top_db=80):
    """Audio (samples, 4) → (T, C·F) float32."""
    found = spectra(audio)
    mel = librosa.filters.mel(sr=FS, n_fft=N_FFT, n_mels=BANDS).T  # (K, F)
    log_mels = 10 * np.log10(np.maximum(np.abs(found) ** 2 @ mel, np.float32(1e-10)))  # (4, T, F)
    if top_db:
        log_mels = np.maximum(log_mels, log_mels.max((1, 2), keepdims=True) - np.float32(top_db))
    others = intensity(found) @ mel if array == "foa" else gcc_phat(found)
    return np.concatenate([log_mels, others]).swapaxes(0, 1).reshape(found.shape[1], -1)


def intensity(found):
    """Re(conj(W) [Y, Z, X]) over the energy, (3, T, K)."""
    power = np.abs(found) ** 2
    return (found[0].conj() * found[1:]).real / (np.float32(1e-8) + power[0] + power[1:].sum(0) / 3)


def gcc_phat(found):
    """Cross-correlations of the phases of six pairs at the lags -32 … 31, (6, T, F)."""
    phase = found / np.maximum(np.abs(found), np.finfo(np.float32).tiny)
    pairs = [phase[m].conj() * phase[n] for m, n in itertools.combinations(range(4), 2)]
    return np.roll(scipy.fft.irfft(np.stack(pairs)), BANDS // 2, -1)[..., :BANDS]


def plain_labels(path, frames):
    """A DCASE CSV → (frames, 4·SLOTS): x, y, z and activity of each slot; the track number is the slot."""
    frame, _, track, azimuth, elevation = np.loadtxt(path, delimiter=",", dtype=int).T
    azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    labels = np.zeros((frames, 4, SLOTS), np.float32)
    labels[frame, :3, track] = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
                                         np.sin(elevation)], -1)
    labels[frame, 3, track] = 1
    return labels.reshape(frames, -1)


def plain_extraction(folder, array, out):
    """Write features, labels and normalised features of all recordings of a folder, and the scaler."""
    made = {}
    for wav in sorted((folder / f"{array}_dev").glob("*.wav")):
        made[wav.stem] = plain_features(soundfile.read(wav, dtype="float32")[0], array)
        np.save(out / f"{wav.stem}.npy", made[wav.stem])
        annotation = folder / "metadata_dev" / f"{wav.stem}.csv"
        np.save(out / f"{wav.stem}_label.npy", plain_labels(annotation, len(made[wav.stem]) // 5))
    rows = np.concatenate(list(made.values()))
    mean, scale = rows.mean(0, np.float64), rows.std(0, np.float64)
    np.savez(out / "scaler.npz", mean=mean, scale=scale)
    for stem, features in made.items():
        np.save(out / f"{stem}_norm.npy", ((features - mean) / scale).astype(np.float32))
