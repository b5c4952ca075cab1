"""Models that run frame by frame: a file gives what its frames give one by one, early enough."""

import numpy as np
import pytest
import torch

from doanet_parameters import get_params
from doatools.data.sound_input import Sound
from doatools.train import checkpoint
from doatools.types import Scaler
from inference import (
    fitted,
    label_frames,
    load_localizer,
    localize_audio,
    make_windows,
    stream_latency_s,
    track_audio,
    track_sound,
)
from localizer import Localizer, build_model

RATE = 24000


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint of an untrained causal network whose blocks are not the identity."""
    torch.manual_seed(0)
    config = get_params("22", features="vectors", causal=True, top_db=0, max_sources=2)  # their rotations are exact
    localizer = Localizer(config, Scaler.identity(7 * 64))
    for block in localizer.model.blocks:
        torch.nn.init.normal_(block.two.bn.weight, std=0.3)
    path = tmp_path_factory.mktemp("causal") / "best.pt"
    checkpoint.save(path, {**localizer.content("32-true", ""), "model": localizer.model.state_dict()})
    return path


@pytest.fixture(scope="module")
def localizer(saved):
    return load_localizer(saved, fast=True)


@pytest.fixture(scope="module")
def audio():
    return 0.1 * np.random.default_rng(0).standard_normal((int(2.35 * RATE), 4)).astype(np.float32)


def test_frame_by_frame_is_the_network_on_the_whole_file(localizer, audio):
    found = localize_audio(localizer, audio)
    windows = make_windows(localizer)
    features = np.concatenate([part.features for part in label_frames(localizer, [audio], windows)])
    whole = localizer.predict(localizer.features.as_channels(features)[None]).sequence(0)
    assert len(found.doa) == 24
    np.testing.assert_allclose(found.doa, whole.doa, atol=1e-4)
    np.testing.assert_allclose(found.probability, whole.probability, atol=1e-4)
    np.testing.assert_allclose(found.predictions.others["radius"], whole.others["radius"], rtol=1e-3)


def test_stream_equals_file_and_is_early(localizer, audio):
    rows = track_audio(localizer, audio, threshold=0.0)
    assert stream_latency_s(localizer) == pytest.approx((0.2, 0.2))
    heard, final = 0, []

    def blocks():
        nonlocal heard
        for block in np.array_split(audio, 97):
            heard += len(block)
            yield block

    parts = []
    for part in track_sound(localizer, fitted(localizer, Sound("live", RATE, 4, blocks())), threshold=0.0):
        parts.append(part.rows)
        final.append((part.frames, heard / RATE))
    assert np.array_equal(np.concatenate(parts), rows) and "radius" in rows.dtype.names and len(rows) >= 40
    block_s = len(audio) / RATE / 97
    for frames, seconds in final[:-3]:  # the last ones follow the end of the sound
        assert seconds <= 0.1 * frames + 0.1 + 1.5 * block_s


def test_averages_over_rotated_copies_keep_a_state_each(saved, localizer, audio):
    averaged = load_localizer(saved)
    first, again = (localize_audio(averaged, audio).doa for _ in range(2))
    assert np.array_equal(first, again)  # nothing is left of the recording before
    assert not np.allclose(first, localize_audio(localizer, audio).doa, atol=0.01)
    quarter = audio[:, [0, 3, 2, 1]] * np.array([1, 1, 1, -1], np.float32)  # W, Y, Z, X by 90 degrees about z
    turned, expected = localize_audio(averaged, quarter).doa, first[..., [1, 0, 2]] * [-1, 1, 1]
    close = np.minimum(*(np.abs(turned[:, order] - expected).max((1, 2)) for order in ([0, 1], [1, 0]))) < 1e-3
    assert close.mean() > 0.7  # where copies disagree about slots, frames may differ


def test_a_latency_that_is_too_short_and_networks_that_cannot(localizer, audio):
    with pytest.raises(ValueError, match=r"latency of 0\.2 s, not 0\.1 s"):
        track_audio(localizer, audio, latency_s=0.1)
    with pytest.raises(ValueError, match="causal=True takes a network that can run frame by frame"):
        build_model(get_params("20", causal=True))
