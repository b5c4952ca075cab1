"""YAML files of experiments, in the keys published with ADRENALINE → parameters of this toolkit.

A file names a model and how it is trained. ``PUBLISHED`` assigns a parameter to each published key; any parameter can
be a key as well. The keys in ``TUT_KEYS`` describe the recordings of TUT Sound Events 2018 and apply to these only:
other recordings keep their own length and FFT.
"""

from doatools.config.schema import ALIASES, FLAT, checked
from doatools.config.yaml_files import read_yaml
from doatools.errors import UserError, nearest
from doatools.files import has_suffix

TUT_SETS = ("ansim", "resim", "real")

# What the key ``name`` selects: a model, and how it is trained where no key says so.
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
OWN_KEYS = ("name", "dataset", "frame_length", "chunk_length")  # keys that are not one parameter each
TUT_KEYS = ("sequence_duration", "num_fft_bins")
TUT = {"fs": 44100, "max_audio_len_s": 30.0}  # of recordings of TUT Sound Events 2018


def is_config(task_id):
    """Whether a task is the path of a YAML file rather than an id of the table."""
    return has_suffix(task_id, ".yaml", ".yml")


def read_config(path, data_format=None):
    """A YAML file → the parameters that it sets, {flat name: checked value}.

    ``data_format``: the parameter ``format``, where it is given elsewhere than in the file.

    Raises
    ------
    UserError
        Names the file, and the line that is not YAML or the key that is unknown or has a wrong value.
    """
    content = read_yaml(path, "a configuration")
    known = [*PUBLISHED, *OWN_KEYS, *FLAT, *ALIASES]
    for key in content:
        if key not in known:
            raise UserError(f"{path}: unknown key '{key}'.{nearest(key, known)}")
    tut = (data_format or content.get("format")) == "tut2018"
    datasets_of(path, content)
    values = MODELS[_model(path, content)] | (TUT if tut else {}) | _frames(path, content)
    for key, value in content.items():
        if key in OWN_KEYS or (key in TUT_KEYS and not tut):
            continue
        name = PUBLISHED.get(key, key)
        try:
            values[ALIASES.get(name, name)] = checked(name, value)
        except UserError as error:
            raise UserError(f"{path}: key '{key}': {error}") from None
    return values


def datasets_of(path, content=None):
    """The TUT datasets that a file asks for; all three if it names none."""
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
    """Overrides with published keys → with the names of parameters."""
    return {PUBLISHED.get(key, key): value for key, value in overrides.items()}


def name_of(path):
    """The name that a file gives its model; results carry it."""
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
    """Hops and sequence length from ``frame_length`` (frames overlap by half) and ``chunk_length``, both in s."""
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
