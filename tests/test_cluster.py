"""Simulation and extraction on a Dask cluster write what they write without: the same bytes."""

import sys

import pytest
from distributed import LocalCluster

import batch_feature_extraction
import simulate_dataset


@pytest.fixture(scope="module")
def scheduler():
    """The address of a cluster of two worker processes on this machine (joblib does not use workers with threads)."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def make_both(folder, *words):
    """Simulate and extract → the contents of all files except for the notes, which hold modification times."""
    small = [f"dataset_dir={folder}", "sim_recordings_per_fold=1", "sim_recording_len_s=5"]
    assert simulate_dataset.main([*small, *words]) == 0
    assert batch_feature_extraction.main([small[0], "max_audio_len_s=5", *words]) == 0
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.suffix in (".wav", ".csv", ".npy", ".npz")}


def test_workers_write_the_same_files(scheduler, tmp_path, monkeypatch):
    alone = make_both(tmp_path / "alone", "--jobs", "1")
    assert len(alone) == 6 * 6 + 1
    for name in ("doatools.simulate.rooms.Renderer.early_response", "cls_feature_class.FeatureClass.extract"):
        monkeypatch.setattr(name, None)  # in this process, which should not do the work
    assert make_both(tmp_path / "cluster", "--dask", scheduler) == alone


def test_a_scheduler_that_does_not_answer_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("doatools.cluster.TIMEOUT_S", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://1"):
        assert simulate_dataset.main([f"dataset_dir={tmp_path}", "--dask", address]) == 2
        assert f"no Dask scheduler answers at {address}" in capsys.readouterr().err


def test_a_cluster_without_workers_is_reported(tmp_path, capsys):
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster:
        words = [f"dataset_dir={tmp_path}", "sim_recordings_per_fold=1", "--dask", cluster.scheduler_address]
        assert simulate_dataset.main(words) == 2
    assert "no workers" in capsys.readouterr().err


def test_without_dask_the_package_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert simulate_dataset.main([f"dataset_dir={tmp_path}", "--dask", "tcp://127.0.0.1:8786"]) == 2
    assert "pip install distributed" in capsys.readouterr().err
