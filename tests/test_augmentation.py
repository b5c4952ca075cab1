"""The claim of augmentation: features of a rotated sound field are the augmented features of the original."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.data.augmentation import LONGEST_MASK, MASKS, Augmentation, build_augmentation
from doatools.errors import UserError
from doatools.spatial.arrays import Array
from doatools.spatial.geometry import unit_vectors
from doatools.types import Scaler

SAMPLES = 24000
WAVES = unit_vectors(np.array([20.0, -100.0]), np.array([33.0, -12.0]))  # two plane waves


# A ring of six with exact positions; the files of real arrays round them to 0.1 mm.
HEXAGON = tuple(map(tuple, 0.0463 * unit_vectors(60.0 * np.arange(6), 0.0)))
RING = Array("ring", "free", HEXAGON, directivity=("omni",) * 6)


def config_of(array="foa", **overrides):
    """Task 1 for an array, by its name."""
    if array == "ring":
        return dataclasses.replace(get_params("1", **overrides), array=RING)
    return get_params("1", array=array, **overrides)


def built(scaler=None, array="foa", **overrides):
    """The augmentation of parameters; the scaler is the identity unless given."""
    config = config_of(array, **overrides)
    features = build_features(config)
    return build_augmentation(config, features, scaler or Scaler.identity(
        features.nb_feature_channels * features.nb_bands))


@functools.cache
def parts(array):
    """FeatureClass, a scaler with all its columns different, and the augmentation by rotations."""
    features = build_features(config_of(array))
    columns = features.nb_feature_channels * features.nb_bands
    rng = np.random.default_rng(3)
    scaler = Scaler(rng.normal(size=columns), rng.uniform(0.5, 2, columns))
    return features, scaler, built(scaler, array=array, rotation_augment=True)


def recorded(array, directions):
    """Normalised features (C, T, F) of two independent noises from ``directions`` (2, 3) by the array."""
    rng = np.random.default_rng(0)
    frequencies = np.fft.rfftfreq(SAMPLES, 1 / 24000)
    features, scaler, _ = parts(array)
    response = features.array.response(directions, frequencies)  # (M, 2, K)
    spectra = np.fft.rfft(0.05 * rng.normal(size=(2, SAMPLES)))
    audio = np.fft.irfft((response * spectra).sum(1), SAMPLES).T
    return torch.from_numpy(features.as_channels(scaler.apply(features.extract(audio.astype(np.float32)))))


@pytest.mark.parametrize("array, count", [("foa", 16), ("mic", 8), ("ring", 12)])
def test_rotations_keep_the_vertical_axis_and_differ(array, count):
    rotations = parts(array)[2].rotations.numpy().round(6)
    assert len({rotation.tobytes() for rotation in rotations}) == len(rotations) == count
    for rotation in rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert abs(rotation[2, 2]) == 1
        if array != "ring":  # quarters of a circle and mirror images, exactly
            np.testing.assert_array_equal(rotation @ rotation.T, np.eye(3))


@pytest.mark.parametrize("array, number", [
    *(("foa", k) for k in range(16)), *(("mic", k) for k in range(8)), *(("ring", k) for k in range(12))])
def test_features_of_rotated_plane_waves(array, number):
    augmentation, log_mels = parts(array)[2], parts(array)[0].kind.log_mels
    original = recorded(array, WAVES)
    rotated = recorded(array, WAVES @ augmentation.rotations[number].numpy().T)
    augmented = augmentation.rotate_features(original[None], [number])[0]
    if array != "foa":  # without the lag that a reversed GCC lacks
        assert (augmented[log_mels:, :, 1:] - rotated[log_mels:, :, 1:]).abs().max() < 2e-2  # phases in weak bins
        augmented, rotated = augmented[:log_mels], rotated[:log_mels]
    assert (augmented - rotated).abs().max() < 2e-3
    if number:
        assert (original[: len(rotated)] - rotated).abs().max() > 0.01


def batch_of(size, channels=7):
    rng = np.random.default_rng(1)
    doa = unit_vectors(rng.uniform(-180, 180, (size, 5, 2)), rng.uniform(-45, 45, (size, 5, 2))).astype(np.float32)
    doa[:, :, 1] = 0  # silent
    features = rng.normal(1, 0.1, (size, channels, 25, 64)).astype(np.float32)
    return {"features": torch.from_numpy(features), "doa": torch.from_numpy(doa),
            "activity": torch.ones(size, 5, 2), "index": torch.arange(size)}


def test_labels_rotate_with_the_features_and_silence_stays():
    augmentation, batch = parts("foa")[2], batch_of(64)
    done = augmentation(batch, epoch=1)
    rotated = batch["doa"].unsqueeze(1) @ augmentation.rotations.transpose(1, 2).unsqueeze(1)  # (B, K, L, N, 3)
    which = (rotated - done["doa"].unsqueeze(1)).abs().amax((2, 3, 4)).argmin(1).tolist()
    assert len(set(which)) > 8
    np.testing.assert_allclose(augmentation.rotate_features(batch["features"], which), done["features"])
    assert done["doa"][:, :, 1].abs().max() == 0
    assert torch.equal(done["activity"], batch["activity"])


def test_chance_follows_from_epoch_and_sample_not_from_the_batch():
    augmentation, batch = parts("foa")[2], batch_of(12)
    whole = augmentation(batch, epoch=3)
    half = augmentation({name: value[6:] for name, value in batch.items()}, epoch=3)
    assert torch.equal(whole["features"][6:], half["features"])
    assert not torch.equal(whole["doa"], augmentation(batch, epoch=4)["doa"])


def test_masks_cover_bands_of_mel_channels_and_frames_of_all():
    batch = batch_of(200, channels=10)
    done = built(array="mic", spec_augment=True)(batch, epoch=1)
    masked = done["features"] == 0
    assert torch.equal(done["features"][~masked], batch["features"][~masked])
    frames, bands = masked.all(3).all(1), masked[:, :4].all(2).all(1)  # (B, T), (B, F)
    assert 0.03 < frames.float().mean() < MASKS * LONGEST_MASK
    assert 0.03 < bands.float().mean() < MASKS * LONGEST_MASK
    lags = masked[:, 4:] & ~frames[:, None, :, None]
    assert not lags.any()
    assert torch.equal(done["doa"], batch["doa"])


@pytest.mark.parametrize("array", ["foa", "mic", "ring"])
def test_levels_are_those_of_louder_and_softer_sound(array):
    features, scaler, _ = parts(array)
    augmentation = built(scaler, array=array, level_augment_db=20.0)
    audio = np.random.default_rng(0).normal(0, 0.05, (SAMPLES, features.array.channels)).astype(np.float32)
    soft, loud = (torch.from_numpy(features.as_channels(scaler.apply(features.extract(gain * audio))))
                  for gain in (np.float32(1), np.float32(10)))
    changed = augmentation.change_levels(torch.stack([soft, soft]), [20.0, 0.0])
    assert torch.allclose(changed[0], loud, atol=2e-3) and torch.equal(changed[1], soft)
    batch = batch_of(50, channels=len(soft))
    gains = (augmentation(batch, 1)["features"] - batch["features"])[:, 0, 0, 0] * augmentation.scale[0]
    assert gains.abs().max() < 20 and gains.std() > 8


def test_nothing_asked_for_is_nothing_done():
    assert built() is None
    assert isinstance(parts("foa")[2], Augmentation)


def test_augmentation_that_the_features_cannot_follow_is_refused():
    chunks = {"features": "magphase", "hop_len_s": 0.02, "label_hop_len_s": 0.02}
    for overrides in ({"spec_augment": True}, {"level_augment_db": 3.0}):
        with pytest.raises(UserError, match="features=magphase"):
            built(**chunks, **overrides)
    with pytest.raises(UserError, match="ambisonic"):
        built(**chunks, array="mic", rotation_augment=True)
