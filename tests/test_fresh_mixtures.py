"""Mixtures that are made while training: exact rotations, labels, order, and runs that use them."""

import dataclasses

import numpy as np
import pytest
import torch

import train_doanet
from cls_data_generator import SequenceDataset
from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.data.fresh_mixtures import AGE, FreshMixtures
from doatools.spatial.rotations import rotated_channels, rotations_of, scaled_map


@pytest.mark.parametrize("words", [{}, {"array": "mic", "features": "mic"}, {"array": "mic", "features": "vectors"}])
def test_features_of_rotated_audio_are_the_rotated_features(words):
    features = build_features(get_params("1", **words))
    audio = np.random.default_rng(0).standard_normal((4800, 4)).astype(np.float32)
    plain = features.extract(audio)
    identity = np.zeros(plain.shape[1]), np.ones(plain.shape[1])
    rotations, maps = features.rotations()
    assert len(rotations) == len(rotations_of(features.array)) >= 8
    for rotation, channel_map in zip(rotations, maps):
        source, sign = rotated_channels(rotation, features.array)
        place, gain, offset = scaled_map(channel_map, *identity)
        expected = plain[:, place] * gain + offset
        if channel_map.backwards.any():  # the lag +32 is not stored
            kept = np.delete(np.arange(64), 0)
            shape = (len(plain), features.nb_feature_channels, 64)
            own = features.extract(audio[:, source] * sign).reshape(shape)[..., kept]
            np.testing.assert_allclose(own, expected.reshape(shape)[..., kept], atol=2e-3)
        else:
            np.testing.assert_allclose(features.extract(audio[:, source] * sign), expected, atol=2e-3)


@pytest.fixture
def config(tiny_data):
    return get_params("22", features="vectors", dataset_dir=str(tiny_data), label_sequence_length=10, mix_augment=0.5,
                      max_audio_len_s=6)


def mixtures_of(config):
    dataset, features = SequenceDataset(config, "train"), build_features(config)
    return dataset, FreshMixtures(dataset, lambda _: features, config.augment.mix_augment, 1)


def test_a_share_of_each_batch_is_replaced_whatever_was_mixed_before(config):
    dataset, mixtures = mixtures_of(config)
    batches = [dataset.__getitems__(list(range(start, start + 6))) for start in (0, 6)]
    for epoch in range(1, AGE + 3):
        before = [mixtures(batch, epoch) for batch in batches]
    _, resumed = mixtures_of(config)
    for one, again, batch in zip(before, (resumed(batch, AGE + 2) for batch in batches), batches):
        new = one["index"] >= len(dataset)
        assert 0 < new.sum() < 6 and (one["index"][~new] == batch["index"][~new]).all()
        for name in ("features", "doa", "activity"):
            torch.testing.assert_close(one[name], again[name], rtol=0, atol=0)
            torch.testing.assert_close(one[name][~new], batch[name][~new], rtol=0, atol=0)
            assert one[name].shape == batch[name].shape
        np.testing.assert_array_equal(one["index"], again["index"])
    assert len(mixtures.made) == AGE
    assert "mixtures" in dataset.describe(one["index"])[-1]


def test_a_mixture_holds_the_sources_of_both_recordings(config):
    _, mixtures = mixtures_of(config)
    _, doa, activity = mixtures._make(1, "cpu")
    assert activity.shape[-1] == 2 and activity.any((0, 1)).all()
    norms = doa.norm(dim=-1)
    torch.testing.assert_close(norms, activity, atol=1e-5, rtol=0)


def test_the_sound_of_a_mixture_is_a_sum(config, monkeypatch):
    dataset, mixtures = mixtures_of(config)
    heard, features = [], mixtures.features_of(0)
    monkeypatch.setattr(features, "extract", lambda audio: heard.append(audio) or np.zeros(
        (len(audio) // features.hop, 448), np.float32))
    mixtures._mixture(np.random.default_rng(5))
    sources = [features.read_audio(dataset.recordings[number]) for number in mixtures.used]
    # W is the same in all rotations, so the sum is one W and another, louder or softer and shifted by whole sequences.
    sequence = 24000  # samples
    matrix = np.stack([np.roll(w[: len(heard[0]), 0], -sequence * shift) for w in sources
                       for shift in range(len(heard[0]) // sequence)], 1).astype(float)
    weights, residual, *_ = np.linalg.lstsq(matrix, heard[0][:, 0].astype(float), rcond=None)
    softer, louder = np.sort(np.abs(weights))[-2:]
    assert len(heard[0]) % sequence == 0 and residual.max() < 1e-6
    assert np.sort(np.abs(weights))[-3] < 1e-3 and (abs(softer - 1) < 1e-3 or abs(louder - 1) < 1e-3)
    assert 0.5 <= softer <= louder <= 2.0


def test_recordings_that_cannot_be_mixed_are_trained_on_as_they_are(config):
    dataset, _ = mixtures_of(config)
    dataset.recordings = [dataclasses.replace(one, augmented=True) for one in dataset.recordings]
    mixtures, batch = FreshMixtures(dataset, lambda _: build_features(config), 0.5, 1), dataset.__getitems__([0, 1])
    assert not mixtures.possible and mixtures(batch, 1) is batch


def test_a_run_with_mixtures(config, tiny_data, tmp_path, capsys):
    words = ["22", "mixed", "features=vectors", f"dataset_dir={tiny_data}", f"results_dir={tmp_path}",
             "label_sequence_length=10", "max_audio_len_s=6", "mix_augment=0.5", "nb_cnn2d_filt=4", "rnn_size=8",
             "fnn_size=8", "device=cpu", "--quick"]
    assert train_doanet.main(words) == 0
    assert "epoch   2/2" in capsys.readouterr().out
