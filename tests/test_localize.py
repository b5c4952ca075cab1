"""From sound to tracks: windows, the chain of generators, files of every kind, streams, and errors in one line."""

import io
import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import FRAME, FS, WAVES, foa_wave

import localize
from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools import shipped
from doatools.data import sound_input
from doatools.data.dcase import read_dcase
from doatools.errors import UserError
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.spatial.rotations import scaled_map
from doatools.track.rotated import RotatedCopies
from doatools.track.slots import weighted_mean
from doatools.track.summary import summarize
from doatools.track.windows import Windows, merged
from doatools.train import checkpoint
from doatools.types import Predictions, Scaler
from inference import (
    TRACK_ROWS,
    Localized,
    load_localizer,
    localize_audio,
    localize_blocks,
    localize_features,
    stream_latency_s,
    track_audio,
    track_file,
    track_sound,
)
from localizer import Localizer

ROOT = Path(__file__).resolve().parent.parent
TINY = {"label_sequence_length": 10, "nb_cnn2d_filt": 4, "rnn_size": 4, "fnn_size": 4, "quick_test": False}


def tiny_localizer(**params):
    """An untrained network."""
    config = get_params(**{**TINY, **params})
    features = build_features(config)
    size = features.nb_feature_channels * features.nb_bands
    return Localizer(config, Scaler(np.full(size, -20.0), np.full(size, 10.0)))


def save(path, localizer):
    checkpoint.save(path, {**localizer.content("32-true", ""), "model": localizer.model.state_dict()})
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Paths of untrained checkpoints, {name: path}."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(3)
    return {name: save(folder / f"{name}.pt", tiny_localizer(**params)) for name, params in {
        "foa": {"top_db": 0.0}, "mic": {"array": "mic", "top_db": 0.0}, "floor": {},
        "ring": {"array": "respeaker_6mic", "top_db": 0.0}}.items()}


class IntensityLocalizer:
    """Not learned: slot 1 follows the intensity vector while there is sound; slots are exchanged in odd windows."""

    def __init__(self, **params):
        self.config = get_params(top_db=0.0, **params)
        self.features = build_features(self.config)
        self.scaler = Scaler(np.zeros(7 * 64), np.ones(7 * 64))
        self.windows = 0

    def predict(self, features):
        frames = features[0].reshape(7, -1, self.features.ratio, 64)  # (C, T, ratio, F)
        power = 10 ** (frames[0] / 10)
        y, z, x = (power * frames[4:]).sum((2, 3))  # (T,) each
        doa = np.stack([x, y, z], -1)
        doa = doa / np.maximum(np.linalg.norm(doa, axis=-1, keepdims=True), 1e-12)
        active = (power.mean((1, 2)) > 1e-6).astype(np.float32)
        self.windows += 1
        order = [0, 1] if self.windows % 2 else [1, 0]
        doa, probability = np.stack([doa, -doa], 1), np.stack([active, 0.2 * active], 1)
        return Predictions(doa[None, :, order].astype(np.float32), probability[None, :, order])


def noise(seconds, level=0.05, seed=0):
    return level * np.random.default_rng(seed).standard_normal(round(seconds * FS))


def in_pieces(audio, sizes):
    """Audio cut into blocks of these sizes, over and over."""
    at, number = 0, 0
    while at < len(audio):
        size = sizes[number % len(sizes)]
        yield audio[at : at + size]
        at, number = at + size, number + 1


# --- test-time rotation --------------------------------------------------------------------------------------

