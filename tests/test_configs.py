"""YAML files of experiments: what they mean, and what is refused."""

import pytest
import yaml

from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.config.experiments import datasets_of, name_of
from doatools.errors import UserError
from doatools.spatial.arrays import read_array

KEYS = {"name", "max_num_sources", "sequence_duration", "num_fft_bins", "frame_length", "chunk_length", "hidden_dim",
        "num_layers", "dropout_rate", "learning_rate", "num_epochs_warmup", "gradient_clip_val", "alpha", "dataset",
        "max_epochs", "manual_seed"}


@pytest.mark.parametrize("model, without", [
    ("adrenaline", set()), ("seldnet", {"num_layers"}), ("cnn", {"num_layers", "hidden_dim"})])
def test_published_keys_and_what_they_mean(model, without):
    path = f"configs/{model}.yaml"
    with open(path) as file:
        assert set(yaml.safe_load(file)) == KEYS - without
    config = get_params(path, format="tut2018", quick_test=False)
    wanted = {"model": model, "max_sources": 4, "max_audio_len_s": 30, "num_fft_bins": 2048,
              "hop_len_s": 0.02, "label_hop_len_s": 0.02, "label_sequence_length": 25,
              "rnn_size": 128, "nb_rnn_layers": 2, "dropout_rate": 0, "learning_rate": 0.05, "num_epochs_warmup": 5,
              "gradient_clip": 1, "alpha": 1, "nb_epochs": 200, "seed": 1234, "batch_size": 16, "fs": 44100,
              "optimizer": "adamw", "weight_decay": 0, "lr_schedule": "warmup", "loss": "sel", "label_slots": "start"}
    assert {key: config.flat()[key] for key in wanted} == wanted
    assert build_features(config).nb_bands == 1024 and config.score_hop_s == 0.02 and config.epochs == 200
    assert datasets_of(path) == ["ansim", "resim", "real"]
    assert name_of(path) == {"adrenaline": "ADRENALINE", "seldnet": "SELDNet", "cnn": "CNN"}[model]


def test_on_dcase_recordings_their_own_length_and_rate_stay():
    config = get_params("configs/seldnet.yaml")
    made = build_features(config)
    assert (config.features.fs, config.data.max_audio_len_s, made.n_fft, made.nb_bands) == (24000, 0, 1024, 512)
    assert (config.features.label_hop_len_s, config.score_hop_s, config.labels_per_score) == (0.02, 0.1, 5)


def test_the_format_may_stand_in_the_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: CNN\nformat: tut2018\nnum_fft_bins: 4096\n")
    config = get_params(path)
    assert (config.data.format, config.features.fs, config.features.num_fft_bins) == ("tut2018", 44100, 4096)
    assert get_params(path, format="dcase").features.num_fft_bins == 0  # a key that is for TUT recordings only


def test_overrides_in_either_name():
    assert get_params("configs/cnn.yaml", max_epochs=3).training.nb_epochs == 3
    assert get_params("configs/cnn.yaml", nb_epochs=3, max_num_sources=2).data.max_sources == 2


def test_any_parameter_may_stand_in_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: SELDNet\nloss: pit\nmax_epochs: 7\nquick_test: false\nlearning_rate: 1e-4\n"
                    "turn_augment: true\n")
    config = get_params(path)
    assert (config.loss.loss, config.epochs, config.model.model) == ("pit", 7, "seldnet")
    assert config.training.learning_rate == 1e-4 and config.augment.rotation_augment


@pytest.mark.parametrize("text, says", [
    ("name: CNN\nmax_epoch: 3\n", "unknown key 'max_epoch'. Did you mean 'max_epochs'"),
    ("name: CNN\nhiden_dim: 3\n", "unknown key 'hiden_dim'. Did you mean 'hidden_dim'"),
    ("name: CNN\nmax_epochs: many\n", "key 'max_epochs': .*takes a whole number.*not 'many'"),
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
    ("name: CNN\nmax_epochs: 3\nmax_epochs: 5\n", "line 3: key 'max_epochs' is given in line 2 already"),
    ("name: CNN\nmax_epochs: 2020-01-01\n", "key 'max_epochs': .*takes a whole number such as 200, not datetime"),
    ("name: 2020-01-01\n", "key 'name' is one of adrenaline, .*, not datetime.date"),
    ("name: CNN\nresults_dir: 2020-01-01\n", "takes a word such as 'results', not datetime.date"),
    ("name: CNN\nmax_epochs: 2020-13-40\n", "not valid YAML .ValueError: month must be in 1..12"),
    ("name: CNN\nbase: &all [1, 2]\n", "line 2: anchors and aliases are not supported"),
    ("a: *all\nname: CNN\n", "line 1: anchors and aliases are not supported"),
    ("name: CNN\nmax_epochs: [" + "9" * 200_000 + "]\n", "has more than 100000 bytes, too many for a config"),
    ("name: CNN\nmax_epochs: " + "9" * 20_000 + "\n", "not valid YAML .ValueError: Exceeds the limit"),
    ("name: CNN\nmax_epochs: " + "[" * 90_000 + "\n", "line 2: lists and mappings are nested more than 20"),
    ("name: CNN\nmax_epochs:\n" + "".join(" " * n + "-\n" for n in range(1, 400)), "line 22: .* nested more than 20"),
    ("name: CNN\nmax_epochs: " + "{a: " * 20_000, "line 2: lists and mappings are nested more than 20"),
    ("name: CNN\n[1, 2]: 3\n", "not valid YAML"),
    ("name: CNN\n--- \nname: CNN\n", "line 2: not valid YAML"),
])
def test_what_is_wrong_is_named_with_the_file_in_one_line(tmp_path, text, says):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"some\.yaml.*" + says.replace("?", r"\?")) as error:
        get_params(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


BILLION_LAUGHS = "k0: &k0 [lol, lol]\n" + "".join(
    f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]\n" for n in range(1, 20))


@pytest.mark.parametrize("text, says", [
    (BILLION_LAUGHS, "line 1: anchors and aliases are not supported"),
    ("name: mine\nkind: free\npositions_m: " + "[" * 200_000, "has more than 100000 bytes, too many for an array"),
    ("name: mine\nkind: free\npositions_m: [[2020-01-01, 0, 0]]\n", "capsule 1: takes .* not .*datetime"),
    ("name: mine\nname: other\nkind: ambisonic\n", "line 2: key 'name' is given in line 1 already"),
])
def test_arrays_are_read_with_the_same_care(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml.*" + says) as error:
        read_array(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_file_without_end_is_refused_at_once():
    with pytest.raises(UserError, match="is not a regular file"):
        name_of("/dev/zero")


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"configs/none\.yaml does not exist"):
        get_params("configs/none.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "some.YML").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UserError, match="not a text file"):
        get_params(tmp_path / "some.YML")
