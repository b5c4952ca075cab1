"""Scenes from measured impulse responses: reading them, drawing static and moving sources, rendering.

A folder of responses is one room, or its sub-folders are rooms. A room is either
- WAV or FLAC files and directions.csv with columns file, azimuth, elevation and, if known, distance_m (degrees
  counter-clockwise from the front, and up; one line per file), or
- a SOFA file (AES69; HDF5): Data.IR with one source position per measurement or emitter, seen from the listener.

Channels are those of an array: ambisonics (ACN order, SN3D gains; of higher orders the first four; 'fuma' for W, X, Y,
Z with W 3 dB lower; receivers of a SOFA file that are spherical harmonics have N3D gains) or capsules in the array's
order.

Each response is resampled, starts ``LEAD_S`` before the direct sound and is scaled so that the direct sound has gain 1,
as in simulated rooms: levels, labels and times then follow in the same way. A source moves along chains of positions
that are at most DENSE_DEG apart; between two positions their responses are cross-faded.

K positions, C channels; responses are float32 (C, samples).
"""

import csv
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy import fft
from scipy.signal import oaconvolve

from doatools.data.audiofiles import LOUDEST, ORDERS, refuse_no_sound
from doatools.data.sound_input import HIGHEST_RATE, LOWEST_RATE
from doatools.errors import UserError
from doatools.files import encodable, has_suffix, list_files, read_text, require_file
from doatools.simulate import realism, sensors
from doatools.simulate.rooms import HOP_S, Renderer
from doatools.spatial.geometry import angular_distance, azimuth_elevation, unit_vectors

TABLE = "directions.csv"
COLUMNS = ("file", "azimuth", "elevation")
LEAD_S = 0.0025  # of a response before its direct sound
DIRECT_S = 0.001  # the direct sound ends this long after its peak
ONSET_DB = -15.0  # the direct sound is the first peak that comes this near to the highest
DENSE_DEG = 10.0  # positions of a moving source are at most this far apart
PLACED_M = 0.005  # receivers of a SOFA file lie this near to the array's capsules
DOUBT_HZ = (300.0, 2000.0)  # where ambisonic microphones are what they should be
MOST_COMPRESSED = 1100  # times, by the methods of HDF5
DOUBTFUL_DEG, DOUBTFUL_DB = 25.0, 2.0  # deviations of direct sounds that are worth a note


@dataclass(frozen=True)
class MeasuredRoom:
    """Responses of one room. ``directions`` (K, 3), ``distances_m`` (K,) or None."""

    name: str
    directions: np.ndarray
    distances_m: np.ndarray | None
    responses: tuple  # K of (C, samples), from LEAD_S before the direct sound
    notes: tuple = ()

    @functools.cached_property
    def neighbours(self):
        """For each position the positions at most DENSE_DEG away, itself apart."""
        apart = angular_distance(self.directions[:, None], self.directions)
        return [np.flatnonzero((row <= DENSE_DEG) & (row > 0.1)) for row in apart]

    @property
    def spacing_deg(self):
        """Median angle from a position to the nearest other."""
        apart = angular_distance(self.directions[:, None], self.directions)
        return float(np.median(np.where(apart > 0.1, apart, 180).min(1)))

    @property
    def dense(self):
        """Whether sources can move here: most positions have neighbours on two sides."""
        return float(np.mean([len(one) >= 2 for one in self.neighbours])) >= 0.75


# --- reading ---------------------------------------------------------------------------------------------------

def open_rooms(folder, array, fs, foa_order="acn"):
    """The MeasuredRooms of a folder, sorted by name, as ``array`` at ``fs`` Hz.

    Raises
    ------
    UserError
        Naming the file, and the line of a table: nothing there, unreadable, of another array, positions missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of impulse responses")
    if foa_order != "acn" and array.kind != "ambisonic":
        raise UserError(f"--foa-order {foa_order} is for ambisonics, and the array is '{array.name}'")
    places = _places(folder)
    if not places:
        raise UserError(f"{folder} holds no impulse responses: neither {TABLE} with WAV or FLAC files, nor SOFA files, "
                        "nor sub-folders (rooms) with either")
    rooms = []
    for name, path in places:
        read = _read_sofa if has_suffix(path, ".sofa") else _read_table
        rooms.append(_room(name, *read(path, array, foa_order), array, fs))
    return rooms


def digest(folder):
    """Of the contents of all files of responses in a folder."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if has_suffix(path, ".wav", ".flac", ".sofa", ".csv") and path.is_file():
            total.update(str(path.relative_to(folder)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def _places(folder):
    """[(name of a room, its directions.csv or SOFA file)] of a folder or of its sub-folders."""
    found = []
    for place in (folder, *sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))):
        if (place / TABLE).is_file():
            found.append((place.resolve().name, place / TABLE))
        files = list(list_files(place, ".sofa").values())
        own = place.resolve().name
        found += [(path.stem if place == folder else own if len(files) == 1 else f"{own}_{path.stem}", path)
                  for path in files]
    return found