@pytest.mark.parametrize("array", ["foa", "mic"])
def test_copies_make_any_network_follow_their_rotations_exactly(array):
    """A quarter of ambisonics; a quarter, mirrored up and down, of the tetrahedron, but for the lag it lacks."""
    torch.manual_seed(3)  # a mean near zero would magnify rounding
    localizer = tiny_localizer(array=array, top_db=0.0, max_sources=1)
    rotations, maps = localizer.features.rotations()
    copies = RotatedCopies(localizer.predict, rotations, maps, localizer.scaler)
    generator = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1 if array == "foa" else -1]])
    number = next(k for k, rotation in enumerate(rotations) if np.array_equal(rotation, generator))
    features = np.random.default_rng(2).standard_normal((1, localizer.features.nb_feature_channels, 50, 64))
    if array == "mic":
        features[:, 4:, :, 0] = features[:, 4:, :, 1] = features[:, 4:, :, -1]
    scaler = localizer.scaler
    rotated = copies._rotated(features.astype(np.float32), *scaled_map(maps[number], scaler.mean, scaler.scale))
    original, other = copies(features.astype(np.float32)), copies(rotated)
    np.testing.assert_allclose(other.doa, original.doa @ generator.T, atol=1e-3)
    np.testing.assert_allclose(other.probability, original.probability, atol=1e-5)


def test_the_mean_of_copies_puts_slots_in_order_and_weighs_by_probability():
    front, left = np.eye(3)[:2]
    halves = [np.full((1, 1, 1), 0.5)] * 2
    one = Predictions(np.array([[[front, left]]]), np.array([[[1.0, 0.5]]]))
    other = Predictions(np.array([[[left, front]]]), np.array([[[0.1, 0.8]]]))
    mean = weighted_mean((one, other), halves)
    np.testing.assert_allclose(mean.doa, [[[front, left]]])
    np.testing.assert_allclose(mean.probability, [[[0.9, 0.3]]])
    apart = Predictions(np.array([[[left, left]]]), np.array([[[0.5, 0.5]]]))
    mean = weighted_mean((one, apart), halves)
    np.testing.assert_allclose(mean.doa[0, 0, 0], unit_vectors(np.degrees(np.arctan(0.5)), 0), atol=1e-12)
    one = Predictions(one.doa[:, :, :1], one.probability[:, :, :1])
    mean = weighted_mean((one, Predictions(-one.doa, one.probability)), halves)  # no direction is left: the first's
    assert np.array_equal(mean.doa, one.doa)


def test_further_outputs_are_put_in_order_and_averaged_by_probability():
    front, left = np.eye(3)[:2]
    one = Predictions(np.array([[[front, left]]]), np.array([[[1.0, 0.5]]]), {"radius": np.array([[[4.0, 8.0]]])})
    other = Predictions(np.array([[[left, front]]]), np.array([[[0.1, 0.25]]]), {"radius": np.array([[[2.0, 1.0]]])})
    mean = weighted_mean((one, other), [np.full((1, 1, 1), 0.5)] * 2)
    np.testing.assert_allclose(mean.others["radius"], [[[(4 + 0.25 * 1) / 1.25, (0.5 * 8 + 0.1 * 2) / 0.6]]])


def test_only_networks_trained_with_rotations_predict_rotated_copies(tmp_path, saved):
    path = save(tmp_path / "rotated.pt", tiny_localizer(top_db=0.0, rotation_augment=True))
    assert [isinstance(load_localizer(*words).predict, RotatedCopies)
            for words in ((path,), (path, True), (saved["foa"],))] == [True, False, False]
    audio = foa_wave(noise(4), 30, 10).astype(np.float32)
    plain, copies = (localize_audio(load_localizer(path, fast), audio) for fast in (True, False))
    assert plain.doa.shape == copies.doa.shape and np.abs(plain.doa - copies.doa).max() > 1e-3
    assert np.abs(np.linalg.norm(copies.doa, axis=-1) - 1).max() < 1e-5


# --- windows -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("length", "latency", "slots"), [(50, None, 2), (50, 2.0, 3), (10, None, 2), (5, 0.3, 1),
                                                           (1, None, 1)])
