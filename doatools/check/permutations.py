"""Which capsule is behind each channel, and how does the array stand?

``explain``, by recordings of one source from a known direction:

A wave reaches the capsules at times that follow from their positions and its direction. These times are measured at
attacks, where the direct sound is alone, and compared with those of every rotation of the array about the vertical
axis, upright and upside down; for each rotation, the best assignment of channels to capsules follows exactly (Hungarian
algorithm). One direction alone leaves several answers, as capsules that the wave reaches at the same time cannot be
distinguished; recordings from two or three directions leave few.

``unlabelled_order``, by any recording: plane waves reach exchanged capsules at times that no direction explains. Orders
that rotate or mirror the array cannot be seen: any order of a tetrahedron, opposite capsules of a square exchanged.

M channels, S sources, A attacks, P pairs of channels. Angles in degrees, times in s.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from doatools.check.delays import as_arrivals, expected_arrivals, loud_delays
from doatools.check.orientation import GRID
from doatools.errors import UserError
from doatools.spatial.arrays import SPEED_OF_SOUND
from doatools.spatial.geometry import unit_vectors

FEWEST = 5  # attacks in a recording
STEP_DEG = 1
LISTED = 6  # answers that are reported
AS_GOOD = 1.25  # an answer whose misfit is below this times the least one explains a recording as well
RESOLUTION_S = 4e-6  # of measured times
SAME_PLACE = 0.05  # of the aperture
FLIP = np.array([1, -1, -1])  # upside down
SINGLE_WAVE_S = 20e-6  # attacks whose delays contradict each other by more hold several waves
FEWEST_WAVES, MOST_WAVES = 15, 400
DOUBTFUL, DOUBTFUL_S = 0.04, 10e-6  # a misfit: of the time that sound takes across the array, and at least so long
MENDED, OFTEN = 0.5, 0.7  # an exchange reduces the misfit to this share, and reduces it at this share of the attacks


@dataclass(frozen=True)
class Answer:
    """A rotation of the array, the capsule (from 0) of each channel, and the r.m.s. difference of times in s."""

    yaw: int
    upside_down: bool
    capsules: tuple
    misfit: float

    @property
    def in_order(self):
        return self.capsules == tuple(range(len(self.capsules)))

    @property
    def effort(self):
        """Answers that assume less come first."""
        moved = sum(capsule != channel for channel, capsule in enumerate(self.capsules))
        return self.upside_down, (moved > 0) + (self.yaw != 0), moved, abs(self.yaw)

    def describe(self):
        parts = []
        if not self.in_order:
            channels = " ".join(map(str, range(1, len(self.capsules) + 1)))
            parts.append(f"channels {channels} are capsules {' '.join(str(one + 1) for one in self.capsules)}")
        if self.upside_down:
            parts.append("the array is upside down")
        if self.yaw:
            way = "counter-clockwise" if self.yaw > 0 else "clockwise"
            parts.append(f"the array is rotated by {abs(self.yaw)}° {way}, seen from above")
        return ", ".join(parts) or "channels and orientation are as the array file states"


def measured_arrivals(audio, fs, array):
    """When a sound reaches each channel (M,) s, relative to their mean; UserError for too few attacks."""
    delays = loud_delays(audio, fs, array)
    if len(delays) < FEWEST:
        raise UserError(f"{len(delays)} attacks are too few to measure delays between channels; record claps or speech "
                        "of one person for ten seconds, in a quiet place")
    return as_arrivals(np.median(delays, axis=0), array.channels)[0]


def explain(arrivals, angles, array):
    """Measured arrivals (S, M) of sources at ``angles`` (S, 2), azimuth and elevation → (the Answer of the array file,
    the answers that explain them as well as the best one, the simplest first)."""
    arrivals, directions = np.asarray(arrivals), unit_vectors(*np.asarray(angles, float).T)  # (S, M), (S, 3)
    found = {}
    for upside_down, yaw in itertools.product((False, True), range(-180 + STEP_DEG, 181, STEP_DEG)):
        expected = expected_arrivals(_seen(directions, yaw, upside_down), array)  # (S, M)
        costs = ((arrivals[:, :, None] - expected[:, None, :]) ** 2).sum(0)  # (channels, capsules)
        for capsules in (linear_sum_assignment(costs)[1], np.arange(array.channels)):
            misfit = float(np.sqrt(costs[np.arange(array.channels), capsules].mean() / len(arrivals)))
            answer = Answer(yaw, upside_down, tuple(capsules.tolist()), misfit)
            key = upside_down, answer.capsules
            if key not in found or _better(answer, found[key]):
                found[key] = answer
            if not yaw and not upside_down and answer.in_order:
                stated = answer
            if not yaw and not upside_down:  # an order without a rotation is an answer of its own
                found[key, "unrotated"] = answer
    answers = [*dict.fromkeys([stated, *found.values()])]
    least = min(answer.misfit for answer in answers)
    good = [answer for answer in answers if answer.misfit <= AS_GOOD * least + RESOLUTION_S]
    return stated, _distinct(sorted(good, key=lambda answer: (answer.effort, answer.misfit)), array)


@dataclass(frozen=True)
class Order:
    """How well plane waves from anywhere explain the channels of an Array.

    ``waves`` (A, M): arrivals of single waves, s; ``misfit``: median r.m.s. difference (s) from those of the wave that
    fits best; ``exchanges``: pairs of channels that, exchanged, are explained much better, with the misfit ``mended``.
    """

    array: object
    waves: np.ndarray
    misfit: float
    exchanges: tuple = ()
    mended: float = float("nan")

    @property
    def crossing_s(self):
        """How long sound takes across the array."""
        return self.array.aperture_m / SPEED_OF_SOUND

    @property
    def doubtful(self):
        return self.misfit >= max(DOUBTFUL_S, DOUBTFUL * self.crossing_s)

    def mended_by(self, order):
        """Whether taking the channels in this order explains them much better."""
        return bool(np.median(_misfits(self.waves[:, order], self.array)) <= MENDED * self.misfit)


def unlabelled_order(delays, array):
    """Order of the channels by delays (A, P) at attacks from unknown directions; None for fewer than FEWEST_WAVES."""
    arrivals, contradictions = as_arrivals(delays, array.channels)
    waves = arrivals[contradictions < SINGLE_WAVE_S]
    if len(waves) < FEWEST_WAVES:
        return None
    waves = waves[np.linspace(0, len(waves) - 1, min(len(waves), MOST_WAVES)).astype(int)]
    stated = _misfits(waves, array)
    order, found = Order(array, waves, float(np.median(stated))), {}
    if not order.doubtful:
        return order
    for one, other in itertools.combinations(range(array.channels), 2):
        misfits = _misfits(waves[:, exchange(one, other, array.channels)], array)
        if np.mean(misfits < stated) > OFTEN:
            found[one, other] = float(np.median(misfits))
    mended = min(found.values(), default=order.misfit)
    if mended > MENDED * order.misfit:
        return order
    return replace(order, mended=mended,
                   exchanges=tuple(pair for pair in found if found[pair] <= AS_GOOD * mended + RESOLUTION_S))


def exchange(one, other, channels):
    """The order of channels with two of them exchanged."""
    order = list(range(channels))
    order[one], order[other] = other, one
    return tuple(order)


def _misfits(waves, array):
    """R.m.s. difference (A,) of arrivals (A, M) from those of the wave that fits best."""
    expected = expected_arrivals(GRID, array)  # (D, M)
    squares = (waves**2).sum(1)[:, None] + (expected**2).sum(1) - 2 * waves @ expected.T
    return np.sqrt(np.maximum(squares.min(1), 0) / array.channels)


def _distinct(answers, array):
    """Answers without those that put each channel where an earlier one does, as symmetries of an array allow."""
    kept, places = [], []
    for answer in answers:
        own = _seen(array.positions[list(answer.capsules)] * FLIP ** answer.upside_down, -answer.yaw, False)
        own = own - own.mean(0)
        if all(np.linalg.norm(own - other, axis=1).max() > SAME_PLACE * array.aperture_m for other in places):
            kept.append(answer)
            places.append(own)
    return kept


def _better(one, other):
    return (one.misfit, abs(one.yaw)) < (other.misfit, abs(other.yaw))


def _seen(directions, yaw, upside_down):
    """Directions (S, 3) in the room → in the axes of an array that is rotated by ``yaw`` and may be upside down."""
    angle = np.deg2rad(-yaw)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    seen = directions @ rotation.T
    return seen * FLIP if upside_down else seen
