"""Recordings to measure with: noise of constant level with two annotated sources, in folders of the DCASE layout."""

import numpy as np
import soundfile

from doanet_parameters import get_params
from doatools.data.dcase import write_dcase
from doatools.types import EVENT_ROWS

FS, FRAME_S = 24000, 0.1


def make_recordings(folder, count, seconds=60.0, array="foa"):
    """Write ``count`` recordings of the training folds → the Config of task 1 on them."""
    rng = np.random.default_rng(0)
    audio = rng.integers(-8000, 8000, (round(seconds * FS), 4), np.int16)
    rows = make_rows(round(seconds / FRAME_S), rng)
    (folder / f"{array}_dev").mkdir(parents=True)
    for number in range(count):
        stem = f"fold{3 + number % 4}_room1_mix{number + 1:03d}_ov2"
        soundfile.write(folder / f"{array}_dev" / f"{stem}.wav", np.roll(audio, 997 * number, 0), FS)
        write_dcase(folder / "metadata_dev" / f"{stem}.csv", rows)
    return get_params("1", array=array, dataset_dir=str(folder), device="cpu", quick_test=False)


def make_rows(frames, rng):
    """EVENT_ROWS of two moving sources, each silent in one frame out of ten."""
    frame, track = np.divmod(np.arange(2 * frames), 2)
    rows = np.zeros(2 * frames, EVENT_ROWS)
    rows["frame"], rows["track"], rows["event"] = frame, track, track
    rows["azimuth"], rows["elevation"] = (frame + 90 * track) % 360 - 180, rng.integers(-45, 46, 2)[track]
    return rows[(frame + 5 * track) % 10 > 0]
