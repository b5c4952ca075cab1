"""Arrays drawn for each recording, features that mean the same for all arrays, and one network that reads any array."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
import torch

import augment_files
import batch_feature_extraction
import check_dataset
import evaluate_doanet
import export_doanet
import localize
import simulate_dataset
import train_doanet
from cls_data_generator import SequenceDataset
from cls_feature_class import FeatureFiles, build_features
from cls_metric import figures
from doanet_parameters import get_params
from doatools import shipped
from doatools.data.augmentation import AnyYaw
from doatools.data.dcase import read_dcase
from doatools.data.readers import recordings_for
from doatools.errors import UserError
from doatools.registry import BASELINES
from doatools.spatial import drawn
from doatools.spatial.arrays import FOLDER, Array, fibonacci_directions, find_array, known_arrays
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.spatial.steered import NOISE, SteeredResponse
from doatools.train.runs import choose
from evaluation import by_baseline, by_checkpoint, by_localizer, counts_of, references_of_dataset
from localizer import Localizer
from trainer import Training

FS = 24000
SMALL = ["label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=4", "rnn_size=8", "fnn_size=8", "device=cpu"]
CARDIOIDS = Array("card", "free", tuple(map(tuple, (0.03 * find_array("mic").capsules).tolist())),
                  directivity=(0.5, 0.5, 0.3, 0.3), orientations_deg=find_array("mic").capsules_deg)
KINDS = {name: find_array(name) for name in ("uma8", "mic", "cube8", "irregular5", "foa")} | {"card": CARDIOIDS}


# --- arrays that are drawn -------------------------------------------------------------------------------------

def test_drawn_arrays_are_within_their_ranges_and_none_is_a_known_one():
    ranges = find_array("drawn")
    arrays = [drawn.draw_array(ranges, f"one_{k}", np.random.default_rng([1, k])) for k in range(40)]
    assert {array.channels for array in arrays} == set(range(4, 13))
    assert {(array.kind, array.planar) for array in arrays} == {(kind, planar) for kind in ("free", "rigid")
                                                                 for planar in (True, False)}
    for array in arrays:
        across = 2 * array.radius_m if array.kind == "rigid" else array.aperture_m
        assert 0.0399 < across < 0.2501
        assert array.kind == "free" or not array.patterns.any()
        for name in known_arrays():
            known = find_array(name)
            if known.kind == array.kind and known.channels == array.channels:
                gaps = [np.sort(np.linalg.norm(one.positions[:, None] - one.positions, axis=-1).ravel())
                        for one in (array, known)]
                assert np.abs(gaps[0] - gaps[1]).max() > 1e-3
    assert any(array.patterns.any() for array in arrays if array.kind == "free")
    again = drawn.draw_array(ranges, "one_7", np.random.default_rng([1, 7]))
    assert again == arrays[7] and again.name == arrays[7].name
    crowded = dataclasses.replace(ranges, ranges=(("capsules", (30, 30)), ("aperture_m", (0.01, 0.011)),
                                                  ("planar", 1.0), ("rigid", 0.0), ("directional", 0.0)))
    with pytest.raises(UserError, match="allow fewer capsules or a larger aperture_m"):
        drawn.draw_array(crowded, "none", np.random.default_rng(0))


def test_the_file_of_an_array_gives_the_same_array(tmp_path):
    for number, array in enumerate((CARDIOIDS, *(drawn.draw_array(find_array("drawn"), "one", np.random.default_rng(k))
                                                 for k in range(6)))):
        path = tmp_path / f"{number}.yaml"
        drawn.write_array(path, array)
        assert drawn.array_of(path) == array
    with pytest.raises(UserError, match=r"none\.yaml is missing"):
        drawn.array_of(tmp_path / "none.yaml")


def test_what_takes_one_array_is_refused_for_many(tmp_path, capsys):
    words = ["array=drawn", f"dataset_dir={tmp_path}"]
    for script, more, says in (
            (batch_feature_extraction, ["22", "features=vectors"], "features=steered"),
            (batch_feature_extraction, ["1", "features=mic"], "features=steered"),
            (batch_feature_extraction, ["24", "format=tut2018"], "format=dcase can have"),
            (simulate_dataset, ["--format", "dcase2021"], "without --format"),
            (simulate_dataset, ["--format", "locata"], "--format locata writes those of one"),
            (check_dataset, [], "recordings of one array are"), (augment_files, [], "only recordings of one array")):
        assert script.main([*more, *words]) == 2
        err = capsys.readouterr().err
        assert "stands for many arrays" in err and says in err


# --- features --------------------------------------------------------------------------------------------------

def plane_wave(array, direction, seconds=0.6, seed=0):
    """Noise from ``direction`` (3,), as the channels of an array (samples, M)."""
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * FS))
    response = array.response(direction[None], np.fft.rfftfreq(len(noise), 1 / FS))[:, 0]
    return np.fft.irfft(np.fft.rfft(noise) * response, len(noise)).T.astype(np.float32)


def steered_features(array, audio):
    """Features (8, T, 64)."""
    config = get_params("24", top_db=0)
    features = build_features(config, array)
    return features.extract(audio).reshape(-1, 8, 64).swapaxes(0, 1)


@pytest.mark.parametrize("name", KINDS)
def test_vectors_point_at_the_source_and_the_order_of_channels_does_not_matter(name):
    array, wave = KINDS[name], unit_vectors(40.0, 25.0)
    audio = plane_wave(array, wave)
    found = steered_features(array, audio)
    for first in (1, 4):
        summed = found[first : first + 3, 2:-2, 6:36].sum((1, 2))[[2, 0, 1]]  # of y, z, x, 0.3 to 3 kHz
        error = angular_distance(summed / np.linalg.norm(summed), wave)
        assert error < (12 if array.planar else 6)  # elevation: broad maxima are cut off at the horizon
    assert (found[7] <= 1.001).all() and np.median(found[7, 2:-2]) > 0.9
    if array.kind == "ambisonic":
        return
    order = np.random.default_rng(2).permutation(array.channels)
    permuted = {field: tuple(getattr(array, field)[k] for k in order) for field in (
        "positions_m", "capsules_deg", "directivity", "orientations_deg") if getattr(array, field)}
    other = steered_features(dataclasses.replace(array, **permuted), audio[:, order])
    np.testing.assert_allclose(other, found, atol=2e-3)


def test_the_share_that_a_wave_explains_against_its_definition():
    """In float64, bin by bin, for a random field; bins that share a response are the only difference."""
    array, frequencies = KINDS["irregular5"], np.arange(513) * FS / 1024
    centres = np.array([300.0, 1000.0, 3000.0])
    steered = SteeredResponse(array, frequencies, centres)
    rng = np.random.default_rng(3)
    spectra = (rng.standard_normal((5, 4, 513)) + 1j * rng.standard_normal((5, 4, 513))).astype(np.complex64)
    for band, found in enumerate(steered(spectra)):
        expected, bins = 0, 0
        for chunk in steered.chunks[band]:
            middle = frequencies[chunk].mean()[None]
            field = array.response(fibonacci_directions(300), middle)[..., 0]
            covariance = field @ field.conj().T
            covariance *= 5 / np.trace(covariance).real
            inverse = np.linalg.inv(covariance + NOISE * np.eye(5))
            a = array.response(steered.grid, middle)[..., 0]  # (M, G)
            for k in range(513)[chunk]:
                x = spectra[..., k].astype(complex)  # (M, B)
                shares = np.abs(x.conj().T @ inverse @ a) ** 2
                shares /= np.einsum("mg,mn,ng->g", a.conj(), inverse, a).real
                expected = expected + shares / np.einsum("mb,mn,nb->b", x.conj(), inverse, x).real[:, None]
                bins += 1
        np.testing.assert_allclose(found, expected / bins, atol=2e-5)
    used = [k for parts in steered.chunks for chunk in parts for k in range(513)[chunk]]
    assert used == sorted(set(used)) and len(used) <= 24 and used[0] == 4  # from 90 Hz on
    small = SteeredResponse(array, frequencies, np.linspace(100, 12000, 300))  # narrow bands: each bin once
    assert sorted({k for parts in small.chunks for chunk in parts for k in range(513)[chunk]}) == list(range(4, 513))


@pytest.mark.parametrize("name", ["irregular5", "uma8"])
def test_vectors_are_weighted_means_of_directions(name):
    array, rng = KINDS[name], np.random.default_rng(4)
    kind = build_features(get_params("24"), array).kind
    spectra = (rng.standard_normal((array.channels, 3, 513)) + 1j * rng.standard_normal((array.channels, 3, 513)))
    spectra = spectra.astype(np.complex64)
    out = np.empty((8, 3, 64), np.float32)
    kind(spectra, np.abs(spectra) ** 2, out)
    shares, grid = np.stack(list(kind.steered(spectra))).astype(float), kind.steered.grid  # (F, B, G)
    for band in (0, 1, 30, 62, 63):
        near = shares[max(band - 2, 0) : band + 3].mean(0)
        np.testing.assert_allclose(out[7, :, band], near.max(1), atol=1e-5)
        for first, share, n in ((1, shares[band], 8), (4, near, 32)):
            weights = (1.1 - share) ** -float(n)
            lifted = weights - weights.min(1, keepdims=True) * array.planar
            expected = lifted @ grid[:, [1, 2, 0]] / weights.sum(1, keepdims=True)
            np.testing.assert_allclose(out[first : first + 3, :, band].T, expected, atol=2e-4)


def test_any_rotation_about_the_vertical_is_a_rotation_of_the_vectors():
    """The array and the wave rotated by 72°, against AnyYaw; the grid of directions stays, which costs a little."""
    array, wave, angle = KINDS["irregular5"], unit_vectors(-20.0, 15.0), np.deg2rad(72)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = dataclasses.replace(array, positions_m=tuple(map(tuple, (array.positions @ matrix.T).tolist())))
    plain, rotated = steered_features(array, plane_wave(array, wave)), steered_features(
        turned, plane_wave(turned, matrix @ wave))
    rng = np.random.default_rng(1)
    mean, scale = rng.standard_normal(512), rng.uniform(0.5, 2, 512)
    normalised = (plain - mean.reshape(8, 1, 64)) / scale.reshape(8, 1, 64)
    mapped = AnyYaw((1, 4), mean, scale, 8, True)(torch.tensor(normalised[None], dtype=torch.float32),
                                                  torch.tensor(matrix[None], dtype=torch.float32))[0].numpy()
    mapped = mapped * scale.reshape(8, 1, 64) + mean.reshape(8, 1, 64)
    np.testing.assert_allclose(mapped[[0, 7]], plain[[0, 7]], atol=1e-4)
    gap, apart = (np.abs(one - rotated)[:, 2:-2, :40] for one in (mapped, plain))  # up to 4 kHz
    assert gap[0].max() < 1e-3 and gap[1:7].mean() < 0.03 < 0.2 < apart[1:7].mean()


def test_drawn_rotations_keep_the_vertical_and_reflect():
    free, upright = (AnyYaw((1, 4), np.zeros(512), np.ones(512), 8, upside_down) for upside_down in (True, False))
    matrices = np.stack([free.draw(np.random.default_rng(k)) for k in range(50)])
    np.testing.assert_allclose(matrices @ matrices.swapaxes(1, 2), np.tile(np.eye(3), (50, 1, 1)), atol=1e-12)
    assert {tuple(one) for one in np.sign(matrices[:, 2, 2:])} == {(1,), (-1,)}
    assert {round(np.linalg.det(one[:2, :2])) for one in matrices} == {1, -1}
    assert all(upright.draw(np.random.default_rng(k))[2, 2] == 1 for k in range(20))


@pytest.mark.parametrize("kind", ["srp", "music"])
@pytest.mark.parametrize("name", ["cube8", "irregular5", "uma8"])
def test_baselines_find_a_wave_with_any_array(name, kind):
    array, wave = KINDS[name], unit_vectors(50.0, 25.0)
    audio = plane_wave(array, wave, 0.4)
    audio[: FS // 5] *= 0.01  # a noise floor
    doa, active = BASELINES[kind](array, FS, 0.1)(audio, 2)
    assert angular_distance(doa[3, 0], wave) < 3 and active[3].tolist() == [True, False]


# --- recordings and a network ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data/ of drawn arrays, and a run 24_any in results/."""
    folder = tmp_path_factory.mktemp("any")
    words = [f"dataset_dir={folder / 'data'}", "array=drawn"]
    assert simulate_dataset.main([*words, "max_sources=1", "sim_recordings_per_fold=1", "sim_rooms_per_fold=1",
                                  "sim_recording_len_s=4", "--jobs", "1"]) == 0
    assert batch_feature_extraction.main(["24", *words[:1], "--jobs", "1"]) == 0
    assert train_doanet.main(["24", "any", words[0], f"results_dir={folder / 'results'}", *SMALL]) == 0
    return folder


