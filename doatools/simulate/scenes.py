"""Scenes: which events are active when and where, their labels, and their signals at several arrays.

Directions in degrees, lengths in m, times in s. Composition (``compose``, cheap) does not depend on audio, and
rendering (``render``) does not depend on file names. All randomness follows from (seed, fold, index of the recording),
so a scene does not depend on which process makes it, or in which order. Scenes are modelled on TAU-NIGENS 2020 (Politis
et al., DCASE 2020): up to ``max_sources`` static and moving events in a reverberant room with spatially diffuse ambient
noise.
"""

import functools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from doatools.config.schema import SimulationConfig
from doatools.simulate import live_rooms
from doatools.simulate.realism import is_realistic
from doatools.simulate.responses import draw_trajectory
from doatools.simulate.rooms import HOP_S, Renderer, Room
from doatools.spatial.geometry import angular_distance, azimuth_elevation, unit_vectors
from doatools.types import EVENT_ROWS

# Purposes of random streams, the last element of a seed: streams for different purposes are independent.
COMPOSITION, ROOM, EVENT, AMBIENCE = range(1, 5)
INTERFERENCE, EMPTY = 6, 7  # 5 is that of sensors
DURATION_S = (0.8, 8.0)  # of an event, drawn on a logarithmic scale
GAP_S = (0.2, 1.4)  # between two events of a track; the shortest one still contains a silent label frame
SPEED_DEG_S = (12.0, 50.0)  # of a moving event
SEPARATION_DEG = 15.0  # the least angle between an event and those that are active when it starts
LEVEL_DB = (-4.0, 4.0)  # of the direct sound of an event, relative to NOMINAL_RMS
NOMINAL_RMS = 0.03


@dataclass(frozen=True)
class Trajectory:
    """Constant motion in azimuth, with oscillations of elevation and distance; rates of zero are a static source."""

    azimuth: float
    elevation: float
    distance_m: float
    azimuth_rate: float = 0.0  # degrees/s
    elevation_sway: float = 0.0  # degrees
    distance_sway: float = 0.0  # relative to distance_m
    sway_hz: float = 0.0
    sway_phase: float = 0.0  # radians

    @property
    def moving(self):
        return self.azimuth_rate != 0

    def directions(self, times):
        """Unit vectors (..., 3) at ``times`` (...,) after the start of the event."""
        elevation = self.elevation + self.elevation_sway * self._sway(times)
        return unit_vectors(self.azimuth + self.azimuth_rate * np.asarray(times), elevation)

    def positions(self, times, room):
        """Positions (..., 3) relative to the arrays, inside ``room``."""
        directions = self.directions(times)
        wanted = self.distance_m * (1 + self.distance_sway * self._sway(np.asarray(times) * 0.7))
        return directions * np.minimum(wanted, room.reach(directions))[..., None]

    def distances(self, times, room):
        """Distances (...,) from the arrays, m."""
        return np.linalg.norm(self.positions(times, room), axis=-1)

    def _sway(self, times):
        return np.sin(2 * np.pi * self.sway_hz * np.asarray(times) + self.sway_phase)


@dataclass(frozen=True)
class Event:
    """One sound; there is a pause between two events of a track. One that is not ``labelled`` is an interferer."""

    class_id: int
    track: int
    onset_s: float
    duration_s: float
    level_db: float
    trajectory: Trajectory
    labelled: bool = True

    @property
    def end_s(self):
        return self.onset_s + self.duration_s


@dataclass(frozen=True)
class Scene:
    """The content of a recording; ``key`` (seed, fold, index) is the seed of its rendering."""

    key: tuple
    room: Room
    length_s: float
    snr_db: float
    events: tuple

    def labels(self, hop_s=0.1):
        """EVENT_ROWS at frames of ``hop_s``, sorted by frame; an event is active in frames whose centre it covers."""
        rows = []
        for number, event in enumerate(event for event in self.events if event.labelled):
            frames = np.arange(int(event.onset_s / hop_s), int(np.ceil(event.end_s / hop_s)) + 1)
            centres = (frames + 0.5) * hop_s
            inside = (centres >= event.onset_s) & (centres < min(event.end_s, self.length_s))
            times = centres[inside] - event.onset_s
            angles = azimuth_elevation(event.trajectory.directions(times))
            distances = event.trajectory.distances(times, self.room)
            rows += [(frame, number, event.class_id, event.track, np.round(azimuth), np.round(elevation), distance)
                     for frame, azimuth, elevation, distance in zip(frames[inside], *angles, distances)]
        return np.array(sorted(rows), dtype=EVENT_ROWS)


class Rules(NamedTuple):
    """The parameters that scenes depend on."""

    simulation: SimulationConfig
    seed: int
    max_sources: int


def rules_of(config):
    """The Rules of a Config."""
    return Rules(config.simulation, config.run.seed, config.data.max_sources)


