"""Does the audio point where the labels say, and when they say? If not, what was done to it?

Directions are estimated in label frames with one source, the loudest of each event, once for each *suspect*: a common
fault of the channels (order, signs) or of the labels (convention). The suspect that reconciles audio and labels is
reported if it does so clearly better than "nothing is wrong".

S selected frames, H suspects of the audio, A all suspects, M channels, K bins. Labels are angles in degrees;
estimated directions are vectors (S, H, 3) of any length. The error of an event is the median over its frames, the
error of a dataset the median over its events.

Ambisonics: active intensity (Merimaa and Pulkki, "Spatial impulse response rendering", JAES 2005). Capsules: steered
response (DiBiase, "A high-accuracy, low-latency technique for talker localization", 2000) with the phases of the
response of the array. In both, a bin is weighted by its amplitude, not its power.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft

from doatools.check.permutations import exchange
from doatools.spatial.arrays import fibonacci_directions
from doatools.spatial.geometry import angular_distance, unit_vectors

BAND_HZ = (500.0, 4000.0)  # lower, arrays are small and rooms not diffuse; higher, real arrays alias
FRAMES_AN_EVENT, FRAMES_A_RECORDING = 8, 48
SNAPSHOTS = 4  # windows in a label frame, each 2/5 of its length
GRID = fibonacci_directions(400)  # about 10° apart
STEP_S, STEPS_A_SIDE = 0.02, 10  # a rise compares the level in 0.2 s after with that in 0.2 s before
REACH = 50  # steps; onsets are searched up to 1 s from the label


# --- suspects --------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Suspect:
    """Something that may be wrong. ``cost`` 0: nothing; of the suspects that explain the data, the cheapest is chosen.

    The true channel c is ``signs[c]`` times the recorded channel ``order[c]``. ``relabel``, for faults of the labels,
    maps (azimuth, elevation) as written to what they mean.
    """

    what: str
    remedy: str = ""
    cost: int = 0
    order: tuple = ()  # (): as recorded
    signs: tuple = ()
    relabel: Callable | None = None


LABEL_SUSPECTS = tuple(Suspect(what, remedy, 1, relabel=relabel) for what, remedy, relabel in (
    ("the azimuth of the labels runs clockwise", "write minus the azimuth into the CSVs", lambda a, e: (-a, e)),
    ("the azimuth of the labels counts from the back", "add 180 to the azimuths", lambda a, e: (a + 180, e)),
    ("the azimuth of the labels counts from the right", "subtract 90 from the azimuths", lambda a, e: (a - 90, e)),
    ("the azimuth of the labels counts from the left", "add 90 to the azimuths", lambda a, e: (a + 90, e)),
    ("the azimuth of the labels runs clockwise from the left, like a compass to the left",
     "write 90 minus the azimuth", lambda a, e: (90 - a, e)),
    ("the azimuth of the labels runs clockwise from the back", "write 180 minus the azimuth",
     lambda a, e: (180 - a, e)),
    ("the azimuth of the labels runs clockwise from the right", "write -90 minus the azimuth",
     lambda a, e: (-90 - a, e)),
    ("the elevation of the labels counts downward", "write minus the elevation", lambda a, e: (a, -e)),
    ("the elevation of the labels counts from the zenith", "write 90 minus the elevation", lambda a, e: (a, 90 - e)),
    ("the columns azimuth and elevation are exchanged", "exchange the fourth and fifth column of the CSVs",
     lambda a, e: (e, a)),
    ("the angles of the labels are radians", "multiply azimuth and elevation by 57.2958",
     lambda a, e: (np.rad2deg(a), np.rad2deg(e))),
))


def suspects_of(array):
    """The suspects for recordings of an Array: "nothing" first, those of the audio before those of the labels."""
    audio = _foa_suspects() if array.kind == "ambisonic" else _capsule_suspects(array.channels)
    return (*sorted(audio, key=lambda suspect: suspect.cost), *LABEL_SUSPECTS)


def _foa_suspects():
    names = "WYZX"
    for order, signs in itertools.product(itertools.permutations(range(4)), itertools.product((1, -1), repeat=3)):
        recorded = "".join(names[order.index(place)] for place in range(4))
        moved = [name for name, place in zip(names, range(4)) if order[place] != place]
        negated = [name for name, sign in zip(names[1:], signs) if sign < 0]
        faults = []
        if recorded == "WXYZ":
            faults.append("the channels are in FuMa order (W X Y Z), not in ACN order (W Y Z X)")
        elif len(moved) == 2:
            faults.append(f"{moved[0]} and {moved[1]} are exchanged (the channels come as {' '.join(recorded)}, "
                          "not W Y Z X)")
        elif moved:
            faults.append(f"the channels come as {' '.join(recorded)}, not W Y Z X")
        if negated:
            faults.append(f"{' and '.join(negated)} {'is' if len(negated) == 1 else 'are'} negated")
        cost = len(negated) + bool(moved) + (len(moved) > 2 and recorded != "WXYZ")
        yield Suspect(" and ".join(faults), _remix(order, (1, *signs)), cost, order, (1, *signs))


def _capsule_orders(channels):
    """Orders that channels may come in: all of up to four; of more, rotations, the reverse, and swaps of two."""
    straight = tuple(range(channels))
    if channels <= 4:
        return list(itertools.permutations(straight))
    orders = [straight[shift:] + straight[:shift] for shift in straight] + [straight[::-1]]
    orders += [exchange(one, other, channels) for one, other in itertools.combinations(straight, 2)]
    return list(dict.fromkeys(orders))


def _capsule_suspects(channels):
    straight, plain = tuple(range(channels)), (1,) * channels
    for order in _capsule_orders(channels):
        moved = [place for place in straight if order[place] != place]
        shifts = [shift for shift in straight if order == straight[shift:] + straight[:shift]]
        recorded = " ".join(str(order.index(place) + 1) for place in straight)
        if len(moved) == 2:
            what = f"channels {moved[0] + 1} and {moved[1] + 1} are exchanged"
        elif shifts:
            shift = min(shifts[0], channels - shifts[0])
            what = f"the channels are rotated by {shift}: they hold capsules {recorded}"
        else:
            what = f"the channels hold capsules {recorded}"
        simple = len(moved) == 2 or shifts or order == straight[::-1]
        yield Suspect(what, _remix(order, plain), bool(moved) + (not simple), order, plain)
    for channel in straight:
        signs = tuple(-1 if place == channel else 1 for place in straight)
        yield Suspect(f"channel {channel + 1} has the wrong polarity", _remix(straight, signs), 1, straight, signs)


def _remix(order, signs):
    words = " ".join(f"{place + 1}{'v-1' if sign < 0 else ''}" for place, sign in zip(order, signs))
    return f"rewrite the channels (sox in.wav out.wav remix {words})"


# --- measuring a recording -------------------------------------------------------------------------------

@dataclass(frozen=True)
class Measured:
    """Measurements of one recording: labels (S,) and estimates (S, H, 3) of selected frames, and its onsets.

    ``excess_db`` (S,): power of Y, Z and X together relative to that of W, 0 for SN3D gains (ambisonics; NaN
    otherwise); ``rises`` (onsets, 2 * REACH + 1): rise of the level in dB around each labelled onset.
    """

    azimuth: np.ndarray
    elevation: np.ndarray
    event: np.ndarray
    estimates: np.ndarray
    excess_db: np.ndarray
    rises: np.ndarray


def measure(audio, fs, rows, label_hop_s, array):
    """Audio (samples, M) and EVENT_ROWS → Measured."""
    hop = round(fs * label_hop_s)  # samples of a label frame
    n_frames = len(audio) // hop
    rows = rows[rows["frame"] < n_frames]
    frames = audio[: n_frames * hop].reshape(n_frames, hop * audio.shape[1])
    power = np.einsum("ti,ti->t", frames, frames)
    chosen = _choose(rows, power)
    covariances, frequencies = _covariances(audio, chosen["frame"] * hop, hop, fs)
    suspects = [suspect for suspect in suspects_of(array) if suspect.relabel is None]
    excess = np.full(len(chosen), np.nan)
    if array.kind == "ambisonic":
        summed = covariances.real.sum(axis=-1)  # (S, M, M)
        estimates = [_intensity(summed, suspect) for suspect in suspects]
        powers = np.maximum(np.diagonal(summed, axis1=1, axis2=2), 1e-12)
        excess = 10 * np.log10(powers[:, 1:].sum(axis=1) / powers[:, 0])
    else:
        grid = GRID[GRID[:, 2] >= 0] if array.planar else GRID
        # Every second bin: windows correlate neighbouring ones.
        phases = np.exp(1j * np.angle(array.response(grid, frequencies[::2])))
        steering = _pairs(np.einsum("mdk,ndk->dmnk", phases, phases.conj()))
        estimates = [grid[np.argmax(_pairs(_reordered(covariances[..., ::2], suspect)) @ steering.T, axis=1)]
                     for suspect in suspects]
    return Measured(chosen["azimuth"], chosen["elevation"], chosen["event"],
                    np.stack(estimates, axis=1).astype(np.float32), excess, _rises(audio, fs, rows, label_hop_s))


def _choose(rows, power):
    """The loudest rows of each event that have no other source in their frame, at most FRAMES_A_RECORDING."""
    frames, counts = np.unique(rows["frame"], return_counts=True)
    alone = rows[np.isin(rows["frame"], frames[counts == 1])]
    alone = alone[np.argsort(-power[alone["frame"]], kind="stable")]
    rank = np.zeros(len(alone), int)  # of a row in its event
    for event in np.unique(alone["event"]):
        mine = alone["event"] == event
        rank[mine] = np.arange(mine.sum())
    order = np.argsort(rank, kind="stable")[:FRAMES_A_RECORDING]
    return alone[order[rank[order] < FRAMES_AN_EVENT]]


def _covariances(audio, starts, hop, fs):
    """Covariances (S, M, M, K) of the label frames that start at samples ``starts``, and frequencies (K,).

    They are divided by the amplitude of each bin, and so proportional to amplitude instead of power.
    """
    length = 2 * hop // 5
    n_fft = scipy.fft.next_fast_len(length, real=True)
    frequencies = np.fft.rfftfreq(n_fft, 1 / fs)
    band = (frequencies >= BAND_HZ[0]) & (frequencies <= BAND_HZ[1])
    begins = starts[:, None] + np.arange(SNAPSHOTS) * (hop - length) // (SNAPSHOTS - 1)  # (S, snapshots)
    frames = audio[begins[..., None] + np.arange(length)].swapaxes(-1, -2)  # (S, snapshots, M, length)
    spectra = scipy.fft.rfft(frames * np.hanning(length).astype(np.float32), n_fft)[..., band]
    spectra /= np.linalg.norm(spectra, axis=2, keepdims=True) ** 0.5 + 1e-12
    return np.einsum("stmk,stnk->smnk", spectra, spectra.conj()), frequencies[band]


def _reordered(covariances, suspect):
    channels = covariances.shape[1]
    order, signs = np.array(suspect.order or range(channels)), np.array(suspect.signs or (1,) * channels)
    signs = np.multiply.outer(signs, signs).reshape(len(order), len(order), *[1] * (covariances.ndim - 3))
    return covariances[:, order[:, None], order] * signs


def _intensity(covariances, suspect):
    """Real covariances (S, 4, 4) → W · (X, Y, Z), (S, 3)."""
    return _reordered(covariances, suspect)[:, 0, [3, 1, 2]]


def _pairs(covariances):
    """Covariances (S, M, M, K) → those of all pairs of channels as real numbers (S, 2 * pairs * K)."""
    one, other = np.triu_indices(covariances.shape[1], k=1)
    flat = covariances[:, one, other].reshape(len(covariances), len(one) * covariances.shape[-1])
    return np.concatenate([flat.real, flat.imag], axis=1).astype(np.float32)


def _rises(audio, fs, rows, label_hop_s):
    """Rise of the level in dB around the onset of each event (onsets, 2 * REACH + 1), except at the very start."""
    _, first = np.unique(rows["event"], return_index=True)
    onsets = rows["frame"][first]
    onsets = np.round(onsets[onsets > 0] * label_hop_s / STEP_S).astype(int)
    if not len(onsets):
        return np.zeros((0, 2 * REACH + 1))
    step = round(fs * STEP_S)
    steps = audio[: len(audio) // step * step].reshape(-1, step * audio.shape[1])
    power = np.einsum("ti,ti->t", steps, steps) / steps.shape[1]
    level = 10 * np.log10(power + 1e-3 * np.percentile(power, 90) + 1e-12)
    margin = REACH + STEPS_A_SIDE
    total = np.concatenate([[0], np.cumsum(np.pad(level, margin, mode="edge"))])
    middle = np.arange(STEPS_A_SIDE, len(total) - STEPS_A_SIDE)
    rise = (total[middle + STEPS_A_SIDE] - 2 * total[middle] + total[middle - STEPS_A_SIDE]) / STEPS_A_SIDE
    return np.clip(rise[onsets[:, None] + np.arange(2 * REACH + 1)], 0, 30)


# --- judging a dataset -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Verdict:
    """``state``: 'agrees' | 'few' (too few events to decide) | 'unexplained' | 'fault', with its ``suspects`` |
    'exchanged' (a fault by the delays between channels alone).

    ``error`` of the recordings as they are, ``mended`` once the first suspect is corrected; degrees.
    """

    state: str
    n_events: int
    error: float = float("nan")
    mended: float = float("nan")
    suspects: tuple = ()


def event_errors(measured, suspects, array):
    """Median error of each event under each suspect (events, A), degrees."""
    estimates = {suspect: measured.estimates[:, number] for number, suspect in enumerate(
        suspect for suspect in suspects if suspect.relabel is None)}
    errors = np.empty((len(measured.event), len(suspects)))
    for number, suspect in enumerate(suspects):
        labels = measured.azimuth, measured.elevation
        truth = array.folded(unit_vectors(*(suspect.relabel(*labels) if suspect.relabel else labels)))
        errors[:, number] = angular_distance(estimates.get(suspect, measured.estimates[:, 0]), truth)
    return np.stack([np.median(errors[measured.event == event], axis=0) for event in np.unique(measured.event)]
                    ) if len(errors) else errors


def judge(errors, suspects, alone=False):
    """Errors of events (E, A) → Verdict; ``alone``: of a single recording, which needs more evidence."""
    n_events = len(errors)
    if n_events < (5 if alone else 4):
        return Verdict("few", n_events)
    medians = np.median(errors, axis=0)
    cost = np.array([suspect.cost for suspect in suspects])
    fits = _as_good(medians, medians.min())
    best = np.flatnonzero(fits & (cost == cost[fits].min()))
    best = best[np.argsort(medians[best], kind="stable")]
    now, mended = medians[0], medians[best[0]]
    closer = np.mean(errors[:, best[0]] < errors[:, 0])
    wrong, least = (15, 0.6) if n_events >= 10 and not alone else (25, 0.5)
    if best[0] != 0 and now >= wrong and mended <= least * now and mended <= 40 and closer >= 0.7:
        return Verdict("fault", n_events, now, mended, tuple(suspects[number] for number in best))
    # Random directions are 90° from the labels; reverberation and noise alone cause much smaller errors.
    return Verdict("unexplained" if now > 60 and n_events >= 10 else "agrees", n_events, now)


def settle(verdicts):
    """{array: Verdict} of arrays that recorded the same sound → {array or 'labels': Verdict} to report.

    With one array, some faults of the channels look like faults of the labels (Y negated like a clockwise azimuth);
    two arrays separate them.
    """
    faults = {name: verdict for name, verdict in verdicts.items() if verdict.state == "fault"}
    shared = [suspect for suspect in LABEL_SUSPECTS if all(suspect in verdict.suspects for verdict in faults.values())]
    if len(faults) > 1 and shared:
        first = next(iter(faults.values()))
        return {"labels": Verdict("fault", first.n_events, first.error, first.mended, tuple(shared))}
    if any(verdict.state == "agrees" for verdict in verdicts.values()):  # so the labels are right
        for name, verdict in faults.items():
            own = tuple(suspect for suspect in verdict.suspects if suspect.relabel is None)
            faults[name] = Verdict("fault", verdict.n_events, verdict.error, verdict.mended, own or verdict.suspects)
    return faults | {name: verdict for name, verdict in verdicts.items() if verdict.state == "unexplained"}


def with_order(verdict, errors, order):
    """A Verdict (or None) on directions, whose errors of events are (E, A), narrowed by the Order of an array's
    channels: only some of its suspects may explain the delays between channels, and where none does, an exchange of two
    channels may."""
    if order is None or not order.doubtful:
        return verdict
    told = tuple(suspect for suspect in (verdict.suspects if verdict else ())
                 if suspect.order and order.mended_by(suspect.order))
    if told:
        return replace(verdict, suspects=told)
    orders = [exchange(*pair, order.array.channels) for pair in order.exchanges]
    exchanged = {number: suspect for number, suspect in enumerate(suspects_of(order.array))
                 if suspect.order in orders and -1 not in suspect.signs}
    if not exchanged:
        return verdict
    medians = np.median(errors[:, list(exchanged)], axis=0) if len(errors) else np.zeros(len(exchanged))
    return Verdict("exchanged", len(errors), suspects=tuple(
        suspect for suspect, error in zip(exchanged.values(), medians) if _as_good(error, medians.min())))


def _as_good(error, least):
    return error <= 1.25 * least + 1.5


def excess_of_gains(excess_db, event):
    """Power of Y, Z, X relative to W in dB; None where events are too few or disagree."""
    per_event = np.array([np.median(excess_db[event == number]) for number in np.unique(event)])
    if len(per_event) < 5 or np.subtract(*np.percentile(per_event, [75, 25])) > 1.5:
        return None
    return float(np.median(per_event))


def lag_of_onsets(rises):
    """Rises (onsets, 2 * REACH + 1) → s from the labels to the sounds; None where that is not clear.

    Both halves of the onsets must agree, and the rise must be clearly larger than that at the labelled time.
    """
    if len(rises) < 6:
        return None
    profile = rises.mean(axis=0)
    halves = [rises[part::2].mean(axis=0).argmax() for part in (0, 1)]
    lag = int(profile.argmax()) - REACH
    if abs(halves[0] - halves[1]) > 5 or profile.max() < 1.3 * np.median(profile) + 1:
        return None
    if abs(lag) * STEP_S >= 0.15 and profile.max() < 1.3 * profile[REACH - 4 : REACH + 5].max():
        return 0.0
    return lag * STEP_S