def config_of(folder, **more):
    return get_params("24", dataset_dir=str(folder / "data"), label_sequence_length=10, **more)


def test_each_recording_has_its_own_array_and_the_same_again(trained, tmp_path):
    files = FeatureFiles(config_of(trained))
    recordings = files.reader.find()
    arrays = [files.array_of(recording) for recording in recordings]
    assert len({array.name for array in arrays}) == len(recordings) == 6
    for recording, array in zip(recordings, arrays):
        assert soundfile.info(recording.audio).channels == array.channels
        rows, labels = read_dcase(recording.annotation), np.load(files.labels(recording))
        assert (labels["elevation"] == (np.abs(rows["elevation"]) if array.planar else rows["elevation"])).all()
        assert files.feature_class_of(recording).array == array
    assert {array.planar for array in arrays} == {True, False}
    config = config_of(trained, max_sources=1, sim_recordings_per_fold=1, sim_rooms_per_fold=1, sim_recording_len_s=4.0)
    writer = simulate_dataset.WRITERS["dcase2020"](config, simulate_dataset._open_sounds([], False, config))
    simulate_dataset.simulate_recording(writer, tmp_path, (2, 0))
    assert [path.suffix for path in writer.paths(tmp_path, (2, 0))] == [".wav", ".yaml", ".csv"]
    for path in writer.paths(tmp_path, (2, 0)):
        assert path.read_bytes() == (trained / "data" / path.relative_to(tmp_path)).read_bytes()