def draw_room(rules, fold, number):
    """Room ``number`` (from 0) of a fold, with random size and RT60; the arrays are in its middle."""
    rng = _stream(ROOM, rules.seed, fold, number)
    smallest, largest = np.reshape(rules.simulation.room_m, (2, 3))
    size = rng.uniform(smallest, largest)
    room = Room(tuple(size.tolist()), float(rng.uniform(*rules.simulation.rt60_s)), tuple((size / 2).tolist()))
    return live_rooms.furnished(room, rules.simulation, rng) if is_realistic(rules.simulation) else room


def compose(rules, fold, index, classes):
    """Scene ``index`` (from 0) of a fold; the classes of its events are drawn from ``classes``.

    Every second scene has max_sources tracks; the scenes in between have 1, 2, ..., max_sources - 1 tracks in turn.
    """
    key, length = (rules.seed, fold, index), rules.simulation.recording_len_s
    rng = _stream(COMPOSITION, *key)
    room = draw_room(rules, fold, room_number(rules, index))
    shift = rng.uniform(-rules.simulation.offset, rules.simulation.offset, 3) * room.size_m
    room = replace(room, sensor_m=tuple((room.sensor_m + shift).tolist()))
    spans = _all_spans(rules, key, length, rng)
    n_moving = int(rules.simulation.moving * len(spans) + rng.random())
    moving = set(rng.choice(len(spans), n_moving, replace=False).tolist())
    events = []
    for number, (onset, duration, track) in enumerate(spans):
        heard = [event for event in events if event.end_s > onset]
        trajectory = _trajectory(onset, number in moving, heard, rules.simulation, rng)
        events.append(Event(int(rng.choice(list(classes))), track, onset, duration,
                            float(rng.uniform(*LEVEL_DB)), trajectory))
    return Scene(key, room, length, float(rng.uniform(*rules.simulation.snr_db)), tuple(events))


def compose_static(rules, fold, number, room, tracks, classes):
    """A scene of static sources on a grid of 10°, at most ``tracks`` at once; times are whole milliseconds.

    ``number`` (a tuple) identifies the scene within the fold; the classes of its events are drawn from ``classes``.
    """
    key, length = (rules.seed, fold, *number), rules.simulation.recording_len_s
    rng = _stream(COMPOSITION, *key)
    spans = sorted(span for track in range(tracks) for span in _spans(track, length, rng))
    events = []
    for onset, duration, track in spans:
        onset, duration = round(onset, 3), round(duration, 3)
        heard = [event for event in events if event.end_s > onset]
        course = _trajectory(onset, False, heard, rules.simulation, rng, grid=10)
        events.append(Event(int(rng.choice(list(classes))), track, onset, duration,
                            float(rng.uniform(*LEVEL_DB)), course))
    return Scene(key, room, length, float(rng.uniform(*rules.simulation.snr_db)), tuple(events))


def compose_measured(rules, fold, index, room, classes):
    """Scene ``index`` of a fold, of sources at the positions of a ``responses.MeasuredRoom``."""
    key, length = (rules.seed, fold, index), rules.simulation.recording_len_s
    rng = _stream(COMPOSITION, *key)
    spans = _all_spans(rules, key, length, rng)
    n_moving = int(rules.simulation.moving * len(spans) + rng.random())
    moving = set(rng.choice(len(spans), n_moving, replace=False).tolist())
    events = []
    for number, (onset, duration, track) in enumerate(spans):
        heard = [event for event in events if event.end_s > onset]
        speed = SPEED_DEG_S if number in moving else None
        course = _apart(lambda: draw_trajectory(room, duration, rng, speed), onset, heard)  # noqa: B023
        events.append(Event(int(rng.choice(list(classes))), track, onset, duration,
                            float(rng.uniform(*LEVEL_DB)), course))
    return Scene(key, room, length, float(rng.uniform(*rules.simulation.snr_db)), tuple(events))


def _all_spans(rules, key, length_s, rng):
    """(onset, duration, track) of all events of scene ``key``, by onset; none where it holds noise alone."""
    if _stream(EMPTY, *key).random() < rules.simulation.empty:
        return []
    return sorted(span for track in range(n_tracks(rules, key[2])) for span in _spans(track, length_s, rng))


def with_interferers(scene, rules, classes):
    """The scene with a track of events of ``classes`` that are heard from somewhere and not labelled."""
    rng = _stream(INTERFERENCE, *scene.key)
    events, track = list(scene.events), 1 + max((event.track for event in scene.events), default=-1)
    for onset, duration, _ in _spans(track, scene.length_s, rng):
        heard = [event for event in events if event.onset_s <= onset < event.end_s]
        course = _trajectory(onset, rng.random() < rules.simulation.moving, heard, rules.simulation, rng)
        events.append(Event(int(rng.choice(list(classes))), track, onset, duration, float(rng.uniform(*LEVEL_DB)),
                            course, labelled=False))
    return replace(scene, events=tuple(events))


