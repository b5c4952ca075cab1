"""From sound to tracks, as a chain of generators; each function can be used alone.

    blocks of samples → label_frames → Frames → predictions_of → Localized → tracked → Tracked (rows of tracks)

features → predictions         localize_features(localizer, features) → Localized
audio array → predictions      localize_audio(localizer, audio, fs) → Localized
audio array → tracks           track_audio(localizer, audio, fs) → TRACK_ROWS
live sound → tracks            track_sound(localizer, sound) yields Tracked, as frames become final
file → tracks, spectrogram     track_file(localizer, path) → Recorded

A file, blocks of it of any size, and a live stream pass through the same chain and give the same results. A localizer
is any object with ``config`` (Config), ``features`` (FeatureClass), ``scaler`` (Scaler) and ``predict`` (normalised
features (B, C, T', F) → Predictions (B, T, N, ...)). ``load_localizer`` returns one for a checkpoint, which runs in
PyTorch, or for an exported ONNX file, which does not need PyTorch. One that runs frame by frame has two more
attributes: ``begin()`` returns a ``predict`` for the consecutive frames of one recording, which keeps its state and
is ``delay`` label frames late.

Audio is float32 (samples, channels), full scale ±1, at the sample rate of the localizer. T label frames, T' = ratio·T
feature frames, C feature channels, F bands, N slots.
"""

import copy
import dataclasses
import functools
import os
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from cls_feature_class import build_features
from doatools.check.levels import SILENT, Doubts
from doatools.config.stored import parse_json
from doatools.data import sound_input
from doatools.data.audiofiles import ORDERS
from doatools.errors import UserError
from doatools.files import has_suffix
from doatools.onnx_weights import not_finite
from doatools.registry import TRACKERS
from doatools.seals import SEAL, is_intact
from doatools.shipped import shipped_model
from doatools.spatial.arrays import channels_in, find_array
from doatools.spatial.geometry import azimuth_elevation
from doatools.spatial.horizontal import Height, at_horizon, with_diffuse_height
from doatools.track.rotated import RotatedCopies
from doatools.track.rows import TRACK_ROWS, TRACK_ROWS_WITH_RADIUS
from doatools.track.slots import without_duplicates
from doatools.track.summary import COLUMNS, Spectrogram
from doatools.track.windows import Steps, Windows
from doatools.train import checkpoint
from doatools.types import ACTIVE_ABOVE, Predictions, Scaler

REMEDY = "export it again with: python3 export_doanet.py <checkpoint.pt>"
CONFIRMED = 3  # frames in which a track must be seen before it is reported
CONFIRMED_LIVE = 2  # of a model that runs frame by frame; what was seen before is not reported afterwards


# --- localizers ------------------------------------------------------------------------------------------------

def load_localizer(path=None, fast=False, array=None):
    """The localizer of a checkpoint (.pt), or of a file that export_doanet.py made of one (.onnx).

    If it was trained with rotations, its predictions are means over rotated copies of the sound field, unless ``fast``.
    Without a path: the shipped model for the array, by default first-order ambisonics. ``array``: the name or file of
    the array of the recordings; UserError if the model does not read it, or if it reads any array and none is given.
    """
    path = path or shipped_model(find_array(array or "foa"))
    overrides = {"array": str(array)} if array else {}
    if has_suffix(path, ".onnx"):
        localizer = OnnxLocalizer(path, **overrides)
    else:
        from localizer import Localizer  # imports PyTorch, which an exported network does not need
        localizer = Localizer.from_checkpoint(path, **overrides).for_inference()
    if localizer.config.array.drawn:
        raise UserError(f"{path} reads any array: give the file of the one that recorded by --array")
    return localizer if fast else with_rotated_copies(localizer)


def with_rotated_copies(localizer):
    """One whose predictions are means over rotated copies, if this localizer was trained with rotations; else it."""
    if not localizer.config.augment.rotation_augment:
        return localizer
    found, rotations = copy.copy(localizer), (*localizer.features.rotations(), localizer.scaler)
    found.predict = RotatedCopies(localizer.predict, *rotations)
    if delay_of(localizer) is not None:
        found.begin = lambda: RotatedCopies(localizer.begin(), *rotations)
    return found


