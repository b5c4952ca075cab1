"""From the WAV of a minute to tracks, by one thread, without start-up.

The plain side reads the file, takes plain features, runs PlainDOAnet on the same windows of 5 s, one every 2.5 s, and
lists the slots above the threshold; it neither joins windows nor links slots over time.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.measure import median_seconds
from benchmarks.plain import PlainDOAnet
from benchmarks.plain_features import plain_features
from benchmarks.recordings import make_recordings
from doatools.track.windows import Windows
from doatools.types import Scaler
from inference import track_file
from localizer import Localizer

FRAMES = 5  # feature frames of a label frame
SCALER = Scaler(np.repeat([-40.0] * 4 + [0.0] * 3, 64), np.repeat([10.0] * 4 + [0.3] * 3, 64))


def measure(side, seconds=60.0):
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        config = make_recordings(Path(folder), 1, seconds)
        (wav,) = Path(folder).glob("foa_dev/*.wav")
        if side == "plain":
            model = PlainDOAnet().eval()
            return median_seconds(lambda: listed(*plain_chain(model, wav)), turns=3, clock=time.process_time)
        localizer = Localizer(config, SCALER).for_inference()
        return median_seconds(lambda: track_file(localizer, wav), turns=5, clock=time.process_time)


def plain_chain(model, wav, length=50, hop_s=0.1, top_db=80):
    """Directions (W, T, N, 3) and probabilities (W, T, N) of W windows of T label frames."""
    audio, _ = soundfile.read(wav, dtype="float32")
    features = plain_features(audio, "foa", top_db)
    scaled = ((features - SCALER.mean) / SCALER.scale).astype(np.float32)
    starts = range(0, len(scaled) // FRAMES - length + 1, Windows(length, hop_s).hop)
    found = []
    with torch.no_grad():
        for start in starts:
            rows = torch.from_numpy(scaled[start * FRAMES : (start + length) * FRAMES]).unflatten(1, (7, 64))
            found.append(model(rows.transpose(0, 1).unsqueeze(0)))
    return (torch.cat([one.doa for one in found]).numpy(),
            torch.cat([torch.sigmoid(one.activity_logits) for one in found]).numpy())


def listed(doa, probability):
    """Window, frame, slot, azimuth and elevation (degrees) of the slots that are active."""
    places = np.nonzero(probability > 0.5)
    x, y, z = doa[places].T
    return np.stack([*places, np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(np.clip(z, -1, 1)))], 1)
