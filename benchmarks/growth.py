"""How time and memory grow with the amount of data: 1, 2, 4 and 8 times as much, and 10 or 100 recordings."""

import tempfile
import time
from pathlib import Path

from benchmarks import frame_scores, training_step
from benchmarks.features import extract
from benchmarks.measure import median_seconds, peak_mib
from benchmarks.recordings import make_recordings
from cls_data_generator import SequenceDataset, make_loader
from doatools.train.loop import make_fabric, make_optimizer, make_schedule, train_epoch
from doatools.train.losses import build_criterion
from localizer import build_model


def measure(side, what):
    """``side``: how many times as much data ('8'), or how many recordings ('100')."""
    return MEASURES[what](int(side))


def extraction(times, recordings=2, seconds=60.0):
    """Of more recordings."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_recordings(Path(folder), recordings * times, seconds)
        return median_seconds(lambda: extract(config, "features", 1), 1, warm_up=0, clock=time.process_time)


def duration(times, seconds=30.0):
    """Features of one longer recording."""
    return extraction(1, recordings=1, seconds=seconds * times)


def memory_of_extraction(recordings):
    return extraction(1, recordings, seconds=10.0)


def memory_of_training(recordings, seconds=30.0):
    """An epoch of task 1's network in batches of 16 sequences, from that many recordings."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_recordings(Path(folder), recordings, seconds).replaced(batch_size=16)
        loader = make_loader(SequenceDataset(extract(config, "features", 1), "train"), config, train=True)
        fabric = make_fabric(config.device)
        model = build_model(config)
        model, optimizer = fabric.setup(model, make_optimizer(model, config.training))
        started = time.perf_counter()
        train_epoch(fabric, model, build_criterion(config), optimizer,
                    make_schedule(optimizer, config.training, 1, len(loader)), loader)
        return {"seconds": time.perf_counter() - started, "peak_mib": peak_mib()}


MEASURES = {
    "extraction": extraction,
    "duration": duration,
    "scores": lambda times: frame_scores.measure("ours", recordings=100 * times),
    "step": lambda times: training_step.measure("auto", batch=8 * times),
    "memory of extraction": memory_of_extraction,
    "memory of training": memory_of_training,
}
