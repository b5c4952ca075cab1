"""From sound to tracks, rung by rung; each can be used alone.

features → directions          localize_features(localizer, features) → Course
audio array → directions       localize_audio(localizer, audio, fs) → Course       as it comes: CourseStream
audio array → tracks           track_audio(localizer, audio, fs) → TRACK_ROWS      as it comes: TrackStream
file → tracks, spectrogram     track_file(localizer, path) → Recorded

All of them run the same windows at the same times and link the same frames, so that a file, pieces of it of any size
and a live stream give the same answers. A localizer is anything with ``params``, ``features``, ``scaler``, ``array``
and ``predict`` (normalised features (B, C, T', F) → directions (B, T, N, 3), probabilities (B, T, N) or None, numpy):
``load_localizer`` gives one for a checkpoint, by torch, or for an exported ONNX file, without torch.

Audio is float32 (samples, channels), full scale ±1, at the localizer's rate ``features.fs``. T label frames (100 ms)
of feature frames T' = 5 T; C feature channels, F bands, N slots.
"""

import json
import os
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from cls_feature_class import FeatureClass, Scaler
from doanet_parameters import ACTIVE_ABOVE, DEFAULTS
from doatools.data import sound_input
from doatools.errors import UserError
from doatools.spatial.arrays import Array
from doatools.spatial.geometry import azimuth_elevation
from doatools.track.rotated import TurnedCopies
from doatools.track.summary import Spectrogram, doubts
from doatools.track.trackers import Linker
from doatools.track.windows import Merger, Windows

SILENT = 1e-5  # full scale; a label frame whose samples are all smaller holds no source, whatever a network says
CONFIRMED = 3  # frames in which a track must have been seen before it is told
TRACK_ROWS = np.dtype([("frame", "i4"), ("class", "i4"), ("track", "i4"), ("azimuth", "f4"), ("elevation", "f4"),
                       ("probability", "f4")])  # sorted by frame; tracks count from 1; the class is always 0


# --- localizers ----------------------------------------------------------------------------------------------

def load_localizer(path, fast=False):
    """A localizer of a checkpoint (.pt) or of what export_doanet.py made of one (.onnx).

    One that was trained with turns answers with means over four turned copies, unless ``fast``.
    """
    if Path(path).suffix.lower() == ".onnx":
        localizer = OnnxLocalizer(path)
    else:
        from localizer import Localizer  # loads torch, which an exported network need not have
        localizer = Localizer.from_checkpoint(path).for_inference()
    return TurnedCopies(localizer) if localizer.params["turn_augment"] and not fast else localizer


class OnnxLocalizer:
    """An exported network, run by ONNX Runtime, with the features it reads."""

    def __init__(self, path):
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; make one with: python3 export_doanet.py <checkpoint.pt>")
        try:
            import onnxruntime
        except ImportError:
            raise UserError("reading an ONNX file takes one more package: pip install onnxruntime") from None
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0: one for each core
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions have no common base
            raise UserError(f"{path}: not a readable ONNX file ({str(error).splitlines()[0]})") from None
        about = self._session.get_modelmeta().custom_metadata_map.get("doanet")
        if about is None:
            raise UserError(f"{path}: not exported by this toolkit (its metadata say nothing of features)")
        about = json.loads(about)
        self.params = DEFAULTS | about["params"]
        self.scaler = Scaler(*(np.array(about["scaler"][name]) for name in ("mean", "scale")))
        self.array = Array.from_plain(about["array"])
        self.features = FeatureClass(self.params)

    def predict(self, features):
        answer = self._session.run(None, {"features": np.ascontiguousarray(features, np.float32)})
        return answer[0], answer[1] if len(answer) > 1 else None


# --- features → directions -----------------------------------------------------------------------------------

class Course(NamedTuple):
    """Directions over consecutive label frames."""

    doa: np.ndarray  # (T, N, 3) unit vectors
    probability: np.ndarray  # (T, N) of activity; 1 where the network has no activity branch
    spectrum: np.ndarray  # (T, F) dB, the first feature channel

    @classmethod
    def join(cls, courses):
        return cls(*(np.concatenate(parts) for parts in zip(*courses)))


