"""Reading multichannel WAV files; files that would give wrong features are refused.

Audio is float32 (samples, channels); integer samples are scaled to [-1, 1).
"""

import numpy as np
import soundfile

from doatools.data.wav_headers import find_samples, readable
from doatools.errors import UserError

ORDERS = {(order + 1) ** 2: order for order in range(2, 8)}  # of ambisonics, by the number of channels
LOUDEST = 1e10  # full scale 1; integers of 32 bits stored as floats are below, and their energies can be summed
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
    return _resampled_length(_inspect(path, file_fs or fs, channels, picked)[0].frames, file_fs or fs, fs)


def _resampled_length(frames, file_fs, fs):
    return frames if file_fs == fs else -(-frames * fs // file_fs)


def _inspect(path, fs, channels, picked):
    """The info of soundfile, and the Samples of a WAV file."""
    try:
        samples = find_samples(path)
        info = soundfile.info(readable(path, samples))
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path} cannot be read as audio ({error}); get or make the file again") from None
    if info.samplerate != fs:
        raise UserError(f"{path} is sampled at {info.samplerate} Hz, not {fs} Hz: resample it "
                        f"(sox in.wav -r {fs} out.wav), or set fs={info.samplerate} if all recordings have this rate")
    if picked and info.channels <= max(picked):
        raise UserError(f"{path} has {info.channels} channel(s); channels {', '.join(str(c + 1) for c in picked)} are "
                        "to be read")
    if not picked and info.channels != channels:
        raise UserError(f"{path} has {info.channels} channel(s), not {channels}{higher_order(info.channels, channels)}")
    if samples and samples.header.fuma:
        raise UserError(f"{path} is marked as FuMa ambisonics (.amb); datasets are AmbiX: reorder its channels and "
                        "raise W by 3 dB (sox in.amb out.wav remix 1v1.4142 3 4 2)")
    if info.subtype not in SUBTYPES:
        raise UserError(f"{path} holds {info.subtype} samples; only {', '.join(SUBTYPES)} preserve levels and phases: "
                        "make it again from the uncompressed recording")
    if info.frames == 0:
        raise UserError(f"{path} holds no samples; remove it or make it again")
    return info, samples


def higher_order(found, wanted):
    """What to do with ``found`` channels where ``wanted`` are read, if they may be ambisonics of a higher order; ''
    otherwise."""
    if wanted != 4 or found not in ORDERS:
        return ""
    return (f"; if this is ambisonics of order {ORDERS[found]} in ACN order, its first 4 channels are first order: sox "
            "in.wav out.wav remix 1 2 3 4")


def read_audio(path, fs, channels, max_samples=-1, picked=(), file_fs=0):
    """The first ``max_samples`` (-1: all) of a recording at ``fs`` Hz, float32 (samples, channels).

    ``picked`` and ``file_fs`` as of ``inspect_audio``.

    Raises
    ------
    UserError
        As for ``inspect_audio``; or a sample is NaN, infinite or beyond LOUDEST (the first one is named).
    """
    rate = file_fs or fs
    info, samples = _inspect(path, rate, channels, picked)
    length = _resampled_length(info.frames, rate, fs)
    length = length if max_samples < 0 else min(max_samples, length)
    audio = _read(path, readable(path, samples), info, -(-length * rate // fs))
    if picked:
        audio = audio[:, list(picked)]
    if rate == fs:
        return audio
    import soxr
    audio = soxr.resample(np.ascontiguousarray(audio), rate, fs)[:length]
    return np.pad(audio, ((0, length - len(audio)), (0, 0)))


def _read(path, source, info, frames):
    whole, fs = info.subtype == "PCM_16", info.samplerate
    try:
        audio, _ = soundfile.read(source, frames=frames, dtype="int16" if whole else "float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} cannot be read as audio ({error}); get or make the file again") from None
    if whole:  # the same values as by libsndfile, in half the time
        return audio * np.float32(2**-15)
    refuse_no_sound(audio, path, fs)
    return audio


def refuse_no_sound(audio, name, fs, before=0):
    """UserError that names the first sample of audio (samples, channels) that is NaN, infinite or beyond LOUDEST;
    ``before``: samples that come before."""
    sound = np.abs(audio) <= LOUDEST  # NaN is not
    if not sound.all():
        sample, channel = np.argwhere(~sound)[0]
        raise UserError(f"{name}: sample {before + sample} ({(before + sample) / fs:.3f} s) of channel {channel + 1} "
                        f"is {audio[sample, channel]:g}; repair the recording or remove it")
