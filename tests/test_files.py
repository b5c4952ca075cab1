"""Files: suffixes in any case, replacing, leftovers of killed processes; errors in one line."""

import errno
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from doatools import files
from doatools.data.cache import is_fresh, making, stamp
from doatools.errors import Terminated, UserError, exits_cleanly

NOBODY = 4_194_999  # beyond the largest process id of Linux


@pytest.mark.parametrize("name, matches", [("a.wav", True), ("a.WAV", True), ("dir/a.b.Wav", True), ("a.wave", False),
                                           ("wav", False), (".wav", False), ("a.wav.gz", False)])
def test_suffixes_in_any_case(name, matches):
    assert files.has_suffix(name, ".flac", ".wav") is files.has_suffix(Path(name), ".wav") is matches


def test_no_other_module_compares_suffixes():
    """setup.py apart, which packs the sources and cannot rely on them."""
    root = Path(files.__file__).resolve().parents[1]
    sources = {*root.glob("*.py"), *root.glob("doatools/**/*.py")} - {root / "setup.py"}
    for path in sources:
        if path != Path(files.__file__).resolve():
            text = path.read_text()
            assert "suffix.lower()" not in text and ".suffix ==" not in text and ".suffix in" not in text, path
            assert 'endswith(".' not in text and 'endswith((".' not in text, path


def test_files_of_a_folder(tmp_path):
    for name in ("b.WAV", "a.wav", ".hidden.wav", "c.csv"):
        (tmp_path / name).touch()
    assert list(files.list_files(tmp_path, ".wav")) == ["a", "b"]
    assert files.list_files(tmp_path, ".wav", ".csv")["c"] == tmp_path / "c.csv"
    (tmp_path / "b.wav").touch()
    with pytest.raises(UserError, match=r"b\.WAV and b\.wav have the same name"):
        files.list_files(tmp_path, ".wav")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("first")
        assert temporary.suffix == ".txt" and not path.exists()
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda number: done.append("sync"))
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), real(*names)))
    with files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("content")
    assert done == ["sync", "rename"]


def test_leftovers_of_killed_processes_alone_are_removed(tmp_path):
    node, old = platform.node(), time.time() - files.STALE_S - 60
    names = {f".a.partial-{node}-{NOBODY}.wav": False, f".a.partial-{NOBODY}.wav": False,  # first edition: no machine
             f".a.partial-{node}-{os.getpid()}.wav": True, ".a.partial-elsewhere-7-1.wav": True,
             ".b.partial-elsewhere-7-1.wav": False, ".a.partial-nonsense.wav": True, "a.wav": True}
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / ".b.partial-elsewhere-7-1.wav", (old, old))  # of another machine, and a day old
    files.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name for name, stays in names.items() if stays}
    files.remove_leftovers(tmp_path / "missing")


def test_a_note_vouches_for_one_content(tmp_path):
    path, made_from = tmp_path / "a.npy", {"hop": 480}
    with making(path, made_from) as temporary:
        temporary.write_bytes(b"content")
    assert is_fresh(path, made_from) and not is_fresh(path, {"hop": 240})
    with pytest.raises(RuntimeError), making(path, {"hop": 240}) as temporary:
        raise RuntimeError
    assert path.exists() and not is_fresh(path, made_from) and not is_fresh(path, {"hop": 240})


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_size_and_time_alone_do_not_vouch_for_a_file(size, tmp_path):
    source, other, path = (tmp_path / name for name in ("a.wav", "b.wav", "a.npy"))
    for number, file in enumerate((source, other)):
        file.write_bytes(np.random.default_rng(number).bytes(size))
        os.utime(file, (1_000_000, 1_000_000))
    before = stamp(source)
    with making(path, {"source": before}) as temporary:
        temporary.write_bytes(source.read_bytes())
    assert is_fresh(path, {"source": stamp(source)})
    source.rename(tmp_path / "c")
    other.rename(source)  # another file of the same size and time
    assert stamp(source)[:2] == before[:2] and not is_fresh(path, {"source": stamp(source)})
    assert is_fresh(path, {"source": before})
    with open(path, "r+b") as file:  # as a file that was not written to its end before the power failed
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert not is_fresh(path, {"source": before})


@pytest.mark.parametrize("error, status, says", [
    (UserError("no such thing"), 2, "error: no such thing"),
    (OSError(errno.ENOSPC, "No space left on device", "a.npy"), 2, "error: a.npy: No space left on device."),
    (PermissionError(errno.EACCES, "Permission denied", "b"), 2, "get the permission"),
    (OSError(errno.ELOOP, "Too many levels of symbolic links", "c"), 2, "error: c: Too many levels"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "d"), 2, "choose a shorter name"),
    (MemoryError("Unable to allocate 358. GiB"), 2, "error: not enough memory (Unable to allocate 358. GiB)"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "error: not enough memory"),
    (UserError("caf\udce9 \U0001f4a5"), 2, "error: caf"),
    (KeyboardInterrupt(), 130, "run the same command again"), (Terminated(), 143, "run the same command again"),
])
def test_errors_of_users_are_one_line(error, status, says, capsys):
    @exits_cleanly
    def main(argv=None):
        raise error

    assert main() == status
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1


def test_our_own_errors_keep_their_traceback():
    @exits_cleanly
    def main(argv=None):
        raise RuntimeError("index out of range")

    with pytest.raises(RuntimeError):
        main()


@pytest.mark.parametrize("closed, status", [("<&-", 0), (">&-", 0), ("2>&-", 0), (">/dev/full", 2)])
def test_closed_streams_are_empty_ones(closed, status):
    root = Path(files.__file__).resolve().parents[1]
    done = subprocess.run(f"{sys.executable} doanet_parameters.py {closed}", shell=True, cwd=root, capture_output=True,
                          text=True)
    assert done.returncode == status and "Traceback" not in done.stderr and done.stderr.count("\n") == (status == 2)


def test_a_reader_that_has_seen_enough_is_no_error():
    root = Path(files.__file__).resolve().parents[1]
    process = subprocess.Popen([sys.executable, "-c", "import doanet_parameters\nfor _ in range(9): "
                                "status = doanet_parameters.main([])\nraise SystemExit(status)"],
                               cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() in (0, 1)
