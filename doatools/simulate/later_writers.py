"""Writers of small datasets in the layouts of DCASE2021, STARSS22, STARSS23 and LOCATA, to try these formats out.

Scenes are those of the other writers, for DCASE2021 with directional interferers that have no labels. Real rooms and
people, which are particular to the other datasets, are not simulated.
"""

import datetime

import numpy as np
from scipy.spatial.transform import Rotation

from doatools.data.dcase import FRAME_S, write_dcase
from doatools.data.locata import FS, TIME, folder_of
from doatools.errors import UserError
from doatools.files import replacing
from doatools.simulate import scenes
from doatools.simulate.writers import Dcase2020
from doatools.spatial.arrays import find_array

TRACKING_HZ = 120  # of LOCATA's optical tracking system
START = datetime.datetime(2017, 1, 25, 12, 34, 56)  # of every recording's audio, and a bit
# From our axes (x front, y left) to LOCATA's axes of an array (x right, y front).
TO_LOCATA = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


class Nested(Dcase2020):
    """What recordings in sub-folders have in common; a subclass states which sub-folder a recording lies in."""

    folds = ()
    distance = False
    draws = False

    def entries(self):
        return [(fold, index) for fold in self.folds for index in range(self.config.simulation.recordings_per_fold)]

    def place(self, fold, room):
        """Sub-folder of a recording of the fold's room number ``room`` (from 0)."""
        raise NotImplementedError

    def paths(self, root, key):
        """Mixes are counted within a room."""
        (fold, index), rooms = key, self.config.simulation.rooms_per_fold
        mix, room = index // (2 * rooms) * 2 + index % 2 + 1, scenes.room_number(self.rules, index)
        stem = f"fold{fold}_room{self.folds.index(fold) * rooms + room + 1}_mix{mix:03d}"
        return [root / folder / self.place(fold, room) / (stem + suffix) for folder, suffix in self.folders.items()]

    def write_annotation(self, path, scene):
        write_dcase(path, scene.labels(self.hop_s), self.distance)

    def written(self, root):
        return [path for folder in self.folders for path in root.glob(f"{folder}/dev-*/fold*_room*_mix*.*")]


