"""Parameters: tasks, overrides, what is refused, what follows from what, and what checkpoints store."""

import dataclasses
import shutil

import pytest
from pydantic import ValidationError

from doanet_parameters import TASKS, get_params, main, parse_overrides, split_words
from doatools.config.schema import ALIASES, FLAT, SECTIONS, Config, defaults, described
from doatools.spatial.arrays import Array, find_array

NUMBERS = [key for key, value in defaults().items() if type(value) in (int, float)]


def field(key):
    section, name = FLAT[key]
    return SECTIONS[section].model_fields[name]


def test_every_task_of_the_table_exists():
    assert set(TASKS) == {str(i) for i in range(1, 25)} | {"999"}


@pytest.mark.parametrize("mic, foa, differing", [
    *[(mic, foa, {"array"}) for mic, foa in {"7": "2", "8": "3", "9": "4", "10": "5", "11": "6", "16": "12", "17": "13",
                                             "18": "14", "19": "15", "21": "20"}.items()],
    ("23", "22", {"array"})])
def test_microphone_tasks_are_their_ambisonic_twins_on_another_array(mic, foa, differing):
    ours, twin = get_params(mic), get_params(foa)
    assert ours.array.name == "mic" and twin.array.name == "foa"
    assert {key for key, value in ours.flat().items() if value != twin.flat()[key]} == differing


def test_defaults_then_task_then_overrides_then_derived():
    config = get_params("12", nb_epochs=1, dataset_dir="there", max_sources=3)
    assert (config.model.activity, config.data.augmented, config.loss.ids_weight) == (False, True, 0.0)
    assert config.data.feature_dir == "there/features"
    assert config.features.ratio == 5 and config.labels_per_score == 1 and config.score_hop_s == 0.1


def test_quick_test_is_the_default_and_short():
    assert get_params().run.quick_test and get_params().epochs == 2
    assert get_params(nb_epochs=1).epochs == 1
    assert get_params(quick_test=False).epochs == 200


def test_parameters_are_never_changed_in_place():
    config = get_params()
    with pytest.raises(ValidationError):
        config.training.nb_epochs = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.training = None
    assert get_params(f_pool_size=[2, 4, 4]).model.f_pool_size == (2, 4, 4)
    assert get_params().model.f_pool_size == (2, 2, 2)


@pytest.mark.parametrize(("task", "overrides", "told"), [
    ("99", {}, "unknown task '99'. Did you mean '999'"),
    ("1", {"nb_epoch": 3}, "Did you mean 'nb_epochs'"),
    ("1", {"nb_epochs": "many"}, "'nb_epochs' takes a whole number such as 200, not 'many'"),
    ("1", {"nb_epochs": 1.5}, "'nb_epochs' takes a whole number such as 200, not 1.5"),
    ("1", {"nb_epochs": True}, "'nb_epochs' takes a whole number such as 200, not True"),
    ("1", {"quick_test": 1}, "'quick_test' takes True or False, not 1"),
    ("1", {"results_dir": True}, "'results_dir' takes a word such as 'results', not True"),
    ("1", {"results_dir": ""}, "'results_dir' must not be empty"),
    ("1", {"array": "fao"}, "Did you mean 'foa'"),
    ("1", {"dataset": "fao"}, "Did you mean 'foa'"),
    ("1", {"loss": "pti"}, "'loss' is one of .*, not 'pti'. Did you mean 'pit'"),
    ("1", {"features": "fao"}, "'features' is one of '', foa, mic, .*Did you mean 'foa'"),
    ("1", {"f_pool_size": [2, "two"]}, "takes numbers"),
    ("1", {"f_pool_size": []}, "takes numbers"),
    ("1", {"f_pool_size": [2.0, 2, 2]}, "takes whole numbers"),
    ("1", {"f_pool_size": [2, 0]}, "'f_pool_size' must be from 1 to 64, not"),
    ("1", {"batch_size": 0}, "'batch_size' must be from 1"),
    ("1", {"seed": -1}, "'seed' must be from 0 to 4294966296, not -1"),
    ("1", {"learning_rate": float("nan")}, "'learning_rate' must be from 0"),
    ("1", {"tracker_gate_deg": 200}, "'tracker_gate_deg' must be from 0 to 180 degrees, not 200"),
    ("1", {"label_hop_len_s": 0.03, "format": "tut2018"}, "whole multiple of hop_len_s .*set hop_len_s=0.015"),
    ("1", {"label_hop_len_s": 0.02, "label_sequence_length": 3}, "label_sequence_length=3 .* multiple of 5"),
])
def test_what_is_wrong_is_named_in_one_line(task, overrides, told):
    with pytest.raises(ValueError, match="^" + ".*" + told.replace("?", r"\?")) as error:
        get_params(task, **overrides)
    assert "\n" not in str(error.value)


