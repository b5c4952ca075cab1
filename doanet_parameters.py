"""The table of tasks, and ``get_params``: a task id and overrides → a Config.

A new task is one row in FOA_TASKS: its id and what differs from the defaults. On the command line any parameter can be
overridden for one run: ``python3 train_doanet.py 4 myrun nb_epochs=20 array=mic``. The parameters are declared in
doatools/config/schema.py. Run as a script, this file lists them:

    python3 doanet_parameters.py         every parameter with its default, unit and range
    python3 doanet_parameters.py 20      those of task 20; what differs from the defaults is marked
"""

import sys

from doatools.config import experiments
from doatools.config.commandline import add_override_argument, parse_overrides, split_words
from doatools.config.schema import ALIASES, Config, defaults, described
from doatools.errors import UserError, exits_cleanly, nearest

__all__ = ["TASKS", "add_override_argument", "get_params", "parse_overrides", "split_words"]

# What differs from the defaults, task by task, for ambisonic recordings (Adavanne et al., differentiable tracking-based
# training of deep learning sound source localizers).
FOA_TASKS = {
    "1": {},
    "2": {"loss": "mse", "activity": False},
    "3": {"activity": False},
    "5": {"activity": False, "augmented": True},
    "6": {"augmented": True},
    "12": {"activity": False, "augmented": True, "dmota_weight": 0.0, "ids_weight": 0.0},
    "14": {"augmented": True, "dmota_weight": 0.0, "ids_weight": 0.0},
    # Ours: the best in our comparison of losses (docs/losses.md).
    "20": {"loss": "pit", "pit_distance": "plain", "pit_distance_weight": 50.0, "pit_level": "track",
           "switch_cost": 30.0, "activity_gate_deg": 60.0, "rotation_augment": True, "optimizer": "adamw",
           "lr_schedule": "onecycle", "gradient_clip": 1.0, "batch_size": 32},
    # Ours, recommended: more accuracy for the same time of training (docs/networks.md).
    "22": {"model": "bearing", "features": "steered", "nb_cnn2d_filt": 32, "dropout_rate": 0.2,
           "loss": "pit", "pit_distance": "plain", "pit_distance_weight": 50.0, "pit_level": "track",
           "switch_cost": 30.0, "activity_gate_deg": 60.0, "rotation_augment": True, "spec_augment": True,
           "mix_augment": 0.4, "optimizer": "muon", "learning_rate": 2e-3, "weight_decay": 0.05,
           "lr_schedule": "linear", "gradient_clip": 1.0, "batch_size": 32, "duplicate_deg": 15.0,
           "tracker": "kalman"},
    "999": {"quick_test": True},
}
# Published under more than one id: alias → task.
SAME_TASKS = {"4": "1", "13": "5", "15": "6"}
# The same for the microphone array: task → ambisonic task.
MIC_TASKS = {"7": "2", "8": "3", "9": "4", "10": "5", "11": "6", "16": "12", "17": "13", "18": "14", "19": "15",
             "21": "20", "23": "22"}

# One network for all arrays: task → ambisonic task (docs/arrays.md).
ANY_TASKS = {"24": "22"}

TASKS = FOA_TASKS | {alias: FOA_TASKS[task] for alias, task in SAME_TASKS.items()}
TASKS |= {mic: TASKS[foa] | {"array": "mic"} for mic, foa in MIC_TASKS.items()}
TASKS |= {task: TASKS[foa] | {"array": "drawn", "top_db": 0.0} for task, foa in ANY_TASKS.items()}


def get_params(task_id="1", **overrides):
    """The Config of a task: defaults, then what the task sets, then ``overrides``, by flat names.

    A task is an id of the table, or the path of a YAML file such as configs/seldnet.yaml
    (doatools/config/experiments.py).

    Raises
    ------
    UserError (a ValueError)
        Unknown task or parameter (the nearest name is suggested), or a value of the wrong type or range.
    """
    task_id = str(task_id)
    if experiments.is_config(task_id):
        differences = experiments.read_config(task_id, overrides.get("format"))
        overrides = experiments.translated(overrides)
    elif task_id in TASKS:
        differences = TASKS[task_id]
    else:
        raise UserError(f"unknown task '{task_id}'.{nearest(task_id, TASKS)} Known tasks: "
                        f"{', '.join(sorted(TASKS, key=int))}; to add one, edit FOA_TASKS in doanet_parameters.py, or "
                        "give a YAML file such as configs/seldnet.yaml")
    return Config.build(task_id, differences | {ALIASES.get(key, key): value for key, value in overrides.items()})


@exits_cleanly
def main(argv=None):
    """List the parameters of a task."""
    words = sys.argv[1:] if argv is None else argv
    if any(word in ("-h", "--help") for word in words):
        print(__doc__)
        return 0
    (task_id,), overrides = split_words(words, "1")
    values, usual = get_params(task_id, **overrides).flat(), defaults()
    section = None
    for name, key, unit, permitted, about in described():
        if name != section:
            section = name
            print(f"\n{section}")
        mark = "*" if values[key] != usual[key] else " "
        value = list(values[key]) if isinstance(values[key], tuple) else values[key]
        print(f"{mark} {key} = {value!r}{' ' + unit if unit else ''}\n      {about}"
              f"{f'  [{permitted}]' if permitted else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
