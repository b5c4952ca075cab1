"""Confidence intervals of scores, and whether two systems differ significantly: the jackknife over recordings.

A score of a dataset is a ratio of sums over recordings, not a mean of scores, so its error is estimated by leaving
out one recording at a time (delete-one jackknife: Tukey 1958; Efron and Stein 1981). With n recordings and θ(i) the
score without the i-th, its standard error is sqrt((n-1)/n · Σ (θ(i) - mean θ)²), and the 95 % interval is that error
times the quantile of Student's t with n - 1 degrees of freedom. For a mean this is the textbook interval. Recordings
are treated as independent; those of one room are less so.

Counts are dicts of numbers or arrays that add up over recordings; ``figures`` maps counts to a dict of scores: floats,
which do not grow with the dataset, and ints (numbers of events), which do. A score that is NaN without one of the
recordings, or that rests on fewer than three, has no interval (NaN).
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95
FEWEST = 3  # recordings; with two, the interval would be 13 standard errors to either side


class Interval(NamedTuple):
    """A score and the ends of its interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A score of two systems on the same recordings: values, their difference and the ends of its interval."""

    value: float
    other: float
    difference: float
    low: float
    high: float
    verdict: str  # 'significant' | 'not significant' | 'undetermined'


def total(counts):
    """The sum of the counts of several recordings."""
    return {name: sum(c[name] for c in counts) for name in counts[0]}


def jackknife(figures, counts):
    """Counts of each recording → {name: Interval} of the dataset."""
    value, replicates = figures(total(counts)), _replicates(figures, counts)
    return {name: Interval(value[name], *_interval(value[name], replicates[name])) for name in value}


def compare(figures, counts, others, other_figures=None):
    """Counts of two systems on the same recordings, in the same order → {name: Comparison} of their scores.

    Leaving a recording out of both removes from the error what they have in common: how hard it is. Names that only one
    of the systems has are left out; ``other_figures``: that of the second system, if different.
    """
    other_figures = other_figures or figures
    value, other = figures(total(counts)), other_figures(total(others))
    ours, theirs = _replicates(figures, counts), _replicates(other_figures, others)
    compared = {}
    for name in (name for name in value if name in other):
        difference = float(value[name] - other[name])
        low, high = _interval(difference, ours[name] - theirs[name])
        verdict = ("undetermined" if np.isnan(low) else
                   "not significant" if low <= 0 <= high else "significant")
        compared[name] = Comparison(value[name], other[name], difference, low, high, verdict)
    return compared


def _replicates(figures, counts):
    """{name: (n,) scores without the i-th recording}; numbers of events are scaled up to n recordings."""
    whole, n = total(counts), len(counts)
    left_out = [figures({name: whole[name] - c[name] for name in whole}) for c in counts]
    return {name: np.array([figure[name] for figure in left_out], float)
            * (n / (n - 1) if isinstance(value, int) and n > 1 else 1) for name, value in left_out[0].items()}


def _interval(value, replicates):
    n = len(replicates)
    if n < FEWEST or not np.isfinite(value) or not np.isfinite(replicates).all():
        return float("nan"), float("nan")
    error = np.sqrt((n - 1) / n * np.sum((replicates - replicates.mean()) ** 2))
    reach = float(student.ppf((1 + CONFIDENCE) / 2, n - 1) * error)
    return float(value) - reach, float(value) + reach
