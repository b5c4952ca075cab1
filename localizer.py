"""A network together with the features that it reads: built from a Config, or rebuilt from a checkpoint."""

import copy
import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cls_feature_class import build_features
from doanet_model import from_published
from doatools.errors import UserError
from doatools.registry import MODELS
from doatools.train import checkpoint
from doatools.types import Predictions, Scaler, Shape


def build_model(config):
    """The untrained network of a Config."""
    features = build_features(config)
    shape = Shape(features.nb_feature_channels, features.nb_bands, features.ratio, config.batches.label_sequence_length,
                  config.data.max_sources, config.predicts_activity, config.predicts_radius, features.kind.vectors)
    kind = MODELS[config.model.model]
    if config.model.causal and not hasattr(kind, "step"):
        raise UserError(f"causal=True takes a network that can run frame by frame: model=bearing, not "
                        f"{config.model.model}")
    return kind(shape, config.model)


class Localizer:
    """A network with the features it reads.

    Attributes: ``config`` (Config), ``features`` (FeatureClass), ``scaler`` (Scaler), ``model``; of a checkpoint, the
    Array ``trained_for``, which is not that of ``config`` if the model reads any array, and the ``scores`` (dict) of
    its validation.
    """

    def __init__(self, config, scaler, model=None):
        self.config, self.scaler = config, scaler
        self.trained_for, self.scores = config.array, {}
        self.features = build_features(config)
        self.model = model or build_model(config)

    @classmethod
    def from_checkpoint(cls, path, **overrides):
        """Rebuild a localizer from a checkpoint of this toolkit; ``overrides``: parameters to change, by flat names."""
        return cls.from_content(checkpoint.load(path), path, **overrides)

    @classmethod
    def from_content(cls, content, origin="checkpoint", any_array=None, **overrides):
        """The same from the dict of a checkpoint; ``origin`` names it in errors, ``any_array`` as of
        ``checkpoint.changed``."""
        scaler = Scaler(content["scaler"]["mean"].numpy(), content["scaler"]["scale"].numpy())
        stored = checkpoint.config_of(content, origin)
        config = checkpoint.changed(stored, overrides, origin, any_array)
        with torch.device("meta"):  # without memory, which damaged parameters may ask too much of
            checkpoint.compare_weights(build_model(config), content["model"], origin)
        localizer = cls(config, scaler)
        localizer.trained_for, localizer.scores = stored.array, content.get("scores") or {}
        scaler.refuse_unusable(origin, localizer.features.size)
        checkpoint.load_weights(localizer.model, content["model"], origin)
        return localizer

    def reading(self, array):
        """The same network for recordings of one array, its name or file; of a model that reads any array."""
        found = copy.copy(self)
        found.config = self.config.replaced(array=str(array))
        found.features = build_features(found.config)
        return found

    def load_weights(self, path):
        """Load the weights of a checkpoint, or of a published DOAnet state dict with its authors' names."""
        content = checkpoint.read(path)
        state = checkpoint.load(path)["model"] if checkpoint.is_ours(content) else from_published(content)
        if hasattr(self.model, "begin_from"):
            state = self.model.begin_from(state)
        checkpoint.load_weights(self.model, state, path)

    def for_inference(self):
        """This localizer, its batch norms folded into the convolutions for good: 1.5 times as fast."""
        self.model.eval()
        for block in self.model.modules():
            if isinstance(getattr(block, "bn", None), nn.BatchNorm2d):
                block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
        return self

    def predict(self, features):
        """Normalised features (B, C, T', F), array → Predictions (B, T, N, ...)."""
        return self._run(self.model, features)

    def begin(self):
        """A ``predict`` for the consecutive frames of one recording; its state is kept between calls."""
        memory = self.model.memory()
        return lambda features: self._run(functools.partial(self.model.step, memory=memory), features)

    def _run(self, network, features):
        features = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        if self.model.training:
            self.model.eval()
        with torch.inference_mode():
            return Predictions.of(network(features.contiguous(memory_format=torch.channels_last)))  # a third faster

    @property
    def delay(self):
        """Label frames by which ``begin`` is late; None for a network that reads whole windows."""
        return self.model.delay if self.config.model.causal else None

    def content(self, precision, data):
        """What a checkpoint holds besides weights and scores, as plain types and tensors; ``data`` is the digest of the
        training recordings."""
        return {
            "params": self.config.stored(),
            "data": data,
            "scaler": {"mean": torch.from_numpy(self.scaler.mean), "scale": torch.from_numpy(self.scaler.scale)},
            "array": self.config.array.plain(),
            "precision": precision,
            "quick_test": self.config.run.quick_test,
        }


def open_checkpoint(path, overrides, any_array=None):
    """A checkpoint, with some parameters changed → (Localizer, its precision); ``any_array`` as of
    ``checkpoint.changed``."""
    content = checkpoint.load(path)
    return Localizer.from_content(content, Path(path), any_array, **overrides), content["precision"]
