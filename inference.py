"""From sound to tracks, as a chain of generators; each link can be used alone.

    Sound ─ blocks → label_frames → windows ─ predict → merged → tracked → rows

features → predictions         localize_features(localizer, features) → Course
audio array → predictions      localize_audio(localizer, audio, fs) → Course
audio array → tracks           track_audio(localizer, audio, fs) → TRACK_ROWS
blocks as they come → tracks   track_sound(localizer, sound) yields Tracked, pieces of the recording that are final
file → tracks, spectrogram     track_file(localizer, path) → Recorded

A file, pieces of it of any size and a live stream go through the same chain, so they give the same results. A localizer is
anything with ``config``, ``features`` (FeatureClass), ``scaler`` and ``predict`` (normalised features (B, C, T', F) →
Predictions (B, T, N, ...)): ``load_localizer`` gives one for a checkpoint, by PyTorch, or for an exported ONNX file,
without PyTorch.

Audio is float32 (samples, channels), full scale ±1, at the localizer's rate ``features.fs``. T label frames (100 ms) of
feature frames T' = 5 T; C feature channels, F bands, N slots.
"""

import json
import os
from collections import Counter, deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from cls_feature_class import FeatureClass, build_features
from doatools.config.schema import Config
from doatools.data import sound_input
from doatools.errors import UserError
from doatools.files import has_suffix
from doatools.registry import TRACKERS
from doatools.shipped import shipped_model
from doatools.spatial.arrays import Array, find_array
from doatools.spatial.geometry import azimuth_elevation
from doatools.track.rotated import RotatedCopies
from doatools.track.summary import COLUMNS, Spectrogram, doubts
from doatools.track.windows import Windows, merged
from doatools.types import ACTIVE_ABOVE, Predictions, Scaler

SILENT = 1e-5  # full scale; a label frame whose samples are all smaller holds no source, whatever a network says
CONFIRMED = 3  # frames in which a track must have been seen before it is reported
TRACK_ROWS = np.dtype([("frame", "i4"), ("class", "i4"), ("track", "i4"), ("azimuth", "f4"), ("elevation", "f4"),
                       ("probability", "f4")])  # sorted by frame; tracks count from 1; the class is always 0


# --- localizers ------------------------------------------------------------------------------------------------

def load_localizer(path=None, fast=False):
    """A localizer of a checkpoint (.pt) or of what export_doanet.py made of one (.onnx).

    One that was trained with rotations predicts means over rotated copies, unless ``fast``. Without a path it is that of
    the shipped model for first-order ambisonics.
    """
    path = path or shipped_model(find_array("foa"))
    if has_suffix(path, ".onnx"):
        localizer = OnnxLocalizer(path)
    else:
        from localizer import Localizer  # loads PyTorch, which an exported network need not have
        localizer = Localizer.from_checkpoint(path).for_inference()
    if localizer.config.augment.rotation_augment and not fast:
        localizer.predict = RotatedCopies(localizer.predict, *localizer.features.rotations(), localizer.scaler)
    return localizer


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
        self.config = Config.from_stored(about["params"], Array.from_plain(about["array"]))
        self.scaler = Scaler(*(np.array(about["scaler"][name]) for name in ("mean", "scale")))
        self.features = build_features(self.config)
        self._names = [output.name for output in self._session.get_outputs()]

    def predict(self, features):
        """Normalised features (B, C, T', F) → Predictions (B, T, N, ...)."""
        found = dict(zip(self._names, self._session.run(None, {"features": np.ascontiguousarray(features, np.float32)})))
        return Predictions(found.pop("doa"), found.pop("probability", None), found)


# --- links of the chain ----------------------------------------------------------------------------------------

class Frames(NamedTuple):
    """Unscaled features of whole label frames, and which of these hold any sound."""

    features: np.ndarray  # (T', C*F)
    sounding: np.ndarray  # (T,) bool


class Course(NamedTuple):
    """Predictions over consecutive label frames."""

    predictions: Predictions  # (T, N, ...); probability 0 where there is no sound
    spectrum: np.ndarray  # (T, F) dB, the first feature channel

    @classmethod
    def join(cls, courses):
        courses = list(courses)
        return cls(Predictions.join(course.predictions for course in courses),
                   np.concatenate([course.spectrum for course in courses]))

    @property
    def doa(self):
        return self.predictions.doa

    @property
    def probability(self):
        return self.predictions.weights


