"""All parameters, section by section, and ``Config``, the parameters of one experiment.

To add a parameter, add a line to its section: name, type, default, description, and where they apply unit, range and
choices. The command line, YAML files, checkpoints, messages and ``python3 doanet_parameters.py`` follow from it.

Parameters are flat for users (``nb_epochs=20``); ``FLAT`` assigns each name to its section. In code, a component
receives its section, never all parameters. A section holds what was given; values that follow from it are properties,
of the section or, where they follow from several sections, of ``Config``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pydantic import ValidationError, field_validator

from doatools.config.commandline import LARGEST_SEED
from doatools.config.section import OrEmpty, Section, limits, parameter, problem
from doatools.errors import UserError, nearest
from doatools.registry import ASSOCIATIONS, FEATURES, LOSSES, MODELS, READERS, TRACKERS
from doatools.spatial.arrays import Array, find_array


class RunConfig(Section):
    quick_test: bool = parameter(True, "2 epochs of 2 batches, to see that everything works; False for a full training")
    seed: int = parameter(1234, "seed of initial weights, order of sequences, dropout and augmentation",
                          within=(0, LARGEST_SEED))
    results_dir: str = parameter("results", "folder for checkpoints, logs and pictures; each run has a sub-folder",
                                 required=True)


class DataConfig(Section):
    dataset_dir: str = parameter("datasets/simulated", "folder with <array>_dev and metadata_dev (and *_eval)",
                                 required=True)
    feat_label_dir: str = parameter("", "folder for features and labels; '' for <dataset_dir>/features")
    array: str = parameter("foa", "microphone array: a name in arrays/ (foa, mic, ...) or a YAML file", required=True)
    format: str = parameter("dcase", "format of the dataset: layout of folders and annotations", choices=READERS)
    fold: int = parameter(1, "tut2018: the split to test on", within=(1, 3))
    mode: str = parameter("dev", "dev: train on folds 3-6, validate on 2, test on 1; eval: train on 2-6, validate on 1,"
                          " test on *_eval", choices=("dev", "eval"))
    augmented: bool = parameter(False, "also train on the mixtures of augment_files.py")
    max_sources: int = parameter(2, "number of output slots: most simultaneous sources of a model", within=(1, 20))
    label_slots: str = parameter("track", "slots of the labels: track (an event keeps its slot), frame (order of lines "
                                 "in each frame), start (order of start times in each frame)",
                                 choices=("track", "frame", "start"))
    overflow: str = parameter("error", "training data with more simultaneous sources than max_sources: error, or drop "
                              "the sources that began last (scores keep all)", choices=("error", "drop"))
    rotation: str = parameter("", "file of check_dataset.py --rotation, to rotate labels into the axes of the array")
    max_audio_len_s: float = parameter(0.0, "longer recordings are cut to this length; 0 for no limit", unit="s",
                                       within=(0, 1e6))

    @property
    def feature_dir(self):
        """Folder of features and labels."""
        return self.feat_label_dir or f"{self.dataset_dir}/features"


class FeatureConfig(Section):
    features: str = parameter("", "feature set; '' for foa (ambisonics) or mic (capsules); for ambisonics, vectors is "
                              "the same as foa",
                              choices=OrEmpty(FEATURES))
    fs: int = parameter(24000, "sample rate of the recordings", unit="Hz", within=(1000, 400_000))
    hop_len_s: float = parameter(0.02, "hop of feature frames; windows have two hops", unit="s", within=(1e-4, 10))
    label_hop_len_s: float = parameter(0.1, "hop of label frames, for which the network predicts", unit="s",
                                       within=(1e-4, 10))
    nb_mel_bins: int = parameter(64, "number of mel bands, and of lags for each pair of capsules", within=(1, 1024))
    num_fft_bins: int = parameter(0, "magphase: length of the FFT, twice the number of bins; 0 for the smallest power "
                                  "of two that fits a window", within=(0, 1_000_000))
    top_db: float = parameter(80.0, "range of log-mel features below the maximum of the recording; 0 for no limit",
                              unit="dB", within=(-1e9, 1e9))

    @property
    def hop(self):
        """Samples from one feature frame to the next."""
        return round(self.fs * self.hop_len_s)

    @property
    def ratio(self):
        """Feature frames per label frame; UserError unless they fill it."""
        ratio = _whole_ratio(self.label_hop_len_s, self.hop_len_s)
        if ratio is None:
            raise UserError(f"label_hop_len_s must be a whole multiple of hop_len_s ({self.label_hop_len_s:g} s is not "
                            f"one of {self.hop_len_s:g} s); set hop_len_s={self.label_hop_len_s / 2:g}, for example")
        return ratio


class BatchConfig(Section):
    label_sequence_length: int = parameter(50, "length of a training sequence in label frames", within=(1, 100_000))
    batch_size: int = parameter(64, "sequences per batch", within=(1, 100_000))
    num_workers: int = parameter(0, "processes that load data", within=(0, 256))


class AugmentConfig(Section):
    rotation_augment: bool = parameter(False, "rotate and mirror the sound field of training sequences, in all ways "
                                       "that map the array onto itself")
    level_augment_db: float = parameter(0.0, "change the level of training sequences by up to ± this", unit="dB",
                                        within=(0, 100))
    spec_augment: bool = parameter(False, "mask random ranges of frames and bands of training sequences")
    mix_augment: float = parameter(0.0, "share of each training batch to replace by mixtures of two recordings, made "
                                   "during training", within=(0, 1))


class ModelConfig(Section):
    model: str = parameter("doanet", "network", choices=MODELS)
    nb_cnn2d_filt: int = parameter(128, "channels of each convolutional block", within=(1, 4096))
    f_pool_size: tuple[int, ...] = parameter((2, 2, 2), "pooling over bands in each convolutional block",
                                             within=(1, 64))
    nb_rnn_layers: int = parameter(2, "recurrent layers", within=(1, 32))
    rnn_size: int = parameter(128, "recurrent units per direction", within=(1, 8192))
    self_attn: bool = parameter(False, "multi-head self-attention after the recurrent layers")
    nb_heads: int = parameter(4, "heads of the self-attention", within=(1, 256))
    nb_fnn_layers: int = parameter(2, "hidden layers of each output branch", within=(0, 32))
    fnn_size: int = parameter(128, "units of each hidden layer", within=(1, 8192))
    dropout_rate: float = parameter(0.0, "dropout rate", within=(0, 0.95))
    causal: bool = parameter(False, "bearing: look ahead by one label frame only, for live sound with a short delay")
    activity: bool = parameter(
        True, "predict which slots are active; False: all slots count as active (always so with loss=mse)")


class LossConfig(Section):
    loss: str = parameter("dmot", "loss", choices=LOSSES)
    association: str = parameter("hnet", "dmot: how slots are paired with references (hungarian has no gradient)",
                                 choices=ASSOCIATIONS)
    hnet_weights: str = parameter("", "weights of Hnet, which are not trained; '' for models/hnet_<max_sources>.pt")
    association_sees: str = parameter("distance", "dmot: input of the association: distance, or distance and activity "
                                      "(the distance of an inactive slot grows by up to 1)",
                                      choices=("distance", "activity"))
    dmotp: str = parameter("published", "dmot: weight frames by their number of pairs (published), or mean distance",
                           choices=("published", "mean"))
    dmotp_weight: float = parameter(50.0, "dmot: weight of dMOTp (w_p)", within=(0, 1e9))
    dmota_weight: float = parameter(1.0, "dmot: weight of dMOTa (w_a)", within=(0, 1e9))
    ids: str = parameter("published", "dmot: ID switches include the onsets of references (published), or count only "
                         "references that are active in both frames (switch)", choices=("published", "switch"))
    ids_weight: float = parameter(1.0, "dmot: weight of ID switches within dMOTa (w_i)", within=(0, 1e9))
    activity_weight: float = parameter(10.0, "dmot, pit: weight of the activity term", within=(0, 1e9))
    activity_gate_deg: float = parameter(180.0, "dmot, pit: train a slot as active only if its direction is within "
                                         "this angle of its source", unit="degrees", within=(0, 180))
    pit_distance: str = parameter("squared", "pit: distance of a pair, squared or not (plain)",
                                  choices=("squared", "plain"))
    pit_distance_weight: float = parameter(20.0, "pit: weight of the mean distance", within=(0, 1e9))
    pit_level: str = parameter("frame", "pit: one permutation per frame, per sequence, or per frame with a cost for "
                               "each change of slot (track)", choices=("frame", "sequence", "track"))
    switch_cost: float = parameter(1.0, "pit_level=track: cost of a change of slot, relative to the loss of a frame",
                                   within=(0, 1e9))
    alpha: float = parameter(1.0, "sel: weight of the great-circle distance (rad) relative to the activity term",
                             within=(0, 1e9))
    sel_slots: str = parameter("start", "sel: slots ordered by the start times of sources (start), or any order (pit)",
                               choices=("start", "pit"))


class TrackerConfig(Section):
    tracker: str = parameter("off", "how slots are linked over time: off (each slot is an identity), nearest, kalman",
                             choices=TRACKERS)
    duplicate_deg: float = parameter(0.0, "drop a slot that points within this angle of a more probable one, as both "
                                     "follow the same source; 0: keep all", unit="degrees", within=(0, 180))
    gate_deg: float = parameter(30.0, "largest angle between a track and a prediction that continues it",
                                unit="degrees", within=(0, 180), name="tracker_gate_deg")
    max_gap: int = parameter(5, "longest gap of a track in label frames; at most as many as it was detected in",
                             within=(0, 100_000), name="tracker_max_gap")
    pause: int = parameter(0, "longest pause, in label frames, after which a source keeps its track if it continues "
                           "within half of tracker_gate_deg; 0 for none", within=(0, 100_000),
                           name="tracker_pause")
    process_deg: float = parameter(0.2, "kalman: standard deviation of the acceleration, per squared label frame",
                                   unit="degrees", within=(0, 180), name="tracker_process_deg")
    measurement_deg: float = parameter(5.0, "kalman: standard deviation of a predicted direction", unit="degrees",
                                       within=(1e-6, 180), name="tracker_measurement_deg")


class TrainConfig(Section):
    nb_epochs: int = parameter(200, "epochs", within=(1, 1_000_000))
    optimizer: str = parameter("adam", "optimizer: adam, adamw, or muon (for inner weights, with adamw for the others)",
                               choices=("adam", "adamw", "muon"))
    learning_rate: float = parameter(1e-3, "learning rate; with a schedule, its peak", within=(0, 100))
    lr_schedule: str = parameter("constant", "schedule of the learning rate: constant, onecycle, linear (rises in 5 % "
                                 "of the steps, then falls to 0), warmup (as published with ADRENALINE)",
                                 choices=("constant", "onecycle", "linear", "warmup"))
    num_epochs_warmup: int = parameter(5, "warmup: epochs with a rising learning rate", within=(1, 1_000_000))
    weight_decay: float = parameter(0.0, "weight decay", within=(0, 100))
    gradient_clip: float = parameter(0.0, "clip gradients to this norm; 0 for no clipping", within=(0, 1e9))
    patience: int = parameter(50, "stop after this many epochs without a better validation score",
                              within=(1, 1_000_000))
    init_weights: str = parameter("", "file of initial weights: a checkpoint, or a published DOAnet state dict")


class DeviceConfig(Section):
    device: str = parameter("auto", "device", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = parameter("auto", "precision", choices=("auto", "32-true", "bf16-mixed", "16-mixed"))
    compile: bool = parameter(False, "use torch.compile for network and loss, where possible")


class SimulationConfig(Section):
    recordings_per_fold: int = parameter(12, "recordings per fold", within=(1, 100_000), name="sim_recordings_per_fold")
    recording_len_s: float = parameter(60.0, "length of a recording", unit="s", within=(1, 36_000),
                                       name="sim_recording_len_s")
    rt60_s: tuple[float, float] = parameter((0.3, 0.8), "reverberation time: minimum and maximum", unit="s",
                                          within=(0.02, 5), name="sim_rt60_s")
    snr_db: tuple[float, float] = parameter((6.0, 30.0), "level of events relative to the ambient noise: minimum and "
                                            "maximum", unit="dB", within=(-100, 200), name="sim_snr_db")
    elevation_deg: float = parameter(45.0, "elevations are within ± this", unit="degrees", within=(0, 90),
                                     name="sim_elevation_deg")
    moving: float = parameter(0.4, "share of events that move", within=(0, 1), name="sim_moving")
    rooms_per_fold: int = parameter(4, "rooms per fold", within=(1, 100_000), name="sim_rooms_per_fold")
    empty: float = parameter(0.0, "share of recordings with noise only", within=(0, 1), name="sim_empty")
    room_m: tuple[float, float, float, float, float, float] = parameter(
        (5.0, 4.5, 2.9, 13.0, 10.0, 4.8), "length, width and height of the smallest and of the largest room",
        unit="m", within=(1.5, 100), name="sim_room_m")
    offset: float = parameter(0.08, "distance of the array from the centre of the room, up to this share of the room",
                              within=(0, 0.4), name="sim_offset")
    distance_m: tuple[float, float] = parameter((1.0, 3.5), "distance of a source: minimum and maximum; limited "
                                                "by the walls", unit="m", within=(0.2, 50), name="sim_distance_m")
    margin_m: float = parameter(0.3, "minimum distance of sources from walls", unit="m", within=(0.05, 2),
                                name="sim_margin_m")
    surface_contrast: float = parameter(0.0, "different absorption of floor, ceiling and walls: factors up to "
                                        "exp(±this)", within=(0, 3), name="sim_surface_contrast")
    decay_tilt: float = parameter(0.0, "frequency dependence of RT60: longer at 250 Hz by a factor of up to 2^this, "
                                  "shorter at 4 kHz by up to 2^(1.5·this)", within=(0, 2), name="sim_decay_tilt")
    directivity: float = parameter(0.0, "share of events with the directivity of a talker, in any orientation",
                                   within=(0, 1), name="sim_directivity")
    directional_noise: float = parameter(0.0, "share of recordings whose ambient noise includes babble, a fan or hum "
                                         "from one direction", within=(0, 1), name="sim_directional_noise")
    gain_db: float = parameter(0.0, "gain mismatch of capsules, up to ± this", unit="dB", within=(0, 20),
                               name="sim_gain_db")
    phase_deg: float = parameter(0.0, "phase mismatch of capsules, up to ± this", unit="degrees", within=(0, 90),
                                 name="sim_phase_deg")
    position_mm: float = parameter(0.0, "error of each coordinate of a capsule's position, up to ± this", unit="mm",
                                   within=(0, 20), name="sim_position_mm")
    self_noise: float = parameter(0.0, "self-noise of a capsule: maximum r.m.s. relative to the nominal level of a "
                                  "sound (0.01 is -40 dB)", within=(0, 1), name="sim_self_noise")
    wind: float = parameter(0.0, "wind noise of capsules in a third of the recordings: maximum r.m.s. relative to the "
                            "nominal level of a sound", within=(0, 10), name="sim_wind")
    dc: float = parameter(0.0, "DC offset of a channel, up to ± this share of full scale", within=(0, 0.5),
                          name="sim_dc")
    encoder_mm: tuple[float, float] = parameter(
        (0.0, 0.0), "radius of the four cardioid capsules that ambisonics are encoded from: minimum and maximum; "
        "0 for ideal ambisonics", unit="mm", within=(0, 50), name="sim_encoder_mm")
    encoder_corrected: float = parameter(1.0, "share of encoders with correction filters", within=(0, 1),
                                         name="sim_encoder_corrected")
    dipole_db: tuple[float, float] = parameter(
        (0.0, 0.0), "level of the figure-of-eight channels Y, Z, X relative to W: minimum and maximum", unit="dB",
        within=(-12, 12), name="sim_dipole_db")
    stand_deg: float = parameter(0.0, "unlabelled rotation and tilt of the array, up to ± this",
                                 unit="degrees", within=(0, 45), name="sim_stand_deg")
    clipping_db: float = parameter(0.0, "in half of the recordings, peaks exceed full scale by up to this and are "
                                   "clipped; 0 for none", unit="dB", within=(0, 30), name="sim_clipping_db")
    low_cut_hz: float = parameter(0.0, "maximum cutoff of the recorder's first-order low cut; 0 for none", unit="Hz",
                                  within=(0, 500), name="sim_low_cut_hz")

    @field_validator("rt60_s", "snr_db", "distance_m", "encoder_mm", "dipole_db")
    @classmethod
    def _ascending(cls, value):
        if value[0] > value[1]:
            raise ValueError(f"takes [smallest, largest], not {list(value)}")
        return value

    @field_validator("room_m")
    @classmethod
    def _growing(cls, value):
        if any(low > high for low, high in zip(value[:3], value[3:])):
            raise ValueError("takes length, width and height of the smallest room, then of the largest, not "
                             f"{list(value)}")
        return value


SECTIONS = {"run": RunConfig, "data": DataConfig, "features": FeatureConfig, "batches": BatchConfig,
            "augment": AugmentConfig, "model": ModelConfig, "loss": LossConfig, "tracker": TrackerConfig,
            "training": TrainConfig, "device": DeviceConfig, "simulation": SimulationConfig}
# {flat name: (section, field)}
FLAT = {field.alias or name: (section, name) for section, kind in SECTIONS.items()
        for name, field in kind.model_fields.items()}
# Other names of parameters that are accepted: of the published code, and earlier ones of ours.
ALIASES = {"dataset": "array", "turn_augment": "rotation_augment"}


# --- single parameters, by their flat names ----------------------------------------------------------------------

def flat_name(name):
    """The flat name of a parameter by any of its names; UserError for an unknown one."""
    name = ALIASES.get(name, name)
    if name not in FLAT:
        raise UserError(f"unknown parameter '{name}'.{nearest(name, [*FLAT, *ALIASES])} "
                        "python3 doanet_parameters.py lists all parameters")
    return name


def checked(name, value):
    """``value`` in the parameter's own type; UserError for a wrong type, choice or range."""
    name = flat_name(name)
    section, field = FLAT[name]
    try:
        return getattr(SECTIONS[section](**{field: value}), field)
    except ValidationError as error:
        raise UserError(f"parameter '{name}' {problem(error, SECTIONS[section].model_fields[field])}") from None


