"""Find the sound sources in recordings: who sounds when and from where. Or as they are heard: --stream, --live."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from doatools.errors import UserError, exits_cleanly

FOA_ORDERS = ("acn", "fuma")
ACTIVE_ABOVE = 0.5  # that of doatools.types, whose import takes longer than --help should


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 localize.py recording.wav      -> recording.csv, recording.png, a summary\n"
               "         arecord -t raw -f S16_LE -r 48000 -c 4 | python3 localize.py --stream --rate 48000\n"
               "         python3 localize.py --live                   -> a view in the browser of what a sound card hears\n"
               "A CSV line is: frame of 100 ms, 0, track, azimuth, elevation (degrees, azimuth counter-clockwise).")
    parser.add_argument("recordings", nargs="*", type=Path, help="audio files, or folders that hold some")
    parser.add_argument("--checkpoint", type=Path,
                        help="best.pt of a training, or an .onnx of export_doanet.py (default: the shipped model)")
    parser.add_argument("--array", metavar="NAME|FILE", help="what recorded it: foa, mic, or a YAML file such as "
                        "arrays/respeaker_6mic.yaml (default: what the model reads, foa)")
    parser.add_argument("--foa-order", choices=FOA_ORDERS, default="acn",
                        help="ambisonics: W, Y, Z, X with SN3D gains, or FuMa: W, X, Y, Z with W 3 dB lower")
    parser.add_argument("--threshold", type=float, default=ACTIVE_ABOVE,
                        help=f"probability from which a source counts (default {ACTIVE_ABOVE})")
    parser.add_argument("--latency", type=float, metavar="S",
                        help="largest latency of a stream; less costs more computation (files use the same windows)")
    parser.add_argument("--fast", action="store_true",
                        help="no test-time rotation: up to four times faster, errors larger by about a degree")
    parser.add_argument("--format", choices=("csv", "json"), default="csv", help="of the tracks")
    parser.add_argument("--no-plot", action="store_true", help="draw no picture")
    parser.add_argument("--plot-format", choices=("png", "svg", "pdf"), default="png", help="of the pictures")
    parser.add_argument("--html", action="store_true",
                        help="also write a page that plays the recording while its sources move")
    parser.add_argument("--reference", type=Path, metavar="CSV", help="true directions to compare with on the page")
    parser.add_argument("--out", type=Path, help="folder of the results (default: beside each recording)")
    parser.add_argument("--overwrite", action="store_true", help="replace files of the results' names")
    parser.add_argument("--stream", action="store_true", help="read WAV or raw 16-bit PCM from standard input")
    parser.add_argument("--rate", type=int, help="of raw PCM or of the sound card, Hz (default: the model's)")
    live = parser.add_argument_group("live view")
    live.add_argument("--live", nargs="?", const="card", metavar="FILE",
                      help="serve a view of what a sound card hears, of a FILE in real time, or of standard input (-)")
    live.add_argument("--device", help="of the sound card: number or part of its name, see: python3 -m sounddevice")
    live.add_argument("--channels", metavar="1,2,3,4", help="of the sound card, in the order of the array's (default: "
                      "the first ones)")
    live.add_argument("--port", type=int, default=8765, help="of the view and of ws://.../tracks (default 8765)")
    live.add_argument("--tcp-port", type=int, metavar="PORT", help="also send tracks as JSON lines over TCP")
    live.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines look, too "
                      "(default: this machine alone)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold is a probability from 0 to 1, not {args.threshold:g}")
    if bool(args.recordings) + args.stream + bool(args.live) != 1:
        raise UserError("give recordings, or --stream to read one from standard input, or --live (see --help)")
    if args.live:
        from live import serve
        return serve(args, open_localizer)
    outputs = plan(args) if args.recordings else {}
    if args.reference and (len(outputs) != 1 or not args.html):
        raise UserError("--reference compares one recording with its true directions, on a page: add --html")
    localizer = open_localizer(args)
    if args.stream:
        return stream(localizer, args)
    failed = []
    for path, files in outputs.items():
        try:
            localize(localizer, path, files, args)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(str(path))
    if failed and len(outputs) > 1:
        print(f"{len(failed)} of {len(outputs)} recordings not localized: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


class Outputs(NamedTuple):
    """The files of one recording."""

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
            table = base.with_name(f"{one.stem}.{args.format}")
            if taken.setdefault(table.absolute(), one) != one:
                raise UserError(f"{one} and {taken[table.absolute()]} would both become {table}; name one at a time, "
                                "or different --out folders")
            outputs[one] = Outputs(table, None if args.no_plot else base.with_name(f"{one.stem}.{args.plot_format}"),
                                   base.with_name(f"{one.stem}.html") if args.html else None)
    existing = [path for files in outputs.values() for path in files.wanted() if path.exists()]
    if existing and not args.overwrite:
        raise UserError(f"{existing[0]}{f' (and {len(existing) - 1} more)' if existing[1:] else ''} exists: "
                        "add --overwrite to replace it, or --out FOLDER to write elsewhere")
    return outputs


def open_localizer(args):
    """The localizer asked for, with notes on what to know about it."""
    from doatools.shipped import shipped_model
    from doatools.spatial.arrays import find_array
    from inference import load_localizer
    array = find_array(args.array) if args.array else None
    path = args.checkpoint or shipped_model(array or find_array("foa"))
    localizer = load_localizer(path, args.fast)
    config = localizer.config
    if array and config.array != array:
        raise UserError(f"{path} was not trained for the array '{array.name}': it reads {config.array.describe()}")
    if config.array.kind != "ambisonic":
        note(f"directions are right only for {config.array.describe()}")
    if config.array.planar:
        note("this array is planar: it hears no difference between above and below, so elevations are in the upper half")
    if config.features.top_db > 0:
        note(f"this model's features have a floor {config.features.top_db:g} dB below a recording's maximum; "
             "the maximum so far takes its place (models trained with top_db=0 need none)")
    if config.run.quick_test:
        note("this model is of a quick test: do not expect much")
    return localizer


def note(text):
    print(f"note: {text}", file=sys.stderr)


def localize(localizer, path, files, args):
    """One recording → its files and summary."""
    from tqdm import tqdm

    from doatools.data.dcase import FRAME_S, write_dcase
    from doatools.files import write_json
    from doatools.track.summary import as_values, at_frames, summary_lines
    from inference import track_file
    hop = localizer.config.features.label_hop_len_s
    page = None
    if files.page:
        from doatools.report import recording_page
        reference = args.reference and recording_page.read_reference(args.reference, localizer.config)
        page = recording_page.Writer(path.name, localizer.features, hop, reference)
    shown = "{desc}: {n:.0f}/{total:.0f} s |{bar}| {remaining} left"
    with tqdm(desc=path.name, total=0, leave=False, bar_format=shown) as bar:
        def progress(seconds, of):
            bar.total = of
            bar.update(seconds)
        wanted = {"on_audio": page.add, "columns": page.COLUMNS} if page else {}
        recorded = track_file(localizer, path, args.foa_order, args.threshold, args.latency, progress, **wanted)
    if args.format == "csv":
        write_dcase(files.table, at_frames(recorded.rows, hop, FRAME_S))  # whose frames are 100 ms, whatever the model's
    else:
        write_json(files.table, {"recording": path.name, "seconds": recorded.seconds, "frame_s": hop,
                                 "notes": recorded.notes, "tracks": as_values(recorded.rows)}, indent=None)
    if files.picture:
        from doatools.report import plots  # takes a second that --no-plot saves
        plots.tracks(files.picture, path.name, recorded.rows, recorded.spectrogram, localizer.features.frequencies,
                     recorded.seconds, hop)
    if page:
        page.write(files.page, recorded)
    print(f"{path}: {recorded.seconds:.1f} s -> {', '.join(map(str, files.wanted()))}")
    print("\n".join(summary_lines(recorded.rows, hop)), flush=True)
    for text in recorded.notes:
        note(text)


def stream(localizer, args):
    """Standard input → a line for each track and frame; a frame without a source is a line with its time alone."""
    from doatools.data import sound_input
    from doatools.track.summary import frame_lines
    from inference import fitted, stream_latency_s, track_sound
    if sys.stdin.isatty():
        raise UserError("--stream reads sound from standard input: pipe it in (see --help)")
    source = sound_input.open_stream(sys.stdin.buffer, args.rate or localizer.features.fs, localizer.config.array.channels)
    sound = fitted(localizer, source, args.foa_order)
    latency, first = stream_latency_s(localizer, args.latency)
    pieces = track_sound(localizer, sound, args.threshold, args.latency)
    for text in sound.notes:
        note(text)
    note(f"{source.rate} Hz; a frame is reported at most {latency:.1f} s after its start (the first ones {first:.1f} s), "
         "computation apart")
    frames, hop, started = 0, localizer.config.features.label_hop_len_s, time.process_time()
    try:
        if args.format == "csv":
            print("time,track,azimuth,elevation,probability", flush=True)
        for piece in pieces:
            for frame in range(frames, piece.frames):
                print(frame_lines(frame * hop, piece.rows[piece.rows["frame"] == frame], args.format), flush=True)
            frames = piece.frames
    except BrokenPipeError:  # whoever read the lines has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        note("stopped")
        return 130
    note(f"{frames * hop:.1f} s heard, {time.process_time() - started:.1f} s of computation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
