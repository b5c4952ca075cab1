"""Magnitude-phase features against scipy, on disk, and as chunks of either annotation format."""

import numpy as np
import pytest
import scipy.signal
import torch
from tut_helpers import FS, make_tut

import batch_feature_extraction
from cls_data_generator import SequenceDataset
from cls_feature_class import FeatureFiles, build_features
from doanet_parameters import get_params
from doatools.data.augmentation import build_augmentation
from doatools.errors import UserError
from doatools.train.loop import Sequences
from doatools.types import Predictions, Scaler
from localizer import Localizer

CONFIG = "configs/cnn.yaml"


def published(audio, fs=FS, n_fft=2048):
    """Chunk first, then scipy's STFT: int16 audio (samples, 4) → (8, T, F), float64."""
    chunk = fs // 2
    parts = []
    for start in range(0, len(audio), chunk):
        samples = audio[start : start + chunk].T / 32767
        _, _, spectra = scipy.signal.stft(samples, fs, nperseg=fs // 25, nfft=n_fft)
        spectra = spectra[:, 1:, :-1].swapaxes(1, 2)  # (4, 25, F)
        assert spectra.shape == (4, 25, n_fft // 2)
        parts.append(np.concatenate([np.abs(spectra), np.angle(spectra)]))
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("fs, tut", [(44100, True), (24000, False)])
def test_features_are_those_of_scipy(fs, tut):
    rng = np.random.default_rng(0)
    audio = (3000 * rng.standard_normal((fs, 4)) * np.linspace(0, 1, fs)[:, None] ** 2).astype(np.int16)
    made = build_features(get_params(CONFIG, format="tut2018" if tut else "dcase"))
    ours = made.as_channels(made.extract((audio / 32768).astype(np.float32)))
    wanted = published(audio, fs, 2048 if tut else 1024)
    assert ours.shape == wanted.shape == (8, 50, 1024 if tut else 512)
    np.testing.assert_allclose(ours[:4], wanted[:4], atol=1e-5 * wanted[:4].max())
    difference = np.abs(np.exp(1j * ours[4:]) - np.exp(1j * wanted[4:]))
    clear = wanted[:4] > 1e-3 * wanted[:4].max()  # a phase is as exact as its magnitude is large
    assert difference[clear].max() < 1e-3 and clear.mean() > 0.5
    np.testing.assert_allclose(ours[:4] * np.exp(1j * ours[4:]), wanted[:4] * np.exp(1j * wanted[4:]),
                               atol=1e-5 * wanted[:4].max())


def test_half_precision_loses_less_than_the_samples_had():
    """Rounded features as complex numbers, against what the quantisation of 16 bits leaves of noise in a bin."""
    rng = np.random.default_rng(0)
    exact = 0.05 * rng.standard_normal((FS, 4)) * np.geomspace(1, 1e-4, FS)[:, None]  # from loud to 16-bit silence
    made = build_features(get_params(CONFIG, format="tut2018"))

    def spectrum(features):
        features = made.as_channels(features.astype(np.float64))
        return features[:4] * np.exp(1j * features[4:])

    samples = (np.round(exact * 32768) / 32768).astype(np.float32)
    features = made.extract(samples)
    rounding = np.abs(spectrum(features.astype(np.float16)) - spectrum(features))
    quantisation = np.abs(spectrum(features) - spectrum(made.extract(exact.astype(np.float32))))
    magnitude = made.as_channels(features)[:4]
    assert np.sqrt(np.mean(quantisation**2)) == pytest.approx(2.6e-7, rel=0.2)
    quiet = magnitude < 1e-5
    assert quiet.mean() > 0.2 and np.sqrt(np.mean(rounding[quiet] ** 2)) < 0.1 * 2.6e-7
    assert (rounding <= 1.1e-3 * magnitude + 3e-8).all()


def test_too_short_an_fft_is_refused():
    with pytest.raises(UserError, match="num_fft_bins=1024 must be even and hold a window of 1764"):
        build_features(get_params(CONFIG, format="tut2018", num_fft_bins=1024))


@pytest.mark.parametrize("number", range(16))
def test_rotations_exchange_magnitudes_and_add_pi_to_phases(number):
    rng = np.random.default_rng(0)
    audio = 0.05 * rng.standard_normal((FS, 4)).astype(np.float32)
    config = get_params(CONFIG, format="tut2018", rotation_augment=True)
    made = build_features(config)
    augmentation = build_augmentation(config, made, Scaler.identity(8 * 1024))
    matrix = augmentation.rotations[number].numpy()
    rotated = np.concatenate([audio[:, :1], (audio[:, [3, 1, 2]] @ matrix.T)[:, [1, 2, 0]]], axis=1)  # W, and Y Z X
    before, after = (torch.from_numpy(made.as_channels(made.extract(samples)))[None] for samples in (audio, rotated))
    done = augmentation.rotate_features(before, [number])
    torch.testing.assert_close(done[:, :4], after[:, :4])
    assert done[:, 4:].abs().max() <= np.pi + 1e-4
    difference = (torch.exp(1j * done[:, 4:]) - torch.exp(1j * after[:, 4:])).abs()
    assert difference[after[:, :4] > 1e-4].max() < 1e-2


def test_bands_are_not_masked_where_there_are_none():
    with pytest.raises(UserError, match="spec_augment"):
        config = get_params(CONFIG, spec_augment=True)
        build_augmentation(config, build_features(config), Scaler.identity(8 * 1024))


# --- chunks of recordings ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tut(tmp_path_factory):
    folder = make_tut(tmp_path_factory.mktemp("tut") / "ansim")
    words = [CONFIG, "format=tut2018", f"dataset_dir={folder}", "sequence_duration=1.5", "--jobs", "1"]
    assert batch_feature_extraction.main(words) == 0
    return get_params(CONFIG, format="tut2018", dataset_dir=str(folder), sequence_duration=1.5, fold=2)


def test_a_recording_is_one_file_of_half_precision(tut):
    data = SequenceDataset(tut, "train")
    assert [r.split for r in data.recordings] == ["train1", "train3"] * 2
    files = FeatureFiles(tut)
    stored = np.load(files.features(data.recordings[0]))
    assert stored.shape == (75, 8 * 1024) and stored.dtype == np.float16
    assert files.features(data.recordings[0]).parent.name == "wav_ov1_split1_30db_magphase"
    assert not list(files.folder.glob("*norm*")) and not list(files.folder.glob("*scaler*"))


def test_chunks_hold_features_and_labels_of_20_ms(tut):
    data = SequenceDataset(tut, "train")
    assert len(data) == 4 * 3
    number = next(i for i, r in enumerate(data.recordings) if r.overlap == 2)
    item = data[3 * number + 2]
    assert item["features"].shape == (8, 25, 1024) and item["features"].dtype == torch.float32
    stored = np.load(FeatureFiles(tut).features(data.recordings[number]))
    np.testing.assert_array_equal(item["features"][5], stored[50:, 5 * 1024 : 6 * 1024].astype(np.float32))
    # Sources: 0 to 1.5 s and 0.1 to 1.3 s; the chunk is that of 1 to 1.5 s.
    assert item["activity"].sum(0).tolist() == [25, 15, 0, 0]
    doa, event = data.references(number)
    assert event.shape == (75, 2) and (event[:, 0] >= 0).all() and (event[:, 1] >= 0).sum() == 60
    np.testing.assert_array_equal(item["doa"][:15, :2], doa[50:65])


def test_only_what_changed_is_extracted_again(tut, capsys):
    words = [CONFIG, "format=tut2018", f"dataset_dir={tut.data.dataset_dir}", "sequence_duration=1.5", "--jobs", "1"]
    assert batch_feature_extraction.main([*words, "fold=3", "max_epochs=7"]) == 0
    assert "0 extracted, 0 normalised, 12 up to date" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"run: python3 batch_feature_extraction.py configs/cnn.yaml .*format=tut2018"):
        SequenceDataset(tut.replaced(label_sequence_length=15), "train")


def test_dcase_labels_are_held_and_predictions_scored_at_100_ms(tiny_data):
    words = [f"dataset_dir={tiny_data}", "max_audio_len_s=6"]
    assert batch_feature_extraction.main([CONFIG, *words, "--jobs", "1"]) == 0
    config = get_params(CONFIG, dataset_dir=str(tiny_data), max_audio_len_s=6)
    data = SequenceDataset(config, "test")
    assert len(data) == 12 and data[0]["features"].shape == (8, 25, 512)
    doa, event = data.references(0)
    assert event.shape == (60, 1)  # 100 ms
    active = torch.cat([data[i]["activity"][:, 0] for i in range(12)]).numpy()
    np.testing.assert_array_equal(active, np.repeat(event[:, 0] >= 0, 5))
    directions = torch.cat([data[i]["doa"][:, 0] for i in range(12)]).numpy()
    np.testing.assert_array_equal(directions, np.repeat(doa[:, 0], 5, axis=0))
    _, plain = SequenceDataset(get_params(dataset_dir=str(tiny_data), max_audio_len_s=6), "test").references(0)
    np.testing.assert_array_equal(event, plain)  # the references that DOAnet is scored by


def test_five_frames_are_averaged_by_their_probability(tiny_data):
    batch_feature_extraction.main([CONFIG, f"dataset_dir={tiny_data}", "max_audio_len_s=6", "--jobs", "1"])
    data = SequenceDataset(get_params(CONFIG, dataset_dir=str(tiny_data), max_audio_len_s=6), "test")
    doa, activity = np.zeros((12, 25, 4, 3), np.float32), np.zeros((12, 25, 4), np.float32)
    doa[..., 2] = 1
    doa[1, 5:10, 0] = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    activity[1, 5:10, 0] = [0.6, 0.8, 0, 0, 0]
    sequences = Sequences(np.arange(12), Predictions(doa, activity))
    (result,) = data.results(sequences)
    assert result.doa.shape == (60, 4, 3) and result.ref_id.shape == (60, 1)
    np.testing.assert_allclose(result.probability[6], [0.28, 0, 0, 0], atol=1e-6)  # (0.6 + 0.8) / 5
    np.testing.assert_allclose(result.doa[6, 0], [0.6, 0.8, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result.doa[0, 0]), 0, atol=1e-6)  # of no probability: no direction
    (each,) = data.results(sequences, pooled=False)
    assert each.doa.shape == (300, 4, 3) and np.array_equal(each.ref_id, np.repeat(result.ref_id, 5, axis=0))


@pytest.mark.parametrize("words", [{"model": "doanet", "loss": "pit"}, {"features": "foa"}, {"sel_slots": "pit"}])
def test_formats_features_models_and_losses_combine(tut, words):
    settings = {"format": "tut2018", "dataset_dir": tut.data.dataset_dir, "sequence_duration": 1.5}
    if "features" in words:
        given = [f"{key}={value}" for key, value in {**settings, **words}.items()]
        assert batch_feature_extraction.main([CONFIG, *given, "--jobs", "1"]) == 0
    config = get_params(CONFIG, **settings, **words)
    data = SequenceDataset(config, "val")
    localizer = Localizer(config, data.scaler)
    with torch.no_grad():
        answer = localizer.model.eval()(data.__getitems__([0, 1])["features"])
    assert answer.doa.shape == (2, 25, 4, 3)
