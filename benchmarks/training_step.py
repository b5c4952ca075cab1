"""One training step of task 1: 64 sequences of 5 s of ambisonic features, network, dMOT loss, Adam."""

import resource
import statistics
import time

import torch

from benchmarks.plain import PlainDOAnet
from doanet_parameters import get_params
from doatools.geometry import unit_vectors
from doatools.localization import Target
from doatools.training import make_fabric, make_optimizer
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


def measure(side):
    torch.manual_seed(0)
    params = get_params("1", device="cpu")
    model = PlainDOAnet() if side == "plain" else build_model(params)
    return median_step(side, model, params, *make_batch())


def median_step(side, model, params, features, target, steps=6, warm_up=2):
    """Median seconds of a step, and the process's peak of memory."""
    criterion = build_criterion(params)
    if side == "plain":
        optimizer = make_optimizer(model, params)
        backward = torch.Tensor.backward
    else:
        fabric = make_fabric(params)
        model, optimizer = fabric.setup(model.to(memory_format=torch.channels_last), make_optimizer(model, params))
        backward = fabric.backward
    taken = []
    for _ in range(warm_up + steps):
        started = time.perf_counter()
        x = features if side == "plain" else features.contiguous(memory_format=torch.channels_last)
        backward(criterion(model(x), target)["loss"])
        if params["gradient_clip"]:
            torch.nn.utils.clip_grad_norm_(model.parameters(), params["gradient_clip"])
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(taken[warm_up:]), "peak_mib": peak}