def delay_of(localizer):
    """Label frames that a localizer hears after a frame before it predicts it, if it runs frame by frame; None if it
    reads whole windows."""
    return getattr(localizer, "delay", None)


class OnnxLocalizer:
    """An exported network in ONNX Runtime, with the features that it reads; attributes as those of Localizer."""

    def __init__(self, path, any_array=None, **overrides):
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; create it with: python3 export_doanet.py <checkpoint.pt>")
        data = Path(path).read_bytes()
        intact = is_intact(data)
        if intact is False:
            raise UserError(f"{path} is damaged: its content does not fit its checksum; copy it again, or export it "
                            "again with: python3 export_doanet.py <checkpoint.pt>")
        try:
            import onnxruntime
        except ImportError:
            raise UserError("ONNX files need one more package: pip install onnxruntime") from None
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = _threads_wanted()
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the exceptions of ONNX Runtime have no common base
            raise UserError(f"{path}: not a readable ONNX file ({str(error).splitlines()[0]})") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        about = metadata.get("doanet")
        if intact is None and SEAL in metadata:
            raise UserError(f"{path} is damaged: its checksum is not readable; copy it again, or export it again")
        if about is None:
            raise UserError(f"{path} was not exported by this toolkit: its metadata do not describe the features")
        about = parse_json(about, checkpoint.Description, f"the metadata of {path}", REMEDY)
        stored = checkpoint.described(about.params, about.array, path)
        self.config = checkpoint.changed(stored, overrides, path, any_array)
        self.trained_for, self.scores = stored.array, about.scores
        self.scaler = Scaler(np.array(about.scaler.mean), np.array(about.scaler.scale))
        self.features = build_features(self.config)
        self.scaler.refuse_unusable(path, self.features.size)
        self._path, self._names = path, [output.name for output in self._session.get_outputs()]
        self._check_network()
        wrong = not_finite(data) if intact is None else None  # an earlier edition did not check what it exported
        if wrong:
            raise UserError(f"{path}: '{wrong}' holds values that are not finite numbers, so that nothing can be "
                            "localized; take another model")

    def predict(self, features):
        """Normalised features (B, C, T', F) → Predictions (B, T, N, ...)."""
        inputs = {"features": np.ascontiguousarray(features, np.float32)}
        try:
            found = dict(zip(self._names, self._session.run(None, inputs)))
            return Predictions(found.pop("doa"), found.pop("probability", None), found)
        except Exception as error:  # the exceptions of ONNX Runtime have no common base
            raise UserError(f"{self._path}: its network does not read the features that its metadata describe "
                            f"({' '.join(str(error).split()):.100}); {REMEDY}") from None

    def _check_network(self):
        """UserError unless the network reads the features that the metadata describe, and predicts directions."""
        slots, length = self.config.data.max_sources, self.config.batches.label_sequence_length
        shape = 1, self.features.nb_feature_channels, length * self.features.ratio, self.features.nb_bands
        found = self.predict(np.zeros(shape))
        if found.doa.shape != (1, length, slots, 3) or found.weights.shape != (1, length, slots):
            raise UserError(f"{self._path}: its network predicts directions {found.doa.shape} and probabilities "
                            f"{found.weights.shape} for {length} frames and {slots} sources; {REMEDY}")


def _threads_wanted():
    """OMP_NUM_THREADS, which --threads sets; 0 for one per core."""
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list is of nested levels
    return int(threads) if threads.isdecimal() else 0


# --- sound → frames --------------------------------------------------------------------------------------------

AHEAD = 2  # threads that extract features of a file, and threads that run the network


class Frames(NamedTuple):
    """Consecutive label frames of sound."""

    features: np.ndarray  # (T', C*F), not normalised
    sounding: np.ndarray  # (T,) bool, whether any sample is not silent; else there is no source, whatever is predicted
    horizontal: np.ndarray  # (T,) bool, whether elevations are unknown


