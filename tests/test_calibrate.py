"""Calibration: thresholds and radii by hand, and the script on a small network."""

import numpy as np
import pytest
import torch

import calibrate_doanet as calibrate
import train_doanet
from doatools.spatial.geometry import unit_vectors
from doatools.train import checkpoint, losses
from doatools.types import Predictions, Result
from evaluation import by_localizer
from localizer import Localizer


def result_of(errors, probability, radius=2.0):
    """One source in front; predictions of one slot that are off by ``errors`` degrees."""
    count = len(errors)
    predictions = Predictions(unit_vectors(np.asarray(errors), np.zeros(count))[:, None],
                              np.asarray(probability)[:, None], {"radius": np.full((count, 1), radius)})
    return Result("a", predictions, np.tile([1.0, 0, 0], (count, 1, 1)), np.zeros((count, 1), int))


def test_threshold_is_where_f20_is_best():
    right, wrong = result_of([1.0] * 10, [0.4] * 10), result_of([90.0] * 10, [0.3] * 10)
    threshold = calibrate.best_threshold([right, wrong])
    assert 0.3 <= threshold < 0.4
    moved = calibrate.with_threshold(right, threshold)
    assert moved.active.all() and not calibrate.with_threshold(wrong, threshold).active.any()
    assert calibrate.f20([moved, calibrate.with_threshold(wrong, threshold)]) == pytest.approx(200 / 3)


def test_radius_holds_the_quantile_of_correct_predictions():
    errors = [*np.linspace(0, 10, 1001), 50.0, 120.0]
    errors, radii = calibrate.errors_and_radii([result_of(errors, [0.9] * len(errors))])
    assert len(errors) == 1001
    assert calibrate.radius_factor(errors, radii) == pytest.approx(4.5)
    with pytest.raises(ValueError, match="nothing to calibrate by"):
        calibrate.radius_factor(errors[:0], radii[:0])


def test_script_shifts_activity_and_radius(tiny_data, tmp_path, capsys, monkeypatch):
    words = ["22", "job", "features=vectors", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}",
             "max_audio_len_s=6", "--quick"]
    assert train_doanet.main(words) == 0
    best = tmp_path / "22_job" / "best.pt"
    monkeypatch.setattr(calibrate, "THRESHOLDS", (0.25,))
    monkeypatch.setattr(losses, "CORRECT_DEG", 180.0)  # the network has hardly learned
    assert calibrate.main([str(best), "--out", str(tmp_path / "c.pt"), "--threads", "1"]) == 0
    assert "0.25 becomes 0.5" in capsys.readouterr().out
    before, after = Localizer.from_checkpoint(best), Localizer.from_checkpoint(tmp_path / "c.pt")
    factor = checkpoint.load(tmp_path / "c.pt")["calibration"]["radius_factor"]
    features = torch.randn(1, 7, 50, 64).numpy()
    old, new = before.predict(features), after.predict(features)
    np.testing.assert_allclose(new.doa, old.doa, atol=1e-6)
    np.testing.assert_allclose(new.probability, 1 / (1 + (1 / old.probability - 1) / 3), atol=1e-5)
    np.testing.assert_allclose(new.others["radius"], np.minimum(factor * old.others["radius"], 180), rtol=1e-4)
    assert len(by_localizer(after, "val")) == 1


def test_what_cannot_be_calibrated(tiny_data, tmp_path, capsys):
    assert calibrate.main([]) == 2 and "give a checkpoint" in capsys.readouterr().err
    words = ["1", "job", f"dataset_dir={tiny_data}", "max_audio_len_s=6", f"results_dir={tmp_path}"]
    assert train_doanet.main(words) == 0
    assert calibrate.main([str(tmp_path / "1_job" / "best.pt")]) == 2
    assert "nothing to calibrate here" in capsys.readouterr().err
