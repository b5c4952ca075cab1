"""BearingNet, Muon, and the feature set of gradient vectors."""

import numpy as np
import pytest
import torch

from bearing_model import DELAY, Memory
from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.train.losses import build_criterion
from doatools.train.optimizers import MUON_RATE, make_optimizer, orthogonalised
from doatools.types import Localization, Target
from localizer import build_model


def plane_wave(array, azimuth, elevation, seconds=1.0, fs=24000, seed=0):
    """Noise from one direction, as the array's response makes it: (samples, M)."""
    samples = round(seconds * fs)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    direction = unit_vectors(azimuth, elevation)[None]
    response = array.response(direction, np.fft.rfftfreq(samples, 1 / fs))[:, 0]  # (M, F)
    return (0.1 * np.fft.irfft(response * spectrum, samples).T).astype(np.float32)


@pytest.mark.parametrize("task", ["22", "23"])
def test_shapes_sizes_and_unit_vectors(task):
    config = get_params(task)
    model = build_model(config).eval()
    channels = build_features(config).nb_feature_channels
    found = model(torch.randn(2, channels, 250, 64))
    assert found.doa.shape == (2, 50, 2, 3) and found.activity_logits.shape == (2, 50, 2)
    torch.testing.assert_close(found.doa.norm(dim=-1), torch.ones(2, 50, 2), atol=1e-2, rtol=0)
    radius = found.others["radius"]
    assert radius.shape == (2, 50, 2) and radius.min() > 0 and radius.max() <= 180
    assert sum(p.numel() for p in model.parameters()) == 942_911


def test_radius_changes_nothing_else_and_other_losses_have_none():
    config = get_params("22")
    model = build_model(config)
    found = model(torch.randn(2, 8, 50, 64))
    found.others["radius"].sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()} == {
        name for name, _ in model.named_parameters() if name.startswith("radius_head")}
    assert build_model(get_params("22", loss="dmot")).eval()(torch.randn(1, 8, 50, 64)).others is None


