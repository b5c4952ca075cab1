"""The data that flows through the toolkit, with axes, units and time bases.

    reader → Recording, events → Target ┐
    audio → features → model → Localization ┴→ loss
                                └→ Predictions → Result → metrics, files, plots

B batch, T label frames, N slots (the most simultaneous sources that a model predicts), M the most simultaneous
references. Directions are unit vectors x, y, z (x front, y left, z up). Nothing here imports PyTorch: exported models
run without it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from doatools.errors import UserError
from doatools.files import replacing
from doatools.npy import read_npz

if TYPE_CHECKING:
    from torch import Tensor

ACTIVE_ABOVE = 0.5  # activity probability above which a slot counts as a source

# An annotation as readers return it: pieces of events with one direction each, from ``start`` to ``end`` (s), sorted by
# start. ``event`` numbers the events from 0 in the order of their starts; a moving event has many pieces.
EVENT_PIECES = np.dtype([("start", "f8"), ("end", "f8"), ("event", "i4"), ("class", "i4"), ("track", "i4"),
                         ("azimuth", "f4"), ("elevation", "f4"), ("distance", "f4")])  # distance in m, NaN if unknown
# The same at a frame rate: one row per active source and frame, sorted by frame.
EVENT_ROWS = np.dtype([("frame", "i4"), ("event", "i4"), ("class", "i4"), ("track", "i4"),
                       ("azimuth", "f4"), ("elevation", "f4"), ("distance", "f4")])  # distance in m, NaN if unknown


@dataclass(frozen=True)
class Recording:
    """A WAV, its annotation, and what is known about both."""

    stem: str
    audio: Path
    annotation: Path
    split: str  # '1' … '6' | 'eval' | 'train' | 'val' | 'test', or as the reader names its splits
    room: str | None = None
    overlap: int | None = None  # the most simultaneous sources
    augmented: bool = False  # a mixture made by augment_files.py
    place: str = ""  # folder of its features; '' for the name of the folder of its audio
    channels: tuple = ()  # channels of the WAV that are the array's, from 0; () for all
    fs: int = 0  # of the WAV, where reading resamples it; 0 where it must be that of the experiment
    more_annotations: tuple = ()  # further files that its labels follow from
    array: Path | None = None  # the file of its own array, where each recording has one

    @property
    def folder(self):
        """Name of the folder of its features and labels."""
        return self.place or self.audio.parent.name


class Shape(NamedTuple):
    """Shape of a model's input, features (B, C, T', F) with T' = ratio·T, and output, T label frames of N slots."""

    channels: int  # C
    bands: int  # F
    ratio: int  # feature frames per label frame
    frames: int  # T of a training sequence
    slots: int  # N
    activity: bool  # whether it predicts which slots are active
    radius: bool = False  # whether it estimates the error of its directions
    vectors: tuple = ()  # first channel of each triple (y, z, x) of features that points at sources


class Localization(NamedTuple):
    """The output of a model, at label frames."""

    doa: Tensor  # (B, T, N, 3) unit vectors
    activity_logits: Tensor | None = None  # (B, T, N); None for a model without an activity branch
    # {name: (B, T, N)}, further outputs per slot; they become Predictions.others. 'radius' (degrees) holds the true
    # direction in 90 % of the cases in which the prediction is correct.
    others: dict | None = None
    extras: dict | None = None  # {name: tensor} for plots (attention maps, for example); no loss or metric reads them


class Target(NamedTuple):
    """The references that a loss compares with."""

    doa: Tensor  # (B, T, N, 3), zeros where inactive
    activity: Tensor  # (B, T, N) the mask: 1 where a source is active, 0 elsewhere


