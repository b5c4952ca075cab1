"""The claim of augmentation: features of a turned sound field are the augmented features of the original."""

import functools

import numpy as np
import pytest
import torch

from cls_feature_class import FeatureClass, Scaler
from doanet_parameters import get_params
from doatools.data.augmentation import LONGEST_MASK, MASKS, Augmentation
from doatools.spatial.arrays import ARRAYS
from doatools.spatial.geometry import unit_vectors
from doatools.spatial.rotations import vertical_turns
from trainer import build_augmentation

SAMPLES = 24000
WAVES = unit_vectors(np.array([20.0, -100.0]), np.array([33.0, -12.0]))  # two plane waves


@functools.cache
def parts(dataset):
    """FeatureClass of a second, a scaler with all its columns different, and the augmentation."""
    params = get_params("1", dataset=dataset, max_audio_len_s=1.0, turn_augment=True)
    features = FeatureClass(params)
    columns = features.nb_feature_channels * features.nb_bands
    rng = np.random.default_rng(3)
    scaler = Scaler(rng.normal(size=columns), rng.uniform(0.5, 2, columns))
    return features, scaler, build_augmentation(params, scaler)


def recorded(dataset, directions):
    """Normalised features (C, T, F) of two independent noises from ``directions`` (2, 3) by the array."""
    rng = np.random.default_rng(0)
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / 24000)
    response = ARRAYS[dataset].response(directions, frequencies)  # (M, 2, K)
    spectra = np.fft.rfft(0.05 * rng.normal(size=(2, SAMPLES)))
    audio = np.fft.irfft((response * spectra).sum(1), SAMPLES).T
    features, scaler, _ = parts(dataset)
    return torch.from_numpy(features.as_channels(scaler.apply(features.extract(audio.astype(np.float32)))))


def test_turns_keep_the_vertical_axis_and_differ():
    turns = vertical_turns()
    assert len({turn.tobytes() for turn in turns}) == len(turns) == 16
    for turn in turns:
        np.testing.assert_array_equal(turn @ turn.T, np.eye(3))
        assert abs(turn[2, 2]) == 1


def test_tetrahedron_has_eight_swaps():
    assert len(parts("mic")[2].turns) == 8
    assert len(parts("foa")[2].turns) == 16


@pytest.mark.parametrize("dataset, turn", [*(("foa", k) for k in range(16)), *(("mic", k) for k in range(8))])
def test_features_of_turned_plane_waves(dataset, turn):
    augmentation = parts(dataset)[2]
    original = recorded(dataset, WAVES)
    turned = recorded(dataset, WAVES @ augmentation.turns[turn].numpy().T)
    augmented = augmentation.turn_features(original[None], torch.tensor([turn]))[0]
    if dataset == "mic":  # the lag that a reversed GCC lacks
        assert (augmented[4:, :, 1:] - turned[4:, :, 1:]).abs().max() < 2e-2  # rounding of phases in weak bins
        augmented, turned = augmented[:4], turned[:4]
    assert (augmented - turned).abs().max() < 2e-3
    if turn:
        assert (original[: len(turned)] - turned).abs().max() > 0.01


def batch_of(size, channels=7):
    rng = np.random.default_rng(1)
    doa = unit_vectors(rng.uniform(-180, 180, (size, 5, 2)), rng.uniform(-45, 45, (size, 5, 2))).astype(np.float32)
    doa[:, :, 1] = 0  # silent
    features = rng.normal(1, 0.1, (size, channels, 25, 64)).astype(np.float32)
    return {"features": torch.from_numpy(features), "doa": torch.from_numpy(doa),
            "activity": torch.ones(size, 5, 2), "index": torch.arange(size)}


def test_labels_turn_with_the_features_and_silence_stays():
    augmentation, batch = parts("foa")[2], batch_of(64)
    done = augmentation(batch, epoch=1)
    turned = batch["doa"].unsqueeze(1) @ augmentation.turns.transpose(1, 2).unsqueeze(1)  # (B, K, L, N, 3)
    which = (turned - done["doa"].unsqueeze(1)).abs().amax((2, 3, 4)).argmin(1)
    assert len(which.unique()) > 8
    np.testing.assert_allclose(augmentation.turn_features(batch["features"], which), done["features"])
    assert done["doa"][:, :, 1].abs().max() == 0
    assert torch.equal(done["activity"], batch["activity"])


def test_chance_follows_from_epoch_and_sample_not_from_the_batch():
    augmentation, batch = parts("foa")[2], batch_of(12)
    whole = augmentation(batch, epoch=3)
    half = augmentation({name: value[6:] for name, value in batch.items()}, epoch=3)
    assert torch.equal(whole["features"][6:], half["features"])
    assert not torch.equal(whole["doa"], augmentation(batch, epoch=4)["doa"])


def test_masks_cover_bands_of_mel_channels_and_frames_of_all():
    params = get_params("9", spec_augment=True)
    columns = 10 * 64
    augmentation = build_augmentation(params, Scaler(np.zeros(columns), np.ones(columns)))
    batch = batch_of(200, channels=10)
    done = augmentation(batch, epoch=1)
    masked = done["features"] == 0
    assert torch.equal(done["features"][~masked], batch["features"][~masked])
    frames, bands = masked.all(3).all(1), masked[:, :4].all(2).all(1)  # (B, T), (B, F)
    assert 0.03 < frames.float().mean() < MASKS * LONGEST_MASK
    assert 0.03 < bands.float().mean() < MASKS * LONGEST_MASK
    lags = masked[:, 4:] & ~frames[:, None, :, None]
    assert not lags.any()
    assert torch.equal(done["doa"], batch["doa"])


@pytest.mark.parametrize("dataset", ["foa", "mic"])
def test_levels_are_those_of_louder_and_softer_sound(dataset):
    features, scaler, _ = parts(dataset)
    augmentation = build_augmentation(get_params("1", dataset=dataset, level_augment_db=20.0), scaler)
    audio = np.random.default_rng(0).normal(0, 0.05, (SAMPLES, 4)).astype(np.float32)
    soft, loud = (torch.from_numpy(features.as_channels(scaler.apply(features.extract(gain * audio))))
                  for gain in (np.float32(1), np.float32(10)))
    changed = augmentation.change_levels(torch.stack([soft, soft]), [20.0, 0.0])
    assert torch.allclose(changed[0], loud, atol=2e-3) and torch.equal(changed[1], soft)
    batch = batch_of(50, channels=len(soft))
    gains = (augmentation(batch, 1)["features"] - batch["features"])[:, 0, 0, 0] * augmentation.scale[0]
    assert gains.abs().max() < 20 and gains.std() > 8


def test_nothing_asked_for_is_nothing_done():
    assert build_augmentation(get_params("1"), parts("foa")[1]) is None
    assert isinstance(parts("foa")[2], Augmentation)
