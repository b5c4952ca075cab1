"""Dry sounds for simulated events: a built-in bank of generated sounds, or the files in folders of the user.

Sounds are mono float arrays at ``fs`` Hz with the requested length, whose active part has unit RMS. They have no long
pauses, because labels are active for the whole event. Each sound belongs to one fold: generated sounds have other
voices in each fold, and files are divided among the folds.
"""

import functools
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import lfilter

from doatools.data.audiofiles import LOUDEST, refuse_no_sound
from doatools.errors import UserError
from doatools.files import encodable, has_suffix, require_file

MAX_CLASSES = 14
VOICES = 6  # of each class in each fold
PAUSE_S = 0.15  # pauses within an event are shortened to this
SILENCE_DB = -40.0  # threshold of silence, relative to the loudest 20 ms


def frame_power(sound, fs):
    """Mean square of frames of 20 ms (frames,), the last one padded with zeros."""
    size = max(1, round(0.02 * fs))
    return np.mean(np.pad(sound, (0, -len(sound) % size)).reshape(-1, size) ** 2, axis=1)


def normalized(sound, fs):
    """``sound`` with unit RMS over its active part, the frames within 25 dB of the loudest one."""
    power = frame_power(sound, fs)
    return sound / np.sqrt(np.mean(power[power > power.max() * 10**-2.5]) + 1e-20)


# --- generated kinds -----------------------------------------------------------------------------------
# Each takes (voice, rng, n, fs) and returns n samples at any level. ``voice`` is eight numbers in [0, 1) that stay the
# same for one voice (a speaker, a dog, a piano); ``rng`` is for what differs from event to event.

def _range(low, high, share):
    """Geometric interpolation, since pitches and times are perceived on a logarithmic scale."""
    return low * (high / low) ** share


def _resonance(signal, frequency, bandwidth, fs):
    """Two-pole resonator with a peak gain of about 1."""
    radius = np.exp(-np.pi * bandwidth / fs)
    cosine = np.cos(2 * np.pi * min(frequency, 0.45 * fs) / fs)
    return lfilter([1 - radius], [1, -2 * radius * cosine, radius**2], signal)


def _highpass(signal, frequency, fs):
    pole = np.exp(-2 * np.pi * frequency / fs)
    return lfilter([1, -1], [1, -pole], signal)


def _lowpass(signal, frequency, fs):
    pole = np.exp(-2 * np.pi * frequency / fs)
    return lfilter([1 - pole], [1, -pole], signal)


def _arch(n, fs, attack_s, release_s):
    """Envelope (n,) that rises and falls smoothly."""
    time, envelope = np.arange(n) / fs, np.ones(n)
    start, end = slice(int(attack_s * fs) + 2), slice(max(0, n - int(release_s * fs) - 2), None)
    envelope[start] = np.sin(np.pi / 2 * np.clip(time[start] / attack_s, 0, 1)) ** 2
    envelope[end] *= np.sin(np.pi / 2 * np.clip((n / fs - time[end]) / release_s, 0, 1)) ** 2
    return envelope


def _sequence(n, fs, hit, gap_s, rng, jitter=0.15):
    """Short sounds made by ``hit()``, ``gap_s`` apart, with a relative ``jitter``."""
    output, start = np.zeros(n), 0
    while start < n:
        sound = hit()[: n - start]
        output[start : start + len(sound)] += sound * rng.uniform(0.6, 1)
        start += int(fs * gap_s * rng.uniform(1 - jitter, 1 + jitter)) + 1
    return output


def _struck(modes, decays_s, levels, n, fs, rng):
    """Damped modes that start together, with the noise of the strike."""
    poles = (-1 / np.asarray(decays_s) + 2j * np.pi * np.asarray(modes)) / fs
    start = np.asarray(levels) * np.exp(2j * np.pi * rng.random(len(poles)))
    # exp(pole·(256a + b)) is a product of two small tables
    coarse = np.exp(np.outer(np.arange(0, n, 256), poles)) * start
    ring = (coarse @ np.exp(np.outer(poles, np.arange(256)))).imag.ravel()[:n]
    return ring + 0.5 * rng.standard_normal(n) * _strike(n, fs)


@functools.lru_cache(maxsize=16)
def _strike(n, fs):
    return np.exp(-np.arange(n) / (0.004 * fs))


# Formants in Hz, Peterson and Barney 1952
VOWELS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410],
                   [300, 870, 2240], [660, 1720, 2410], [440, 1020, 2240], [490, 1350, 1690]])


