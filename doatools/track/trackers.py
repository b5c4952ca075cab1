"""Frame-wise slots → tracks: which predictions of a recording are the same source over time.

A network's slots may swap from frame to frame; tracking scores need identities that do not. Every frame, the living
tracks and the active slots are paired so that the sum of (gate - angle) over pairs closer than the gate is largest;
a slot left over begins a track, a track left over may miss as many frames in a row as it has been seen in before,
``max_gap`` at most (so that a stray prediction is soon forgotten and takes no part in a source). Where a track is
expected:

off      there are no tracks: the slot is the identity for the whole recording, also after a gap
nearest  where it was last seen
kalman   where a Kalman filter of constant velocity sees it (Bar-Shalom et al. 2001, discrete white acceleration)

The filter runs on the coordinates of the unit vector, whose noise is alike in all directions, so that one 2×2
covariance of (position, velocity) does for the three; after every step the position is put back on the sphere and
the velocity into its tangent plane. Small angles and chords are taken as equal. Shapes: T frames, N slots, K tracks.
"""

import numpy as np

from doatools.errors import UserError, nearest
from doatools.match.assignment import most_similar
from doatools.spatial.geometry import pairwise_angles

TRACKERS = ("off", "nearest", "kalman")
_FIRST_SPEED = np.deg2rad(2.0)  # what is known of a new track's speed: its standard deviation, a frame
_STEP = np.array([[1.0, 1.0], [0.0, 1.0]])  # (position, velocity) from one frame to the next
_SHAKE = np.array([[0.25, 0.5], [0.5, 1.0]])  # covariance that an acceleration of variance 1 adds in a frame


class Linker:
    """Gives the predictions of one frame after the other their identities.

    Parameters
    ----------
    how : one of TRACKERS
    gate_deg : angle between a track and the slot that goes on with it, at most
    max_gap : frames in a row that a track may miss, at most
    process_deg, measurement_deg : kalman's noise: acceleration in degrees a frame², direction in degrees
    """

    def __init__(self, how="kalman", gate_deg=30.0, max_gap=5, process_deg=0.2, measurement_deg=5.0):
        if how not in TRACKERS:
            raise UserError(f"tracker is one of {', '.join(TRACKERS)}, not {how!r}.{nearest(how, TRACKERS)}")
        self.how, self.gate_deg, self.max_gap = how, gate_deg, max_gap
        self._tracks = _Tracks(np.deg2rad((process_deg, measurement_deg)) if how == "kalman" else None)

    def __call__(self, t, doa, active):
        """Frame ``t``, later than those before: vectors (N, 3) and bools (N,) → numbers of tracks (N,), -1 if inactive.

        Tracks are numbered in the order of their beginnings. Frames without an active slot may be left out.
        """
        if self.how == "off":
            return np.where(active, np.arange(len(active)), -1)
        tracks, slots, identity = self._tracks, np.flatnonzero(active), np.full(len(active), -1)
        if not len(slots):
            return identity
        tracks.advance(t, self.max_gap)
        seen = np.asarray(doa, float)[slots]
        seen = seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-12)
        angles = pairwise_angles(seen[None], tracks.position[None])
        inside = np.where(angles < self.gate_deg, self.gate_deg - angles, 0)
        track = most_similar(inside)[0]  # of each seen direction, -1 for none
        tracks.update(track[track >= 0], seen[track >= 0])
        if (track < 0).any():
            track[track < 0] = tracks.begin(seen[track < 0])
        identity[slots] = tracks.identity[track]
        return identity


def link(doa, active, *how, **settings):
    """Identities of a recording's predictions, by a ``Linker`` of these settings.

    Parameters
    ----------
    doa : (T, N, 3) vectors
    active : (T, N) bool

    Returns
    -------
    pred_id : (T, N) int array
        Numbers of tracks in the order of their beginnings, -1 where inactive.
    """
    linker, pred_id = Linker(*how, **settings), np.full(active.shape, -1)
    for t in np.flatnonzero(active.any(1)):
        pred_id[t] = linker(t, doa[t], active[t])
    return pred_id


class _Tracks:
    """The living tracks: number, last frame and number of times seen, and the filter's state; all (K, ...)."""

    def __init__(self, noise):
        self.noise = noise  # (acceleration, direction) in radians; None to stay where last seen
        self.born, self.now = 0, 0
        self.identity, self.seen, self.times = np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)
        self.position, self.velocity, self.covariance = np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 2, 2))

    def advance(self, now, max_gap):
        """On to frame ``now``; tracks that have missed too many frames end."""
        keep = now - self.seen <= np.minimum(self.times, max_gap) + 1
        if not keep.all():
            for name in ("identity", "seen", "times", "position", "velocity", "covariance"):
                setattr(self, name, getattr(self, name)[keep])
        if self.noise is not None:
            for _ in range(now - self.now if len(self.seen) else 0):
                self.position = self.position + self.velocity
                self.covariance = _STEP @ self.covariance @ _STEP.T + self.noise[0] ** 2 * _SHAKE
                self._onto_sphere()
        self.now = now

    def update(self, tracks, seen):
        """Tracks (k,) were seen in directions (k, 3)."""
        gain = np.array([[1.0, 0.0]])
        if self.noise is not None:
            spread = self.covariance[tracks]
            gain = spread[:, :, 0] / (spread[:, :1, 0] + self.noise[1] ** 2)  # (k, 2)
            self.covariance[tracks] = spread - gain[:, :, None] * spread[:, :1]
        surprise = seen - self.position[tracks]
        self.position[tracks] += gain[:, :1] * surprise
        self.velocity[tracks] += gain[:, 1:] * surprise
        self.seen[tracks] = self.now
        self.times[tracks] += 1
        self._onto_sphere()

    def begin(self, seen):
        """New tracks in directions (k, 3) → their places among the living."""
        first, count = len(self.identity), len(seen)
        start = np.zeros((2, 2)) if self.noise is None else np.diag([self.noise[1] ** 2, _FIRST_SPEED ** 2])
        self.identity = np.append(self.identity, self.born + np.arange(count))
        self.seen = np.append(self.seen, np.full(count, self.now))
        self.times = np.append(self.times, np.ones(count, int))
        self.position = np.concatenate([self.position, seen])
        self.velocity = np.concatenate([self.velocity, np.zeros((count, 3))])
        self.covariance = np.concatenate([self.covariance, np.broadcast_to(start, (count, 2, 2))])
        self.born += count
        return first + np.arange(count)

    def _onto_sphere(self):
        self.position = self.position / np.maximum(np.linalg.norm(self.position, axis=1, keepdims=True), 1e-12)
        self.velocity = self.velocity - (self.velocity * self.position).sum(1, keepdims=True) * self.position
