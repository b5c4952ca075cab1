"""Is the array rotated, tilted or mirrored against the labels? By how much, and is that certain?

Directions are measured at attacks: the first milliseconds of a sound after a quieter moment are direct sound, before
reflections pull the direction toward the middle of the room. The orthogonal matrix that brings these directions to the
labels in the least-squares sense (Kabsch, "A solution for the best rotation to relate two sets of vectors", Acta
Crystallographica A 32, 1976) is fitted robustly, once as a rotation and once with a left-right mirror, and again
without each of several groups of recordings, and of directions (a jackknife), which tells how certain the angles are:
in a measured room, the errors of a direction are the same in all recordings.

E attacks; directions are unit vectors (E, 3); angles in degrees.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft

from doatools.spatial.arrays import fibonacci_directions
from doatools.spatial.geometry import angular_distance, unit_vectors

BAND_HZ = (500.0, 4000.0)
STEP_S, WINDOW_S, BEFORE_S = 0.0025, 0.004, 0.040  # reflections from the floor follow within milliseconds
ATTACK_DB = 3.0  # a window is this much louder than the time before it
ATTACKS_AN_EVENT = 12
GRID = fibonacci_directions(1200)  # about 6° apart
FEWEST_RECORDINGS, FEWEST_ATTACKS = 8, 40
LEAST_DEG = 4.0  # a rotation that is smaller is not worth a finding
CERTAIN = 3.0  # standard errors that a rotation must exceed
GROUPS = 8
FLAT = 0.04  # share of the smallest principal axis of the labels below which a mirror cannot be told from a rotation
MIRROR_RATIO = 0.7  # a mirrored array fits so much better than a rotated one


@dataclass(frozen=True)
class Orientation:
    """``matrix`` (3, 3) brings directions of the audio to those of the labels.

    ``yaw``, ``tilt``: of the array, counter-clockwise from above and away from the vertical; ``certainty``: standard
    error of the angle of the whole rotation; ``error``, ``mended``: median error of attacks without and with the
    matrix.
    """

    matrix: np.ndarray
    mirror: str  # what is exchanged, a key of MIRRORS, or ''
    yaw: float
    tilt: float
    angle: float
    certainty: float
    error: float
    mended: float
    n_attacks: int

    @property
    def wrong(self):
        """Whether the array certainly stands otherwise than the labels say, and a rotation explains it."""
        certain = self.angle >= LEAST_DEG and self.angle >= CERTAIN * self.certainty
        return bool(self.mirror and self.mends) or (certain and self.mended < self.error)

    @property
    def mends(self):
        """Whether the matrix brings the directions much nearer to the labels."""
        return self.mended <= MIRROR_RATIO * self.error

    def describe(self):
        """What is wrong, in words."""
        parts = [f"{self.mirror} are exchanged"] if self.mirror else []
        if abs(self.yaw) >= max(2, 2 * self.certainty):
            way = "counter-clockwise" if self.yaw > 0 else "clockwise"
            parts.append(f"the array is rotated by {abs(self.yaw):.0f}° {way}, seen from above")
        if self.tilt >= max(2, 2 * self.certainty):
            parts.append(f"the array is tilted by {self.tilt:.0f}°")
        return " and ".join(parts)


# --- measuring -------------------------------------------------------------------------------------------------

def attack_directions(audio, fs, rows, label_hop_s, array):
    """Measured and labelled directions at attacks of single sources: (E, 3), (E, 3).

    audio (samples, M); rows are EVENT_ROWS.
    """
    starts, events = attacks(audio, fs, rows, label_hop_s)
    if not len(starts):
        return np.zeros((0, 3)), np.zeros((0, 3))
    directions = _directions(audio, fs, starts, array)
    labelled = np.zeros_like(directions)
    for event in np.unique(events):
        mine, row = events == event, rows[rows["event"] == event]
        middle = (starts[mine] / fs + WINDOW_S / 2) / label_hop_s
        nearest = row[np.abs(row["frame"][:, None] + 0.5 - middle).argmin(0)]
        labelled[mine] = unit_vectors(nearest["azimuth"], nearest["elevation"])
    return directions, array.folded(labelled)


def attacks(audio, fs, rows, label_hop_s):
    """Samples at which single sources set in, and the event of each."""
    step = round(STEP_S * fs)
    count = len(audio) // step
    differences = np.diff(audio[: count * step], axis=0, prepend=audio[:1])  # no DC, little rumble
    power = np.einsum("tc,tc->t", differences, differences).reshape(count, step).sum(1)
    total = np.concatenate([[0], np.cumsum(power)])
    wide, before = round(WINDOW_S / STEP_S), round(BEFORE_S / STEP_S)
    places = np.arange(before, count - wide)
    now = (total[places + wide] - total[places]) / wide
    quiet = (total[places] - total[places - before]) / before
    rise = 10 * np.log10((now + 1e-20) / (quiet + 1e-4 * np.percentile(power, 95) + 1e-20))
    frames, counts = np.unique(rows["frame"], return_counts=True)
    alone = rows[np.isin(rows["frame"], frames[counts == 1])]
    owner = np.full(int(count * STEP_S / label_hop_s) + 2, -1)
    inside = alone["frame"] < len(owner)
    owner[alone["frame"][inside]] = alone["event"][inside]
    of_place = owner[((places + wide / 2) * STEP_S / label_hop_s).astype(int)]
    starts, events = [], []
    for event in np.unique(of_place[of_place >= 0]):
        mine = np.flatnonzero((of_place == event) & (rise >= ATTACK_DB))
        strength = rise[mine] + 5 * np.log10(now[mine] + 1e-20)
        taken = []
        for index in mine[np.argsort(-strength)]:
            if all(abs(index - other) >= before for other in taken):
                taken.append(index)
            if len(taken) == ATTACKS_AN_EVENT:
                break
        starts += [places[index] * step for index in taken]
        events += [event] * len(taken)
    return np.array(starts, int), np.array(events, int)


def _directions(audio, fs, starts, array):
    """Directions (A, 3) of the windows that begin at ``starts``: intensity, or the steered response with phase
    transform."""
    length = round(WINDOW_S * fs)
    n_fft = scipy.fft.next_fast_len(2 * length, real=True)
    frequencies = np.fft.rfftfreq(n_fft, 1 / fs)
    band = (frequencies >= BAND_HZ[0]) & (frequencies <= BAND_HZ[1])
    frames = audio[starts[:, None] + np.arange(length)].swapaxes(1, 2)  # (A, M, length)
    frames = frames - frames.mean(-1, keepdims=True)
    spectra = scipy.fft.rfft(frames * np.hanning(length), n_fft)[..., band]
    if array.kind == "ambisonic":
        vectors = np.einsum("af,acf->ac", spectra[:, 0].conj(), spectra[:, [3, 1, 2]]).real
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-20)
    grid = GRID[GRID[:, 2] >= 0] if array.planar else GRID
    steering = np.exp(-1j * np.angle(array.response(grid, frequencies[band])))  # (M, D, F)
    spectra = spectra / np.maximum(np.abs(spectra), 1e-12) * np.sqrt(np.abs(spectra).mean(1, keepdims=True))
    found = [np.sum(np.abs(np.einsum("mf,mdf->df", one, steering)) ** 2, axis=1).argmax() for one in spectra]
    return grid[found]


# --- fitting ---------------------------------------------------------------------------------------------------

def orientation(recordings):
    """Orientation of the array from [(measured (E, 3), labelled (E, 3))] of recordings; None if they tell too
    little."""
    recordings = [one for one in recordings if len(one[0])]
    measured, labelled = (np.concatenate([one[part] for one in recordings]) if recordings else np.zeros((0, 3))
                          for part in (0, 1))
    if len(recordings) < FEWEST_RECORDINGS or len(measured) < FEWEST_ATTACKS:
        return None
    spread = np.linalg.svd(labelled, compute_uv=False) ** 2
    if spread[1] < FLAT * spread.sum():
        return None  # all sources in one direction
    fits = {sign: fit(measured, labelled, sign) for sign in (1, -1)}
    errors = {sign: np.median(angular_distance(measured @ matrix.T, labelled)) for sign, matrix in fits.items()}
    solid = spread[2] >= FLAT * spread.sum()
    # Sources in a plane that are mirrored are as well rotated by 180° about an axis in it; upright is likelier.
    mirrored = bool(errors[-1] < MIRROR_RATIO * errors[1]) if solid else _planar_mirror(fits, errors)
    sign = -1 if mirrored else 1
    matrix = fits[sign]
    numbers = np.concatenate([np.full(len(one[0]), number) for number, one in enumerate(recordings)]) % GROUPS
    azimuths = np.arctan2(labelled[:, 1], labelled[:, 0])
    sectors = np.argsort(np.argsort(azimuths, kind="stable")) * GROUPS // len(azimuths)
    certainty = max(_jackknife(measured, labelled, groups, sign, matrix) for groups in (numbers, sectors))
    mirror = min(MIRRORS, key=lambda name: _angle(matrix @ MIRRORS[name])) if mirrored else ""
    turn = matrix @ MIRRORS[mirror] if mirrored else matrix
    yaw, tilt = _yaw_tilt(turn)
    return Orientation(matrix, mirror, yaw, tilt, _angle(turn), certainty,
                       float(np.median(angular_distance(measured, labelled))),
                       float(np.median(angular_distance(measured @ matrix.T, labelled))), len(measured))


def _jackknife(measured, labelled, groups, sign, matrix):
    """Standard error of the angle of ``matrix``, in degrees, by the fits without each of the ``groups`` (E,)."""
    parts = [fit(measured[groups != group], labelled[groups != group], sign) for group in range(GROUPS)]
    return float(np.sqrt((GROUPS - 1) / GROUPS * sum(_angle(part @ matrix.T) ** 2 for part in parts)))


# What is exchanged, and the matrix that exchanges it back.
MIRRORS = {"left and right": np.diag([1.0, -1, 1]), "up and down": np.diag([1.0, 1, -1]),
           "front and back": np.diag([-1.0, 1, 1])}


def _planar_mirror(fits, errors):
    """Whether sources in one plane are mirrored: the rotation that fits as well would turn the array upside down."""
    return bool(fits[1][2, 2] < 0 < (fits[-1])[2, 2] and errors[-1] < errors[1] + 2)


def fit(measured, labelled, sign=1):
    """The orthogonal matrix (3, 3) of determinant ``sign`` that brings ``measured`` to ``labelled``, outliers weighing
    little."""
    weights = np.ones(len(measured))
    for _ in range(20):
        u, _, vt = np.linalg.svd((labelled * weights[:, None]).T @ measured)
        matrix = u @ np.diag([1, 1, sign * np.sign(np.linalg.det(u @ vt))]) @ vt
        weights = 1 / np.maximum(angular_distance(measured @ matrix.T, labelled), 3.0)
    return matrix


def _yaw_tilt(matrix):
    """Rotation about the vertical, and the angle between both verticals, degrees."""
    yaw = np.rad2deg(np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1]))
    return float(yaw), float(np.rad2deg(np.arccos(np.clip(matrix[2, 2], -1, 1))))


def _angle(matrix):
    """Angle of a rotation matrix, degrees."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))))
