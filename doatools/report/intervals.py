"""How far a figure of a set of recordings is to be trusted, and whether two systems differ by more than chance.

A figure of a set is a ratio of sums over recordings, no mean of figures, so its error is estimated by leaving
one recording out at a time (the delete-one jackknife: Tukey 1958; Efron and Stein 1981). With n recordings and
θ(i) the figure of all but the i-th, its standard error is sqrt((n-1)/n · Σ (θ(i) - mean θ)²), and the 95 %
interval reaches as many of these to either side as Student's t has for n - 1 degrees of freedom. Of a mean this is
the textbook interval. Recordings are taken as independent draws; those of one room are somewhat less than that.

Counts are dicts of numbers or arrays that add up over recordings; ``figures`` maps counts to a dict of figures:
floats, which do not grow with the set, and ints, numbers of events, which do.
A figure that is NaN without one of the recordings, or rests on fewer than three, has no interval (NaN).
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95
FEWEST = 3  # recordings; the interval of two would reach over 13 standard errors to either side


class Interval(NamedTuple):
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A figure of two systems on the same recordings: values, their difference and the ends of its interval."""

    value: float
    other: float
    difference: float
    low: float
    high: float
    verdict: str  # 'more than chance' | 'not more than chance' | 'cannot be told'


def total(counts):
    """The sum of counts, as counts."""
    return {name: sum(c[name] for c in counts) for name in counts[0]}


def jackknife(figures, counts):
    """Counts of each recording → {name: Interval} of the set."""
    value, replicates = figures(total(counts)), _replicates(figures, counts)
    return {name: Interval(value[name], *_interval(value[name], replicates[name])) for name in value}


def compare(figures, counts, others, other_figures=None):
    """Counts of two systems, recording by recording the same ones → {name: Comparison} of their figures.

    Leaving a recording out of both keeps what they have in common, its difficulty, out of the error. Names that
    only one of the systems has are left out; ``other_figures``: the second system's, where it is another.
    """
    other_figures = other_figures or figures
    value, other = figures(total(counts)), other_figures(total(others))
    ours, theirs = _replicates(figures, counts), _replicates(other_figures, others)
    compared = {}
    for name in (name for name in value if name in other):
        difference = float(value[name] - other[name])
        low, high = _interval(difference, ours[name] - theirs[name])
        verdict = ("cannot be told" if np.isnan(low) else
                   "not more than chance" if low <= 0 <= high else "more than chance")
        compared[name] = Comparison(value[name], other[name], difference, low, high, verdict)
    return compared


def _replicates(figures, counts):
    """{name: (n,) figures of all recordings but the i-th}; a number of events is scaled up to n recordings."""
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
