"""Properties of the scores that hold for any scene."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cls_metric import SEGMENT_FRAMES, Scores, figures
from doatools.metrics.locata import LocataScores
from doatools.spatial.geometry import unit_vectors

repeatedly = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def scenes(draw, least_frames=1):
    """doa, active, ref_doa, ref_id, pred_id of a random scene: predictions scatter around the references."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames, slots, columns = draw(st.integers(least_frames, 35)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    scatter, share = draw(st.sampled_from([1, 10, 30])), draw(st.sampled_from([0.3, 0.8, 1.0]))
    azimuth = rng.uniform(-180, 180) + 25 * np.arange(3) + np.cumsum(rng.normal(0, 2, (frames, 3)), 0)
    elevation = rng.normal(0, 20, 3) + rng.normal(0, 1, (frames, 3))
    ref_doa = unit_vectors(azimuth, elevation)[:, :columns]
    doa = unit_vectors(azimuth + rng.normal(0, scatter, (frames, 3)),
                       elevation + rng.normal(0, scatter, (frames, 3)))[:, :slots]
    ref_id = np.where(rng.random((frames, columns)) < share, rng.permutation(9)[:columns], -1)
    active = rng.random((frames, slots)) < share
    names = np.stack([rng.permutation(slots) if rng.random() < 0.2 else np.arange(slots) for _ in range(frames)])
    return doa, active, ref_doa, ref_id, np.where(active, names, -1)


def of(*recordings):
    scores = Scores()
    for recording in recordings:
        scores.update(*recording)
    return scores


def same(one, other, leave=()):
    for name, value in one.items():
        if name not in leave:
            assert value == pytest.approx(other[name], abs=1e-6, nan_ok=True), name


@repeatedly
@given(scenes(), st.integers(1, 3))
def test_when_a_scene_begins_changes_nothing(scene, seconds):
    pause = [np.zeros((seconds * SEGMENT_FRAMES, *array.shape[1:]), array.dtype) for array in scene]
    for ids in pause[3:]:
        ids[:] = -1
    whole = -len(scene[0]) % SEGMENT_FRAMES  # frames to the end of its last second
    filled = [np.concatenate([array, silence[:1].repeat(whole, 0)]) for array, silence in zip(scene, pause)]
    early = of([np.concatenate([array, silence]) for array, silence in zip(filled, pause)])
    late = of([np.concatenate([silence, array]) for array, silence in zip(filled, pause)])
    same(early.compute(), late.compute())


@repeatedly
@given(scenes(), st.integers(0, 1000))
def test_rotating_the_sphere_changes_nothing(scene, seed):
    rotation = Rotation.random(rng=seed).as_matrix().T
    doa, active, ref_doa, ref_id, pred_id = scene
    same(of(scene).compute(), of((doa @ rotation, active, ref_doa @ rotation, ref_id, pred_id)).compute(),
         leave=list(LocataScores().compute()))  # which look at azimuth and elevation each by itself


@repeatedly
@given(scenes(), st.integers(0, 1000))
def test_names_of_tracks_and_their_places_change_nothing(scene, seed):
    rng = np.random.default_rng(seed)
    doa, active, ref_doa, ref_id, pred_id = scene
    ref_id, pred_id = (np.where(ids >= 0, rng.permutation(50)[ids], -1) for ids in (ref_id, pred_id))
    slot, column = (np.argsort(rng.random(ids.shape), axis=1) for ids in (pred_id, ref_id))
    moved = (np.take_along_axis(doa, slot[..., None], 1), np.take_along_axis(active, slot, 1),
             np.take_along_axis(ref_doa, column[..., None], 1), np.take_along_axis(ref_id, column, 1),
             np.take_along_axis(pred_id, slot, 1))
    same(of(scene).compute(), of(moved).compute(), leave=["MOTA'"])  # which counts the onsets of slots, as published


@repeatedly
@given(scenes())
def test_perfect_predictions_score_all(scene):
    _, _, ref_doa, ref_id, _ = scene
    scores = of((ref_doa, ref_id >= 0, ref_doa, ref_id, np.where(ref_id >= 0, 7 + ref_id, -1))).compute()
    if (ref_id >= 0).any():
        full = ("LR", "LP", "LF", "F20", "MOTA@20", "IDF1", "HOTA", "DetA", "AssA", "MT", "frame recall",
                "count accuracy", "LR 2020", "F20 2020", "LR 2022", "F20 2022")
        assert all(scores[name] == pytest.approx(100) for name in full)
        assert all(scores[name] == pytest.approx(0, abs=1e-6) for name in (
            "LE", "MOTP@20", "misses", "false positives", "ID switches", "ML", "DOA error", "ER20 2020", "ER20 2022"))
    else:
        assert np.isnan([scores["MOTA@20"], scores["HOTA"], scores["IDF1"]]).all()


@repeatedly
@given(st.lists(scenes(), min_size=2, max_size=4))
def test_scores_of_a_set_follow_from_the_counts_of_its_parts(recordings):
    whole, parts = of(*recordings), [of(recording).counts for recording in recordings]
    added = Scores()
    for counts in parts:
        added.add(counts)
    same(whole.compute(), added.compute())
    without = {name: value - parts[0][name] for name, value in whole.counts.items()}
    same(figures(without), of(*recordings[1:]).compute())


@repeatedly
@given(scenes())
def test_rates_stay_within_their_bounds(scene):
    scores = of(scene).compute()
    for name in ("LR", "LP", "LF", "F20", "IDF1", "HOTA", "DetA", "AssA", "MT", "ML", "frame recall", "F20 2020",
                 "LR 2022", "F20 2022"):
        assert np.isnan(scores[name]) or -1e-9 <= scores[name] <= 100 + 1e-9, name
    assert np.isnan(scores["LE"]) or 0 <= scores["LE"] <= 180
