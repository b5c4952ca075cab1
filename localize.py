"""Find the sound sources in recordings: who sounds when and from where. Or, with --stream, as they are heard."""

import argparse
import itertools
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from doanet_parameters import ACTIVE_ABOVE
from doatools.data import sound_input
from doatools.data.annotations import write_dcase
from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json
from doatools.spatial.arrays import ARRAYS
from doatools.track.summary import as_values, frame_lines, tell
from inference import TrackStream, fitted, load_localizer, track_file

MODELS = Path(__file__).resolve().parent / "models"


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 localize.py recording.wav      -> recording.csv, recording.png, a summary\n"
               "         arecord -t raw -f S16_LE -r 48000 -c 4 | python3 localize.py --stream --rate 48000\n"
               "A CSV line is: frame of 100 ms, 0, track, azimuth, elevation (degrees, azimuth counter-clockwise).")
    parser.add_argument("recordings", nargs="*", type=Path, help="audio files, or folders that hold some")
    parser.add_argument("--checkpoint", type=Path,
                        help="best.pt of a training, or an .onnx of export_doanet.py (default: the shipped model)")
    parser.add_argument("--array", choices=sorted(ARRAYS), help="what recorded it (default: what the model reads, foa)")
    parser.add_argument("--foa-order", choices=sound_input.FOA_ORDERS, default="acn",
                        help="ambisonics: W, Y, Z, X with SN3D gains, or FuMa: W, X, Y, Z with W 3 dB lower")
    parser.add_argument("--threshold", type=float, default=ACTIVE_ABOVE,
                        help=f"probability from which a source counts (default {ACTIVE_ABOVE})")
    parser.add_argument("--latency", type=float, metavar="S",
                        help="of a stream, at most; less costs more computation (files run the same windows)")
    parser.add_argument("--fast", action="store_true",
                        help="a quarter of the network's computation for about a degree: no average over turned copies")
    parser.add_argument("--format", choices=("csv", "json"), default="csv", help="of the tracks")
    parser.add_argument("--no-plot", action="store_true", help="draw no picture")
    parser.add_argument("--out", type=Path, help="folder of the results (default: beside each recording)")
    parser.add_argument("--overwrite", action="store_true", help="replace files of the results' names")
    parser.add_argument("--stream", action="store_true", help="read WAV or raw 16-bit PCM from standard input")
    parser.add_argument("--rate", type=int, help="of raw PCM, Hz (default: the model's)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold is a probability from 0 to 1, not {args.threshold:g}")
    if args.stream == bool(args.recordings):
        raise UserError("give recordings, or --stream to read one from standard input (see --help)")
    outputs = plan(args) if args.recordings else {}
    localizer = open_localizer(args)
    if args.stream:
        return stream(localizer, args)
    failed = []
    for path, (table, picture) in outputs.items():
        try:
            localize(localizer, path, table, picture, args)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(str(path))
    if failed and len(outputs) > 1:
        print(f"{len(failed)} of {len(outputs)} recordings not localized: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def plan(args):
    """{recording: (path of its tracks, path of its picture or None)}; UserError before any work is done."""
    outputs, taken = {}, {}
    for path in args.recordings:
        found = [path]
        if path.is_dir():
            found = sorted(one for one in path.iterdir()
                           if one.suffix.lower() in sound_input.SUFFIXES and not one.name.startswith("."))
            if not found:
                raise UserError(f"{path} holds no audio file ({' '.join(sound_input.SUFFIXES)})")
        for one in dict.fromkeys(found):
            base = (args.out or one.parent) / one.stem
            table, picture = base.with_name(f"{one.stem}.{args.format}"), base.with_name(f"{one.stem}.png")
            if taken.setdefault(table.absolute(), one) != one:
                raise UserError(f"{one} and {taken[table.absolute()]} would both become {table}; name one at a time, "
                                "or different --out folders")
            outputs[one] = table, None if args.no_plot else picture
    existing = [path for pair in outputs.values() for path in pair if path and path.exists()]
    if existing and not args.overwrite:
        raise UserError(f"{existing[0]}{f' (and {len(existing) - 1} more)' if existing[1:] else ''} exists: "
                        "add --overwrite to replace it, or --out FOLDER to write elsewhere")
    return outputs


def open_localizer(args):
    """The localizer asked for, with what is worth telling about it."""
    path = args.checkpoint or MODELS / f"doanet_{args.array or 'foa'}.pt"
    if not args.checkpoint and not path.is_file():
        raise UserError(f"{path} is missing; give a model by --checkpoint: best.pt of a training, or an exported .onnx")
    localizer = load_localizer(path, args.fast)
    if args.array and localizer.array != ARRAYS[args.array]:
        raise UserError(f"{path} was not trained for the array '{args.array}': it reads {localizer.array.describe()}")
    if localizer.array.kind != "ambisonic":
        tell_note(f"directions are right only for {localizer.array.describe()}")
    if localizer.params["top_db"] > 0:
        tell_note(f"this model's features have a floor {localizer.params['top_db']:g} dB below a recording's maximum; "
                  "the maximum so far takes its place (models trained with top_db=0 need none)")
    if localizer.params["quick_test"]:
        tell_note("this model is of a quick test: do not expect much")
    return localizer


def tell_note(text):
    print(f"note: {text}", file=sys.stderr)


def localize(localizer, path, table, picture, args):
    """One recording → its files and summary."""
    shown = "{desc}: {n:.0f}/{total:.0f} s |{bar}| {remaining} left"
    with tqdm(desc=path.name, total=0, leave=False, bar_format=shown) as bar:
        def progress(seconds, of):
            bar.total = of
            bar.update(seconds)
        recorded = track_file(localizer, path, args.foa_order, args.threshold, args.latency, progress)
    hop = localizer.params["label_hop_len_s"]
    if args.format == "csv":
        write_dcase(table, recorded.rows)
    else:
        write_json(table, {"recording": path.name, "seconds": recorded.seconds, "frame_s": hop,
                           "notes": recorded.notes, "tracks": as_values(recorded.rows)}, indent=None)
    if picture:
        from doatools import plots  # takes a second that --no-plot saves
        plots.tracks(picture, path.name, recorded.rows, recorded.spectrogram, localizer.features.frequencies,
                     recorded.seconds, hop)
    print(f"{path}: {recorded.seconds:.1f} s -> {', '.join(str(one) for one in (table, picture) if one)}")
    print("\n".join(tell(recorded.rows, hop)), flush=True)
    for note in recorded.notes:
        tell_note(note)


def stream(localizer, args):
    """Standard input → a line a track and frame; a frame without a source is a line with its time alone."""
    if sys.stdin.isatty():
        raise UserError("--stream reads sound from standard input: pipe it in (see --help)")
    source = sound_input.open_stream(sys.stdin.buffer, args.rate or localizer.features.fs, localizer.array.channels)
    sound = fitted(localizer, source, args.foa_order)
    tracks = TrackStream(localizer, args.threshold, args.latency)
    windows = tracks.courses.windows
    for note in sound.notes:
        tell_note(note)
    tell_note(f"{source.rate} Hz; a frame is told {tracks.latency_s:.1f} s after its start at most (the first ones "
              f"{windows.length * localizer.params['label_hop_len_s']:.1f} s), computation apart")
    took, hop = [], localizer.params["label_hop_len_s"]
    try:
        if args.format == "csv":
            print("time,track,azimuth,elevation,probability", flush=True)
        for block in itertools.chain(sound.blocks, [None]):
            first, start = tracks.frames, time.perf_counter()
            rows = tracks.finish() if block is None else tracks.feed(block)
            took.append(time.perf_counter() - start)
            for frame in range(first, tracks.frames):
                print(frame_lines(frame * hop, rows[rows["frame"] == frame], args.format), flush=True)
    except BrokenPipeError:  # whoever read the lines has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        tell_note("stopped")
        return 130
    tell_note(f"{tracks.frames * hop:.1f} s heard, {sum(took):.1f} s of computation, {max(took):.2f} s at once at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
