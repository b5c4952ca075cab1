"""Exported networks predict what torch predicts, for any batch and length, and localize without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import FS, foa_wave

import export_doanet
from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.errors import UserError
from doatools.train import checkpoint
from doatools.types import Scaler
from inference import load_localizer, track_file
from localizer import Localizer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
ROOT = Path(__file__).resolve().parent.parent


def save(path, **params):
    """An untrained checkpoint; batch norms are given statistics to fold."""
    import torch
    config = get_params(label_sequence_length=10, nb_cnn2d_filt=4, rnn_size=4, fnn_size=4, quick_test=False,
                        **params)
    features = build_features(config)
    size = features.nb_feature_channels * features.nb_bands
    rng = np.random.default_rng(0)
    localizer = Localizer(config, Scaler(rng.uniform(-30, 0, size), rng.uniform(1, 10, size)))
    for name, value in localizer.model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=torch.Generator().manual_seed(0)) + 0.5)
    checkpoint.save(path, {**localizer.content("32-true", ""), "model": localizer.model.state_dict()})
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint and its export."""
    path = save(tmp_path_factory.mktemp("exported") / "foa.pt", top_db=0.0)
    assert export_doanet.main([str(path)]) == 0
    return path, path.with_suffix(".onnx")


@pytest.mark.parametrize("params", [{}, {"array": "mic"}, {"array": "respeaker_6mic"}, {"activity": False},
                                    {"self_attn": True}])
def test_predictions_are_those_of_torch_for_any_batch_and_length(params, tmp_path, capsys):
    path = save(tmp_path / "a.pt", **params)
    assert export_doanet.main([str(path), "--out", str(tmp_path / "b.onnx")]) == 0
    assert capsys.readouterr().out.count("largest difference") == 9
    plain, ours = Localizer.from_checkpoint(path), load_localizer(tmp_path / "b.onnx")
    rng = np.random.default_rng(1)
    for batch, frames in ((1, 5), (3, 50), (7, 135)):
        features = rng.standard_normal((batch, plain.features.nb_feature_channels, frames, 64)).astype(np.float32)
        expected, found = plain.predict(features), ours.predict(features)
        assert np.abs(expected.doa - found.doa).max() < 1e-4
        assert (expected.probability is None) == (found.probability is None)
        assert expected.probability is None or np.abs(expected.probability - found.probability).max() < 1e-4


@pytest.mark.parametrize("threads", ["", "2,1", "many"])
def test_any_value_of_the_variable_of_openmp_is_read(threads, exported, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert load_localizer(exported[1]).predict(np.zeros((1, 7, 50, 64))).doa.shape == (1, 10, 2, 3)


def test_the_file_holds_all_that_is_needed_to_use_it(exported):
    path, onnx = exported
    plain, ours = Localizer.from_checkpoint(path), load_localizer(onnx)
    assert ours.config == plain.config and ours.config.array.name == plain.config.array.name
    assert np.array_equal(ours.scaler.mean, plain.scaler.mean) and np.array_equal(ours.scaler.scale, plain.scaler.scale)
    about = onnxruntime.InferenceSession(onnx).get_modelmeta().custom_metadata_map
    assert json.loads(about["doanet"])["params"]["fs"] == 24000 and "unit vectors" in about["reading"]


def test_tracks_are_those_of_torch_and_torch_is_not_even_loaded(exported, tmp_path):
    path, onnx = exported
    audio = foa_wave(0.05 * np.random.default_rng(0).standard_normal(4 * FS), 30, 10)
    soundfile.write(tmp_path / "a.wav", audio, FS)
    rows = track_file(load_localizer(path), tmp_path / "a.wav", threshold=0.3).rows
    command = "import sys, localize; sys.exit(localize.main(sys.argv[1:]) or 'torch' in sys.modules)"
    words = [tmp_path / "a.wav", "--checkpoint", onnx, "--threshold", "0.3", "--format", "json"]
    done = subprocess.run([sys.executable, "-c", command, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tracks = json.loads((tmp_path / "a.json").read_text())["tracks"]
    found = sorted((frame, track["track"], azimuth) for track in tracks
                  for frame, azimuth in zip(track["frame"], track["azimuth"]))
    assert len(rows) and [one[:2] for one in found] == rows[["frame", "track"]].tolist()
    assert np.allclose([one[2] for one in found], rows["azimuth"], atol=0.01)


def test_a_network_of_one_length_is_exported_for_that_length(tmp_path, capsys):
    words = {"model": "cnn", "loss": "sel", "hop_len_s": 0.1, "nb_mel_bins": 32, "num_fft_bins": 64}
    assert export_doanet.main([str(save(tmp_path / "cnn.pt", **words))]) == 0
    assert capsys.readouterr().out.count("10 feature frames") == 3


@pytest.mark.parametrize("spoil, says", [("batch", "invalid dimensions"),
                                         ("probability", r"probabilities \(1, 10, 1\) for 10 frames and 2 sources")])
def test_networks_of_other_shapes_are_refused_by_name(spoil, says, exported, tmp_path):
    """One whose batch is fixed, and one whose probability is that of all slots."""
    import onnx
    model = onnx.load(exported[1])
    del model.metadata_props[1:]  # the checksum among them
    if spoil == "batch":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    else:
        for node in model.graph.node:
            for number, name in enumerate(node.output):
                node.output[number] = "each" if name == "probability" else name
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "last"))
        model.graph.node.append(onnx.helper.make_node("ReduceMax", ["each", "last"], ["probability"]))
        model.graph.output[1].type.tensor_type.shape.dim[2].dim_value = 1
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"other\.onnx: its network .*" + says):
        load_localizer(tmp_path / "other.onnx").predict(np.zeros((2, 7, 50, 64)))


def test_mistakes(exported, tmp_path, capsys, monkeypatch):
    path, _ = exported
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    for words in ([path, "--out", tmp_path / "a.txt"], [tmp_path / "none.pt"]):
        assert export_doanet.main(list(map(str, words))) == 2
    assert "ends with .onnx" in capsys.readouterr().err
    for name, message in (("none.onnx", "no such file"), ("bad.onnx", "not a readable ONNX file")):
        with pytest.raises(ValueError, match=message):
            load_localizer(tmp_path / name)
    monkeypatch.setattr(export_doanet, "TOLERANCE", -1)
    assert export_doanet.main([str(path), "--out", str(tmp_path / "a.onnx")]) == 2
    assert "by more than -1" in capsys.readouterr().err and not (tmp_path / "a.onnx").exists()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export_doanet.main([str(path)]) == 2
    assert "pip install onnx" in capsys.readouterr().err
