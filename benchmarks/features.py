"""Features, labels and normalisation of recordings of a minute, from WAV to disk, by one thread of one process.

The side "read + FFT" only reads the WAV and takes its FFTs, the first steps of any features.
"""

import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.measure import median_seconds
from benchmarks.plain_features import plain_extraction, read_and_transform
from benchmarks.recordings import make_recordings
from cls_feature_class import FeatureFiles
from doatools.data.extraction import make_features


def measure(side, array, count=4, seconds=60.0, turns=3):
    """Seconds per recording."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_recordings(Path(folder), count, seconds, array)
        taken = median_seconds(worker(side, config), turns, clock=time.process_time)
    return taken | {"seconds": taken["seconds"] / count}


def worker(side, config):
    """What is to be timed: all recordings, extracted afresh at each call."""
    folder, array = Path(config.data.dataset_dir), config.array.name
    fresh = (f"made{number}" for number in itertools.count())
    if side == "ours":
        return lambda: extract(config, next(fresh), jobs=1)
    if side == "plain":
        def plain():
            out = folder / next(fresh)
            out.mkdir()
            plain_extraction(folder, array, out)
        return plain
    wavs = sorted((folder / f"{array}_dev").glob("*.wav"))
    return lambda: [read_and_transform(wav) for wav in wavs]


def extract(config, name, jobs):
    """What batch_feature_extraction.py does, into a folder of this name → the Config for it."""
    config = config.replaced(feat_label_dir=f"{config.data.dataset_dir}/{name}")
    files = FeatureFiles(config)
    make_features(files, files.reader.find(), jobs)
    return config
