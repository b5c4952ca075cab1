"""Scores on hand-drawn tracks whose arithmetic stands beside them."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cls_metric import ClearMOT, FrameScores, Scores, assign, format_score, selection_score
from doatools.geometry import unit_vectors


def drawn(azimuths, active=True):
    """Azimuths (T, N) in degrees on the horizon, None where inactive → doa (T, N, 3), active (T, N)."""
    values = np.array([[np.nan if a is None else a for a in frame] for frame in azimuths], float)
    return unit_vectors(np.nan_to_num(values), 0 * np.nan_to_num(values)), ~np.isnan(values) & active


def referenced(azimuths, ids):
    doa, active = drawn(azimuths)
    return doa, np.where(active, np.array(ids), -1)


def test_assign_equals_scipy_and_leaves_forbidden_pairs_out():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (2, 2), (2, 3), (3, 2), (4, 4), (5, 3), (2, 6)):
        cost = rng.random((50, n, m)) * 180
        for frame, columns in zip(cost, assign(cost)):
            rows, best = linear_sum_assignment(frame)
            expected = np.full(n, -1)
            expected[rows] = best
            assert (columns == expected).all()
    cost = np.array([[[np.inf, np.inf], [5.0, np.inf]]])
    assert assign(cost).tolist() == [[-1, 0]]
    assert assign(np.zeros((0, 2, 2))).shape == (0, 2)
    most = np.array([[[1.0, 2.0], [3.0, np.inf]]])  # two pairs of 5° rather than one of 1°
    assert assign(most).tolist() == [[1, 0]]


def test_frame_figures_by_hand():
    doa, active = drawn([(10, 100), (5, None), (90, 0), (None, None)])
    ref = referenced([(0, 90), (0, 90), (None, 0), (0, None)], [(1, 2)] * 4)
    scores = FrameScores()
    scores.update(doa, active, *ref)
    figures = scores.compute()
    # pairs: 10° + 10° | 5° | 0° (of two predictions the one at 0°) | none; 4 pairs
    assert figures["LE"] == pytest.approx(25 / 4)
    # references 2 + 2 + 1 + 1 = 6, predictions 2 + 1 + 2 + 0 = 5, in common 2 + 1 + 1 + 0 = 4
    assert figures["LR"] == pytest.approx(100 * 4 / 6)
    assert figures["LP"] == pytest.approx(100 * 4 / 5)
    assert figures["LF"] == pytest.approx(100 * 2 * 4 / 11)
    # miscounted 0 + 1 + 1 + 1; onsets: both slots in frame 1, slot 2 in frame 3
    assert figures["MOTA'"] == pytest.approx(100 * (1 - (3 + 3) / 6))
    assert figures["F20"] == pytest.approx(100 * 2 * 4 / 11)


def test_a_prediction_beyond_the_gate_is_no_hit():
    doa, active = drawn([(21,), (19,)])
    scores = FrameScores()
    scores.update(doa, active, *referenced([(0,), (0,)], [(1,), (1,)]))
    assert scores.compute()["F20"] == pytest.approx(50)
    assert scores.compute()["LF"] == pytest.approx(100)


def test_figures_without_meaning_are_not_a_number():
    empty = FrameScores(has_activity=False).compute()
    assert all(np.isnan(value) for value in empty.values())
    doa, active = drawn([(0,)])
    scores = FrameScores(has_activity=False)
    scores.update(doa, active, *referenced([(0,)], [(1,)]))
    assert np.isnan(scores.compute()["MOTA'"]) and scores.compute()["LF"] == 100
    assert format_score("MOTA'", float("nan")) == "n/a" and format_score("LE", 12.345) == "12.3°"
    assert np.isnan(ClearMOT().compute()["MOTA@20"])


def test_a_model_that_predicts_nothing_scores_nothing():
    doa, active = drawn([(None, None)] * 3)
    scores = Scores()
    scores.update(doa, active, *referenced([(0, 90)] * 3, [(1, 2)] * 3))
    figures = scores.compute()
    assert figures["F20"] == figures["LF"] == figures["LR"] == figures["MOTA@20"] == 0
    assert np.isnan(figures["LE"]) and np.isnan(figures["LP"]) and selection_score(figures) == 1


def test_a_swap_of_slots_is_two_mismatches():
    doa, active = drawn([(0, 90), (90, 0), (90, 0)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0, 90)] * 3, [(7, 8)] * 3))
    figures = clear.compute()
    assert figures["mismatches"] == 2
    assert figures["MOTA@20"] == pytest.approx(100 * (1 - 2 / 6))
    assert figures["MOTP@20"] == pytest.approx(0)


def test_last_pairs_are_kept_while_within_the_gate():
    # object at 0°; slot 1 had it and drifts to 15°, slot 2 passes at 5°: no change of slot
    doa, active = drawn([(0, 90), (15, 5), (15, 5)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0,)] * 3, [(1,)] * 3))
    assert clear.compute()["mismatches"] == 0
    assert clear.compute()["MOTP@20"] == pytest.approx((0 + 15 + 15) / 3)
    # three false positives: slot 2 all along
    assert clear.compute()["MOTA@20"] == pytest.approx(100 * (1 - 3 / 3))


def test_a_change_of_slot_after_a_gap_is_a_mismatch():
    doa, active = drawn([(0, None), (None, None), (None, 0)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0,)] * 3, [(1,)] * 3))
    # one miss in the gap, one mismatch
    assert clear.compute()["mismatches"] == 1
    assert clear.compute()["MOTA@20"] == pytest.approx(100 * (1 - 2 / 3))


def test_mota_may_be_negative():
    doa, active = drawn([(180, 90)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0,)], [(1,)]))
    assert clear.compute()["MOTA@20"] == pytest.approx(100 * (1 - (1 + 2) / 1))


def test_scores_of_a_set_are_those_of_its_parts_counted_together():
    rng = np.random.default_rng(1)
    whole, longest = Scores(), 0
    for frames in (5, 40, 13):
        doa = unit_vectors(rng.uniform(-180, 180, (frames, 2)), rng.uniform(-40, 40, (frames, 2)))
        ref = unit_vectors(rng.uniform(-180, 180, (frames, 2)), rng.uniform(-40, 40, (frames, 2)))
        active = rng.random((frames, 2)) > 0.3
        ids = np.where(rng.random((frames, 2)) > 0.3, [1, 2], -1)
        whole.update(doa, active, ref, ids)
        longest += np.count_nonzero(ids >= 0)
    assert whole.parts[0].counts["references"] == longest == whole.parts[1].counts["objects"]
    perfect = Scores()
    perfect.update(ref, ids >= 0, ref, ids)
    figures = perfect.compute()
    assert figures["LE"] == pytest.approx(0, abs=1e-5)
    assert figures["F20"] == figures["LF"] == figures["MOTA@20"] == 100 and figures["mismatches"] == 0


def test_selection_prefers_neither_the_timid_nor_the_careless():
    good, timid, careless = ({"LE": le, "F20": f20} for le, f20 in ((10, 80), (3, 10), (40, 40)))
    assert selection_score(good) < min(selection_score(timid), selection_score(careless))
    assert selection_score({"LE": float("nan"), "F20": float("nan")}) == 1