def label_frames(localizer, blocks, windows, threads=0):
    """Audio in blocks of any size → Frames, each as many as the next window needs; the last is padded with zeros.

    ``threads`` extract features ahead of what is used; 0 waits for no sound beyond the next window, as a stream has to.
    """
    extractor = _extractor(localizer)  # made now, while no sound is waiting
    size = extractor.hop * extractor.ratio  # samples of a label frame
    blocks = regrouped(blocks, windows.length * size, windows.hop * size)
    pieces = _pieces(blocks, size, extractor.hop, Height(localizer.config.array))
    return _ahead(functools.partial(_frames_of, extractor, ThreadpoolController()), pieces, threads)


def regrouped(blocks, first, then):
    """Audio in blocks of any size → one block of ``first`` samples, then blocks of ``then``, and what is left."""
    held, count, wanted = [], 0, first
    for block in blocks:
        held.append(np.asarray(block, np.float32))
        count += len(block)
        if count < wanted:
            continue
        audio = np.concatenate(held)
        while len(audio) >= wanted:
            yield audio[:wanted]
            audio, wanted = audio[wanted:], then
        held, count = [audio], len(audio)
    if count:
        yield np.concatenate(held)


def _extractor(localizer):
    """The FeatureClass of a localizer without top_db, whose floor depends on the whole recording."""
    features = build_features(localizer.config.replaced(top_db=0.0))
    if features.chunk:
        raise UserError(f"models that read features={features.name} in chunks (ADRENALINE, SELDnet, CNN) are trained "
                        "and scored here, but not run on recordings; use a task of train_doanet.py")
    features.kind.prepare()
    return features


class _Piece(NamedTuple):
    """Audio of whole label frames, and what is known of it before features are extracted."""

    audio: np.ndarray  # (samples, M); with ``overlaps``, from a hop before
    overlaps: bool
    sounding: np.ndarray  # (T,)
    horizontal: bool


def _pieces(blocks, size, hop, height):
    """Audio in blocks → _Piece; the window of a feature frame starts a hop before it."""
    before = None
    for audio in blocks:
        if len(audio) % size:
            audio = np.pad(audio, ((0, -len(audio) % size), (0, 0)))
        channels = np.ascontiguousarray(audio.T).reshape(audio.shape[1], -1, size)
        swings = np.ptp(channels, axis=-1).max(0) / 2  # whatever the offset
        horizontal = height.hear(audio)
        if horizontal:
            audio = with_diffuse_height(audio)
        whole = audio if before is None else np.concatenate([before, audio])
        yield _Piece(whole, before is not None, swings >= SILENT, horizontal)
        before = audio[-hop:].copy()


def _frames_of(extractor, blas, piece):
    with blas.limit(limits=1, user_api="blas"):  # products of many small matrices, which threads only slow down
        features = extractor.extract(piece.audio)[1 if piece.overlaps else 0 :]
    return Frames(features, piece.sounding, np.full(len(piece.sounding), piece.horizontal))


def _ahead(function, items, threads):
    """Like map, but ``threads`` compute ahead of what is asked for."""
    if not threads:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, initializer=_alone) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        for one in waiting:
            yield one.result()


def _alone():
    """Threads of PyTorch that this thread would start would only wait for each other."""
    ThreadpoolController().limit(limits=1, user_api="openmp")


# --- frames → predictions --------------------------------------------------------------------------------------

class Localized(NamedTuple):
    """Predictions for consecutive label frames, and their spectra."""

    predictions: Predictions  # (T, N, ...); the probability is 0 in silence
    spectrum: np.ndarray  # (T, F) dB, the first feature channel

    @classmethod
    def join(cls, parts):
        parts = list(parts)
        return cls(Predictions.join(part.predictions for part in parts),
                   np.concatenate([part.spectrum for part in parts]))

    @property
    def doa(self):
        return self.predictions.doa

    @property
    def probability(self):
        return self.predictions.weights


def make_windows(localizer, latency_s=None, held_s=0.0):
    """The Windows of a localizer, as long as its training sequences, or its Steps; UserError for an impossible
    latency."""
    config = localizer.config
    if delay_of(localizer) is not None:
        return Steps(localizer.delay, config.features.label_hop_len_s, latency_s)
    return Windows(config.batches.label_sequence_length, config.features.label_hop_len_s, latency_s, held_s)


