"""The jackknife against closed forms, and its verdicts against how the data were drawn."""

import numpy as np
import pytest
from scipy import stats

from doatools.report.intervals import compare, jackknife, total


def mean(counts):
    return {"mean": counts["sum"] / counts["n"] if counts["n"] else float("nan")}


def as_counts(values):
    return [{"sum": np.float64(v), "n": 1} for v in values]


def test_of_a_mean_it_is_the_textbook_interval():
    values = np.random.default_rng(0).normal(5, 2, 17)
    interval = jackknife(mean, as_counts(values))["mean"]
    low, high = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    assert interval == pytest.approx((values.mean(), low, high), abs=1e-12)


def test_of_a_ratio_it_is_near_the_linearised_error():
    # of sums x / y the error is sqrt(Σ (x - r y)²) / Σ y to first order (Cochran 1977)
    rng = np.random.default_rng(1)
    y = rng.integers(50, 150, 400)
    x = rng.binomial(y, rng.uniform(0.6, 0.9, 400))
    interval = jackknife(lambda c: {"r": c["x"] / c["y"]}, [{"x": a, "y": b} for a, b in zip(x, y)])["r"]
    ratio = x.sum() / y.sum()
    error = np.sqrt(np.sum((x - ratio * y) ** 2)) / y.sum()
    assert interval.value == ratio
    assert (interval.high - ratio) / stats.t.ppf(0.975, 399) == pytest.approx(error, rel=0.01)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = [low <= 0 <= high for _, low, high in
            (jackknife(mean, as_counts(rng.standard_normal(8)))["mean"] for _ in range(1000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


def test_what_rests_on_one_or_two_recordings_has_no_interval():
    assert np.isnan(jackknife(mean, as_counts([3.0]))["mean"].low)
    assert np.isnan(jackknife(mean, as_counts([3.0, 4.0]))["mean"].low)
    alone = jackknife(mean, [{"sum": 4.0, "n": 2}, *[{"sum": 0.0, "n": 0}] * 3])["mean"]
    assert alone.value == 2 and np.isnan(alone.low) and np.isnan(alone.high)


def test_pairing_sees_a_difference_that_hides_behind_hard_recordings():
    rng = np.random.default_rng(3)
    hard = rng.normal(30, 10, 12)  # recordings differ by far more than the systems do
    ours, theirs = hard + rng.normal(0, 0.5, 12), hard + 2 + rng.normal(0, 0.5, 12)
    apart = [jackknife(mean, as_counts(v))["mean"] for v in (ours, theirs)]
    assert apart[0].high > apart[1].low  # the intervals overlap
    paired = compare(mean, as_counts(ours), as_counts(theirs))["mean"]
    assert paired.verdict == "significant" and paired.low < -2 < paired.high
    result = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((result.low, result.high))


def test_a_system_does_not_differ_significantly_from_itself():
    values = as_counts(np.random.default_rng(4).normal(0, 1, 10))
    same = compare(mean, values, values)["mean"]
    assert same.difference == 0 and same.verdict == "not significant"
    assert compare(mean, values[:1], values[:1])["mean"].verdict == "undetermined"


def test_figures_of_one_system_alone_are_left_out_of_a_comparison():
    values = as_counts([1.0, 2.0, 4.0])
    assert set(compare(lambda c: mean(c) | {"own": 1.0}, values, values, mean)) == {"mean"}


def test_counts_may_be_arrays():
    assert total([{"c": np.eye(2)}, {"c": np.ones((2, 2))}])["c"].tolist() == [[2, 1], [1, 2]]


def test_of_a_number_of_events_it_is_the_error_of_a_sum():
    values = np.random.default_rng(5).poisson(20, 15)
    interval = jackknife(lambda c: {"events": int(c["sum"])}, as_counts(values))["events"]
    reach = stats.t.ppf(0.975, 14) * np.sqrt(15) * values.std(ddof=1)
    assert interval == pytest.approx((values.sum(), values.sum() - reach, values.sum() + reach))