def make_windows(localizer, latency_s=None):
    """The Windows of a localizer's training length; UserError for a latency that cannot be."""
    config = localizer.config
    return Windows(config.batches.label_sequence_length, config.features.label_hop_len_s, latency_s)


def label_frames(localizer, blocks, first, then):
    """Audio blocks of any size → Frames: ``first`` label frames, then ``then`` at a time; the end is padded with zeros."""
    extractor = _extractor(localizer)
    size = extractor.hop * extractor.ratio  # samples of a label frame
    wanted, held, count = first * size, [], 0
    tail = None  # the hop before the samples that are not extracted yet
    blas = ThreadpoolController()

    def extract(audio):
        nonlocal tail
        peaks = np.abs(audio).reshape(-1, size * audio.shape[1]).max(1, initial=0)
        with blas.limit(limits=1, user_api="blas"):  # products of many small matrices: threads only wait there
            if tail is None:
                rows = extractor.extract(audio)
            else:  # a feature frame looks back half its window, a hop
                rows = extractor.extract(np.concatenate([tail, audio]))[1:]
        tail = audio[-extractor.hop :].copy()
        return Frames(rows, peaks >= SILENT)

    for block in blocks:
        held.append(np.asarray(block, np.float32))
        count += len(block)
        while count >= wanted:
            audio = np.concatenate(held)
            held, count = [audio[wanted:]], count - wanted
            yield extract(audio[:wanted])
            wanted = then * size
    if count:
        audio = np.concatenate(held)
        yield extract(np.pad(audio, ((0, -len(audio) % size), (0, 0))))


def _extractor(localizer):
    """The features of a localizer without the floor of top_db, which depends on the whole recording."""
    config = localizer.config
    features = FeatureClass(config.features.model_copy(update={"top_db": 0.0}), config.array, config.features_name,
                            config.batches.label_sequence_length)
    if features.chunk:
        raise UserError(f"models that read features={features.name} in chunks (ADRENALINE, SELDnet, CNN) are trained and "
                        "scored here, but not run on recordings; use a task of train_doanet.py")
    features.kind.prepare()  # now, not while sound is waiting
    return features


def predictions_of(localizer, frames, windows):
    """Frames → Courses that are final: overlapping windows, predicted, cross-faded (doatools/track/windows.py).

    Features that were made with top_db have a floor below the recording's maximum, which is not known before its end:
    the maximum up to the end of the window takes its place. Windows beyond the end are filled with zeros, as the last
    sequence of a recording is in training.
    """
    ratio, bands = localizer.features.ratio, localizer.features.nb_bands
    spectra, sounding = deque(), deque()  # of label frames that are not final yet

    def noted():
        for part in frames:
            spectra.extend(part.features[:, :bands].reshape(-1, ratio, bands).mean(1))
            sounding.extend(part.sounding)
            yield part.features

    for predictions in merged(map(_predictor(localizer), _rows_of_windows(noted(), windows, ratio)), windows):
        known = min(len(predictions), len(spectra))  # frames of zeros beyond the end are left out
        if not known:
            continue
        audible = np.array([sounding.popleft() for _ in range(known)])
        predictions = predictions.frames(slice(known))
        doa = localizer.config.array.folded(predictions.doa)
        probability = np.where(audible[:, None], predictions.weights, np.float32(0))
        yield Course(Predictions(doa, probability, predictions.others),
                     np.stack([spectra.popleft() for _ in range(known)]))


def _rows_of_windows(pieces, windows, ratio):
    """Feature rows in pieces → the rows of each window, (up to L·ratio, C*F)."""
    length, hop = windows.length * ratio, windows.hop * ratio
    rows, seen = None, 0  # from the next window's start on; of these, what the last window has seen as well
    for piece in pieces:
        rows = piece if rows is None else np.concatenate([rows, piece])
        while len(rows) >= length:
            yield rows[:length]
            rows, seen = rows[hop:], length - hop
    while rows is not None and len(rows) > seen:
        yield rows[:length]
        rows, seen = rows[hop:], length - hop