def test_huge_values_are_cut_in_messages():
    with pytest.raises(ValueError, match="takes a whole number") as error:
        get_params(nb_epochs="9" * 100_000)
    assert len(str(error.value)) < 200


def test_numbers_are_taken_in_either_spelling():
    assert get_params(learning_rate=1).training.learning_rate == 1.0
    assert get_params(learning_rate="1e-3").training.learning_rate == 1e-3  # as YAML reads it
    assert get_params(nb_epochs=3.0).training.nb_epochs == 3
    assert get_params(sim_rt60_s=[1, 2]).simulation.rt60_s == (1.0, 2.0)
    assert get_params(results_dir=2024).run.results_dir == "2024"


def test_aliases():
    config = get_params(dataset="mic", turn_augment=True)
    assert config.array.name == config.data.array == "mic" and config.augment.rotation_augment
    assert config.replaced(dataset="foa").array.name == "foa"
    assert set(ALIASES.values()) <= set(FLAT) and not set(ALIASES) & set(FLAT)


def test_command_line_words():
    assert split_words(["4", "nb_epochs=20", "array=mic", "sim_snr_db=[0, 3]"], "1", "first") == (
        ["4", "first"], {"nb_epochs": 20, "array": "mic", "sim_snr_db": [0, 3]})
    with pytest.raises(ValueError, match="unexpected word 'extra'"):
        split_words(["4", "job", "extra"], "1", "first")
    with pytest.raises(ValueError, match="key=value"):
        parse_overrides(["nb_epochs"])
    assert parse_overrides(["dataset_dir=a=b"]) == {"dataset_dir": "a=b"}
    assert type(parse_overrides(["nb_epochs=" + "9" * 20_000])["nb_epochs"]) is str
    assert parse_overrides(["x=" + "(" * 5000]) == {"x": "(" * 5000}


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_a_range_that_its_default_keeps(key):
    low, high = field(key).json_schema_extra["within"]
    assert low <= defaults()[key] <= high
    for outside in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"'{key}' must be from"):
            get_params(**{key: outside})


def test_mse_trains_no_activity_branch():
    assert not get_params(loss="mse").predicts_activity
    assert get_params(loss="pit").predicts_activity and not get_params(loss="pit", activity=False).predicts_activity


def test_defaults_are_among_their_choices():
    for key, default in defaults().items():
        choices = field(key).json_schema_extra["choices"]
        assert choices is None or default in choices


