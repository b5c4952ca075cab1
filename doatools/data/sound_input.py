"""Sound of any length, rate and format, as blocks: files, and raw PCM or WAV from a pipe.

Audio is float32 (samples, channels), full scale ±1. Only one block is held at a time, so length costs no memory.
"""

import dataclasses
import queue
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
import soxr

from doatools.data.audiofiles import SUBTYPES, refuse_no_sound
from doatools.data.wav_headers import FORMS, find_samples, is_chunk_name, read_header, readable
from doatools.errors import UserError
from doatools.files import require_file

LOWEST_RATE, HIGHEST_RATE = 1000, 400_000  # Hz, of sound that is resampled
BLOCK_S = 5.0  # length of a block that is read from a file
LIVE_BLOCK_S = 0.1  # the same of a file that is played in real time
CARD_BLOCK_S = 0.05  # the same of a sound card
HELD_S = 10.0  # of the sound of a sound card that may wait to be processed; more is lost
SILENT_CARD_S = 5.0  # without a block, after which a sound card is given up
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".w64", ".rf64", ".aif", ".aiff", ".caf")

_PCM, _FLOAT = 1, 3  # sample formats in the header of a WAV
_SAMPLES = {(_PCM, 16): "i2", (_PCM, 24): "s24", (_PCM, 32): "i4", (_FLOAT, 32): "f4", (_FLOAT, 64): "f8"}
# What other files begin with: (place, bytes, what it is).
_SIGNATURES = (
    (0, b"fLaC", "FLAC"), (0, b"OggS", "Ogg"), (0, b"riff\x2e\x91\xcf\x11", "Wave64"), (0, b"FORM", "AIFF"),
    (0, b"caff", "CAF"), (0, b".snd", "AU"), (0, b"ID3", "MP3"), (4, b"ftyp", "MP4"), (0, b"\x1aE\xdf\xa3", "Matroska"),
    (0, b"wvpk", "WavPack"), (0, b"MAC ", "Monkey's Audio"), (0, b"TTA1", "True Audio"), (0, b"#!AMR", "AMR"),
    (0, b"NIST_1A", "SPHERE"), (0, b"Creative Voi", "VOC"), (0, b"FRM8", "DSDIFF"), (0, b"DSD ", "DSF"),
    (0, b"\x30\x26\xb2\x75", "WMA"), (0, b"PK\x03\x04", "ZIP"), (0, b"RIFF", "RIFF, but not WAV"))


@dataclass
class Sound:
    """A source of samples, and notes on it for the user."""

    name: str
    rate: int  # Hz
    channels: int
    blocks: Any  # iterator of arrays (samples, channels)
    seconds: float | None = None  # None for a stream, whose length is unknown
    notes: list = field(default_factory=list)  # sentences for the user
    lost: int = 0  # samples that a live source could not hold
    fuma: bool = False  # marked as ambisonics in FuMa order and gains


def open_file(path):
    """A Sound of any file that libsndfile reads; UserError if it cannot be read."""
    require_file(path)
    try:
        samples = find_samples(path)
        cut = ""
    except UserError as error:  # what there is of a cut file is read
        samples, cut = None, f"{error}; the samples in the file are used"
    try:
        info = soundfile.info(readable(path, samples))
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path} cannot be read as audio ({error}); use WAV, FLAC or OGG") from None
    if info.frames == 0:
        raise UserError(f"{path} holds no samples")
    sound = Sound(str(path), info.samplerate, info.channels, _file_blocks(path, samples, info.samplerate),
                  info.duration, fuma=samples is not None and samples.header.fuma)
    if info.subtype not in SUBTYPES:
        sound.notes.append(f"its samples are {info.subtype}: lossy coding distorts levels and phases between channels, "
                           "which directions are estimated from")
    sound.notes += [text for text in (cut, samples and samples.note) if text]
    return sound