def _predictor(localizer):
    """A callable: unscaled rows of one window → Predictions (L, N, ...)."""
    features, top_db = localizer.features, localizer.config.features.top_db
    length = localizer.config.batches.label_sequence_length * features.ratio
    loudest = np.full(features.kind.log_mels, -np.inf)  # of each channel, so far

    def predict(rows):
        nonlocal loudest
        if top_db > 0:
            rows = rows.copy()
            mels = rows.reshape(len(rows), features.nb_feature_channels, -1)[:, : len(loudest)]
            loudest = np.maximum(mels.max((0, 2)), loudest)
            np.maximum(mels, loudest[:, None] - np.float32(top_db), out=mels)  # a view into rows
        scaled = np.zeros((length, rows.shape[1]), np.float32)
        scaled[: len(rows)] = localizer.scaler.apply(rows)
        return localizer.predict(features.as_channels(scaled)[None]).sequence(0)

    return predict


class Tracked(NamedTuple):
    """The next frames of a recording that are final."""

    frames: int  # that are final so far
    rows: np.ndarray  # TRACK_ROWS of those that are new
    spectrum: np.ndarray  # (T, F) dB of label frames predicted meanwhile; a few frames ahead of the rows


def tracked(courses, config, threshold=ACTIVE_ABOVE):
    """Courses → Tracked.

    Slots more probable than ``threshold`` are linked frame by frame by the tracker of a TrackerConfig (a Kalman filter if
    that is 'off'). A track is reported once it has been seen in CONFIRMED frames, and from the frame that is CONFIRMED - 1
    before on: shorter blips are left out.
    """
    link = TRACKERS["kalman" if config.tracker == "off" else config.tracker](config)
    waiting = deque()  # of frames not reported yet: (identities, azimuths, elevations, probabilities)
    seen, numbers = Counter(), {}  # identity → frames it was seen in; → number it is reported by
    linked = done = 0

    def report():
        """The rows of the next frame, by number."""
        nonlocal done
        identity, azimuth, elevation, probability = waiting.popleft()
        rows = [(done, 0, numbers.setdefault(one, len(numbers) + 1), *values)
                for one, *values in zip(identity.tolist(), azimuth, elevation, probability)
                if seen[one] >= CONFIRMED]  # never of -1, an inactive slot
        done += 1
        return sorted(rows)

    empty = np.zeros((0, 0), np.float32)
    for course in courses:
        rows = []
        for doa, probability, *places in zip(course.doa, course.probability, *azimuth_elevation(course.doa)):
            identity = link(linked, doa, probability > threshold)
            linked += 1
            seen.update(identity[identity >= 0].tolist())
            waiting.append((identity, *places, probability))
            if len(waiting) > CONFIRMED - 1:
                rows += report()
        yield Tracked(done, np.array(rows, TRACK_ROWS), course.spectrum)
    rows = [row for _ in range(len(waiting)) for row in report()]
    yield Tracked(done, np.array(rows, TRACK_ROWS), empty)


# --- the chain at once -----------------------------------------------------------------------------------------

