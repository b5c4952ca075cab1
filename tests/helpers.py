"""A tiny dataset in the DCASE layout: plane waves of noise from known directions, in the free field.

Directions are (azimuth, elevation) in degrees; audio is (samples, 4).
"""

from pathlib import Path

import numpy as np
import soundfile

from doatools.data.dcase import write_dcase
from doatools.spatial.geometry import unit_vectors
from doatools.types import EVENT_ROWS

FS = 24000
FRAME = 2400  # samples of a label frame
SPEED_OF_SOUND = 343.0  # m/s
CAPSULES = unit_vectors(*np.array([(45, 35), (-45, -35), (135, -35), (-135, 35)]).T)  # (4, 3), of array mic
RADIUS = 0.042  # m


def foa_wave(signal, azimuth, elevation):
    """A plane wave as W, Y, Z, X (ACN, SN3D)."""
    x, y, z = unit_vectors(azimuth, elevation)
    return np.outer(signal, [1, y, z, x])


def mic_wave(signal, azimuth, elevation):
    """A plane wave at four capsules in the free field: pure delays, also of fractions of a sample."""
    lead = CAPSULES @ unit_vectors(azimuth, elevation) * RADIUS / SPEED_OF_SOUND  # s before the centre
    phases = np.exp(2j * np.pi * np.fft.rfftfreq(len(signal), 1 / FS)[:, None] * lead)
    return np.fft.irfft(np.fft.rfft(signal)[:, None] * phases, len(signal), axis=0)


WAVES = {"foa": foa_wave, "mic": mic_wave}


def make_rows(*events):
    """(first frame, last frame, track, azimuth, elevation), ... → EVENT_ROWS of class 0."""
    rows = [(frame, number, 0, track, azimuth, elevation, np.nan)
            for number, (first, last, track, azimuth, elevation) in enumerate(events)
            for frame in range(first, last + 1)]
    return np.array(sorted(rows), EVENT_ROWS)


def make_dataset(folder, recordings_per_fold=1, seconds=6.0, folds=range(1, 7), formats=("foa", "mic"),
                 overlap=1):
    """Write a dataset of 16-bit WAVs and their CSVs → its folder. All in room 1, each event static.

    ``seconds`` is the length of all recordings, or {fold: length}. ``overlap`` sources (1 or 2) sound from 0.5 s after
    the start to 0.5 s before the end, the second one from 1 s later; each channel has a little noise of its own.
    """
    folder, rng = Path(folder), np.random.default_rng(0)
    for fold in folds:
        length = seconds[fold] if isinstance(seconds, dict) else seconds
        for number in range(1, recordings_per_fold + 1):
            stem = f"fold{fold}_room1_mix{number:03d}_ov{overlap}"
            events = [(5 + 10 * track, round(length * 10) - 6, track, int(rng.integers(-180, 180)),
                       int(rng.integers(-45, 46))) for track in range(overlap)]
            rows = make_rows(*events)
            write_dcase(folder / "metadata_dev" / f"{stem}.csv", rows)
            signals = [_burst(rng, length, first, last) for first, last, *_ in events]
            for name in formats:
                audio = sum(WAVES[name](signal, *event[3:]) for signal, event in zip(signals, events))
                audio += 1e-3 * rng.standard_normal(audio.shape)
                (folder / f"{name}_dev").mkdir(exist_ok=True)
                soundfile.write(folder / f"{name}_dev" / f"{stem}.wav", audio, FS, subtype="PCM_16")
    return folder


def _burst(rng, seconds, first, last):
    """Noise in the label frames first … last."""
    signal = np.zeros(round(seconds * FS))
    span = slice(first * FRAME, (last + 1) * FRAME)
    signal[span] = 0.05 * rng.standard_normal(len(signal[span]))
    return signal