def _syllable(voice, rng, fs, length_s):
    """Fricative noise, then a vowel: glottal pulses of gliding pitch through three formants and breath."""
    n = int(fs * length_s)
    glide = rng.normal(0, 0.12) + rng.uniform(-0.25, 0.15) * np.linspace(0, 1, n)
    phase = np.cumsum(_range(85, 260, voice[0]) * np.exp(glide) / fs)
    pulses = np.diff(np.floor(phase), prepend=0) * _range(1, 3, voice[2])
    source = _lowpass(pulses, _range(600, 2500, voice[1]), fs) + rng.standard_normal(n) * 0.01
    size = _range(0.85, 1.2, voice[3])
    vowel, source = VOWELS[rng.integers(len(VOWELS))] * size, _highpass(source, 60, fs)
    voiced = sum(_resonance(source, f, 60 + 0.05 * f, fs) * level for f, level in zip(vowel, (1, 1.4, 2.0)))
    voiced += 0.8 * _resonance(source, 3600 * size, 300, fs)
    voiced *= _arch(n, fs, 0.03, 0.06) / (np.std(voiced) + 1e-9)
    m = n // 3
    hiss = _highpass(_resonance(rng.standard_normal(m), rng.uniform(2500, 7000) * size, 2500, fs), 1500, fs)
    hiss *= rng.uniform(0.1, 0.6) / np.std(hiss)
    return np.concatenate([hiss * _arch(m, fs, 0.02, 0.02), voiced])


def speech(voice, rng, n, fs):
    """Syllables in words, the pitch and the formants of one speaker."""
    parts, have = [], 0
    while have < n:
        parts.append(_syllable(voice, rng, fs, rng.uniform(0.1, 0.26) * _range(0.8, 1.3, voice[4])))
        parts.append(np.zeros(int(fs * (rng.uniform(0.08, 0.2) if rng.random() < 0.2 else 0.01))))
        have += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts)[:n]


def knock(voice, rng, n, fs):
    modes = _range(120, 500, voice[0]) * np.array([1, 2.3, 3.9, 6.1, 11.0])
    decays = _range(0.02, 0.08, voice[1]) / np.arange(1, 6)

    def hit():
        return _struck(modes, decays, rng.uniform(0.3, 1, 5), int(0.3 * fs), fs, rng)

    return _sequence(n, fs, hit, _range(0.12, 0.35, voice[2]), rng)


def bark(voice, rng, n, fs):
    def hit():
        m = int(fs * _range(0.12, 0.3, voice[1]) * rng.uniform(0.8, 1.2))
        rise = 1 + 0.6 * np.sin(np.pi * np.linspace(0, 1, m))
        phase = np.cumsum(_range(200, 700, voice[0]) * rng.uniform(0.85, 1.15) * rise / fs)
        rough = 2 * (phase % 1) - 1 + rng.standard_normal(m) * _range(0.3, 1.2, voice[2])
        throat = _resonance(rough, _range(600, 1400, voice[3]), 250, fs)
        return (throat + 0.6 * _resonance(rough, 2800, 700, fs) + 0.05 * rough) * _arch(m, fs, 0.015, 0.08)

    return _sequence(n, fs, hit, _range(0.3, 0.5, voice[4]), rng)


def alarm(voice, rng, n, fs):
    """A siren between two pitches, switched or swept."""
    time, rate = np.arange(n) / fs, _range(0.8, 6, voice[0])
    sweep = np.sin(2 * np.pi * rate * time + rng.uniform(0, 6))
    sweep = np.tanh(20 * sweep) if voice[1] < 0.5 else sweep
    pitch = _range(500, 1600, voice[2]) * (1 + 0.25 * sweep * _range(0.3, 1, voice[3]))
    tone = np.tanh(_range(2, 8, voice[4]) * np.sin(2 * np.pi * np.cumsum(pitch / fs)))
    return tone + 0.02 * rng.standard_normal(n)


