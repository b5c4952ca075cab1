"""Every parameter with its unit, the table of tasks, and the one door to both: ``get_params``.

A new task is one row in FOA_TASKS below: its id and what differs from DEFAULTS. On the command line any
parameter can be overridden for one run: ``python3 train_doanet.py 4 myrun nb_epochs=20 dataset=mic``.
"""

import ast
import copy
import math

from doatools.config import yaml_files as configs
from doatools.errors import UserError, nearest

ACTIVE_ABOVE = 0.5  # activity probability from which a slot counts as a source

DEFAULTS = {
    # --- the run -------------------------------------------------------------------------------------
    "quick_test": True,  # 2 epochs of 2 batches, to see everything work; False trains in full
    "seed": 1234,  # every chance (weights, order, dropout, augmentation) follows from it
    # --- folders -------------------------------------------------------------------------------------
    "dataset_dir": "datasets/simulated",  # holds foa_dev, mic_dev, metadata_dev (and *_eval)
    "feat_label_dir": "",  # features and labels; '' stands for <dataset_dir>/features
    "results_dir": "results",  # checkpoints, logs and pictures of each run
    "hnet_weights": "",  # frozen Hungarian network; '' stands for the shipped models/hnet_<max_sources>.pt
    # --- data ----------------------------------------------------------------------------------------
    "dataset": "foa",  # foa (ACN/SN3D ambisonics) | mic (array of capsules)
    "format": "dcase",  # of folders and annotations: dcase (TAU-NIGENS 2020) | tut2018 (TUT Sound Events 2018)
    "fold": 1,  # tut2018: the split that is tested on, 1-3
    "mode": "dev",  # dev: train folds 3-6, validate 2, test 1 | eval: train 2-6, validate 1, test *_eval
    "turn_augment": False,  # turn and mirror the sound field of training sequences: 16 ways foa, 8 mic
    "level_augment_db": 0.0,  # training sequences become louder or softer by up to this, dB
    "spec_augment": False,  # mask frames and bands of training sequences
    "augmented": False,  # train on the mixtures of augment_files.py as well
    "max_sources": 2,  # N, slots a label frame
    # track: an event keeps its slot for life | frame: by CSV order in each frame | start: by start time in each frame
    "label_slots": "track",
    "overflow": "error",  # more than N sources at once: error | drop (training only; scores keep them all)
    # --- features ------------------------------------------------------------------------------------
    "features": "",  # foa | mic | magphase (magnitudes and phases of all bins); '' stands for those of the dataset
    "fs": 24000,  # Hz
    "hop_len_s": 0.02,  # feature hop, s
    "label_hop_len_s": 0.1,  # label hop of the network, s
    "annotation_hop_len_s": 0.0,  # hop of annotations and scores, s; 0 stands for label_hop_len_s
    "max_audio_len_s": 60.0,  # recordings are padded or cut to this, s
    "nb_mel_bins": 64,
    "num_fft_bins": 0,  # magphase: FFT length, half of it are bins; 0: the power of two from the window's length on
    "top_db": 80.0,  # log-mel floor below the file's maximum, dB; <= 0 for no such floor
    # --- batches -------------------------------------------------------------------------------------
    "label_sequence_length": 50,  # label frames in a training sequence
    "batch_size": 64,  # sequences
    "num_workers": 0,  # data-loading processes
    # --- network -------------------------------------------------------------------------------------
    "model": "doanet",  # doanet | adrenaline | seldnet | cnn
    "nb_cnn2d_filt": 128,
    "f_pool_size": [2, 2, 2],  # mel pooling of each convolution block
    "nb_rnn_layers": 2,
    "rnn_size": 128,
    "self_attn": False,
    "nb_heads": 4,
    "nb_fnn_layers": 2,
    "fnn_size": 128,
    "dropout_rate": 0.0,
    "activity": True,  # the activity branch; without it every slot counts as active (mse trains none)
    # --- loss ----------------------------------------------------------------------------------------
    "loss": "dmot",  # dmot | mse | pit | pit_dmot (PIT and dMOTa) | sel
    # What pairs slots and references in dmot: hnet | sinkhorn; without a gradient, hungarian (exact) | track (exact
    # over time, where a source's change of slot costs switch_cost)
    "association": "hnet",
    "switch_cost": 1.0,  # association=track: in units of distance; pit_level=track: of the loss of a frame
    "association_sees": "distance",  # distance | activity: a slot thought inactive stands back by up to 1 (60°)
    # soft: through the association | none | the soft one's gradient for straight: the exact one | track: the exact
    # one over time
    "association_gradient": "soft",
    "dmotp": "published",  # published: frames count by their pairs | mean distance | squared: mean squared distance
    "dmotp_weight": 50.0,  # w_p inside dMOTp
    "dmota_weight": 1.0,  # w_a of dMOTa
    "predicted": "associated",  # M_t: associated slots | probable: the sum of activity probabilities
    "ids_weight": 1.0,  # w_i of identity switches inside dMOTa
    "ids": "published",  # published: a birth counts as a switch | switch: only references active at t-1 and t
    "activity_weight": 10.0,  # of the activity term (binary cross-entropy) of dmot and pit
    "activity_gate_deg": 180.0,  # dmot, pit: a slot is to be active where its direction is this close to its source's
    "pit_distance": "squared",  # pit: squared | plain distance
    "pit_distance_weight": 20.0,  # of its mean
    "pit_level": "frame",  # pit: one permutation a frame | sequence | track: a frame's, changes cost
    "alpha": 1.0,  # sel: of the great-circle distance, rad, beside the activity term
    "sel_slots": "start",  # sel: start (slot i is reference i, by start time) | pit (any order, see pit_level)
    "init_weights": "",  # start from these: a checkpoint of this toolkit or a published DOAnet state dict
    # --- tracking: slots → tracks before tracking scores -----------------------------------------------
    "tracker": "off",  # off (a slot is an identity) | nearest (where last seen) | kalman (constant velocity)
    "tracker_gate_deg": 30.0,  # largest angle between a track and the prediction that goes on with it
    "tracker_max_gap": 5,  # label frames in a row that a track may miss, and no more than it has been seen in
    "tracker_process_deg": 0.2,  # kalman: acceleration, degrees a label frame²
    "tracker_measurement_deg": 5.0,  # kalman: error of a predicted direction
    # --- training ------------------------------------------------------------------------------------
    "nb_epochs": 200,
    "optimizer": "adam",  # adam | adamw
    "learning_rate": 1e-3,
    "lr_schedule": "constant",  # constant | onecycle (peak = learning_rate) | warmup (of ADRENALINE, by epochs)
    "num_epochs_warmup": 5,  # warmup: epochs of rising learning rate
    "weight_decay": 0.0,
    "gradient_clip": 0.0,  # largest gradient norm; 0 for none
    "patience": 50,  # epochs without a better validation score before stopping
    # --- device --------------------------------------------------------------------------------------
    "device": "auto",  # auto | cpu | cuda | mps
    "precision": "auto",  # auto | 32-true | bf16-mixed | 16-mixed
    "compile": False,  # torch.compile network and loss; where that cannot be, they run as they are
    # --- simulation (simulate_dataset.py) --------------------------------------------------------------
    "sim_recordings_per_fold": 12,
    "sim_recording_len_s": 60.0,
    "sim_rt60_s": [0.3, 0.8],  # reverberation time, drawn uniformly
    "sim_snr_db": [6.0, 30.0],  # event level over ambient noise, drawn uniformly
    "sim_elevation_deg": 45.0,  # elevations are drawn within ± this
    "sim_moving": 0.4,  # share of events that move
    "sim_rooms_per_fold": 4,
}

