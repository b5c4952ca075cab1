"""Predictions for a minute at once: twelve sequences of 5 s of ambisonic features through DOAnet."""

import torch

from benchmarks.measure import median_seconds
from benchmarks.plain import PlainDOAnet
from benchmarks.training_step import make_batch
from doanet_parameters import get_params
from doatools.train.loop import evaluate, make_fabric
from doatools.types import Scaler
from localizer import Localizer


def measure(side):
    """``side``: 'plain'; 'localize', as recordings are localized; or the precision of validation and tests."""
    torch.manual_seed(0)
    config = get_params("1", device="cpu", precision=side if side not in ("plain", "localize") else "32-true")
    features, target = make_batch(batch=12)
    if side == "plain":
        model = PlainDOAnet().eval()
        with torch.no_grad():
            return median_seconds(lambda: model(features), turns=5, warm_up=2)
    localizer = Localizer(config, Scaler.identity(7 * 64))
    if side == "localize":
        localizer.for_inference()
        rows = features.numpy()
        return median_seconds(lambda: localizer.predict(rows), turns=5, warm_up=2)
    fabric = make_fabric(config.device)
    model = fabric.setup_module(localizer.model.to(memory_format=torch.channels_last))

    class Loader(list):
        dataset = None
    Loader.dataset = type("Data", (), {"describe": str})
    batches = Loader([{"features": features, "doa": target.doa, "activity": target.activity,
                       "index": torch.arange(12)}])
    return median_seconds(lambda: evaluate(model, None, batches), turns=5, warm_up=2)