def test_windows_of_permuted_slots_give_back_the_course(length, latency, slots):
    rng = np.random.default_rng(1)
    windows = Windows(length, 0.1, latency)
    frames = length + 7 * windows.hop
    azimuth = np.arange(slots) * 360 / slots + 0.3 * np.arange(frames)[:, None]
    doa, probability = unit_vectors(azimuth, 10 * np.ones_like(azimuth)), np.full((frames, slots), 0.9)
    whole, final = Predictions(doa, probability), 0

    def answers():
        nonlocal final
        for start in range(0, frames - length + 1, windows.hop):
            order = rng.permutation(slots) if start else np.arange(slots)
            yield whole.frames(slice(start, start + length)).permuted(order)
            # final as soon as no later window is used
            assert start + length - final == windows.margin + windows.fade
            assert windows.latency_s == pytest.approx((windows.hop + windows.margin + windows.fade) * 0.1)

    parts = []
    for part in merged(answers(), windows):
        parts.append(part)
        final += len(part)
    together = Predictions.join(parts)
    assert np.allclose(together.doa, doa, atol=1e-6) and np.allclose(together.probability, probability)


def test_windows_are_cross_faded():
    """0.1 and 0.9 of two windows of 10 frames, one of which is margin and one fading: the fade is half way."""
    doa = np.tile([1.0, 0, 0], (10, 1, 1))
    answers = [Predictions(doa, np.full((10, 1), probability)) for probability in (0.1, 0.9)]
    first, second, rest = merged(answers, Windows(10, 0.1))
    assert first.probability[:, 0].tolist() == [0.1] * 8
    assert second.probability[:, 0].tolist() == pytest.approx([0.5, 0.9, 0.9, 0.9, 0.9])
    assert rest.probability[:, 0].tolist() == [0.9, 0.9]


@pytest.mark.parametrize("latency", [float("nan"), float("inf"), -1.0, 1.5, 4.4])
def test_the_range_of_latencies_in_a_message_is_the_one_that_holds(latency):
    with pytest.raises(UserError, match=r"allow latencies from 1\.6 to 4\.3 s, not"):
        Windows(50, 0.1, latency, held_s=0.2)
    assert [Windows(50, 0.1, least, held_s=0.2).latency_s for least in (1.6, 4.3)] == pytest.approx([1.6, 4.3])


def test_an_impossible_latency_is_refused():
    with pytest.raises(UserError, match="allow latencies from"):
        Windows(50, 0.1, 0.5)
    with pytest.raises(UserError, match="allow latencies from"):
        Windows(50, 0.1, 4.5)


