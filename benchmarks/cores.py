"""Extraction by one process and by two: how much the second core gives, once its process has started."""

import itertools
import tempfile
from pathlib import Path

from benchmarks.features import extract
from benchmarks.measure import median_seconds
from benchmarks.recordings import make_recordings


def measure(side, count=32, seconds=60.0):
    """``side``: '1 process' or '2 processes'."""
    names = (f"made{number}" for number in itertools.count())
    with tempfile.TemporaryDirectory() as folder:
        params = make_recordings(Path(folder), count, seconds)
        return median_seconds(lambda: extract(params, next(names), int(side.split()[0])), turns=3)
