"""Small data made once for all tests."""

import pytest
import torch
from helpers import make_dataset

from doatools.train import checkpoint

torch.set_num_threads(1)  # two test processes share two cores


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A dataset of six folds of one 6 s recording, FOA and MIC, with features and labels extracted."""
    import batch_feature_extraction
    folder = make_dataset(tmp_path_factory.mktemp("tiny") / "data")
    for array in ("foa", "mic"):
        words = [f"dataset_dir={folder}", f"array={array}", "max_audio_len_s=6", "--jobs", "1"]
        assert batch_feature_extraction.main(words) == 0
    return folder


@pytest.fixture
def stopped_once(monkeypatch):
    """Called, it has the next training stopped, as by Ctrl-C, when its first last.pt is written."""
    saved, stopped = checkpoint.save, []

    def stop_after_first_epoch(path, content):
        saved(path, content)
        if path.name == "last.pt" and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    return lambda: monkeypatch.setattr(checkpoint, "save", stop_after_first_epoch)
