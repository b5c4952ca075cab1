"""Trackers: which predictions of a recording are the same source over time.

The slots of a network may swap from frame to frame; tracking needs identities that do not. In every frame, living
tracks and active slots are paired so that the sum of (gate - angle) over pairs within the gate is largest. An
unpaired slot starts a track. An unpaired track survives as many frames in a row as it has been seen in before, but at
most ``max_gap``, so that a stray prediction is soon forgotten and does not attract a source. With ``pause``, a track
that was seen in LASTING frames or more may go on up to ``pause`` frames later, by a slot that starts no more than half
the gate from where it was seen last; unlike a living track, it does not attract what is farther away. Where a track is
expected depends on the tracker:

off      there are no tracks: the slot is the identity for the whole recording
nearest  at its last direction
kalman   where a Kalman filter with constant velocity predicts it (Bar-Shalom et al. 2001, discrete white acceleration)

The filter runs on the coordinates of the unit vector. Noise is isotropic, so that one 2×2 covariance of (position,
velocity) serves all three; after every step the position is projected onto the sphere and the velocity onto its
tangent plane. Angles are small enough to be equal to chords. Shapes: T frames, N slots, K tracks.

A tracker is a class made of a TrackerConfig. Called with a frame number, directions (N, 3) and active slots (N,)
bool, it returns identities (N,), -1 where inactive. A new tracker is one such class and one line in
doatools/registry.py.
"""

import numpy as np

from doatools.match.assignment import most_similar
from doatools.registry import TRACKERS
from doatools.spatial.geometry import angular_distance, pairwise_angles

LASTING = 5  # frames of a track that may go on after a pause
_FIRST_SPEED = np.deg2rad(2.0)  # standard deviation of the speed of a new track, per frame
_STEP = np.array([[1.0, 1.0], [0.0, 1.0]])  # (position, velocity) from one frame to the next
_PROCESS_NOISE = np.array([[0.25, 0.5], [0.5, 1.0]])  # covariance added per frame by an acceleration of variance 1


def link(predictions, config):
    """Identities (T, N) of the Predictions of one recording, by the tracker of a TrackerConfig; -1 where inactive.

    Tracks are numbered in the order in which they start.
    """
    tracker, active = TRACKERS[config.tracker](config), predictions.active
    pred_id = np.full(active.shape, -1)
    for t in np.flatnonzero(active.any(1)):
        pred_id[t] = tracker(t, predictions.doa[t], active[t])
    return pred_id


class SlotTracker:
    """The slot is the identity."""

    def __init__(self, config):
        pass

    def __call__(self, t, doa, active):
        return np.where(active, np.arange(len(active)), -1)


class NearestTracker:
    """A track is expected at its last direction."""

    def __init__(self, config, noise=None):
        self.config, self._tracks = config, _Tracks(noise)

    def __call__(self, t, doa, active):
        """Frame numbers ``t`` increase; frames without an active slot may be left out."""
        tracks, slots, identity = self._tracks, np.flatnonzero(active), np.full(len(active), -1)
        if not len(slots):
            return identity
        tracks.advance(t, self.config.max_gap)
        seen = np.asarray(doa, float)[slots]
        seen = seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-12)
        angles = pairwise_angles(seen[None], tracks.position[None])
        inside = np.where(angles < self.config.gate_deg, self.config.gate_deg - angles, 0)
        track = most_similar(inside)[0]  # of each active slot, -1 for none
        tracks.update(track[track >= 0], seen[track >= 0])
        if (track < 0).any():
            track[track < 0] = tracks.begin(seen[track < 0], self.config.pause, self.config.gate_deg / 2)
        identity[slots] = tracks.identity[track]
        return identity


class KalmanTracker(NearestTracker):
    """A track is expected where a Kalman filter with constant velocity predicts it."""

    def __init__(self, config):
        super().__init__(config, np.deg2rad((config.process_deg, config.measurement_deg)))


