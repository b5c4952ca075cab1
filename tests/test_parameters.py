"""The one door to parameters: tasks, overrides, and what it refuses."""

import pytest

import doanet_parameters
from doanet_parameters import DEFAULTS, TASKS, get_params, parse_overrides, split_words


def test_every_task_of_the_table_exists():
    assert set(TASKS) == {str(i) for i in range(1, 22)} | {"999"}


def test_microphone_tasks_are_their_ambisonic_twins_on_another_array():
    for mic, foa in {"7": "2", "8": "3", "9": "4", "10": "5", "11": "6", "18": "14", "21": "20"}.items():
        ours, twin = get_params(mic), get_params(foa)
        assert ours["dataset"] == "mic" and twin["dataset"] == "foa"
        assert {k: v for k, v in ours.items() if k not in ("dataset", "task_id")} == {
            k: v for k, v in twin.items() if k not in ("dataset", "task_id")}


def test_defaults_then_task_then_overrides_then_derived():
    params = get_params("12", nb_epochs=1, dataset_dir="there", max_sources=3)
    assert (params["activity"], params["augmented"], params["ids_weight"]) == (False, True, 0.0)
    assert params["feat_label_dir"] == "there/features"
    assert params["feature_label_resolution"] == 5


def test_quick_test_is_the_default_and_short():
    assert get_params()["quick_test"] and get_params()["nb_epochs"] == 2
    assert get_params(quick_test=False)["nb_epochs"] == 200


def test_defaults_are_never_changed_by_a_caller():
    get_params()["f_pool_size"].append(7)
    assert DEFAULTS["f_pool_size"] == [2, 2, 2]


@pytest.mark.parametrize(("task", "overrides", "told"), [
    ("99", {}, "unknown task '99'. Did you mean '999'"),
    ("1", {"nb_epoch": 3}, "Did you mean 'nb_epochs'"),
    ("1", {"nb_epochs": "many"}, "'nb_epochs' takes a int"),
    ("1", {"nb_epochs": 1.5}, "'nb_epochs' takes a int"),
    ("1", {"quick_test": 1}, "'quick_test' takes a bool"),
    ("1", {"dataset": "fao"}, "Did you mean 'foa'"),
    ("1", {"f_pool_size": [2, "two"]}, "takes numbers"),
    ("1", {"batch_size": 0}, "'batch_size' must be from 1"),
    ("1", {"seed": -1}, "'seed' must be from 0"),
    ("1", {"learning_rate": float("nan")}, "'learning_rate' must be from 0"),
    ("1", {"f_pool_size": []}, "takes numbers"),
    ("1", {"f_pool_size": [2.0, 2, 2]}, "takes whole numbers"),
    ("1", {"label_hop_len_s": 0.03}, "whole multiple"),
])
def test_what_is_wrong_is_named(task, overrides, told):
    with pytest.raises(ValueError, match="^" + ".*" + told.replace("?", r"\?")):
        get_params(task, **overrides)


def test_numbers_are_taken_in_either_spelling():
    assert get_params(learning_rate=1)["learning_rate"] == 1.0
    assert get_params(nb_epochs=3.0, quick_test=False)["nb_epochs"] == 3


def test_command_line_words():
    assert split_words(["4", "nb_epochs=20", "dataset=mic", "sim_snr_db=[0, 3]"], "1", "first") == (
        ["4", "first"], {"nb_epochs": 20, "dataset": "mic", "sim_snr_db": [0, 3]})
    with pytest.raises(ValueError, match="unexpected word 'extra'"):
        split_words(["4", "job", "extra"], "1", "first")
    with pytest.raises(ValueError, match="key=value"):
        parse_overrides(["nb_epochs"])


@pytest.mark.parametrize("key", [key for key, value in DEFAULTS.items()
                                 if type(value) in (int, float) and not key.startswith("sim_")])
def test_every_number_has_a_range_that_its_default_keeps(key):
    low, high = doanet_parameters.RANGES[key]
    assert low <= DEFAULTS[key] <= high
    with pytest.raises(ValueError, match=f"'{key}' must be from"):
        get_params(**{key: low - 1})


def test_mse_trains_no_activity_branch():
    assert not get_params(loss="mse")["activity"]


def test_every_choice_belongs_to_a_parameter():
    for key, choices in doanet_parameters.CHOICES.items():
        assert DEFAULTS[key] in choices
