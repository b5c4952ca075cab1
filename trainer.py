"""Training from a Config: its network, loss, augmentation and data."""

import contextlib

import numpy as np
from lightning_fabric import seed_everything

from cls_data_generator import SequenceDataset, make_loader
from cls_feature_class import FeatureFiles
from doatools.data.augmentation import build_augmentation
from doatools.data.fresh_mixtures import FreshMixtures
from doatools.data.readers import is_tested
from doatools.errors import UserError
from doatools.files import alone_in
from doatools.train.loop import compiled, evaluate, fit, make_fabric
from doatools.train.losses import build_criterion
from localizer import Localizer


def check_same_data(folder, saved, dataset):
    """UserError if the stopped run with the checkpoint ``saved`` was started with other training recordings."""
    before, now = saved["scaler"], dataset.scaler
    scaled = all(np.array_equal(before[name].numpy(), getattr(now, name)) for name in ("mean", "scale"))
    if not scaled or saved.get("data", dataset.digest) != dataset.digest:
        raise UserError(f"{folder}: the training recordings are not those that this run was started with; start a new "
                        "run (another job id or --log_dir), or replace this one by --overwrite")


class Training:
    """One training; nothing on disk changes before ``fit``.

    Parameters
    ----------
    config : Config
    run : Run, where its files go
    saved : checkpoint dict to continue from, or None

    Attributes
    ----------
    fabric, precision
    datasets, loaders : dicts of 'train', 'val' and, where the test recordings have labels, 'test'
    localizer : Localizer

    Raises
    ------
    UserError
        ``saved`` was trained on other recordings, or parameters do not fit together.
    """

    def __init__(self, config, run, saved=None):
        self.config, self.run, self.resumed = config, run, saved is not None
        roles = ("train", "val", "test") if is_tested(config) else ("train", "val")
        self.datasets = {role: SequenceDataset(config, role) for role in roles}
        if saved:
            check_same_data(run.folder, saved, self.datasets["train"])
        self.fabric = make_fabric(config.device, saved and saved["precision"])
        self.precision = self.fabric._precision.precision
        seed_everything(config.run.seed, verbose=False)
        self.localizer = Localizer(config, self.datasets["train"].scaler)
        if config.training.init_weights:
            self.localizer.load_weights(config.training.init_weights)
        self.criterion = build_criterion(config)
        self.augment = build_augmentation(config, self.localizer.features, self.localizer.scaler)
        share = config.augment.mix_augment
        self.mix = share and self._mixtures(share)
        max_batches = 2 if config.run.quick_test else None
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        self.loaders = {role: make_loader(data, config, role == "train", rank, processes, max_batches)
                        for role, data in self.datasets.items()}

    def _mixtures(self, share):
        dataset, files = self.datasets["train"], FeatureFiles(self.config)
        return FreshMixtures(dataset, lambda number: files.feature_class_of(dataset.recordings[number]), share,
                             self.config.run.seed)

    def fit(self, score, selection):
        """Train; ``score`` maps the list of Result of the validation to figures; see doatools.train.loop.fit."""
        with alone_in(self.run.folder) if self.fabric.is_global_zero else contextlib.nullcontext():
            return self._fit(score, selection)

    def _fit(self, score, selection):
        if self.fabric.is_global_zero and not self.resumed:
            self.run.clear()
        model, criterion = self.localizer.model, self.criterion
        if self.config.device.compile:
            model, criterion = compiled(model), compiled(criterion)
        return fit(
            self.fabric, model, criterion, self.loaders,
            score=lambda sequences: score(self.datasets["val"].results(sequences)), selection=selection,
            training=self.config.training, epochs=self.config.epochs, seed=self.config.run.seed, run=self.run,
            resume=self.resumed, content=self.localizer.content(self.precision, self.datasets["train"].digest),
            mix=self.mix, augment=self.augment)

    def results(self, best, loader):
        """Predictions of the checkpoint dict ``best`` for the recordings of a loader → list of Result."""
        return find_results(self.fabric, Localizer.from_content(best, self.run.best).model, loader)


def find_results(fabric, model, loader):
    """Predictions of a network for the recordings of a loader → list of Result."""
    batches = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    sequences, _ = evaluate(fabric.setup_module(model), None, batches)
    return loader.dataset.results(sequences)
