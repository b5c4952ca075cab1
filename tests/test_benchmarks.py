"""The yardsticks give the numbers of the toolkit's own code."""

import re

import pytest
import torch

from benchmarks.frame_scores import frame_scores, make_recordings, plain_frame_scores
from benchmarks.plain import PlainDOAnet
from benchmarks.training_step import make_batch
from doanet_parameters import get_params
from localizer import build_model
from trainer import build_criterion

NAMES = ((r"blocks\.(\d)\.conv", r"convs.\1"), (r"blocks\.(\d)\.bn", r"norms.\1"))
HEADS = (("doa_head", "doa"), ("activity_head", "activity"))


def plainly_named(state):
    renamed = {}
    for name, value in state.items():
        for pattern, plain in NAMES:
            name = re.sub(pattern, plain, name)
        for ours, plain in HEADS:
            name = re.sub(rf"{ours}\.(\d)", lambda m, plain=plain: f"{plain}.{int(m[1]) // 2}", name)
        renamed[name] = value
    return renamed


def test_the_plain_network_is_doanet():
    params = get_params("1")
    torch.manual_seed(0)
    ours, plain = build_model(params), PlainDOAnet()
    plain.load_state_dict(plainly_named(ours.state_dict()))
    features, target = make_batch(batch=2)
    criterion = build_criterion(params)
    results = [model(features) for model in (ours, plain)]
    assert torch.allclose(results[0].doa, results[1].doa, atol=1e-5)
    assert torch.allclose(results[0].activity_logits, results[1].activity_logits, atol=1e-5)
    losses = [criterion(localization, target)["loss"].item() for localization in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_plain_frame_scores_are_ours():
    recordings = make_recordings(recordings=2, frames=300)
    assert frame_scores(recordings) == pytest.approx(plain_frame_scores(recordings), rel=1e-12)