def predictions_of(localizer, frames, windows, threads=0):
    """Frames → Localized, as label frames become final: overlapping windows are predicted and cross-faded (see
    windows), or frame by frame.

    The last windows are filled with zeros, as the last sequence of a recording is in training. ``threads`` as of
    ``label_frames``; where a window depends on those before it, one after the other is predicted anyway.
    """
    ratio, bands = localizer.features.ratio, localizer.features.nb_bands
    waiting = deque()  # (spectrum, sounding, horizontal) of label frames that are not final yet

    def features():
        for part in frames:
            spectra = part.features[:, :bands].reshape(-1, ratio, bands).mean(1)
            waiting.extend(zip(spectra, part.sounding, part.horizontal))
            yield part.features

    predict = _window_predictor(localizer, windows.length)
    if delay_of(localizer) is not None or localizer.config.features.top_db > 0:
        threads = 0
    for predictions in windows.joined(_ahead(predict, _windows_of(features(), windows, ratio), threads)):
        final = [waiting.popleft() for _ in range(min(len(predictions), len(waiting)))]  # without the zeros at the end
        if final:
            spectra, sounding, horizontal = map(np.array, zip(*final))
            predictions = predictions.frames(slice(len(final)))
            probability = np.where(sounding[:, None], predictions.weights, np.float32(0))
            doa = np.where(horizontal[:, None, None], at_horizon(predictions.doa), predictions.doa)
            yield Localized(dataclasses.replace(predictions, doa=doa, probability=probability), spectra)


def _windows_of(parts, windows, ratio):
    """Feature rows in parts → the rows of each window, (up to L·ratio, C*F)."""
    length, hop = windows.length * ratio, windows.hop * ratio
    rows, seen = None, 0  # from the start of the next window on; how many of these were in a window
    for part in parts:
        rows = part if rows is None else np.concatenate([rows, part])
        while len(rows) >= length:
            yield rows[:length]
            rows, seen = rows[hop:], length - hop
    while rows is not None and len(rows) > seen:
        yield rows[:length]
        rows, seen = rows[hop:], length - hop
    for _ in range(0 if rows is None else windows.delay):
        yield rows[:0]


def _window_predictor(localizer, length):
    """A callable: unnormalised rows of the next window of ``length`` label frames → Predictions (L, N, ...).

    Features that were made with top_db have a floor below the maximum of the recording. That maximum is not known
    before the end, so that of the windows so far is used.
    """
    features, top_db = localizer.features, localizer.config.features.top_db
    length *= features.ratio
    network = localizer.predict if delay_of(localizer) is None else localizer.begin()
    loudest = np.full(features.kind.log_mels, -np.inf)  # of each channel, so far

    def predict(rows):
        nonlocal loudest
        if top_db > 0 and len(rows):
            rows = rows.copy()
            mels = rows.reshape(len(rows), features.nb_feature_channels, -1)[:, : len(loudest)]
            loudest = np.maximum(mels.max((0, 2)), loudest)
            np.maximum(mels, loudest[:, None] - np.float32(top_db), out=mels)  # a view into rows
        normalised = np.zeros((length, rows.shape[1]), np.float32)
        normalised[: len(rows)] = localizer.scaler.apply(rows)
        predictions = network(features.as_channels(normalised)[None]).sequence(0)
        predictions.refuse_not_finite()
        return dataclasses.replace(predictions, doa=localizer.config.array.folded(predictions.doa))

    return predict


# --- predictions → tracks --------------------------------------------------------------------------------------

class Tracked(NamedTuple):
    """The next frames whose tracks are final."""

    frames: int  # number of final frames so far
    rows: np.ndarray  # TRACK_ROWS of the new ones
    spectrum: np.ndarray  # (T, F) dB of the label frames predicted meanwhile, a few frames ahead of the rows