def test_a_recording_without_its_array_is_refused(trained, tmp_path, capsys):
    data = shutil.copytree(trained / "data", tmp_path / "data", ignore=shutil.ignore_patterns("features"))
    gone = sorted(data.glob("drawn_dev/fold3*.yaml"))[0]
    gone.unlink()
    assert batch_feature_extraction.main(["24", f"dataset_dir={data}", "--jobs", "1"]) == 2
    assert f"{gone} is missing: recordings of drawn arrays each have the file" in capsys.readouterr().err


def test_a_recording_is_mixed_with_itself_at_another_time(trained):
    config = config_of(trained, mix_augment=0.5)
    training = Training(config, _Nowhere())
    assert training.mix.possible and training.augment.any_yaw is not None and not training.augment.any_yaw.upside_down
    assert all(training.mix._partners(number) == [number] for number in training.mix.used)
    rows, _, activity = training.mix._mixture(np.random.default_rng(0))
    assert rows.shape[1:] == (50, 512) and (activity.sum((0, 1)) > 0).all()
    batch = training.datasets["train"].__getitems__([0, 1, 2])
    done = training.augment(batch, 1)
    torch.testing.assert_close(done["doa"][..., 2], batch["doa"][..., 2])
    assert not torch.allclose(done["doa"], batch["doa"]) and not torch.allclose(done["features"], batch["features"])


