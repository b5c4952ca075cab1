"""Extraction by one process and by two: the gain from a second core, once its process has started."""

import shutil
import tempfile
from pathlib import Path

from benchmarks.features import extract
from benchmarks.measure import median_seconds
from benchmarks.recordings import make_recordings


def measure(side, count=32, seconds=60.0):
    """``side``: '1 process' or '2 processes'."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_recordings(Path(folder), count, seconds)
        # Files are removed before each turn: otherwise both would soon wait for the disk.
        return median_seconds(lambda: extract(config, "made", int(side.split()[0])), turns=5, warm_up=3,
                              before=lambda: shutil.rmtree(f"{folder}/made", ignore_errors=True))
