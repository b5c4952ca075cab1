"""Rotated and mirrored arrays, faulty channels: each fault planted in a healthy set is named and, where a correction
exists, corrected; healthy sets raise none."""

import json
import shutil

import numpy as np
import pytest
import soundfile

import batch_feature_extraction
import check_dataset
import evaluate_doanet
import localize
import simulate_dataset
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.check import capsules, orientation, permutations
from doatools.data.dcase import read_dcase
from doatools.data.extraction import read_labels
from doatools.data.readers import recordings_for
from doatools.data.slots import pieces_of_rows, rows_at
from doatools.errors import UserError
from doatools.simulate.sensors import rotation
from doatools.spatial.arrays import find_array
from doatools.spatial.corrections import read_correction, rotated, write_correction
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.types import EVENT_ROWS

pytestmark = pytest.mark.xdist_group("orientation")  # one process simulates the sets

FS = 24000
EIGHT = ["sim_recordings_per_fold=8", "sim_rooms_per_fold=4", "--fold", "1", "--jobs", "1"]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Eight recordings of 15 s, at both arrays."""
    root = tmp_path_factory.mktemp("healthy") / "set"
    assert simulate_dataset.main([f"dataset_dir={root}", "sim_recording_len_s=15", *EIGHT]) == 0
    return root


def check(root, array, capsys, *words):
    capsys.readouterr()
    code = check_dataset.main([f"dataset_dir={root}", f"array={array}", "--jobs", "1", *words])
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


def test_healthy_sets_raise_nothing(healthy, capsys):
    code, told = check(healthy, "both", capsys)
    assert code == 0, told


# --- rotated, tilted and mirrored ------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def at_attacks(healthy):
    """[(measured (E, 3), labelled (E, 3))] of the healthy recordings of foa."""
    return [orientation.attack_directions(soundfile.read(path)[0], FS, labels_of(path), 0.1, find_array("foa"))
            for path in sorted(healthy.glob("foa_dev/*.wav"))]


def labels_of(path):
    """EVENT_ROWS of a recording or a CSV."""
    csv = path if path.suffix == ".csv" else path.parents[1] / "metadata_dev" / f"{path.stem}.csv"
    return rows_at(pieces_of_rows(read_dcase(csv), 0.1), 0.1)


def angle_of(matrix):
    """Of a rotation matrix, degrees; NaN for a reflection."""
    return np.rad2deg(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))) if np.linalg.det(matrix) > 0 else np.nan


LEFT_RIGHT, UP_DOWN, FRONT_BACK = orientation.MIRRORS.values()


@pytest.mark.parametrize("stand, mirror, yaw, tilt", [
    (rotation(25, 0, 0), "", 25, 0), (rotation(-12, 0, 0), "", -12, 0), (rotation(0, 10, 0), "", 0, 10),
    (rotation(0, 0, 10), "", 0, 10), (rotation(40, 0, -10), "", 40, 10), (LEFT_RIGHT, "left and right", 0, 0),
    (UP_DOWN, "up and down", 0, 0), (FRONT_BACK, "front and back", 0, 0),
    (rotation(0, 0, 12) @ LEFT_RIGHT, "left and right", 0, 12)])
def test_rotations_tilts_and_mirrors_are_named(at_attacks, stand, mirror, yaw, tilt):
    """An ambisonic microphone that stands so measures directions that are rotated so."""
    found = orientation.orientation([(measured @ stand.T, labelled) for measured, labelled in at_attacks])
    assert found.wrong and found.mirror == mirror and angle_of(found.matrix @ stand) < 2
    assert abs(found.yaw - yaw) < 2 and abs(found.tilt - tilt) < 2
    for word, there in (("rotated", yaw), ("tilted", tilt), ("exchanged", mirror), ("counter-clockwise", yaw > 0)):
        assert (word in found.describe()) == bool(there)


@pytest.fixture(scope="module")
def healthy_scores(healthy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    return intensity_scores(two_of(shutil.copytree(healthy, folder / "set")), folder)


def two_of(root):
    """The set, without all but two recordings."""
    for folder in root.glob("*_dev"):
        for path in sorted(folder.iterdir())[2:]:
            path.unlink()
    return root


def intensity_scores(root, folder, *words):
    """(LE in degrees, F20 in %) of the intensity baseline."""
    words = [f"dataset_dir={root}", f"results_dir={folder}", *words]
    assert evaluate_doanet.main(["--baseline", "intensity", *words]) == 0
    figures = json.loads((folder / "evaluation_intensity" / "evaluation.json").read_text())["figures"]
    return figures["LE"]["value"], figures["F20"]["value"]


@pytest.mark.parametrize("stand, told", [
    (rotation(30, 0, 10), "rotated by 30° counter-clockwise, seen from above and the array is tilted by 10°"),
    (LEFT_RIGHT @ rotation(0, 0, 8), "Y is negated")])
def test_a_correction_is_written_and_accepted_by_extraction_evaluation_and_localization(
        healthy, healthy_scores, tmp_path, capsys, stand, told):
    root, file = spoiled(healthy, tmp_path, "foa", turned_foa(stand)), tmp_path / "stand.yaml"
    code, report = check(root, "foa", capsys, "--rotation", str(file))
    assert code == 1 and told in report, report
    assert angle_of(read_correction(file) @ stand) < 2
    words = [f"dataset_dir={two_of(root)}", f"rotation={file}"]

    assert batch_feature_extraction.main(["22", *words, "--jobs", "1"]) == 0  # labels in the axes of the array
    config = get_params("22", dataset_dir=str(root), rotation=str(file))
    for recording in recordings_for(config, "test"):
        found, wanted = read_labels(FeatureFiles(config).labels(recording)), labels_of(recording.audio)
        assert angular_distance(directions(found), directions(wanted) @ stand.T).max() < 2.5

    error, f20 = intensity_scores(root, tmp_path, f"rotation={file}")
    assert abs(error - healthy_scores[0]) < 1.5 and abs(f20 - healthy_scores[1]) < 6
    assert intensity_scores(root, tmp_path)[0] > error + 4

    path = next(root.glob("foa_dev/*.wav"))  # directions in the axes of the room
    wanted = labels_of(path)
    soundfile.write(path, soundfile.read(path, frames=7 * FS)[0], FS)
    assert localize.main([str(path), "--rotation", str(file), "--fast", "--no-plot", "--out", str(tmp_path)]) == 0
    errors = [angular_distance(directions(row), directions(wanted[wanted["frame"] == row["frame"]])).min()
              for row in labels_of(tmp_path / f"{path.stem}.csv") if row["frame"] in wanted["frame"]]
    assert len(errors) > 25 and np.median(errors) < 8


def directions(rows):
    return unit_vectors(rows["azimuth"], rows["elevation"])


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
    return lambda audio: audio[:, list(order)]


def test_faulty_channels_of_single_recordings_are_named(healthy, tmp_path, capsys):
    """Channels that are exchanged, or of wrong polarity, in all recordings: tests/test_check_dataset.py."""
    root = two_of(spoiled(healthy, tmp_path, "mic"))
    for path, change in zip(sorted(root.glob("mic_dev/*.wav")), (with_columns([0, 1, 1, 3]), dies)):
        audio, fs = soundfile.read(path)
        soundfile.write(path, change(audio), fs)
    code, report = check(root, "mic", capsys)
    assert code == 1 and "channels 2 and 3 hold the same signal" in report
    assert "channel 3 falls silent at 7.5 s" in report


def test_spikes_and_offsets_raise_nothing(healthy, tmp_path, capsys):
    def change(audio):
        audio = audio + np.array([0.1, -0.05, 0.02, 0])
        audio[5000, 1] = 1e6
        return audio
    _, report = check(spoiled(healthy, tmp_path, "mic", change), "mic", capsys)
    assert "silent" not in report and "rotated" not in report and "polarity" not in report, report


def ring_of(folder, radius):
    """The file of a ring of six capsules, numbered counter-clockwise from the front."""
    path = folder / f"{radius}.yaml"
    angles = np.deg2rad(60) * np.arange(6)
    places = radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(6)], axis=1)
    path.write_text(f"name: ring\nkind: free\npositions_m: {places.round(4).tolist()}\n")
    return path


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A ring of 4.6 cm radius, and eight recordings of 12 s by it: (file, dataset)."""
    folder = tmp_path_factory.mktemp("ring")
    array, root = ring_of(folder, 0.046), folder / "set"
    assert simulate_dataset.main([f"dataset_dir={root}", f"array={array}", "sim_recording_len_s=12",
                                  "sim_rt60_s=[0.3,0.4]", *EIGHT]) == 0
    return array, root


