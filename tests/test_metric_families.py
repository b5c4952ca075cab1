"""Scores by class and LOCATA's measures on hand-drawn tracks, with the arithmetic in the comments."""

import numpy as np
import pytest

from cls_metric import Scores
from doatools.metrics.classes import ClassScores
from doatools.metrics.locata import LocataScores
from doatools.spatial.geometry import unit_vectors


def drawn(directions):
    """Azimuths, or (azimuth, elevation), of each slot and frame in degrees, None where inactive → doa, active."""
    pairs = [[(0, 0) if one is None else one if isinstance(one, tuple) else (one, 0) for one in frame]
             for frame in directions]
    azimuth, elevation = np.moveaxis(np.array(pairs, float), -1, 0)
    return unit_vectors(azimuth, elevation), np.array([[one is not None for one in frame] for frame in directions])


def by_class(predictions, pred_class, references, ref_class, segment_frames=4):
    doa, active = drawn(predictions)
    ref_doa, present = drawn(references)
    scores = ClassScores(segment_frames=segment_frames)
    scores.update(doa, active, ref_doa, np.where(present, np.arange(present.shape[1]), -1), None,
                  np.where(present, ref_class, -1), np.where(active, pred_class, -1))
    return scores.compute()


def test_scores_by_class_by_hand():
    # Segments of four frames, two of them. Class 0: azimuth 0 throughout. Class 5: azimuth 90 in the first segment.
    references = [(0, 90)] * 4 + [(0, None)] * 4
    # Class 0 is found 10° off in the first segment and 50° off in the second. Class 5 is found as class 7 at the very
    # place, which is wrong for both.
    predictions = [(10, 90)] * 4 + [(50, None)] * 4
    scores = by_class(predictions, [0, 7], references, [0, 5])
    # class 0: K = 2 instances with a pair, errors 10 and 50; TP 1, spatial FP 1, no FP, no FN
    #   LE (10 + 50)/2 = 30, LR 2/2, F 1/(1 + 1) = 1/2
    # class 5: one reference, FN 1, nothing paired: LE 180, LR 0, F 0
    # class 7 has no reference and is in no mean; its FP counts in ER
    assert scores["class LE"] == pytest.approx((30 + 180) / 2)
    assert scores["class LR"] == pytest.approx(100 * (1 + 0) / 2)
    assert scores["class F20"] == pytest.approx(100 * (0.5 + 0) / 2)
    # segment 1: FP 1 (class 7), FN 1 (class 5): max 1; segment 2: spatial FP 1, FN 0: 1; three references
    assert scores["class ER20"] == pytest.approx(100 * 2 / 3)


def test_two_instances_of_a_class_by_hand():
    # Two sources of class 3 at 0 and 90; predictions in the other order, at 92 and 4, then a third one at 180.
    references = [(0, 90)] * 2 + [(0, None)] * 2
    predictions = [(92, 4, None)] * 2 + [(8, None, 180)] * 2
    scores = by_class(predictions, [3, 3, 3], references, [3, 3])
    # R = 2 and P = 2 at once: no FP, no FN. First instance: 4, 4, then 8, 8 (the nearer of two): error 6; second: 2, 2
    assert scores["class LE"] == pytest.approx((6 + 2) / 2)
    assert scores["class LR"] == scores["class F20"] == pytest.approx(100)
    assert scores["class ER20"] == 0
    # With one prediction only, one instance is missed: F 1/(1 + 1/2), ER 1/2
    scores = by_class([(4,)] * 4, [3], [(0, 90)] * 4, [3, 3])
    assert scores["class LR"] == pytest.approx(50)
    assert scores["class F20"] == pytest.approx(100 / 1.5)
    assert scores["class ER20"] == pytest.approx(50)
    # A prediction too many: F 2/(2 + 1/2), ER 1/2
    scores = by_class([(0, 90, 180)] * 4, [3, 3, 3], [(0, 90)] * 4, [3, 3])
    assert scores["class F20"] == pytest.approx(100 * 2 / 2.5)
    assert scores["class ER20"] == pytest.approx(50)


def test_a_class_that_is_never_there_at_the_same_time():
    # R = 1, P = 1 in the segment, but in different frames: one miss, no false positive (as the challenges count)
    scores = by_class([(None,), (None,), (0,), (0,)], [2], [(0,), (0,), (None,), (None,)], [2])
    assert (scores["class LE"], scores["class LR"], scores["class F20"]) == (180, 0, 0)
    assert scores["class ER20"] == pytest.approx(100)


def test_no_scores_by_class_without_classes():
    doa, active = drawn([(0,)] * 4)
    scores = Scores()
    scores.update(doa, active, doa, np.where(active, 0, -1))
    assert all(np.isnan(value) for name, value in scores.compute().items() if name.startswith("class "))


