"""Features and labels on disk → batches.

A sequence is label_sequence_length consecutive label frames of one recording; sequences do not overlap, and
a recording's last one is padded with zero features and inactive labels. B sequences a batch, L label frames,
T = L * feature_label_resolution feature frames, C channels, F bands, N slots. Item ``index`` of a data set is
sequence ``index % S`` of recording ``index // S``, with S sequences a recording.

The order of samples follows from (seed, epoch) alone, whatever the number of workers or processes.
"""

import hashlib
import math

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cls_feature_class import FeatureFiles, check_up_to_date
from doatools.data.annotations import assign_slots, count_overlap, refuse_overflow
from doatools.data.readers import recordings_for
from doatools.errors import UserError


class SequenceDataset(Dataset):
    """The sequences of a role ('train', 'val', 'test').

    Parameters
    ----------
    params : dict of get_params
    role : str
    scaler : Scaler or None
        Normalise by this one (a checkpoint's) instead of the training splits' own.

    Attributes
    ----------
    recordings : list of Recording
    scaler : Scaler that normalises the features
    held : int, label frames an annotation frame

    Raises
    ------
    UserError
        No recordings play the role; features are missing or out of date; more than max_sources sources at
        once with overflow='error'.
    """

    def __init__(self, params, role, scaler=None):
        self.recordings = recordings_for(params, role)
        check_up_to_date(params, self.recordings, normalised=scaler is None)
        files = FeatureFiles(params)
        made = files.feature_class
        self.scaler = files.read_scaler() if scaler is None else scaler
        self._scale_on_reading = scaler is not None and made.kind.normalised
        place = files.normalised if scaler is None and made.kind.normalised else files.features
        self._paths = [str(place(recording)) for recording in self.recordings]
        self._header = np.load(self._paths[0], mmap_mode="r").offset  # the same for files of one shape
        self._dtype = made.kind.dtype
        self._shape = (made.nb_feature_channels, made.nb_bands)
        self._n_frames = made.nb_label_frames
        self.held = params["label_annotation_resolution"]
        self._ratio = params["feature_label_resolution"]
        self._length = params["label_sequence_length"]
        self._sequences = -(-self._n_frames // self._length)  # S
        self._rows = [np.load(files.labels(recording)) for recording in self.recordings]
        self._doa, self._activity = self._targets(params)

    def __len__(self):
        return len(self.recordings) * self._sequences

    def __getitem__(self, index):
        """features (C, T, F), doa (L, N, 3), activity (L, N): float32; index: int."""
        batch = self.__getitems__([index])
        return {name: values[0] for name, values in batch.items()} | {"index": int(index)}

    def __getitems__(self, indices):
        """A whole batch: features (B, C, T, F), doa (B, L, N, 3), activity (B, L, N), and index (B,), of numpy, which
        stays on the host wherever a batch goes."""
        return self.as_batch(*self.stored(indices), indices)

    def stored(self, indices):
        """Features as they lie on disk (B, T, C*F), doa and activity of sequences."""
        n_channels, n_bands = self._shape
        rows = np.empty((len(indices), self._length * self._ratio, n_channels * n_bands), self._dtype)
        for row, index in zip(rows, indices):
            self._read(index, row)
        index = torch.as_tensor(indices)
        return torch.from_numpy(rows), self._doa[index], self._activity[index]

    def as_batch(self, rows, doa, activity, indices):
        """What ``stored`` gives, on any device, → a batch."""
        features = rows.float().unflatten(-1, self._shape)  # (B, T, C, F)
        return {"features": features.transpose(1, 2), "doa": doa, "activity": activity, "index": np.asarray(indices)}

    @property
    def nbytes(self):
        """Of the features of all sequences."""
        return len(self) * self._length * self._ratio * math.prod(self._shape) * np.dtype(self._dtype).itemsize

    @property
    def sequences_per_recording(self):
        return self._sequences

    @property
    def digest(self):
        """A short name for which recordings there are and what is said in them."""
        told = hashlib.sha256()
        for recording, rows in zip(self.recordings, self._rows):
            told.update(recording.stem.encode() + rows.tobytes())
        return told.hexdigest()[:32]

    def locate(self, index):
        """A sequence → (its recording's index, its first label frame, how many of its frames are real)."""
        recording, sequence = divmod(int(index), self._sequences)
        first = sequence * self._length
        return recording, first, min(self._length, self._n_frames - first)

    def describe(self, indices):
        """Sequences → 'fold1_room1_mix001_ov1 frames 50-99' each."""
        return [f"{self.recordings[recording].stem} frames {first}-{first + valid - 1}"
                for recording, first, valid in map(self.locate, indices)]

    def references(self, recording):
        """All references of a recording, also those beyond max_sources; M at once at most (at least 1).

        Returns (doa (T, M, 3), zeros where inactive; event (T, M), -1 where inactive), T annotation frames.
        """
        rows = self._rows[recording]
        return assign_slots(rows, self._n_frames // self.held, max(1, count_overlap(rows)))

    def features(self, recording):
        """Features of a whole recording as the network sees them, (T_feature, C*F)."""
        features = np.load(self._paths[recording])
        return self.scaler.apply(features) if self._scale_on_reading else features

    def _read(self, index, out):
        """The features of a sequence into ``out`` (T, C*F).

        Plain reads rather than memory maps: as fast, and no file stays open however many there are.
        """
        recording, first, valid = self.locate(index)
        rows = out[: valid * self._ratio]
        with open(self._paths[recording], "rb", buffering=0) as file:
            file.seek(self._header + first * self._ratio * out.itemsize * out.shape[1])
            if file.readinto(rows) != rows.nbytes:
                raise UserError(f"{self._paths[recording]} is cut short; delete it, then extract features")
        if self._scale_on_reading:
            rows[:] = self.scaler.apply(rows)
        out[valid * self._ratio :] = 0

    def _targets(self, params):
        """Directions (len, L, N, 3) and activities (len, L, N) of all sequences."""
        if params["overflow"] == "error":
            overlaps = {r.annotation: count_overlap(rows) for r, rows in zip(self.recordings, self._rows)}
            refuse_overflow(overlaps, params["max_sources"])
        n_padded = self._sequences * self._length // self.held  # annotation frames
        doa = np.empty((len(self._rows), n_padded, params["max_sources"], 3), np.float32)
        event = np.empty(doa.shape[:-1], np.int32)
        for number, rows in enumerate(self._rows):
            doa[number], event[number] = assign_slots(rows, n_padded, params["max_sources"],
                                                      params["label_slots"], params["overflow"])
        # (R, S*L/held, N, 3) → (R*S, L, N, 3)
        doa, event = (torch.from_numpy(a.repeat(self.held, axis=1).reshape(-1, self._length, *a.shape[2:]))
                      for a in (doa, event))
        return doa, (event >= 0).float()


class EpochSampler:
    """Batches of indices for one of ``world`` processes, the same samples in the same order for any number.

    A batch of ``batch_size`` is split evenly over the processes. The last, smaller one is kept; if it is
    smaller than ``world`` it joins the one before, so that no process is left without a sample.
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


def make_loader(dataset, params, train, rank=0, world=1, max_batches=None):
    """A DataLoader over a SequenceDataset; shuffled if ``train``; ``loader.batch_sampler.set_epoch(epoch)``.

    Parameters
    ----------
    rank, world : int
        This process and how many share each batch.
    max_batches : int or None
        Stop an epoch there (quick test).
    """
    sampler = EpochSampler(len(dataset), params["batch_size"], train, params["seed"],
                           rank, world, max_batches)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=_as_it_is, num_workers=params["num_workers"],
                      persistent_workers=params["num_workers"] > 0,
                      pin_memory=torch.cuda.is_available() and params["device"] in ("auto", "cuda"),
                      generator=torch.Generator())  # its own: iterating takes nothing from the global one


def _as_it_is(batch):
    return batch
