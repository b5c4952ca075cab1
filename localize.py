"""Localize and track the sound sources in recordings, or in live sound with --stream or --live."""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from doatools.config.commandline import add_threads_argument, set_threads
from doatools.errors import UserError, exits_cleanly, explained

FOA_ORDERS = ("acn", "fuma")
FORMATS = {"csv": "csv", "table": "csv", "json": "json"}  # and the suffix of each
# Options that have no effect on what is localized, and are refused.
OF_CARDS, OF_FILES = ("device", "channels", "port", "tcp_port", "host"), ("out", "html", "plot_format", "overwrite")
WITHOUT_EFFECT = {"recordings": ("rate", *OF_CARDS), "--stream": (*OF_FILES, *OF_CARDS),
                  "--live": (*OF_FILES, "format")}
ACTIVE_ABOVE = 0.5  # that of doatools.types, which --help need not wait for


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 localize.py recording.wav      -> recording.csv, recording.png, a summary\n"
               "         arecord -t raw -f S16_LE -r 48000 -c 4 | python3 localize.py --stream --rate 48000\n"
               "         python3 localize.py --live                   -> a live view of a sound card in the browser\n"
               "Columns of csv: frame of 100 ms, 0, track, azimuth, elevation (degrees; azimuth is counter-clockwise\n"
               "from the front, elevation positive upwards).\n"
               "Columns of table: time (s), track, azimuth, elevation, probability, and, if the model estimates it,\n"
               "radius (degrees; the true direction is within this angle in 90 % of the cases).")
    parser.add_argument("recordings", nargs="*", type=Path, help="audio files, or folders of them")
    parser.add_argument("--checkpoint", type=Path,
                        help="checkpoint (best.pt) or exported network (.onnx); default: the shipped model of the "
                        "array, for live ambisonics the one with a latency of 0.2 s")
    parser.add_argument("--array", metavar="NAME|FILE", help="the microphone array: foa, mic, or a YAML file such as "
                        "arrays/respeaker_6mic.yaml (default: that of the checkpoint, or foa)")
    parser.add_argument("--foa-order", choices=FOA_ORDERS,
                        help="order and gains of ambisonic channels: acn (AmbiX: W, Y, Z, X) or fuma (W, X, Y, Z with "
                        "W 3 dB lower); default: acn, and fuma for files marked as FuMa (.amb)")
    parser.add_argument("--rotation", metavar="FILE", help="orientation of the array, a file written by "
                        "check_dataset.py --rotation: report directions in the axes of the room")
    parser.add_argument("--threshold", type=float, default=ACTIVE_ABOVE,
                        help=f"report sources with an activity probability above this (default {ACTIVE_ABOVE})")
    parser.add_argument("--latency", type=float, metavar="S",
                        help="maximum latency of a stream in seconds; a lower one needs more computation (also for "
                        "files)")
    parser.add_argument("--pause", type=float, default=0.0, metavar="S", help="a source keeps its track after a pause "
                        "of up to S seconds if it continues in about the same direction (for talkers, try 2)")
    parser.add_argument("--fast", action="store_true",
                        help="no test-time rotation: up to four times faster, but errors are about a degree larger")
    parser.add_argument("--format", choices=FORMATS, default="csv", help="format of the tracks: csv (DCASE format, the "
                        "default), table (CSV with a header, probability and error radius) or json")
    parser.add_argument("--no-plot", action="store_true", help="do not draw a picture")
    parser.add_argument("--plot-format", choices=("png", "svg", "pdf"), default="png",
                        help="format of the picture (default png)")
    parser.add_argument("--html", action="store_true", help="also write a web page that plays the recording and shows "
                        "the moving sources")
    parser.add_argument("--reference", type=Path, metavar="CSV", help="true directions, shown with the errors on the "
                        "page of --html")
    parser.add_argument("--out", type=Path, help="folder for the results (default: the folder of each recording)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_threads_argument(parser)
    parser.add_argument("--stream", action="store_true", help="read WAV or raw 16-bit PCM from standard input")
    parser.add_argument("--rate", type=int, help="sample rate of raw PCM or of the sound card in Hz (default: that of "
                        "the model)")
    live = parser.add_argument_group("live view (docs/live.md)")
    live.add_argument("--live", nargs="?", const="card", metavar="FILE", help="localize live sound and show the "
                      "sources in the browser: a sound card (default), a FILE in real time, or standard input (-)")
    live.add_argument("--device", help="number or part of the name of the sound card (list: python3 -m sounddevice)")
    live.add_argument("--channels", metavar="1,2,3,4", help="channels of the sound card, in the order of the capsules "
                      "(default: the first ones)")
    live.add_argument("--port", type=int, default=8765, help="port of the view and of ws://.../tracks (default 8765)")
    live.add_argument("--tcp-port", type=int, metavar="PORT", help="also send the tracks as lines of JSON over TCP")
    live.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine "
                      "only); 0.0.0.0 lets other machines connect")
    return parser


