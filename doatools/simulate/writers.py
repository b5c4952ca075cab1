"""Dataset writers: the recordings of a simulated dataset, and the names and contents of its files.

A writer is a class made of (Config, sounds) with the attributes and methods of ``Dcase2020`` below. To add a layout,
write such a class and add one line to doatools/registry.py.
"""

import functools

import numpy as np

from doatools.data.dcase import FRAME_S, write_dcase
from doatools.data.tut import OVERLAPS, PARTS, SPLITS, folders, write_tut
from doatools.errors import UserError
from doatools.simulate import live_rooms, realism, scenes
from doatools.simulate.rooms import FreeField, Renderer
from doatools.spatial import drawn
from doatools.spatial.arrays import find_array

TAU = ("foa", "mic")  # arrays that are simulated together
SOUND_FOLDS = 6  # groups of recordings; no two groups have a sound in common


class Dcase2020:
    """TAU-NIGENS 2020: foa_dev and mic_dev with the same scenes (or <name>_dev of another array), and metadata_dev.

    Attributes
    ----------
    version : int, increased when the same settings give other bytes
    defaults : {flat name: value}, where the layout differs from the usual parameters
    settings : flat names of the parameters that the bytes depend on
    made_with : dict, what else the bytes depend on
    hop_s : float, frame length of the labels that ``summary`` counts
    """

    version = 1
    defaults = {}  # noqa: RUF012
    settings = ("seed", "fs", "max_sources", "sim_recordings_per_fold", "sim_recording_len_s",
                "sim_rt60_s", "sim_snr_db", "sim_elevation_deg", "sim_moving", "sim_rooms_per_fold")
    hop_s = FRAME_S
    only_fold = None  # the one to write, None for all
    draws = True  # whether recordings can each have an array of their own

    def __init__(self, config, sounds):
        self.config, self.sounds, self.rules = config, sounds, scenes.rules_of(config)
        self.array = config.array
        if self.array.drawn and not self.draws:
            raise UserError(f"array={config.data.array} stands for many arrays, which are simulated without --format "
                            "and --responses")
        pair = find_array("foa"), find_array("mic")
        self.arrays = pair if config.array in pair and config.array.name in TAU else (config.array,)
        self.folders = {f"{array.name}_dev": ".wav" for array in self.arrays} | {"metadata_dev": ".csv"}

    @property
    def made_with(self):
        array = {} if len(self.arrays) > 1 else {"array": self.arrays[0].plain()}
        return array | realism.notes(self.config.simulation)

    def entries(self):
        """A key for each recording."""
        folds = [self.only_fold] if self.only_fold else range(1, SOUND_FOLDS + 1)
        return [(fold, index) for fold in folds for index in range(self.config.simulation.recordings_per_fold)]

    def scene(self, key):
        """The Scene of a recording."""
        return scenes.compose(self.rules, *key, self.sounds.classes(key[0]))

    def arrays_of(self, key):
        """The arrays of a recording; drawn ones follow from (seed, key)."""
        if not self.array.drawn:
            return self.arrays
        rng = np.random.default_rng([self.config.run.seed, *key, drawn.STREAM])
        return (drawn.draw_array(self.array, f"{self.array.name}_{'_'.join(map(str, key))}", rng),)

    def paths(self, root, key):
        """The audio files of a recording, the file of its array if it has one of its own, and, last, its annotation;
        mixes are counted within a room."""
        (fold, index), rooms = key, self.config.simulation.rooms_per_fold
        mix, number = index // (2 * rooms) * 2 + index % 2 + 1, scenes.room_number(self.rules, index)
        stem = f"fold{fold}_room{(fold - 1) * rooms + number + 1}_mix{mix:03d}_ov{scenes.n_tracks(self.rules, index)}"
        *audio, annotation = (root / folder / (stem + suffix) for folder, suffix in self.folders.items())
        return [*audio, *([drawn.path_of(audio[0])] if self.array.drawn else []), annotation]

    def signals(self, key, scene):
        """The content of each audio file, (channels, samples)."""
        simulation, fs = self.config.simulation, self.config.features.fs
        arrays = self.arrays_of(key)
        if realism.is_realistic(simulation):
            renderer = live_rooms.renderer_of(arrays, fs, simulation, scene.key)
        else:
            renderer = Renderer(arrays, fs) if self.array.drawn else scenes.renderer_of(arrays, fs)
        all_channels = scenes.render(scene, self.sounds, renderer)
        return np.split(all_channels, np.cumsum([array.channels for array in arrays])[:-1])

    def write_array(self, path, key):
        """Write the file of the array of a recording, where each has its own."""
        drawn.write_array(path, self.arrays_of(key)[0])

    def write_annotation(self, path, scene):
        """Write the annotation of a Scene."""
        write_dcase(path, scene.labels(self.hop_s))

    def written(self, root):
        """Audio files and annotations in this layout that exist in ``root``."""
        return [path for folder in self.folders for path in root.glob(f"{folder}/fold*_room*_mix*_ov*.*")]

    def next_command(self, root, words):
        """The words of the command that continues with this dataset."""
        task = ["24"] if self.array.drawn else []  # the one for arrays that are drawn
        return ["python3", "batch_feature_extraction.py", *task, *words]


