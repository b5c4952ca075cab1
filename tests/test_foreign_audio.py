"""Sound of other programs: headers whose sizes are not true, FuMa, higher orders, other formats in a stream; doubts
about levels, judged over time, of files and streams alike."""

import io
import struct
import types

import numpy as np
import pytest
import soundfile
from helpers import FS, WAVES, foa_wave
from test_localize import save, tiny_localizer

import localize
from doatools.check.levels import Doubts
from doatools.data import sound_input
from doatools.data.audiofiles import inspect_audio, read_audio
from doatools.data.wav_headers import find_samples, readable
from doatools.errors import UserError
from doatools.spatial.arrays import find_array
from inference import fitted, load_localizer, track_file

FOA, MIC = find_array("foa"), find_array("mic")
FUMA = bytes.fromhex("0000 2107 d311 8644 c8c1 ca00 0000")
PLAIN = bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")


def noise(seconds, channels=1):
    return 0.05 * np.random.default_rng(5).standard_normal((round(seconds * FS), channels))


def wav(audio, order="<", form=None, size=None, guid=None, tail=b"", ds64=None):
    """Bytes of a WAV of 16 bits; ``size``: what the header says of the samples' bytes."""
    samples = np.round(audio * 32767).astype(f"{order}i2").tobytes()
    channels = audio.shape[1]
    layout = struct.pack(f"{order}HHIIHH", 1, channels, FS, FS * 2 * channels, 2 * channels, 16)
    if guid:
        layout = b"\xfe\xff" + layout[2:] + struct.pack("<HHIH", 22, 16, 0, 1) + guid
    chunks = struct.pack(f"{order}4sI", b"ds64", 28) + ds64 if ds64 else b""
    chunks += struct.pack(f"{order}4sI", b"fmt ", len(layout)) + layout
    size = len(samples) if size is None else size
    chunks += struct.pack(f"{order}4sI", b"data", size) + samples + tail
    form = form or (b"RIFF" if order == "<" else b"RIFX")
    return form + struct.pack(f"{order}I", 4 + len(chunks)) + b"WAVE" + chunks


LIST = b"LIST" + struct.pack("<I", 6) + b"INFO\0\0"
SIZES = {
    "true": {}, "true, and other chunks": {"tail": LIST}, "big-endian": {"order": ">"},
    "never closed": {"size": 0}, "never closed, big-endian": {"size": 0, "order": ">"},
    "ffmpeg to a pipe": {"size": 0xFFFFFFFF}, "sox to a pipe": {"size": 0x7FFFF000},
    "arecord to a pipe": {"size": 0x80000000},
    "RF64": {"form": b"RF64", "size": 0xFFFFFFFF, "ds64": struct.pack("<QQQI", 9999, 4 * 2 * FS, 0, 0)},
    "BW64 to a pipe": {"form": b"BW64", "size": 0xFFFFFFFF, "ds64": struct.pack("<QQQI", 2**64 - 1, 2**64 - 1, 0, 0)},
}


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_in_headers(kind, tmp_path):
    audio, path = noise(1, 4), tmp_path / "a.wav"
    path.write_bytes(wav(audio, **SIZES[kind]))
    assert inspect_audio(path, FS, 4) == FS
    assert np.abs(read_audio(path, FS, 4) - audio).max() < 1e-4
    sound = sound_input.open_file(path)
    assert np.abs(np.concatenate(list(sound.blocks)) - audio).max() < 1e-4 and sound.seconds == 1
    assert [text for text in sound.notes if "never closed" in text] == sound.notes
    assert bool(sound.notes) == ("never" in kind)
    stream = sound_input.open_stream(io.BytesIO(path.read_bytes()), 1, 1)
    assert (stream.rate, stream.channels) == (FS, 4)
    assert np.abs(np.concatenate(list(stream.blocks)) - audio).max() < 1e-4


def test_an_empty_and_a_cut_file_are_still_known(tmp_path):
    path = tmp_path / "a.wav"
    for tail in (b"", LIST):
        path.write_bytes(wav(noise(0, 4), tail=tail))
        with pytest.raises(UserError, match="holds no samples"):
            inspect_audio(path, FS, 4)
    path.write_bytes(wav(noise(1, 4), size=0x7000_0000))
    with pytest.raises(UserError, match="truncated: its header promises 1879048192 bytes"):
        inspect_audio(path, FS, 4)