def test_the_list_of_parameters_names_each_with_what_differs(capsys):
    assert main(["20", "fs=16000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for section, key, *_ in described():
        assert section in lines and sum(line[2:].startswith(f"{key} = ") for line in lines) == 1
    assert "* fs = 16000 Hz" in lines and "  hop_len_s = 0.02 s" in lines and "* loss = 'pit'" in lines


# --- given and derived -----------------------------------------------------------------------------------------

def test_derived_values_follow_what_they_derive_from():
    config = get_params(dataset_dir="one")
    assert config.replaced(dataset_dir="two").data.feature_dir == "two/features"
    own = config.replaced(feat_label_dir="own")
    assert own.data.feature_dir == own.replaced(dataset_dir="two").data.feature_dir == "own"
    faster = config.replaced(hop_len_s=0.01)
    assert (config.features.hop, faster.features.hop) == (480, 240)
    assert (config.features.ratio, faster.features.ratio) == (5, 10)
    assert config.replaced(array="mic").features_name == "mic" and config.features_name == "foa"
    assert config.replaced(array="mic", features="magphase").features_name == "magphase"
    vectors = config.replaced(features="vectors")
    assert vectors.features_name == "foa" and vectors.replaced(array="mic").features_name == "vectors"


@pytest.mark.parametrize("features", ["", "magphase"])
def test_the_fft_holds_a_window_at_any_hop(features):
    from cls_feature_class import build_features
    config = get_params(features=features)
    sizes = {hop: build_features(config.replaced(hop_len_s=hop)).n_fft for hop in (0.01, 0.02, 0.05)}
    assert sizes == {0.01: 512, 0.02: 1024, 0.05: 4096}  # windows of 480, 960 and 2400 samples


@pytest.mark.parametrize("overrides", [
    {}, {"array": "mic", "f_pool_size": [4, 2, 2], "max_sources": 3}, {"array": "respeaker_6mic", "quick_test": False},
    {"features": "magphase", "num_fft_bins": 2048, "feat_label_dir": "own"}, {"sim_recordings_per_fold": 3}])
def test_what_is_stored_comes_back(overrides):
    config = get_params("20", **overrides)
    stored = config.stored()
    assert all(type(value) in (str, int, float, bool, list) for value in stored.values())
    assert not any(key.startswith("sim_") for key in stored)
    back = Config.from_stored(stored, config.array)
    usual = {key: value for key, value in defaults().items() if key.startswith("sim_")}
    assert back == config.replaced(**usual)
    assert back.replaced(dataset_dir="two").data.feature_dir == config.replaced(dataset_dir="two").data.feature_dir


def test_a_stored_array_needs_no_file(tmp_path):
    shutil.copy("arrays/respeaker_6mic.yaml", tmp_path / "mine.yaml")
    config = get_params(array=str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").unlink()
    back = Config.from_stored(config.stored(), Array.from_plain(config.array.plain()))
    assert back == config and back.replaced(nb_epochs=3).array.channels == 6
    with pytest.raises(ValueError, match=r"mine\.yaml does not exist"):
        get_params(array=str(tmp_path / "mine.yaml"))


# What checkpoints of the first edition hold as "params": derived values among given ones, and names that are gone.
FIRST_EDITION = {
    "quick_test": False, "seed": 1234, "dataset_dir": "datasets/rooms", "feat_label_dir": "datasets/rooms/features",
    "results_dir": "results", "hnet_weights": "", "dataset": "foa", "format": "dcase", "fold": 1, "mode": "dev",
    "turn_augment": True, "level_augment_db": 25.0, "spec_augment": False, "augmented": False, "max_sources": 2,
    "label_slots": "track", "overflow": "error", "features": "", "fs": 24000, "hop_len_s": 0.02, "label_hop_len_s": 0.1,
    "annotation_hop_len_s": 0.1, "max_audio_len_s": 60.0, "nb_mel_bins": 64, "num_fft_bins": 1024, "top_db": 0.0,
    "label_sequence_length": 50, "batch_size": 32, "num_workers": 0, "model": "doanet", "nb_cnn2d_filt": 96,
    "f_pool_size": [2, 2, 2], "nb_rnn_layers": 2, "rnn_size": 128, "self_attn": False, "nb_heads": 4,
    "nb_fnn_layers": 2, "fnn_size": 128, "dropout_rate": 0.0, "activity": True, "loss": "pit", "association": "hnet",
    "switch_cost": 30.0, "association_sees": "distance", "association_gradient": "soft", "dmotp": "published",
    "dmotp_weight": 50.0, "dmota_weight": 1.0, "predicted": "associated", "ids_weight": 1.0, "ids": "published",
    "activity_weight": 10.0, "activity_gate_deg": 60.0, "pit_distance": "plain", "pit_distance_weight": 50.0,
    "pit_level": "track", "alpha": 1.0, "sel_slots": "start", "init_weights": "", "tracker": "off",
    "tracker_gate_deg": 30.0, "tracker_max_gap": 5, "tracker_process_deg": 0.2, "tracker_measurement_deg": 5.0,
    "nb_epochs": 100, "optimizer": "adamw", "learning_rate": 0.001, "lr_schedule": "onecycle", "num_epochs_warmup": 5,
    "weight_decay": 0.0, "gradient_clip": 1.0, "patience": 50, "device": "auto", "precision": "auto", "compile": False,
    "sim_recordings_per_fold": 12, "sim_recording_len_s": 60.0, "sim_rt60_s": [0.3, 0.8], "sim_snr_db": [6.0, 30.0],
    "sim_elevation_deg": 45.0, "sim_moving": 0.4, "sim_rooms_per_fold": 4, "task_id": "20",
    "feature_label_resolution": 5, "label_annotation_resolution": 1, "nb_feature_bins": 64}
# Values that only the first edition stored → whether they are named otherwise, derived, or gone.
OLD_NAMES = {"dataset", "turn_augment"}
DERIVED = {"feature_label_resolution", "label_annotation_resolution", "nb_feature_bins", "annotation_hop_len_s"}
GONE = {"association_gradient", "predicted"}


def first_edition(**changes):
    return Config.from_stored(FIRST_EDITION | changes, find_array("foa"))


def test_checkpoints_of_the_first_edition_keep_their_meaning():
    config = first_edition()
    values = config.flat()
    for key in FIRST_EDITION.keys() - OLD_NAMES - DERIVED - GONE - {"task_id", "feat_label_dir", "num_fft_bins"}:
        wanted = tuple(FIRST_EDITION[key]) if isinstance(FIRST_EDITION[key], list) else FIRST_EDITION[key]
        assert values[key] == wanted, key
    assert config.task_id == "20" and config.data.array == "foa" and config.augment.rotation_augment
    assert config.data.feature_dir == FIRST_EDITION["feat_label_dir"]
    assert config.features.ratio == 5 and config.labels_per_score == 1 and config.epochs == 100
    assert config.data.max_audio_len_s == 60  # the usual length then; there is none now


def test_derived_values_of_the_first_edition_are_no_given_ones():
    from cls_feature_class import build_features
    config = first_edition()
    assert config.replaced(dataset_dir="moved").data.feature_dir == "moved/features"
    assert first_edition(feat_label_dir="own").replaced(dataset_dir="moved").data.feature_dir == "own"
    assert build_features(config).n_fft == 1024 and build_features(config).nb_bands == 64
    assert build_features(config.replaced(hop_len_s=0.05)).n_fft == 4096
    magphase = first_edition(features="magphase", num_fft_bins=2048, nb_feature_bins=1024)
    assert build_features(magphase).n_fft == 2048 and build_features(magphase).nb_bands == 1024


@pytest.mark.parametrize("changes", [{"association": "track"}, {"loss": "pit_dmot"}, {"dmotp": "squared"},
                                     {"association_gradient": "straight"}, {"predicted": "probable"}])
def test_losses_that_are_gone_do_not_keep_a_model_from_loading(changes):
    config = first_edition(**changes)
    assert config.model == first_edition().model and config.predicts_activity


def test_quick_tests_and_missing_branches_of_the_first_edition():
    config = first_edition(quick_test=True, nb_epochs=2, loss="mse", activity=False)
    assert config.epochs == 2 and not config.predicts_activity