class _Nowhere:
    folder = best = None


def test_one_network_answers_for_any_array(trained, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    best = trained / "results" / "24_any" / "best.pt"
    (tmp_path / "models").mkdir()
    shutil.copy(best, tmp_path / "models" / "doanet_any.pt")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "models")
    recording = sorted((trained / "data" / "drawn_dev").glob("fold1*.wav"))[0]
    command = [str(recording), "--no-plot", "--out", str(tmp_path / "pt"), "--array", str(drawn.path_of(recording))]
    assert localize.main(command) == 0
    err = capsys.readouterr().err
    scores = torch.load(best, weights_only=True)["scores"]
    assert "doanet_any.pt answers: one model for arrays of 4 to 12 capsules, 4 to 25 cm across, not trained for" in err
    assert f"(validation) LE {scores['LE']:.1f}°" in err and "unlike the arrays" not in err
    assert export_doanet.main([str(best), "--out", str(tmp_path / "any.onnx")]) == 0
    assert localize.main([*command[:3], str(tmp_path / "onnx"), *command[4:], "--checkpoint",
                          str(tmp_path / "any.onnx")]) == 0
    assert f"(validation) LE {scores['LE']:.1f}°" in capsys.readouterr().err
    one, other = (read_dcase(tmp_path / kind / f"{recording.stem}.csv") for kind in ("pt", "onnx"))
    assert len(one) == len(other) and (one["frame"] == other["frame"]).all()
    # without an array, or with one that is unlike those of training
    assert localize.main([str(recording), "--checkpoint", str(best)]) == 2
    assert "reads any array: give the file of the one that recorded by --array" in capsys.readouterr().err
    text = (FOLDER / "cube8.yaml").read_text().replace("name: cube8", "name: large").replace("0.05", "0.3")
    (tmp_path / "large.yaml").write_text(text)
    soundfile.write(tmp_path / "eight.wav", 0.01 * np.random.default_rng(0).standard_normal((FS, 8)), FS)
    assert localize.main([str(tmp_path / "eight.wav"), "--no-plot", "--array", str(tmp_path / "large.yaml")]) == 0
    assert "array 'large' is 104 cm across: unlike the arrays" in capsys.readouterr().err


