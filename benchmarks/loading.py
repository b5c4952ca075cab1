"""Assembling a batch of 64 sequences of 5 s from normalised features on disk (in the page cache), shuffled."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.features import extract
from benchmarks.measure import median_seconds
from benchmarks.plain_features import plain_extraction
from benchmarks.recordings import make_recordings
from cls_data_generator import EpochSampler, SequenceDataset, make_loader
from doatools.train.loop import make_fabric

LENGTH, RATIO, SLOTS = 50, 5, 2  # label frames of a sequence, feature frames of a label frame


def measure(side, count=16, seconds=60.0, turns=12):
    with tempfile.TemporaryDirectory() as folder:
        config = make_recordings(Path(folder), count, seconds)
        make_fabric(config.device)  # which asks for freed memory to be kept
        batches = endless(*(plain_loader if side == "plain" else our_loader)(config))
        return median_seconds(lambda: next(batches), turns, warm_up=3, clock=time.process_time)


def our_loader(config):
    loader = make_loader(SequenceDataset(extract(config, "features", jobs=1), "train"), config, train=True)
    return loader, loader.batch_sampler


def plain_loader(config):
    folder, array = Path(config.data.dataset_dir), config.array.name
    out = folder / "plain"
    out.mkdir()
    plain_extraction(folder, array, out)
    stems = sorted(path.stem for path in (folder / f"{array}_dev").glob("*.wav"))
    sequences = len(np.load(out / f"{stems[0]}_label.npy")) // LENGTH  # of each recording; all are of one length
    sampler = EpochSampler(len(stems) * sequences, config.batches.batch_size, True, config.run.seed)

    class Loader:
        def __iter__(self):
            return (plain_batch(out, stems, sequences, batch) for batch in sampler)
    return Loader(), sampler


def plain_batch(folder, stems, sequences, indices):
    """Features (B, C, T', F), directions (B, T, N, 3) and activities (B, T, N), one sequence after the other."""
    features, labels = [], []
    for index in indices:
        stem, first = stems[index // sequences], index % sequences * LENGTH
        rows = np.load(folder / f"{stem}_norm.npy", mmap_mode="r")
        features.append(rows[first * RATIO : (first + LENGTH) * RATIO].reshape(LENGTH * RATIO, -1, 64))
        labels.append(np.load(folder / f"{stem}_label.npy")[first : first + LENGTH].reshape(LENGTH, 4, SLOTS))
    features, labels = torch.from_numpy(np.stack(features)), torch.from_numpy(np.stack(labels))
    return {"features": features.transpose(1, 2), "doa": labels[:, :, :3].transpose(2, 3), "activity": labels[:, :, 3]}


def endless(loader, sampler):
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        yield from loader
        epoch += 1
