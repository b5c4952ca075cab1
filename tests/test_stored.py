"""What is read again is checked: JSON, NumPy files, checkpoints and metadata against their schemas, files for what they
are."""

import argparse
import io
import json
import os

import numpy as np
import pytest
import torch

import compare_runs
import localize
from doatools.config.commandline import seed
from doatools.config.stored import Stored, parse_json, read_json
from doatools.data.cache import is_fresh, making
from doatools.data.sound_input import Sound, resampled
from doatools.errors import UserError, shown
from doatools.files import encodable, read_text, replacing, require_file
from doatools.npy import inspect_npy, read_npy, read_npz
from doatools.train import checkpoint
from doatools.train.hnet_pairs import Pairs, load_pairs, save_pairs
from doatools.train.runs import Run
from localizer import Localizer


class Row(Stored):
    name: str
    value: float | None
    count: int = 1


@pytest.mark.parametrize("text, says", [
    ("", "not valid JSON"), ("{", "not valid JSON"), ("[" * 100_000, "nested too deeply"), ("null", "is None"),
    ("[]", r"is \[\]"), ('{"value": 1}', "'name' is missing"), ('{"name": 3, "value": 1}', "'name' is 3"),
    ('{"name": "a", "value": "1"}', "'value"), ('{"name": "a", "value": NaN}', "'value"),
    ('{"name": "a", "value": 1, "count": 1.5}', "'count' is 1.5"), ('{"name": "a", "value": 1e999}', "'value"),
    ('{"name": "a", "value": 1, "count": ' + "9" * 5000 + "}", "not valid JSON")])
def test_json_that_does_not_conform_is_refused_by_key(text, says, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        read_json(path, Row, "write it again")
    assert str(error.value).startswith(str(path)) and "write it again" in str(error.value)
    assert len(str(error.value)) < 400


def test_json_that_conforms_is_read():
    assert parse_json('{"name": "a", "value": null, "more": 1}', Row, "", "") == Row(name="a", value=None)
    assert [row.value for row in parse_json('[{"name": "a", "value": 2}]', list[Row], "", "")] == [2.0]


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


GOOD = npy(np.arange(12, dtype=np.float32).reshape(3, 4))
BAD = {"empty": b"", "cut": GOOD[:-1], "longer": GOOD + b"x", "other": b"RIFF" + GOOD, "text": b"x" * 200,
       "a header of 4 PB": GOOD.replace(b"(3, 4), ", b"(9999999999999, 99), ").replace(b" " * 13, b"", 1),
       "objects": npy(np.array([{}], object)), "another shape": npy(np.zeros((3, 5), np.float32)),
       "another type": npy(np.zeros((3, 4)))}


@pytest.mark.parametrize("what", BAD)
def test_a_damaged_array_is_refused_before_memory_is_allocated(what, tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(BAD[what])
    for read in (read_npy, inspect_npy):
        with pytest.raises(UserError, match=r"a\.npy .*; make it again"):
            read(path, "make it again", np.float32, 4)


def test_arrays_are_read(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(GOOD)
    np.testing.assert_array_equal(read_npy(path, "", np.float32, 4), np.load(path))
    assert inspect_npy(path, "") == ((3, 4), len(GOOD) - 48)
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.zeros((0, 2)))
    x, y = read_npz(tmp_path / "a.npz", ("x", "y"), "")
    assert x.tolist() == [0, 1, 2] and y.shape == (0, 2)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.index(b"\x93NUMPY") + 130] ^= 1  # within an array
    for damaged in (bytes(data), bytes(data[:50]), b"", b"PK\x03\x04"):
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"b\.npz is damaged .*; make it again"):
            read_npz(tmp_path / "b.npz", ("x", "y"), "make it again")


