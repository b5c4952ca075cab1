"""Simulated recordings of a minute, FOA and MIC of the same scene, from the sounds to the files, by one process.

``perfect`` has the usual rooms and sensors, ``realistic`` is simulate_dataset.py --realistic; both have up to two
sources at once, ``three sources`` has up to three, and ``one array`` is realistic with the capsules of arrays/mic.yaml
alone.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import simulate_dataset
from benchmarks.measure import median_seconds
from doanet_parameters import get_params
from doatools.simulate.realism import REALISTIC
from doatools.simulate.sounds import GeneratedSounds
from doatools.simulate.writers import Dcase2020
from doatools.spatial.arrays import find_array


def measure(side, count=6, seconds=60.0, turns=1):
    """CPU seconds per recording of ``seconds``."""
    with tempfile.TemporaryDirectory() as folder:
        writer, root = writer_of(side, seconds), Path(folder)
        for path in writer.paths(root, (1, 0)):
            path.parent.mkdir()
        keys = writer.entries()[:: len(writer.entries()) // count][:count]  # of different folds and rooms

        def work():
            for key in keys:
                simulate_dataset.simulate_recording(writer, root, key)

        simulate_dataset.simulate_recording(writer_of(side, 3.0), root, keys[0])  # compiles what is compiled
        taken = median_seconds(work, turns, warm_up=0, clock=time.process_time)
    return taken | {"seconds": taken["seconds"] / count}


def writer_of(side, seconds):
    settings = {} if side == "perfect" else REALISTIC
    config = get_params(**settings, sim_recording_len_s=seconds, max_sources=3 if side == "three sources" else 2)
    writer = Dcase2020(config, GeneratedSounds(config.run.seed, config.features.fs))
    if side == "one array":
        writer.arrays = (dataclasses.replace(find_array("mic"), name="capsules"),)
        writer.folders = {"capsules_dev": ".wav", "metadata_dev": ".csv"}
    return writer
