"""Reading multichannel WAV files; files that would give wrong features are refused.

Audio is float32 (samples, channels); integer samples are scaled to [-1, 1).
"""

import os
import struct

import numpy as np
import soundfile

from doatools.errors import UserError

SUBTYPES = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # lossy and 8-bit samples distort phases


def inspect_audio(path, fs, channels, picked=(), file_fs=0):
    """Samples per channel that ``path`` holds at ``fs`` Hz, from its header alone.

    Parameters
    ----------
    picked : the channels to read, from 0; () for all, of which there must then be ``channels``
    file_fs : Hz
        Rate of the file, which is resampled to ``fs``; 0 where it must be ``fs`` itself.

    Raises
    ------
    UserError
        Unreadable, empty or truncated file; wrong sample rate, channel count or sample format.
    """
    return _resampled_length(_inspect(path, file_fs or fs, channels, picked).frames, file_fs or fs, fs)


def _resampled_length(frames, file_fs, fs):
    return frames if file_fs == fs else -(-frames * fs // file_fs)


def _inspect(path, fs, channels, picked):
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path} cannot be read as audio ({error}); get or make the file again") from None
    if info.samplerate != fs:
        raise UserError(f"{path} is sampled at {info.samplerate} Hz, not {fs} Hz: resample it "
                        f"(sox in.wav -r {fs} out.wav), or set fs={info.samplerate} if all recordings have this rate")
    if picked and info.channels <= max(picked):
        raise UserError(f"{path} has {info.channels} channel(s); channels {', '.join(str(c + 1) for c in picked)} are "
                        "to be read")
    if not picked and info.channels != channels:
        raise UserError(f"{path} has {info.channels} channel(s), not {channels}")
    if info.subtype not in SUBTYPES:
        raise UserError(f"{path} holds {info.subtype} samples; only {', '.join(SUBTYPES)} preserve levels and phases: "
                        "make it again from the uncompressed recording")
    refuse_truncated(path)
    if info.frames == 0:
        raise UserError(f"{path} holds no samples; remove it or make it again")
    return info


def read_audio(path, fs, channels, max_samples=-1, picked=(), file_fs=0):
    """The first ``max_samples`` (-1: all) of a recording at ``fs`` Hz, float32 (samples, channels).

    ``picked`` and ``file_fs`` as of ``inspect_audio``.

    Raises
    ------
    UserError
        As for ``inspect_audio``; or a sample is NaN or infinite (the first one is named).
    """
    rate = file_fs or fs
    info = _inspect(path, rate, channels, picked)
    length = _resampled_length(info.frames, rate, fs)
    length = length if max_samples < 0 else min(max_samples, length)
    audio = _read(path, info, -(-length * rate // fs))
    if picked:
        audio = audio[:, list(picked)]
    if rate == fs:
        return audio
    import soxr
    audio = soxr.resample(np.ascontiguousarray(audio), rate, fs)[:length]
    return np.pad(audio, ((0, length - len(audio)), (0, 0)))


def _read(path, info, frames):
    whole, fs = info.subtype == "PCM_16", info.samplerate
    try:
        audio, _ = soundfile.read(path, frames=frames, dtype="int16" if whole else "float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} cannot be read as audio ({error}); get or make the file again") from None
    if whole:  # the same values as by libsndfile, in half the time
        return audio * np.float32(2**-15)
    finite = np.isfinite(audio)
    if not finite.all():
        sample, channel = np.argwhere(~finite)[0]
        raise UserError(f"{path}: sample {sample} ({sample / fs:.3f} s) of channel {channel + 1} is "
                        f"{audio[sample, channel]}; repair the recording or remove it")
    return audio


def refuse_truncated(path):
    """UserError for a WAV that is shorter than its header says; libsndfile would read it without complaint."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return  # not a WAV: no size to compare
        large_size = None
        while len(chunk := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                promised = large_size if large_size is not None else size
                held = os.fstat(file.fileno()).st_size - file.tell()
                if promised > held:
                    raise UserError(f"{path} is truncated: its header promises {promised} bytes of samples, it holds "
                                    f"{held}; copy or download it again")
                return
            start = file.tell()
            if name == b"ds64":  # where RF64, for files beyond 4 GiB, keeps the size
                large_size = struct.unpack("<QQ", file.read(16))[1]
            file.seek(start + size + size % 2)
