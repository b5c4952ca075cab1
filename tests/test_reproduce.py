"""reproduce_doanet.py on a tiny dataset of the layout of TAU-NIGENS 2020: every row, resumable."""

import json
import shutil

import pytest
from helpers import make_dataset

import reproduce_doanet
from doanet_parameters import get_params

SMALL = ["max_audio_len_s=3", "label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8",
         "device=cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = make_dataset(tmp_path_factory.mktemp("tau") / "data", seconds=3.0)
    for path in [*folder.glob("*_dev/fold[3-6]*")]:  # a twin of each training recording, so that there are pairs to mix
        shutil.copy(path, path.with_name(path.name.replace("mix001", "mix002")))
    return folder


def run(data, results, *words):
    return reproduce_doanet.main([f"dataset_dir={data}", f"results_dir={results}", "--quick", *SMALL, *words])


def test_rows_are_trained_scored_and_tabulated(data, tmp_path, capfd):
    rows = ["--arrays", "foa", "--rows", "MSE", "dMOT + activity, augmented"]
    assert run(data, tmp_path, *rows) == 0
    out = capfd.readouterr().out
    assert "| FOA | MSE (quick test) |" in out and "| FOA | dMOT + activity, augmented (quick test) |" in out
    assert (tmp_path / "reproduction.md").read_text().count("\n") == 4
    # What is finished is not run again; a row that was lost is
    assert run(data, tmp_path, *rows) == 0
    out = capfd.readouterr().out
    assert "$ python3" not in out and "| FOA | MSE (quick test) |" in out
    shutil.rmtree(tmp_path / "6_paper")
    assert run(data, tmp_path, *rows) == 0
    out = capfd.readouterr().out
    assert "train_doanet.py 6 paper" in out and "train_doanet.py 2 paper" not in out


def test_every_row_names_tasks_of_the_paper(data, tmp_path, capsys):
    for name, tasks in reproduce_doanet.ROWS.items():
        for task, array in zip(tasks, reproduce_doanet.ARRAYS, strict=True):
            config = get_params(task)
            assert config.array.name == array and config.data.augmented == ("augmented" in name)
            assert (config.loss.loss == "mse") == (name == "MSE") and config.predicts_activity == ("activity" in name)
            assert (config.loss.dmota_weight == 0) == ("dMOTp" in name)
    assert run(data, tmp_path / "none", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("train_doanet.py") == 14 and out.count("evaluate_doanet.py") == 14
    assert out.count("batch_feature_extraction.py") == 2 and not (tmp_path / "none").exists()


def test_a_step_that_fails_stops_the_rest(tmp_path, capfd):
    assert run(tmp_path / "nothing", tmp_path / "results") == 2
    err = capfd.readouterr().err
    assert "stopped in: python3 augment_files.py" in err and "goes on from there" in err
    assert run(tmp_path, tmp_path, "array=mic") == 2
    assert json.dumps("--arrays")[1:-1] in capfd.readouterr().err