# What differs from DEFAULTS, task by task, on ambisonic recordings (method: Adavanne et al., dMOT losses).
FOA_TASKS = {
    "1": {},
    "2": {"loss": "mse", "activity": False},
    "3": {"activity": False},
    "4": {},
    "5": {"activity": False, "augmented": True},
    "6": {"augmented": True},
    "12": {"activity": False, "augmented": True, "dmota_weight": 0.0, "ids_weight": 0.0},
    "13": {"activity": False, "augmented": True, "dmota_weight": 1.0, "ids_weight": 1.0},
    "14": {"augmented": True, "dmota_weight": 0.0, "ids_weight": 0.0},
    "15": {"augmented": True, "dmota_weight": 1.0, "ids_weight": 1.0},
    # Ours, recommended: what did best in the study of losses (docs/losses.md).
    "20": {"loss": "pit", "pit_distance": "plain", "pit_distance_weight": 50.0, "pit_level": "track",
           "switch_cost": 30.0, "activity_gate_deg": 60.0, "turn_augment": True, "optimizer": "adamw",
           "lr_schedule": "onecycle", "gradient_clip": 1.0, "batch_size": 32},
    "999": {"quick_test": True},
}
# The same on the microphone array: mic task → foa task.
MIC_TASKS = {"7": "2", "8": "3", "9": "4", "10": "5", "11": "6", "16": "12", "17": "13", "18": "14", "19": "15",
             "21": "20"}

