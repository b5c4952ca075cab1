"""The dMOT loss alone, Hnet included, forward and backward: 64 sequences of 50 label frames, two slots."""

import torch

from benchmarks.measure import median_seconds
from benchmarks.plain_loss import PlainHnet, plain_dmot
from benchmarks.training_step import make_target
from doanet_parameters import get_params
from doatools.train.losses import build_criterion
from doatools.types import Localization
from hnet_model import load_hnet


def measure(side):
    loss, leaves = loss_of(side, make_predictions())

    def step():
        for leaf in leaves:
            leaf.grad = None
        loss().backward()
    return median_seconds(step, turns=20, warm_up=3)


def make_predictions(batch=64):
    """Unit directions (B, 50, 2, 3), logits (B, 50, 2), and a target."""
    generator = torch.Generator().manual_seed(0)
    doa = torch.nn.functional.normalize(torch.randn(batch, 50, 2, 3, generator=generator), dim=-1)
    logits = torch.randn(batch, 50, 2, generator=generator)
    return doa.requires_grad_(), logits.requires_grad_(), make_target((batch, 50, 2), generator)


def loss_of(side, predictions):
    """A function that computes the loss, and the tensors that receive its gradient."""
    doa, logits, target = predictions
    if side == "plain":
        hnet = PlainHnet().requires_grad_(False)
        hnet.load_state_dict(load_hnet(None, 2).net.state_dict())
        return (lambda: plain_dmot(hnet, doa, logits, target)), (doa, logits)
    criterion = build_criterion(get_params("1"))
    return (lambda: criterion(Localization(doa, logits), target)["loss"]), (doa, logits)
