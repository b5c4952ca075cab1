"""Features and labels on disk → batches.

A sequence is label_sequence_length consecutive label frames of one recording. Sequences do not overlap; the last one of
a recording is padded with zero features and inactive labels. Recordings can have different lengths: each has its own
number of sequences, in the order of the recordings. B sequences in a batch, L label frames, T = L·ratio feature frames,
C channels, F bands, N slots.

The order of samples follows from (seed, epoch) alone, for any number of workers and processes.
"""

import hashlib
import math

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cls_feature_class import FeatureFiles, check_up_to_date
from doatools.data.extraction import REMEDY, read_labels
from doatools.data.readers import recordings_for
from doatools.data.slots import assign_slots, classes_and_distances, count_overlap, refuse_overflow
from doatools.errors import UserError
from doatools.npy import inspect_npy, read_npy
from doatools.track.identities import numbers_of
from doatools.track.slots import settled
from doatools.train.processes import begin_loading
from doatools.types import Predictions, Result


class SequenceDataset(Dataset):
    """The sequences of a role ('train', 'val', 'test').

    Parameters
    ----------
    config : Config
    role : str
    scaler : Scaler or None
        Normalise by this one (of a checkpoint) instead of that of the training recordings.

    Attributes
    ----------
    recordings : list of Recording
    arrays : list of Array, one for each recording
    scaler : Scaler that normalises the features
    held : int, label frames per frame of scores
    frame_s : float, length of a frame of scores

    Raises
    ------
    UserError
        No recording has the role; features are missing or out of date; there are more than max_sources sources at once
        with overflow='error'.
    """

    def __init__(self, config, role, scaler=None):
        self.recordings = recordings_for(config, role)
        check_up_to_date(config, self.recordings, normalised=scaler is None)
        files = FeatureFiles(config)
        made = files.feature_class
        self.scaler = files.read_scaler() if scaler is None else scaler
        self._scale_on_reading = scaler is not None and made.kind.normalised
        place = files.normalised if scaler is None and made.kind.normalised else files.features
        self._paths = [str(place(recording)) for recording in self.recordings]
        self._dtype = made.kind.dtype
        self._shape = (made.nb_feature_channels, made.nb_bands)
        self._ratio, self._length = made.ratio, config.batches.label_sequence_length
        self.held, self.frame_s = config.labels_per_score, config.score_hop_s
        self._duplicate_deg = config.tracker.duplicate_deg
        self.arrays = [files.array_of(recording) for recording in self.recordings]
        self._headers, self._frames = zip(*(self._header(path) for path in self._paths))  # label frames of each
        counts = [-(-frames // self._length) for frames in self._frames]
        self._first = np.concatenate([[0], np.cumsum(counts)])  # sequence that each recording begins with
        self._rows = [read_labels(files.labels(recording)) for recording in self.recordings]
        self._doa, self._activity = self._targets(config.data, counts)

    def __len__(self):
        return int(self._first[-1])

    def __getitem__(self, index):
        """features (C, T, F), doa (L, N, 3), activity (L, N): float32; index: int."""
        batch = self.__getitems__([index])
        return {name: values[0] for name, values in batch.items()} | {"index": int(index)}

    def __getitems__(self, indices):
        """A batch: features (B, C, T, F), doa (B, L, N, 3), activity (B, L, N); and index (B,), a numpy array, which
        stays on the host."""
        return self.as_batch(*self.stored(indices), indices)

    def stored(self, indices):
        """Features as on disk (B, T, C*F), doa and activity of sequences."""
        n_channels, n_bands = self._shape
        rows = np.empty((len(indices), self._length * self._ratio, n_channels * n_bands), self._dtype)
        for row, index in zip(rows, indices):
            self._read(index, row)
        return torch.from_numpy(rows), *self.targets(indices)

    def targets(self, indices):
        """Directions (B, L, N, 3) and activities (B, L, N) of sequences."""
        index = torch.as_tensor(indices)
        return self._doa[index], self._activity[index]

    def as_batch(self, rows, doa, activity, indices):
        """The return values of ``stored``, on any device → a batch."""
        features = rows.float().unflatten(-1, self._shape)  # (B, T, C, F)
        return {"features": features.transpose(1, 2), "doa": doa, "activity": activity, "index": np.asarray(indices)}

    @property
    def nbytes(self):
        """Bytes of the features of all sequences."""
        return len(self) * self._length * self._ratio * math.prod(self._shape) * np.dtype(self._dtype).itemsize

    @property
    def digest(self):
        """A hash of the recordings' names and labels."""
        summed = hashlib.sha256()
        for recording, rows in zip(self.recordings, self._rows):
            summed.update(recording.stem.encode() + rows.tobytes())
        return summed.hexdigest()[:32]

    def sequences_of(self, recording):
        """Indices of the sequences of a recording (an index of ``recordings``)."""
        return range(self._first[recording], self._first[recording + 1])

    def whole_sequences(self, recording):
        """How many sequences of a recording (an index of ``recordings``) hold no padding."""
        return self._frames[recording] // self._length

    def locate(self, index):
        """A sequence → (index of its recording, its first label frame, how many of its frames are not padding)."""
        recording = int(np.searchsorted(self._first, index, side="right")) - 1
        first = (int(index) - int(self._first[recording])) * self._length
        return recording, first, min(self._length, self._frames[recording] - first)

    def describe(self, indices):
        """Sequences → descriptions such as 'fold1_room1_mix001_ov1 frames 50-99'; indices from len(self) on are
        mixtures."""
        own = [int(index) for index in indices if index < len(self)]
        mixtures = ["mixtures made while training (mix_augment)"] if len(own) < len(indices) else []
        return [f"{self.recordings[recording].stem} frames {first}-{first + valid - 1}"
                for recording, first, valid in map(self.locate, own)] + mixtures

    def references(self, recording):
        """All references of a recording, including those beyond max_sources, at T frames of scores.

        Returns doa (T, M, 3), zeros where inactive, and event (T, M), -1 where inactive; M is the most sources at once,
        at least 1.
        """
        rows = self._rows[recording]
        return assign_slots(rows, self._frames[recording] // self.held, max(1, count_overlap(rows)))

    def features(self, recording):
        """Features of a whole recording as the network sees them, (T_feature, C*F)."""
        features = read_npy(self._paths[recording], REMEDY)
        return self.scaler.apply(features) if self._scale_on_reading else features

    def results(self, sequences, pooled=True):
        """Predicted Sequences, joined to recordings and ``settled``, at the frames of scores → list of Result.

        Predictions of the label frames within a frame of scores are averaged, unless ``pooled`` is False.
        """
        held = self.held if pooled else 1
        pieces = {}
        for position, index in enumerate(sequences.index):
            recording, first, valid = self.locate(int(index))
            pieces.setdefault(recording, []).append((first, valid, position))
        results = []
        for recording, parts in sorted(pieces.items()):
            parts.sort()
            predictions = Predictions.join(
                sequences.predictions.sequence(p).frames(slice(valid)) for _, valid, p in parts)
            predictions = settled(predictions, self.arrays[recording], self._duplicate_deg, held)
            frames = np.concatenate([np.arange(first, first + valid, held) for first, valid, _ in parts]) // self.held
            ref_doa, event = self.references(recording)
            ref_id = numbers_of(self._rows[recording], event)
            known_of_refs = classes_and_distances(self._rows[recording], event)
            known = self.recordings[recording]
            results.append(Result(known.stem, predictions, ref_doa[frames], ref_id[frames], room=known.room,
                                  overlap=known.overlap, **{name: None if values is None else values[frames]
                                                            for name, values in known_of_refs.items()}))
        return results

    def _header(self, path):
        """Of a feature file: the offset of its data in bytes, and its number of label frames."""
        shape, offset = inspect_npy(path, REMEDY, self._dtype, math.prod(self._shape))
        return offset, shape[0] // self._ratio

    def _read(self, index, out):
        """Read the features of a sequence into ``out`` (T, C*F).

        Plain reads are as fast as memory maps, and no file stays open, however many recordings there are.
        """
        recording, first, valid = self.locate(index)
        rows = out[: valid * self._ratio]
        with open(self._paths[recording], "rb", buffering=0) as file:
            file.seek(self._headers[recording] + first * self._ratio * out.itemsize * out.shape[1])
            if file.readinto(rows) != rows.nbytes:
                raise UserError(f"{self._paths[recording]} is truncated; delete it and extract features again")
        if self._scale_on_reading:
            rows[:] = self.scaler.apply(rows)
        out[valid * self._ratio :] = 0

    def _targets(self, data, counts):
        """Directions (len, L, N, 3) and activities (len, L, N) of all sequences; ``counts`` of each recording."""
        if data.overflow == "error":
            overlaps = {r.annotation: count_overlap(rows) for r, rows in zip(self.recordings, self._rows)}
            refuse_overflow(overlaps, data.max_sources)
        doa, active = [], []
        for rows, count in zip(self._rows, counts):
            padded = count * self._length // self.held  # frames of scores
            own, event = assign_slots(rows, padded, data.max_sources, data.label_slots, data.overflow)
            # (T / held, N, 3) → (count, L, N, 3)
            doa.append(own.repeat(self.held, axis=0).reshape(count, self._length, data.max_sources, 3))
            active.append((event >= 0).repeat(self.held, axis=0).reshape(count, self._length, data.max_sources))
        return torch.from_numpy(np.concatenate(doa)), torch.from_numpy(np.concatenate(active)).float()


class EpochSampler:
    """Batches of indices for one of ``world`` processes, the same samples in the same order for any number.

    Batches of ``batch_size`` are split evenly over the processes. The last, smaller batch is kept; if it is smaller
    than ``world``, it is joined to the batch before, so that each process has a sample.
    """

    def __init__(self, size, batch_size, shuffle, seed, rank=0, world=1, max_batches=None):
        if min(size, batch_size) < world:
            raise UserError(f"{world} processes share batches of {batch_size} out of {size} sequences: each "
                            "needs at least one; use fewer processes or a larger batch_size")
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.rank, self.world = rank, world
        self.epoch = 0
        starts = list(range(0, size, batch_size))
        if size - starts[-1] < world:
            starts.pop()
        self.bounds = list(zip(starts, [*starts[1:], size]))[:max_batches]

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.bounds)

    def __iter__(self):
        order = np.arange(self.size)
        if self.shuffle:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        for start, stop in self.bounds:
            yield np.array_split(order[start:stop], self.world)[self.rank].tolist()


def make_loader(dataset, config, train, rank=0, world=1, max_batches=None):
    """A DataLoader over a SequenceDataset; shuffled if ``train``; ``loader.batch_sampler.set_epoch(epoch)``.

    Parameters
    ----------
    rank, world : int
        Number of this process, and of processes that share each batch.
    max_batches : int or None
        Batches of an epoch (for a quick test).
    """
    sampler = EpochSampler(len(dataset), config.batches.batch_size, train, config.run.seed,
                           rank, world, max_batches)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=_as_it_is, num_workers=config.batches.num_workers,
                      persistent_workers=config.batches.num_workers > 0, worker_init_fn=begin_loading,
                      pin_memory=torch.cuda.is_available() and config.device.device in ("auto", "cuda"),
                      generator=torch.Generator())  # its own, so that iterating does not change the global one


def _as_it_is(batch):
    return batch