def n_tracks(rules, index):
    """Largest number of simultaneous events in scene ``index`` of a fold."""
    most = rules.max_sources
    return most if index % 2 == 0 or most == 1 else 1 + index // 2 % (most - 1)


def room_number(rules, index):
    """Number of the room within the fold; it changes after every two scenes."""
    return index // 2 % rules.simulation.rooms_per_fold


def render(scene, sounds, renderer):
    """Signals of a scene (channels, samples), float32: the channels of all ``renderer.arrays``, one after another."""
    with threadpool_limits(1):  # rounding in matrix products depends on the number of threads
        fs = renderer.fs
        mix = np.zeros((renderer.channels, round(scene.length_s * fs)), np.float32)
        active = np.zeros(mix.shape[1], bool)
        for number, event in enumerate(scene.events):
            rng = _stream(EVENT, *scene.key, number)
            dry = sounds.draw(scene.key[1], event.class_id, event.duration_s, rng)
            dry *= NOMINAL_RMS * 10 ** (event.level_db / 20)
            steps = np.arange(int(np.ceil(event.duration_s / HOP_S)) + 1 if event.trajectory.moving else 1)
            positions = event.trajectory.positions(steps * HOP_S, scene.room)
            onset = round(event.onset_s * fs)
            _add_at(mix, renderer.source(scene.room, dry, positions, rng), onset - renderer.lead)
            active[onset : onset + len(dry)] = True
        noise = renderer.ambience(scene, mix.shape[1], _stream(AMBIENCE, *scene.key))
        power = renderer.power(mix, active) if active.any() else NOMINAL_RMS**2
        noise *= np.float32(np.sqrt(power) * 10 ** (-scene.snr_db / 20))
        mix += noise
        return renderer.recorded(scene, mix)


@functools.cache
def renderer_of(arrays, fs):
    """The Renderer of a tuple of arrays; made once per process."""
    return Renderer(arrays, fs)


def _add_at(mix, signal, start):
    """Add ``signal`` (C, m) to ``mix`` (C, n) from sample ``start`` on; parts outside of ``mix`` are dropped."""
    first, last = max(start, 0), min(start + signal.shape[1], mix.shape[1])
    mix[:, first:last] += signal[:, first - start : last - start]


def _stream(purpose, *key):
    return np.random.default_rng([*key, purpose])


def _spans(track, length_s, rng):
    """Yield (onset, duration, track) of the events of a track."""
    onset = rng.uniform(0, GAP_S[1] / 2)
    while onset + DURATION_S[0] < length_s:
        duration = min(np.exp(rng.uniform(*np.log(DURATION_S))), length_s - onset)
        yield float(onset), float(duration), track
        onset += duration + rng.uniform(*GAP_S)


def _trajectory(onset, moving, heard, simulation, rng, grid=None):
    """A Trajectory that starts SEPARATION_DEG away from the active events ``heard``, or the best one of 100.

    ``grid``: spacing of azimuths and elevations in degrees, or None.
    """
    def candidate():
        return _draw_trajectory(moving, simulation, rng) if grid is None else _draw_on_grid(simulation, grid, rng)

    return _apart(candidate, onset, heard)


def _apart(draw, onset, heard):
    """One of the trajectories of ``draw()``: the first far from the events ``heard`` at its start, or the farthest."""
    others = np.array([event.trajectory.directions(onset - event.onset_s) for event in heard]).reshape(-1, 3)
    best, widest = None, -1.0
    for _ in range(100):
        candidate = draw()
        angle = angular_distance(candidate.directions(0.0), others).min(initial=180.0)
        if angle > widest:
            best, widest = candidate, angle
        if angle >= SEPARATION_DEG:
            break
    return best


def _draw_trajectory(moving, simulation, rng):
    highest = simulation.elevation_deg
    azimuth, elevation = rng.uniform(-180, 180), rng.uniform(-highest, highest)
    distance = rng.uniform(*simulation.distance_m)
    if not moving:
        return Trajectory(azimuth, elevation, distance)
    speed = rng.uniform(*SPEED_DEG_S)
    sway = min(rng.uniform(0, 20), highest - abs(elevation))
    rate = rng.choice([-1, 1]) * speed / max(0.5, np.cos(np.deg2rad(elevation)))
    sway_hz = min(0.3, 0.5 * speed / (2 * np.pi * max(sway, 1.0)))
    return Trajectory(azimuth, elevation, distance, float(rate), sway, rng.uniform(0, 0.25), sway_hz,
                      rng.uniform(0, 2 * np.pi))


def _draw_on_grid(simulation, grid, rng):
    steps, top = 360 // grid, int(simulation.elevation_deg // grid)
    azimuth, elevation = grid * rng.integers(steps) - 180, grid * rng.integers(-top, top + 1)
    return Trajectory(float(azimuth), float(elevation), round(rng.uniform(*simulation.distance_m), 1))