# --- the chain -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("top_db", [0.0, 80.0])
@pytest.mark.parametrize("samples", [1, FRAME, 10 * FRAME, 10 * FRAME + 1, 34 * FRAME - 100])
def test_blocks_of_any_size_give_what_the_whole_gives(samples, top_db):
    localizer = tiny_localizer(top_db=top_db)
    audio = foa_wave(noise(4), 30, 10).astype(np.float32)[:samples]
    whole = localize_audio(localizer, audio)
    assert len(whole.doa) == -(-samples // FRAME) == len(whole.spectrum)
    for sizes in ([997], [1, 5000, 0, 24000]):
        same_predictions(Localized.join(localize_blocks(localizer, in_pieces(audio, sizes))), whole)
    if samples % FRAME == 0:
        features = build_features(localizer.config.replaced(top_db=0.0)).extract(audio)
        found = localize_features(localizer, features)
        for ours, theirs in ((found.doa, whole.doa), (found.probability, whole.probability),
                             (found.spectrum, whole.spectrum)):
            assert np.allclose(ours, theirs, atol=1e-6)


def same_predictions(one, other):
    """Equal to the bit."""
    assert np.array_equal(one.doa, other.doa) and np.array_equal(one.probability, other.probability)
    assert np.array_equal(one.spectrum, other.spectrum)


@pytest.mark.parametrize("samples", [1, FRAME + 1, 3 * FRAME - 1])
def test_blocks_of_one_sample_and_recordings_shorter_than_a_window(samples):
    """A window has ten label frames here."""
    localizer = tiny_localizer(top_db=0.0)
    audio = foa_wave(noise(1), 30, 10).astype(np.float32)[:samples]
    whole = localize_audio(localizer, audio)
    assert len(whole.doa) == -(-samples // FRAME)
    same_predictions(Localized.join(localize_blocks(localizer, in_pieces(audio, [1]))), whole)
    padded = np.zeros((FRAME * len(whole.doa), 4), np.float32)
    padded[:samples] = audio
    same_predictions(localize_audio(localizer, padded), whole)


@pytest.mark.parametrize("blocks", [[], [np.zeros((0, 4), np.float32)] * 3])
def test_an_empty_recording_has_no_frames(blocks):
    localizer = tiny_localizer()
    assert list(localize_blocks(localizer, iter(blocks))) == []
    course = localize_audio(localizer, np.zeros((0, 4), np.float32))
    assert course.doa.shape == (0, 2, 3) and course.probability.shape == (0, 2) and course.spectrum.shape == (0, 64)
    assert len(track_audio(localizer, np.zeros((0, 4), np.float32))) == 0
    assert len(localize_features(localizer, np.zeros((0, 7 * 64), np.float32)).doa) == 0


def test_directions_of_a_planar_array_are_in_the_upper_half(saved):
    localizer = load_localizer(saved["ring"])
    audio = np.random.default_rng(0).normal(0, 0.05, (3 * FS, 6)).astype(np.float32)
    assert (localizer.predict(np.zeros((1, 21, 50, 64))).doa[..., 2] < 0).any()  # whatever the network says
    course = localize_audio(localizer, audio)
    assert (course.doa[..., 2] >= 0).all() and (track_audio(localizer, audio, threshold=0)["elevation"] >= 0).all()
    assert np.abs(np.linalg.norm(course.doa, axis=-1) - 1).max() < 1e-5


@pytest.mark.parametrize("offset", [0.0, 0.01])
def test_sound_without_height_is_at_the_horizon(offset, tmp_path):
    """A source at elevation 40, of which Z says nothing: its azimuth, elevation 0, and a note."""
    audio = (foa_wave(noise(8), 50, 40) * [1, 1, 0, 1] + offset * np.array([0, 0, 1, 0])).astype(np.float32)
    whole = track_audio(IntensityLocalizer(), audio)
    assert len(whole) == 80 and np.abs(whole["azimuth"] - 50).max() < 3 and (whole["elevation"] == 0).all()
    stream = sound_input.Sound("pipe", FS, 4, in_pieces(audio, [997]))
    assert np.array_equal(np.concatenate([part.rows for part in track_sound(IntensityLocalizer(), stream)]), whole)
    soundfile.write(tmp_path / "a.wav", audio, FS, subtype="FLOAT")
    recorded = track_file(IntensityLocalizer(), tmp_path / "a.wav")
    assert np.array_equal(recorded.rows, whole) and "elevations cannot be known and are 0" in " ".join(recorded.notes)
    audio[6 * FS:, 2] = foa_wave(noise(8), 50, 40)[6 * FS:, 2]  # from then on it is known
    rows = track_audio(IntensityLocalizer(), audio)
    assert np.abs(rows["elevation"][-15:] - 40).max() < 3


def test_a_model_of_chunks_is_refused():
    config = get_params("configs/cnn.yaml", dataset_dir="none")
    localizer = Localizer(config, Scaler.identity(8 * config.features.num_fft_bins // 2))
    with pytest.raises(UserError, match="in chunks"):
        localize_audio(localizer, np.zeros((100, 4), np.float32))


def test_one_window_is_the_network_itself():
    localizer = tiny_localizer(top_db=80.0)
    audio = foa_wave(noise(1), 30, 10).astype(np.float32)
    features = localizer.scaler.apply(localizer.features.extract(audio))  # with the floor of the whole recording
    expected = localizer.predict(localizer.features.as_channels(features)[None]).sequence(0)
    course = localize_audio(localizer, audio)
    assert np.allclose(course.doa, expected.doa, atol=1e-6)
    assert np.allclose(course.probability, expected.probability, atol=1e-6)


def test_folded_batch_norms_change_nothing(saved):
    rng = np.random.default_rng(0)
    plain = Localizer.from_checkpoint(saved["foa"])
    features = rng.standard_normal((2, 7, 50, 64))
    ours, theirs = load_localizer(saved["foa"]).predict(features), plain.predict(features)
    assert np.allclose(ours.doa, theirs.doa, atol=1e-5) and np.allclose(ours.probability, theirs.probability, atol=1e-5)


def two_events():
    """A source at (60, 20) from 1 to 5 s, another at (-100, -30) from 7 to 13 s."""
    audio = np.zeros((14 * FS, 4))
    for start, stop, *place in ((1, 5, 60, 20), (7, 13, -100, -30)):
        audio[start * FS : stop * FS] = foa_wave(noise(stop - start, seed=start), *place)
    return audio.astype(np.float32)


def assert_two_events(rows, rotated=0, hop=0.1):
    """The tracks of ``two_events``, rotated by so many degrees."""
    first, second = summarize(rows, hop)
    assert (first.track, second.track) == (1, 2)
    for found, start, stop, azimuth, elevation in ((first, 1, 5, 60, 20), (second, 7, 13, -100, -30)):
        assert abs(found.start_s - start) < 0.15 and abs(found.end_s - stop) < 0.15
        own = rows[rows["track"] == found.track]
        angle = angular_distance(unit_vectors(own["azimuth"], own["elevation"]),
                                 unit_vectors(azimuth + rotated, elevation))
        assert np.median(angle) < 1


@pytest.mark.parametrize("path, behind", [((-59, -175, 175, 62), True), ((-59, 0, 62), False), ((35, -12), False),
                                          ((170, -170), True), ((20, 26), False)])
def test_a_summary_says_where_a_track_went(path, behind):
    course = np.interp(np.linspace(0, len(path) - 1, 200), np.arange(len(path)), np.unwrap(path, period=360))
    rows = np.zeros(200, TRACK_ROWS)
    rows["frame"], rows["track"], rows["azimuth"] = np.arange(200), 1, (course + 180) % 360 - 180
    (summary,) = summarize(rows, 0.1)
    assert summary.behind == behind and ("past 180" in str(summary)) == behind
    assert (" to " in str(summary)) == (path != (20, 26))
    assert abs(summary.first[0] - path[0]) < 4 and abs(summary.last[0] - path[-1]) < 4


@pytest.mark.parametrize("latency", [None, 1.7])
def test_known_sources_become_tracks_that_keep_their_number_over_windows(latency):
    assert_two_events(track_audio(IntensityLocalizer(), two_events(), latency_s=latency))


def test_tracks_rotate_with_the_sound_field_and_its_level_does_not_matter():
    audio = two_events()
    rotated = audio[:, [0, 3, 2, 1]] * np.float32([1, 1, 1, -1])  # y' = x, x' = -y: by 90 degrees
    assert_two_events(track_audio(IntensityLocalizer(), rotated), rotated=90)
    for gain in (0.1, 10):
        assert_two_events(track_audio(IntensityLocalizer(), np.float32(gain) * audio))


@pytest.mark.parametrize(("rate", "suffix", "order"), [(44100, ".wav", "acn"), (48000, ".flac", "fuma"),
                                                        (24000, ".ogg", "acn"), (24000, ".wav", "fuma")])
def test_any_rate_format_and_order_of_channels(rate, suffix, order, tmp_path):
    audio = two_events()
    if rate != FS:
        import soxr
        audio = soxr.resample(audio, FS, rate)
    if order == "fuma":
        audio = audio[:, [0, 3, 1, 2]] / np.float32([np.sqrt(2), 1, 1, 1])
    soundfile.write(tmp_path / f"a{suffix}", audio, rate)
    recorded = track_file(IntensityLocalizer(), tmp_path / f"a{suffix}", order)
    assert recorded.seconds == pytest.approx(14)
    assert recorded.spectrogram.shape == (140, 64)
    notes = " ".join(recorded.notes)
    assert ("resampled" in notes) == (rate != FS) and ("lossy" in notes) == (suffix == ".ogg")
    assert_two_events(recorded.rows)
    if order == "fuma" and suffix == ".wav":  # read as ACN
        assert "--foa-order fuma" in " ".join(track_file(IntensityLocalizer(), tmp_path / "a.wav").notes)


def test_streamed_tracks_are_those_of_the_file_within_the_stated_latency():
    localizer, audio, heard = IntensityLocalizer(), two_events(), 0.0

    def blocks():
        nonlocal heard
        for block in in_pieces(audio, [FRAME]):
            heard += 0.1
            yield block

    latency, first = stream_latency_s(localizer, 2.0)
    assert latency == pytest.approx(2.0) and first == pytest.approx(5.0)
    rows, final = [], 0
    for piece in track_sound(localizer, sound_input.Sound("pipe", FS, 4, blocks()), latency_s=2.0):
        # What was final before this piece had to suffice for all that had been heard but the latency.
        assert heard < first or heard - 0.1 - final * 0.1 < latency + 1e-6
        final = piece.frames
        rows.append(piece.rows)
    assert final == 140
    assert np.array_equal(np.concatenate(rows), track_audio(IntensityLocalizer(), audio, latency_s=2.0))


def test_blips_are_left_out_and_a_track_begins_where_it_was_first_seen():
    for frames, reported in ((2, 0), (3, 3), (8, 8)):
        audio = np.zeros((6 * FS, 4), np.float32)
        audio[2 * FS : 2 * FS + frames * FRAME - 1000] = foa_wave(noise(1), 0, 0)[: frames * FRAME - 1000]
        rows = track_audio(IntensityLocalizer(), audio)
        assert len(rows) == reported and set(rows["track"]) <= {1} and (not reported or rows["frame"][0] == 20)


def test_silence_holds_no_source_whatever_a_network_says():
    localizer = tiny_localizer(activity=False)
    audio = np.zeros((3 * FS, 4), np.float32)
    assert len(track_audio(localizer, audio)) == 0
    audio[FS : 2 * FS] = foa_wave(noise(1), 0, 0)
    assert set(track_audio(localizer, audio)["frame"]) <= set(range(10, 20))


# --- the script ----------------------------------------------------------------------------------------------

@pytest.fixture()
def recording(tmp_path):
    soundfile.write(tmp_path / "one.wav", two_events()[: 6 * FS], FS)
    return tmp_path / "one.wav"


def fails(capsys, *words):
    """The error of the script, which exits with 2."""
    assert localize.main(list(map(str, words))) == 2
    return capsys.readouterr().err.partition("error: ")[2]


def test_a_recording_becomes_a_csv_a_picture_and_a_summary(recording, saved, capsys):
    words = [str(recording), "--checkpoint", str(saved["floor"]), "--threshold", "0"]
    assert localize.main(words) == 0
    out, err = capsys.readouterr()
    rows = read_dcase(recording.with_suffix(".csv"), 60)
    assert len(rows) and set(rows["class"]) == {0}
    assert "one.wav: 6.0 s" in out and "track(s)" in out and "floor 80 dB" in err
    assert recording.with_suffix(".png").stat().st_size > 20_000
    assert sorted(path.name for path in recording.parent.iterdir()) == ["one.csv", "one.png", "one.wav"]
    assert "add --overwrite" in fails(capsys, *words)
    assert localize.main([*words, "--overwrite", "--no-plot"]) == 0


def test_json_and_another_folder(recording, saved, tmp_path):
    words = ["--checkpoint", str(saved["foa"]), "--format", "json", "--no-plot", "--threshold", "0"]
    assert localize.main([str(recording), *words, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "one.json").read_text())
    assert found["seconds"] == 6 and found["frame_s"] == 0.1
    track = found["tracks"][0]
    assert track["track"] == 1 and len(track["frame"]) == len(track["azimuth"]) == len(track["probability"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.json"]


def test_a_bad_file_does_not_stop_the_others(recording, saved, capsys):
    folder = recording.parent
    soundfile.write(folder / "mono.wav", noise(1), FS)
    (folder / "broken.flac").write_bytes(b"fLaC")
    (folder / "notes.txt").write_text("not audio")
    assert localize.main([str(folder), "--checkpoint", str(saved["foa"]), "--no-plot"]) == 1
    err = capsys.readouterr().err
    assert "mono.wav has 1 channel(s); this model reads first-order ambisonics in 4 channels" in err
    assert "broken.flac cannot be read" in err and "2 of 3 recordings not localized" in err
    assert (folder / "one.csv").exists() and not (folder / "mono.csv").exists()


@pytest.mark.parametrize("name", ["foa", "mic"])
def test_short_silent_and_empty_recordings(name, saved, tmp_path, capsys):
    words = ["--checkpoint", str(saved[name]), "--overwrite"]
    soundfile.write(tmp_path / "short.wav", WAVES[name](noise(0.1), 0, 0), FS)
    soundfile.write(tmp_path / "silent.wav", np.zeros((FS, 4)), FS)
    soundfile.write(tmp_path / "deaf.wav", WAVES[name](noise(1), 40, 20) * [1, 1, 0, 1], FS)
    assert localize.main([*(str(tmp_path / f"{stem}.wav") for stem in ("short", "silent", "deaf")), *words]) == 0
    out, err = capsys.readouterr()
    assert "short.wav: 0.1 s" in out and "silent.wav: 1.0 s" in out and out.count("no source found") >= 2
    assert "the recording is silent" in err and f"channel 3{' (Z)' if name == 'foa' else ''} is silent" in err
    assert (tmp_path / "silent.csv").read_text() == ""
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 4)), FS)
    assert localize.main([str(tmp_path / "none.wav"), *words]) == 1
    assert "none.wav holds no samples" in capsys.readouterr().err


def test_recordings_of_another_array_are_noticed_or_refused(saved, tmp_path, capsys):
    for name, other in (("foa", "mic"), ("mic", "foa")):
        soundfile.write(tmp_path / f"{name}.wav", WAVES[name](noise(1), 45, 30), FS)
        words = [str(tmp_path / f"{name}.wav"), "--no-plot", "--checkpoint", str(saved[other]), "--overwrite"]
        assert localize.main(words) == 0
        assert "irections may be wrong" in capsys.readouterr().err
        assert f"not trained for the array '{name}'" in fails(capsys, *words, "--array", name)
        words[3] = str(saved[name])
        assert localize.main(words) == 0
        assert "may be wrong" not in capsys.readouterr().err
    assert localize.main([*words, "--foa-order", "fuma"]) == 1
    assert "4 capsules, in this order at" in capsys.readouterr().err


def test_samples_that_are_no_numbers_and_a_cut_file(recording, saved, capsys):
    audio = two_events()[: 6 * FS]
    audio[3 * FS, 2] = np.nan
    soundfile.write(recording, audio, FS, subtype="FLOAT")
    assert localize.main([str(recording), "--checkpoint", str(saved["foa"])]) == 1
    assert "sample 72000 (3.000 s) of channel 3 is nan" in capsys.readouterr().err
    soundfile.write(recording, two_events()[: 6 * FS], FS)
    recording.write_bytes(recording.read_bytes()[: 4 * FS * 8])
    assert localize.main([str(recording), "--checkpoint", str(saved["foa"])]) == 0
    out, err = capsys.readouterr()
    assert "truncated" in err and "one.wav: 4.0 s" in out


def test_mistakes(recording, saved, tmp_path, capsys, monkeypatch):
    assert "no such checkpoint" in fails(capsys, recording, "--checkpoint", tmp_path / "no.pt")
    assert "from 0 to 1" in fails(capsys, recording, "--threshold", "50")
    assert "give recordings, or --stream" in fails(capsys)
    assert "holds no audio file" in fails(capsys, saved["foa"].parent)
    assert "--rate has no effect with recordings" in fails(capsys, recording, "--rate", "8000")
    assert "--out has no effect with --stream" in fails(capsys, "--stream", "--out", tmp_path)
    soundfile.write(recording.with_suffix(".flac"), two_events(), FS)
    assert "would both become" in fails(capsys, recording, recording.with_suffix(".flac"))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert "doanet_mic.pt is missing" in fails(capsys, recording, "--array", "mic")


# --- streams -------------------------------------------------------------------------------------------------

class Dribble(io.RawIOBase):
    """A pipe that gives some bytes at a time."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.data.read(min(len(buffer), 1009))
        buffer[: len(part)] = part
        return len(part)


@pytest.mark.parametrize(("subtype", "endless"), [("PCM_16", False), ("PCM_16", True), ("PCM_24", False),
                                                  ("PCM_32", False), ("FLOAT", False), ("DOUBLE", True)])
def test_wav_from_a_pipe(subtype, endless):
    audio, file = foa_wave(noise(0.2), 20, 10), io.BytesIO()
    soundfile.write(file, audio, 48000, subtype, format="WAV")
    data = file.getvalue()
    if endless:  # as ffmpeg and sox write to a pipe
        at = data.index(b"data")
        data = data[: at + 4] + struct.pack("<I", 0xFFFFFFFF) + data[at + 8 :]
    sound = sound_input.open_stream(io.BufferedReader(Dribble(data)), 24000, 4)
    assert (sound.rate, sound.channels) == (48000, 4)
    assert np.allclose(np.concatenate(list(sound.blocks)), audio, atol=2**-15)


def test_raw_samples_from_a_pipe():
    samples = np.arange(-4000, 4000, dtype="<i2").reshape(-1, 4)
    sound = sound_input.open_stream(io.BufferedReader(Dribble(samples.tobytes() + b"odd")), 16000, 4)
    assert sound.rate == 16000
    assert np.array_equal(np.concatenate(list(sound.blocks)), samples / np.float32(32768))


def streaming(checkpoint, *words):
    return subprocess.Popen([sys.executable, ROOT / "localize.py", "--stream", "--checkpoint", checkpoint, *words],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def test_stream_prints_what_the_file_gives(recording, saved):
    audio, _ = soundfile.read(recording, dtype="int16")
    with streaming(saved["foa"], "--threshold", "0.4") as process:
        out, err = process.communicate(audio.tobytes(), timeout=120)
    assert process.returncode == 0 and b"6.0 s heard" in err
    header, *lines = out.decode().split()
    assert header == "time,track,azimuth,elevation,probability"
    rows = track_file(load_localizer(saved["foa"]), recording, threshold=0.4).rows
    printed = np.array([(round(float(time) * 10), 0, int(track), *map(float, rest)) for time, track, *rest in
                     (line.split(",") for line in lines) if track], TRACK_ROWS)
    assert len(rows) and np.array_equal(printed[["frame", "track"]], rows[["frame", "track"]])
    assert np.allclose(printed["azimuth"], rows["azimuth"], atol=0.051)
    assert {line.split(",")[0] for line in lines} == {f"{frame / 10:.1f}" for frame in range(60)}


def test_a_stream_ends_cleanly_when_its_reader_or_its_user_stops_it(recording, saved):
    audio, _ = soundfile.read(recording, dtype="int16")
    with streaming(saved["foa"], "--format", "json") as process:
        process.stdin.write(audio.tobytes())
        process.stdin.flush()
        first = json.loads(process.stdout.readline())  # while the stream goes on
        process.send_signal(signal.SIGINT)
        assert first["time"] == 0 and process.wait(timeout=60) == 130
        err = process.stderr.read()
        assert b"stopped" in err and b"Traceback" not in err
    with streaming(saved["foa"]) as process:
        process.stdin.write(audio.tobytes())
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            for _ in range(20):
                process.stdin.write(audio.tobytes())
                process.stdin.flush()
                time.sleep(0.02)
        except BrokenPipeError:  # it has gone, as it should
            pass
        assert process.wait(timeout=60) == 0 and b"Traceback" not in process.stderr.read()
