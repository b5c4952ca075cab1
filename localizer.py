"""Parameters or a checkpoint → features and network, put together; the registry of networks.

A new network is one class and one line here. Predictions and references of whole recordings meet here
too, so that training, testing and pictures score the same way.
"""

import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from adrenaline_model import ADRENALINE, CNN, SELDnet
from cls_feature_class import FeatureClass, Scaler
from cls_metric import QUICK, SUMMARY, FrameScores, Scores
from doanet_model import DOAnet, from_published
from doanet_parameters import ACTIVE_ABOVE, DEFAULTS, derive, get_params, split_words
from doatools.errors import UserError
from doatools.spatial.arrays import ARRAYS, Array
from doatools.train import checkpoint

MODELS = {"doanet": DOAnet, "adrenaline": ADRENALINE, "seldnet": SELDnet, "cnn": CNN}


def build_model(params):
    """The untrained network of the parameters."""
    return MODELS[params["model"]](FeatureClass(params).nb_feature_channels, params)


class Track(NamedTuple):
    """Predictions and references of one recording; T annotation frames, N slots, M references at most at once."""

    stem: str
    doa: np.ndarray  # (T, N, 3)
    probability: np.ndarray | None  # (T, N) of activity; None without an activity branch
    ref_doa: np.ndarray  # (T, M, 3)
    ref_id: np.ndarray  # (T, M) event, -1 where inactive
    pred_id: np.ndarray | None = None  # (T, N) identity, -1 where inactive; None: the slot is the identity
    room: str | None = None
    overlap: int | None = None  # the most sources at once, as far as known

    @property
    def active(self):
        """(T, N) bool: slots that count as sources; all of them where the model does not say."""
        if self.probability is None:
            return np.ones(self.doa.shape[:2], bool)
        return self.probability > ACTIVE_ABOVE


def recordings_of(predictions, dataset, pooled=True):
    """Put predicted sequences together into whole recordings, at the frames of annotations → list of Track.

    Where these hold several label frames, probabilities are averaged, and directions weighted by them; with
    ``pooled=False`` label frames stay as they are.
    """
    held = dataset.held if pooled else 1
    pieces = {}
    for position, index in enumerate(predictions.index):
        recording, first, valid = dataset.locate(int(index))
        pieces.setdefault(recording, []).append((first, valid, position))
    tracks = []
    for recording, parts in sorted(pieces.items()):
        parts.sort()
        doa = np.concatenate([predictions.doa[p][:valid] for _, valid, p in parts])
        activity = predictions.activity
        if activity is not None:
            activity = np.concatenate([activity[p][:valid] for _, valid, p in parts])
        doa, activity = _pool(doa, activity, held)
        frames = np.concatenate([np.arange(first, first + valid, held) for first, valid, _ in parts]) // dataset.held
        ref_doa, ref_id = dataset.references(recording)
        known = dataset.recordings[recording]
        tracks.append(Track(known.stem, doa, activity, ref_doa[frames], ref_id[frames],
                            room=known.room, overlap=known.overlap))
    return tracks


def _pool(doa, activity, count):
    """Means over each ``count`` frames of doa (T, N, 3) and of activity (T, N) or None."""
    if count == 1:
        return doa, activity
    weights = np.ones(doa.shape[:-1], doa.dtype) if activity is None else activity
    doa = (doa * weights[..., None]).reshape(-1, count, *doa.shape[1:]).sum(1)
    doa /= np.maximum(np.linalg.norm(doa, axis=-1, keepdims=True), 1e-12)
    return doa, None if activity is None else activity.reshape(-1, count, *activity.shape[1:]).mean(1)


def frame_figures(tracks):
    """What ADRENALINE is published with, over a list of Track: DOA error (degrees) and frame recall (percent)."""
    scores = Scores(families=(FrameScores,))
    for track in tracks:
        scores.update(track.doa, track.active, track.ref_doa, track.ref_id)
    figures = scores.compute()
    return {name: figures[name] for name in ("DOA error", "frame recall")}


def score(tracks):
    """The figures told of a training, over a list of Track."""
    scores = Scores(has_activity=all(track.probability is not None for track in tracks), families=QUICK)
    for track in tracks:
        scores.update(track.doa, track.active, track.ref_doa, track.ref_id)
    figures = scores.compute()
    return {name: figures[name] for name in SUMMARY}


