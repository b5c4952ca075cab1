"""The live view's server and its messages; what the page does in a browser: test_live_browser.py."""

import asyncio
import base64
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from live_helpers import ABOUT, HOP_S, LoudnessLocalizer, frames_of, serving

import live
import localize
from doatools.data import sound_input
from doatools.errors import UserError
from doatools.live import feed, server
from doatools.spatial.corrections import write_correction
from inference import TRACK_ROWS, track_sound

aiohttp = pytest.importorskip("aiohttp")
ROOT = Path(__file__).resolve().parent.parent


async def read_all(address, path="/tracks", **headers):
    """All messages of a WebSocket until it is closed, and why it was."""
    async with (aiohttp.ClientSession() as session,
                session.ws_connect(f"http://{address}{path}", headers=headers) as one):
        texts = [message.data async for message in one]
        return [json.loads(text) for text in texts]


# --- messages --------------------------------------------------------------------------------------------------

def test_a_message_holds_what_an_odas_sink_holds():
    rows = np.array([(7, 0, 3, 90, 0, 0.91), (7, 0, 4, 180, 45, 0.5)], TRACK_ROWS)
    frame = feed.Frame(7, rows, np.zeros(4, np.uint8), 1.23456)
    assert feed.message(frame, 0.1) == {"frame": 7, "time": 0.7, "latency": 1.235, "tracks": [
        {"id": 3, "azimuth": 90.0, "elevation": 0.0, "x": 0.0, "y": 1.0, "z": 0.0, "activity": 0.91},
        {"id": 4, "azimuth": 180.0, "elevation": 45.0, "x": -0.7071, "y": 0.0, "z": 0.7071, "activity": 0.5}]}
    plain, shown = (json.loads(line) for line in feed.message_lines(frame, 0.1))
    assert plain == feed.message(frame, 0.1) and base64.b64decode(shown["levels"]) == bytes(4)


def test_levels_are_thirds_of_two_decibels_from_minus_100():
    assert feed.levels(np.array([-120, -100, -98, 0, 70, 90.0])).tolist() == [0, 0, 3, 150, 255, 255]


def test_frames_are_those_of_the_chain_with_their_latency(monkeypatch):
    """Samples at 10 kHz in blocks that come every 0.3 s: frame k is from k·0.1 s on, its latency counts from there."""
    localizer = LoudnessLocalizer()
    fs = localizer.features.fs
    audio = (0.1 * np.random.default_rng(0).standard_normal((round(12.34 * fs), 4))).astype(np.float32)
    clock = [100.0]
    monkeypatch.setattr(feed.time, "monotonic", lambda: clock[0])

    def blocks():
        for start in range(0, len(audio), round(0.3 * fs)):
            block = audio[start : start + round(0.3 * fs)]
            clock[0] += len(block) / fs
            yield block

    def sound(parts):
        return sound_input.Sound("test", fs, 4, parts)
    arrivals = feed.Arrivals(fs)
    pieces = track_sound(localizer, sound(arrivals.watched(blocks())), latency_s=1.6)
    frames = list(feed.live_frames(pieces, arrivals, 0.1))
    expected = np.concatenate([piece.rows for piece in track_sound(localizer, sound(iter([audio])), latency_s=1.6)])
    assert [frame.number for frame in frames] == list(range(124))
    assert np.array_equal(np.concatenate([frame.rows for frame in frames]), expected) and len(expected) > 100
    late = [frame.latency_s for frame in frames[50:-20]]  # the clock stands still while this computes
    assert min(late) > 1.1 - 1e-6 and max(late) <= 1.6 + 0.3


def test_a_file_in_real_time():
    """Each block of 0.1 s comes when its last sample would have been recorded; slow readers catch up."""
    clock, slept = [5.0], []

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds
    source = sound_input.Sound("x", 1000, 2, iter([np.zeros((250, 2)), np.ones((100, 2))]))
    times = []
    for block in sound_input.paced(source, lambda: clock[0], sleep).blocks:
        times.append((round(clock[0] - 5, 3), len(block)))
        clock[0] += 0.15 if len(times) == 1 else 0
    assert times == [(0.1, 100), (0.25, 100), (0.25, 50), (0.35, 100)]


