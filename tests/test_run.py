"""run.py on a tiny set: folds, results, what is skipped, resumed and refused; figures and the table across systems."""

import json
import shutil

import numpy as np
import pytest
import torch
from tut_helpers import make_tut

import compare_runs
import run
import train_doanet
import visualize_doanet_output
from cls_metric import frame_figures
from doanet_parameters import get_params
from doatools.report.cross_validation import read_rows, table
from doatools.spatial.geometry import unit_vectors
from doatools.train import checkpoint
from doatools.train.loop import make_schedule
from doatools.train.runs import Run
from doatools.types import Predictions, Result

# 32 bins and 8 hidden units of the 1024 and 128 published
CONFIG = """
name: {name}
max_num_sources: 2
sequence_duration: 1
num_fft_bins: 2048
frame_length: 0.04
chunk_length: 0.1
hidden_dim: 4
dropout_rate: 0.1
learning_rate: 0.05
num_epochs_warmup: 2
gradient_clip_val: 1.0
max_epochs: 2
manual_seed: 1
dataset: [ansim, resim]
device: cpu
precision: 32-true
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tut")
    make_tut(folder / "ansim", seconds=1.0)
    return folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(CONFIG.format(name="SELDNet"))
    return str(path)


def words(config, root, log_dir, *more):
    return ["--config", config, "--data_root", str(root), "--log_dir", str(log_dir), "--jobs", "1", *more]


def weights(folder, name="SELDNet_ansim_fold1"):
    return checkpoint.load(folder / name / "last.pt")["model"]


def test_all_folds_results_and_what_is_skipped(config, root, tmp_path, capsys):
    log = tmp_path / "log"
    assert run.main(words(config, root, log, "max_epochs=1", "--tmp_dir", str(tmp_path / "tmp"))) == 0
    told = capsys.readouterr().out
    assert "holds no resim: skipped" in told and "| SELDNet | ansim | 3 |" in told
    assert len(list((tmp_path / "tmp" / "ansim").glob("wav_*_magphase/*.npy"))) == 12
    files = sorted((log / "results").iterdir())
    assert [path.name for path in files] == [f"SELDNet_ansim_fold{k}.json" for k in (1, 2, 3)]
    rows = json.loads(files[1].read_text())
    assert {(row["model"], row["dataset"], row["fold_idx"]) for row in rows} == {("SELDNet", "ansim", 1)}
    assert [row["recording"] for row in rows] == sorted(
        f"ov{o}_split2_{part}_0_desc_30_100" for o in (1, 2) for part in ("train", "test"))
    assert [row["subset_idx"] for row in rows] == [0, 0, 1, 1]
    assert all(0 <= row["frame_recall"] <= 1 for row in rows)
    assert list((log / "SELDNet_ansim_fold3" / "tensorboard").iterdir())

    (files[1]).unlink()
    before = {path: path.read_bytes() for path in (files[0], files[2], log / "SELDNet_ansim_fold2" / "best.pt")}
    assert run.main(words(config, root, log, "max_epochs=1", "--tmp_dir", str(tmp_path / "tmp"))) == 0
    told = capsys.readouterr().out
    assert told.count("finished before") == 2 and "continues after epoch 1" in told
    assert json.loads(files[1].read_text()) == rows
    assert all(path.read_bytes() == content for path, content in before.items())
    assert run.main(words(config, root, log, "max_epochs=3")) == 0
    assert capsys.readouterr().out.count("finished before, with nb_epochs=1") == 3

    other = tmp_path / "other"
    shutil.copytree(root, other)
    assert run.main(words(config, other, log, "max_epochs=1")) == 2
    assert f"holds a finished fold of {root}/ansim, not of {other}/ansim" in capsys.readouterr().err


def test_a_resumed_fold_equals_one_never_stopped(config, root, tmp_path, stopped_once, capsys):
    assert run.main(words(config, root, tmp_path / "whole", "fold=1")) == 0
    stopped_once()
    assert run.main(words(config, root, tmp_path / "parts", "fold=1")) == 130
    assert not (tmp_path / "parts" / "results").exists()
    assert run.main(words(config, root, tmp_path / "parts", "fold=1", "learning_rate=0.07")) == 2
    other = make_tut(tmp_path / "other" / "ansim", seconds=1.0, seed=5).parent
    assert run.main(words(config, other, tmp_path / "parts", "fold=1")) == 2
    assert "not those that this run was started with" in capsys.readouterr().err
    assert run.main(words(config, root, tmp_path / "parts", "fold=1")) == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    results = [(tmp_path / kind / "results" / "SELDNet_ansim_fold1.json").read_text() for kind in ("whole", "parts")]
    assert results[0] == results[1]


def test_the_best_epoch_is_that_of_the_least_validation_loss(config, root, tmp_path):
    assert run.main(words(config, root, tmp_path, "fold=2", "max_epochs=4", "learning_rate=0.5")) == 0
    history = Run(tmp_path / "SELDNet_ansim_fold2").history()
    losses = [entry["val"]["loss"] for entry in history]
    assert checkpoint.load(tmp_path / "SELDNet_ansim_fold2" / "best.pt")["epoch"] == 1 + int(np.argmin(losses))
    assert [entry["selection"] for entry in history] == losses


def test_the_learning_rate_warms_up_by_epochs():
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=0.05)
    training = get_params(lr_schedule="warmup", learning_rate=0.05, num_epochs_warmup=5).training
    schedule = make_schedule(optimizer, training, 8, 3)
    rates = []
    for _ in range(8 * 3):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    wanted = [0.05**2 * min((e + 1) ** -0.5, (e + 1) * 5**-1.5) for e in range(8)]
    np.testing.assert_allclose(rates, np.repeat(wanted, 3), rtol=1e-9)


def test_an_elevation_error_at_azimuth_90_counts_in_full():
    def result(azimuth, elevation, active=1.0, present=0):
        predictions = Predictions(unit_vectors(np.array([[azimuth]]), np.array([[elevation]])), np.array([[active]]))
        return Result("a", predictions, unit_vectors(np.array([[90.0]]), np.array([[0.0]])), np.array([[present]]))
    assert frame_figures([result(90.0, 30.0)]) == {"DOA error": pytest.approx(30), "frame recall": 100}
    assert frame_figures([result(90.0, 90.0)])["DOA error"] == pytest.approx(90)
    silent = frame_figures([result(90.0, 30.0, active=0.0)])
    assert np.isnan(silent["DOA error"]) and silent["frame recall"] == 0
    # Frames with a source on one side only are left out of the mean.
    both = [result(90.0, 30.0), result(90.0, 30.0, active=0.0), result(90.0, 30.0, present=-1)]
    assert frame_figures(both)["DOA error"] == pytest.approx(30)


def test_the_table_is_of_folds():
    def row(fold, subset, error, recall=0.5):
        return {"model": "CNN", "dataset": "ansim", "fold_idx": fold, "subset_idx": subset, "recording": "a",
                "frame_recall": recall, "doa_error": error}
    told = table([row(0, 0, 10.0), row(0, 0, 20.0), row(1, 0, 17.0), row(0, 1, None)]).splitlines()
    # fold means 15 and 17: 16 ± sqrt(2); no frame with both sides in ov2
    assert told[2] == "| CNN | ansim | 2 | 16.0 ± 1.4° | 50.0 ± 0.0% | n/a | 50.0% | n/a | n/a |"


def fails(capsys, *argv):
    assert run.main(list(argv)) == 2
    return capsys.readouterr().err


def test_mistakes_are_told(config, root, tmp_path, capsys, monkeypatch):
    told = fails(capsys, *words(config, root, tmp_path, "dataset=[resim]"))
    assert "resim does not exist" in told and "download_dataset.py resim" in told and "--format tut2018" in told
    assert "Did you mean 'ansim'" in fails(capsys, *words(config, root, tmp_path, "dataset=[ansin]"))
    assert "does not exist: download" in fails(capsys, *words(config, tmp_path / "nowhere", tmp_path))
    assert "Did you mean 'nb_epochs'" in fails(capsys, *words(config, root, tmp_path, "max_epoch=1"))
    assert "'fold' must be from 1 to 3" in fails(capsys, *words(config, root, tmp_path, "fold=4"))
    assert "dataset_dir cannot be set here" in fails(capsys, *words(config, root, tmp_path, "dataset_dir=x"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one process" in fails(capsys, *words(config, root, tmp_path))
    assert not list(tmp_path.glob("SELDNet*"))


def test_a_bad_annotation_is_named_before_training(config, root, tmp_path, capsys):
    shutil.copytree(root / "ansim", tmp_path / "ansim", ignore=shutil.ignore_patterns("features"))
    victim = next(tmp_path.glob("ansim/desc_ov2_split3/test*"))
    victim.write_text(victim.read_text() + "x.wav,1,2,95,0,1\n")
    told = fails(capsys, *words(config, tmp_path, tmp_path / "log"))
    assert f"{victim}, line 4: ele 95" in told and not (tmp_path / "log").exists()


DOANET = """
name: DOAnet
max_num_sources: 2
sequence_duration: 1
label_sequence_length: 5
nb_cnn2d_filt: 4
rnn_size: 4
fnn_size: 4
device: cpu
precision: 32-true
"""


@pytest.mark.parametrize("name, text", [("ADRENALINE", CONFIG), ("CNN", CONFIG), ("DOAnet", DOANET)])
def test_every_model_runs_and_draws(name, text, config, root, tmp_path, capsys):
    path = tmp_path / "other.yaml"
    path.write_text(text.format(name=name))
    assert run.main(words(str(path), root, tmp_path, "max_epochs=1", "fold=1", "quick_test=True")) == 0
    folder = tmp_path / f"{name}_ansim_fold1"
    assert visualize_doanet_output.main([str(folder / "best.pt"), "--count", "1"]) == 0
    pictures = [path.name for path in sorted((folder / "pictures").iterdir())]
    stem = "ov1_split1_test_0_desc_30_100"
    assert pictures == ([f"{stem}.png", f"{stem}_attention.png"] if name == "ADRENALINE" else [f"{stem}.png"])


def test_systems_are_compared_in_one_table(config, tiny_data, root, tmp_path, capsys):
    import batch_feature_extraction
    data = [f"dataset_dir={tiny_data}", "max_audio_len_s=6", "device=cpu"]
    assert batch_feature_extraction.main([config, *data, "--jobs", "1"]) == 0
    assert train_doanet.main([config, "tiny", *data, f"results_dir={tmp_path}"]) == 0
    small = ["label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8"]
    assert train_doanet.main(["1", "tiny", *data, *small, f"results_dir={tmp_path}"]) == 0
    assert "visualize_doanet_output.py 1 tiny" in capsys.readouterr().out
    assert visualize_doanet_output.main(["some", "tiny", f"results_dir={tmp_path}", "--count", "1"]) == 0
    capsys.readouterr()
    assert compare_runs.main([str(tmp_path / "1_tiny"), str(tmp_path / "some_tiny"), "--systems"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("| system | data | LE |")
    assert [line.split(" | ")[:2] for line in told[2:]] == [
        [f"| {model} (quick test, means nothing)", "data"] for model in ("DOAnet", "SELDnet")]

    assert run.main(words(config, root, tmp_path, "max_epochs=1", "fold=3")) == 0
    capsys.readouterr()
    results = tmp_path / "results" / "SELDNet_ansim_fold3.json"
    assert compare_runs.main([str(results)]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| SELDNet | ansim | 1 |")
    (tmp_path / "x.json").write_text("[1]")
    assert compare_runs.main([str(tmp_path / "x.json")]) == 2
    assert read_rows([results])[0]["fold_idx"] == 2
