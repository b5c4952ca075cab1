"""Data augmentation of batches: rotations and reflections of the sound field (see rotations), levels, SpecAugment.

Rotations and levels act on unscaled values; for normalised features this is a gain and an offset per column.
Shapes: B sequences, C feature channels, T feature frames, F bands; L label frames, N slots; K rotations.

SpecAugment: Park et al., Interspeech 2019.
"""

import numpy as np
import torch
from torch import nn

from doatools.errors import UserError
from doatools.spatial.rotations import scaled_map

MASKS = 2  # of each kind in a sequence
LONGEST_MASK = 0.1  # the largest share of the frames, or of the bands, that one mask covers


class Augmentation(nn.Module):
    """Batches → augmented batches; randomness follows from (seed, epoch, sample index) alone.

    Parameters
    ----------
    rotations : array (K, 3, 3), or None for no rotation
    channel_maps : K ChannelMap
    mean, scale : arrays (C*F,) of the normalised features
    mel_channels : int or None
        Number of channels, from the first, whose bands are masked; None for no masks.
    seed : int
    level_db : float
        Sequences become louder or softer by up to this.
    log_mels : int
        Number of channels, from the first, that are in dB and change with the level.
    any_yaw : AnyYaw or None
        In place of ``rotations``.
    """

    def __init__(self, rotations, channel_maps, mean, scale, mel_channels, seed, level_db=0.0, log_mels=0,
                 any_yaw=None):
        super().__init__()
        self.any_yaw = any_yaw
        self.seed, self.mel_channels, self.n_rotations = seed, mel_channels, 0 if rotations is None else len(rotations)
        self.level_db, self.log_mels = level_db, log_mels
        self.register_buffer("scale", torch.from_numpy(np.asarray(scale, np.float32)))
        if rotations is not None:
            tables = [scaled_map(one, mean, scale) for one in channel_maps]
            for name, table in zip(("place", "gain", "offset"), zip(*tables)):
                self.register_buffer(name, torch.from_numpy(np.stack(table)))
            self.inverted = [np.flatnonzero(one.inverted).tolist() for one in channel_maps]
            self.register_buffer("rotations", torch.from_numpy(rotations.astype(np.float32)))

    def forward(self, batch, epoch):
        """A batch of SequenceDataset → a new dict, features (B, C, T, F) and doa (B, L, N, 3) augmented."""
        features, doa = batch["features"], batch["doa"]
        rngs = [np.random.default_rng([self.seed, epoch, int(index)]) for index in batch["index"].tolist()]
        if self.n_rotations:
            which = [int(rng.integers(self.n_rotations)) for rng in rngs]
            features = self.rotate_features(features, which)
            doa = doa @ torch.stack([self.rotations[number] for number in which]).transpose(1, 2).unsqueeze(1)
        if self.any_yaw is not None:
            matrices = torch.from_numpy(np.stack([self.any_yaw.draw(rng) for rng in rngs])).to(doa)
            features, doa = self.any_yaw(features, matrices), doa @ matrices.transpose(1, 2).unsqueeze(1)
        if self.level_db:
            gains_db = [rng.uniform(-self.level_db, self.level_db) for rng in rngs]
            features = self.change_levels(features, gains_db)
        if self.mel_channels:
            features = self.mask(features, rngs)
        return {**batch, "features": features, "doa": doa}

    def rotate_features(self, features, which):
        """Normalised features (B, C, T, F) → those of the rotated sound fields; ``which``: B rotations, by number."""
        _, channels, _, bands = features.shape
        rotated = torch.empty_like(features)
        for one, out, number in zip(features, rotated, which):
            rows = one.transpose(0, 1).flatten(1)[:, self.place[number]]  # (T, C*F)
            rows = torch.addcmul(self.offset[number], rows, self.gain[number])
            out.copy_(rows.unflatten(1, (channels, bands)).transpose(0, 1))
            for channel in self.inverted[number]:
                out[channel] -= torch.where(out[channel] > 0, torch.pi, -torch.pi)
        return rotated

    def change_levels(self, features, gains_db):
        """Normalised features (B, C, T, F) → those of louder or softer sound fields; ``gains_db``: B floats."""
        gains = torch.tensor(gains_db, dtype=features.dtype).to(features.device, non_blocking=True)
        a_decibel = 1 / self.scale.view(1, features.shape[1], 1, -1)[:, : self.log_mels]
        louder = features[:, : self.log_mels] + gains.view(-1, 1, 1, 1) * a_decibel
        return torch.cat([louder, features[:, self.log_mels :]], 1)

    def mask(self, features, rngs):
        """Set spans of frames (in all channels) and of bands (in the mel channels) to the mean, 0."""
        features = features.clone()
        for one, rng in zip(features, rngs):
            for _ in range(MASKS):
                first, last = _span(rng, one.shape[1])
                one[:, first:last] = 0
                first, last = _span(rng, one.shape[2])
                one[: self.mel_channels, :, first:last] = 0
        return features


