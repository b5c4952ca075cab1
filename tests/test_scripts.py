"""Every script on tiny data, as a user would run it, and the mistakes of users, reported in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import batch_feature_extraction
import train_doanet
import visualize_doanet_output
from doanet_parameters import TASKS

SMALL = ["max_audio_len_s=6", "label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8",
         "fnn_size=8", "device=cpu"]


@pytest.fixture(scope="module")
def with_mixtures(tiny_data, tmp_path_factory):
    """The tiny data with mixtures of augment_files.py and the features of all tasks."""
    import augment_files
    folder = tmp_path_factory.mktemp("augmented") / "data"
    shutil.copytree(tiny_data, folder)
    _second_single_source(folder)
    assert augment_files.main([f"dataset_dir={folder}"]) == 0
    assert list((folder / "mixtures" / "foa").glob("*.wav"))
    for task in ("6", "11", "22", "23"):
        assert batch_feature_extraction.main([task, f"dataset_dir={folder}", "max_audio_len_s=6", "--jobs", "1"]) == 0
    return folder


def _second_single_source(folder):
    """A twin of every single-source training recording, so that there are pairs to mix."""
    for audio in folder.glob("*_dev/fold[3-6]*.wav"):
        shutil.copy(audio, audio.with_name(audio.name.replace("mix0", "mix1")))
    for csv in folder.glob("metadata_dev/fold[3-6]*.csv"):
        shutil.copy(csv, csv.with_name(csv.name.replace("mix0", "mix1")))


def test_mixtures_that_were_not_made_are_missed(tiny_data, tmp_path, capsys):
    assert train_doanet.main(["6", "job", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", *SMALL]) == 2
    assert "augment_files.py" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"24"}, key=int))  # 24 reads drawn arrays: test_any_array.py
def test_every_task_trains_tests_and_draws(task, with_mixtures, tmp_path, capsys):
    words = [f"dataset_dir={with_mixtures}", f"results_dir={tmp_path}"]
    assert train_doanet.main([task, "job", *words, *SMALL]) == 0
    assert "test fold" in capsys.readouterr().out
    assert visualize_doanet_output.main([*words, "--count", "1"]) == 0
    assert "of a quick test" in capsys.readouterr().out
    pictures = list((tmp_path / f"{task}_job" / "pictures").glob("*.png"))
    assert len(pictures) == 1 and pictures[0].stat().st_size > 20_000


@pytest.mark.parametrize("words", [["loss=pit"], ["loss=pit", "pit_level=sequence"], ["label_slots=frame"],
                                   ["ids=switch", "dmotp=mean"], ["association=hungarian"],
                                   ["association=sinkhorn", "association_sees=activity"], ["loss=sel", "sel_slots=pit"],
                                   ["rotation_augment=True", "spec_augment=True", "level_augment_db=6"],
                                   ["self_attn=True"], ["optimizer=adamw", "gradient_clip=1"]])
def test_every_choice_trains(words, tiny_data, tmp_path):
    assert train_doanet.main(["1", "job", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", *SMALL, *words]) == 0


def fails(capsys, script, *words):
    """The error message of a script, which exits with 2."""
    assert script.main(list(words)) == 2
    progress, found, message = capsys.readouterr().err.partition("error: ")
    assert found and "Traceback" not in progress + message
    return message


def test_unknown_task_and_parameter(capsys):
    assert "Did you mean" in fails(capsys, train_doanet, "1", "job", "nb_epoch=3")
    assert "unknown task '1000'" in fails(capsys, train_doanet, "1000")


def test_missing_and_empty_folders(tmp_path, capsys):
    error = fails(capsys, batch_feature_extraction, f"dataset_dir={tmp_path}/nowhere")
    assert "nowhere" in error and "simulate_dataset.py" in error
    (tmp_path / "foa_dev").mkdir()
    (tmp_path / "metadata_dev").mkdir()
    assert "foa_dev" in fails(capsys, batch_feature_extraction, f"dataset_dir={tmp_path}")


def test_training_without_features_says_what_to_run(tiny_data, tmp_path, capsys):
    error = fails(capsys, train_doanet, "1", "job", f"dataset_dir={tiny_data}", f"feat_label_dir={tmp_path}", *SMALL)
    assert "batch_feature_extraction.py" in error


@pytest.fixture
def own_copy(tiny_data, tmp_path):
    shutil.copytree(tiny_data, tmp_path / "data", ignore=shutil.ignore_patterns("features"))
    return tmp_path / "data"


def spoil(path, how):
    audio, rate = soundfile.read(path)
    if how == "rate":
        soundfile.write(path, audio, 44100)
    elif how == "channels":
        soundfile.write(path, audio[:, :2], rate)
    elif how == "subtype":
        soundfile.write(path, audio, rate, subtype="ULAW")
    elif how == "nan":
        audio[100] = np.nan
        soundfile.write(path, audio, rate, subtype="FLOAT")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "lonely wav":
        (path.parent.parent / "metadata_dev" / f"{path.stem}.csv").unlink()
    elif how == "lonely csv":
        path.unlink()


@pytest.mark.parametrize(("how", "named"), [
    ("rate", "44100"), ("channels", "4"), ("subtype", "ULAW"), ("nan", "NaN"), ("truncated", "promises"),
    ("lonely wav", "no annotation"), ("lonely csv", "no recording")])
def test_bad_audio_is_named_and_the_rest_stays_valid(how, named, own_copy, capsys):
    words = [f"dataset_dir={own_copy}", "max_audio_len_s=6", "--jobs", "1"]
    victim = sorted((own_copy / "foa_dev").glob("*.wav"))[2]
    original = victim.read_bytes()
    csv = (own_copy / "metadata_dev" / f"{victim.stem}.csv").read_bytes()
    spoil(victim, how)
    line = fails(capsys, batch_feature_extraction, *words)
    assert line.count("\n") == 1
    assert victim.stem in line and named.lower() in line.lower()
    victim.write_bytes(original)
    (own_copy / "metadata_dev" / f"{victim.stem}.csv").write_bytes(csv)
    assert batch_feature_extraction.main(words) == 0


@pytest.mark.parametrize(("line", "named"), [
    ("3,1,0,20", "column"), ("3,1,zero,20,0", "number"), ("3,1,0,190,0", "azimuth"), ("3,1,0,20,95", "elevation"),
    ("-1,1,0,20,0", "frame")])
def test_a_bad_csv_line_is_named_by_its_number(line, named, own_copy, capsys):
    victim = sorted((own_copy / "metadata_dev").glob("*.csv"))[1]
    lines = victim.read_text().splitlines()
    lines.insert(4, line)
    victim.write_text("\n".join(lines) + "\n")
    message = fails(capsys, batch_feature_extraction, f"dataset_dir={own_copy}", "max_audio_len_s=6")
    assert f"{victim.name}:5" in message or (victim.name in message and "line 5" in message)
    assert named in message.lower()


def test_more_sources_than_slots_are_listed_before_work_starts(own_copy, capsys):
    crowded = sorted((own_copy / "metadata_dev").glob("*.csv"))[:2]
    for csv in crowded:
        csv.write_text("".join(f"0,1,{track},{track * 30},0\n" for track in range(3)))
    message = fails(capsys, batch_feature_extraction, f"dataset_dir={own_copy}", "max_audio_len_s=6")
    assert all(csv.stem in message for csv in crowded) and "max_sources" in message
    assert batch_feature_extraction.main([f"dataset_dir={own_copy}", "max_audio_len_s=6", "overflow=drop"]) == 0


def test_missing_and_foreign_checkpoints(tmp_path, capsys):
    assert "train_doanet.py" in fails(capsys, visualize_doanet_output, f"results_dir={tmp_path}")
    assert "no such checkpoint" in fails(capsys, visualize_doanet_output, "1", "job", f"results_dir={tmp_path}")
    (tmp_path / "x.pt").write_bytes(b"nonsense")
    assert "not a readable checkpoint" in fails(capsys, visualize_doanet_output, f"{tmp_path}/x.pt")


def test_a_checkpoint_of_another_shape_is_refused(tiny_data, tmp_path, capsys):
    from doatools.train import checkpoint
    assert train_doanet.main(["1", "job", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", *SMALL]) == 0
    path = tmp_path / "1_job" / "best.pt"
    content = checkpoint.load(path)
    content["params"]["rnn_size"] = 16
    checkpoint.save(path, content)
    assert "another shape" in fails(capsys, visualize_doanet_output, f"results_dir={tmp_path}")


def test_a_full_disk_is_reported_in_one_line(tiny_data, tmp_path, capsys, monkeypatch):
    import errno

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr("doatools.data.extraction.open", full, raising=False)
    line = fails(capsys, train_doanet, "1", "job", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", *SMALL)
    assert "No space left" in line and "best.pt" in line
    line = fails(capsys, batch_feature_extraction, f"dataset_dir={tiny_data}", f"feat_label_dir={tmp_path}/f",
                 "max_audio_len_s=6", "--jobs", "1")
    assert "No space left" in line and ".npy" in line
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.partial-*"))


def test_runs_are_compared_in_one_table(tiny_data, tmp_path, capsys):
    import compare_runs
    for job, seed, loss in (("a", 1, "pit"), ("b", 2, "pit"), ("c", 1, "dmot")):
        words = [f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", f"seed={seed}", f"loss={loss}"]
        assert train_doanet.main(["1", job, *words, *SMALL]) == 0
    capsys.readouterr()
    runs = [str(tmp_path / f"1_{job}") for job in "abc"]
    assert compare_runs.main(runs) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + 3 and "loss=pit" in table[2] and "loss=dmot" in table[4]
    assert all("quick test" in line for line in table[2:])
    assert compare_runs.main([*runs, "--seeds"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + 2 and "2 seeds" in table[2] and "±" in table[2]
    assert "--resume" in fails(capsys, compare_runs, str(tmp_path / "nothing"))


def test_training_starts_from_given_weights(tiny_data, tmp_path, capsys):
    import torch

    from doatools.train import checkpoint
    words = [f"dataset_dir={tiny_data}", f"results_dir={tmp_path}", *SMALL]
    assert train_doanet.main(["1", "first", *words]) == 0
    first = tmp_path / "1_first" / "best.pt"
    assert train_doanet.main(["1", "tuned", *words, f"init_weights={first}", "learning_rate=0"]) == 0
    states = [checkpoint.load(tmp_path / run / "best.pt")["model"] for run in ("1_first", "1_tuned")]
    weights = [{name: value for name, value in state.items() if ".bn." not in name} for state in states]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    capsys.readouterr()
    assert "another shape" in fails(capsys, train_doanet, "1", "other", *words, f"init_weights={first}", "rnn_size=4")


def test_three_simultaneous_sources_need_only_the_parameter(tmp_path, capsys):
    import simulate_dataset
    words = [f"dataset_dir={tmp_path}/three", "max_sources=3"]
    length = ["sim_recording_len_s=6", "sim_recordings_per_fold=1"]
    assert simulate_dataset.main([*words, *length, "--jobs", "1"]) == 0
    assert batch_feature_extraction.main([*words, "max_audio_len_s=6", "--jobs", "1"]) == 0
    assert train_doanet.main(["1", "three", *words, f"results_dir={tmp_path}/results", *SMALL]) == 0
    assert "test fold" in capsys.readouterr().out


def test_evaluation_mode_tests_on_the_evaluation_set(own_copy, tmp_path, capsys):
    for kind, suffix in (("foa", ".wav"), ("metadata", ".csv")):
        (own_copy / f"{kind}_eval").mkdir()
        source = sorted((own_copy / f"{kind}_dev").glob(f"*{suffix}"))[0]
        shutil.copy(source, own_copy / f"{kind}_eval" / f"mix001{suffix}")
    words = [f"dataset_dir={own_copy}", "mode=eval"]
    assert batch_feature_extraction.main([*words, "max_audio_len_s=6", "--jobs", "1"]) == 0
    assert train_doanet.main(["1", "eval", *words, f"results_dir={tmp_path}", *SMALL]) == 0
    assert "train 5 recordings" in capsys.readouterr().out
    assert visualize_doanet_output.main([f"results_dir={tmp_path}"]) == 0
    assert [p.name for p in (tmp_path / "1_eval" / "pictures").iterdir()] == ["mix001.png"]