def _room(name, directions, distances, responses, rate, array, fs):
    """A MeasuredRoom of raw responses, K of (C, samples) at ``rate`` Hz."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:  # nor is NaN
        raise UserError(f"{name}: its sample rate is {rate:g} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz are used")
    aligned = [_aligned(soxr.resample(one.T, rate, fs).T if rate != fs else one, direction, fs, array,
                        f"{name}, response {number}")
               for number, (one, direction) in enumerate(zip(responses, directions), 1)]
    room = MeasuredRoom(name, directions, distances, tuple(aligned))
    return MeasuredRoom(name, directions, distances, room.responses, _doubts(room, array, fs))


def _aligned(response, direction, fs, array, what):
    """A response from LEAD_S before the direct sound's arrival at the array's centre, whose gain there is 1.

    What the channels make of such a sound from ``direction`` (3,) follows from the array. Measurements have an offset
    (in one published room it made a subsonic rumble 40 dB louder than the sound): it is the median of a channel.
    """
    response = response - np.median(response, axis=1, keepdims=True)
    power = _power(response, array)
    if not np.isfinite(response).all() or power.max() < 1e-20:
        raise UserError(f"{what} is silent or not a number")
    ideal = fft.irfft(array.response(direction[None], np.fft.rfftfreq(512, 1 / fs))[:, 0], 512)
    expected = _power(np.roll(ideal, 256, axis=1), array)
    peak, width = _first_peak(power, fs), round(DIRECT_S * fs)
    gain = np.sqrt(power[max(0, peak - width) : peak + width + 1].sum() / expected.sum())
    start = peak - (_first_peak(expected, fs) - 256) - round(LEAD_S * fs)
    response = np.pad(response, ((0, 0), (max(0, -start), 0)))[:, max(0, start):]
    rise = np.sin(np.pi / 2 * np.clip((np.arange(response.shape[1]) + 0.5) / (LEAD_S / 2 * fs), 0, 1)) ** 2
    return (response * (rise / gain)).astype(np.float32)


def _power(response, array):
    """Power (samples,) of W, or the mean of capsules."""
    return np.mean(np.square(response[:1] if array.kind == "ambisonic" else response, dtype=float), axis=0)


def _first_peak(power, fs):
    """The sample at which the direct sound is strongest."""
    first = int((power >= power.max() * 10 ** (ONSET_DB / 10)).argmax())
    return first + int(power[first : first + round(DIRECT_S * fs)].argmax())


def _read_table(path, array, foa_order):
    """directions.csv → directions (K, 3), distances (K,) or None, responses, Hz."""
    lines = csv.DictReader(read_text(path, "directions.csv", "a CSV").splitlines())
    absent = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
    if absent:
        raise UserError(f"{path}: no column '{absent[0]}'; columns are file,azimuth,elevation and, if known, "
                        "distance_m")
    rows = [(lines.line_num, row) for row in lines]
    if not rows:
        raise UserError(f"{path} names no file")
    angles, distances, responses, rates = [], [], [], set()
    for line, row in rows:
        try:
            azimuth, elevation = float(row["azimuth"]), float(row["elevation"])
            distances.append(float(row.get("distance_m") or "nan"))
        except (TypeError, ValueError):
            raise UserError(f"{path}, line {line}: azimuth and elevation (and distance_m) are numbers") from None
        if not (-180 <= azimuth <= 360 and -90 <= elevation <= 90):
            raise UserError(f"{path}, line {line}: azimuth {azimuth:g}, elevation {elevation:g}: out of range")
        angles.append((azimuth, elevation))
        response, rate = _read_audio(path.parent / row["file"], array, foa_order)
        responses.append(response)
        rates.add(rate)
    if len(rates) > 1:
        raise UserError(f"{path}: files of different sample rates ({', '.join(map(str, sorted(rates)))} Hz)")
    known = np.isfinite(distances).all()
    return unit_vectors(*np.array(angles).T), np.array(distances) if known else None, responses, rates.pop()


def _read_audio(path, array, foa_order):
    require_file(path)
    try:
        audio, rate = soundfile.read(encodable(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path} cannot be read as audio ({error})") from None
    refuse_no_sound(audio, path, rate)
    return _as_array(audio.T, array, foa_order, path), rate


def _as_array(response, array, foa_order, path):
    """Channels (C', samples) of a file as those of the array; of higher-order ambisonics the first four."""
    count, wanted = len(response), array.channels
    higher = array.kind == "ambisonic" and foa_order == "acn" and count in ORDERS
    if count != wanted and not higher:
        raise UserError(f"{path} has {count} channel(s); array '{array.name}' is {array.describe()}")
    response = response[:wanted]
    if foa_order == "fuma":
        response = response[[0, 2, 3, 1]] * np.array([[np.sqrt(2)], [1], [1], [1]], np.float32)
    return response


def _read_sofa(path, array, foa_order):
    """A SOFA file → directions (K, 3), distances (K,), responses, Hz."""
    import h5py
    require_file(path)
    try:
        with h5py.File(encodable(path)) as file:
            return _of_sofa(file, array, foa_order, path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read as SOFA ({error!s:.200})") from None
    except KeyError as error:
        raise UserError(f"{path} lacks what a SOFA file of impulse responses holds: {error!s:.200}") from None
    except (ValueError, TypeError, IndexError, AttributeError) as error:  # names that hold other things, other shapes
        raise UserError(f"{path}: its content is not that of a SOFA file of impulse responses ({error!s:.200})"
                        ) from None


def _of_sofa(file, array, foa_order, path):
    stored = file["Data.IR"]
    if stored.nbytes > MOST_COMPRESSED * stored.id.get_storage_size():
        raise UserError(f"{path}: 'Data.IR' states {stored.nbytes} bytes, more than the file holds")
    impulses, rate = _numbers(file, "Data.IR"), float(np.ravel(_numbers(file, "Data.SamplingRate"))[0])
    if max(impulses.max(), -impulses.min()) > LOUDEST:
        raise UserError(f"{path}: 'Data.IR' holds values beyond any level")
    if impulses.ndim == 4:  # (M, R, N, E) or, of older files, (M, R, E, N): each emitter is a source
        impulses = impulses if impulses.shape[3] == len(file["EmitterPosition"]) else impulses.swapaxes(2, 3)
        impulses = impulses.transpose(0, 3, 1, 2)  # (M, E, R, N)
    else:
        impulses = impulses[:, None]
    measurements, emitters = impulses.shape[:2]
    vectors = _sofa_directions(file, measurements, emitters).reshape(-1, 3)
    distances = np.linalg.norm(vectors, axis=1)
    if distances.min() < 1e-6:
        raise UserError(f"{path}: a source is at the listener's place; SourcePosition and ListenerPosition state no "
                        "direction")
    harmonic = _kind(file, "ReceiverPosition").startswith("spherical harmonic")
    if harmonic and array.kind != "ambisonic":
        raise UserError(f"{path} holds ambisonics (spherical harmonics); array '{array.name}' is {array.describe()}")
    if array.kind != "ambisonic":
        _check_receivers(file, array, path)
    delays = np.broadcast_to(np.reshape(_numbers(file, "Data.Delay"), (-1, *file["Data.Delay"].shape[1:]))
                             if "Data.Delay" in file else np.zeros((1, 1)), _delay_shape(file, impulses))
    if np.ptp(delays) > HIGHEST_RATE:
        raise UserError(f"{path}: 'Data.Delay' holds more than delays in samples")
    responses = []
    for number, response in enumerate(impulses.reshape(-1, *impulses.shape[2:]).astype(np.float32)):
        response = _delayed(response, delays.reshape(len(delays), -1)[number // emitters][: len(response)])
        if harmonic:  # N3D gains (AES69-2022)
            response = response[:4] / np.sqrt(np.array([[1], [3], [3], [3]], np.float32))
        responses.append(_as_array(response, array, "acn" if harmonic else foa_order, path))
    return vectors / distances[:, None], distances, responses, rate


def _numbers(file, name):
    """A variable as floats; ValueError unless it holds finite numbers."""
    values = np.asarray(file[name][()])
    if not values.size or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"'{name}' does not hold finite numbers")
    return values.astype(float, copy=False)


def _delay_shape(file, impulses):
    shape = file["Data.Delay"].shape if "Data.Delay" in file else (1, 1)
    return impulses.shape[0], impulses.shape[2], *shape[2:]


def _delayed(response, samples):
    """Channels (C, n) late by whole ``samples`` (C,)."""
    samples = np.round(samples - samples.min()).astype(int)
    if not samples.any():
        return response
    late = np.zeros((len(response), response.shape[1] + samples.max()), np.float32)
    for channel, (own, delay) in enumerate(zip(response, samples)):
        late[channel, delay : delay + len(own)] = own
    return late


def _kind(file, name):
    """The Type attribute of a variable of positions."""
    kind = file[name].attrs.get("Type", b"cartesian") if name in file else b"cartesian"
    return (kind.decode() if isinstance(kind, bytes) else str(kind)).lower()


def _cartesian(file, name, count):
    """Positions ``name`` as (count, 3) m."""
    values = _numbers(file, name)
    values = values[..., 0] if values.ndim == 3 else values
    if _kind(file, name) == "spherical":
        values = values[:, 2:] * unit_vectors(values[:, 0], values[:, 1])
    return np.broadcast_to(values, (count, 3))


def _sofa_directions(file, measurements, emitters):
    """Vectors (M, E, 3) from the listener to the sources, in the listener's axes (view is the front)."""
    source = _cartesian(file, "SourcePosition", measurements)[:, None]
    if emitters > 1:
        source = source + _cartesian(file, "EmitterPosition", emitters)
    vectors = source - _cartesian(file, "ListenerPosition", measurements)[:, None]
    if "ListenerView" not in file:
        return np.broadcast_to(vectors, (measurements, emitters, 3))
    view = _cartesian(file, "ListenerView", measurements)
    up = _cartesian(file, "ListenerUp", measurements) if "ListenerUp" in file else np.array([[0, 0, 1.0]])
    left = np.cross(np.broadcast_to(up, view.shape), view)
    if not np.linalg.norm(left, axis=1).min() > 1e-6:
        raise ValueError("'ListenerView' and 'ListenerUp' state no orientation")
    front, left = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (view, left))
    axes = np.stack([front, left, np.cross(front, left)], axis=1)  # (M, 3 axes, 3)
    return np.einsum("mij,mej->mei", axes, np.broadcast_to(vectors, (measurements, emitters, 3)))


def _check_receivers(file, array, path):
    """UserError where the receivers of a SOFA file are not the array's capsules."""
    if "ReceiverPosition" not in file or len(file["ReceiverPosition"]) != array.channels:
        return  # the number of channels is compared later
    places = _cartesian(file, "ReceiverPosition", array.channels)
    if not np.ptp(places, axis=0).any():
        return  # not stated
    apart = np.linalg.norm(places - places.mean(0) - (array.positions - array.positions.mean(0)), axis=1)
    if apart.max() > PLACED_M:
        raise UserError(f"{path}: receiver {apart.argmax() + 1} lies {1000 * apart.max():.0f} mm from capsule "
                        f"{apart.argmax() + 1} of array '{array.name}'; give the array of this file (arrays/*.yaml)")


def _doubts(room, array, fs):
    """Sentences on direct sounds that contradict the stated directions or gains."""
    if array.kind != "ambisonic":
        return ()
    lead, width = round(LEAD_S * fs), round(DIRECT_S * fs)
    direct = np.stack([one[:, lead - width : lead + width + 1] for one in room.responses])
    direct = direct * np.hanning(2 * width + 3)[1:-1]
    frequencies = np.fft.rfftfreq(256, 1 / fs)
    spectra = np.fft.rfft(direct, 256)[..., (frequencies >= DOUBT_HZ[0]) & (frequencies <= DOUBT_HZ[1])]  # (K, 4, F)
    intensity = np.einsum("kf,kcf->kc", spectra[:, 0].conj(), spectra[:, [3, 1, 2]]).real
    error = float(np.median(angular_distance(intensity, room.directions)))
    powers = np.sum(np.abs(spectra) ** 2, axis=-1)
    excess = float(np.median(10 * np.log10(powers[:, 1:].sum(1) / powers[:, 0])))
    notes = []
    if error > DOUBTFUL_DEG:
        notes.append(f"{room.name}: the direct sounds come from {error:.0f}° beside the stated directions (median); "
                     "are the channels W, Y, Z, X (ACN), or FuMa (--foa-order fuma)? Are azimuths counter-clockwise?")
    if abs(excess) > DOUBTFUL_DB:
        notes.append(f"{room.name}: Y, Z and X are {excess:+.1f} dB over W in the direct sounds, where SN3D has 0, "
                     "FuMa +3 and N3D +4.8")
    return tuple(notes)


# --- scenes ----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class MeasuredTrajectory:
    """A static source at a measured position, or one that passes through several.

    ``passes``: (position, time in s after the start at which it is reached), ...; one for a static source.
    """

    room: MeasuredRoom
    passes: tuple

    @property
    def moving(self):
        return len(self.passes) > 1

    @property
    def azimuth(self):
        return float(azimuth_elevation(self.directions(0.0))[0])

    @property
    def elevation(self):
        return float(azimuth_elevation(self.directions(0.0))[1])

    def places(self, times):
        """(first position, second position, share of the second) at ``times`` (T,), each (T,)."""
        index, reached = (np.array(column) for column in zip(*self.passes))
        step = np.clip(np.searchsorted(reached, times, side="right") - 1, 0, max(0, len(reached) - 2))
        following = np.minimum(step + 1, len(reached) - 1)
        span = np.maximum(reached[following] - reached[step], 1e-9)
        share = np.clip((np.asarray(times) - reached[step]) / span, 0, 1)
        return index[step], index[following], share

    def directions(self, times):
        """Unit vectors (..., 3) at ``times`` (...,) after the event's start."""
        first, second, share = self.places(np.ravel(times))
        mixed = (1 - share)[:, None] * self.room.directions[first] + share[:, None] * self.room.directions[second]
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).reshape(*np.shape(times), 3)

    def distances(self, times, room):
        """Distances (T,) from the microphone, m; NaN where the responses do not state them."""
        if self.room.distances_m is None:
            return np.full(len(times), np.nan)
        first, second, share = self.places(times)
        return (1 - share) * self.room.distances_m[first] + share * self.room.distances_m[second]

    def positions(self, times, room):
        """(T, 3): first position, second position, share of the second, as MeasuredRenderer reads them."""
        return np.stack(self.places(times), axis=1)


def draw_trajectory(room, duration_s, rng, speed_deg_s=None):
    """A MeasuredTrajectory from a random position; with ``speed_deg_s`` (slowest, fastest) it moves, as straight as the
    positions allow."""
    start = int(rng.integers(len(room.directions)))
    passes = [(start, 0.0)]
    if speed_deg_s:
        speed, heading = rng.uniform(*speed_deg_s), None
        while passes[-1][1] < duration_s:
            here = passes[-1][0]
            near = room.neighbours[here]
            if not len(near):
                break
            steps = room.directions[near] - room.directions[here]
            steps /= np.linalg.norm(steps, axis=1, keepdims=True)
            straight = rng.random(len(near)) if heading is None else steps @ heading + 0.2 * rng.random(len(near))
            best = int(straight.argmax())
            angle = float(angular_distance(room.directions[here], room.directions[near[best]]))
            heading = steps[best]
            passes.append((int(near[best]), passes[-1][1] + angle / speed))
    return MeasuredTrajectory(room, tuple(passes))


class MeasuredRenderer(Renderer):
    """Sources through measured responses; ambient noise is that of a diffuse field at the array."""

    def __init__(self, array, fs, simulation):
        super().__init__((array,), fs)
        self.lead, self.simulation = round(LEAD_S * fs), simulation

    def source(self, room, dry, positions, rng):
        """See Renderer; ``positions`` (K, 3) as of MeasuredTrajectory."""
        dry = np.asarray(dry, np.float32)
        if len(positions) == 1:
            return oaconvolve(dry[None], room.responses[int(positions[0, 0])], axes=1)
        hop = round(HOP_S * self.fs)
        used = np.unique(positions[:, :2].astype(int))
        longest = max(room.responses[place].shape[1] for place in used)
        output = np.zeros((self.channels, len(dry) + longest - 1), np.float32)
        times = np.minimum(np.arange(len(dry)) / hop, len(positions) - 1)
        for place in used:
            share = np.where(positions[:, 0] == place, 1 - positions[:, 2], 0)
            share = share + np.where(positions[:, 1] == place, positions[:, 2], 0)
            heard = np.flatnonzero(share)
            first, last = max(0, (heard[0] - 1) * hop), min(len(dry), (heard[-1] + 1) * hop)
            part = dry[first:last] * np.interp(times[first:last], np.arange(len(share)), share).astype(np.float32)
            wet = oaconvolve(part[None], room.responses[place], axes=1)
            output[:, first : first + wet.shape[1]] += wet
        return output

    def recorded(self, scene, signals):
        if not realism.is_realistic(self.simulation):
            return super().recorded(scene, signals)
        drawn = sensors.of_scene(self.arrays, self.simulation, self.fs, scene.key)
        return sensors.record(drawn, signals, self.simulation, self.fs, scene.key)