class AnyYaw(nn.Module):
    """Rotations by any angle about the vertical axis and reflections, of features whose vectors follow these exactly.

    Parameters
    ----------
    vectors : first channel of each triple (y, z, x)
    mean, scale : arrays (C*F,) of the normalised features
    channels : int, C
    upside_down : bool, whether to reflect z as well; not for planar arrays, whose directions are all in the upper half
    """

    def __init__(self, vectors, mean, scale, channels, upside_down):
        super().__init__()
        self.vectors, self.upside_down = vectors, upside_down
        for name, values in (("mean", mean), ("scale", scale)):
            values = torch.from_numpy(np.asarray(values, np.float32)).reshape(channels, 1, -1)
            self.register_buffer(name, torch.stack([values[first : first + 3] for first in vectors]))  # (V, 3, 1, F)

    def draw(self, rng):
        """A matrix (3, 3) that maps directions x, y, z."""
        angle, mirror = rng.uniform(-np.pi, np.pi), rng.choice([-1, 1])
        height = rng.choice([-1, 1]) if self.upside_down else 1
        cosine, sine = np.cos(angle), np.sin(angle)
        return np.array([[cosine, -mirror * sine, 0], [sine, mirror * cosine, 0], [0, 0, height]])

    def forward(self, features, matrices):
        """Normalised features (B, C, T, F) → those of sound fields that ``matrices`` (B, 3, 3) rotate."""
        own = matrices[:, [1, 2, 0]][:, :, [1, 2, 0]].to(features.dtype)  # of y, z, x
        features = features.clone()
        for first, mean, scale in zip(self.vectors, self.mean, self.scale):
            found = features[:, first : first + 3] * scale + mean
            features[:, first : first + 3] = (torch.einsum("bij,bjtf->bitf", own, found) - mean) / scale
        return features


def _span(rng, size):
    length = rng.integers(int(LONGEST_MASK * size) + 1)
    first = rng.integers(size - length + 1)
    return first, first + length


def build_augmentation(config, features, scaler):
    """The Augmentation of training batches, or None; ``features`` is the FeatureClass.

    UserError for an augmentation that does not apply to the features.
    """
    wanted = config.augment
    if not (wanted.rotation_augment or wanted.spec_augment or wanted.level_augment_db):
        return None
    if (wanted.spec_augment or wanted.level_augment_db) and not features.kind.mel_channels:
        raise UserError(f"spec_augment and level_augment_db change log-mel bands; features={features.name} have none")
    kind, rotations, maps, any_yaw = features.kind, None, None, None
    if wanted.rotation_augment and features.equivariant:
        upside_down = not (features.array.planar or features.array.drawn)  # drawn arrays may be planar
        any_yaw = AnyYaw(kind.vectors, scaler.mean, scaler.scale, kind.channels, upside_down)
    elif wanted.rotation_augment:
        rotations, maps = features.rotations()
    return Augmentation(rotations, maps, scaler.mean, scaler.scale,
                        features.kind.mel_channels if wanted.spec_augment else None, config.run.seed,
                        wanted.level_augment_db, features.kind.log_mels, any_yaw)
