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
from localizer import build_criterion, build_model


def make_batch(seed=0, batch=64):
    """Features (B, 7, 250, 64) and a target (B, 50, 2) of noise, one slot silent a third of the time."""
    generator = torch.Generator().manual_seed(seed)
    azimuth, elevation = torch.rand(2, batch, 50, 2, generator=generator).numpy() * 90
    activity = (torch.rand(batch, 50, 2, generator=generator) > 0.3).float()
    doa = torch.from_numpy(unit_vectors(azimuth, elevation)).float() * activity[..., None]
    return torch.randn(batch, 7, 250, 64, generator=generator), Target(doa, activity)


def measure(side, steps=6, warm_up=2):
    """Median seconds of a step."""
    torch.manual_seed(0)
    params = get_params("1", device="cpu")
    features, target = make_batch()
    criterion = build_criterion(params)
    if side == "plain":
        model = PlainDOAnet()
        optimizer = torch.optim.Adam(model.parameters(), lr=params["learning_rate"])
        backward = torch.Tensor.backward
    else:
        fabric = make_fabric(params)
        model = build_model(params).to(memory_format=torch.channels_last)
        model, optimizer = fabric.setup(model, make_optimizer(model, params))
        backward = fabric.backward
    taken = []
    for _ in range(warm_up + steps):
        started = time.perf_counter()
        x = features if side == "plain" else features.contiguous(memory_format=torch.channels_last)
        backward(criterion(model(x), target)["loss"])
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(taken[warm_up:]), "peak_mib": peak}