# --- server ----------------------------------------------------------------------------------------------------

def test_two_viewers_and_a_program_receive_every_frame():
    begin = threading.Event()
    with serving(frames_of(40, begin)) as (address, lines):
        async def read():
            readers = [asyncio.create_task(read_all(address, path)) for path in ("/view", "/view", "/tracks")]
            reader, _ = await asyncio.open_connection(*lines)
            await asyncio.sleep(0.5)
            begin.set()
            return [*await asyncio.gather(*readers), [json.loads(line) async for line in reader]]
        one, other, tracks, tcp = asyncio.run(read())
    assert one[0]["about"]["title"] == ABOUT["title"] and one[0]["frames"] == []
    assert one == other and [message["frame"] for message in one[1:]] == list(range(40))
    assert tracks == tcp and [message["frame"] for message in tracks] == list(range(40))
    assert tracks[3]["tracks"][0]["id"] == 1 and "levels" not in tracks[3] and "levels" in one[4]


def test_a_late_viewer_is_given_the_last_minute():
    ready, finish = threading.Event(), threading.Event()

    def frames():
        yield from frames_of(1000)
        ready.set()
        finish.wait(10)
    with serving(frames()) as (address, _):
        assert ready.wait(10)
        threading.Timer(0.5, finish.set).start()
        welcome = asyncio.run(read_all(address, "/view"))[0]
    assert [message["frame"] for message in welcome["frames"]] == list(range(400, 1000))


def test_a_stalled_viewer_does_not_delay_the_others():
    """One connects by hand and reads nothing; frames of 40 kB at 200 per second fill whatever may be held for it."""
    with serving(frames_of(600, pause_s=0.005, bands=30000)) as (address, _):
        host, port = address.split(":")
        stalled = socket.create_connection((host, int(port)))
        stalled.sendall(f"GET /view HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        began = time.monotonic()
        messages = asyncio.run(read_all(address, "/view"))
        passed = time.monotonic() - began
        stalled.close()
    numbers = [message["frame"] for message in messages[0]["frames"] + messages[1:]]
    assert numbers == list(range(numbers[0], 600)) and passed < 600 * 0.005 + 6


def test_the_oldest_messages_of_a_full_mailbox_are_dropped():
    async def fill():
        mailbox = server.Mailbox()
        for number in range(server.MAILBOX + 20):
            mailbox.put(number)
        mailbox.close()
        return [await mailbox.get() for _ in range(server.MAILBOX + 1)]
    assert asyncio.run(fill()) == [*range(20, server.MAILBOX + 20), None]


def test_an_error_of_the_frames_is_raised_to_the_caller():
    def frames():
        yield from frames_of(3)
        raise UserError("the sound is damaged")
    with pytest.raises(UserError, match="the sound is damaged"), serving(frames()):
        pass


# --- who may connect -------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("headers", "status"), [
    ({}, 200), ({"Host": "localhost:1"}, 200), ({"Host": "[::1]:80"}, 200),
    ({"Host": "evil.example:8765"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403), ({"Host": ""}, 403),
    ({"Host": "[bad"}, 403), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
    ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
])
def test_other_sites_are_refused(headers, status):
    async def get(address):
        async with aiohttp.ClientSession() as session:
            found = []
            for path in ("/", "/view", "/tracks"):
                async with session.get(f"http://{address}{path}", headers=headers) as answer:
                    found.append(answer.status)
            return found
    finish = threading.Event()
    with serving(frames_of(1, finish)) as (address, _):
        found = asyncio.run(get(address))
        finish.set()
    assert found == ([200, 400, 400] if status == 200 else [403] * 3)  # a WebSocket is not opened by a plain GET


