"""Mixtures of training recordings that are made while training runs: sound fields add.

A mixture is the sum of two recordings with together at most max_sources sources at once. Each is first rotated by one
of the rotations that map the array onto itself, exactly and independently of the other; the second one also begins
elsewhere and becomes louder or softer. Features are then extracted as those of any recording. Noise and reverberation
of both rooms add up as well, which no single room would do; what is learned from it holds in one room, too.

Both must be of one array. Where each recording has its own (doatools/spatial/drawn.py), a recording is mixed with
itself at another time.

As rotations of the sound field are exact, the same recordings give ever new pairs of directions; see docs/networks.md
for what that is worth. augment_files.py makes mixtures once, within a room and without rotations, as published.

Shapes: B sequences in a batch, L label frames, T feature frames, N slots, M audio channels, C·F columns of features.
"""

import functools

import numpy as np
import torch

from doatools.spatial.rotations import rotated_channels, rotations_of

USES = 5  # about how often a sequence of a mixture is trained on
AGE = 6  # epochs that a mixture is used for
GAIN_DB = 6.0  # the second recording becomes louder or softer by up to this
STREAM = 0xF1E5  # sets these random numbers apart from those of other purposes


class FreshMixtures:
    """Replaces a share of each training batch; what is drawn follows from (seed, epoch, sample index) alone.

    Parameters
    ----------
    dataset : SequenceDataset of the training recordings
    features_of : callable, index of a recording → the FeatureClass of its array
    share : float, of the sequences of a batch
    seed : int

    Attributes
    ----------
    possible : bool
        Whether any two recordings have together at most max_sources sources at once; if not, batches stay as they are.
    """

    def __init__(self, dataset, features_of, share, seed):
        self.dataset, self.features_of, self.share, self.seed = dataset, features_of, share, seed
        numbers = {}
        self.array = [numbers.setdefault(array, len(numbers)) for array in dataset.arrays]  # its number
        self.slots = dataset.targets([0])[1].shape[-1]
        used = {number: self._slots_used(number) for number, recording in enumerate(dataset.recordings)
                if not recording.augmented and dataset.whole_sequences(number)}
        self.used = {number: count for number, count in used.items() if 0 < count < self.slots}
        self.per_epoch = max(1, round(share * len(dataset.recordings) / USES))
        self.epoch, self.made, self.pool = 0, {}, []  # made: {epoch: its mixtures}; pool: those in use

    def __call__(self, batch, epoch):
        """A batch of SequenceDataset → the batch with a share of its sequences replaced."""
        if not self.possible:
            return batch
        if epoch != self.epoch:
            self._prepare(epoch, batch["features"].device)
        index = np.array(batch["index"])
        rngs = [np.random.default_rng([self.seed, STREAM, epoch, int(number)]) for number in index]
        replaced = np.flatnonzero([rng.random() < self.share for rng in rngs])
        if not len(replaced):
            return batch
        chosen = np.array([rngs[place].integers(len(self.pool[0])) for place in replaced])
        take, where = (torch.as_tensor(places, device=self.pool[0].device) for places in (chosen, replaced))
        index[replaced] = len(self.dataset) + chosen
        mixed = self.dataset.as_batch(*(part[take] for part in self.pool), index[replaced])
        return {name: batch[name].index_copy(0, where, mixed[name]) for name in ("features", "doa", "activity")} | {
            "index": index}

    @property
    def possible(self):
        return any(map(self._partners, self.used))

    def _prepare(self, epoch, device):
        """The mixtures of an epoch and of those before it that are still used."""
        epochs = range(max(1, epoch - AGE + 1), epoch + 1)
        self.made = {one: self.made.get(one) or self._make(one, device) for one in epochs}
        self.epoch, self.pool = epoch, [torch.cat(parts) for parts in zip(*self.made.values())]

    def _make(self, epoch, device):
        """The mixtures of an epoch → features as in SequenceDataset.stored (S, T, C·F), doa, activity."""
        parts = zip(*(self._mixture(np.random.default_rng([self.seed, STREAM, epoch, number]))
                      for number in range(self.per_epoch)))
        return [torch.cat(part).to(device) for part in parts]

    def _mixture(self, rng):
        first = int(rng.choice([number for number in self.used if self._partners(number)]))
        second = int(rng.choice(self._partners(first)))
        length = min(map(self.dataset.whole_sequences, (first, second)))
        audio, doa, activity = self._rotated(first, length, 0, rng)
        other_audio, other_doa, other_activity = self._rotated(second, length, int(rng.integers(length)), rng)
        audio = audio + np.float32(10 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20)) * other_audio
        slots = slice(self.used[first], self.used[first] + self.used[second])  # which the first recording leaves free
        doa[..., slots, :] = other_doa[..., : self.used[second], :]
        activity[..., slots] = other_activity[..., : self.used[second]]
        features = self.features_of(first)
        rows = self.dataset.scaler.apply(features.extract(audio)).astype(features.kind.dtype, copy=False)
        return torch.from_numpy(rows).reshape(length, -1, rows.shape[1]), doa, activity

    def _rotated(self, number, length, shift, rng):
        """``length`` sequences of a recording in a rotated sound field, from sequence ``shift`` on, then from its start
        → audio (samples, M), doa (length, L, N, 3), activity (length, L, N)."""
        features = self.features_of(number)
        rotations = _rotations_of(features.array)
        rotation = rotations[rng.integers(len(rotations))]
        doa, activity = self.dataset.targets(list(self.dataset.sequences_of(number))[:length])
        samples = length * doa.shape[1] * features.ratio * features.hop
        audio = features.read_audio(self.dataset.recordings[number], samples)
        source, sign = rotated_channels(rotation, features.array)
        audio = np.roll(audio[:, source] * sign, -shift * (samples // length), 0)
        doa = doa @ torch.from_numpy(rotation.T.astype(np.float32))
        return audio, doa.roll(-shift, 0), activity.roll(-shift, 0)

    def _slots_used(self, number):
        """How many slots a recording uses, from the first one on."""
        active = self.dataset.targets(list(self.dataset.sequences_of(number)))[1].sum((0, 1))
        return int(active.nonzero().max()) + 1 if active.any() else 0

    def _partners(self, number):
        """Recordings that have one array with ``number`` and leave it enough slots: others, or itself where there are
        none."""
        free, own = self.slots - self.used[number], self.dataset.recordings[number].array is not None
        fitting = [other for other, used in self.used.items()
                   if used <= free and self.array[other] == self.array[number]]
        return [other for other in fitting if other != number] or (fitting if own else [])


_rotations_of = functools.cache(rotations_of)
