"""A tiny dataset in the layout of TUT Sound Events 2018: plane waves of noise, static, in the free field."""

from pathlib import Path

import numpy as np
import soundfile
from helpers import foa_wave

from doatools.data.tut import folders, write_tut

FS = 44100


def make_tut(folder, seconds=1.5, overlaps=(1, 2), fs=FS, seed=1):
    """A train_ and a test_ recording for each number of sources and split → ``folder``.

    In a recording of o sources, source k sounds from 0.1·k s to 0.2·k s before the end, at azimuths and elevations
    of whole tens of degrees.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    for overlap in overlaps:
        for split in (1, 2, 3):
            audio_dir, csv_dir = (folder / name for name in folders(overlap, split))
            audio_dir.mkdir(parents=True)
            for part in ("train", "test"):
                events = [(f"noise{k}.wav", 0.1 * k, seconds - 0.2 * k, 10.0 * rng.integers(-18, 18),
                           10.0 * rng.integers(-6, 7), 1.0) for k in range(overlap)]
                write_tut(csv_dir / f"{part}_0_desc_30_100.csv", events)
                audio = 1e-3 * rng.standard_normal((round(seconds * fs), 4))
                for _, start, end, azimuth, elevation, _ in events:
                    span = slice(round(start * fs), round(end * fs))
                    noise = 0.1 * rng.standard_normal(span.stop - span.start)
                    audio[span] += foa_wave(noise, azimuth, elevation)
                soundfile.write(audio_dir / f"{part}_0_desc_30_100.wav", audio, fs, subtype="PCM_16")
    return folder