def test_a_page_of_another_site_cannot_open_the_websocket():
    finish = threading.Event()
    with serving(frames_of(1, finish)) as (address, _):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            asyncio.run(read_all(address, Origin="http://evil.example"))
        finish.set()


def test_names_of_this_machine_are_known_where_it_listens_to_others():
    with contextlib.closing(server.listen("0.0.0.0", 0)) as listener:
        open_to_all = server.LiveServer((listener, None), ABOUT, iter(()), "0.0.0.0")
        assert socket.gethostname().lower() in open_to_all._names and not open_to_all.loopback
    with contextlib.closing(server.listen("127.0.0.1", 0)) as listener:
        alone = server.LiveServer((listener, None), ABOUT, iter(()))
        assert alone.loopback and alone._names == {"localhost", "127.0.0.1"}


def test_the_page_s_policy():
    async def get(address):
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/") as answer:
            return answer.headers["Content-Security-Policy"], await answer.text()
    finish = threading.Event()
    with serving(frames_of(1, finish)) as (address, _):
        policy, text = asyncio.run(get(address))
        finish.set()
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert f"connect-src 'self' ws://{address};" in policy and "frame-ancestors 'none'" in policy
    assert "://" not in text.replace('"wss" : "ws"}://${location.host}', "") and "innerHTML" not in text


# --- the command -----------------------------------------------------------------------------------------------

