"""Every parameter: its section, default, unit, range and choices; and ``Config``, one experiment's worth of them.

Values that were given and values that follow from them are kept apart: a section holds what was given, and what follows
is a property. A component receives its section, never all of them. On the command line, in YAML files and in checkpoints
parameters are flat (``nb_epochs=20``); ``FLAT`` routes each name to its section.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from doatools.errors import UserError, nearest
from doatools.registry import ASSOCIATIONS, FEATURES, LOSSES, MODELS, READERS, TRACKERS
from doatools.spatial.arrays import Array, find_array

TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "a word", tuple: "numbers"}


def given(default, about, unit="", low=None, high=None, choices=None, name=None, needed=False):
    """A parameter: what it is, its unit, its range and its choices (a Registry, or words); ``name`` is its flat name where
    that is not the field's own."""
    return Field(default, alias=name, description=about, json_schema_extra={
        "unit": unit, "low": low, "high": high, "choices": choices, "needed": needed})


class Optional:
    """The choices of a registry, or '' for none of them; components that are registered later count too."""

    def __init__(self, registry):
        self.registry = registry

    def __iter__(self):
        return iter(("", *self.registry))

    def __contains__(self, value):
        return value == "" or value in self.registry


class Section(BaseModel):
    """Parameters that belong together; immutable, checked, mistyped names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _spelled(cls, value, info: ValidationInfo):
        """Whole floats pass for whole numbers, numbers for words, lists for tuples."""
        wanted = type(cls.model_fields[info.field_name].default)
        if wanted is int and type(value) is float and value.is_integer():
            return int(value)
        if wanted is float and type(value) is int:
            return float(value)
        if wanted is str and type(value) in (int, float):
            return str(value)
        if wanted is tuple and isinstance(value, list):
            value = tuple(value)
        if wanted is tuple and isinstance(value, tuple) and type(cls.model_fields[info.field_name].default[0]) is float:
            return tuple(float(v) if type(v) is int else v for v in value)
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _permitted(cls, value, info: ValidationInfo):
        limits = cls.model_fields[info.field_name].json_schema_extra
        choices, low, high = (limits[key] for key in ("choices", "low", "high"))
        if choices is not None and value not in choices:
            raise ValueError(f"is one of {', '.join(c or chr(39) * 2 for c in choices)}, not {value!r}."
                             f"{nearest(value, choices)}")
        if limits["needed"] and not value:
            raise ValueError("must not be empty")
        numbers = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) and not value:
            raise ValueError(f"takes numbers such as {list(cls.model_fields[info.field_name].default)}, not an empty list")
        if low is not None and not all(low <= number <= high for number in numbers):
            unit = f" {limits['unit']}" if limits["unit"] else ""
            raise ValueError(f"must be from {low:g} to {high:g}{unit}, not {value}")
        return value


class RunConfig(Section):
    quick_test: bool = given(True, "2 epochs of 2 batches, to see that everything works; False trains in full")
    seed: int = given(1234, "weights, order, dropout and augmentation follow from it", low=0, high=2**32 - 1000)
    results_dir: str = given("results", "folder of checkpoints, logs and pictures of each run", needed=True)


class DataConfig(Section):
    dataset_dir: str = given("datasets/simulated", "holds <array>_dev and metadata_dev (and *_eval)", needed=True)
    feat_label_dir: str = given("", "features and labels; '' stands for <dataset_dir>/features")
    array: str = given("foa", "what recorded it: a name in arrays/ (foa, mic, ...) or a YAML file", needed=True)
    format: str = given("dcase", "of folders and annotations", choices=READERS)
    fold: int = given(1, "tut2018: the split that is tested on", low=1, high=3)
    mode: str = given("dev", "dev: train on folds 3-6, validate on 2, test on 1; eval: train on 2-6, validate on 1, test "
                      "on *_eval", choices=("dev", "eval"))
    augmented: bool = given(False, "train on the mixtures of augment_files.py as well")
    max_sources: int = given(2, "slots: the most simultaneous sources that a model predicts", low=1, high=20)
    label_slots: str = given("track", "which slot a source takes: track (the same for the whole event), frame (the order of "
                             "the CSV in each frame), start (by start time in each frame)",
                             choices=("track", "frame", "start"))
    overflow: str = given("error", "more sources than slots in training data: error, or drop those that began last (scores "
                          "keep all)", choices=("error", "drop"))
    max_audio_len_s: float = given(0.0, "longer recordings are cut to this; 0 for no limit", "s", 0, 1e6)

    @property
    def feature_dir(self):
        """Where features and labels are."""
        return self.feat_label_dir or f"{self.dataset_dir}/features"


class FeatureConfig(Section):
    features: str = given("", "feature set; '' stands for foa (ambisonics) or mic (capsules)", choices=Optional(FEATURES))
    fs: int = given(24000, "sample rate of the recordings", "Hz", 1000, 400_000)
    hop_len_s: float = given(0.02, "feature hop; windows are two hops long", "s", 1e-4, 10)
    label_hop_len_s: float = given(0.1, "label hop: the network predicts at this rate", "s", 1e-4, 10)
    nb_mel_bins: int = given(64, "mel bands, and lags of each pair of capsules", low=1, high=1024)
    num_fft_bins: int = given(0, "magphase: FFT length, half of it are bins; 0 for the power of two that holds a window",
                              low=0, high=1_000_000)
    top_db: float = given(80.0, "log-mel floor below the recording's maximum; 0 for none", "dB", -1e9, 1e9)

    @property
    def hop(self):
        """Samples between two feature frames."""
        return round(self.fs * self.hop_len_s)

    @property
    def ratio(self):
        """Feature frames per label frame."""
        return multiple("label_hop_len_s", self.label_hop_len_s, "hop_len_s", self.hop_len_s)


class BatchConfig(Section):
    label_sequence_length: int = given(50, "label frames in a training sequence", low=1, high=100_000)
    batch_size: int = given(64, "sequences in a batch", low=1, high=100_000)
    num_workers: int = given(0, "data-loading processes", low=0, high=256)


class AugmentConfig(Section):
    rotation_augment: bool = given(False, "rotate and mirror the sound field of training sequences, in all ways that map the "
                                   "array onto itself")
    level_augment_db: float = given(0.0, "make training sequences louder or softer by up to this", "dB", 0, 100)
    spec_augment: bool = given(False, "mask frames and bands of training sequences")


class ModelConfig(Section):
    model: str = given("doanet", "network", choices=MODELS)
    nb_cnn2d_filt: int = given(128, "maps of each convolution block", low=1, high=4096)
    f_pool_size: tuple[int, ...] = given((2, 2, 2), "pooling over bands of each convolution block", low=1, high=64)
    nb_rnn_layers: int = given(2, "recurrent layers", low=1, high=32)
    rnn_size: int = given(128, "recurrent units per direction", low=1, high=8192)
    self_attn: bool = given(False, "multi-head self-attention after the recurrent layers")
    nb_heads: int = given(4, "heads of the self-attention", low=1, high=256)
    nb_fnn_layers: int = given(2, "hidden layers of each output branch", low=0, high=32)
    fnn_size: int = given(128, "units of each hidden layer", low=1, high=8192)
    dropout_rate: float = given(0.0, "dropout", low=0, high=0.95)
    activity: bool = given(True, "predict which slots are active; without it every slot counts (mse trains none)")


class LossConfig(Section):
    loss: str = given("dmot", "loss", choices=LOSSES)
    association: str = given("hnet", "dmot: what pairs slots and references (hungarian passes no gradient)",
                             choices=ASSOCIATIONS)
    hnet_weights: str = given("", "frozen Hungarian network; '' stands for the shipped models/hnet_<max_sources>.pt")
    association_sees: str = given("distance", "dmot: distance, or activity too (an inactive slot is up to 1 farther)",
                                  choices=("distance", "activity"))
    dmotp: str = given("published", "dmot: frames weigh by their pairs as published, or mean distance",
                       choices=("published", "mean"))
    dmotp_weight: float = given(50.0, "w_p inside dMOTp", low=0, high=1e9)
    dmota_weight: float = given(1.0, "w_a of dMOTa", low=0, high=1e9)
    ids: str = given("published", "dmot: identity switches count births as published, or switch: only references active in "
                     "both frames", choices=("published", "switch"))
    ids_weight: float = given(1.0, "w_i of identity switches inside dMOTa", low=0, high=1e9)
    activity_weight: float = given(10.0, "of the activity term of dmot and pit", low=0, high=1e9)
    activity_gate_deg: float = given(180.0, "dmot, pit: a slot should be active where its direction is this close to its "
                                     "source", "degrees", 0, 180)
    pit_distance: str = given("squared", "pit: distance of a pair", choices=("squared", "plain"))
    pit_distance_weight: float = given(20.0, "pit: of the mean distance", low=0, high=1e9)
    pit_level: str = given("frame", "pit: one permutation per frame, per sequence, or track: per frame, where a source's "
                           "change of slot costs switch_cost", choices=("frame", "sequence", "track"))
    switch_cost: float = given(1.0, "pit_level=track: in units of the loss of a frame", low=0, high=1e9)
    alpha: float = given(1.0, "sel: of the great-circle distance (rad) beside the activity term", low=0, high=1e9)
    sel_slots: str = given("start", "sel: slot i is reference i by start time, or pit: any order (see pit_level)",
                           choices=("start", "pit"))


class TrackerConfig(Section):
    tracker: str = given("off", "links slots over time: off (a slot is an identity), nearest, kalman", choices=TRACKERS)
    gate_deg: float = given(30.0, "largest angle between a track and the prediction that continues it", "degrees", 0, 180,
                            name="tracker_gate_deg")
    max_gap: int = given(5, "label frames in a row that a track may miss, and no more than it was seen in", low=0,
                         high=100_000, name="tracker_max_gap")
    process_deg: float = given(0.2, "kalman: acceleration, per squared label frame", "degrees", 0, 180,
                               name="tracker_process_deg")
    measurement_deg: float = given(5.0, "kalman: error of a predicted direction", "degrees", 1e-6, 180,
                                   name="tracker_measurement_deg")


class TrainConfig(Section):
    nb_epochs: int = given(200, "epochs", low=1, high=1_000_000)
    optimizer: str = given("adam", "optimizer", choices=("adam", "adamw"))
    learning_rate: float = given(1e-3, "learning rate; the peak of a schedule", low=0, high=100)
    lr_schedule: str = given("constant", "learning rate over time: constant, onecycle, warmup (ADRENALINE's)",
                             choices=("constant", "onecycle", "warmup"))
    num_epochs_warmup: int = given(5, "warmup: epochs of rising learning rate", low=1, high=1_000_000)
    weight_decay: float = given(0.0, "weight decay", low=0, high=100)
    gradient_clip: float = given(0.0, "largest gradient norm; 0 for none", low=0, high=1e9)
    patience: int = given(50, "epochs without a better validation score before training stops", low=1, high=1_000_000)
    init_weights: str = given("", "start from these: a checkpoint, or a published DOAnet state dict")


class DeviceConfig(Section):
    device: str = given("auto", "device", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = given("auto", "precision", choices=("auto", "32-true", "bf16-mixed", "16-mixed"))
    compile: bool = given(False, "torch.compile network and loss; what cannot be compiled runs as it is")


class SimulationConfig(Section):
    recordings_per_fold: int = given(12, "recordings per fold", low=1, high=100_000, name="sim_recordings_per_fold")
    recording_len_s: float = given(60.0, "length of a recording", "s", 1, 36_000, name="sim_recording_len_s")
    rt60_s: tuple[float, ...] = given((0.3, 0.8), "reverberation time, drawn uniformly", "s", 0.05, 10, name="sim_rt60_s")
    snr_db: tuple[float, ...] = given((6.0, 30.0), "event level over ambient noise, drawn uniformly", "dB", -100, 200,
                                      name="sim_snr_db")
    elevation_deg: float = given(45.0, "elevations are drawn within ± this", "degrees", 0, 90, name="sim_elevation_deg")
    moving: float = given(0.4, "share of events that move", low=0, high=1, name="sim_moving")
    rooms_per_fold: int = given(4, "rooms per fold", low=1, high=100_000, name="sim_rooms_per_fold")


SECTIONS = {"run": RunConfig, "data": DataConfig, "features": FeatureConfig, "batches": BatchConfig,
            "augment": AugmentConfig, "model": ModelConfig, "loss": LossConfig, "tracker": TrackerConfig,
            "training": TrainConfig, "device": DeviceConfig, "simulation": SimulationConfig}
# Flat name → (section, field).
FLAT = {field.alias or name: (section, name) for section, kind in SECTIONS.items()
        for name, field in kind.model_fields.items()}
# Earlier names of parameters, and those of the published code, that stay valid.
ALIASES = {"dataset": "array", "turn_augment": "rotation_augment"}


def multiple(longer_name, longer, shorter_name, shorter):
    """How many times ``shorter`` goes into ``longer``; UserError unless it is a whole number."""
    ratio = longer / shorter
    if abs(ratio - round(ratio)) > 1e-6 or ratio < 1:
        raise UserError(f"{longer_name} must be a whole multiple of {shorter_name} "
                        f"({longer:g} s is not one of {shorter:g} s)")
    return round(ratio)


def parameter(name):
    """(FieldInfo, flat name) of a parameter by any of its names; UserError for an unknown one."""
    name = ALIASES.get(name, name)
    if name not in FLAT:
        raise UserError(f"unknown parameter '{name}'.{nearest(name, [*FLAT, *ALIASES])} "
                        "python3 doanet_parameters.py lists all parameters")
    section, field = FLAT[name]
    return SECTIONS[section].model_fields[field], name


def checked(name, value):
    """``value`` as the parameter's own type; UserError for a wrong type, choice or range."""
    _, name = parameter(name)
    section, field = FLAT[name]
    try:
        return getattr(SECTIONS[section](**{field: value}), field)
    except ValidationError as error:
        raise UserError(f"parameter '{name}' {_told(error.errors()[0], SECTIONS[section].model_fields[field])}") from None