class _Tracks:
    """The living tracks: identity, last frame and number of frames seen, and the state of the filter; all (K, ...)."""

    def __init__(self, noise):
        self.noise = noise  # (acceleration, direction) in radians; None for tracks that stay where they are
        self.ended = []  # (identity, last frame, direction (3,) it was seen in), of those that lasted
        self.last_seen = np.zeros((0, 3))  # direction
        self.born, self.now = 0, 0
        self.identity, self.seen, self.times = np.zeros(0, int), np.zeros(0, int), np.zeros(0, int)
        self.position, self.velocity, self.covariance = np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 2, 2))

    def advance(self, now, max_gap):
        """Move on to frame ``now``; tracks that have missed too many frames end."""
        keep = now - self.seen <= np.minimum(self.times, max_gap) + 1
        if not keep.all():
            self.ended += [(self.identity[k], self.seen[k], self.last_seen[k])
                           for k in np.flatnonzero(~keep) if self.times[k] >= LASTING]
            for name in ("identity", "seen", "times", "last_seen", "position", "velocity", "covariance"):
                setattr(self, name, getattr(self, name)[keep])
        if self.noise is not None:
            for _ in range(now - self.now if len(self.seen) else 0):
                self.position = self.position + self.velocity
                self.covariance = _STEP @ self.covariance @ _STEP.T + self.noise[0] ** 2 * _PROCESS_NOISE
                self._onto_sphere()
        self.now = now

    def update(self, tracks, seen):
        """Update tracks (k,) with the directions (k, 3) they were seen in."""
        gain = np.array([[1.0, 0.0]])
        if self.noise is not None:
            spread = self.covariance[tracks]
            gain = spread[:, :, 0] / (spread[:, :1, 0] + self.noise[1] ** 2)  # (k, 2)
            self.covariance[tracks] = spread - gain[:, :, None] * spread[:, :1]
        innovation = seen - self.position[tracks]
        self.position[tracks] += gain[:, :1] * innovation
        self.velocity[tracks] += gain[:, 1:] * innovation
        self.seen[tracks], self.last_seen[tracks] = self.now, seen
        self.times[tracks] += 1
        self._onto_sphere()

    def begin(self, seen, pause, gate_deg):
        """Start tracks in directions (k, 3) → their indices; one that ended at most ``pause`` frames ago within
        ``gate_deg`` goes on."""
        first, count = len(self.identity), len(seen)
        start = np.zeros((2, 2)) if self.noise is None else np.diag([self.noise[1] ** 2, _FIRST_SPEED ** 2])
        self.identity = np.append(self.identity, self._identities(seen, pause, gate_deg))
        self.seen = np.append(self.seen, np.full(count, self.now))
        self.times = np.append(self.times, np.ones(count, int))
        self.position = np.concatenate([self.position, seen])
        self.velocity = np.concatenate([self.velocity, np.zeros((count, 3))])
        self.covariance = np.concatenate([self.covariance, np.broadcast_to(start, (count, 2, 2))])
        self.last_seen = np.concatenate([self.last_seen, seen])
        return first + np.arange(count)

    def _identities(self, seen, pause, gate_deg):
        """Identities (k,) of new tracks in directions (k, 3): of tracks that ended, else new ones."""
        self.ended = [one for one in self.ended if self.now - one[1] - 1 <= pause]
        identities = []
        for direction in seen:
            angles = [angular_distance(direction, place) for *_, place in self.ended]
            if min(angles, default=np.inf) <= gate_deg:
                identities.append(self.ended.pop(int(np.argmin(angles)))[0])
            else:
                identities.append(self.born)
                self.born += 1
        return identities

    def _onto_sphere(self):
        self.position = self.position / np.maximum(np.linalg.norm(self.position, axis=1, keepdims=True), 1e-12)
        self.velocity = self.velocity - (self.velocity * self.position).sum(1, keepdims=True) * self.position