def test_a_size_that_has_wrapped_beyond_4_gib(tmp_path):
    """A sparse file: it takes no space."""
    path, size = tmp_path / "a.wav", (1 << 32) + 8 * FS
    data = wav(noise(1, 4), size=8 * FS)
    path.write_bytes(data)
    with open(path, "r+b") as file:
        file.truncate(len(data) - 8 * FS + size)
    assert sound_input.open_file(path).seconds == size / 8 / FS
    assert "longer than 4 GiB" in " ".join(sound_input.open_file(path).notes)
    assert inspect_audio(path, FS, 4) == size // 8
    with soundfile.SoundFile(readable(path, find_samples(path))) as file:
        assert np.abs(file.read(FS) - noise(1, 4)).max() < 1e-4
        file.seek(size // 8 - 5)
        assert len(file.read(10)) == 5
    longer = wav(noise(1, 4), size=4000 * 8)  # a stream whose header says less than what follows
    assert sum(map(len, sound_input.open_stream(io.BytesIO(longer), 1, 1).blocks)) == FS


# --- FuMa, higher orders -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "foa.pt", tiny_localizer(top_db=0.0))


def as_fuma(audio):
    return audio[:, [0, 3, 1, 2]] * [np.sqrt(0.5), 1, 1, 1]


def test_files_that_are_marked_as_fuma_are_read_as_such(model, tmp_path):
    audio, localizer = foa_wave(noise(1), 50, 20), load_localizer(model)
    (tmp_path / "acn.wav").write_bytes(wav(audio, guid=PLAIN))
    (tmp_path / "fuma.amb").write_bytes(wav(as_fuma(audio), guid=FUMA))
    expected = track_file(localizer, tmp_path / "acn.wav", threshold=0)
    found = track_file(localizer, tmp_path / "fuma.amb", threshold=0)
    assert np.allclose(found.rows["azimuth"], expected.rows["azimuth"], atol=0.5) and len(found.rows)
    assert found.notes == ["it is marked as FuMa ambisonics (.amb) and read as such"] and expected.notes == []
    ignored = track_file(localizer, tmp_path / "fuma.amb", "acn")
    assert any("read in ACN order as --foa-order says" in text for text in ignored.notes)
    with pytest.raises(UserError, match="marked as FuMa"):
        inspect_audio(tmp_path / "fuma.amb", FS, 4)
    stream = sound_input.open_stream(io.BytesIO((tmp_path / "fuma.amb").read_bytes()), 1, 1)
    assert np.abs(np.concatenate(list(fitted(localizer, stream).blocks)) - audio).max() < 1e-4


@pytest.mark.parametrize("channels", [9, 16])
def test_the_first_four_channels_of_a_higher_order(channels, model, tmp_path):
    audio = np.concatenate([foa_wave(noise(1), 50, 20), noise(1, channels - 4)], 1)
    soundfile.write(tmp_path / "a.wav", audio, FS, format="WAVEX")
    sound = fitted(load_localizer(model), sound_input.open_file(tmp_path / "a.wav"))
    assert np.abs(np.concatenate(list(sound.blocks)) - audio[:, :4]).max() < 1e-4
    assert f"of {channels} channels, the first 4 are used" in " ".join(sound.notes)
    with pytest.raises(UserError, match=r"order .* first 4 channels are first order: sox in\.wav out\.wav remix 1 2 3"):
        inspect_audio(tmp_path / "a.wav", FS, 4)


# --- streams -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "options"), [
    ("FLAC", {"format": "FLAC"}), ("Ogg", {"format": "OGG"}), ("Wave64", {"format": "W64"}),
    ("AIFF", {"format": "AIFF"}), ("CAF", {"format": "CAF"}), ("AU", {"format": "AU"}),
    ("MP3", b"ID3\x04\0\0"), ("MP4", b"\0\0\0\x20ftypM4A "),
    ("RIFF, but not WAV", b"RIFF\0\0\0\0AVI LIST"), ("Matroska", b"\x1aE\xdf\xa3")])
def test_other_formats_in_a_stream_are_refused_by_name(kind, options):
    if isinstance(options, dict):
        file = io.BytesIO()
        soundfile.write(file, noise(0.5, 4), FS, **options)
        options = file.getvalue()
    with pytest.raises(UserError, match=rf"^standard input is {kind}; WAV or raw"):
        sound_input.open_stream(io.BytesIO(options), FS, 4)


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_big_endian_streams(subtype):
    audio, file = noise(0.5, 4), io.BytesIO()
    soundfile.write(file, audio, FS, subtype, "BIG", "WAV")
    assert file.getvalue()[:4] == b"RIFX"
    stream = sound_input.open_stream(io.BytesIO(file.getvalue()), 1, 1)
    assert np.abs(np.concatenate(list(stream.blocks)) - audio).max() < 1e-4


