"""One training step of task 1: 64 sequences of 5 s of ambisonic features, network, dMOT loss, Adam."""

import torch

from benchmarks.measure import median_seconds
from benchmarks.plain import PlainDOAnet
from doanet_parameters import get_params
from doatools.spatial.geometry import unit_vectors
from doatools.train.loop import make_fabric, make_optimizer, train_step
from doatools.train.losses import build_criterion
from doatools.types import Target
from localizer import build_model


def make_batch(seed=0, batch=64):
    """Features (B, 7, 250, 64) and a target (B, 50, 2) of noise, one slot silent a third of the time."""
    generator = torch.Generator().manual_seed(seed)
    target = make_target((batch, 50, 2), generator)
    return torch.randn(batch, 7, 250, 64, generator=generator), target


def make_target(shape, generator):
    """A target (B, T, N) of noise, each slot silent a third of the time."""
    azimuth, elevation = torch.rand(2, *shape, generator=generator).numpy() * 90
    activity = (torch.rand(shape, generator=generator) > 0.3).float()
    return Target(torch.from_numpy(unit_vectors(azimuth, elevation)).float() * activity[..., None], activity)


def measure(side, batch=64):
    """``side``: 'plain', or our step in a precision ('auto': the one that is fast on this machine)."""
    torch.manual_seed(0)
    config = get_params("1", device="cpu", precision="auto" if side == "plain" else side)
    model = PlainDOAnet() if side == "plain" else build_model(config)
    return time_steps(side, model, config, *make_batch(batch=batch))


def time_steps(side, model, config, features, target):
    """Median seconds of a step."""
    criterion, clip = build_criterion(config), config.training.gradient_clip
    if side == "plain":
        optimizer = make_optimizer(model, config.training)
        return median_seconds(lambda: plain_step(model, criterion, optimizer, clip, features, target), turns=2)
    fabric = make_fabric(config.device)
    model = model.to(memory_format=torch.channels_last)
    model, optimizer = fabric.setup(model, make_optimizer(model, config.training))
    batch = {"features": features, "doa": target.doa, "activity": target.activity}
    return median_seconds(lambda: train_step(fabric, model, criterion, optimizer, batch, clip), turns=5, warm_up=1)


def plain_step(model, criterion, optimizer, clip, features, target):
    criterion(model(features), target)["loss"].backward()
    if clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
