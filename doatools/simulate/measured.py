"""Dataset of scenes from measured impulse responses, in the layout of TAU-NIGENS 2020.

Rooms are dealt to the six folds, sorted by name: the first one to fold 1 (test), the second to fold 2 (validation),
those after to folds 3 to 6 (training), then from fold 1 again. No two folds share a room. So one room makes a test set,
two a test and a validation set, and three or more a set to train on; folds without a room stay empty. With ``fold`` all
rooms are in that one: fold=1 makes a test set of several rooms.
"""

import functools

from doatools.errors import UserError
from doatools.simulate import realism, scenes
from doatools.simulate.responses import MeasuredRenderer, digest, open_rooms
from doatools.simulate.writers import SOUND_FOLDS, Dcase2020

DEFAULTS = {"sim_moving": 0.0}  # most measurements are of loudspeakers far apart
# Parameters that the measured rooms decide.
DECIDED = ("sim_rt60_s", "sim_elevation_deg", "sim_rooms_per_fold")


class Measured(Dcase2020):
    """The writer of recordings from the responses in ``folder``; one array."""

    draws = False
    settings = ("seed", "fs", "max_sources", "sim_recordings_per_fold", "sim_recording_len_s", "sim_snr_db",
                "sim_moving")

    def __init__(self, config, sounds, folder, foa_order="acn", fold=None):
        realism.refuse(config.simulation, realism.COMPOSED + realism.ROOMS + realism.CAPSULES,
                       "measured responses have their own room and capsules")
        super().__init__(config, sounds)
        self.arrays = (config.array,)
        self.folders = {f"{config.array.name}_dev": ".wav", "metadata_dev": ".csv"}
        self.source, self.foa_order, self.fold = str(folder), foa_order, fold
        for room in self.rooms:
            if config.simulation.moving and not room.dense:
                raise UserError(f"sim_moving={config.simulation.moving:g}: the positions of room '{room.name}' are "
                                f"{room.spacing_deg:.0f}° apart, too far for sources that move (10° or less); set "
                                "sim_moving=0")

    @property
    def rooms(self):
        return _rooms(self.source, self.config.array, self.config.features.fs, self.foa_order)

    @property
    def notes(self):
        """Sentences for the user."""
        return [note for room in self.rooms for note in room.notes]

    @property
    def made_with(self):
        return {"array": self.config.array.plain(), "responses": digest(self.source), "foa_order": self.foa_order,
                "rooms": {room.name: f"fold{self.fold_of(number)}_room{number + 1}"
                          for number, room in enumerate(self.rooms)}, **realism.notes(self.config.simulation)}

    def fold_of(self, number):
        """The fold of room ``number`` (from 0)."""
        return self.fold or number % SOUND_FOLDS + 1

    def numbers(self, fold):
        """Numbers of the rooms of a fold."""
        return [number for number in range(len(self.rooms)) if self.fold_of(number) == fold]

    def entries(self):
        return [key for key in super().entries() if self.numbers(key[0])]

    def _number(self, fold, index):
        rooms = self.numbers(fold)
        return rooms[index // 2 % len(rooms)]

    def scene(self, key):
        fold, index = key
        return scenes.compose_measured(self.rules, fold, index, self.rooms[self._number(fold, index)],
                                       self.sounds.classes(fold))

    def paths(self, root, key):
        (fold, index), count = key, len(self.numbers(key[0]))
        mix = index // (2 * count) * 2 + index % 2 + 1
        stem = f"fold{fold}_room{self._number(fold, index) + 1}_mix{mix:03d}_ov{scenes.n_tracks(self.rules, index)}"
        return [root / folder / (stem + suffix) for folder, suffix in self.folders.items()]

    def signals(self, key, scene):
        renderer = _renderer(self.config.array, self.config.features.fs, self.config.simulation)
        return (scenes.render(scene, self.sounds, renderer),)

    def next_command(self, root, words):
        folds = {self.fold_of(number) for number in range(len(self.rooms))}
        if folds >= {1, 2, 3}:
            return super().next_command(root, words)
        name = "intensity" if self.config.array.kind == "ambisonic" else "music"
        return ["python3", "evaluate_doanet.py", "--baseline", name, *words] if 1 in folds else [
            "python3", "check_dataset.py", *words]


@functools.cache
def _rooms(folder, array, fs, foa_order):
    """Read once per process; a writer that travels to another process does not take the responses along."""
    return open_rooms(folder, array, fs, foa_order)


@functools.cache
def _renderer(array, fs, simulation):
    return MeasuredRenderer(array, fs, simulation)


def preset():
    """What --realistic sets here: faults of channels and recorder, and noise."""
    names = {f"sim_{field}" for field in realism.CHANNELS} | {"sim_snr_db"}
    return {name: value for name, value in realism.REALISTIC.items() if name in names}


def refuse_decided(overrides):
    """UserError for a parameter that the measured rooms decide."""
    for name in DECIDED:
        if name in overrides:
            raise UserError(f"{name} means nothing with --responses: the measured rooms decide it")