@pytest.mark.parametrize("pair", [(1, 2), (1, 3)])
def test_exchanged_capsules_of_a_ring_are_named(ring, tmp_path, capsys, pair):
    array, root = ring
    one, other = pair
    root = spoiled(root, tmp_path, "ring", with_columns(permutations.exchange(one - 1, other - 1, 6)))
    code, report = check(root, array, capsys)
    assert code == 1 and f"1. ring: channels {one} and {other} are exchanged" in report, report
    assert "1 kind of findings" in report


def test_spacing_that_disagrees_with_the_array_file(ring, tmp_path, capsys):
    array, root = ring
    code, report = check(root, array, capsys)
    assert code == 0, report
    code, report = check(root, ring_of(tmp_path, 0.069), capsys)
    assert code == 1 and "closer together than the array file states" in report
    assert "0.6" in report.split("are ", 1)[1]
    audio, fs = soundfile.read(next(root.glob("ring_dev/*.wav")))
    assert capsules.doubts(audio, fs, find_array(str(array))) == []
    assert "farther apart" in " ".join(capsules.doubts(audio, fs, find_array(str(ring_of(tmp_path, 0.0115)))))
    spoilt = audio[:, [0, 1, 1, 3, 4, 5]] * [1, 1, 1, -1, 1, 1]
    sentences = " ".join(capsules.doubts(spoilt, fs, find_array(str(array))))
    assert "channels 2 and 3 hold the same signal" in sentences and "channel 4 has the wrong polarity" in sentences