def _told(error, info):
    """One error of pydantic in our words."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    wanted = type(info.default)
    example = list(info.default) if wanted is tuple else info.default
    kind = TYPES[wanted]
    if wanted is tuple and isinstance(error["input"], float) and type(info.default[0]) is int:
        kind = "whole numbers"
    value = error["input"]
    return f"takes {kind} such as {example!r}, not {value!r}"


@dataclass(frozen=True)
class Config:
    """All parameters of one experiment, by section, and its array.

    ``stored`` holds what was given, for files; ``from_stored`` is its inverse, also for files of the first edition.
    """

    task_id: str
    array: Array
    run: RunConfig
    data: DataConfig
    features: FeatureConfig
    batches: BatchConfig
    augment: AugmentConfig
    model: ModelConfig
    loss: LossConfig
    tracker: TrackerConfig
    training: TrainConfig
    device: DeviceConfig
    simulation: SimulationConfig

    def __post_init__(self):
        length, held = self.batches.label_sequence_length, self.labels_per_score
        _ = self.features.ratio
        if length % held:
            raise UserError(f"label_sequence_length={length} must hold whole frames of scores ({self.score_hop_s:g} s), so "
                            f"be a multiple of {held}")

    @classmethod
    def build(cls, task_id="1", values=None, array=None):
        """From flat ``values`` (defaults for the rest); the array is that of ``values['array']`` unless given."""
        fields = {section: {} for section in SECTIONS}
        for key, value in (values or {}).items():
            section, field = FLAT[parameter(key)[1]]
            fields[section][field] = checked(key, value)
        sections = {section: SECTIONS[section](**given) for section, given in fields.items()}
        return cls(str(task_id), array or find_array(sections["data"].array), **sections)

    def flat(self):
        """All parameters by their flat names."""
        return {name: getattr(getattr(self, section), field) for name, (section, field) in FLAT.items()}

    def replaced(self, **values):
        """The same with other parameters, by flat names."""
        values = {parameter(key)[1]: value for key, value in values.items()}
        same = "array" not in values or values["array"] == self.data.array
        return Config.build(self.task_id, self.flat() | values, self.array if same else None)

    def stored(self):
        """What was given, as plain types; simulation takes no part in a model."""
        return {"task_id": self.task_id, **{name: list(value) if isinstance(value, tuple) else value
                                            for name, value in self.flat().items() if FLAT[name][0] != "simulation"}}

    @classmethod
    def from_stored(cls, stored, array):
        """From ``stored`` of any edition: derived values of the first are recognized, parameters that are no more left
        out. Parameters newer than the file have their defaults."""
        values = {ALIASES.get(key, key): value for key, value in stored.items()}
        values = {key: value for key, value in values.items() if key in FLAT and FLAT[key][0] != "simulation"}
        if values.get("feat_label_dir") == f"{values.get('dataset_dir')}/features":
            values["feat_label_dir"] = ""
        if "feature_label_resolution" in stored and stored.get("features") != "magphase":
            values.pop("num_fft_bins", None)
        for key in [key for key, (section, _) in FLAT.items() if section == "loss" and key in values]:
            try:
                checked(key, values[key])
            except UserError:  # a choice that is no more, which plays no part in a trained model
                del values[key]
        return cls.build(stored.get("task_id", "1"), values, array)

    # --- what follows from several sections --------------------------------------------------------------------

    @property
    def epochs(self):
        """Epochs to train: 2 in a quick test."""
        return min(self.training.nb_epochs, 2) if self.run.quick_test else self.training.nb_epochs

    @property
    def predicts_activity(self):
        """Whether the network has an activity branch."""
        return self.model.activity and self.loss.loss != "mse"

    @functools.cached_property
    def score_hop_s(self):
        """Frame length of labels on disk and of scores (s): that of the annotations, or the label hop where these have
        none."""
        return READERS[self.data.format].frame_s or self.features.label_hop_len_s

    @functools.cached_property
    def labels_per_score(self):
        """Label frames per frame of annotations and scores; UserError where the label hop does not divide these."""
        frame_s, hop_s = self.score_hop_s, self.features.label_hop_len_s
        ratio = frame_s / hop_s
        if abs(ratio - round(ratio)) > 1e-6 or ratio < 1:
            raise UserError(f"label_hop_len_s={hop_s:g}: annotations of format={self.data.format} have frames of {frame_s:g} "
                            f"s, which a label hop must divide ({_divisors(frame_s)})")
        return round(ratio)

    @property
    def features_name(self):
        """The feature set: as asked for, or that of the array."""
        return self.features.features or ("foa" if self.array.kind == "ambisonic" else "mic")


def _divisors(frame_s):
    return "such as " + ", ".join(f"{frame_s / n:g}" for n in (1, 2, 4, 5))


def defaults():
    """{flat name: default} of all parameters."""
    return {name: SECTIONS[section].model_fields[field].default for name, (section, field) in FLAT.items()}


def described():
    """(section, flat name, default, unit, range or choices, about) of each parameter, for tables and help."""
    for section, kind in SECTIONS.items():
        for field, info in kind.model_fields.items():
            limits = info.json_schema_extra
            span = " | ".join(c or "''" for c in limits["choices"]) if limits["choices"] is not None else (
                f"{limits['low']:g} to {limits['high']:g}" if limits["low"] is not None else "")
            yield section, info.alias or field, info.default, limits["unit"], span, info.description


def changed(before, after):
    """Parameters in which two Configs differ, {flat name: value before}."""
    before, after = before.flat(), after.flat()
    return {name: value for name, value in before.items() if value != after[name] and FLAT[name][0] != "simulation"}


