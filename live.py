"""The live view of localize.py --live: a sound card, a file in real time or standard input → a view and messages."""

import sys
import time
from pathlib import Path

from doatools.check.levels import Doubts
from doatools.data import sound_input
from doatools.errors import UserError
from doatools.live import server
from doatools.live.feed import Arrivals, live_frames
from doatools.spatial.corrections import into_room
from inference import fitted, least_latency_s, stream_latency_s, track_sound


def serve(args, open_localizer):
    """Serve the view and the tracks of a live sound until it ends or Ctrl-C is pressed → exit status.

    ``args`` are those of localize.py; ``open_localizer`` makes a localizer of them.
    """
    server.import_aiohttp()
    listeners = server.listen(args.host, args.port), None  # before the model is loaded: a port may be in use
    if args.tcp_port is not None:
        listeners = listeners[0], server.listen(args.host, args.tcp_port, "--tcp-port")
    localizer = open_localizer(args)
    source = live_source(args, localizer)
    about, frames = live_frames_of(localizer, source, args)
    serving = server.LiveServer(listeners, about, frames, args.host)
    _announce(serving, about)
    started, stopped = (time.monotonic(), time.process_time()), False
    try:
        serving.run()
    except KeyboardInterrupt:
        stopped = True
    passed, computed = time.monotonic() - started[0], time.process_time() - started[1]
    note(f"{serving.latencies.count * about['frame_s']:.1f} s heard in {passed:.1f} s, {computed:.1f} s of computation")
    if serving.latencies.count:
        note(f"latency from a sample to its message: {serving.latencies}")
    if source.lost:
        note(f"{source.lost / source.rate:.1f} s of sound lost: computation is too slow; try --fast, or more --latency")
    return 130 if stopped else 0


def live_frames_of(localizer, source, args):
    """What a viewer is told first, and the Frames of a Sound."""
    arrivals, hop = Arrivals(source.rate), localizer.config.features.label_hop_len_s
    source.blocks = arrivals.watched(source.blocks)
    sound = fitted(localizer, source, args.foa_order)
    doubts = Doubts(localizer.config.array, sound.rate)
    sound.blocks = doubts.watched(sound.blocks)
    latency = least_latency_s(localizer) if args.latency is None else args.latency
    parts = track_sound(localizer, sound, args.threshold, latency)
    in_room = into_room(args.rotation)
    parts = (part._replace(rows=in_room(part.rows)) for part in parts)
    frames = live_frames(doubts.announced(parts, lambda text: _add(sound.notes, text)), arrivals, hop)
    expected, first = stream_latency_s(localizer, latency)
    about = {"title": Path(source.name).name, "summary": f"{localizer.config.array.name}, {source.rate} Hz",
             "frame_s": hop, "latency_s": expected, "first_s": first, "notes": sound.notes,
             "bands_hz": [round(float(hertz), 1) for hertz in localizer.features.frequencies]}
    return about, frames


def _add(notes, text):
    """Print a note and add it to those that later viewers are shown."""
    note(text)
    notes.append(text)


def live_source(args, localizer):
    """The Sound of --live."""
    channels, rate = localizer.config.array.channels, localizer.features.fs if args.rate is None else args.rate
    if args.live == "card":
        return sound_input.open_card(channels, rate, args.device, picked_channels(args.channels, channels))
    if args.device or args.channels or (args.rate and args.live != "-"):
        raise UserError("--device, --channels and --rate are of a sound card: leave out FILE")
    if args.live == "-":
        return sound_input.open_stream(sys.stdin.buffer, rate, channels)
    return sound_input.paced(sound_input.open_file(args.live))


def picked_channels(text, count):
    """'2,3,4,5' → [2, 3, 4, 5], or None; UserError unless they are ``count`` different numbers from 1 on."""
    if text is None:
        return None
    words = text.split(",")
    if len(set(words)) != count or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--channels takes {count} different numbers from 1 on, separated by commas, not '{text}'")
    return [int(word) for word in words]


def _announce(serving, about):
    """Print where the view is."""
    for text in about["notes"]:
        note(text)
    for kind, address in serving.addresses().items():
        print(f"{kind}: {address}", flush=True)
    if not serving.loopback:
        note("other machines can connect: whoever reaches this address sees the sources")
    latest, first = about["latency_s"], about["first_s"]
    note(f"a frame is sent at most {latest:.1f} s after its start (the first ones {first:.1f} s), plus "
         "computation; Ctrl-C ends")


def note(text):
    print(f"note: {text}", file=sys.stderr)