class Tut2018:
    """Small datasets like TUT Sound Events 2018: ansim (no room) and resim (rooms), static sources on a grid.

    ``root`` is the --data_root of run.py. There is a folder for each number of simultaneous sources up to max_sources
    and each split, with sim_recordings_per_fold recordings; one in five (at least one) is a test_ recording. Splits
    have no room or sound in common, and the train_ and test_ recordings of a split no sound.
    """

    version = 1
    defaults = {"fs": 44100, "max_sources": 3, "sim_recording_len_s": 30.0,  # noqa: RUF012
                "sim_snr_db": [30.0, 30.0], "sim_elevation_deg": 60.0}
    settings = ("seed", "fs", "max_sources", "sim_recordings_per_fold", "sim_recording_len_s", "sim_rt60_s",
                "sim_snr_db", "sim_elevation_deg", "sim_rooms_per_fold")
    sets = ("ansim", "resim")
    hop_s = 0.02
    made_with = {}  # noqa: RUF012

    def __init__(self, config, sounds):
        self.config, self.sounds, self.rules = config, sounds, scenes.rules_of(config)
        if config.array != find_array("foa"):
            raise UserError(f"tut2018 is ambisonic; array={config.data.array} needs --format dcase2020")
        realism.refuse(config.simulation, realism.COMPOSED + realism.ROOMS + realism.CAPSULES + realism.CHANNELS,
                       "realistic rooms and sensors need --format dcase2020")
        if self.rules.max_sources > OVERLAPS[-1]:
            raise UserError(f"max_sources={self.rules.max_sources}: tut2018 has at most {OVERLAPS[-1]} sources at once")
        self.overlaps = OVERLAPS[: self.rules.max_sources]
        count = config.simulation.recordings_per_fold
        if count < 2:
            raise UserError("sim_recordings_per_fold=1: a folder of tut2018 needs train_ and test_ recordings, so at "
                            "least 2")
        n_tests = max(1, round(count / 5))
        self.names = [("train", index) for index in range(count - n_tests)]
        self.names += [("test", index) for index in range(n_tests)]

    def entries(self):
        return [(name, overlap, split, part, index) for name in self.sets for overlap in self.overlaps
                for split in SPLITS for part, index in self.names]

    def scene(self, key):
        name, overlap, split, part, index = key
        fold = 2 * (split - 1) + PARTS.index(part) + 1  # of sounds
        number = (self.sets.index(name), overlap, index)
        room = scenes.draw_room(self.rules, split, index % self.config.simulation.rooms_per_fold)
        return scenes.compose_static(self.rules, fold, number, room, overlap, self.sounds.classes(fold))

    def paths(self, root, key):
        name, overlap, split, part, index = key
        audio, annotations = folders(overlap, split)
        stem = f"{part}_{index}_desc_30_100"
        return [root / name / audio / f"{stem}.wav", root / name / annotations / f"{stem}.csv"]

    def signals(self, key, scene):
        return (scenes.render(scene, self.sounds, _foa_renderer(key[0] == "ansim", self.config.features.fs)),)

    def write_annotation(self, path, scene):
        names = self.sounds.names
        write_tut(path, [(f"{names[event.class_id % len(names)]}{number:03d}.wav", event.onset_s, event.end_s,
                          event.trajectory.azimuth, event.trajectory.elevation, event.trajectory.distance_m)
                         for number, event in enumerate(scene.events)])

    def written(self, root):
        return [path for name in self.sets for kind in ("wav", "desc") for path in root.glob(f"{name}/{kind}_ov*/*.*")]

    def next_command(self, root, words):
        seconds = self.config.simulation.recording_len_s
        length = [] if seconds == self.defaults["sim_recording_len_s"] else [f"sequence_duration={seconds:g}"]
        return ["python3", "run.py", "--config", "configs/seldnet.yaml", "--data_root", str(root),
                f"dataset=[{','.join(self.sets)}]", *length]


@functools.cache
def _foa_renderer(anechoic, fs):
    return (FreeField if anechoic else Renderer)((find_array("foa"),), fs)


def summary(writer):
    """Numbers of recordings and of events; shares of moving events, and of active frames with more than one source."""
    events = moving = active = overlapped = 0
    keys = writer.entries()
    for key in keys:
        scene = writer.scene(key)
        labelled = [event for event in scene.events if event.labelled]
        events += len(labelled)
        moving += sum(event.trajectory.moving for event in labelled)
        counts = np.bincount(scene.labels(writer.hop_s)["frame"])
        active, overlapped = active + np.sum(counts > 0), overlapped + np.sum(counts > 1)
    return len(keys), events, moving / max(1, events), overlapped / max(1, active)
