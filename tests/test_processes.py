"""Two processes that share each batch give the results of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from doatools.train import checkpoint

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*words):
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Loss terms and weights of each loss after an epoch in one process, and in two."""
    folder, script = tmp_path_factory.mktemp("steps"), "tests/two_processes.py"
    run(script, folder / "one.pt")
    run(*TORCHRUN, script, folder / "two.pt")
    return [torch.load(folder / name, weights_only=True) for name in ("one.pt", "two.pt")]


@pytest.mark.parametrize("loss", ["dmot", "mean", "hungarian", "mse", "frame", "track", "sel", "muon"])
def test_losses_and_weights_are_those_of_one_process(results, loss):
    (terms, weights), (shared_terms, shared_weights) = (result[loss] for result in results)
    assert shared_terms == pytest.approx(terms, rel=1e-4, abs=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(shared_weights[name], value, rtol=1e-3, atol=2e-4)


@pytest.mark.slow  # two processes start PyTorch twice
def test_a_run_of_torchrun_writes_one_log_and_continues_in_one_process(tiny_data, tmp_path):
    words = ["train_doanet.py", "1", "two", "quick_test=False", "nb_epochs=2", "batch_size=4", "nb_cnn2d_filt=8",
             "label_sequence_length=10", "rnn_size=8", "fnn_size=8", "max_audio_len_s=6", "device=cpu",
             f"dataset_dir={tiny_data}", f"results_dir={tmp_path}"]
    printed = run(*TORCHRUN, *words)
    assert "in 2 processes" in printed and printed.count("epoch   1/2") == 1
    run_folder = tmp_path / "1_two"
    assert [json.loads(line)["epoch"] for line in (run_folder / "log.jsonl").read_text().splitlines()] == [1, 2]
    last = checkpoint.load(run_folder / "last.pt")
    last["training"]["epoch"] = 1  # as if it had been stopped after the first epoch
    checkpoint.save(run_folder / "last.pt", last)
    printed = run(*words, "--resume")
    assert "epoch   2/2" in printed and "epoch   1/2" not in printed