def engine(voice, rng, n, fs):
    """Firing pulses of wandering speed through the resonances of an exhaust, and the noise of the air."""
    wander = np.interp(np.arange(n), np.linspace(0, n, 2 + n // fs * 2), rng.uniform(-1, 1, 2 + n // fs * 2))
    speed = _range(18, 70, voice[0]) * (1 + 0.25 * wander)
    phase = np.cumsum(speed / fs)
    pulses = np.exp(-_range(4, 12, voice[1]) * (phase % 1)) * (1 + 0.3 * np.sin(np.pi * phase))
    air = rng.standard_normal(n) * (0.2 + pulses)
    exhaust = _range(100, 200, voice[2])
    body = sum(_resonance(pulses + 0.2 * air, exhaust * k, 80 * k, fs) for k in (1, 2.3, 5))
    return _highpass(body, 150, fs) / np.std(body) + _range(0.2, 1.0, voice[3]) * _highpass(air, 1000, fs)


def piano(voice, rng, n, fs):
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 19]) + round(12 * voice[0]) + 48

    def hit():
        m, notes = int(1.2 * fs), rng.choice(scale, rng.integers(1, 4), replace=False)
        output = np.zeros(m)
        for note in notes:
            base, k = 440 * 2 ** ((note - 69) / 12), np.arange(1, 15)
            modes = base * k * np.sqrt(1 + _range(2e-4, 8e-4, voice[1]) * k**2)
            modes, k = modes[modes < 0.45 * fs], k[modes < 0.45 * fs]
            output += _struck(modes, _range(0.3, 0.9, voice[2]) / k**0.7, k**-1.2, m, fs, rng)
        return output * _arch(m, fs, 0.002, 0.2)

    return _sequence(n, fs, hit, _range(0.18, 0.5, voice[3]), rng, 0.3)


def footsteps(voice, rng, n, fs):
    def hit():
        m = int(0.25 * fs)
        time = np.arange(m) / fs
        heel = np.exp(-time / 0.02) * _resonance(rng.standard_normal(m), _range(80, 250, voice[0]), 80, fs)
        scrape = _resonance(rng.standard_normal(m), _range(1500, 5000, voice[1]), 2500, fs)
        return 2 * heel + 2 * scrape * (np.exp(-(((time - 0.06) / 0.04) ** 2)) + np.exp(-time / 0.005))

    return _sequence(n, fs, hit, _range(0.25, 0.42, voice[2]), rng, 0.08)


def spray(voice, rng, n, fs):
    """Bursts of coloured noise."""
    def hit():
        m = int(fs * _range(0.1, 0.5, voice[0]) * rng.uniform(0.7, 1.3))
        noise = rng.standard_normal(m)
        colour = _resonance(noise, _range(700, 5000, voice[1]), _range(600, 4000, voice[2]), fs)
        return (colour / np.std(colour) + 0.2 * noise) * _arch(m, fs, 0.01, 0.05)

    return _sequence(n, fs, hit, _range(0.15, 0.55, voice[0]), rng)


def phone(voice, rng, n, fs):
    """Two tones in alternation with overtones, as an electronic ringer."""
    time = np.arange(n) / fs
    low = _range(600, 1400, voice[0])
    chosen = np.where(np.floor(time * _range(8, 25, voice[1])) % 2, low, low * _range(1.15, 1.6, voice[2]))
    phase = 2 * np.pi * np.cumsum(chosen / fs)
    tone = sum(np.sin(k * phase) / k for k in range(1, 6) if k * chosen.max() < 0.45 * fs)
    gate = 0.5 + 0.5 * np.tanh(8 * (np.sin(2 * np.pi * time * _range(0.8, 2.5, voice[3])) + 0.8))
    return tone * gate + 0.03 * rng.standard_normal(n)


def keys(voice, rng, n, fs):
    """A jingle: many small metal modes struck at random."""
    modes = np.sort(_range(2000, 0.42 * fs, np.random.default_rng(int(voice[0] * 2**32)).random(12)))

    def hit():
        some = rng.choice(modes, 4, replace=False) * rng.uniform(0.98, 1.02, 4)
        decays = np.full(4, _range(0.01, 0.06, voice[1]))
        return _struck(some, decays, rng.uniform(0.2, 1, 4), int(0.2 * fs), fs, rng)

    return _sequence(n, fs, hit, _range(0.04, 0.12, voice[2]), rng, 0.8)


def clap(voice, rng, n, fs):
    def hit():
        m = int(0.12 * fs)
        output = np.zeros(m)
        for delay in np.sort(rng.uniform(0, 0.015, 3)):
            start = int(delay * fs)
            output[start:] += rng.standard_normal(m - start) * np.exp(-np.arange(m - start) / fs / 0.012)
        return _resonance(output, _range(800, 2000, voice[0]), _range(500, 1500, voice[1]), fs) + 0.1 * output

    return _sequence(n, fs, hit, _range(0.1, 0.35, voice[2]), rng)