def test_pairs_have_the_name_that_was_asked_for_and_their_shapes(tmp_path):
    pairs = Pairs(torch.zeros(5, 2, 2), torch.zeros(5, 2, 2), torch.ones(5, 2, 2, dtype=torch.bool),
                  torch.ones(5, dtype=torch.int64), torch.ones(5, dtype=torch.int64))
    save_pairs(tmp_path / "pairs", pairs)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
    assert all(torch.equal(one, other) for one, other in zip(load_pairs(tmp_path / "pairs", 2), pairs))
    for name, value, says in (("n_ref", torch.ones(4, dtype=torch.int64), "'n_ref' is an array of"),
                              ("active", torch.ones(5, 2, 2), "'active' is an array of"),
                              ("distance", torch.full((5, 2, 2), torch.nan), "not finite")):
        save_pairs(tmp_path / "pairs", pairs._replace(**{name: value}))
        with pytest.raises(UserError, match=says):
            load_pairs(tmp_path / "pairs", 2)


# --- checkpoints -----------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def content(tmp_path_factory):
    from doatools.shipped import shipped_model
    from doatools.spatial.arrays import find_array
    return checkpoint.load(str(shipped_model(find_array("foa"))).replace(".onnx", ".pt"))


@pytest.mark.parametrize("path, value, says", [
    ("params", [], "'params'"), ("params.rnn_size", "x", "'rnn_size' takes a whole number"), ("array", None, "'array'"),
    ("params.rnn_size", 8192, "weights of another shape"), ("array.kind", "square", "key 'kind'"),
    ("array.kind", None, "key 'kind'"), ("scaler", {}, "'scaler.mean' is missing"), ("model", {"x": 1}, "'model.x'"),
    ("scaler.mean", torch.zeros(3), "scaler"), ("scaler.scale", torch.zeros(2, 2), "scaler"),
    ("version", "2", "'version'"), ("quick_test", 3, "'quick_test'"), ("precision", None, "'precision'"),
    ("params.hop_len_s", 10**400, "'hop_len_s'")])
def test_a_checkpoint_with_other_content_is_refused_by_name(path, value, says, content, tmp_path):
    changed = {key: dict(item) if isinstance(item, dict) else item for key, item in content.items()}
    *outer, key = path.split(".")
    place = changed[outer[0]] if outer else changed
    if value is None:
        del place[key]
    else:
        place[key] = value
    torch.save(changed, tmp_path / "other.pt")
    with pytest.raises(UserError, match=says) as error:
        Localizer.from_checkpoint(tmp_path / "other.pt")
    assert "other.pt" in str(error.value)


# --- runs ------------------------------------------------------------------------------------------------------

def test_a_log_with_other_lines_is_refused_by_line(tmp_path):
    run, good = Run(tmp_path), {"epoch": 1, "seconds": 2.0, "selection": None, "train": {}, "val": {}, "scores": {}}
    run.log.write_text(json.dumps(good) + "\n")
    assert run.history() == [good]
    run.log.write_text(json.dumps(good) + "\n" + '{"epoch": "2"}\n')
    with pytest.raises(UserError, match=r"log\.jsonl, line 2: 'epoch' is '2'"):
        run.history()


def test_the_folders_of_results_that_are_no_runs_are_skipped(tmp_path, capsys):
    """compare_runs.py results/*: the folder of a Hungarian network, one that is being trained, and an evaluation."""
    for name, files in (("hnet_2", {"scores.json": {"test": {}}}), ("1_now", {"last.pt": 0}), ("empty", {}),
                        ("evaluation_music", {"evaluation.json": {"system": "music", "figures": {
                            "LE": {"value": 12.5, "low": 10.0, "high": 15.0}}}})):
        (tmp_path / name).mkdir()
        for file, value in files.items():
            (tmp_path / name / file).write_text(json.dumps(value))
    (tmp_path / "a.log").write_text("")
    assert compare_runs.main([str(path) for path in sorted(tmp_path.iterdir())]) == 0
    printed = capsys.readouterr()
    assert "| music | 12.5° |" in printed.out and printed.err.count("skipped: ") == 4
    assert compare_runs.main([str(tmp_path / "hnet_2")]) == 2
    assert compare_runs.main([str(tmp_path / "evaluation_music")]) == 0