TASKS = FOA_TASKS | {mic: FOA_TASKS[foa] | {"dataset": "mic"} for mic, foa in MIC_TASKS.items()}

CHOICES = {
    "dataset": ("foa", "mic"),
    "mode": ("dev", "eval"),
    "format": ("dcase", "tut2018"),
    "features": ("", "foa", "mic", "magphase"),
    "label_slots": ("track", "frame", "start"),
    "overflow": ("error", "drop"),
    "model": ("doanet", "adrenaline", "seldnet", "cnn"),
    "loss": ("dmot", "mse", "pit", "pit_dmot", "sel"),
    "association": ("hnet", "hungarian", "sinkhorn", "track"),
    "association_sees": ("distance", "activity"),
    "association_gradient": ("soft", "straight", "track", "none"),
    "dmotp": ("published", "mean", "squared"),
    "predicted": ("associated", "probable"),
    "ids": ("published", "switch"),
    "pit_level": ("frame", "sequence", "track"),
    "pit_distance": ("squared", "plain"),
    "sel_slots": ("start", "pit"),
    "tracker": ("off", "nearest", "kalman"),
    "optimizer": ("adam", "adamw"),
    "lr_schedule": ("constant", "onecycle", "warmup"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
}


# Smallest and largest value of numbers, and of each number in a list.
RANGES = {
    "seed": (0, 2**32 - 1000), "max_sources": (1, 20), "fs": (1000, 400_000), "hop_len_s": (1e-4, 10),
    "label_hop_len_s": (1e-4, 10), "max_audio_len_s": (1e-3, 1e6), "nb_mel_bins": (1, 1024),
    "label_sequence_length": (1, 100_000), "batch_size": (1, 100_000), "num_workers": (0, 256),
    "nb_cnn2d_filt": (1, 4096), "f_pool_size": (1, 64), "nb_rnn_layers": (1, 32), "rnn_size": (1, 8192),
    "nb_heads": (1, 256), "nb_fnn_layers": (0, 32), "fnn_size": (1, 8192), "dropout_rate": (0, 0.95),
    "dmotp_weight": (0, 1e9), "dmota_weight": (0, 1e9), "ids_weight": (0, 1e9), "activity_weight": (0, 1e9),
    "pit_distance_weight": (0, 1e9), "switch_cost": (0, 1e9), "nb_epochs": (1, 1_000_000),
    "learning_rate": (0, 100), "weight_decay": (0, 100), "gradient_clip": (0, 1e9), "patience": (1, 1_000_000),
    "top_db": (-1e9, 1e9), "level_augment_db": (0, 100), "activity_gate_deg": (0, 180), "alpha": (0, 1e9),
    "fold": (1, 3), "annotation_hop_len_s": (0, 10),
    "num_fft_bins": (0, 1_000_000), "num_epochs_warmup": (1, 1_000_000),
    "tracker_gate_deg": (0, 180), "tracker_max_gap": (0, 100_000), "tracker_process_deg": (0, 180),
    "tracker_measurement_deg": (1e-6, 180),
}


def get_params(task_id="1", **overrides):
    """Parameters of a task: DEFAULTS, the task's differences, then ``overrides``; derived values last.

    A task is an id of the table, or the path of a YAML file such as configs/seldnet.yaml (see doatools/config/yaml_files.py).

    Raises
    ------
    UserError (a ValueError)
        Unknown task or parameter (the nearest right one is named) or a value of the wrong type or range.
    """
    task_id = str(task_id)
    if configs.is_config(task_id):
        tut = overrides.get("format", DEFAULTS["format"]) == "tut2018"
        differences = configs.read_config(task_id, _checked, DEFAULTS, tut)
        overrides = configs.translated(overrides)
    elif task_id in TASKS:
        differences = TASKS[task_id]
    else:
        raise UserError(f"unknown task '{task_id}'.{nearest(task_id, TASKS)} Known tasks: "
                        f"{', '.join(sorted(TASKS, key=int))}; to add one, edit FOA_TASKS in doanet_parameters.py, or "
                        "give a YAML file such as configs/seldnet.yaml")
    params = copy.deepcopy(DEFAULTS) | copy.deepcopy(differences)
    for key, value in overrides.items():
        if key not in DEFAULTS:
            raise UserError(f"unknown parameter '{key}'.{nearest(key, DEFAULTS)} "
                            "All parameters stand in doanet_parameters.py")
        params[key] = _checked(key, value)
    params["task_id"] = task_id
    return derive(params)


def parse_overrides(words):
    """['nb_epochs=20', 'dataset=mic'] → {'nb_epochs': 20, 'dataset': 'mic'}; values as Python literals or words."""
    overrides = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not of the form key=value (for example nb_epochs=20)")
        try:
            overrides[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            overrides[key] = text
    return overrides


def split_words(words, *defaults):
    """['4', 'myrun', 'nb_epochs=20'] → (['4', 'myrun'], {'nb_epochs': 20}).

    Words without '=' are a script's positional ones; those left out are taken from ``defaults``.
    """
    plain = [word for word in words if "=" not in word]
    if len(plain) > len(defaults):
        raise UserError(f"unexpected word '{plain[len(defaults)]}'; parameters are given as key=value")
    return plain + list(defaults[len(plain):]), parse_overrides(word for word in words if "=" in word)


def add_override_argument(parser):
    """Give a script's parser the ``key=value`` words, described the same everywhere."""
    parser.add_argument("overrides", nargs="*", metavar="key=value",
                        help="parameters to override (doanet_parameters.py lists them all with their units; "
                             "edit its FOA_TASKS to add a task)")
    return parser


def _checked(key, value):
    """``value`` as the type of the default; whole floats pass for ints and ints for floats."""
    default = DEFAULTS[key]
    wanted = type(default)
    if wanted is float and type(value) is int:
        value = float(value)
    elif wanted is int and type(value) is float and value.is_integer():
        value = int(value)
    elif wanted is list and isinstance(value, tuple):
        value = list(value)
    elif wanted is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if type(value) is not wanted:
        raise UserError(f"parameter '{key}' takes a {wanted.__name__} such as {default!r}, not {value!r}")
    if key in CHOICES and value not in CHOICES[key]:
        raise UserError(f"parameter '{key}' is one of {', '.join(CHOICES[key])}, not {value!r}."
                        f"{nearest(value, CHOICES[key])}")
    if wanted is list and not (value and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)):
        raise UserError(f"parameter '{key}' takes numbers such as {default!r}, not {value!r}")
    if wanted is list and all(type(v) is int for v in default) and not all(type(v) is int for v in value):
        raise UserError(f"parameter '{key}' takes whole numbers such as {default!r}, not {value!r}")
    low, high = RANGES.get(key, (-math.inf, math.inf))
    if wanted in (int, float, list) and not all(low <= v <= high for v in (value if wanted is list else [value])):
        raise UserError(f"parameter '{key}' must be from {low} to {high}, not {value}")
    return value


def derive(params):
    """Values that follow from others, and the checks that need several of them."""
    # feature frames a label frame
    params["feature_label_resolution"] = _multiple(params, "label_hop_len_s", "hop_len_s")
    params["annotation_hop_len_s"] = params["annotation_hop_len_s"] or params["label_hop_len_s"]
    # label frames an annotation frame
    params["label_annotation_resolution"] = _multiple(params, "annotation_hop_len_s", "label_hop_len_s")
    if params["label_sequence_length"] % params["label_annotation_resolution"]:
        raise UserError(f"label_sequence_length={params['label_sequence_length']} must hold whole frames of "
                        f"annotation_hop_len_s={params['annotation_hop_len_s']} s, so be a multiple of "
                        f"{params['label_annotation_resolution']}")
    window = round(params["fs"] * params["hop_len_s"]) * 2
    params["num_fft_bins"] = params["num_fft_bins"] or 2 ** math.ceil(math.log2(max(2, window)))
    params["nb_feature_bins"] = (params["num_fft_bins"] // 2 if params["features"] == "magphase"
                                 else params["nb_mel_bins"])
    params["feat_label_dir"] = params["feat_label_dir"] or f"{params['dataset_dir']}/features"
    params["activity"] = params["activity"] and params["loss"] != "mse"
    if params["quick_test"]:
        params["nb_epochs"] = min(params["nb_epochs"], 2)
    return params


def _multiple(params, longer, shorter):
    """How many times ``shorter`` goes into ``longer``."""
    ratio = params[longer] / params[shorter]
    if abs(ratio - round(ratio)) > 1e-6 or ratio < 1:
        raise UserError(f"{longer} must be a whole multiple of {shorter} "
                        f"({params[longer]} s is not one of {params[shorter]} s)")
    return round(ratio)
