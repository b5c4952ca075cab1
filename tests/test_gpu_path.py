"""What makes training fast on a GPU, tested on a CPU: no waiting inside a step, batches on the device, fallbacks.

The meta device stands for a GPU: its tensors hold no data, so whatever asks for a value fails.
"""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cls_data_generator import SequenceDataset, make_loader
from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.data.augmentation import build_augmentation
from doatools.registry import ASSOCIATIONS, LOSSES, MODELS
from doatools.train import loop
from doatools.train.loop import LossWatch, compiled, make_optimizer, train_step
from doatools.train.losses import build_criterion
from doatools.train.resident import ResidentBatches
from localizer import build_model

SMALL = {"nb_cnn2d_filt": 8, "rnn_size": 8, "fnn_size": 8, "label_sequence_length": 5}
CHUNKS = {"loss": "sel", "features": "magphase", "label_hop_len_s": 0.02, "num_fft_bins": 256, "fs": 6000}


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for the device: values and copies that cross between the two."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [one for one in (*args, result) if isinstance(one, torch.Tensor) and one.dim()]
        if func.overloadpacket.__name__ in ("_to_copy", "copy_") and len({one.device for one in tensors}) > 1:
            raise AssertionError(f"{func} between devices")
        return result


FABRIC = SimpleNamespace(
    backward=torch.Tensor.backward,
    clip_gradients=lambda model, _, max_norm, **__: torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm))


def on_meta(batch=3, frames=5, channels=7, ratio=5, bands=64):
    doa = torch.nn.functional.normalize(torch.randn(batch, frames, 2, 3), dim=-1)
    tensors = {"features": torch.randn(batch, channels, ratio * frames, bands), "doa": doa,
               "activity": torch.ones(batch, frames, 2)}
    return {name: value.to("meta") for name, value in tensors.items()} | {"index": np.arange(batch)}


@pytest.mark.parametrize("overrides", [
    *({"loss": name} for name in LOSSES), {"loss": "pit", "pit_level": "track"},
    *({"association": name} for name in ASSOCIATIONS),
    {"association_sees": "activity", "ids": "switch", "dmotp": "mean"},
    *({"model": name, **CHUNKS} for name in MODELS if name not in ("doanet", "bearing")),
    {"model": "bearing", "optimizer": "muon"},
], ids=lambda overrides: "-".join(map(str, overrides.values()))[:30])
def test_a_step_never_waits_for_its_device(overrides, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which meta does not know
    config = get_params(**{**SMALL, "gradient_clip": 1.0, **overrides})
    chunk = "features" in overrides
    batch = on_meta(channels=8 if chunk else 7, ratio=1 if chunk else 5, bands=128 if chunk else 64)
    model, criterion = build_model(config).to("meta"), build_criterion(config).to("meta")
    optimizer, watch = make_optimizer(model, config.training), LossWatch(str)
    train_step(FABRIC, model, criterion, optimizer, batch, 1.0)  # creates what later steps reuse
    with NoWaiting():
        watch.add(train_step(FABRIC, model, criterion, optimizer, batch, 1.0), batch["index"])


def test_the_check_itself_would_find_waiting():
    value = torch.ones(2, device="meta")
    with NoWaiting():
        with pytest.raises(RuntimeError):
            value.sum().item()
        with pytest.raises((AssertionError, NotImplementedError)):
            value.cpu()
        with pytest.raises(AssertionError):
            torch.ones(2).to("meta")


@pytest.mark.parametrize("array", ["foa", "mic"])
def test_augmentation_never_waits(array):
    config = get_params(**SMALL, array=array, rotation_augment=True, spec_augment=True)
    channels = 7 if array == "foa" else 10
    scaler = SimpleNamespace(mean=np.zeros(channels * 64), scale=np.ones(channels * 64))
    augment = build_augmentation(config, build_features(config), scaler).to("meta")
    batch = on_meta(channels=channels)
    with NoWaiting():
        assert augment(batch, epoch=1)["features"].shape == batch["features"].shape


def test_resident_batches_are_those_of_the_loader(tiny_data):
    config = get_params(dataset_dir=str(tiny_data), max_audio_len_s=6, label_sequence_length=25, batch_size=5)
    data = SequenceDataset(config, "train")
    loader = make_loader(data, config, train=True)
    resident = ResidentBatches(loader, torch.device("cpu"))
    assert len(resident) == len(loader) == 3 and resident.stored[0].nbytes == data.nbytes
    for epoch in (1, 2):
        loader.batch_sampler.set_epoch(epoch)
        for theirs, ours in zip(loader, resident, strict=True):
            assert theirs["index"].tolist() == ours["index"].tolist()
            assert all(torch.equal(theirs[name], ours[name]) for name in ("features", "doa", "activity"))


def test_batches_lie_on_a_gpu_where_they_fit(monkeypatch):
    loader = SimpleNamespace(dataset=SimpleNamespace(nbytes=1000))
    fabric = SimpleNamespace(device=torch.device("cuda"), setup_dataloaders=lambda loader, **_: "read each time")
    monkeypatch.setattr(loop, "ResidentBatches", lambda loader, device: "resident")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    for free, how in ((2000, "resident"), (1999, "read each time")):  # noqa: B007
        assert loop.batches_of(fabric, loader) == how
    fabric.device = torch.device("cpu")
    assert loop.batches_of(fabric, loader) == "read each time"


def test_what_cannot_be_compiled_runs_as_it_is():
    def broken(*_):
        raise RuntimeError("no compiler here")
    layer, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    wanted = layer(x)
    for backend in (broken, "eager"):
        torch.testing.assert_close(compiled(layer, backend)(x), wanted)
    assert set(layer.state_dict()) == {"weight", "bias"}  # the names in any checkpoint


def test_the_fused_optimizer_makes_the_same_steps():
    results = []
    for fused in (False, True):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        optimizer = make_optimizer(layer, get_params(optimizer="adamw", weight_decay=0.1).training, fused)
        assert bool(optimizer.defaults["fused"]) == fused
        for _ in range(3):
            layer(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        results.append(layer.weight)
    torch.testing.assert_close(*results)