class _Answers:
    """Features, label frame after label frame, → Courses, by overlapped windows.

    Features that were made with top_db have a floor below the recording's maximum, which is not known before its end:
    the maximum up to the end of the window takes its place.
    """

    def __init__(self, localizer, windows):
        self.localizer, self.windows = localizer, windows
        self._ratio = localizer.params["feature_label_resolution"]
        self._channels = localizer.features.nb_feature_channels
        self._bands = len(localizer.scaler.mean) // self._channels
        self._merger = Merger(windows)
        self._rows = np.zeros((0, self._channels * self._bands), np.float32)  # from the next window's start on
        self._answered = 0  # of these, what the last window has seen as well
        self._spectra = np.zeros((0, self._bands), np.float32)  # of label frames that are not final yet
        self._loudest = -np.inf

    def feed(self, features):
        """Unscaled features (T', C*F), whole label frames of them, → the Course that is final by now."""
        self._rows = np.concatenate([self._rows, features])
        spectra = features[:, : self._bands].reshape(-1, self._ratio, self._bands).mean(1)
        self._spectra = np.concatenate([self._spectra, spectra])
        courses = [self.nothing()]
        while len(self._rows) >= self.windows.length * self._ratio:
            courses.append(self._run_window())
        return Course.join(courses)

    def finish(self):
        """The rest; windows beyond the end are filled with zeros, as the last sequence of a recording in training."""
        courses = [self.nothing()]
        while len(self._rows) > self._answered:
            courses.append(self._run_window())
        if len(self._spectra):
            courses.append(self._course(*self._merger.rest()))
        return Course.join(courses)

    def _run_window(self):
        """The next window, and on by a hop."""
        localizer, length = self.localizer, self.windows.length * self._ratio
        rows = self._floored(self._rows[:length])
        scaled = np.zeros((length, rows.shape[1]), np.float32)
        scaled[: len(rows)] = localizer.scaler.apply(rows)
        doa, probability = localizer.predict(localizer.features.as_channels(scaled)[None])
        probability = np.ones(doa.shape[1:3], np.float32) if probability is None else probability[0]
        self._rows = self._rows[self.windows.hop * self._ratio :]
        self._answered = length - self.windows.hop * self._ratio
        return self._course(*self._merger.add(doa[0], probability))

    def _floored(self, rows):
        """Rows with the floor of top_db under their log-mels."""
        top_db = self.localizer.params["top_db"]
        if top_db <= 0:
            return rows
        rows = rows.copy()
        mels = rows.reshape(len(rows), self._channels, self._bands)[:, : self.localizer.features.extractor.log_mels]
        self._loudest = np.maximum(mels.max((0, 2)), self._loudest)  # of each channel
        np.maximum(mels, self._loudest[:, None] - np.float32(top_db), out=mels)  # a view into rows
        return rows

    def nothing(self):
        """The Course of no frame."""
        slots = self.localizer.params["max_sources"]
        return self._course(np.zeros((0, slots, 3), np.float32), np.zeros((0, slots), np.float32))

    def _course(self, doa, probability):
        """Final frames and their spectra; frames of zeros beyond the end are left out."""
        spectra, self._spectra = self._spectra[: len(doa)], self._spectra[len(doa) :]
        return Course(doa[: len(spectra)], probability[: len(spectra)], spectra)


def localize_features(localizer, features, latency_s=None):
    """Unscaled features (T', C*F) of a recording, as FeatureClass.extract makes them → Course."""
    answers = _Answers(localizer, make_windows(localizer, latency_s))
    missing = -len(features) % localizer.params["feature_label_resolution"]
    return Course.join([answers.feed(np.pad(features, ((0, missing), (0, 0)), "edge")), answers.finish()])


def make_windows(localizer, latency_s=None):
    """The Windows of a localizer's training length; UserError for a latency that cannot be."""
    hop = localizer.params["label_hop_len_s"]
    return Windows(localizer.params["label_sequence_length"], hop, latency_s)


# --- audio → directions --------------------------------------------------------------------------------------