def test_a_stream_prints_the_notes_that_a_file_gets(model, tmp_path, capsys, monkeypatch):
    audio = foa_wave(noise(2), 50, 20) * [1, 1, 0, 1]
    soundfile.write(tmp_path / "a.wav", audio, FS)
    assert localize.main([str(tmp_path / "a.wav"), "--no-plot", "--checkpoint", str(model), "--fast"]) == 0
    of_file = [line for line in capsys.readouterr().err.splitlines() if "channel 3 (Z)" in line]
    assert len(of_file) == 1 and "horizontal only" in of_file[0] and "elevations cannot be known" in of_file[0]
    stdin = types.SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO((tmp_path / "a.wav").read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert localize.main(["--stream", "--checkpoint", str(model), "--fast"]) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if "channel 3 (Z)" in line] == of_file


# --- levels, over time ---------------------------------------------------------------------------------------

def sentences(audio, array=FOA, blocks=7):
    doubts = Doubts(array, FS)
    passed = list(doubts.watched(iter(np.array_split(audio, blocks))))
    assert sum(map(len, passed)) == doubts.samples == len(audio)
    return doubts.sentences()


def test_nothing_is_doubtful_about_good_sound():
    assert sentences(foa_wave(noise(5), 50, 20)) == {} and sentences(WAVES["mic"](noise(5)[:, 0], 50, 20), MIC) == {}


def test_neither_a_click_nor_an_offset_hides_levels_that_do_not_fit():
    for faulty in (as_fuma(foa_wave(noise(5), 50, 20)), WAVES["mic"](noise(5)[:, 0], 50, 20)):
        click, offset = faulty.copy(), np.array([3.0, 0, 0, 0])
        click[FS, 0] = 50 * np.abs(faulty).sum()  # more energy than all of the rest
        assert set(sentences(faulty)) == {"ratio"} == set(sentences(faulty + offset))
        assert "ratio" in sentences(click)
    louder = WAVES["mic"](noise(5)[:, 0], 50, 20) * [1, 1, 1, 3]
    louder[FS] = 100
    assert "spread" in sentences(louder, MIC)


def test_a_click_is_no_reason_for_doubt():
    audio = foa_wave(noise(5), 50, 20)
    audio[FS, 1] = 9.0  # in one channel
    assert sentences(audio) == {}


def test_a_channel_that_dies_and_one_that_was_never_there():
    audio = foa_wave(noise(5), 50, 20)
    dead = audio.copy()
    dead[3 * FS :, 1] = 1e-5
    assert "channel 2 falls silent at 3 s" in sentences(dead)["dead 1"]
    assert set(sentences(audio * [1, 1e-4, 1, 1])) == {"silent 1"}
    assert set(sentences(audio * 0)) == {"silent"} and "loud" in sentences(audio * 32768)
    assert sentences(np.zeros((0, 4))) == {"silent": "the recording is silent"}


def test_faults_of_capsules_are_found_in_blocks():
    audio = WAVES["mic"](noise(5)[:, 0], 50, 20)
    assert "channels 2 and 3 hold the same signal" in sentences(audio[:, [0, 1, 1, 3]], MIC)
    assert "channel 3 has the wrong polarity" in sentences(audio * [1, 1, -1, 1], MIC)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_samples_that_are_no_sound(value, tmp_path):
    audio = noise(6, 4).astype(np.float32)
    audio[FS, 2] = audio[5 * FS + 7, 1] = value
    for first, says in ((0, rf"sample {FS} \(1\.000 s\) of channel 3 is {value:g}".replace("+", r"\+")),
                        (FS + 1, rf"sample {4 * FS + 6} .* of channel 2")):
        soundfile.write(tmp_path / "a.wav", audio[first:], FS, subtype="FLOAT")
        with pytest.raises(UserError, match=rf"a\.wav: {says}"):
            read_audio(tmp_path / "a.wav", FS, 4)
        with pytest.raises(UserError, match=says):
            list(sound_input.open_file(tmp_path / "a.wav").blocks)
        with pytest.raises(UserError, match=says):
            list(sound_input.open_stream(io.BytesIO((tmp_path / "a.wav").read_bytes()), 1, 1).blocks)
