"""Ctrl-C and SIGTERM at any time: one line, exit status 130 and 143, no process and no temporary file left."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import make_dataset

ROOT = Path(__file__).resolve().parent.parent
GONE_S = 5.0  # within which all processes of a script end
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
PROGRESS = re.compile(r"\d%\||\|.* left|^note: ")
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 128 + signal.SIGTERM}
TRAIN = ["quick_test=False", "nb_epochs=60", "label_sequence_length=10", "batch_size=8", "nb_cnn2d_filt=8",
         "rnn_size=8", "fnn_size=8", "device=cpu", "num_workers=2"]
# The words of each script; {data} and {out} are folders.
SCRIPTS = {
    "simulate_dataset.py": ["dataset_dir={out}/data", "sim_recordings_per_fold=5", "sim_recording_len_s=5", "--jobs",
                            "2"],
    "batch_feature_extraction.py": ["dataset_dir={data}", "feat_label_dir={out}/features", "--jobs", "2"],
    "train_doanet.py": ["1", "job", "dataset_dir={data}", "results_dir={out}", *TRAIN],
    "localize.py": ["{data}/foa_dev", "--out", "{out}/tracks", "--html"],
    "evaluate_doanet.py": ["--baseline", "intensity", "dataset_dir={data}", "--out", "{out}/scores", "--jobs", "2"],
    "check_dataset.py": ["dataset_dir={data}", "--jobs", "2"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset whose features, apart from those of test_extraction, are there."""
    import batch_feature_extraction
    folder = make_dataset(tmp_path_factory.mktemp("stop") / "data", recordings_per_fold=3, seconds=12.0)
    assert batch_feature_extraction.main([f"dataset_dir={folder}", "--jobs", "1"]) == 0
    return folder


def stopped(script, number, folders, when):
    """Start a script, wait for ``when`` (s, or a function of no arguments), send it a signal → (status or None if it
    had ended before, the lines that it printed to stderr, apart from progress). Ctrl-C goes to its workers as well."""
    words = [word.format(**folders) for word in SCRIPTS[script]]
    with subprocess.Popen([sys.executable, script, *words], cwd=ROOT, env=ENVIRONMENT, start_new_session=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        started = time.monotonic()
        if isinstance(when, float):
            time.sleep(when)
        while callable(when) and not when() and process.poll() is None and time.monotonic() - started < 60:
            time.sleep(0.005)
        ended = process.poll() is not None
        if number == signal.SIGINT and not ended:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        sent = time.monotonic()
        text = process.communicate(timeout=60)[1].decode(errors="replace")
        while (left := members(process.pid)) and time.monotonic() - sent < GONE_S:
            time.sleep(0.05)
    assert not left, f"{script}: processes {left} are left after {GONE_S} s"
    assert not list(Path(folders["out"]).rglob("*.partial-*"))
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return None if ended else process.returncode, [line for line in lines if not PROGRESS.search(line)]


def members(session):
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", STATUS)
def test_workers_of_a_pool_leave_ctrl_c_to_their_parent_and_end_with_it(number, data, tmp_path):
    features = tmp_path / "features" / "foa_dev"
    status, lines = stopped("batch_feature_extraction.py", number, {"data": data, "out": tmp_path},
                            lambda: features.exists() and any(features.iterdir()))
    assert status in (STATUS[number], None)
    assert len(lines) <= 1 and all("run the same command again" in line for line in lines), lines


def test_a_stop_waits_for_callbacks_to_return():
    program = ("import signal, time; from doatools import errors\n"
               "signal.signal(signal.SIGINT, errors._interrupt(KeyboardInterrupt, 130, 'stopped'))\n"
               "class Callback:\n    def __del__(self):\n        signal.raise_signal(signal.SIGINT)\n"
               "try:\n    Callback()\n    print('passed', flush=True)\n    time.sleep(60)\n"
               "except KeyboardInterrupt:\n    print('raised')")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=30)
    assert (done.stdout, done.stderr) == ("passed\nraised\n", "")


LOST = "exec(open('lost.py').read())"


@pytest.mark.parametrize("run", [LOST, "import lost", f"def __del__():\n    {LOST}\n__del__()"])
def test_a_stop_that_a_library_loses_ends_the_process_all_the_same(run, tmp_path):
    (tmp_path / "lost.py").write_text("import signal, time\n"
                                      "try:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    pass\n"
                                      "time.sleep(60)\n")
    (tmp_path / "half").write_text("half")
    program = ("import runpy, signal, sys; from doatools import errors\n"
               "errors.END_S = 0.2; errors.UNFINISHED.add('half'); sys.path.insert(0, '.')\n"
               "signal.signal(signal.SIGINT, errors._interrupt(KeyboardInterrupt, 130, 'stopped'))\n"
               + run)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (130, "stopped\n") and not (tmp_path / "half").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_at_any_time(script, number, data, tmp_path):
    """Twelve moments, close together at first; before 0.1 s on an idle machine it is Python that is interrupted."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import argparse, pathlib"], check=True)
    first = max(0.1, 4 * (time.monotonic() - started))
    for number_of, when in enumerate(np.geomspace(first, 12, 12).tolist()):
        out = tmp_path / str(number_of)
        out.mkdir()
        status, lines = stopped(script, number, {"data": data, "out": out}, when)
        assert status in (STATUS[number], None), (when, status, lines)
        assert len(lines) <= 1, (when, lines)