class CourseStream:
    """Audio in pieces of any size → Courses; a label frame is final ``windows.latency_s`` after its start at most."""

    def __init__(self, localizer, latency_s=None):
        self.windows = make_windows(localizer, latency_s)
        self.on_course = lambda course: None  # called with each Course of at least one frame
        # The floor of top_db is laid by windows; without it features of a frame follow from its samples alone.
        self._features = FeatureClass(localizer.params | {"top_db": 0.0})
        if self._features.chunk:
            raise UserError(f"models that read features={self._features.features} in chunks (ADRENALINE, SELDnet, CNN) "
                            "are trained and scored here, but not run on recordings; use a task of train_doanet.py")
        _ = self._features.extractor  # made now, not while sound is waiting
        self._blas = ThreadpoolController()
        self._answers = _Answers(localizer, self.windows)
        self._frame = self._features.hop * localizer.params["feature_label_resolution"]  # samples
        self._wanted = self.windows.length * self._frame  # before the next window can be answered
        self._held = [np.zeros((0, localizer.array.channels), np.float32)]  # samples not extracted yet
        self._tail = None  # and the hop before them
        self._sounding = np.zeros(0, bool)  # whether label frames that are not final yet hold any sound

    def feed(self, audio):
        """Samples (n, channels) → the Course that is final by now, possibly of no frame."""
        courses = [self._answers.nothing()]
        self._held.append(np.asarray(audio, np.float32))
        while sum(map(len, self._held)) >= self._wanted:
            held = np.concatenate(self._held)
            self._held = [held[self._wanted :]]
            rows = self._extract(held[: self._wanted])
            self._wanted = self.windows.hop * self._frame
            courses.append(self._mute(self._answers.feed(rows)))
        return Course.join(courses)

    def finish(self):
        """The Course of what is left; a last label frame that is not whole is filled with zeros."""
        held = np.concatenate(self._held)
        held = np.pad(held, ((0, -len(held) % self._frame), (0, 0)))
        return Course.join([self._mute(self._answers.feed(self._extract(held))), self._mute(self._answers.finish())])

    def _extract(self, audio):
        """The features of the next samples, whole label frames of them."""
        peaks = np.abs(audio).reshape(-1, self._frame * audio.shape[1]).max(1, initial=0)
        self._sounding = np.concatenate([self._sounding, peaks >= SILENT])
        with self._blas.limit(limits=1, user_api="blas"):  # products of many small matrices: threads only wait there
            if self._tail is None:
                rows = self._features.extract(audio)
            else:  # a feature frame looks back half its window, a hop
                rows = self._features.extract(np.concatenate([self._tail, audio]))[1:]
        if len(audio):
            self._tail = audio[-self._features.hop :].copy()
        return rows

    def _mute(self, course):
        """The same with probability 0 where there is no sound."""
        count = len(course.doa)
        sounding, self._sounding = self._sounding[:count], self._sounding[count:]
        if count:
            self.on_course(course)
        return course._replace(probability=np.where(sounding[:, None], course.probability, np.float32(0)))


def localize_audio(localizer, audio, fs=None, latency_s=None):
    """Audio (samples, channels) at ``fs`` Hz (default: the localizer's) → Course."""
    stream = CourseStream(localizer, latency_s)
    sound = fitted(localizer, sound_input.Sound("audio", fs or localizer.features.fs, audio.shape[1], iter([audio])))
    return Course.join([*map(stream.feed, sound.blocks), stream.finish()])


def fitted(localizer, sound, foa_order="acn"):
    """The Sound as the localizer reads it; UserError where its channels cannot be those of the array."""
    array = localizer.array
    if sound.channels != array.channels:
        raise UserError(f"{sound.name} has {sound.channels} channel(s); this model reads {array.describe()}")
    if foa_order == "fuma" and array.kind != "ambisonic":
        raise UserError(f"the order of ambisonic channels means nothing here: this model reads {array.describe()}")
    return sound_input.resampled(sound_input.reordered(sound, foa_order), localizer.features.fs)


# --- directions → tracks -------------------------------------------------------------------------------------

