"""The training loop on tiny data: resumption bit for bit, early stopping, NaN, what a checkpoint holds."""

import json
import shutil

import numpy as np
import pytest
import torch

import train_doanet
from doatools.train import checkpoint
from doatools.train.loop import LossWatch, Run, make_fabric
from localizer import Localizer

TINY = ["quick_test=False", "nb_epochs=3", "batch_size=4", "label_sequence_length=10", "nb_cnn2d_filt=8",
        "rnn_size=8", "fnn_size=8", "max_audio_len_s=6", "device=cpu", "dropout_rate=0.1", "lr_schedule=onecycle"]


def train(tiny_data, results, *words):
    return train_doanet.main([*TINY, f"dataset_dir={tiny_data}", f"results_dir={results}", *words])


def weights(results, name="1_first"):
    return checkpoint.load(results / name / "last.pt")["model"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_resumed_run_equals_one_never_stopped(tiny_data, tmp_path, stopped_once, precision):
    words = [f"precision={precision}", "num_workers=2"]
    assert train(tiny_data, tmp_path / "whole", *words) == 0
    stopped_once()
    assert train(tiny_data, tmp_path / "parts", *words) == 130
    assert train(tiny_data, tmp_path / "parts", *words, "--resume") == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [Run(tmp_path / kind / "1_first").history() for kind in ("whole", "parts")]
    told = [[(entry["epoch"], entry["train"], entry["scores"]) for entry in log] for log in logs]
    assert told[0] == told[1] and len(told[0]) == 3


def test_a_run_leaves_a_checkpoint_that_rebuilds_its_model_unaided(tiny_data, tmp_path):
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0
    folder = tmp_path / "1_first"
    content = checkpoint.load(folder / "best.pt")
    assert {"params", "scaler", "array", "precision", "scores", "quick_test", "version"} <= set(content)
    localizer = Localizer.from_checkpoint(folder / "best.pt")
    assert localizer.params["nb_cnn2d_filt"] == 8
    assert all(torch.equal(value, content["model"][name]) for name, value in localizer.model.state_dict().items())
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["epoch"] == 1 and set(scores["test"]) >= {"LE", "LF", "F20", "MOTA@20"}
    assert (folder / "training_curve.png").stat().st_size > 10_000
    assert list((folder / "tensorboard").iterdir())


def test_early_stopping_counts_from_the_last_better_epoch(tiny_data, tmp_path, monkeypatch):
    selected = iter([0.5, 0.6, 0.4, 0.45, 0.45, 0.1])
    monkeypatch.setattr(train_doanet, "selection_score", lambda scores: next(selected))
    assert train(tiny_data, tmp_path, "nb_epochs=6", "patience=2") == 0
    assert [entry["epoch"] for entry in Run(tmp_path / "1_first").history()] == [1, 2, 3, 4, 5]
    assert checkpoint.load(tmp_path / "1_first" / "best.pt")["epoch"] == 3


def test_a_finished_run_is_not_overwritten_unasked(tiny_data, tmp_path, capsys):
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 2
    assert "--resume" in capsys.readouterr().err
    assert train(tiny_data, tmp_path, "nb_epochs=1", "learning_rate=0.1", "--resume") == 2
    assert "learning_rate=0.001" in capsys.readouterr().err
    assert train(tiny_data, tmp_path, "nb_epochs=1", "--overwrite") == 0


def test_a_loss_that_is_no_number_names_its_recordings(tiny_data, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    poisoned = next((data / "features" / "foa_dev_norm").glob("fold3*.npy"))
    values = np.load(poisoned)
    values[0] = np.nan
    np.save(poisoned, values)  # copied files are as fresh as the originals only if their times are kept
    assert train(data, tmp_path, "nb_epochs=1") == 2
    told = capsys.readouterr().err
    assert poisoned.stem in told and "not a finite number" in told


def test_the_watch_looks_every_few_steps_and_averages_over_samples():
    watch = LossWatch(lambda index: [f"sample {i}" for i in index.tolist()])
    watch.add({"loss": torch.tensor(1.0)}, torch.tensor([0, 1, 2]))
    watch.add({"loss": torch.tensor(5.0)}, torch.tensor([3]))
    assert watch.means() == {"loss": 2.0}
    watch.add({"loss": torch.tensor(float("nan"))}, torch.tensor([4]))
    with pytest.raises(ValueError, match="sample 4"):
        watch.check()


def test_precision_and_device_are_told_apart():
    from doanet_parameters import get_params
    assert make_fabric(get_params(device="cpu", precision="32-true"))._precision.precision == "32-true"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            make_fabric(get_params(device="cuda"))
