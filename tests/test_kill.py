"""SIGKILL at ten random moments each, with workers and bf16 on: the same files and weights in the end."""

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import make_dataset

from doatools.train import checkpoint

ROOT = Path(__file__).resolve().parent.parent
KILLS = 10

pytestmark = pytest.mark.slow


def run(*words):
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def kill_while_working(progress, rng, *words):
    """Start a script and SIGKILL it after a random amount of progress and time; whether it was still at work."""
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    wanted = progress() + rng.randint(1, 5)
    while process.poll() is None and progress() < wanted:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.15))
    process.kill()  # its workers notice that it is gone
    return process.wait() == -signal.SIGKILL


def digests(folder):
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("kill") / "data", recordings_per_fold=3, seconds=12.0)


def test_killed_simulation(tmp_path):
    def words(name):
        return ["simulate_dataset.py", f"dataset_dir={tmp_path / name}", "sim_recordings_per_fold=5",
                "sim_recording_len_s=2", "sim_rt60_s=[0.1,0.2]", "--jobs", "2"]
    run(*words("whole"))
    rng, kills = random.Random(2), 0
    while kills < KILLS:
        if kill_while_working(lambda: len(list((tmp_path / "killed").rglob("*.*"))), rng, *words("killed")):
            kills += 1
        else:
            shutil.rmtree(tmp_path / "killed")
    run(*words("killed"))
    whole, killed = digests(tmp_path / "whole"), digests(tmp_path / "killed")
    assert whole == killed and len(whole) == 1 + 3 * 30


def test_killed_localization(data, tmp_path):
    def words(name):
        return ["localize.py", str(data / "foa_dev"), "--fast", "--html", "--format", "json", "--out",
                str(tmp_path / name), "--overwrite"]
    run(*words("whole"))
    rng, kills, started = random.Random(3), 0, time.time()

    def written():
        return sum(path.stat().st_mtime >= started for path in (tmp_path / "killed").glob("[!.]*"))

    while kills < KILLS:
        started = time.time()
        kills += kill_while_working(written, rng, *words("killed"))
    run(*words("killed"))
    whole, killed = digests(tmp_path / "whole"), digests(tmp_path / "killed")
    assert whole == killed and len(whole) == 3 * 18


def test_killed_extraction(data, tmp_path):
    def words(name):
        return ["batch_feature_extraction.py", f"dataset_dir={data}", f"feat_label_dir={tmp_path / name}",
                "max_audio_len_s=12", "--jobs", "2"]
    run(*words("whole"))
    rng, kills = random.Random(0), 0
    while kills < KILLS:
        if kill_while_working(lambda: len(list((tmp_path / "killed").rglob("*.npy"))), rng, *words("killed")):
            kills += 1
        else:  # all the work was done: begin again
            shutil.rmtree(tmp_path / "killed")
    run(*words("killed"))
    whole, killed = digests(tmp_path / "whole"), digests(tmp_path / "killed")
    assert whole == killed and len(whole) > 36


def test_two_extractions_at_once(data, tmp_path):
    words = [sys.executable, "batch_feature_extraction.py", f"dataset_dir={data}", "--jobs", "1"]
    run(*words[1:], f"feat_label_dir={tmp_path / 'alone'}")
    both = [subprocess.Popen([*words, f"feat_label_dir={tmp_path / 'both'}"], cwd=ROOT, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.wait() == 0, process.stderr.read()
    assert digests(tmp_path / "alone") == digests(tmp_path / "both")


def test_killed_training(data, tmp_path):
    run("batch_feature_extraction.py", f"dataset_dir={data}", "max_audio_len_s=12", "--jobs", "2")

    def words(name):
        return ["train_doanet.py", "1", "job", f"dataset_dir={data}", f"results_dir={tmp_path / name}", "--resume",
                "quick_test=False", "nb_epochs=80", "max_audio_len_s=12", "label_sequence_length=10", "batch_size=8",
                "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8", "dropout_rate=0.1", "num_workers=2", "device=cpu",
                "precision=bf16-mixed"]
    run(*words("whole"))
    log = tmp_path / "killed" / "1_job" / "log.jsonl"
    rng = random.Random(1)
    for _ in range(KILLS):
        assert kill_while_working(lambda: log.read_text().count("\n") if log.exists() else 0, rng, *words("killed"))
    run(*words("killed"))
    for name in ("last.pt", "best.pt"):
        whole, killed = (checkpoint.load(tmp_path / kind / "1_job" / name) for kind in ("whole", "killed"))
        assert whole["epoch"] == killed["epoch"] and whole["scores"] == killed["scores"]
        assert all(torch.equal(whole["model"][key], killed["model"][key]) for key in whole["model"])
