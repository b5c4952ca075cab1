"""The training loop on tiny data: bit-exact resumption, early stopping, NaN, what a checkpoint holds."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

import cls_metric
import train_doanet
from doanet_parameters import get_params
from doatools.data.cache import making
from doatools.files import alone_in
from doatools.train import checkpoint
from doatools.train.loop import LossWatch, make_fabric, make_schedule
from doatools.train.runs import Run, changed_settings
from localizer import Localizer, build_model

TINY = ["quick_test=False", "nb_epochs=3", "batch_size=4", "label_sequence_length=10", "nb_cnn2d_filt=8",
        "rnn_size=8", "fnn_size=8", "max_audio_len_s=6", "device=cpu", "dropout_rate=0.1", "lr_schedule=onecycle"]


def train(tiny_data, results, *words):
    return train_doanet.main([*TINY, f"dataset_dir={tiny_data}", f"results_dir={results}", *words])


def weights(results, name="1_first"):
    return checkpoint.load(results / name / "last.pt")["model"]


@pytest.mark.parametrize("words", [
    ["precision=32-true"], ["precision=bf16-mixed"], ["optimizer=muon", "model=bearing"],
    ["optimizer=adamw", "loss=pit", "pit_level=track", "rotation_augment=True", "spec_augment=True"]], ids=" ".join)
def test_a_resumed_run_equals_one_never_stopped(tiny_data, tmp_path, stopped_once, words):
    words = [*words, "num_workers=2"]
    assert train(tiny_data, tmp_path / "whole", *words) == 0
    stopped_once()
    assert train(tiny_data, tmp_path / "parts", *words) == 130
    assert train(tiny_data, tmp_path / "parts", *words, "--resume") == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [Run(tmp_path / kind / "1_first").history() for kind in ("whole", "parts")]
    epochs = [[(entry["epoch"], entry["train"], entry["scores"]) for entry in log] for log in logs]
    assert epochs[0] == epochs[1] and len(epochs[0]) == 3


def test_a_run_that_is_extended_equals_a_longer_one(tiny_data, tmp_path, capfd):
    words = ["lr_schedule=constant"]
    assert train(tiny_data, tmp_path / "long", *words) == 0
    printed = capfd.readouterr().out
    assert len(re.findall(r"^epoch   \d/3 .*$", printed, re.MULTILINE)) == 3  # a line per epoch without a terminal
    assert len(re.findall(r"\(\d:\d\d:\d\d left\)$", printed, re.MULTILINE)) == 2  # none after the last
    assert train(tiny_data, tmp_path / "short", *words, "nb_epochs=2") == 0
    assert train(tiny_data, tmp_path / "short", *words, "--resume") == 0
    long, short = weights(tmp_path / "long"), weights(tmp_path / "short")
    assert all(torch.equal(long[name], short[name]) for name in long)
    assert len(Run(tmp_path / "short" / "1_first").history()) == 3
    assert train(tiny_data, tmp_path / "short", *words, "nb_epochs=1", "--resume") == 2
    assert "3 epochs are done, more than nb_epochs=1" in capfd.readouterr().err


def test_the_linear_schedule_rises_and_falls_to_zero():
    training = get_params(lr_schedule="linear", learning_rate=0.1).training
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=training.learning_rate)
    schedule, rates = make_schedule(optimizer, training, 10, 10), []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1]) and rates[-1] == pytest.approx(0.1 / 95)
    assert schedule.get_last_lr()[0] == 0


def test_a_schedule_that_ends_cannot_be_extended(tiny_data, tmp_path, capsys):
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0
    assert train(tiny_data, tmp_path, "nb_epochs=2", "--resume") == 2
    error = capsys.readouterr().err
    assert "lr_schedule=onecycle spreads the learning rate over nb_epochs=1" in error
    assert f"init_weights={tmp_path / '1_first' / 'last.pt'} nb_epochs=2" in error


def test_a_checkpoint_alone_rebuilds_its_model(tiny_data, tmp_path):
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0
    folder = tmp_path / "1_first"
    content = checkpoint.load(folder / "best.pt")
    assert {"params", "scaler", "array", "precision", "scores", "quick_test", "version"} <= set(content)
    localizer = Localizer.from_checkpoint(folder / "best.pt")
    assert localizer.config.model.nb_cnn2d_filt == 8
    assert all(torch.equal(value, content["model"][name]) for name, value in localizer.model.state_dict().items())
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["epoch"] == 1 and set(scores["test"]) >= {"LE", "LF", "F20", "MOTA@20"}
    assert (folder / "training_curve.png").stat().st_size > 10_000
    assert list((folder / "tensorboard").iterdir())


def test_a_finished_run_without_its_last_checkpoint_is_not_begun_anew(tiny_data, tmp_path, capsys):
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0
    folder = tmp_path / "1_first"
    best = (folder / "best.pt").read_bytes()
    (folder / "last.pt").unlink()
    assert train(tiny_data, tmp_path, "nb_epochs=1", "--resume") == 2
    error = capsys.readouterr().err
    assert "best.pt is of epoch 1, and there is no last.pt to resume" in error and "--overwrite" in error
    assert (folder / "best.pt").read_bytes() == best
    (folder / "scores.json").unlink()  # as a kill in the first epoch leaves it, after best.pt and before last.pt
    assert train(tiny_data, tmp_path, "nb_epochs=1", "--resume") == 0
    assert (folder / "last.pt").exists() and "starts from the beginning" in capsys.readouterr().out


def test_early_stopping_counts_from_the_last_better_epoch(tiny_data, tmp_path, monkeypatch):
    selected = iter([0.5, 0.6, 0.4, 0.45, 0.45, 0.1])
    monkeypatch.setattr(cls_metric, "selection_score", lambda scores: next(selected))
    assert train(tiny_data, tmp_path, "nb_epochs=6", "patience=2") == 0
    assert [entry["epoch"] for entry in Run(tmp_path / "1_first").history()] == [1, 2, 3, 4, 5]
    assert checkpoint.load(tmp_path / "1_first" / "best.pt")["epoch"] == 3


def test_a_finished_run_is_overwritten_only_on_request(tiny_data, tmp_path, capsys):
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 2
    assert "--resume" in capsys.readouterr().err
    assert train(tiny_data, tmp_path, "nb_epochs=1", "learning_rate=0.1", "--resume") == 2
    assert "learning_rate=0.001" in capsys.readouterr().err
    assert train(tiny_data, tmp_path, "nb_epochs=1", "--overwrite") == 0


def test_two_processes_do_not_train_in_one_folder(tiny_data, tmp_path, capsys):
    with alone_in(tmp_path / "1_first"):
        assert train(tiny_data, tmp_path) == 2
    assert f"another process is at work in {tmp_path / '1_first'}" in capsys.readouterr().err
    assert not list((tmp_path / "1_first").iterdir())
    assert train(tiny_data, tmp_path, "nb_epochs=1") == 0


def test_a_loss_that_is_no_number_names_its_recordings(tiny_data, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    poisoned = next((data / "features" / "foa_dev_norm").glob("fold3*.npy"))
    values = np.load(poisoned)
    values[0] = np.nan
    made_from = json.loads(poisoned.with_suffix(".json").read_text())["made_from"]
    with making(poisoned, made_from) as temporary:  # else it would count as out of date
        np.save(temporary, values)
    assert train(data, tmp_path, "nb_epochs=1") == 2
    error = capsys.readouterr().err
    assert poisoned.stem in error and "no longer a finite number" in error


def test_the_watch_looks_every_few_steps_and_averages_over_samples():
    watch = LossWatch(lambda index: [f"sample {i}" for i in index.tolist()])
    watch.add({"loss": torch.tensor(1.0)}, torch.tensor([0, 1, 2]))
    watch.add({"loss": torch.tensor(5.0)}, torch.tensor([3]))
    assert watch.means() == {"loss": 2.0}
    watch.add({"loss": torch.tensor(float("nan"))}, torch.tensor([4]))
    with pytest.raises(ValueError, match="sample 4"):
        watch.check()


def test_the_device_is_the_one_asked_for():
    assert make_fabric(get_params(device="cpu", precision="32-true").device)._precision.precision == "32-true"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            make_fabric(get_params(device="cuda").device)


# --- quick and full ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("words", "epochs"), [
    ([], 2), (["--quick"], 2), (["--full"], 3), (["quick_test=False"], 3), (["--full", "quick_test=False"], 3),
    (["--quick", "quick_test=True"], 2)])
def test_a_training_is_quick_unless_it_is_to_be_full(words, epochs, tiny_data, tmp_path, capsys):
    assert train_doanet.main([*TINY[1:], f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", *words]) == 0
    assert len(Run(tmp_path / "1_first").history()) == epochs
    quick = epochs == 2
    assert ("add --full to train in full" in capsys.readouterr().out) == quick
    assert checkpoint.load(tmp_path / "1_first" / "best.pt")["quick_test"] is quick


@pytest.mark.parametrize("words", [["--full", "quick_test=True"], ["--quick", "quick_test=False"]])
def test_contradictions_about_the_length_are_refused(words, tmp_path, capsys):
    assert train_doanet.main([*words, f"results_dir={tmp_path}"]) == 2
    assert f"{words[0]} contradicts {words[1]}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train_doanet.main(["--full", "--quick"])


def test_a_full_training_replaces_a_quick_test_and_not_the_reverse(tiny_data, tmp_path, capsys):
    words = [*TINY[1:], f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", "nb_epochs=1"]
    assert train_doanet.main([*words, "--quick"]) == 0
    assert train_doanet.main([*words, "--full"]) == 0
    assert "holds a quick test, which this run replaces" in capsys.readouterr().out
    assert train_doanet.main([*words, "--quick"]) == 2


# --- what may change between a run and its resumption, and the first edition ------------------------------------

def test_a_run_is_resumed_with_its_own_settings_only(tiny_data, tmp_path, stopped_once, capsys):
    stopped_once()
    assert train(tiny_data, tmp_path) == 130
    for word, before in (("seed=1", "seed=1234"), ("loss=pit", "loss=dmot"),
                         ("rotation_augment=True", "rotation_augment=False")):
        assert train(tiny_data, tmp_path, word, "--resume") == 2
        assert f"was started with {before}; resume it with the same settings" in capsys.readouterr().err
    assert train(tiny_data, tmp_path, "num_workers=1", "sim_moving=0.9", "--resume") == 0


def test_arrays_differ_by_what_they_are(tmp_path):
    ring = tmp_path / "ring.yaml"
    text = "name: ring\nkind: free\npositions_m: [[0.04, 0, 0], [0, 0.04, 0], [-0.04, 0, 0], [0, -0.04, {z}]]\n"
    ring.write_text(text.format(z=0))
    before = get_params(array=str(ring))
    (tmp_path / "copy.yaml").write_text(text.format(z=0))
    assert not changed_settings(before, get_params(array=str(tmp_path / "copy.yaml")))
    ring.write_text(text.format(z=0.01))
    assert changed_settings(before, get_params(array=str(ring))) == {
        "array": f"{ring} (the file has changed since)"}
    assert changed_settings(before, get_params(array="mic")) == {"array": str(ring)}


def of_first_edition(path, **params):
    """Rewrite a checkpoint as the first edition stored it: its version, flat parameters, and derived values."""
    content = torch.load(path, weights_only=True)
    stored = content["params"]
    stored |= {"dataset": stored.pop("array"), "turn_augment": stored.pop("rotation_augment"),
               "association_gradient": "soft", "predicted": "associated", "annotation_hop_len_s": 0.1,
               "feature_label_resolution": 5, "label_annotation_resolution": 1, "nb_feature_bins": 64,
               "num_fft_bins": 1024, **params}
    content["array"] = {"name": "foa", "kind": "ambisonic", "capsules_deg": [], "radius_m": 0.0}
    del content["checksum"]
    torch.save(content | {"version": 1, "params": stored}, path)


def test_a_run_of_the_first_edition_is_not_resumed_but_its_weights_load(tiny_data, tmp_path, stopped_once, capsys):
    stopped_once()
    assert train(tiny_data, tmp_path) == 130
    last = tmp_path / "1_first" / "last.pt"
    before = last.read_bytes(), weights(tmp_path)
    of_first_edition(last, loss="pit_dmot", association="track", dmotp="squared", predicted="probable")
    old = last.read_bytes()
    assert train(tiny_data, tmp_path, "--resume") == 2
    error = capsys.readouterr().err
    assert "started by an earlier version" in error and f"init_weights={last}" in error
    assert last.read_bytes() == old != before[0]
    localizer = Localizer.from_checkpoint(last)
    assert localizer.config.loss.association == "hnet" and not localizer.config.augment.rotation_augment
    assert all(torch.equal(value, before[1][name]) for name, value in localizer.model.state_dict().items())
    assert train_doanet.main(["1", "new", *TINY, "nb_epochs=1", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}",
                              f"init_weights={last}", "learning_rate=0"]) == 0
    new = weights(tmp_path, "1_new")
    assert all(torch.equal(value, new[name]) for name, value in before[1].items() if ".bn." not in name)


def test_a_published_state_dict_starts_a_training(tiny_data, tmp_path):
    """A state dict of this toolkit, renamed as DOAnet's authors named theirs."""
    names = {"blocks.0": "conv_block_list.0", "blocks.1": "conv_block_list.3", "blocks.2": "conv_block_list.6",
             **{f"doa_head.{2 * k}": f"fnn_list.{k}" for k in range(3)},
             **{f"activity_head.{2 * k}": f"fnn_act_list.{k}" for k in range(3)}}
    own = build_model(get_params(nb_cnn2d_filt=8, rnn_size=8, fnn_size=8)).state_dict()
    published = {}
    for name, value in own.items():
        start = next((mine for mine in names if name.startswith(f"{mine}.")), None)
        published[name.replace(start, names[start], 1) if start else name] = value
    assert not any(name.startswith(("blocks", "doa_head", "activity_head")) for name in published)
    torch.save(published, tmp_path / "published.pt")
    assert train(tiny_data, tmp_path, "nb_epochs=1", "learning_rate=0", f"init_weights={tmp_path}/published.pt") == 0
    trained = weights(tmp_path)
    assert all(torch.equal(value, own[name]) for name, value in trained.items() if ".bn." not in name)
