"""YAML files of experiments, in the keys published with ADRENALINE → the parameters of this toolkit.

A file names a model and how it is trained; ``PUBLISHED`` says which parameter each key stands for. Any parameter may stand
in a file as well. The keys of ``TUT_KEYS`` describe the recordings of TUT Sound Events 2018 and apply to these alone: on
other recordings their own length, rate and FFT stay.
"""

from doatools.config.schema import ALIASES, FLAT, checked
from doatools.config.yaml_files import read_yaml
from doatools.errors import UserError, nearest

TUT_SETS = ("ansim", "resim", "real")

# What each model is trained with and no key says; `name` picks one.
_MAGNITUDE_PHASE = {"features": "magphase", "loss": "sel", "label_slots": "start", "optimizer": "adamw",
                    "lr_schedule": "warmup", "batch_size": 16, "patience": 1_000_000}
MODELS = {
    "adrenaline": {"model": "adrenaline", **_MAGNITUDE_PHASE},
    "seldnet": {"model": "seldnet", **_MAGNITUDE_PHASE},
    "cnn": {"model": "cnn", **_MAGNITUDE_PHASE},
    "doanet": {"model": "doanet"},
}
# Published key → parameter.
PUBLISHED = {
    "max_num_sources": "max_sources", "sequence_duration": "max_audio_len_s", "num_fft_bins": "num_fft_bins",
    "hidden_dim": "rnn_size", "num_layers": "nb_rnn_layers", "dropout_rate": "dropout_rate",
    "learning_rate": "learning_rate", "num_epochs_warmup": "num_epochs_warmup", "gradient_clip_val": "gradient_clip",
    "alpha": "alpha", "max_epochs": "nb_epochs", "manual_seed": "seed",
}
# Those that follow from several keys or are no parameter.
OWN_KEYS = ("name", "dataset", "frame_length", "chunk_length")
TUT_KEYS = ("sequence_duration", "num_fft_bins")
TUT = {"fs": 44100, "max_audio_len_s": 30.0}  # of TUT recordings


def is_config(task_id):
    return str(task_id).endswith((".yaml", ".yml"))


def read_config(path, tut):
    """A YAML file → what differs from the default parameters, by flat names, checked; ``tut``: for recordings of TUT Sound
    Events 2018.

    Raises
    ------
    UserError
        Naming the file, and the line of what is not YAML or the key that is unknown or has a wrong value.
    """
    content = read_yaml(path, "a configuration")
    known = [*PUBLISHED, *OWN_KEYS, *FLAT, *ALIASES]
    for key in content:
        if key not in known:
            raise UserError(f"{path}: unknown key '{key}'.{nearest(key, known)}")
    differences = dict(MODELS[_model(path, content)])
    if tut:
        differences |= TUT
    datasets_of(path, content)
    differences |= _frames(path, content)
    for key, value in content.items():
        if key in OWN_KEYS or (key in TUT_KEYS and not tut):
            continue
        name = PUBLISHED.get(key, key)
        try:
            differences[ALIASES.get(name, name)] = checked(name, value)
        except UserError as error:
            raise UserError(f"{path}: key '{key}': {error}") from None
    return differences


def datasets_of(path, content=None):
    """The TUT data sets that a file asks for; all three where it names none."""
    content = read_yaml(path, "a configuration") if content is None else content
    asked = content.get("dataset", list(TUT_SETS))
    asked = [asked] if isinstance(asked, str) else asked
    if not isinstance(asked, list) or not asked:
        raise UserError(f"{path}: key 'dataset' takes a list such as [{', '.join(TUT_SETS)}], not {asked!r}")
    for name in asked:
        if name not in TUT_SETS:
            raise UserError(f"{path}: key 'dataset': '{name}' is not one of {', '.join(TUT_SETS)}."
                            f"{nearest(name, TUT_SETS)}")
    return asked


def translated(overrides):
    """Overrides in published keys or parameters' names → in the latter."""
    return {PUBLISHED.get(key, key): value for key, value in overrides.items()}


def name_of(path):
    """The name that a file gives its model, as results state it."""
    content = read_yaml(path, "a configuration")
    _model(path, content)
    return content["name"]


def _model(path, content):
    name = content.get("name")
    if not isinstance(name, str) or name.lower() not in MODELS:
        raise UserError(f"{path}: key 'name' is one of {', '.join(MODELS)}, not {name!r}."
                        f"{nearest(str(name).lower(), MODELS)}")
    return name.lower()


def _frames(path, content):
    """Hops and chunk length from ``frame_length`` (of 50 % overlap) and ``chunk_length``, both in s."""
    for key in ("frame_length", "chunk_length"):
        value = content.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1000:
            raise UserError(f"{path}: key '{key}' takes a positive number of seconds, not {value!r}")
    if "frame_length" not in content:
        return {}
    hop = content["frame_length"] / 2
    frames = {"hop_len_s": hop, "label_hop_len_s": hop}
    if "chunk_length" in content:
        length = content["chunk_length"] / hop
        if abs(length - round(length)) > 1e-6:
            raise UserError(f"{path}: key 'chunk_length': {content['chunk_length']} s is not a whole number of hops "
                            f"of {hop} s (half of frame_length)")
        frames["label_sequence_length"] = round(length)
    return frames
