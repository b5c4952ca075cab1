"""The shipped models, in rooms and with sounds that no training has seen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cls_metric import FrameScores
from doanet_parameters import get_params
from doatools.simulate.rooms import Renderer
from doatools.simulate.scenes import compose, render, rules_of
from doatools.simulate.sounds import GeneratedSounds
from doatools.spatial.arrays import find_array
from doatools.spatial.geometry import angular_distance, unit_vectors
from inference import load_localizer, track_audio

MODELS = Path(__file__).resolve().parent.parent / "models"
FS, SECONDS, SEED = 24000, 40.0, 4321
FOA, MIC, CUBE = find_array("foa"), find_array("mic"), find_array("cube8")
ROTATED_MIC = dataclasses.replace(MIC, capsules_deg=tuple((az - 90, el) for az, el in MIC.capsules_deg))


@pytest.fixture(scope="module")
def scene():
    """What the arrays hear, {"foa" | "mic" | "mic rotated" | "cube8": (samples, channels)}, and the labels."""
    config = get_params(sim_recording_len_s=SECONDS, sim_snr_db=[20, 20], seed=SEED)
    sounds = GeneratedSounds(SEED, FS)
    scene = compose(rules_of(config), 1, 0, sounds.classes(1))
    heard = {name: render(scene, sounds, Renderer(arrays, FS)).T
             for name, arrays in (("all", (FOA, MIC, CUBE)), ("rotated", (FOA, ROTATED_MIC)))}
    heard = {"foa": heard["all"][:, :4], "mic": heard["all"][:, 4:8], "cube8": heard["all"][:, 8:],
             "mic rotated": heard["rotated"][:, 4:]}
    return heard, scene.labels()


@pytest.fixture(scope="module", params=["foa", "mic"])
def shipped(request):
    return request.param, load_localizer(MODELS / f"doanet_{request.param}.pt")


def frames_of(rows):
    """Tracks as (T, 4, 3) unit vectors and (T, 4) ids, -1 for none."""
    frames = round(SECONDS * 10)
    doa, identity = np.zeros((frames, 4, 3)), np.full((frames, 4), -1)
    for row in rows:
        slot = np.flatnonzero(identity[row["frame"]] < 0)[0]
        identity[row["frame"], slot] = row["track"]
        doa[row["frame"], slot] = unit_vectors(float(row["azimuth"]), float(row["elevation"]))
    return doa, identity


def compared(rows, references):
    """The frame scores of tracks against other tracks or labels."""
    (doa, identity), scores = frames_of(rows), FrameScores()
    scores.update(doa, identity >= 0, *frames_of(references))
    return scores.compute()


def rotation_of(rows, before, about):
    """By how much tracks rotated, from the nearest pairs of each frame: mean, and mean angle from ``about`` (deg)."""
    rotations, angles = [], []
    back = np.deg2rad(about)
    matrix = np.array([[np.cos(back), -np.sin(back), 0], [np.sin(back), np.cos(back), 0], [0, 0, 1]])
    for doa, identity, was, was_identity in zip(*frames_of(rows), *frames_of(before)):
        now, expected = doa[identity >= 0], was[was_identity >= 0] @ matrix.T
        cost = angular_distance(now[:, None], expected[None])
        for i, j in zip(*linear_sum_assignment(cost)):
            angles.append(cost[i, j])
            rotations.append(complex(*now[i, :2]) * complex(*expected[j, :2]).conjugate())
    return about + np.angle(np.mean(rotations), deg=True), np.mean(angles)


def test_sources_are_found_in_sound_without_height(scene):
    """Z is silent: no source is found that is not there, and azimuths are as good as with it."""
    audio, labels = scene[0]["foa"][: 20 * FS], scene[1][scene[1]["frame"] < 200]
    localizer = load_localizer(MODELS / "doanet_foa.pt", fast=True)
    rows = track_audio(localizer, audio * np.float32([1, 1, 0, 1]))
    labels["elevation"] = 0
    figures = compared(rows, labels)
    print({key: round(figures[key], 1) for key in ("LE", "LF", "F20")}, len(np.unique(rows["track"])))
    assert (rows["elevation"] == 0).all() and figures["LE"] < 8 and figures["LF"] > 90


def test_sources_are_found(shipped, scene):
    name, localizer = shipped
    figures = compared(track_audio(localizer, scene[0][name]), scene[1])
    print(name, {key: round(figures[key], 1) for key in ("LE", "LF", "F20")})
    assert figures["LE"] < 8 and figures["LF"] > 92


def test_tracks_rotate_with_the_sound_field(shipped, scene):
    name, localizer = shipped
    audio = scene[0][name]
    rotated = audio[:, [0, 3, 2, 1]] * np.float32([1, 1, 1, -1]) if name == "foa" else scene[0]["mic rotated"]
    rotation, angle = rotation_of(track_audio(localizer, rotated), track_audio(localizer, audio), 90)
    print(name, f"rotated by {rotation:.1f} degrees, single frames {angle:.1f} degrees from 90")
    assert abs(rotation - 90) < 3 and angle < (1 if name == "foa" else 8)  # ambisonics: the four copies are the same


@pytest.mark.parametrize("gain_db", [-20, 20])
def test_the_level_of_a_recording_does_not_matter(shipped, scene, gain_db):
    name, localizer = shipped
    audio = scene[0][name]
    figures = compared(track_audio(localizer, np.float32(10 ** (gain_db / 20)) * audio), track_audio(localizer, audio))
    print(name, gain_db, {key: round(figures[key], 1) for key in ("LE", "LF")})
    assert figures["LE"] < 1.5 and figures["LF"] > 97


def test_a_constant_offset_changes_no_track(shipped, scene):
    name, localizer = shipped
    offset = np.float32([0.02, -0.01, 0.005, 0.015])
    audio = scene[0][name][: 10 * FS].astype(np.float32)
    rows, shifted = track_audio(localizer, audio), track_audio(localizer, audio + offset)
    assert len(rows) == len(shifted) and np.abs(rows["elevation"] - shifted["elevation"]).max() < 1
    assert not len(track_audio(localizer, np.zeros((5 * FS, 4), np.float32) + offset))


@pytest.mark.parametrize("suffix", ["pt", "onnx"])
def test_one_model_finds_sources_with_an_array_that_it_has_never_met(scene, suffix):
    """A cube of eight capsules; the error radius holds most of the errors."""
    localizer = load_localizer(MODELS / f"doanet_any.{suffix}", fast=True, array="cube8")
    audio = scene[0]["cube8"].astype(np.float32)
    rows = track_audio(localizer, audio)
    figures = compared(rows, scene[1])
    print(suffix, {key: round(figures[key], 1) for key in ("LE", "LF", "F20")}, np.median(rows["radius"]))
    assert figures["LE"] < 12 and figures["LF"] > 85 and figures["F20"] > 75
    assert 2 < np.median(rows["radius"]) < 30


@pytest.mark.parametrize("name", ["foa", "mic", "any"])
def test_they_are_small(name):
    assert (MODELS / f"doanet_{name}.pt").stat().st_size < 10e6