class TrackStream:
    """Audio in pieces of any size → TRACK_ROWS.

    Slots more probable than ``threshold`` are linked frame by frame (doatools/track/trackers.py, by the checkpoint's
    tracker parameters, a Kalman filter if these say 'off'). A track is told once it has been seen in CONFIRMED frames,
    and from the frame that is CONFIRMED - 1 before on: blips are left out. ``latency_s`` is the most that passes from
    the start of a frame to its rows, computation apart.
    """

    def __init__(self, localizer, threshold=ACTIVE_ABOVE, latency_s=None):
        params = localizer.params
        held = (CONFIRMED - 1) * params["label_hop_len_s"]
        self.courses = CourseStream(localizer, latency_s and latency_s - held)
        self.latency_s = self.courses.windows.latency_s + held
        self.threshold = threshold
        self.frames = 0  # told so far
        self._linker = Linker("kalman" if params["tracker"] == "off" else params["tracker"],
                              *(params[f"tracker_{key}"] for key in ("gate_deg", "max_gap", "process_deg",
                                                                     "measurement_deg")))
        self._linked = 0  # frames so far
        self._waiting = deque()  # of frames not told yet: (identities, azimuths, elevations, probabilities)
        self._seen, self._number = Counter(), {}  # identity → frames it was seen in; → number it is told by

    def feed(self, audio):
        """Samples (n, channels) → rows of the frames that are final by now; ``frames`` says up to where."""
        return self._rows(self.courses.feed(audio), CONFIRMED - 1)

    def finish(self):
        return self._rows(self.courses.finish(), 0)

    def _rows(self, course, kept_waiting):
        rows = []
        for doa, probability, *places in zip(course.doa, course.probability, *azimuth_elevation(course.doa)):
            identity = self._linker(self._linked, doa, probability > self.threshold)
            self._linked += 1
            self._seen.update(identity[identity >= 0].tolist())
            self._waiting.append((identity, *places, probability))
            if len(self._waiting) > CONFIRMED - 1:
                rows += self._tell(*self._waiting.popleft())
        while len(self._waiting) > kept_waiting:
            rows += self._tell(*self._waiting.popleft())
        return np.array(rows, TRACK_ROWS)

    def _tell(self, identity, azimuth, elevation, probability):
        """The rows of the next frame, by number."""
        rows = [(self.frames, 0, self._number.setdefault(one, len(self._number) + 1), *values)
                for one, *values in zip(identity.tolist(), azimuth, elevation, probability)
                if self._seen[one] >= CONFIRMED]  # never of -1, an inactive slot
        self.frames += 1
        return sorted(rows)


def track_audio(localizer, audio, fs=None, threshold=ACTIVE_ABOVE, latency_s=None):
    """Audio (samples, channels) at ``fs`` Hz (default: the localizer's) → TRACK_ROWS."""
    stream = TrackStream(localizer, threshold, latency_s)
    sound = fitted(localizer, sound_input.Sound("audio", fs or localizer.features.fs, audio.shape[1], iter([audio])))
    return np.concatenate([*map(stream.feed, sound.blocks), stream.finish()])


# --- file → tracks -------------------------------------------------------------------------------------------

class Recorded(NamedTuple):
    """What became of one file."""

    path: Path
    seconds: float
    rows: np.ndarray  # TRACK_ROWS
    spectrogram: np.ndarray  # (columns, F) dB, columns over the whole recording
    notes: list  # sentences for the user


def track_file(localizer, path, foa_order="acn", threshold=ACTIVE_ABOVE, latency_s=None, progress=None):
    """A recording of any length, block by block → Recorded; ``progress`` is called with a block's and all seconds.

    Raises
    ------
    UserError
        The file is unreadable, empty or damaged, or its channels cannot be those of the localizer's array.
    """
    sound = fitted(localizer, sound_input.open_file(path), foa_order)
    stream = TrackStream(localizer, threshold, latency_s)
    spectrogram = Spectrogram(sound.seconds / localizer.params["label_hop_len_s"])
    stream.courses.on_course = lambda course: spectrogram.add(course.spectrum)
    rows, samples, energy, loudest = [], 0, np.zeros(sound.channels), 0.0
    for block in sound.blocks:
        rows.append(stream.feed(block))
        samples += len(block)
        energy += np.einsum("tc,tc->c", block, block)
        loudest = max(loudest, float(np.abs(block).max(initial=0)))
        if progress:
            progress(len(block) / sound.rate, sound.seconds)
    rows.append(stream.finish())
    notes = ["the recording is silent"] if loudest < SILENT else doubts(energy, localizer.array)
    return Recorded(Path(path), samples / sound.rate, np.concatenate(rows), spectrogram.image(), sound.notes + notes)
