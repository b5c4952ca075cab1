"""Rotated and mirrored arrays, faulty channels: each fault planted in a healthy set is named, healthy sets raise
none."""

import shutil

import numpy as np
import pytest
import soundfile

import check_dataset
import simulate_dataset
from doatools.check import capsules, orientation
from doatools.errors import UserError
from doatools.simulate.sensors import rotation
from doatools.spatial.arrays import find_array
from doatools.spatial.corrections import read_correction, rotated, write_correction
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.types import EVENT_ROWS

pytestmark = pytest.mark.xdist_group("orientation")  # one process simulates the sets

FS = 24000


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Twelve recordings of 20 s, at both arrays."""
    root = tmp_path_factory.mktemp("healthy") / "set"
    assert simulate_dataset.main([f"dataset_dir={root}", "sim_recordings_per_fold=2", "sim_recording_len_s=20",
                                  "--jobs", "2"]) == 0
    return root


def check(root, array, capsys, *words):
    capsys.readouterr()
    code = check_dataset.main([f"dataset_dir={root}", f"array={array}", "--jobs", "2", *words])
    return code, " ".join(capsys.readouterr().out.split())


def spoiled(healthy, tmp_path, array, change=None, relabel=None):
    """A copy of the set with audio changed by ``change(audio (samples, M))`` and labels by ``relabel(az, el)``."""
    root = tmp_path / "spoiled"
    shutil.copytree(healthy / "metadata_dev", root / "metadata_dev")
    shutil.copytree(healthy / f"{array}_dev", root / f"{array}_dev")
    for path in root.glob(f"{array}_dev/*.wav") if change else ():
        audio, fs = soundfile.read(path)
        soundfile.write(path, change(audio), fs, subtype="FLOAT")
    for path in root.glob("metadata_dev/*.csv") if relabel else ():
        table = np.loadtxt(path, delimiter=",", ndmin=2)
        table[:, 3], table[:, 4] = relabel(table[:, 3], table[:, 4])
        np.savetxt(path, np.round(table), fmt="%d", delimiter=",")
    return root


def turned_foa(matrix):
    def change(audio):
        audio = audio.copy()
        audio[:, [3, 1, 2]] = audio[:, [3, 1, 2]] @ matrix.T
        return audio
    return change


@pytest.mark.parametrize("array", ["foa", "mic"])
def test_healthy_sets_raise_nothing(healthy, array, capsys):
    code, told = check(healthy, array, capsys)
    assert code == 0, told


@pytest.mark.parametrize("yaw, pitch", [(25.0, 0.0), (-12.0, 0.0), (0.0, 10.0)])
def test_a_rotation_is_found_named_and_corrected(healthy, tmp_path, capsys, yaw, pitch):
    stand = rotation(yaw, pitch, 0.0)
    root = spoiled(healthy, tmp_path, "foa", turned_foa(stand))
    code, told = check(root, "foa", capsys, "--rotation", str(tmp_path / "stand.yaml"))
    assert code == 1
    direction = "counter-clockwise" if yaw > 0 else "clockwise"
    assert ("the array is rotated by" in told and direction in told) if yaw else "the array is tilted by" in told
    correction = read_correction(tmp_path / "stand.yaml")
    residual = correction @ stand
    assert np.rad2deg(np.arccos(np.clip((np.trace(residual) - 1) / 2, -1, 1))) < 3
    if yaw:
        assert abs(np.rad2deg(np.arctan2(residual[1, 0] - residual[0, 1], residual[0, 0] + residual[1, 1]))) < 2


def test_relabelled_rotation_of_capsules(healthy, tmp_path, capsys):
    root = spoiled(healthy, tmp_path, "mic", relabel=lambda a, e: ((a + 20 + 180) % 360 - 180, e))
    code, told = check(root, "mic", capsys)
    assert code == 1 and "rotated by" in told


def test_fit_recovers_rotations_and_mirrors():
    rng = np.random.default_rng(0)
    labels = unit_vectors(rng.uniform(-180, 180, 200), rng.uniform(-45, 45, 200))
    noisy = labels + 0.15 * rng.standard_normal(labels.shape)
    noisy[:20] = rng.standard_normal((20, 3))  # outliers
    for wanted, mirror in ((rotation(33, 0, 0), ""), (rotation(3, 8, 0), ""), (np.diag([1.0, -1, 1]), "left and right"),
                           (np.diag([1.0, 1, -1]), "up and down"), (np.diag([-1.0, 1, 1]), "front and back")):
        recordings = [(noisy[start : start + 20] @ wanted.T, labels[start : start + 20]) for start in range(0, 200, 20)]
        found = orientation.orientation(recordings)
        assert found.mirror == mirror and found.wrong
        assert np.abs(found.matrix @ wanted - np.eye(3)).max() < 0.04
    still = orientation.orientation([(noisy[start : start + 20], labels[start : start + 20])
                                     for start in range(0, 200, 20)])
    assert not still.wrong and still.angle < 2
    assert orientation.orientation([(noisy, labels)] * 3) is None  # too few recordings


def test_correction_file(tmp_path):
    matrix = rotation(20, 5, 0).T
    write_correction(tmp_path / "a.yaml", matrix, "foa: rotated")
    np.testing.assert_allclose(read_correction(tmp_path / "a.yaml"), matrix, atol=1e-5)
    rows = np.zeros(3, EVENT_ROWS)
    rows["azimuth"], rows["elevation"] = [0, 90, -170], [0, 10, -20]
    turned = rotated(rows, matrix)
    back = rotated(turned, matrix.T)
    assert angular_distance(unit_vectors(back["azimuth"], back["elevation"]),
                            unit_vectors(rows["azimuth"], rows["elevation"])).max() < 1e-3
    (tmp_path / "bad.yaml").write_text("matrix: [[1, 0, 0], [0, 2, 0], [0, 0, 1]]\n")
    with pytest.raises(UserError, match="rotation or reflection"):
        read_correction(tmp_path / "bad.yaml")


# --- channels --------------------------------------------------------------------------------------------------

def dies(audio):
    audio = audio.copy()
    audio[len(audio) // 2 :, 2] = 0
    return audio


def with_columns(order):
    return lambda audio: audio[:, order]


@pytest.mark.parametrize("change, told", [
    (with_columns([0, 1, 1, 3]), "channels 2 and 3 hold the same signal"),
    (lambda audio: audio * [1, 1, -1, 1], "channel 3 has the wrong polarity"),
    (with_columns([0, 2, 1, 3]), "channels 2 and 3 are exchanged"),
    (dies, "channel 3 falls silent at 10.0 s"),
])
def test_faulty_capsules_are_named(healthy, tmp_path, capsys, change, told):
    code, report = check(spoiled(healthy, tmp_path, "mic", change), "mic", capsys)
    assert code == 1 and told in report


def test_spikes_and_offsets_raise_nothing(healthy, tmp_path, capsys):
    def change(audio):
        audio = audio + np.array([0.1, -0.05, 0.02, 0])
        audio[5000, 1] = 1e6
        return audio
    _, report = check(spoiled(healthy, tmp_path, "mic", change), "mic", capsys)
    assert "silent" not in report and "rotated" not in report and "polarity" not in report, report


def test_spacing_that_disagrees_with_the_array_file(tmp_path, capsys):
    true = tmp_path / "ring.yaml"
    text = "name: ring\nkind: free\npositions_m: [[{0}, 0, 0], [0, {0}, 0], [-{0}, 0, 0], [0, -{0}, 0], [0, 0, {0}]]\n"
    true.write_text(text.format(0.04))
    stated = tmp_path / "stated.yaml"
    stated.write_text(text.format(0.06))
    root = tmp_path / "set"
    assert simulate_dataset.main([f"dataset_dir={root}", f"array={true}", "sim_recordings_per_fold=2",
                                  "sim_recording_len_s=15", "sim_rt60_s=[0.3,0.4]", "--jobs", "2"]) == 0
    code, report = check(root, true, capsys)
    assert code == 0, report
    code, report = check(root, stated, capsys)
    assert code == 1 and "closer together than the array file states" in report
    assert "0.6" in report.split("are ", 1)[1]
    path = next(root.glob("ring_dev/*.wav"))
    audio, fs = soundfile.read(path)
    assert capsules.doubts(audio, fs, find_array(str(true))) == []
    small = tmp_path / "small.yaml"
    small.write_text(text.format(0.01))
    assert "farther apart" in " ".join(capsules.doubts(audio, fs, find_array(str(small))))
    spoilt = audio[:, [0, 1, 1, 3, 4]] * [1, 1, 1, -1, 1]
    sentences = " ".join(capsules.doubts(spoilt, fs, find_array(str(true))))
    assert "channels 2 and 3 hold the same signal" in sentences and "channel 4 has the wrong polarity" in sentences
