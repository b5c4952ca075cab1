"""Trackers on hand-drawn scenes: which predictions are one source over time."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cls_metric import ClearMOT
from doanet_parameters import get_params
from doatools.config.schema import TrackerConfig
from doatools.errors import UserError
from doatools.registry import TRACKERS
from doatools.spatial.geometry import unit_vectors
from doatools.track.slots import without_duplicates
from doatools.track.trackers import link
from doatools.types import Predictions
from inference import Localized, tracked

LINKING = [how for how in TRACKERS if how != "off"]


def linked(doa, active, how, **settings):
    """Identities (T, N) by the tracker ``how``."""
    return link(Predictions(doa, active.astype(float)), TrackerConfig(tracker=how, **settings))


def drawn(azimuths):
    """Azimuths (T, N) on the horizon, None where inactive → doa, active."""
    values = np.array([[np.nan if a is None else a for a in frame] for frame in azimuths], float)
    return unit_vectors(np.nan_to_num(values), 0 * np.nan_to_num(values)), ~np.isnan(values)


def crossing(rng=None, noise=0.0):
    """Two sources pass each other; slots are sorted by azimuth, so they swap when the sources meet.

    Returns doa, active, ref_doa, ref_id.
    """
    time = np.arange(40)
    true = np.stack([-41 + 2 * time, 41 - 2 * time], 1).astype(float)
    seen = true + (rng.normal(0, noise, true.shape) if noise else 0)
    low = np.sort(seen, axis=1)
    return (unit_vectors(low, 0 * low), np.ones(low.shape, bool), unit_vectors(true, 0 * true),
            np.tile([0, 1], (len(true), 1)))


def id_switches(scene, how, **settings):
    doa, active, ref_doa, ref_id = scene
    clear = ClearMOT()
    clear.update(doa, active, ref_doa, ref_id, linked(doa, active, how, **settings))
    return clear.compute()["ID switches"]


def test_without_a_tracker_the_slot_is_the_identity():
    doa, active = drawn([(0, 90), (None, 90), (0, 90)])
    assert linked(doa, active, "off").tolist() == [[0, 1], [-1, 1], [0, 1]]


@pytest.mark.parametrize("how", LINKING)
def test_swapped_slots_keep_their_identities(how):
    rng = np.random.default_rng(0)
    order = np.argsort(rng.random((60, 3)), axis=1)
    azimuth = np.array([0, 90, 200]) + rng.normal(0, 3, (60, 3))
    azimuth = np.take_along_axis(azimuth, order, 1)
    doa, active = drawn(azimuth)
    pred_id = linked(doa, active, how)
    # each track is one source, whichever slot it is in
    assert (pred_id == np.argsort(order[0])[order]).all()


def test_only_the_filter_follows_sources_that_pass_each_other():
    assert id_switches(crossing(), "off") == id_switches(crossing(), "nearest") == 2
    assert id_switches(crossing(), "kalman") == 0


def test_the_filter_helps_with_noise_too():
    rng = np.random.default_rng(0)
    scenes = [crossing(rng, noise=3.0) for _ in range(30)]
    lost = {how: sum(id_switches(scene, how, measurement_deg=3.0) for scene in scenes) for how in LINKING}
    assert lost["kalman"] < 0.5 * lost["nearest"]


@pytest.mark.parametrize("how", LINKING)
def test_a_gap_up_to_its_length_keeps_the_track(how):
    doa, active = drawn([(0,)] * 4 + [(None,)] * 3 + [(0,)])
    assert linked(doa, active, how, max_gap=3)[:, 0].tolist() == [0, 0, 0, 0, -1, -1, -1, 0]
    assert linked(doa, active, how, max_gap=2)[:, 0].tolist() == [0, 0, 0, 0, -1, -1, -1, 1]
    assert linked(*drawn([(0,), (0,), (None,), (0,)]), how, max_gap=0)[:, 0].tolist() == [0, 0, -1, 1]


@pytest.mark.parametrize("how", LINKING)
def test_a_source_keeps_its_track_through_a_pause(how):
    def after(azimuth, gap, frames=6, **settings):
        doa, active = drawn([(0, 120)] * frames + [(None, 120)] * gap + [(azimuth, 120)])
        return linked(doa, active, how, max_gap=3, **settings)[-1].tolist()

    assert after(10, 20, pause=20) == [0, 1] and after(10, 20) == [2, 1]
    assert after(10, 21, pause=20) == [2, 1]  # too late
    assert after(20, 20, pause=20) == [2, 1]  # elsewhere: more than half of the gate of 30°
    assert after(10, 20, frames=4, pause=20) == [2, 1]  # too short to be remembered
    doa, active = drawn([(0, 60)] * 6 + [(None, None)] * 9 + [(57, 3)] * 2)
    assert linked(doa, active, how, pause=20)[-1].tolist() == [1, 0]


@pytest.mark.parametrize("how", LINKING)
def test_a_stray_prediction_is_soon_forgotten(how):
    # seen once, it may miss one frame
    assert linked(*drawn([(0,), (None,), (0,)]), how)[:, 0].tolist() == [0, -1, 0]
    assert linked(*drawn([(0,), (None,), (None,), (0,)]), how)[:, 0].tolist() == [0, -1, -1, 1]
    # the stray at 25° takes no part in the source at 0°, although 13° is nearer to it
    pred_id = linked(*drawn([(0,)] * 5 + [(25,)] + [(0,)] * 3 + [(13,)]), how, gate_deg=20)
    assert pred_id[:, 0].tolist() == [0] * 5 + [1] + [0] * 4


def test_the_filter_goes_on_through_a_gap():
    azimuth = [(3 * t if not 20 <= t < 28 else None,) for t in range(40)]  # 27° from the last to the next
    doa, active = drawn(azimuth)
    assert set(linked(doa, active, "kalman", gate_deg=20, max_gap=8).ravel()) == {-1, 0}
    assert set(linked(doa, active, "nearest", gate_deg=20, max_gap=8).ravel()) == {-1, 0, 1}


@pytest.mark.parametrize("how", LINKING)
def test_a_jump_beyond_the_gate_begins_a_track(how):
    doa, active = drawn([(0,), (19,), (0,), (21,)])
    assert linked(doa, active, how, gate_deg=20)[:, 0].tolist()[:3] == [0, 0, 0]
    doa, active = drawn([(0,), (30,), (0,)])
    assert linked(doa, active, how, gate_deg=20)[:, 0].tolist() == [0, 1, 0]


def test_a_near_pair_is_worth_more_than_two_far_ones():
    # tracks at 0° and 10°, slots at 9° and 24°, gate 15°: 10 ↔ 9 is 14° inside the gate, and leaves 24° to a new
    # track; 0 ↔ 9 and 10 ↔ 24 are 6° + 1° inside
    doa, active = drawn([(0, 10), (9, 24)])
    assert linked(doa, active, "nearest", gate_deg=15).tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("how", LINKING)
def test_rotating_the_sphere_changes_no_identity(how):
    rng = np.random.default_rng(1)
    doa = unit_vectors(np.cumsum(rng.normal(0, 6, (80, 3)), 0), np.cumsum(rng.normal(0, 3, (80, 3)), 0))
    active = rng.random((80, 3)) > 0.3
    pred_id = linked(doa, active, how)
    for rotation in Rotation.random(5, rng=2).as_matrix():  # over the poles, too
        assert (linked(doa @ rotation.T, active, how) == pred_id).all()
    assert ((pred_id >= 0) == active).all()
    for frame in pred_id:
        assert len(set(frame[frame >= 0])) == (frame >= 0).sum()


@pytest.mark.parametrize("how", TRACKERS)
def test_nothing_is_linked_to_nothing(how):
    assert linked(np.zeros((0, 2, 3)), np.zeros((0, 2), bool), how).shape == (0, 2)
    assert (linked(np.zeros((4, 2, 3)), np.zeros((4, 2), bool), how) == -1).all()
    assert linked(np.zeros((4, 0, 3)), np.zeros((4, 0), bool), how).shape == (4, 0)


def test_a_direction_that_is_no_number_does_no_harm():
    doa, active = drawn([(0, 90), (0, 90), (0, 90), (0, 90)])
    doa[1, 0] = np.nan
    for how in LINKING:
        pred_id = linked(doa, active, how)
        assert pred_id[:, 1].tolist() == [1] * 4 and pred_id[[0, 2, 3], 0].tolist() == [0] * 3


def test_trackers_are_those_of_the_parameters():
    for how in TRACKERS:
        assert get_params(tracker=how).tracker.tracker == how
    with pytest.raises(UserError, match="kalman"):
        get_params(tracker="kalmann")
    with pytest.raises(UserError, match="kalman"):
        TRACKERS["kalmann"]


def test_of_slots_that_follow_one_source_the_most_probable_stays():
    doa, _ = drawn([(0, 12, 24), (0, 12, 100), (350, 100, 2), (0, 20, 40)])
    probability = np.array([[0.9, 0.8, 0.7], [0.6, 0.8, 0.1], [0.6, 0.7, 0.9], [0.9, 0.8, 0.7]])
    found = without_duplicates(Predictions(doa, probability, {"radius": probability * 10}), 15)
    assert found.probability.tolist() == [[0.9, 0, 0.7], [0, 0.8, 0.1], [0, 0.7, 0.9], [0.9, 0.8, 0.7]]
    assert (found.doa == doa).all() and (found.others["radius"] == probability * 10).all()


def test_without_probabilities_or_an_angle_all_slots_stay():
    doa, active = drawn([(0, 5)])
    for predictions, angle in ((Predictions(doa, None), 15), (Predictions(doa, active.astype(float)), 0)):
        assert without_duplicates(predictions, angle) is predictions


@pytest.mark.parametrize("angle, tracks", [(0, 2), (15, 1)])
def test_duplicates_do_not_become_tracks(angle, tracks):
    doa, _ = drawn([(0, 8)] * 10)
    found = Localized(Predictions(doa, np.tile([0.8, 0.9], (10, 1))), np.zeros((10, 4)))
    parts = tracked([found], TrackerConfig(duplicate_deg=angle))
    assert len(np.unique(np.concatenate([part.rows for part in parts])["track"])) == tracks