def defaults():
    """{flat name: default} of all parameters."""
    return {name: SECTIONS[section].model_fields[field].default for name, (section, field) in FLAT.items()}


def described():
    """(section, flat name, unit, range or choices, description) of each parameter, for tables and help."""
    for name, (section, field) in FLAT.items():
        info = SECTIONS[section].model_fields[field]
        yield section, name, info.json_schema_extra["unit"], limits(info), info.description


# --- an experiment -----------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Config:
    """All parameters of one experiment, by section, and its array. Immutable; ``replaced`` makes a changed copy."""

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
        """UserError for sections that do not go together."""
        length, per_score = self.batches.label_sequence_length, self.labels_per_score
        _ = self.features.ratio
        if length % per_score:
            raise UserError(f"label_sequence_length={length} must hold whole frames of annotations "
                            f"({self.score_hop_s:g} s), so be a multiple of {per_score}")

    @classmethod
    def build(cls, task_id="1", values=None, array=None):
        """From flat ``values`` (defaults for the rest); the array is that of ``values['array']`` unless given."""
        fields = {section: {} for section in SECTIONS}
        for key, value in (values or {}).items():
            section, field = FLAT[flat_name(key)]
            fields[section][field] = checked(key, value)
        sections = {section: SECTIONS[section](**given) for section, given in fields.items()}
        return cls(str(task_id), array or find_array(sections["data"].array), **sections)

    def flat(self):
        """All parameters by their flat names."""
        return {name: getattr(getattr(self, section), field) for name, (section, field) in FLAT.items()}

    def replaced(self, **values):
        """A copy with other values of some parameters, by flat names."""
        values = {flat_name(key): value for key, value in values.items()}
        same_array = values.get("array", self.data.array) == self.data.array
        return Config.build(self.task_id, self.flat() | values, self.array if same_array else None)

    def stored(self):
        """What was given, as plain types, for checkpoints; without simulation, which takes no part in a model."""
        return {"task_id": self.task_id, **{name: list(value) if isinstance(value, tuple) else value
                                            for name, value in self.flat().items() if FLAT[name][0] != "simulation"}}

    @classmethod
    def from_stored(cls, stored, array):
        """The inverse of ``stored``, also for checkpoints of the first edition, which stored derived values as well.

        Parameters that are newer than the file have their defaults. Parameters and choices of the loss that no longer
        exist play no part in a trained model and are left out.
        """
        values = {ALIASES.get(key, key): value for key, value in stored.items()}
        values = {key: value for key, value in values.items() if key in FLAT and FLAT[key][0] != "simulation"
                  and not (FLAT[key][0] == "loss" and _is_gone(key, value))}
        if values.get("feat_label_dir") == f"{values.get('dataset_dir')}/features":
            values["feat_label_dir"] = ""
        if "feature_label_resolution" in stored and stored.get("features") != "magphase":
            values.pop("num_fft_bins", None)
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

    @property
    def predicts_radius(self):
        """Whether the network may estimate its error, which only this loss trains."""
        return self.loss.loss == "pit"

    @property
    def array_features(self):
        """The feature set that belongs to the array."""
        return {"ambisonic": "foa", "drawn": "steered"}.get(self.array.kind, "mic")

    @property
    def features_name(self):
        """The feature set: the given one, or that of the array. Vectors of ambisonics are intensities."""
        name = self.features.features or self.array_features
        return "foa" if name == "vectors" and self.array.kind == "ambisonic" else name

    @functools.cached_property
    def score_hop_s(self):
        """Frame length (s) of labels on disk and of scores: that of the annotations, or the label hop where annotations
        state times rather than frames."""
        return READERS[self.data.format].frame_s or self.features.label_hop_len_s

    @functools.cached_property
    def labels_per_score(self):
        """Label frames per frame of scores; UserError unless they fill it."""
        frame_s, hop_s = self.score_hop_s, self.features.label_hop_len_s
        count = _whole_ratio(frame_s, hop_s)
        if count is None:
            hops = [f"{frame_s / n:g}" for n in range(1, 11)
                    if _whole_ratio(float(f"{frame_s / n:g}"), self.features.hop_len_s)]
            remedy = (f"set it to {' or '.join(hops)}" if hops else
                      f"set label_hop_len_s={frame_s:g} and a hop_len_s that divides it, such as {frame_s / 5:g}")
            raise UserError(f"label_hop_len_s={hop_s:g} does not divide the frames of {frame_s:g} s that annotations "
                            f"of format={self.data.format} have; {remedy}")
        return count


def _is_gone(key, value):
    try:
        checked(key, value)
    except UserError:
        return True
    return False


def _whole_ratio(longer, shorter):
    """How many times ``shorter`` goes into ``longer``; None unless that is a whole number."""
    ratio = longer / shorter
    return round(ratio) if ratio >= 1 - 1e-6 and abs(ratio - round(ratio)) < 1e-6 else None
