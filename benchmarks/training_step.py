"""One training step of task 1: 64 sequences of 5 s of ambisonic features, network, dMOT loss, Adam."""

import torch

from benchmarks.measure import median_seconds
from benchmarks.plain import PlainDOAnet
from doanet_parameters import get_params
from doatools.spatial.geometry import unit_vectors
from doatools.train.loop import make_fabric, make_optimizer, train_step
from doatools.types import Target
from localizer import build_model
from trainer import build_criterion


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
    """``side``: 'plain', or our step in a precision ('auto': what this machine is fast at)."""
    torch.manual_seed(0)
    params = get_params("1", device="cpu", precision="auto" if side == "plain" else side)
    model = PlainDOAnet() if side == "plain" else build_model(params)
    return time_steps(side, model, params, *make_batch(batch=batch))


def time_steps(side, model, params, features, target):
    """Median seconds of a step."""
    criterion = build_criterion(params)
    if side == "plain":
        optimizer = make_optimizer(model, params)
        return median_seconds(lambda: plain_step(model, criterion, optimizer, params, features, target), turns=2)
    fabric = make_fabric(params)
    model, optimizer = fabric.setup(model.to(memory_format=torch.channels_last), make_optimizer(model, params))
    batch = {"features": features, "doa": target.doa, "activity": target.activity}
    return median_seconds(lambda: train_step(fabric, model, criterion, optimizer, batch, params["gradient_clip"]),
                          turns=5, warm_up=1)


def plain_step(model, criterion, optimizer, params, features, target):
    criterion(model(features), target)["loss"].backward()
    if params["gradient_clip"]:
        torch.nn.utils.clip_grad_norm_(model.parameters(), params["gradient_clip"])
    optimizer.step()
    optimizer.zero_grad()