class Dcase2021(Nested):
    """TAU-NIGENS 2021: folds 1 to 4, 5 and 6 in dev-train, dev-val and dev-test; with interferers.

    The last quarter of the classes of sounds is for interferers: heard from a direction, and in no annotation.
    """

    version = 2
    defaults = {"format": "dcase2021"}  # noqa: RUF012
    folds = (1, 2, 3, 4, 5, 6)

    def scene(self, key):
        count, classes = len(self.sounds.names), self.sounds.classes(key[0])
        first = count - max(1, count // 4)
        targets, others = ([one for one in classes if (one >= first) == late] for late in (False, True))
        if not (targets and others):  # too few sounds to keep classes apart
            return super().scene(key)
        return scenes.with_interferers(scenes.compose(self.rules, *key, targets), self.rules, others)

    def place(self, fold, room):
        return {5: "dev-val", 6: "dev-test"}.get(fold, "dev-train")


class Starss22(Nested):
    """STARSS22: folds 3 and 4, every second room Sony's."""

    defaults = {"format": "starss22"}  # noqa: RUF012
    folds = (3, 4)

    def place(self, fold, room):
        return f"dev-{'train' if fold == 3 else 'test'}-{'tau' if room % 2 else 'sony'}"


class Starss23(Starss22):
    """STARSS23: the same with distances."""

    defaults = {"format": "starss23"}  # noqa: RUF012
    distance = True


class Locata:
    """LOCATA: dev/ and eval/ of sim_recordings_per_fold recordings of each task, with all tables.

    Tasks 1 and 2 have static sources, 3 and 4 moving ones, 5 and 6 a rotating array as well; tasks 1, 3 and 5 one
    source. ``array`` names the array, or the four Eigenmike capsules of array=mic: then all 32 are written.
    """

    version = 1
    defaults = {"format": "locata", "array": "mic", "fs": FS, "sim_recordings_per_fold": 3,  # noqa: RUF012
                "sim_recording_len_s": 10.0, "sim_rooms_per_fold": 1}
    settings = Dcase2020.settings
    hop_s = FRAME_S
    parts = ("dev", "eval")
    tasks = (1, 2, 3, 4, 5, 6)

    def __init__(self, config, sounds):
        self.config, self.sounds, self.rules = config, sounds, scenes.rules_of(config)
        if config.array.drawn:
            raise UserError(f"array={config.data.array} stands for many arrays; --format locata writes those of one")
        self.name, picked = folder_of(config.array)
        self.array = find_array(self.name) if picked else config.array

    @property
    def made_with(self):
        return {"array": self.array.plain()}

    def entries(self):
        count = self.config.simulation.recordings_per_fold
        return [(part, task, number) for part in self.parts for task in self.tasks for number in range(1, count + 1)]

    def scene(self, key):
        part, task, number = key
        fold = self.parts.index(part) + 1
        simulation = self.rules.simulation.model_copy(update={"moving": float(task > 2)})
        rules = self.rules._replace(simulation=simulation, max_sources=1 if task % 2 else self.rules.max_sources)
        return scenes.compose(rules, fold, 2 * (1000 * task + number), self.sounds.classes(fold))

    def paths(self, root, key):
        part, task, number = key
        folder = root / part / f"task{task}" / f"recording{number}" / self.name
        return [folder / f"audio_array_{self.name}.wav", folder / "required_time.txt"]

    def signals(self, key, scene):
        return (scenes.render(scene, self.sounds, scenes.renderer_of((self.array,), self.config.features.fs)),)

    def write_annotation(self, path, scene):
        """All tables beside the audio; required_time.txt comes last."""
        folder, task = path.parent, int(path.parts[-4].removeprefix("task"))
        times = np.arange(int(scene.length_s * TRACKING_HZ)) / TRACKING_HZ + 0.002
        position = np.asarray(scene.room.sensor_m)
        rotations = _rotations(np.random.default_rng([*scene.key, 99]), times, task >= 5)
        capsules = np.einsum("tij,mj->tmi", rotations @ TO_LOCATA, self.array.positions) + position
        names = [f"mic{number + 1}_{axis}" for number in range(self.array.channels) for axis in "xyz"]
        fs, still = self.config.features.fs, np.tile(np.eye(3), (len(times), 1, 1))
        samples = round(scene.length_s * fs)
        _write(folder / f"audio_array_timestamps_{self.name}.txt", TIME,
               _calendar(np.arange(samples) / fs))
        _write_positions(folder / f"position_array_{self.name}.txt", times, np.tile(position, (len(times), 1)),
                         rotations, names, capsules.reshape(len(times), -1))
        for track in range(1 + max((event.track for event in scene.events), default=-1)):
            source = f"{'loudspeaker' if task < 3 else 'talker'}{track + 1}"
            events = [event for event in scene.events if event.track == track]
            inside = _positions(events, times, scene.room)
            there = np.einsum("tij,tj->ti", rotations @ TO_LOCATA, inside) + position
            _write_positions(folder / f"position_source_{source}.txt", times, there, still)
            active = np.zeros(samples, int)
            for event in events:
                active[round(event.onset_s * fs) : round(event.end_s * fs)] = 1
            _write(folder / f"VAD_{self.name}_{source}.txt", ["activity"], active.astype(str)[:, None].tolist())
        valid = (np.arange(len(times)) % 50 != 49).astype(int).astype(str)  # now and then a marker is hidden
        _write(path, [*TIME, "valid_flag"], [[*row, flag] for row, flag in zip(_calendar(times), valid)])

    def written(self, root):
        return [path for part in self.parts for path in root.glob(f"{part}/task*/recording*/{self.name}/*")]

    def next_command(self, root, words):
        words = [word for word in words if not word.startswith("fs=")]  # recordings are resampled to that of the model
        return ["python3", "batch_feature_extraction.py", *words, "mode=eval"]


def _rotations(rng, times, rotating):
    """(P, 3, 3): some rotation about z with a slight tilt; about z all the time where ``rotating``."""
    turn = rng.uniform(-180, 180) + (20 * times if rotating else 0 * times)
    tilt, roll = rng.uniform(-5, 5, 2)
    angles = np.stack([turn, np.full(len(times), tilt), np.full(len(times), roll)], -1)
    return Rotation.from_euler("zyx", angles, degrees=True).as_matrix()


def _positions(events, times, room):
    """(P, 3) from the array, in our axes: along each event's course; where it last was in between."""
    positions = np.empty((len(times), 3))
    for number, event in enumerate(events):
        here = times >= (event.onset_s if number else -np.inf)
        positions[here] = event.trajectory.positions(np.clip(times[here] - event.onset_s, 0, event.duration_s), room)
    return positions


def _write_positions(path, times, positions, rotations, more_names=(), more=None):
    names = [*TIME, "x", "y", "z", "ref_vec_x", "ref_vec_y", "ref_vec_z",
             *(f"rotation_{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3)), *more_names]
    numbers = [positions, rotations[:, :, 1], rotations.reshape(-1, 9), *([] if more is None else [more])]
    cells = np.char.mod("%.6f", np.concatenate(numbers, 1))
    _write(path, names, [[*row, *own] for row, own in zip(_calendar(times), cells)])


def _calendar(times):
    """Seconds after the start → cells year, month, day, hour, minute, second."""
    day = [str(getattr(START, name)) for name in ("year", "month", "day", "hour")]
    rows = []
    for time in times.tolist():
        minute, second = divmod(START.minute * 60 + START.second + 0.25 + time, 60)
        rows.append([*day, str(int(minute)), f"{second:.6f}"])
    return rows


def _write(path, names, rows):
    with replacing(path) as temporary:
        temporary.write_text("\n".join(["\t".join(names), *map("\t".join, rows)]) + "\n", encoding="ascii")