def test_radius_learns_the_quantile_of_correct_directions():
    """Errors are |N(0, 6 degrees)|; 90 % of those up to 20 degrees are below 9.83 degrees."""
    torch.manual_seed(0)
    criterion = build_criterion(get_params("22", max_sources=1))
    angle = np.deg2rad(6) * torch.randn(1, 20000).abs()
    doa = torch.stack([angle.cos(), angle.sin(), 0 * angle], -1).unsqueeze(2)
    doa[:, :1000] *= -1  # wrong ones do not count
    target = Target(torch.tensor([1.0, 0, 0]).expand(doa.shape), torch.ones(1, 20000, 1))
    logit = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([logit], 0.02)
    for _ in range(300):
        radius = (8 * torch.exp(logit)).expand(1, 20000, 1)
        loss = criterion(Localization(doa, torch.zeros(1, 20000, 1), {"radius": radius}), target)["radius"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert 8 * logit.exp().item() == pytest.approx(9.83, rel=0.03)


@pytest.mark.parametrize("frames", [[1] * 13, [4, 1, 8]])
def test_causal_network_gives_the_same_frame_by_frame(frames):
    torch.manual_seed(1)
    model = build_model(get_params("22", causal=True)).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.two.bn.weight)
    features = torch.randn(2, 8, 5 * 12, 64)
    with torch.inference_mode():
        whole, memory = model(features), Memory()
        padded = torch.cat([features, torch.zeros(2, 8, 5 * DELAY, 64)], 2)
        parts = [model.step(part, memory) for part in padded.split([5 * count for count in frames], 2)]
        changed = features.clone()
        changed[:, :, 5 * (6 + DELAY) :] = 0
        early = model(changed)
    for get in (lambda one: one.doa, lambda one: one.activity_logits, lambda one: one.others["radius"]):
        streamed = torch.cat([get(part) for part in parts], 1)[:, DELAY:]
        torch.testing.assert_close(streamed, get(whole), atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(get(early)[:, :6], get(whole)[:, :6])  # nothing after the next frame counts
        assert not torch.equal(get(early)[:, 6:], get(whole)[:, 6:])


@pytest.mark.parametrize("kind", ["vectors", "steered"])
def test_pointers_see_a_source_before_any_training(kind):
    config = get_params("22", features=kind, top_db=0)
    features, model = build_features(config), build_model(config).eval()
    direction = (50.0, 20.0)
    rows = features.as_channels(features.extract(plane_wave(config.array, *direction)))[None]  # (1, C, T', F)
    rows = torch.from_numpy(np.ascontiguousarray(rows[:, :, :50]))
    with torch.inference_mode():
        maps = torch.relu(model.stem(rows))
        for block in model.blocks:
            maps = block(maps)
        pointers = model.pointers(rows, maps)[0, 1:].numpy()  # (T, P, 3)
    largest = 2 if kind == "vectors" else 4  # steered vectors are means over a grid of 13 degrees
    assert angular_distance(pointers, unit_vectors(*direction)).max() < largest


@pytest.mark.parametrize("array", ["mic", "respeaker_6mic", "uma8", "respeaker_usb_4mic"])
@pytest.mark.parametrize("direction", [(0, 0), (75, 30), (-140, 10)])
def test_gradient_vectors_point_at_the_source_where_wavelengths_are_long(array, direction):
    config = get_params("1", array=array, features="vectors", top_db=0)
    features = build_features(config)
    rows = features.as_channels(features.extract(plane_wave(config.array, *direction)))  # (C, T', F)
    count = config.array.channels
    assert len(rows) == count + 6
    phase = rows[count + 3 : count + 6, 2:, 3:10].sum((1, 2))[[2, 0, 1]]  # x, y, z; below about 600 Hz
    expected = unit_vectors(*direction)
    if config.array.planar:
        phase[2], expected[2] = 0, 0
    assert angular_distance(phase, expected) < 4


@pytest.mark.parametrize("array", ["mic", "respeaker_6mic"])
def test_gradient_vectors_follow_rotations(array):
    config = get_params("1", array=array, features="vectors", top_db=0)
    features = build_features(config)
    azimuth, elevation = 33.0, 21.0
    before = features.extract(plane_wave(config.array, azimuth, elevation))
    before = before.reshape(50, features.nb_feature_channels, 64)
    rotations, maps = features.rotations()
    assert len(rotations) == (8 if array == "mic" else 4)
    for rotation, one in zip(rotations, maps):
        x, y, z = rotation @ unit_vectors(azimuth, elevation)
        turned = np.rad2deg([np.arctan2(y, x), np.arcsin(z)])
        after = features.extract(plane_wave(config.array, *turned)).reshape(before.shape)
        expected = before[:, one.source] * one.sign[:, None]
        tolerance = 1e-3 if array == "mic" else 0.05  # positions of the ring are rounded to 0.1 mm
        count = config.array.channels
        np.testing.assert_allclose(after[1:, count:, :40], expected[1:, count:, :40], atol=tolerance)


def test_features_without_vectors_are_refused():
    with pytest.raises(ValueError, match="features that hold vectors"):
        build_model(get_params("22", array="mic", features="mic"))
    with pytest.raises(ValueError, match="multiple of 4 bands"):
        build_model(get_params("22", nb_mel_bins=62))


def test_orthogonalised_has_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((64, 200), (200, 64), (3, 128, 256)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.6 and values.max() < 1.3


def test_muon_takes_inner_weights_and_adamw_the_rest():
    model = build_model(get_params("22"))
    optimizer = make_optimizer(model, get_params("22").training)
    groups = {group["matrices"]: group for group in optimizer.param_groups}
    assert sorted(groups) == [0, 1, 3] and groups[1]["lr"] == groups[3]["lr"] == MUON_RATE * groups[0]["lr"]
    adamw = {id(p) for p in groups[0]["params"]}
    assert {id(p) for p in model.gru.parameters() if p.ndim == 2} == {id(p) for p in groups[3]["params"]}
    for layer in (model.doa_head[-1], model.activity_head[-1], model.blocks[0].one.bn):
        assert id(layer.weight) in adamw
    assert id(model.pointers.vectors) in adamw and id(model.reduce.weight) not in adamw
    total = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert total == sum(p.numel() for p in model.parameters())


def test_muon_learns():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    x = torch.randn(256, 32)
    y = x[:, :1] * x[:, 1:2]
    optimizer = make_optimizer(model, get_params("22", learning_rate=4e-3).training)
    losses = []
    for _ in range(150):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