def localize_features(localizer, features, latency_s=None):
    """Unscaled features (T', C*F) of a recording, as FeatureClass.extract makes them → Course."""
    ratio = localizer.features.ratio
    features = np.pad(features, ((0, -len(features) % ratio), (0, 0)), "edge")
    frames = Frames(features, np.ones(len(features) // ratio, bool))
    return _joined(localizer, predictions_of(localizer, [frames], make_windows(localizer, latency_s)))


def localize_blocks(localizer, blocks, latency_s=None):
    """Audio blocks at the localizer's rate → Courses; a label frame is final ``windows.latency_s`` after its start."""
    windows = make_windows(localizer, latency_s)
    return predictions_of(localizer, label_frames(localizer, blocks, windows.length, windows.hop), windows)


def localize_audio(localizer, audio, fs=None, latency_s=None):
    """Audio (samples, channels) at ``fs`` Hz (default: the localizer's) → Course."""
    return _joined(localizer, localize_blocks(localizer, _sound_of(localizer, audio, fs).blocks, latency_s))


def track_sound(localizer, sound, threshold=ACTIVE_ABOVE, latency_s=None):
    """A Sound that is fitted to the localizer → Tracked, as they become final; ``stream_latency_s`` says when."""
    held = (CONFIRMED - 1) * localizer.config.features.label_hop_len_s
    courses = localize_blocks(localizer, sound.blocks, latency_s and latency_s - held)
    return tracked(courses, localizer.config.tracker, threshold)


def stream_latency_s(localizer, latency_s=None):
    """The most that passes from the start of a frame to its rows, computation apart: (later frames, the first ones)."""
    hop = localizer.config.features.label_hop_len_s
    held = (CONFIRMED - 1) * hop
    windows = make_windows(localizer, latency_s and latency_s - held)
    return windows.latency_s + held, windows.length * hop


def least_latency_s(localizer):
    """The shortest latency that ``track_sound`` can be asked for."""
    return make_windows(localizer).least_latency_s + (CONFIRMED - 1) * localizer.config.features.label_hop_len_s


def track_audio(localizer, audio, fs=None, threshold=ACTIVE_ABOVE, latency_s=None):
    """Audio (samples, channels) at ``fs`` Hz (default: the localizer's) → TRACK_ROWS."""
    pieces = track_sound(localizer, _sound_of(localizer, audio, fs), threshold, latency_s)
    return np.concatenate([piece.rows for piece in pieces])


def _joined(localizer, courses):
    slots, bands = localizer.config.data.max_sources, localizer.features.nb_bands
    courses = list(courses)
    if courses:
        return Course.join(courses)
    return Course(Predictions(np.zeros((0, slots, 3), np.float32), np.zeros((0, slots), np.float32)),
                  np.zeros((0, bands), np.float32))


def _sound_of(localizer, audio, fs):
    rate = fs or localizer.features.fs
    return fitted(localizer, sound_input.Sound("audio", rate, audio.shape[1], iter([audio])))


def fitted(localizer, sound, foa_order="acn"):
    """The Sound as the localizer reads it; UserError where its channels cannot be those of the array."""
    array = localizer.config.array
    if sound.channels != array.channels:
        raise UserError(f"{sound.name} has {sound.channels} channel(s); this model reads {array.describe()}")
    if foa_order == "fuma" and array.kind != "ambisonic":
        raise UserError(f"the order of ambisonic channels means nothing here: this model reads {array.describe()}")
    return sound_input.resampled(sound_input.reordered(sound, foa_order), localizer.features.fs)


# --- file → tracks -------------------------------------------------------------------------------------------

class Recorded(NamedTuple):
    """What was found in one file."""

    path: Path
    seconds: float
    rows: np.ndarray  # TRACK_ROWS
    spectrogram: np.ndarray  # (columns, F) dB, columns over the whole recording
    notes: list  # sentences for the user


def track_file(localizer, path, foa_order="acn", threshold=ACTIVE_ABOVE, latency_s=None, progress=None, on_audio=None,
               columns=COLUMNS):
    """A recording of any length, block by block → Recorded.

    ``progress`` is called with a block's and all seconds, ``on_audio`` with each block of samples as the localizer reads
    them; the spectrogram has at most ``columns``.

    Raises
    ------
    UserError
        The file is unreadable, empty or damaged, or its channels cannot be those of the localizer's array.
    """
    sound = fitted(localizer, sound_input.open_file(path), foa_order)
    watched = _Watched(sound, progress, on_audio)
    spectrogram = Spectrogram(sound.seconds / localizer.config.features.label_hop_len_s, columns)
    rows = []
    for piece in track_sound(localizer, watched, threshold, latency_s):
        rows.append(piece.rows)
        if len(piece.spectrum):
            spectrogram.add(piece.spectrum)
    notes = ["the recording is silent"] if watched.loudest < SILENT else doubts(watched.energy, localizer.config.array)
    return Recorded(Path(path), watched.samples / sound.rate, np.concatenate(rows), spectrogram.image(),
                    sound.notes + notes)


class _Watched:
    """The blocks of a Sound, with what is to be known of all of them once they have passed."""

    def __init__(self, sound, progress, on_audio):
        self.samples, self.loudest, self.energy = 0, 0.0, np.zeros(sound.channels)
        self.blocks = self._pass(sound, progress, on_audio)

    def _pass(self, sound, progress, on_audio):
        for block in sound.blocks:
            self.samples += len(block)
            self.energy += np.einsum("tc,tc->c", block, block)
            self.loudest = max(self.loudest, float(np.abs(block).max(initial=0)))
            if on_audio:
                on_audio(block)
            yield block
            if progress:
                progress(len(block) / sound.rate, sound.seconds)