def test_an_occupied_port_is_one_line(capsys):
    with contextlib.closing(server.listen("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert localize.main(["--live", "nothing.wav", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error == f"error: port {port} of 127.0.0.1 is in use; choose another one by --port, or --port 0 for any\n"


@pytest.mark.parametrize(("words", "told"), [
    (["--live", "a.wav", "--device", "1"], "--device, --channels and --rate are of a sound card"),
    (["--live", "a.wav", "--rate", "8000"], "--device, --channels and --rate are of a sound card"),
    (["--live", "--html"], "--html has no effect with --live"),
    (["--live", "--rotation", "a.yaml"], "a.yaml"),
    (["--live", "a.wav", "--stream"], "give recordings, or --stream"),
    (["--live", "nothing.wav"], "nothing.wav does not exist"),
    (["--live", "--channels", "1,2,3"], "--channels takes 4 different numbers"),
    (["--live", "--host", "no.such.name.invalid"], "no.such.name.invalid: no such address"),
])
def test_mistakes_are_one_line(capsys, monkeypatch, words, told):
    monkeypatch.setattr(localize, "open_localizer", lambda args: LoudnessLocalizer())
    assert localize.main([*words, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_live_sound_is_judged_and_rotated_as_a_file_is(tmp_path, capsys):
    write_correction(tmp_path / "left.yaml", np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), "by 90 degrees")
    args = types.SimpleNamespace(rotation=tmp_path / "left.yaml", foa_order=None, threshold=0.5, latency=None)
    audio = 0.1 * np.random.default_rng(0).standard_normal((24000 * 7, 1)) * [1, 1, 1, 0]
    sound = sound_input.Sound("card", 24000, 4, iter(np.array_split(audio, 70)))
    about, frames = live.live_frames_of(LoudnessLocalizer(), sound, args)
    rows = np.concatenate([frame.rows for frame in frames])
    assert len(rows) == 70 and np.allclose(rows["azimuth"], 90) and np.allclose(rows["elevation"], 0)
    assert about["notes"] == ["channel 4 is silent: directions are wrong"]
    assert capsys.readouterr().err == "note: channel 4 is silent: directions are wrong\n"


def test_live_of_a_file_from_the_command_line(tmp_path):
    """Tracks over TCP, one line per frame, in real time; latencies are printed at the end."""
    path = tmp_path / "sound.wav"
    audio = 0.1 * np.random.default_rng(0).standard_normal((24000 * 7, 1))
    soundfile.write(path, audio * [1, 0, 0, 1], 24000)
    command = [sys.executable, "localize.py", "--live", path, "--fast", "--port", "0", "--tcp-port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        printed = [process.stdout.readline() for _ in range(3)]
        host, port = printed[2].split(" ")[-1].strip().split(":")
        began = time.monotonic()
        with socket.create_connection((host, int(port))) as connection, connection.makefile() as lines:
            messages = [json.loads(line) for line in lines]
        assert time.monotonic() - began > 6
        error = process.stderr.read()
        assert process.wait(20) == 0
    assert printed[0].startswith("view: http://127.0.0.1:")
    assert [message["frame"] for message in messages] == list(range(70))
    assert "7.0 s heard in" in error and "latency from a sample to its message: median 0.2" in error, error


# --- sound card ------------------------------------------------------------------------------------------------

class FakeCard(types.ModuleType):
    """What open_card uses of sounddevice: a card of six channels that has 48 kHz alone and says how loud each is."""

    class PortAudioError(Exception):
        pass

    def query_devices(self, device, kind):
        if device == "none":
            raise ValueError("No input device matching 'none'")
        return {"name": "six channels", "max_input_channels": 6, "default_samplerate": 48000.0}

    def check_input_settings(self, device, channels, dtype, samplerate):
        if samplerate != 48000:
            raise self.PortAudioError("Invalid sample rate")

    @contextlib.contextmanager
    def InputStream(self, device, channels, samplerate, dtype, blocksize, callback):
        for _ in range(self.blocks):
            callback(np.tile(np.arange(1, channels + 1, dtype=np.float32), (blocksize, 1)), blocksize, None, None)
        yield


@pytest.fixture
def card(monkeypatch):
    fake = FakeCard("sounddevice")
    fake.blocks = 3
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(sound_input, "SILENT_CARD_S", 0.05)
    return fake


def test_a_sound_card_gives_the_channels_picked_at_its_own_rate(card):
    sound = sound_input.open_card(4, 24000, None, [3, 2, 5, 6])
    assert (sound.rate, sound.channels, sound.name) == (48000, 4, "six channels")
    blocks = []
    with pytest.raises(UserError, match="'six channels' gives no more sound"):
        blocks.extend(sound.blocks)
    assert [block.shape for block in blocks] == [(2400, 4)] * 3 and blocks[0][0].tolist() == [3, 2, 5, 6]


def test_what_a_sound_card_s_queue_cannot_hold_is_counted(card):
    card.blocks = 205  # of 50 ms; ten seconds are held
    sound = sound_input.open_card(4, 48000)
    with pytest.raises(UserError):
        assert sum(len(block) for block in sound.blocks) == 0
    assert sound.lost == 5 * 2400


@pytest.mark.parametrize(("device", "channels", "told"), [
    ("none", 4, "no sound card .No input device matching"), (None, 8, "has 6 channel.s., 8 are needed")])
def test_an_unfit_sound_card(card, device, channels, told):
    with pytest.raises(UserError, match=told):
        sound_input.open_card(channels, 48000, device)


def test_without_sounddevice(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UserError, match="pip install sounddevice"):
        sound_input.open_card(4, 48000)


# --- length ----------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_thirty_minutes_do_not_grow():
    """The whole chain as fast as it goes, a reader that reads and one that does not: memory after 10 and 30 minutes."""
    localizer = LoudnessLocalizer()
    fs, sizes = localizer.features.fs, {}
    noise = (0.1 * np.random.default_rng(0).standard_normal((fs, 4))).astype(np.float32)

    def blocks():
        for second in range(30 * 60):
            yield noise * np.float32(second % 7 > 1)  # so that tracks end and begin
            if second in (600, 1799):
                sizes[second] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    arrivals = feed.Arrivals(fs)
    sound = sound_input.Sound("test", fs, 4, arrivals.watched(blocks()))
    frames = feed.live_frames(track_sound(localizer, sound, latency_s=1.6), arrivals, HOP_S)
    with serving(frames, localizer) as (address, lines), socket.create_connection(lines):
        messages = asyncio.run(read_all(address))
    assert messages[-1]["frame"] == 17999
    assert sizes[1799] - sizes[600] < 8e6, sizes