def bird(voice, rng, n, fs):
    def hit():
        m = int(fs * _range(0.06, 0.25, voice[0]) * rng.uniform(0.7, 1.3))
        time = np.arange(m) / fs
        glide = 1 + rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, m)
        trill = 1 + _range(0.02, 0.15, voice[1]) * np.sin(2 * np.pi * _range(15, 60, voice[2]) * time)
        pitch = np.minimum(_range(1800, 4500, voice[3]) * glide * trill, 0.4 * fs)
        phase = 2 * np.pi * np.cumsum(pitch / fs)
        tone = np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.1 * rng.standard_normal(m)
        return tone * _arch(m, fs, 0.01, 0.03)

    return _sequence(n, fs, hit, _range(0.1, 0.3, voice[4]), rng, 0.3)


def fire(voice, rng, n, fs):
    """Crackles of random strength over a low roar."""
    crackle = (rng.random(n) < _range(20, 120, voice[0]) / fs) * rng.laplace(0, 1, n)
    crackle = sum(_resonance(crackle, f, _range(300, 1500, voice[1]), fs) for f in (1200, 3100, 6500))
    crackle = np.tanh(crackle / (6 * np.std(crackle))) * 6 * np.std(crackle)
    roar = _resonance(rng.standard_normal(n), _range(90, 300, voice[2]), 150, fs)
    hiss = _highpass(rng.standard_normal(n), 2000, fs)
    return crackle / np.std(crackle) + 0.5 * roar / np.std(roar) + _range(0.05, 0.3, voice[3]) * hiss


KINDS = (alarm, bark, bird, clap, engine, fire, footsteps, keys, knock, phone, piano, speech, spray)


class GeneratedSounds:
    """The built-in bank: class c is ``names[c]``; each fold has VOICES voices of its own."""

    names = tuple(kind.__name__ for kind in KINDS)
    digest = "generated"

    def __init__(self, seed, fs):
        self.seed, self.fs = seed, fs

    def classes(self, fold):
        """Class ids that ``fold`` (from 1) can draw."""
        return range(len(KINDS))

    def draw(self, fold, class_id, duration_s, rng):
        """A sound (round(duration_s·fs),) of the class."""
        owner = np.random.default_rng([self.seed, fold, class_id, 1 + int(rng.integers(VOICES)), 1])
        n = round(duration_s * self.fs)
        sound = KINDS[class_id](owner.random(8), rng, n, self.fs)
        return normalized(sound, self.fs) * _arch(n, self.fs, 0.005, 0.02)


# --- a user's folder -----------------------------------------------------------------------------------

class FolderSounds:
    """WAV, FLAC and OGG files anywhere under ``directory``, divided among ``folds`` folds.

    The class of a file is its folder or, if there is only one folder, the beginning of its name up to the first
    character that is not a letter. If there are more than MAX_CLASSES classes, some share an id. Channels are averaged,
    the rate is converted, copies of a sound count once; ``skipped`` lists files that are silent, too short,
    unreadable or beyond any level.

    Raises
    ------
    UserError
        No such folder, no sound in it, or fewer sounds than folds.
    """

    def __init__(self, directory, seed, fs, folds):
        self.directory, self.fs = Path(directory), fs
        if not self.directory.is_dir():
            raise UserError(f"{directory}: no such folder of sounds")
        found = sorted(path for path in self.directory.rglob("*")
                       if has_suffix(path, ".wav", ".flac", ".ogg") and not path.is_dir())
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_content_digest, found))
        self.skipped = [path for path, digest in zip(found, digests) if not digest]
        first_of = {digest: path for path, digest in reversed(list(zip(found, digests))) if digest}
        files = sorted(first_of.values())
        if not files:
            raise UserError(f"{directory}: no WAV, FLAC or OGG file with sound in it")
        if len(files) < folds:
            raise UserError(f"{directory}: {len(files)} different sounds cannot fill {folds} folds that have no sound "
                            f"in common; add at least {folds - len(files)} more")
        labels = _labels(files, self.directory)
        self.names = tuple(sorted(set(labels)))
        self.digest = hashlib.sha256("".join(sorted(first_of)).encode()).hexdigest()[:16]
        self.files = self._divide(files, labels, folds, np.random.default_rng([seed, 1]))

    def _divide(self, files, labels, folds, rng):
        """{fold: {class id: [paths]}}; a class begins where the one before it ended, so that all folds get files."""
        parts, fold = {f: {} for f in range(1, folds + 1)}, 0
        for rank, name in enumerate(self.names):
            of_class = [path for path, label in zip(files, labels) if label == name]
            for k in rng.permutation(len(of_class)):
                parts[fold + 1].setdefault(rank % MAX_CLASSES, []).append(of_class[k])
                fold = (fold + 1) % folds
        return parts

    def classes(self, fold):
        """Class ids that ``fold`` (from 1) can draw."""
        return sorted(self.files[fold])

    def draw(self, fold, class_id, duration_s, rng):
        """A sound (round(duration_s·fs),) of the class: one file, or several in a row at different levels."""
        n, parts, files = round(duration_s * self.fs), [], self.files[fold][class_id]
        while sum(len(part) for part in parts) < n:
            sound = _read(files[rng.integers(len(files))], self.fs, 2 + 2 * duration_s, rng)
            sound = normalized(without_pauses(sound, self.fs), self.fs)[:n]
            level = 10 ** (rng.uniform(-4, 0) / 20)
            parts.append(level * sound * _arch(len(sound), self.fs, 0.005, 0.01))
        return normalized(np.concatenate(parts)[:n], self.fs) * _arch(n, self.fs, 0.005, 0.02)