@exits_cleanly(again="the same command with --overwrite begins anew")
def main(argv=None):
    parser = build_parser()
    args = parser.parse_args(argv)
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold is a probability from 0 to 1, not {args.threshold:g}")
    if args.rate is not None and args.rate <= 0:
        raise UserError(f"--rate is a sample rate in Hz, not {args.rate}")
    if not 0 <= args.pause <= 3600:
        raise UserError(f"--pause takes 0 to 3600 s, not {args.pause:g}")
    set_threads(args.threads)
    if bool(args.recordings) + args.stream + bool(args.live) != 1:
        raise UserError("give recordings, or --stream to read one from standard input, or --live (see --help)")
    what = "--live" if args.live else "--stream" if args.stream else "recordings"
    for name in WITHOUT_EFFECT[what]:
        if getattr(args, name) != parser.get_default(name):
            raise UserError(f"--{name.replace('_', '-')} has no effect with {what}; leave it out")
    outputs = plan(args) if args.recordings else {}
    if args.reference and (len(outputs) != 1 or not args.html):
        raise UserError("--reference compares one recording with its true directions, on a page: add --html")
    if args.rotation:
        from doatools.spatial.corrections import read_correction
        read_correction(args.rotation)  # refused before any work is done
    if args.live:
        from live import serve
        return serve(args, open_localizer)
    localizer = open_localizer(args)
    if args.stream:
        return stream(localizer, args)
    failed = []
    for path, files in outputs.items():
        try:
            localize(localizer, path, files, args)
        except BrokenPipeError:
            raise
        except Exception as error:
            text = explained(error)
            if text is None:
                raise
            print(f"error: {text if path.name in text else f'{path}: {text}'}", file=sys.stderr)
            failed.append(str(path))
    if failed and len(outputs) > 1:
        print(f"{len(failed)} of {len(outputs)} recordings not localized: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


class Outputs(NamedTuple):
    """The files of one recording; None for what is not wanted."""

    table: Path
    picture: Path | None
    page: Path | None

    def wanted(self):
        return [path for path in self if path]


def plan(args):
    """{recording: Outputs}; UserError before any work is done."""
    from doatools.data import sound_input
    from doatools.files import has_suffix
    outputs, taken = {}, {}
    for path in args.recordings:
        found = [path]
        if path.is_dir():
            found = sorted(one for one in path.iterdir()
                           if has_suffix(one, *sound_input.SUFFIXES) and not one.name.startswith("."))
            if not found:
                raise UserError(f"{path} holds no audio file ({' '.join(sound_input.SUFFIXES)})")
        for one in dict.fromkeys(found):
            base = (args.out or one.parent) / one.stem
            table = base.with_name(f"{one.stem}.{FORMATS[args.format]}")
            if taken.setdefault(table.absolute(), one) != one:
                raise UserError(f"{one} and {taken[table.absolute()]} would both become {table}; give one at a time, "
                                "with different --out folders")
            outputs[one] = Outputs(table, None if args.no_plot else base.with_name(f"{one.stem}.{args.plot_format}"),
                                   base.with_name(f"{one.stem}.html") if args.html else None)
    existing = [path for files in outputs.values() for path in files.wanted() if path.exists()]
    if existing and not args.overwrite:
        raise UserError(f"{existing[0]}{f' (and {len(existing) - 1} more)' if existing[1:] else ''} exists: "
                        "add --overwrite to replace it, or --out FOLDER to write elsewhere")
    return outputs


def open_localizer(args):
    """The localizer that the command line asks for; prints notes about it."""
    from doatools.shipped import shipped_model
    from doatools.spatial.arrays import find_array
    from inference import load_localizer
    path = args.checkpoint or shipped_model(find_array(args.array or "foa"), args.stream or args.live)
    localizer = load_localizer(path, args.fast, args.array)
    frames = round(args.pause / localizer.config.features.label_hop_len_s)
    config = localizer.config = localizer.config.replaced(tracker_pause=frames)
    if getattr(localizer, "trained_for", config.array).drawn:
        for text in about_any_array(path, localizer):
            note(text)
    if config.array.kind != "ambisonic":
        note(f"directions are right only for {config.array.describe()}")
    if config.array.planar:
        note("this array is planar and cannot distinguish above from below: elevations are in the upper half")
    if config.features.top_db > 0:
        note(f"the features of this model have a floor {config.features.top_db:g} dB below the maximum of a recording; "
             "here it follows the maximum so far (models trained with top_db=0 have no floor)")
    if config.run.quick_test:
        note("this model comes from a quick test; its predictions mean nothing")
    return localizer


def about_any_array(path, localizer):
    """Sentences on a model that reads any array: how well it does, and whether this array is like those of training."""
    array, trained_for, scores = localizer.config.array, localizer.trained_for, localizer.scores
    known = ", ".join(f"{name} {scores[name]:.1f}{unit}" for name, unit in (("LE", "°"), ("LF", " %"), ("F20", " %"))
                      if scores.get(name) is not None)
    yield (f"{path} answers: one model for {trained_for.describe()}, not trained for '{array.name}' alone"
           + (f"; on other such arrays in simulated rooms (validation) {known}" if known else ""))
    if unlike := trained_for.unlike(array):
        yield f"{unlike}: unlike the arrays that this model was trained on, so expect larger errors"


def note(text):
    print(f"note: {text}", file=sys.stderr)


def localize(localizer, path, files, args):
    """Localize one recording, write its files and print its summary."""
    from doatools.data import sound_input
    from doatools.spatial.corrections import into_room
    from doatools.track.summary import COLUMNS, summary_lines
    from inference import track_recording
    sound, hop_s = sound_input.open_file(path), localizer.config.features.label_hop_len_s
    shown = dataclasses.replace(sound, blocks=with_progress(sound, path.name))
    page, columns = None, COLUMNS
    if files.page:
        from doatools.report import recording_page
        reference = args.reference and recording_page.read_reference(args.reference, localizer.config)
        page, columns = recording_page.Writer(path.name, sound.rate, hop_s, reference), recording_page.COLUMNS
        shown.blocks = page.listening(shown.blocks)
    recorded = track_recording(localizer, shown, args.foa_order, args.threshold, args.latency, columns)
    recorded = recorded._replace(rows=into_room(args.rotation)(recorded.rows))
    write_tracks(files.table, args.format, path.name, recorded, hop_s)
    if page:
        page.write(files.page, recorded, localizer.features.frequencies)
    if files.picture:
        from doatools.report import plots  # imports matplotlib, which takes a second
        plots.tracks(files.picture, path.name, recorded.rows, recorded.spectrogram, localizer.features.frequencies,
                     recorded.seconds, hop_s)
    print(f"{path}: {recorded.seconds:.1f} s -> {', '.join(map(str, files.wanted()))}")
    print("\n".join(summary_lines(recorded.rows, hop_s)), flush=True)
    for text in recorded.notes:
        note(text)


def with_progress(sound, name):
    """The blocks of a Sound, with a progress bar in seconds."""
    from tqdm import tqdm
    text = "{desc}: {n:.0f}/{total:.0f} s |{bar}| {remaining} left"
    with tqdm(desc=name, total=sound.seconds, leave=False, bar_format=text) as bar:
        for block in sound.blocks:
            yield block
            bar.update(len(block) / sound.rate)


def write_tracks(path, how, name, recorded, hop_s):
    """Write the tracks of a Recorded: DCASE lines, whose frames are 100 ms long, or a table or JSON with frames of
    hop_s."""
    from doatools.data.dcase import FRAME_S, write_dcase
    from doatools.files import replacing, write_json
    from doatools.track.rows import as_values, at_frames, frame_lines, table_header
    rows = recorded.rows
    if how == "csv":
        write_dcase(path, at_frames(rows, hop_s, FRAME_S, recorded.seconds))
    elif how == "table":
        lines = [frame_lines(rows[k]["frame"] * hop_s, rows[k : k + 1], "csv") for k in range(len(rows))]
        with replacing(path) as temporary:
            temporary.write_text("\n".join([table_header(rows), *lines, ""]), encoding="utf-8")
    else:
        write_json(path, {"recording": name, "seconds": recorded.seconds, "frame_s": hop_s, "notes": recorded.notes,
                          "tracks": as_values(rows)}, indent=None)


def stream(localizer, args):
    """Standard input → a line per track and frame; the line of a frame without a source holds the time alone."""
    from doatools.check.levels import Doubts
    from doatools.data import sound_input
    from doatools.spatial.corrections import into_room
    from doatools.track.rows import frame_lines, table_header
    from inference import fitted, stream_latency_s, track_sound
    if sys.stdin.isatty():
        raise UserError("--stream reads sound from standard input: pipe it in (see --help)")
    rate, channels = localizer.features.fs if args.rate is None else args.rate, localizer.config.array.channels
    source = sound_input.open_stream(sys.stdin.buffer, rate, channels)
    sound = fitted(localizer, source, args.foa_order)
    latency, first = stream_latency_s(localizer, args.latency)
    doubts = Doubts(localizer.config.array, sound.rate)
    sound.blocks = doubts.watched(sound.blocks)
    parts = doubts.announced(track_sound(localizer, sound, args.threshold, args.latency), note)
    for text in sound.notes:
        note(text)
    note(f"{source.rate} Hz; a frame is reported at most {latency:.1f} s after its start (the first ones {first:.1f} "
         "s), plus computation")
    in_room = into_room(args.rotation)
    frames, hop_s, started = 0, localizer.config.features.label_hop_len_s, time.process_time()
    try:
        for number, part in enumerate(parts):
            rows = in_room(part.rows)
            if number == 0 and args.format != "json":
                print(table_header(rows), flush=True)
            for frame in range(frames, part.frames):
                print(frame_lines(frame * hop_s, rows[rows["frame"] == frame], args.format), flush=True)
            frames = part.frames
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        note("stopped")
        return 130
    note(f"{frames * hop_s:.1f} s heard, {time.process_time() - started:.1f} s of computation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
