"""Features, labels and normalisation of recordings of a minute, from WAV to disk, by one thread of one process.

The side "read + FFT" does what any features begin with, and no more.
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
from doatools.data.readers import format_of


def measure(side, dataset, count=4, seconds=60.0, turns=3):
    """Seconds a recording."""
    with tempfile.TemporaryDirectory() as folder:
        params = make_recordings(Path(folder), count, seconds, dataset)
        taken = median_seconds(worker(side, params, dataset), turns, clock=time.process_time)
    return taken | {"seconds": taken["seconds"] / count}


def worker(side, params, dataset):
    """What is to be timed: all recordings, anew at each call."""
    folder, fresh = Path(params["dataset_dir"]), (f"made{number}" for number in itertools.count())
    if side == "ours":
        return lambda: extract(params, next(fresh), jobs=1)
    if side == "plain":
        def plain():
            out = folder / next(fresh)
            out.mkdir()
            plain_extraction(folder, dataset, out)
        return plain
    wavs = sorted((folder / f"{dataset}_dev").glob("*.wav"))
    return lambda: [read_and_transform(wav) for wav in wavs]


def extract(params, name, jobs):
    """All that batch_feature_extraction.py does, into a folder of this name."""
    params = params | {"feat_label_dir": f"{params['dataset_dir']}/{name}"}
    make_features(FeatureFiles(params), format_of(params).find(params), jobs)
    return params
