"""YAML files of experiments: what they mean, and what is refused."""

import pytest
import yaml

from doanet_parameters import get_params
from doatools.config.yaml_files import datasets_of, name_of
from doatools.errors import UserError

KEYS = {"name", "max_num_sources", "sequence_duration", "num_fft_bins", "frame_length", "chunk_length", "hidden_dim",
        "num_layers", "dropout_rate", "learning_rate", "num_epochs_warmup", "gradient_clip_val", "alpha", "dataset",
        "max_epochs", "manual_seed"}


@pytest.mark.parametrize("model, without", [
    ("adrenaline", set()), ("seldnet", {"num_layers"}), ("cnn", {"num_layers", "hidden_dim"})])
def test_published_keys_and_what_they_mean(model, without):
    path = f"configs/{model}.yaml"
    with open(path) as file:
        assert set(yaml.safe_load(file)) == KEYS - without
    params = get_params(path, format="tut2018", quick_test=False)
    wanted = {"model": model, "max_sources": 4, "max_audio_len_s": 30, "num_fft_bins": 2048, "nb_feature_bins": 1024,
              "hop_len_s": 0.02, "label_hop_len_s": 0.02, "annotation_hop_len_s": 0.02, "label_sequence_length": 25,
              "rnn_size": 128, "nb_rnn_layers": 2, "dropout_rate": 0, "learning_rate": 0.05, "num_epochs_warmup": 5,
              "gradient_clip": 1, "alpha": 1, "nb_epochs": 200, "seed": 1234, "batch_size": 16, "fs": 44100,
              "optimizer": "adamw", "weight_decay": 0, "lr_schedule": "warmup", "loss": "sel", "label_slots": "start"}
    assert {key: params[key] for key in wanted} == wanted
    assert datasets_of(path) == ["ansim", "resim", "real"]
    assert name_of(path) == {"adrenaline": "ADRENALINE", "seldnet": "SELDNet", "cnn": "CNN"}[model]


def test_on_dcase_recordings_their_own_length_and_rate_stay():
    params = get_params("configs/seldnet.yaml")
    wanted = {"fs": 24000, "max_audio_len_s": 60, "num_fft_bins": 1024, "nb_feature_bins": 512,
              "label_hop_len_s": 0.02, "annotation_hop_len_s": 0.1, "label_annotation_resolution": 5}
    assert {key: params[key] for key in wanted} == wanted


def test_overrides_in_either_name():
    assert get_params("configs/cnn.yaml", max_epochs=3, quick_test=False)["nb_epochs"] == 3
    assert get_params("configs/cnn.yaml", nb_epochs=3, max_num_sources=2, quick_test=False)["max_sources"] == 2


def test_any_parameter_may_stand_in_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: SELDNet\nloss: pit\nmax_epochs: 7\nquick_test: false\n")
    params = get_params(path)
    assert (params["loss"], params["nb_epochs"], params["model"]) == ("pit", 7, "seldnet")


@pytest.mark.parametrize("text, says", [
    ("name: CNN\nmax_epoch: 3\n", "unknown key 'max_epoch'. Did you mean 'max_epochs'"),
    ("name: CNN\nhiden_dim: 3\n", "unknown key 'hiden_dim'. Did you mean 'hidden_dim'"),
    ("name: CNN\nmax_epochs: many\n", "key 'max_epochs': .*takes a int.*not 'many'"),
    ("name: CNN\nlearning_rate: -1\n", "key 'learning_rate': .*must be from 0"),
    ("name: CNN\nmax_epochs: 1\n  x: [\n", "line 3: not valid YAML"),
    ("name: [CNN\n", "not valid YAML"),
    ("- CNN\n", "holds no 'key: value' lines"),
    ("", "holds no 'key: value' lines"),
    ("max_epochs: 3\n", "key 'name' is one of adrenaline"),
    ("name: CNNN\n", "not 'CNNN'. Did you mean 'cnn'"),
    ("name: CNN\ndataset: [ansin]\n", "'ansin' is not one of.*Did you mean 'ansim'"),
    ("name: CNN\nframe_length: 0\n", "key 'frame_length' takes a positive number"),
    ("name: CNN\nframe_length: 0.04\nchunk_length: 0.51\n", "key 'chunk_length': 0.51 s is not a whole number"),
    ("name: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
])
def test_what_is_wrong_is_named_with_the_file(tmp_path, text, says):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"some\.yaml.*" + says.replace("?", r"\?")):
        get_params(path)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"configs/none\.yaml does not exist"):
        get_params("configs/none.yaml")


def test_a_file_without_a_line_of_its_own_error_is_refused(tmp_path):
    (tmp_path / "some.yml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UserError, match="not a text file"):
        get_params(tmp_path / "some.yml")