def test_it_is_scored_on_its_own_arrays_and_on_others(trained, tmp_path, capsys):
    best, config = trained / "results" / "24_any" / "best.pt", config_of(trained)
    (own,), _ = by_checkpoint(best, {"dataset_dir": str(trained / "data")})
    (music,) = by_baseline("music", config, references_of_dataset(config))
    assert figures(counts_of(music))["LE"] < 40 and own.stem == music.stem
    (localized,) = by_localizer(Localizer.from_checkpoint(best, dataset_dir=str(trained / "data")))
    assert localized.stem == own.stem and np.isfinite(localized.doa).all() and localized.doa.shape == own.doa.shape
    # as recordings of one array: its file under a name of its own
    recording = recordings_for(config, "test")[0]
    alone = tmp_path / "alone"
    for folder in ("mine_dev", "metadata_dev"):
        (alone / folder).mkdir(parents=True)
    array = dataclasses.replace(drawn.array_of(recording.array), name="mine")
    drawn.write_array(tmp_path / "mine.yaml", array)
    for fold in (1, 3):  # features of one array are normalised by its training recordings; a model brings its own
        shutil.copy(recording.audio, alone / "mine_dev" / recording.audio.name.replace("fold1", f"fold{fold}"))
        shutil.copy(recording.annotation,
                    alone / "metadata_dev" / recording.annotation.name.replace("fold1", f"fold{fold}"))
    values = {"dataset_dir": str(alone), "array": str(tmp_path / "mine.yaml")}
    words = [f"{key}={value}" for key, value in values.items()]
    assert batch_feature_extraction.main(["24", *words, "--jobs", "1"]) == 0
    path, overrides = choose([str(best), *words])
    (mine,), found = by_checkpoint(path, overrides)
    assert found.array == array
    np.testing.assert_array_equal(mine.doa, own.doa)
    np.testing.assert_array_equal(mine.probability, own.probability)
    dataset = SequenceDataset(get_params("24", dataset_dir=str(alone), array=str(tmp_path / "mine.yaml"),
                                         label_sequence_length=10), "train")
    assert dataset.arrays == [array]
    capsys.readouterr()
    assert evaluate_doanet.main([str(shipped.FOLDER / "doanet_mic.pt"), "array=uma8"]) == 2
    assert "was not trained for the array 'uma8'" in capsys.readouterr().err