def tracked(parts, config, threshold=ACTIVE_ABOVE, confirmed=CONFIRMED, held=CONFIRMED - 1):
    """Localized → Tracked.

    Slots above ``threshold`` are linked frame by frame by the tracker of a TrackerConfig; tracker=off means a Kalman
    filter here. A track is reported once it has been seen in ``confirmed`` frames, from ``held`` frames before on;
    shorter ones are left out.
    """
    track = TRACKERS["kalman" if config.tracker == "off" else config.tracker](config)
    waiting = deque()  # frames that are not reported yet: (identities, azimuths, elevations, probabilities, radii)
    seen, numbers = Counter(), {}  # identity → frames it was seen in; identity → number of its track
    linked = reported = 0  # frames so far
    kind = TRACK_ROWS

    def next_rows():
        """The rows of the next frame, by number."""
        nonlocal reported
        identities, *places = waiting.popleft()
        rows = [(reported, 0, numbers.setdefault(identity, len(numbers) + 1), *values)
                for identity, *values in zip(identities.tolist(), *places)
                if seen[identity] >= confirmed]  # inactive slots, -1, are never counted
        reported += 1
        return sorted(rows)

    for part in parts:
        found = without_duplicates(part.predictions, config.duplicate_deg)
        rows, values = [], [*azimuth_elevation(found.doa), found.probability]
        if "radius" in found.others:
            values.append(found.others["radius"])
            kind = TRACK_ROWS_WITH_RADIUS
        for doa, probability, *places in zip(found.doa, found.probability, *values):
            identities = track(linked, doa, probability > threshold)
            linked += 1
            seen.update(identities[identities >= 0].tolist())
            waiting.append((identities, *places))
            if len(waiting) > held:
                rows += next_rows()
        yield Tracked(reported, np.array(rows, kind), part.spectrum)
    rows = [row for _ in range(len(waiting)) for row in next_rows()]
    yield Tracked(reported, np.array(rows, kind), np.zeros((0, 0), np.float32))


# --- the chain at once -----------------------------------------------------------------------------------------

def localize_features(localizer, features, latency_s=None):
    """Unnormalised features (T', C*F) of a recording, as FeatureClass.extract makes them without top_db → Localized."""
    ratio = localizer.features.ratio
    features = np.pad(features, ((0, -len(features) % ratio), (0, 0)), "edge")
    count = len(features) // ratio
    frames = Frames(features, np.ones(count, bool), np.zeros(count, bool))
    return _joined(localizer, predictions_of(localizer, [frames], make_windows(localizer, latency_s)))


def localize_blocks(localizer, blocks, latency_s=None):
    """Audio blocks at the sample rate of the localizer → Localized, as label frames become final."""
    windows = make_windows(localizer, latency_s)
    return predictions_of(localizer, label_frames(localizer, blocks, windows), windows)


def localize_audio(localizer, audio, fs=None, latency_s=None):
    """Audio (samples, channels) at ``fs`` Hz (default: that of the localizer) → Localized."""
    return _joined(localizer, localize_blocks(localizer, _sound_of(localizer, audio, fs).blocks, latency_s))


def track_audio(localizer, audio, fs=None, threshold=ACTIVE_ABOVE, latency_s=None):
    """Audio (samples, channels) at ``fs`` Hz (default: that of the localizer) → TRACK_ROWS."""
    parts = track_sound(localizer, _sound_of(localizer, audio, fs), threshold, latency_s)
    return np.concatenate([part.rows for part in parts])


def track_sound(localizer, sound, threshold=ACTIVE_ABOVE, latency_s=None, threads=0):
    """A Sound that was ``fitted`` to the localizer → Tracked, within the latency that ``stream_latency_s`` returns.

    ``threads`` as of ``label_frames``, for sound that need not be waited for.
    """
    windows = _stream_windows(localizer, latency_s)
    frames = label_frames(localizer, sound.blocks, windows, threads)
    localized = predictions_of(localizer, frames, windows, threads)
    confirmed, held = (CONFIRMED, CONFIRMED - 1) if delay_of(localizer) is None else (CONFIRMED_LIVE, 0)
    return tracked(localized, localizer.config.tracker, threshold, confirmed, held)


def stream_latency_s(localizer, latency_s=None):
    """The longest time from the start of a frame until its rows are final, excluding computation: of later frames,
    and of the first ones."""
    windows = _stream_windows(localizer, latency_s)
    return windows.latency_s, max(windows.latency_s, windows.length * localizer.config.features.label_hop_len_s)


def least_latency_s(localizer):
    """The shortest latency that ``track_sound`` allows."""
    return _stream_windows(localizer, None).least_latency_s