class Localizer:
    """A network with the features it reads.

    Attributes: ``params``, ``features`` (FeatureClass), ``scaler`` (Scaler), ``model``, ``array`` (Array).
    """

    def __init__(self, params, scaler, model=None, array=None):
        self.params, self.scaler = params, scaler
        self.array = array or ARRAYS[params["dataset"]]
        self.features = FeatureClass(params)
        self.model = model or build_model(params)

    @classmethod
    def from_checkpoint(cls, path):
        """Rebuild a localizer unaided from a checkpoint of this toolkit; UserError where that cannot be."""
        return cls.from_content(checkpoint.load(path), path)

    @classmethod
    def from_content(cls, content, origin="checkpoint"):
        scaler = Scaler(content["scaler"]["mean"].numpy(), content["scaler"]["scale"].numpy())
        params = derive(DEFAULTS | content["params"])  # parameters that are newer than the checkpoint
        localizer = cls(params, scaler, array=Array.from_plain(content["array"]))
        checkpoint.load_weights(localizer.model, content["model"], origin)
        return localizer

    def load_weights(self, path):
        """Take the weights of a checkpoint, or of a published DOAnet state dict in its authors' names."""
        content = checkpoint.read(path)
        state = content["model"] if checkpoint.is_ours(content) else from_published(content)
        checkpoint.load_weights(self.model, state, path)

    def for_inference(self):
        """The same with batch norms folded into convolutions: half as fast again, for good."""
        self.model.eval()
        for block in self.model.modules():
            if isinstance(getattr(block, "bn", None), nn.BatchNorm2d):
                block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
        return self

    def predict(self, features):
        """Normalised features (B, C, T', F) → directions (B, T, N, 3), probabilities (B, T, N) or None; arrays."""
        features = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        if self.model.training:
            self.model.eval()
        with torch.inference_mode():
            answer = self.model(features.contiguous(memory_format=torch.channels_last))  # a third faster
        logits = answer.activity_logits
        return answer.doa.numpy(), None if logits is None else torch.sigmoid(logits).numpy()

    def content(self, precision, data):
        """What a checkpoint holds besides weights and scores, plain types and tensors only; ``data`` is the digest
        of the training recordings."""
        return {
            "params": self.params,
            "data": data,
            "scaler": {"mean": torch.from_numpy(self.scaler.mean), "scale": torch.from_numpy(self.scaler.scale)},
            "array": plain(dataclasses.asdict(self.array)),
            "precision": precision,
            "quick_test": self.params["quick_test"],
        }


def plain(value):
    """Nested tuples, arrays and dicts as lists, numbers and dicts."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


# What may change after training: where things are, who computes, and how tracks are linked.
CHANGEABLE = ("dataset_dir", "feat_label_dir", "results_dir", "device", "num_workers", "tracker", "tracker_gate_deg",
              "tracker_max_gap", "tracker_process_deg", "tracker_measurement_deg")


def check_changeable(overrides):
    """Overrides of a trained model as checked, each of its own type; UserError for one that cannot be any more."""
    unknown = [key for key in overrides if key not in CHANGEABLE]
    if unknown:
        raise UserError(f"'{unknown[0]}' cannot be changed after training; here one can set {', '.join(CHANGEABLE)}")
    params = get_params(**overrides)
    overrides = {key: params[key] for key in overrides}
    if "dataset_dir" in overrides:
        overrides["feat_label_dir"] = params["feat_label_dir"]
    return overrides


def choose(words):
    """The words of a command line (task or YAML, job | checkpoint.pt | nothing, key=value ...) → (path, overrides)."""
    plain, overrides = split_words(words, None, None)
    overrides = check_changeable(overrides)
    results_dir = overrides.get("results_dir", DEFAULTS["results_dir"])
    if plain[0] and plain[0].endswith(".pt"):
        return Path(plain[0]), overrides
    if plain[0] and not plain[1]:
        raise UserError("give a task id and a job id (1 first), a checkpoint's path, or nothing for the newest run")
    path, quick = find_checkpoint(results_dir, f"{Path(plain[0]).stem}_{plain[1]}" if plain[0] else None)
    print(f"checkpoint {path}" + (" (of a quick test: two epochs of two batches, do not expect much)" if quick else ""))
    return path, overrides


def open_checkpoint(path, overrides):
    """A checkpoint under changed parameters → (Localizer, its precision)."""
    content = checkpoint.load(path)
    return Localizer.from_content({**content, "params": content["params"] | overrides}, path), content["precision"]


def find_checkpoint(results_dir, name=None):
    """The best checkpoint of a run named ``task_job``, or of the newest one.

    Returns (path, is_quick_test). A quick-test run is taken only if there is no other.
    """
    folder = Path(results_dir)
    if name is not None:
        path = folder / name / "best.pt"
        if not path.is_file():
            runs = sorted(p.parent.name for p in folder.glob("*/best.pt"))
            raise UserError(f"{path}: no such checkpoint. Runs in {folder}: {', '.join(runs) or 'none yet'}; "
                            "train one with: python3 train_doanet.py <task-id> <job-id>")
        return path, checkpoint.load(path)["quick_test"]
    quick_tests = []
    for path in sorted(folder.glob("*/best.pt"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            if not checkpoint.load(path)["quick_test"]:
                return path, False
            quick_tests.append(path)
        except UserError as error:
            print(f"passed over: {error}", file=sys.stderr)
    if not quick_tests:
        raise UserError(f"{folder}: no checkpoint yet; train one with: python3 train_doanet.py <task-id> <job-id>")
    return quick_tests[0], True
