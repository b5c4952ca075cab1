"""Parameters → loss, augmentation, data and network, put together to one training; the registry of losses.

A new loss is one class and one line in LOSSES.
"""

import numpy as np
import torch
from lightning_fabric import seed_everything
from torch import nn

from cls_data_generator import SequenceDataset, make_loader
from cls_feature_class import FeatureClass
from doanet_parameters import DEFAULTS, derive
from doatools.data.augmentation import Augmentation
from doatools.errors import UserError
from doatools.match.associations import (
    check_orders,
    near_enough,
    optimal_association,
    sinkhorn_association,
    track_association,
)
from doatools.train.loop import evaluate, fit, make_fabric
from doatools.train.losses import DMOTLoss, MSELoss, PITLoss, SELLoss, TrackingPITLoss
from hnet_model import load_hnet
from localizer import Localizer, recordings_of

# What may differ between a run and its resumption: where things are and who loads them, not what they are.
FREE_ON_RESUME = {"num_workers", "compile", "dataset_dir", "feat_label_dir", "results_dir", "device"}


class HnetAssociation(nn.Module):
    """Distances (..., N, N) → soft association in [0, 1] by the frozen Hungarian network."""

    def __init__(self, params):
        super().__init__()
        self.hnet = load_hnet(params["hnet_weights"] or None, params["max_sources"])

    def forward(self, distance):
        return torch.sigmoid(self.hnet(distance))


class TrackAssociation:
    """Distances (B, T, N, N) → the exact association over time."""

    def __init__(self, params):
        check_orders(params["max_sources"], "association=track", over_time=True)
        self.switch_cost = params["switch_cost"]

    def __call__(self, distance):
        return track_association(distance, near_enough(distance), self.switch_cost)


ASSOCIATIONS = {
    "hnet": HnetAssociation,
    "hungarian": lambda params: lambda distance: optimal_association(distance, near_enough(distance)),
    "sinkhorn": lambda params: lambda distance: sinkhorn_association(distance, near_enough(distance)),
    "track": TrackAssociation,
}
LOSSES = {
    "dmot": lambda params: DMOTLoss(ASSOCIATIONS[params["association"]](params), params),
    "pit_dmot": lambda params: TrackingPITLoss(ASSOCIATIONS[params["association"]](params), params),
    "mse": lambda params: MSELoss(),
    "pit": PITLoss,
    "sel": SELLoss,
}


def build_criterion(params):
    """The loss of the parameters, frozen parts included."""
    return LOSSES[params["loss"]](params)


def build_augmentation(params, scaler):
    """What training batches go through, or None for nothing."""
    if not (params["turn_augment"] or params["spec_augment"] or params["level_augment_db"]):
        return None
    features = FeatureClass(params)
    if (params["spec_augment"] or params["level_augment_db"]) and not features.mel_channels:
        raise UserError("spec_augment and level_augment_db change log-mel bands, which "
                        f"features={params['features']} have none of")
    turns, maps = features.turns() if params["turn_augment"] else (None, None)
    return Augmentation(turns, maps, scaler.mean, scaler.scale,
                        features.mel_channels if params["spec_augment"] else None, params["seed"],
                        params["level_augment_db"], features.kind.log_mels)


def changed_settings(before, params):
    """Parameters of a run (of its checkpoint) that differ from ``params``, {name: value before}, but for those that
    may differ between a run and its resumption."""
    before = derive(DEFAULTS | before)
    return {key: before[key] for key, value in params.items() if key not in FREE_ON_RESUME and before[key] != value}


def check_same_data(folder, saved, dataset):
    """UserError where a stopped run, of the checkpoint ``saved``, was started with other training recordings."""
    before, now = saved["scaler"], dataset.scaler
    scaled = all(np.array_equal(before[name].numpy(), getattr(now, name)) for name in ("mean", "scale"))
    if not scaled or saved.get("data", dataset.digest) != dataset.digest:
        raise UserError(f"{folder}: the training recordings are not those that this run was started with; start anew "
                        "in another place (job id or --log_dir), or by --overwrite where there is one")


class Training:
    """One run of training put together from its parameters; ``saved`` is the checkpoint it goes on from, or None.

    Attributes: ``fabric``, ``precision``, ``datasets`` and ``loaders`` of ('train', 'val', 'test'), ``localizer``.
    UserError where ``saved`` was trained on other recordings, or parameters do not go together; until ``fit`` nothing
    on disk is touched.
    """

    def __init__(self, params, run, saved=None):
        self.params, self.run, self.resumed = params, run, saved is not None
        self.datasets = {role: SequenceDataset(params, role) for role in ("train", "val", "test")}
        if saved:
            check_same_data(run.folder, saved, self.datasets["train"])
        self.fabric = make_fabric(params, saved and saved["precision"])
        self.precision = self.fabric._precision.precision
        seed_everything(params["seed"], verbose=False)
        self.localizer = Localizer(params, self.datasets["train"].scaler)
        if params["init_weights"]:
            self.localizer.load_weights(params["init_weights"])
        self.criterion = build_criterion(params)
        self.augment = build_augmentation(params, self.localizer.scaler)
        max_batches = 2 if params["quick_test"] else None
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        self.loaders = {role: make_loader(data, params, role == "train", rank, processes, max_batches)
                        for role, data in self.datasets.items()}

    def fit(self, score, selection):
        """Train; ``score`` of the validation's list of Track → figures; see doatools.train.loop.fit."""
        if self.fabric.is_global_zero and not self.resumed:
            self.run.clear()
        return fit(
            self.fabric, self.localizer.model, self.criterion, self.loaders,
            score=lambda predictions: score(recordings_of(predictions, self.datasets["val"])), selection=selection,
            params=self.params, run=self.run, resume=self.resumed,
            content=self.localizer.content(self.precision, self.datasets["train"].digest),
            augment=self.augment)

    def test(self, best, loader=None):
        """The weights of checkpoint ``best`` on the test recordings → list of Track."""
        model = Localizer.from_content(best, self.run.best).model
        return find_tracks(self.fabric, model, loader or self.loaders["test"])


def find_tracks(fabric, model, loader):
    """What a network finds in the recordings of a loader → list of Track."""
    batches = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    predictions, _ = evaluate(fabric.setup_module(model), None, batches)
    return recordings_of(predictions, loader.dataset)
