"""DOAnet against the facts of its paper: sizes, names, layout, and equalities of its faster form."""

import pytest
import torch
from torch.nn import functional

from doanet_model import from_published
from doanet_parameters import get_params
from doatools.train import checkpoint
from localizer import build_model


def doanet(**overrides):
    return build_model(get_params(**overrides))


@pytest.mark.parametrize(("array", "activity", "expected"), [
    ("foa", True, 1_553_928), ("mic", True, 1_557_384), ("foa", False, 1_520_646), ("mic", False, 1_524_102)])
def test_number_of_weights_is_the_published_one(array, activity, expected):
    assert sum(p.numel() for p in doanet(array=array, activity=activity).parameters()) == expected


def published_names(attention):
    """A state dict under the published names, as its facts list them."""
    shapes = {}
    for block, channels in ((0, 7), (3, 128), (6, 128)):
        shapes[f"conv_block_list.{block}.conv.weight"] = (128, channels, 3, 3)
        shapes[f"conv_block_list.{block}.conv.bias"] = (128,)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"conv_block_list.{block}.bn.{name}"] = (128,)
        shapes[f"conv_block_list.{block}.bn.num_batches_tracked"] = ()
    for layer, size in ((0, 1024), (1, 256)):
        for way in ("", "_reverse"):
            shapes[f"gru.weight_ih_l{layer}{way}"] = (384, size)
            shapes[f"gru.weight_hh_l{layer}{way}"] = (384, 128)
            shapes[f"gru.bias_ih_l{layer}{way}"] = shapes[f"gru.bias_hh_l{layer}{way}"] = (384,)
    if attention:
        for name in "qkvo":
            shapes[f"attn.fc_{name}.weight"], shapes[f"attn.fc_{name}.bias"] = (128, 128), (128,)
    for head, out in (("fnn_list", 6), ("fnn_act_list", 2)):
        for layer, size in enumerate((128, 128, out)):
            shapes[f"{head}.{layer}.weight"], shapes[f"{head}.{layer}.bias"] = (size, 128), (size,)
    return {name: torch.rand(shape) if shape else torch.tensor(3) for name, shape in shapes.items()}


@pytest.mark.parametrize("attention", [False, True])
def test_published_state_dicts_load(attention):
    state = published_names(attention)
    model = checkpoint.load_weights(doanet(self_attn=attention), from_published(state), "published")
    assert torch.equal(model.blocks[1].conv.weight, state["conv_block_list.3.conv.weight"])
    assert torch.equal(model.doa_head[4].weight, state["fnn_list.2.weight"])
    if attention:
        assert torch.equal(model.attention.out.bias, state["attn.fc_o.bias"])


@pytest.mark.parametrize(("slots", "batch"), [(1, 1), (2, 3), (3, 2)])
def test_output_is_unit_vectors_at_label_rate(slots, batch):
    model = doanet(max_sources=slots)
    localization = model(torch.randn(batch, 7, 50, 64))
    assert localization.doa.shape == (batch, 10, slots, 3) and localization.activity_logits.shape == (batch, 10, slots)
    assert torch.allclose(localization.doa.norm(dim=-1), torch.ones(batch, 10, slots), atol=1e-3)


def test_components_are_laid_out_x_then_y_then_z():
    model = doanet(activity=False).eval()
    with torch.no_grad():
        model.doa_head[-1].weight.zero_()
        model.doa_head[-1].bias.copy_(torch.tensor([9.0, 0, 0, 9, 0, 0]))  # x1 x2 y1 y2 z1 z2
        doa = model(torch.randn(1, 7, 5, 64)).doa
    assert torch.allclose(doa[0, 0], torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=1e-5)


def test_pooling_before_the_relu_changes_neither_value_nor_gradient():
    model = doanet()
    block = model.blocks[0]
    x = torch.randn(2, 7, 50, 64)
    ours = block(x)
    plain = functional.max_pool2d(functional.relu(block.bn(block.conv(x))), block.pool.kernel_size)
    assert torch.equal(ours, plain)
    weight = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * weight).sum(), block.conv.weight)[0] for out in (ours, plain)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-3)


def test_attention_equals_its_equation():
    model = doanet(self_attn=True).eval()
    x = torch.randn(2, 6, 128)
    a = model.attention
    heads = []
    for h in range(4):
        q, k, v = (f(x)[..., 32 * h: 32 * h + 32] for f in (a.query, a.key, a.value))
        heads.append(torch.softmax(q @ k.transpose(1, 2) / 32**0.5, -1) @ v)
    assert torch.allclose(a(x), torch.tanh(a.out(torch.cat(heads, -1))), atol=1e-5)


def test_an_error_radius_and_more_slots_are_added_to_given_weights():
    """The slots that the weights know answer as before, further ones are unlikely, and the radius is that of the start;
    weights of the same shape are taken as they are."""
    few, many = ({"loss": "pit", "nb_cnn2d_filt": 8, "max_sources": slots} for slots in (2, 3))
    given = doanet(**few).eval()
    begun = doanet(model="doanet_radius", **many).eval()
    checkpoint.load_weights(begun, begun.begin_from(given.state_dict()), "weights")
    features = torch.randn(2, 7, 250, 64)
    with torch.no_grad():
        wanted, found = given(features), begun(features)
    torch.testing.assert_close(found.doa[:, :, :2], wanted.doa)
    torch.testing.assert_close(found.activity_logits[..., :2], wanted.activity_logits)
    assert found.activity_logits[..., 2].max() < -2 and wanted.others is None
    assert found.others["radius"].shape == (2, 50, 3) and (found.others["radius"] - 8).abs().max() < 4
    again = begun.begin_from(begun.state_dict())
    assert all(torch.equal(again[name], value) for name, value in begun.state_dict().items())


def test_the_radius_does_not_train_the_rest():
    net = doanet(model="doanet_radius", loss="pit", nb_cnn2d_filt=8)
    net(torch.randn(1, 7, 250, 64)).others["radius"].sum().backward()
    assert net.gru.weight_hh_l0.grad is None and net.radius_head[0].weight.grad.abs().sum() > 0