def _file_blocks(path, samples, rate):
    try:
        with soundfile.SoundFile(readable(path, samples)) as file:
            yield from _sounding(file.blocks(round(BLOCK_S * rate), dtype="float32", always_2d=True), path, rate)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} cannot be read to its end ({error}); get or make the file again") from None


def _sounding(blocks, name, rate):
    """The blocks, unchanged; UserError at the first sample that is no sound."""
    before = 0
    for block in blocks:
        refuse_no_sound(block, name, rate, before)
        before += len(block)
        yield block


def paced(sound, clock=time.monotonic, sleep=time.sleep):
    """The Sound of a file in real time: each block comes when its last sample would have been recorded."""
    def blocks():
        size, start, passed = round(LIVE_BLOCK_S * sound.rate), None, 0
        for block in sound.blocks:
            for first in range(0, len(block), size):
                part = block[first : first + size]
                start = clock() if start is None else start
                passed += len(part)
                sleep(max(start + passed / sound.rate - clock(), 0))
                yield part
    return dataclasses.replace(sound, blocks=blocks())


def open_card(channels, rate, device=None, picked=None):
    """A Sound of a sound card, by the library sounddevice, at ``rate`` Hz or else at the rate that the card prefers.

    Parameters
    ----------
    channels : int
        How many are read: the first ones, or those ``picked``, numbers from 1.
    device : str or None
        Number of the device, or a part of its name; None: the system's choice.

    Raises
    ------
    UserError
        The library or the device is missing, or the device has too few channels.
    """
    try:
        import sounddevice
    except ImportError:
        raise UserError("a sound card takes one more package: pip install sounddevice (or give a file: --live FILE)"
                        ) from None
    except OSError as error:  # it is installed, the library that it calls is not
        raise UserError(f"a sound card takes the library PortAudio ({error}): apt install libportaudio2") from None
    device = int(device) if device and device.isdecimal() else device
    picked = picked or range(1, channels + 1)
    try:
        about = sounddevice.query_devices(device, "input")
        have = about["max_input_channels"]
        if have < max(picked):
            raise UserError(f"sound card '{about['name']}' has {have} channel(s), {max(picked)} are needed; "
                            f"list the devices by: python3 -m sounddevice, and choose one by --device")
        try:
            sounddevice.check_input_settings(device, max(picked), "float32", samplerate=rate)
        except sounddevice.PortAudioError:
            rate = round(about["default_samplerate"])
    except (sounddevice.PortAudioError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"no sound card ({error}); list the devices by: python3 -m sounddevice, and choose one by "
                        "--device, or give a file: --live FILE") from None
    sound = Sound(about["name"], rate, channels, None)
    sound.blocks = _card_blocks(sounddevice, sound, device, [number - 1 for number in picked])
    return sound


def _card_blocks(sounddevice, sound, device, picked):
    """Blocks from the thread of the card; if computation cannot keep up, they are lost and ``sound.lost`` counts."""
    waiting = queue.Queue(round(HELD_S / CARD_BLOCK_S))

    def heard(block, frames, *_):
        try:
            waiting.put_nowait(block[:, picked].copy())
        except queue.Full:
            sound.lost += frames

    try:
        with sounddevice.InputStream(device=device, channels=max(picked) + 1, samplerate=sound.rate, dtype="float32",
                                     blocksize=round(CARD_BLOCK_S * sound.rate), callback=heard):
            while True:
                yield waiting.get(timeout=SILENT_CARD_S)
    except queue.Empty:
        raise UserError(f"sound card '{sound.name}' gives no more sound") from None
    except sounddevice.PortAudioError as error:
        raise UserError(f"sound card '{sound.name}': {error}") from None


