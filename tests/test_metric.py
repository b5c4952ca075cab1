"""Scores on hand-drawn tracks, with the arithmetic in the comments."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from cls_metric import (
    HOTA,
    SUMMARY,
    ClearMOT,
    FrameScores,
    Identity,
    Scores,
    Segments,
    all_figures,
    families,
    format_score,
    groups,
    selection_score,
)
from doatools.match.assignment import assign
from doatools.spatial.geometry import angular_distance, unit_vectors


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


def test_a_swap_of_slots_is_two_id_switches():
    doa, active = drawn([(0, 90), (90, 0), (90, 0)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0, 90)] * 3, [(7, 8)] * 3))
    figures = clear.compute()
    assert figures["ID switches"] == 2
    assert figures["MOTA@20"] == pytest.approx(100 * (1 - 2 / 6))
    assert figures["MOTP@20"] == pytest.approx(0)


def test_last_pairs_are_kept_while_within_the_gate():
    # object at 0°; slot 1 had it and drifts to 15°, slot 2 passes at 5°: no change of slot
    doa, active = drawn([(0, 90), (15, 5), (15, 5)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0,)] * 3, [(1,)] * 3))
    assert clear.compute()["ID switches"] == 0
    assert clear.compute()["MOTP@20"] == pytest.approx((0 + 15 + 15) / 3)
    # three false positives: slot 2 all along
    assert clear.compute()["MOTA@20"] == pytest.approx(100 * (1 - 3 / 3))


def test_a_change_of_slot_after_a_gap_is_an_id_switch():
    doa, active = drawn([(0, None), (None, None), (None, 0)])
    clear = ClearMOT()
    clear.update(doa, active, *referenced([(0,)] * 3, [(1,)] * 3))
    # one miss in the gap, one ID switch
    assert clear.compute()["ID switches"] == 1
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
    assert figures["F20"] == figures["LF"] == figures["MOTA@20"] == 100 and figures["ID switches"] == 0


def scored(family, azimuths, ref_azimuths, ids, pred_id=None):
    """Figures of one recording drawn on the horizon."""
    doa, active = drawn(azimuths)
    part = family()
    part.update(doa, active, *referenced(ref_azimuths, ids), pred_id)
    return part.compute()


def test_doa_errors_and_counting_by_hand():
    figures = scored(FrameScores, [(10, 100), (2, None), (90, 0), (None, None)],
                     [(0, 90), (0, 90), (None, 0), (0, None)], [(1, 2)] * 4)
    # pairs: 10° + 10° | 2° | 0° | none, for 2 + 1 + 2 + 0 predictions
    assert figures["DOA error 2019"] == pytest.approx(22 / 5)
    assert figures["DOA error"] == pytest.approx((10 + 2 + 0) / 3)
    # sources 2, 2, 1, 1 and predictions 2, 1, 2, 0: right once, in one of two frames of 2 and none of two of 1
    assert figures["frame recall"] == pytest.approx(100 * 1 / 4)
    assert figures["count accuracy"] == pytest.approx(100 * (1 / 2 + 0 / 2) / 2)


def test_confusion_of_the_number_of_sources():
    scores = FrameScores()
    doa, active = drawn([(10, 100), (2, None), (90, 0), (None, None)] + [(0,) * 2] * 2)
    references = [(0, 90), (0, 90), (None, 0), (0, None), (0, 0), (None, None)]
    scores.update(doa, active, *referenced(references, [(1, 2)] * 6))
    confusion = scores.counts["confusion"]  # rows: sources, columns: predictions
    assert confusion.sum() == 6 and confusion[2, 2] == 2
    assert confusion[2, 1] == confusion[1, 2] == confusion[1, 0] == confusion[0, 2] == 1
    scores = FrameScores()
    doa, active = drawn([tuple(range(0, 300, 30))])  # ten predictions count as eight
    scores.update(doa, active, *referenced([(0,)], [(1,)]))
    assert scores.counts["confusion"][1, 8] == 1 and scores.compute()["LE"] == 0


def test_fragmentations_and_share_of_tracks_by_hand():
    # object 1 is matched in frames 0, 1, 4-9: 8 of 10 is not yet mostly tracked; object 2 in 1 of 10 is mostly lost
    first = [0, 0, None, None, 0, 0, 0, 0, 0, 0]
    second = [None] * 9 + [90]
    other = [180] * 10  # a false positive all along, so that no frame is empty
    figures = scored(ClearMOT, list(zip(first, second, other)), [(0, 90)] * 10, [(1, 2)] * 10)
    assert (figures["misses"], figures["false positives"]) == (2 + 9, 10)
    assert figures["fragmentations"] == 1 and figures["ID switches"] == 0
    assert figures["MT"] == 0 and figures["ML"] == 50
    figures = scored(ClearMOT, list(zip(first, other)), [(0,)] * 2 + [(None,)] + [(0,)] * 7, [(1,)] * 10)
    assert figures["MT"] == 100  # 8 of 9


def test_frames_empty_on_one_side_are_passed_over_in_clear_mot():
    figures = scored(ClearMOT, [(0, None), (None, None), (15, 5)], [(0,)] * 3, [(1,)] * 3)
    # frame 1 is a miss and no fragmentation, and in frame 2 the slot of frame 0 is kept although another is nearer
    assert (figures["misses"], figures["fragmentations"], figures["ID switches"]) == (1, 0, 0)
    assert figures["MOTP@20"] == pytest.approx((0 + 15) / 2)


def test_three_pairs_are_not_worth_more_than_their_similarity():
    # slot by slot all are 19° off: 3·(1 - 19/40) = 1.575; 0° ↔ 0° and 19° ↔ 19° alone give 2, and leave 38° and -19°
    figures = scored(ClearMOT, [(0, 19, 38)], [(-19, 0, 19)], [(1, 2, 3)])
    assert figures["misses"] == 1 and figures["MOTP@20"] == pytest.approx(0)


def test_identity_figures_by_hand():
    # object 1 in four frames, hypothesis 5 on it for three of them, hypothesis 6 for one; 7 is a false positive
    figures = scored(Identity, [(0, None), (0, None), (0, 90), (0, None)], [(0,)] * 4, [(1,)] * 4,
                     np.array([(5, -1), (5, -1), (5, 7), (6, -1)]))
    # 3 frames of 4 + 1 predictions and of 4 references
    assert figures["IDP"] == pytest.approx(100 * 3 / 5) and figures["IDR"] == pytest.approx(100 * 3 / 4)
    assert figures["IDF1"] == pytest.approx(100 * 2 * 3 / (5 + 4))


def test_hota_by_hand():
    # the same without the false positive: detection is perfect; 3 matches have a Jaccard index of 3/(4 + 3 - 3), one
    # has 1/(4 + 1 - 1)
    ids = np.array([(5,), (5,), (5,), (6,)])
    figures = scored(HOTA, [(0,)] * 4, [(0,)] * 4, [(1,)] * 4, ids)
    association = (3 * 3 / 4 + 1 * 1 / 4) / 4
    assert figures["DetA"] == pytest.approx(100) and figures["AssA"] == pytest.approx(100 * association)
    assert figures["HOTA"] == pytest.approx(100 * association ** 0.5)
    # 11° away the similarity is 1 - 11/40 = 0.725, enough for 14 of the 19 thresholds (0.05 … 0.70)
    figures = scored(HOTA, [(11,)] * 4, [(0,)] * 4, [(1,)] * 4, ids)
    assert figures["DetA"] == pytest.approx(100 * 14 / 19)
    assert figures["HOTA"] == pytest.approx(100 * 14 / 19 * association ** 0.5)


def test_scores_of_segments_by_hand():
    azimuths = ([(10, None)] * 5 + [(40, None)] * 5  # 0: one reference at 0°, error (10 + 40)/2 = 25°
                + [(4, None)] * 10  # 1: references at 0° and 90°, error 4°
                + [(None, None)] * 5 + [(0, None)] * 5  # 2: a reference in the first half, a prediction in the second
                + [(0, 90)] * 10  # 3: no reference
                + [(0, None)] * 2 + [(66, None)])  # 4, cut short: a reference at 0° twice, then another at 60°
    references = ([(0, None)] * 10 + [(0, 90)] * 10 + [(0, None)] * 5 + [(None, None)] * 15
                  + [(0, None)] * 2 + [(None, 60)])
    figures = scored(Segments, azimuths, references, [(1, 2)] * 43)
    # 2020, segments: paired 0, 1, 4 (errors 25, 4, 6/3); references in 0, 1, 2, 4; predictions in all five;
    # hits 1, 4; max(FN, FP) is 1 in 0, 2 and 3
    assert figures["LE 2020"] == pytest.approx((25 + 4 + 2) / 3)
    assert figures["LR 2020"] == pytest.approx(100 * 3 / 4)
    assert figures["F20 2020"] == pytest.approx(100 * 2 * 2 / (4 + 5))
    assert figures["ER20 2020"] == pytest.approx(100 * 3 / 4)
    # 2022, instances: paired 25° | 4° | - | - | 0° and 6°; references 1 + 2 + 1 + 0 + 2; predictions 1 + 1 + 1 + 2 + 2
    # (both tracks of segment 4 have a pair); hits 0 + 1 + 0 + 0 + 2; (FN, FP) = (0, 1), (1, 0), (1, 1), (0, 2), (0, 0)
    assert figures["LE 2022"] == pytest.approx((25 + 4 + 0 + 6) / 4)
    assert figures["LR 2022"] == pytest.approx(100 * 4 / 6)
    assert figures["F20 2022"] == pytest.approx(100 * 2 * 3 / (6 + 7))
    assert figures["ER20 2022"] == pytest.approx(100 * (1 + 1 + 1 + 2 + 0) / 6)


def plain_instances(doa, active, ref_doa, ref_id, gate=20.0, second=10):
    """Items of 2022 as docs/scores.md words them: angle, paired, hits, references, predicted, errors."""
    sums = np.zeros(6)
    for first in range(0, len(doa), second):
        found, most = {}, 0
        for t in range(first, min(first + second, len(doa))):
            slots, columns = np.flatnonzero(active[t]), np.flatnonzero(ref_id[t] >= 0)
            most = max(most, len(slots))
            cost = angular_distance(doa[t, slots][:, None], ref_doa[t, columns][None])
            for row, column in zip(*linear_sum_assignment(cost)):
                found.setdefault(ref_id[t, columns[column]], []).append(cost[row, column])
        errors = [np.mean(angles) for angles in found.values()]
        tracks, paired = len(set(ref_id[first:first + second].ravel()) - {-1}), len(errors)
        hits = sum(error <= gate for error in errors)
        false = paired - hits + max(0, most - paired)
        sums += [sum(errors), paired, hits, tracks, max(most, paired), max(tracks - paired, false)]
    return sums


def test_instances_of_segments_are_those_of_a_plain_loop():
    rng = np.random.default_rng(3)
    for frames, slots, columns in ((95, 2, 3), (40, 3, 2), (7, 4, 4), (60, 5, 5)):
        azimuth, elevation = rng.uniform(-40, 40, (2, frames, 5))
        ref_doa = unit_vectors(azimuth, elevation)[:, :columns]
        doa = unit_vectors(azimuth + rng.normal(0, 20, (frames, 5)), elevation)[:, :slots]
        active = rng.random((frames, slots)) > 0.6
        names = np.arange(columns) + 10 * (np.arange(frames) // 7)[:, None]
        ref_id = np.where(rng.random((frames, columns)) > 0.6, names, -1)
        segments = Segments()
        segments.update(doa, active, ref_doa, ref_id)
        counted = [segments.counts[f"{what} 2022"] for what in (
            "angle", "paired", "hits", "references", "predicted", "errors")]
        assert counted == pytest.approx(plain_instances(doa, active, ref_doa, ref_id))


def test_a_second_may_have_more_frames():
    doa, active = drawn([(0,)] * 20 + [(None,)] * 30)
    scores = Scores(only=[Segments], segment_frames=25)
    scores.update(doa, active, *referenced([(0,)] * 50, [(1,)] * 50))
    assert scores.compute()["LR 2020"] == 50  # one second of two


def test_identities_take_the_place_of_slots():
    # the slots swap and the identities follow: no ID switch
    doa, active = drawn([(0, 90), (90, 0), (90, 0)])
    ref = referenced([(0, 90)] * 3, [(7, 8)] * 3)
    scores = Scores()
    scores.update(doa, active, *ref, np.array([(3, 4), (4, 3), (4, 3)]))
    figures = scores.compute()
    assert figures["ID switches"] == 0 and figures["HOTA"] == figures["IDF1"] == pytest.approx(100)
    # an active slot without an identity is no prediction
    scores = Scores()
    scores.update(doa, active, *ref, np.array([(3, -1), (-1, 3), (-1, 3)]))
    assert scores.compute()["LR"] == pytest.approx(50) and scores.compute()["MOTA@20"] == pytest.approx(50)


def test_every_figure_is_described_in_one_group():
    figures, described = Scores().compute(), all_figures()
    assert set(figures) == set(described) and set(SUMMARY) <= set(described)
    assert sum(len(group) for group in groups().values()) == len(described)
    assert all(figure.unit in ("°", "%", "/s", " s", "") and figure.meaning for figure in described.values())


@pytest.mark.parametrize("frames, slots, columns", [(0, 2, 2), (5, 0, 2), (5, 2, 0), (5, 0, 0), (5, 7, 6)])
def test_sizes_of_any_kind(frames, slots, columns):
    rng = np.random.default_rng(0)
    scores = Scores()
    scores.update(rng.normal(size=(frames, slots, 3)), np.ones((frames, slots), bool),
                  rng.normal(size=(frames, columns, 3)), np.tile(np.arange(columns), (frames, 1)))
    assert scores.counts["frame/references"] == frames * columns
    assert scores.counts["frame/pairs"] == frames * min(slots, columns)
    assert scores.counts["clear/false_positives"] + scores.counts["clear/matches"] == frames * slots


def test_a_prediction_that_is_no_number_pairs_with_nothing():
    doa, active = drawn([(0, 90)])
    doa[0, 0] = np.nan
    scores = Scores(only=families())
    scores.update(doa, active, *referenced([(0, 90)], [(1, 2)]))
    figures = scores.compute()
    assert figures["F20"] == figures["IDF1"] == figures["F20 2022"] == 50 and figures["MOTA@20"] == 0
    assert figures["LE"] == pytest.approx(0) and figures["DetA"] == pytest.approx(100 * 1 / (4 - 1))


def test_selection_prefers_neither_the_timid_nor_the_careless():
    good, timid, careless = ({"LE": le, "F20": f20} for le, f20 in ((10, 80), (3, 10), (40, 40)))
    assert selection_score(good) < min(selection_score(timid), selection_score(careless))
    assert selection_score({"LE": float("nan"), "F20": float("nan")}) == 1