# --- files -----------------------------------------------------------------------------------------------------

def test_only_files_are_read_as_files(tmp_path):
    """A pipe would wait for its writer, a device may have no end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "large").write_bytes(b"x" * 100)
    for path, says in ((tmp_path / "pipe", "is not a regular file"), ("/dev/zero", "is not a regular file"),
                       (tmp_path, "is a folder"), (tmp_path / "link", "is a link to nothing"),
                       (tmp_path / "none", "does not exist")):
        with pytest.raises(UserError, match=f"^{path} {says}$"):
            read_text(path, "this", "a text")
        with pytest.raises(UserError, match=f"^{path} {says}; write it again$"):
            read_json(path, Row, "write it again")
    with pytest.raises(UserError, match="has more than 99 bytes, too many for a test"):
        require_file(tmp_path / "large", "a test", 99)


def test_odd_things_are_no_fresh_files(tmp_path):
    path = tmp_path / "a.npy"
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: path.mkdir()):
        make()
        (tmp_path / "a.json").write_text(json.dumps({"made_from": {}, "bytes": 0, "content": ""}))
        assert not is_fresh(path, {})
        path.rmdir() if path.is_dir() else path.unlink()
    with making(path, {}) as temporary:
        temporary.write_bytes(GOOD)
    assert is_fresh(path, {})
    note = tmp_path / "a.json"
    for make in (lambda: note.write_text("[" * 100_000), lambda: os.mkfifo(note), lambda: note.symlink_to("/dev/zero")):
        note.unlink()
        make()
        assert not is_fresh(path, {})


def test_a_run_removes_what_stands_in_place_of_its_folders(tmp_path):
    os.mkfifo(tmp_path / "tensorboard")
    (tmp_path / "pictures").symlink_to(tmp_path)
    Run(tmp_path).clear()
    assert not list(tmp_path.iterdir())


def test_long_and_odd_names_are_written(tmp_path):
    for name in ("x" * 251 + ".csv", "ü" * 125 + ".csv", os.fsdecode(b"\xff\xfe.csv"), "a$b.csv"):
        with replacing(tmp_path / name) as temporary:
            temporary.write_text("content")
        assert (tmp_path / name).read_text() == "content"
    assert len(list(tmp_path.iterdir())) == 4
    assert encodable("ü.wav") == "ü.wav" and encodable(os.fsdecode(b"\xff.wav")) == b"\xff.wav"


@pytest.mark.parametrize("rate", [0, 1, 4_000_000_000])
def test_rates_that_sound_is_not_recorded_at_are_refused(rate):
    with pytest.raises(UserError, match=f"a.wav: its sample rate is {rate} Hz; 1000 to 400000 Hz"):
        resampled(Sound("a.wav", rate, 4, iter(())), 24000)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "9" * 5000, str(2**32)])
def test_seeds_out_of_range_are_refused(text):
    assert seed("1234") == 1234
    with pytest.raises(argparse.ArgumentTypeError, match="a seed is a whole number from 0 to 4294966296"):
        seed(text)


def test_values_in_messages_are_short():
    assert shown("a" * 100, 10) == "'aaaaaa..." and shown(3) == "3"
    assert shown(10**5000) == f"a number of {(10**5000).bit_length()} bits"


def test_an_error_in_one_recording_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    done = []

    def one(localizer, path, files, args):
        if path.name == "b.wav":
            raise OSError(63, "No space left", "out/b.csv")
        done.append(path.name)

    monkeypatch.setattr(localize, "localize", one)
    monkeypatch.setattr(localize, "open_localizer", lambda args: None)
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    assert localize.main([str(tmp_path)]) == 1
    assert done == ["a.wav", "c.wav"]
    assert "b.wav: out/b.csv: No space left" in capsys.readouterr().err