def open_stream(file, rate, channels, name="standard input"):
    """A Sound of a binary stream, buffered or not: WAV if it begins like one, else raw 16-bit little-endian PCM.

    ``rate`` and ``channels`` are those of raw PCM. Blocks are as long as what the stream has available.

    Raises
    ------
    UserError
        The stream begins like a file of another format, or with an incomplete header.
    """
    start = _read(file, 12)
    if start[:4] in FORMS and start[8:] == b"WAVE":
        return _wav_stream(file, start, name)
    for place, signature, kind in _SIGNATURES:
        if start[place:].startswith(signature):
            raise UserError(f"{name} is {kind}; WAV or raw 16-bit PCM is read from a stream: convert it first (ffmpeg "
                            "-i - -f wav -), or give the file without --stream")
    return Sound(name, rate, channels, _stream_blocks(file, start, "<i2", channels, None))


def _wav_stream(file, start, name):
    def read(count):
        nonlocal start
        held, start = start[:count], start[count:]
        return held + _read(file, count - len(held))

    header = read_header(read, name)
    sample = _SAMPLES.get((header.kind, header.bits))
    if sample is None or not header.channels or not header.rate:
        raise UserError(f"{name}: WAV samples of format {header.kind} with {header.bits} bits, {header.channels} "
                        f"channels, {header.rate} Hz; send PCM of 16, 24, 32 bits or floats")
    blocks = _stream_blocks(file, b"", header.order + sample, header.channels, header.size or None)
    return Sound(name, header.rate, header.channels, _sounding(blocks, name, header.rate), fuma=header.fuma)


def _read(file, count):
    """Exactly ``count`` bytes; fewer only at the end."""
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _stream_blocks(file, held, sample, channels, size):
    """Samples as they arrive, beginning with the bytes ``held``, up to ``size`` bytes, or to the end if what follows
    these is no other chunk: sizes beyond 4 GiB do not fit into a header."""
    width = channels * (3 if sample[1:] == "s24" else np.dtype(sample).itemsize)
    read = getattr(file, "read1", file.read)
    left = np.inf if size is None else size
    while left > 0 and (part := read(int(min(65536, left)))):
        left -= len(part)
        held += part
        if left <= 0 and (more := _read(file, 8)) and not is_chunk_name(more[:4]):
            held, left = held + more, np.inf
        whole = len(held) - len(held) % width
        if whole:
            yield _as_float(held[:whole], sample).reshape(-1, channels)
        held = held[whole:]


def _as_float(data, sample):
    if sample[1:] == "s24":
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, :: 1 if sample[0] == "<" else -1]
        return (padded.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    values = np.frombuffer(data, sample)
    if values.dtype.kind == "i":
        return (values / 2.0 ** (8 * values.itemsize - 1)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no sound is refused by the caller
        return values.astype(np.float32)


def resampled(sound, rate):
    """The Sound at another rate, with a note on it; the same samples for blocks of any size.

    UserError for a rate that sound is not recorded at: each second of 1 Hz would become 24,000 samples.
    """
    if sound.rate == rate:
        return sound
    if not LOWEST_RATE <= sound.rate <= HIGHEST_RATE:
        raise UserError(f"{sound.name}: its sample rate is {sound.rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz can be "
                        "resampled")
    note = f"resampled from {sound.rate} to {rate} Hz"
    if sound.rate < rate:
        note += f"; the model was trained with sound above its {sound.rate / 2000:g} kHz: expect larger errors"
    return dataclasses.replace(sound, rate=rate, blocks=_resample(sound, rate), notes=[*sound.notes, note])


def _resample(sound, rate):
    stream = soxr.ResampleStream(sound.rate, rate, sound.channels, dtype="float32")
    for block in sound.blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros((0, sound.channels), np.float32), last=True)


def picked(sound, channels):
    """Some of the channels, by their indices."""
    sound.blocks, sound.channels = (block[:, list(channels)] for block in sound.blocks), len(channels)
    return sound


def reordered(sound, foa_order):
    """First-order ambisonics in ACN order with SN3D gains, from 'acn' (the same) or 'fuma' (WXYZ, W 3 dB lower)."""
    if foa_order == "fuma":
        gains = np.array([np.sqrt(2), 1, 1, 1], np.float32)
        sound.blocks = (block[:, [0, 2, 3, 1]] * gains for block in sound.blocks)
    return sound