@dataclass(frozen=True)
class Predictions:
    """Predictions for consecutive label frames; any axes (...) may precede these.

    Methods return new Predictions and treat all fields alike, so a further output needs no code between the model and
    whatever displays it.
    """

    doa: np.ndarray  # (..., T, N, 3) unit vectors
    probability: np.ndarray | None  # (..., T, N) of activity; None for a model without an activity branch
    others: dict = field(default_factory=dict)  # {name: (..., T, N)}, further outputs per slot

    @property
    def weights(self):
        """(..., T, N): the probability of activity, 1 if the model does not predict it."""
        return np.ones(self.doa.shape[:-1], np.float32) if self.probability is None else self.probability

    @property
    def active(self):
        """(..., T, N) bool: slots that count as sources; all of them if the model does not predict activity."""
        return self.weights > ACTIVE_ABOVE

    def refuse_not_finite(self):
        """UserError if a direction or probability is NaN or infinite, which would count as 'no source'."""
        if not (np.isfinite(self.doa).all() and np.isfinite(self.weights).all()):
            raise UserError("the network's output is not finite: its weights are damaged, or the sound is far too "
                            "loud; take another model, or check the samples")

    def __len__(self):
        """The number of label frames."""
        return self.doa.shape[-3]

    def frames(self, index):
        """Those of some label frames: a slice, indices or a mask."""
        return Predictions(self.doa[..., index, :, :], self.probability if self.probability is None
                           else self.probability[..., index, :],
                           {name: values[..., index, :] for name, values in self.others.items()})

    def permuted(self, order):
        """With slots in another order: (N,), or one per frame (..., T, N)."""
        order = np.broadcast_to(order, self.doa.shape[:-1])

        def take(values):
            return np.take_along_axis(values, order, -1)

        return Predictions(np.take_along_axis(self.doa, order[..., None], -2),
                           None if self.probability is None else take(self.probability),
                           {name: take(values) for name, values in self.others.items()})

    @classmethod
    def join(cls, parts):
        """Consecutive Predictions as one."""
        parts = list(parts)
        return cls(np.concatenate([part.doa for part in parts], -3),
                   None if parts[0].probability is None else np.concatenate([part.probability for part in parts], -2),
                   {name: np.concatenate([part.others[name] for part in parts], -2) for name in parts[0].others})

    @classmethod
    def stack(cls, parts):
        """Batches (B, T, N, ...) of Predictions as one."""
        return cls(np.concatenate([part.doa for part in parts]),
                   None if parts[0].probability is None else np.concatenate([part.probability for part in parts]),
                   {name: np.concatenate([part.others[name] for part in parts]) for name in parts[0].others})

    def sequence(self, number):
        """One of a batch: (T, N, ...)."""
        return Predictions(self.doa[number], None if self.probability is None else self.probability[number],
                           {name: values[number] for name, values in self.others.items()})

    def pooled(self, count):
        """Means over groups of ``count`` frames (T, N, ...); directions and other outputs are weighted by
        probability."""
        if count == 1:
            return self
        weights = self.weights

        def mean(values, by):
            sums = (values * by).reshape(-1, count, *values.shape[1:]).sum(1)
            return sums / np.maximum(by.reshape(-1, count, *by.shape[1:]).sum(1), 1e-12)

        doa = (self.doa * weights[..., None]).reshape(-1, count, *self.doa.shape[1:]).sum(1)
        doa /= np.maximum(np.linalg.norm(doa, axis=-1, keepdims=True), 1e-12)
        probability = self.probability
        return Predictions(doa, None if probability is None else mean(probability, np.ones_like(probability)),
                           {name: mean(values, weights) for name, values in self.others.items()})

    @classmethod
    def of(cls, localization):
        """From a model's Localization; float32 on the host."""
        logits = localization.activity_logits
        return cls(localization.doa.float().cpu().numpy(),
                   None if logits is None else logits.float().sigmoid().cpu().numpy(),
                   {name: values.float().cpu().numpy() for name, values in (localization.others or {}).items()})


@dataclass(frozen=True)
class Result:
    """Predictions and references of one recording, at the frames of scores."""

    stem: str
    predictions: Predictions
    ref_doa: np.ndarray  # (T, M, 3)
    ref_id: np.ndarray  # (T, M) number of the (class, track id), -1 where inactive
    pred_id: np.ndarray | None = None  # (T, N) identity, -1 where inactive; None: the slot is the identity
    room: str | None = None
    overlap: int | None = None  # the most simultaneous sources, if known
    ref_class: np.ndarray | None = None  # (T, M) class, -1 where inactive; None: not known
    ref_distance: np.ndarray | None = None  # (T, M) m, NaN where unknown or inactive
    pred_class: np.ndarray | None = None  # (T, N) class, -1 where inactive; None: the system does not classify

    @property
    def doa(self):
        return self.predictions.doa

    @property
    def active(self):
        return self.predictions.active

    @property
    def probability(self):
        return self.predictions.probability

    def replaced(self, **fields):
        return dataclasses.replace(self, **fields)

    def frames(self, index):
        """Those of some frames: indices or a mask."""
        index = np.flatnonzero(index) if np.asarray(index).dtype == bool else index
        optional = {name: None if getattr(self, name) is None else getattr(self, name)[index]
                    for name in ("pred_id", "ref_class", "ref_distance", "pred_class")}
        return self.replaced(predictions=self.predictions.frames(index), ref_doa=self.ref_doa[index],
                             ref_id=self.ref_id[index], **optional)


@dataclass(frozen=True)
class Scaler:
    """Normalisation of each column to zero mean and unit variance; ``mean`` and ``scale`` are float64 (C*F,)."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def from_sums(cls, count, total, squares):
        """From the number of rows, their sum and their sum of squares (float64); constant columns get a scale of 1."""
        mean = total / count
        variance = squares / count - mean**2
        varies = variance > 1e-10 * mean**2  # smaller values are rounding errors
        return cls(mean, np.sqrt(np.where(varies, variance, 1.0)))

    @classmethod
    def identity(cls, size):
        """For features that are not normalised."""
        return cls(np.zeros(size), np.ones(size))

    def apply(self, features):
        """Features (..., C*F) → normalised, float32."""
        normalised = features - self.mean.astype(np.float32)
        normalised *= (1 / self.scale).astype(np.float32)
        return normalised

    def invert(self, normalised):
        """Normalised features (..., C*F) → as extracted, float32."""
        return normalised * self.scale.astype(np.float32) + self.mean.astype(np.float32)

    def refuse_unusable(self, origin, size=None):
        """UserError unless means are finite and scales finite and positive, of ``size`` columns if it is given;
        ``origin`` names the file."""
        if self.mean.shape != self.scale.shape or self.mean.shape != (len(self.mean) if size is None else size,):
            raise UserError(f"{origin}: its feature scaling (scaler) has the shapes {self.mean.shape} and "
                            f"{self.scale.shape}, which do not fit its features; take another file")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise UserError(f"{origin}: its feature scaling (scaler) holds values that are no finite numbers, or "
                            "scales that are not positive; take another file")

    def save(self, path):
        with replacing(path) as temporary:
            np.savez(temporary, mean=self.mean, scale=self.scale)

    @classmethod
    def load(cls, path):
        """UserError for a damaged file."""
        scaler = cls(*read_npz(path, ("mean", "scale"), "delete it and run batch_feature_extraction.py again"))
        scaler.refuse_unusable(path)
        return scaler
