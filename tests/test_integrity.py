"""Damaged models are refused: bit flips, weights and scalings that are not finite, outputs that are not."""

import numpy as np
import pytest
from test_export import save

import export_doanet
from doatools.errors import UserError
from doatools.seals import UNSEALED, is_intact, sealed
from doatools.train import checkpoint
from doatools.types import Predictions, Scaler
from hnet_model import HNet, load_hnet, save_hnet
from inference import OnnxLocalizer, load_localizer
from localizer import Localizer

torch = pytest.importorskip("torch")
FLIPS = 400


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "a.pt")


@pytest.fixture(scope="module")
def exported(model):
    pytest.importorskip("onnx")
    assert export_doanet.main([str(model)]) == 0
    return model.with_suffix(".onnx")


def flipped(data, rng):
    position = int(rng.integers(8 * len(data)))
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def test_no_checkpoint_with_a_flipped_bit_loads_with_other_content(model, tmp_path):
    data, rng, refused = model.read_bytes(), np.random.default_rng(0), 0
    whole, path = checkpoint._digest(checkpoint.load(model)), tmp_path / "flipped.pt"
    for _ in range(FLIPS // 4):  # four times as many take seven seconds
        path.write_bytes(flipped(data, rng))
        try:
            content = checkpoint.load(path)
        except UserError:
            refused += 1
        else:  # a bit of the zip file that means nothing
            assert checkpoint._digest(content) == whole
    assert refused > FLIPS / 8


def test_no_exported_network_with_a_flipped_bit_loads(exported, tmp_path):
    data, rng, path = exported.read_bytes(), np.random.default_rng(0), tmp_path / "flipped.onnx"
    assert is_intact(data) is True
    for _ in range(FLIPS):
        path.write_bytes(flipped(data, rng))
        with pytest.raises(UserError, match=r"flipped\.onnx"):
            OnnxLocalizer(path)


def test_the_seal_itself_may_be_what_is_damaged(exported, tmp_path):
    data = exported.read_bytes()
    start = data.index(b"sha256:")
    for position in (start, start + 8, start + 70):  # the word, and digits
        changed = bytearray(data)
        changed[position] ^= 64
        (tmp_path / "a.onnx").write_bytes(changed)
        with pytest.raises(UserError, match="is damaged: its"):
            OnnxLocalizer(tmp_path / "a.onnx")
    assert is_intact(sealed(b"a" + UNSEALED.encode() + b"b")) and is_intact(b"nothing") is None


def test_files_of_earlier_editions_have_no_checksum_and_load(model, exported, tmp_path):
    content = torch.load(model, weights_only=True)
    assert content.pop("checksum")
    torch.save(content, tmp_path / "old.pt")
    assert torch.equal(next(load_localizer(tmp_path / "old.pt").model.parameters()),
                       next(load_localizer(model).model.parameters()))
    import onnx
    old = onnx.load(exported)
    about = {prop.key: prop.value for prop in old.metadata_props}
    del about["checksum"]
    onnx.helper.set_model_props(old, about)
    onnx.save(old, tmp_path / "old.onnx")
    features = np.zeros((1, 7, 50, 64), np.float32)
    assert (OnnxLocalizer(tmp_path / "old.onnx").predict(features).doa == OnnxLocalizer(exported).predict(
        features).doa).all()
    for tensor in old.graph.initializer:  # weights that are no numbers
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(
                np.full(tensor.dims, np.nan, np.float32), tensor.name))
    onnx.save(old, tmp_path / "old.onnx")
    with pytest.raises(UserError, match="not finite"):
        OnnxLocalizer(tmp_path / "old.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value, model, tmp_path):
    content = checkpoint.load(model)
    name = next(iter(content["model"]))
    content["model"][name] = content["model"][name].clone()
    content["model"][name].view(-1)[3] = value
    checkpoint.save(tmp_path / "a.pt", content)
    for use in (Localizer.from_checkpoint, load_localizer):
        with pytest.raises(UserError, match=r"a\.pt: '.*' holds values that are not finite"):
            use(tmp_path / "a.pt")
    torch.save(content["model"], tmp_path / "bare.pt")
    with pytest.raises(UserError, match="not finite"):
        Localizer.from_checkpoint(model).load_weights(tmp_path / "bare.pt")


@pytest.mark.parametrize(("name", "value"), [("mean", np.nan), ("scale", np.inf), ("scale", 0.0), ("scale", -1.0)])
def test_scalings_that_are_of_no_use_are_refused(name, value, model, tmp_path):
    content = checkpoint.load(model)
    content["scaler"][name] = content["scaler"][name].clone()
    content["scaler"][name][0] = value
    checkpoint.save(tmp_path / "a.pt", content)
    with pytest.raises(UserError, match=r"a\.pt"):
        Localizer.from_checkpoint(tmp_path / "a.pt")
    scaler = Scaler(np.zeros(2), np.ones(2))
    getattr(scaler, name)[1] = value
    with pytest.raises(UserError, match=r"a\.onnx: its feature scaling"):
        scaler.refuse_unusable("a.onnx")


def test_outputs_that_are_not_finite_are_an_error_and_not_silence():
    doa = np.ones((2, 1, 3))
    Predictions(doa, np.ones((2, 1))).refuse_not_finite()
    for predictions in (Predictions(doa, np.full((2, 1), np.nan)), Predictions(np.inf * doa, None)):
        with pytest.raises(UserError, match="not finite"):
            predictions.refuse_not_finite()


def test_the_check_of_an_export_does_not_pass_outputs_that_are_no_numbers(model, tmp_path, monkeypatch, capsys):
    """One of two outputs differs by NaN; the largest of (1e-6, NaN) is not 1e-6."""
    pytest.importorskip("onnx")
    predict = OnnxLocalizer.predict

    def spoiled(self, features):
        found = predict(self, features)
        return Predictions(found.doa, found.probability * (np.nan if len(features) == 5 else 1))

    monkeypatch.setattr(OnnxLocalizer, "predict", spoiled)
    assert export_doanet.main([str(model), "--out", str(tmp_path / "b.onnx")]) == 2
    assert "differ from those of PyTorch" in capsys.readouterr().err and not (tmp_path / "b.onnx").exists()


def test_hungarian_networks_have_a_checksum_as_well(tmp_path):
    save_hnet(tmp_path / "h.pt", HNet(2))
    load_hnet(tmp_path / "h.pt", 2)
    content = torch.load(tmp_path / "h.pt", weights_only=True)
    next(iter(content["weights"].values())).view(-1)[0] += 1
    torch.save(content, tmp_path / "h.pt")
    with pytest.raises(UserError, match="is damaged"):
        load_hnet(tmp_path / "h.pt", 2)