def _stream_windows(localizer, latency_s):
    return make_windows(localizer, latency_s, (CONFIRMED - 1) * localizer.config.features.label_hop_len_s)


def _joined(localizer, parts):
    """Localized parts as one; without any, the Localized of no frames."""
    slots, bands = localizer.config.data.max_sources, localizer.features.nb_bands
    empty = Predictions(np.zeros((0, slots, 3), np.float32), np.zeros((0, slots), np.float32))
    return Localized.join(list(parts) or [Localized(empty, np.zeros((0, bands), np.float32))])


def _sound_of(localizer, audio, fs):
    rate = fs or localizer.features.fs
    return fitted(localizer, sound_input.Sound("audio", rate, audio.shape[1], iter([audio])))


def fitted(localizer, sound, foa_order=None):
    """A Sound with the sample rate and the order of channels that the localizer reads.

    Of ambisonics of a higher order, the first four channels are read. ``foa_order``: 'acn', 'fuma', or None for what
    the file is marked as. UserError for a number of channels that the array does not have.
    """
    array, whole = localizer.config.array, find_array("eigenmike")
    if sound.channels == whole.channels and (capsules := channels_in(array, whole)):
        sound = sound_input.picked(sound, capsules)
        sound.notes.append(f"of {whole.channels} channels, capsules {', '.join(str(one + 1) for one in capsules)} are "
                           "used")
    if array.kind == "ambisonic" and sound.channels in ORDERS:
        note = (f"of {sound.channels} channels, the first 4 are used, which are those of first order if this is "
                f"ambisonics of order {ORDERS[sound.channels]}")
        sound = sound_input.picked(sound, range(4))
        sound.notes.append(note)
    if sound.channels != array.channels:
        raise UserError(f"{sound.name} has {sound.channels} channel(s); this model reads {array.describe()}")
    if foa_order == "fuma" and array.kind != "ambisonic":
        raise UserError(f"--foa-order is for ambisonics; this model reads {array.describe()}")
    if sound.fuma and array.kind == "ambisonic":
        foa_order = foa_order or "fuma"
        sound.notes.append("it is marked as FuMa ambisonics (.amb)" + (
            " and read as such" if foa_order == "fuma" else ", but read in ACN order as --foa-order says"))
    return sound_input.resampled(sound_input.reordered(sound, foa_order), localizer.features.fs)


# --- file → tracks ---------------------------------------------------------------------------------------------

class Recorded(NamedTuple):
    """What was found in a recording."""

    seconds: float
    rows: np.ndarray  # TRACK_ROWS
    spectrogram: np.ndarray  # (columns, F) dB, columns over the whole recording
    notes: list  # sentences for the user


def track_file(localizer, path, foa_order=None, threshold=ACTIVE_ABOVE, latency_s=None):
    """A recording of any length, format and sample rate → Recorded.

    Raises
    ------
    UserError
        The file is unreadable, empty or damaged, or has a number of channels that the array of the localizer does not
        have.
    """
    return track_recording(localizer, sound_input.open_file(path), foa_order, threshold, latency_s)


def track_recording(localizer, sound, foa_order=None, threshold=ACTIVE_ABOVE, latency_s=None, columns=COLUMNS):
    """A Sound that ends → Recorded, with a spectrogram of at most ``columns``; one block is in memory at a time."""
    sound = fitted(localizer, sound, foa_order)
    doubts = Doubts(localizer.config.array, sound.rate)
    watched = dataclasses.replace(sound, blocks=doubts.watched(sound.blocks))
    spectrogram = Spectrogram(sound.seconds / localizer.config.features.label_hop_len_s, columns)
    rows = []
    ahead = 0 if _threads_wanted() == 1 else AHEAD
    # Once for all threads: threads that each limit BLAS for a while would undo each other's limits.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        for part in track_sound(localizer, watched, threshold, latency_s, ahead):
            rows.append(part.rows)
            if len(part.spectrum):
                spectrogram.add(part.spectrum)
    return Recorded(doubts.seconds, np.concatenate(rows), spectrogram.image(),
                    sound.notes + list(doubts.sentences().values()))
