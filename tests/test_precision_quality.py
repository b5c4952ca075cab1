"""The comparison of precisions: its arithmetic, and that it runs."""

import importlib

import numpy as np
import pytest

from benchmarks import precision_quality
from benchmarks.precision_quality import interval, table


def test_the_interval_is_students():
    differences = np.array([1.0, 2.0, 3.0])  # standard deviation 1, t(0.975, 2) = 4.3027
    assert interval(differences) == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)


def test_the_table_pairs_seeds():
    single = np.array([[1.0, 20.0, 50.0], [2.0, 22.0, 52.0], [3.0, 24.0, 54.0]])
    lines = table(single, np.add(single, [[0.1, 1.0, -1.0], [-0.1, 1.1, 0.0], [0.0, 0.9, 1.0]])).splitlines()
    assert lines[3].startswith("| validation loss | 2 | 2 | +0 [-0.248, +0.248], contains 0")
    assert lines[4].startswith("| LE | 22 | 23 | +1 [+0.752, +1.25], **excludes 0**")


def test_it_runs(tiny_data, capsys, monkeypatch):
    def here(name, *words):  # in this process, which has PyTorch loaded
        assert importlib.import_module(name.removesuffix(".py")).main(words) == 0
    monkeypatch.setattr(precision_quality, "script", here)
    assert precision_quality.main(["--seeds", "2", "--epochs", "1", f"dataset_dir={tiny_data}", "max_audio_len_s=6",
                                   "nb_cnn2d_filt=4", "rnn_size=4", "fnn_size=4", "label_sequence_length=10"]) == 0
    printed = capsys.readouterr().out
    assert "seed 2, bf16-mixed" in printed and "| F20 |" in printed