def test_scores_by_class_add_up_over_recordings():
    one = [(10, None)] * 4, [0, 7], [(0, None)] * 4, [0, 5]
    other = [(50, 90)] * 4, [0, 5], [(0, 90)] * 4, [0, 5]
    both = by_class(one[0] + other[0], [0, 5], one[2] + other[2], [0, 5])
    scores = ClassScores(segment_frames=4)
    for predictions, pred_class, references, ref_class in (one, other):
        (doa, active), (ref_doa, present) = drawn(predictions), drawn(references)
        scores.update(doa, active, ref_doa, np.where(present, [0, 1], -1), None, np.where(present, ref_class, -1),
                      np.where(active, pred_class, -1))
    assert scores.compute() == pytest.approx(both)


def locata(predictions, references, ids=None, pred_id=None):
    doa, active = drawn(predictions)
    ref_doa, present = drawn(references)
    ids = np.arange(present.shape[1]) if ids is None else np.array(ids)
    scores = LocataScores(segment_frames=10)
    scores.update(doa, active, ref_doa, np.where(present, ids, -1), pred_id)
    return scores.compute()


def test_locata_measures_by_hand():
    # One source at azimuth 0 in frames 2 to 11 (1 s of 1.4 s), tracked from frame 4 on.
    references = [(None,)] * 2 + [((0, 0),)] * 10 + [(None,)] * 2
    predictions = ([(None, None)] * 4 + [((10, 5), None)] * 3  # 3 frames as track 0, 10° and 5° off
                   + [(None, None)] * 2                        # lost for 2 frames
                   + [(None, (-20, 5))] * 2                    # found again as track 1, 20° off
                   + [((40, 0), None)]                         # beyond 30°: no pair, a false alarm
                   + [((0, 0), None)] * 2)                     # after its end: 2 false alarms
    scores = locata(predictions, references)
    assert scores["detection rate"] == pytest.approx(100 * 5 / 10)
    assert scores["azimuth error"] == pytest.approx((3 * 10 + 2 * 20) / 5)
    assert scores["elevation error"] == pytest.approx(5)
    assert scores["swap rate"] == pytest.approx(1 / 1.0)
    assert scores["fragmentation rate"] == pytest.approx((1 + 1) / 1.0)  # one gap, one swap
    assert scores["latency"] == pytest.approx(0.2)
    assert scores["false alarm rate"] == pytest.approx(3 / 1.4)


def test_locata_means_are_over_periods():
    # Two periods: one of 1 s found 0° off in all frames, one of 0.2 s 20° off in half of them.
    references = [(0, None)] * 10 + [(None, 90)] * 2
    scores = locata([(0, None)] * 10 + [(None, 110), (None, None)], references)
    assert scores["detection rate"] == pytest.approx(100 * (1 + 0.5) / 2)
    assert scores["azimuth error"] == pytest.approx((0 + 20) / 2)
    assert scores["latency"] == 0
    # A period without any pair has no error and no latency
    scores = locata([(0, None)] * 10 + [(None, None)] * 2, references)
    assert (scores["detection rate"], scores["azimuth error"], scores["latency"]) == (50, 0, 0)


def test_locata_gate_is_of_azimuth_alone():
    # At 60° of elevation, 40° of azimuth are 20° on the sphere: beyond the gate all the same
    assert locata([((40, 60),)], [((0, 60),)])["detection rate"] == 0
    scores = locata([((0, 50),)], [((0, 0),)])
    assert (scores["detection rate"], scores["elevation error"]) == (pytest.approx(100), pytest.approx(50))


def test_locata_azimuths_wrap_and_pairs_are_one_to_one():
    scores = locata([(175,)], [(-175,)])
    assert scores["azimuth error"] == pytest.approx(10)
    # Two references 20° apart and one prediction between them: one pair, one miss
    scores = locata([(8,)] * 10, [(0, 20)] * 10)
    assert scores["detection rate"] == pytest.approx(50)
    assert scores["azimuth error"] == pytest.approx(8)
    # Two predictions: as many pairs as possible, 8° + 12°, though 25° would leave one with 8°
    scores = locata([(8, 45)] * 10, [(0, 20)] * 10)
    assert scores["detection rate"] == pytest.approx(100)
    assert scores["azimuth error"] == pytest.approx((8 + 25) / 2)


def test_nothing_to_measure():
    scores = locata([(0,)] * 5, [(None,)] * 5)
    assert scores["false alarm rate"] == pytest.approx(5 / 0.5)
    assert np.isnan(scores["detection rate"]) and np.isnan(scores["azimuth error"]) and np.isnan(scores["latency"])
