"""ADRENALINE, SELDnet and CNN against the facts of their paper and a plain step-by-step implementation."""

import contextlib

import numpy as np
import pytest
import torch

from adrenaline_model import ADRENALINE, CNN, SELDnet
from benchmarks.plain import PlainADRENALINE, PlainCNN, PlainSELDnet
from doanet_parameters import get_params
from doatools.report import plots
from doatools.spatial.geometry import unit_vectors
from doatools.train.losses import build_criterion
from doatools.types import Predictions, Result, Shape, Target
from localizer import build_model

TWINS = {ADRENALINE: PlainADRENALINE, SELDnet: PlainSELDnet, CNN: PlainCNN}


def build(kind, slots=4, frames=25, bins=1024, channels=8, activity=True, layers=None, **overrides):
    """A network for chunks of (channels, frames, bins); ``layers`` of SELDnet, which no parameter sets."""
    shape = Shape(channels, bins, 1, frames, slots, activity)
    return kind(shape, get_params(**overrides).model, **({} if layers is None else {"layers": layers}))


def sel_loss():
    return build_criterion(get_params(loss="sel"))


@pytest.mark.parametrize(("kind", "expected"), [(ADRENALINE, 1_761_868), (SELDnet, 1_489_996), (CNN, 110_668)])
def test_number_of_weights_is_the_published_one(kind, expected):
    assert sum(p.numel() for p in build(kind).parameters()) == expected


def some_target(shape, generator):
    activity = (torch.rand(shape, generator=generator) > 0.4).float()
    doa = torch.nn.functional.normalize(torch.randn(*shape, 3, generator=generator), dim=-1)
    return Target(doa * activity.unsqueeze(-1), activity)


@pytest.mark.parametrize("kind", TWINS)
@pytest.mark.parametrize("sizes", [
    {"slots": 2, "frames": 7, "channels": 3, "bins": 200, "batch": 2, "layers": 1},
    {"slots": 3, "frames": 4, "channels": 8, "bins": 130, "batch": 1, "layers": 3}])
def test_outputs_and_gradients_are_those_of_the_plain_network(kind, sizes):
    slots, frames, channels, bins, batch, layers = sizes.values()
    generator = torch.manual_seed(0)
    recurrent = {} if kind is CNN else {"layers": layers}
    ours = build(kind, slots, frames, bins, channels, layers=layers if kind is SELDnet else None, nb_rnn_layers=layers)
    plain = TWINS[kind](slots=slots, frames=frames, channels=channels, bins=bins, **recurrent)
    with torch.no_grad():
        for p in ours.parameters():  # batch norm weights of either sign among them
            p.copy_(torch.randn(p.shape, generator=generator) * max(0.5 / p[0].numel() ** 0.5, 0.05))
    plain.load_state_dict(ours.state_dict())
    features = torch.randn(batch, channels, frames, bins, generator=generator)
    target = some_target((batch, frames, slots), generator)
    results, gradients = [], []
    for model in (ours, plain):
        results.append(model(features))
        sel_loss()(results[-1], target)["loss"].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for a, b in zip(results[0][:2], results[1][:2]):
        assert torch.allclose(a, b, atol=1e-5)
    for name, value in results[0].extras.items():
        assert torch.allclose(value, results[1].extras[name], atol=1e-5), name
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4, rtol=1e-4), name
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values()):
        assert torch.allclose(a, b, atol=1e-5), name  # running statistics have moved alike
    assert torch.allclose(ours.eval()(features).doa, plain.eval()(features).doa, atol=1e-4)


@pytest.mark.parametrize("kind", TWINS)
def test_heads_stay_float32_under_autocast(kind):
    torch.manual_seed(0)
    model, features = build(kind, 2, 5, 64).eval(), torch.randn(2, 8, 5, 64)
    exact = model(features)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(features)
    assert rough.doa.dtype == rough.activity_logits.dtype == torch.float32
    assert torch.allclose(rough.doa.norm(dim=-1), torch.ones(2, 5, 2), atol=1e-6)
    assert torch.allclose(rough.doa, exact.doa, atol=0.03)


def test_attention_of_each_step_is_a_mean_over_the_encoded_frames():
    model = build(ADRENALINE, 2, 6, 64)
    attention = model(torch.randn(3, 8, 6, 64)).extras["attention"]
    assert attention.shape == (3, 6, 6)
    assert torch.allclose(attention.sum(-1), torch.ones(3, 6), atol=1e-5) and (attention >= 0).all()


def test_azimuth_and_elevation_are_the_directions():
    localization = build(CNN, 3, 5, 64)(torch.randn(2, 8, 5, 64))
    angles = (localization.extras[name].detach().rad2deg().numpy() for name in ("azimuth", "elevation"))
    assert torch.allclose(localization.doa, torch.from_numpy(unit_vectors(*angles)).float(), atol=1e-5)


def test_a_network_without_an_activity_branch_returns_none():
    assert build(CNN, 2, 5, 64, activity=False)(torch.randn(1, 8, 5, 64)).activity_logits is None


def test_a_chunk_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"chunks of 5 frames of 64 bins .* not of 6 frames"):
        build(CNN, 2, 5, 64)(torch.randn(1, 8, 6, 64))


@pytest.mark.parametrize("name", ["adrenaline", "seldnet", "cnn"])
def test_label_frames_longer_than_feature_frames_are_refused(name):
    config = get_params(model=name, features="magphase", hop_len_s=0.02, label_hop_len_s=0.1)
    with pytest.raises(ValueError, match=f"model={name} .* not be 5 times as long"):
        build_model(config)


@pytest.mark.parametrize("kind", TWINS)
def test_each_network_learns_two_directions(kind):
    """The louder of two channels determines the direction of the one source."""
    torch.manual_seed(0)
    model = build(kind, 1, 5, 64, channels=2, rnn_size=16)
    louder = torch.arange(8) % 2
    features = torch.randn(8, 2, 5, 64)
    features[torch.arange(8), louder] *= 4
    doa = torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8]])[louder][:, None, None].expand(8, 5, 1, 3)
    target = Target(doa, torch.ones(8, 5, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0)
    for _ in range(60):
        terms = sel_loss()(model(features), target)
        optimizer.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
    assert terms["distance"] < 0.15


def test_the_picture_of_attention_puts_chunks_side_by_side(tmp_path, monkeypatch):
    shown, figure = [], plots.figure

    @contextlib.contextmanager
    def watched(*args, **kwargs):
        with figure(*args, **kwargs) as (fig, axes):
            yield fig, axes
            shown.extend(np.asarray(ax.images[0].get_array()) if ax.images else None for ax in axes)

    monkeypatch.setattr(plots, "figure", watched)
    maps = np.zeros((3, 4, 4))
    maps[1, 2, 3] = 1  # second chunk: its third step attends to its fourth frame
    length, ref_id = 10, np.full((10, 2), -1)  # the last chunk reaches two frames beyond the recording
    ref_id[2:7, 0] = 0
    doa = np.broadcast_to(unit_vectors(170, 20), (length, 2, 3))
    predictions = Predictions(doa, np.full((length, 2), 0.6))
    result = Result("mix", predictions, doa * (ref_id >= 0)[..., None], ref_id)
    plots.attention(tmp_path / "attention.png", "title", maps, result, 0.02)
    assert (tmp_path / "attention.png").stat().st_size > 10_000
    assert shown[0].shape == (4, length) and np.argwhere(shown[0]).tolist() == [[3, 1 * 4 + 2]]