class SoundsTogether:
    """Several banks as one; the class ids of a bank follow those of the bank before."""

    def __init__(self, banks):
        self.names = tuple(name for bank in banks for name in bank.names)
        self.digest = "+".join(bank.digest for bank in banks)
        firsts = np.cumsum([0, *(len(bank.names) for bank in banks)]).tolist()
        self._banks = list(zip(firsts, banks))

    def classes(self, fold):
        """Class ids that ``fold`` (from 1) can draw."""
        return [first + class_id for first, bank in self._banks for class_id in bank.classes(fold)]

    def draw(self, fold, class_id, duration_s, rng):
        """A sound (round(duration_s·fs),) of the class."""
        first, bank = next((first, bank) for first, bank in reversed(self._banks) if first <= class_id)
        return bank.draw(fold, class_id - first, duration_s, rng)


def without_pauses(sound, fs):
    """``sound`` without silence at its ends, and with pauses shortened to PAUSE_S."""
    power = frame_power(sound, fs)
    loud = np.flatnonzero(power >= power.max() * 10 ** (SILENCE_DB / 10))
    size, longest = max(1, round(0.02 * fs)), round(PAUSE_S / 0.02)
    breaks = np.flatnonzero(np.diff(loud) > longest + 1)
    starts = loud[np.r_[0, breaks + 1]]
    ends = np.r_[loud[breaks] + 1 + longest, loud[-1] + 1]
    return np.concatenate([sound[start * size : end * size] for start, end in zip(starts, ends)])


def _labels(files, directory):
    """The class name of each file: its folder or, if there is only one folder, the beginning of its name."""
    if len({path.parent for path in files}) > 1:
        return [str(path.parent.relative_to(directory)) for path in files]
    return [re.split(r"[\W\d_]", path.stem)[0] for path in files]


def _content_digest(path):
    """Digest of the samples in the first 30 s of a file; '' if it is silent, shorter than 20 ms, unreadable or no
    sound."""
    try:
        require_file(path)
        with soundfile.SoundFile(encodable(path)) as file:
            rate = file.samplerate
            sound = file.read(30 * rate, dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, OSError, UserError):
        return ""
    if len(sound) < 0.02 * rate or not 1e-4 <= np.abs(sound).max() <= LOUDEST:  # nor is NaN
        return ""
    return hashlib.sha256(sound.tobytes()).hexdigest()


def _read(path, fs, longest_s, rng):
    """A file, or ``longest_s`` of it from a random position that is not silent, mono at ``fs``."""
    with soundfile.SoundFile(encodable(path)) as file:
        length = round(longest_s * file.samplerate)
        for start in (int(rng.integers(max(1, file.frames - length + 1))), 0):
            file.seek(start)
            sound = file.read(length, dtype="float32", always_2d=True)
            refuse_no_sound(sound, path, file.samplerate, start)
            sound = sound.mean(axis=1)
            sound -= sound.mean()  # an offset is no sound, and would begin and end with a thump
            if np.abs(sound).max() >= 1e-4:
                break
        return soxr.resample(sound, file.samplerate, fs)
