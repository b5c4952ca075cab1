"""Simulate a dataset of sound sources in rooms, with annotations, in the layout of a published dataset.

--format dcase2020 (the default) writes foa_dev/ and mic_dev/ with recordings of the same scenes (4 channels, 16 bit),
or <name>_dev/ for another array, and metadata_dev/ with the annotations (frame of 100 ms, class, track, azimuth,
elevation). The six folds share neither rooms nor sounds. --format tut2018 writes small datasets for run.py: ansim/
(anechoic) and resim/ (rooms), with static sources, in ambisonics at 44.1 kHz.

The output does not depend on the number of jobs, and the same command continues a stopped simulation.
"""

import argparse
import functools
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from doanet_parameters import add_override_argument, get_params, parse_overrides
from doatools import cluster
from doatools.errors import UserError, exits_cleanly
from doatools.files import in_memory, remove_leftovers, replacing, write_json
from doatools.registry import WRITERS

MANIFEST = "simulation.json"


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 simulate_dataset.py dataset_dir=datasets/large sim_recordings_per_fold=50\n"
               "         python3 simulate_dataset.py dataset_dir=datasets/ring array=arrays/respeaker_6mic.yaml\n"
               "         python3 simulate_dataset.py dataset_dir=datasets/any array=drawn    (random arrays)\n"
               "         python3 simulate_dataset.py dataset_dir=datasets/mine --sounds ~/sounds\n"
               "         python3 simulate_dataset.py dataset_dir=datasets/hall --responses ~/hall_responses --fold 1\n"
               "         python3 simulate_dataset.py --format tut2018 dataset_dir=datasets/tut\n"
               "parameters: dataset_dir, array, fs, seed, max_sources and sim_* (list: python3 doanet_parameters.py)")
    add_override_argument(parser)
    parser.add_argument("--format", choices=list(WRITERS), default="dcase2020",
                        help="layout of the dataset (default dcase2020)")
    parser.add_argument("--sounds", metavar="DIR", action="append", default=[],
                        help="use the WAV, FLAC and OGG files in DIR instead of generated sounds; its sub-folders are "
                             "classes. Can be repeated; the sounds of each folder are distributed over the folds")
    parser.add_argument("--generated", action="store_true", help="with --sounds: also use the generated sounds")
    parser.add_argument("--responses", metavar="FOLDER",
                        help="use measured impulse responses in place of simulated rooms: SOFA files, or WAV and FLAC "
                             "files with directions.csv (file,azimuth,elevation[,distance_m]). Sub-folders are rooms; "
                             "the first becomes fold 1, the second fold 2, and so on (a single room gives a test set). "
                             "Sources are static unless sim_moving is given")
    parser.add_argument("--fold", type=int, choices=range(1, 7), metavar="N",
                        help="write only this fold, for example 1 for a test set or 2 for validation; with "
                             "--responses: put all rooms into this fold")
    parser.add_argument("--foa-order", choices=("acn", "fuma"), default="acn",
                        help="order and gains of ambisonic responses: acn (W, Y, Z, X with SN3D gains, the default) or "
                             "fuma (W, X, Y, Z with W 3 dB lower)")
    parser.add_argument("--realistic", action="store_true",
                        help="simulate imperfect rooms, noise and sensors: sets the sim_ parameters for these to "
                             "realistic values, unless they are given")
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one per core)")
    cluster.add_argument(parser)
    parser.add_argument("--overwrite", action="store_true",
                        help="replace an existing dataset that was simulated with other settings")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    overrides = parse_overrides(args.overrides)
    if args.responses and args.format != "dcase2020":
        raise UserError("--responses writes --format dcase2020")
    if not args.responses and args.foa_order != "acn":
        raise UserError("--foa-order is for --responses")
    if args.fold and args.format != "dcase2020":
        raise UserError("--fold is for --format dcase2020")
    get_params(**overrides)  # mistyped parameters are refused before anything heavy is imported
    import joblib
    from tqdm import tqdm

    from doatools.simulate.realism import REALISTIC
    kind = WRITERS[args.format]
    kind_defaults, preset = kind.defaults, REALISTIC
    if args.responses:
        from doatools.simulate import measured
        measured.refuse_decided(overrides)
        kind_defaults, preset = measured.DEFAULTS, measured.preset()
    config = get_params(**{**kind_defaults, **(preset if args.realistic else {}), **overrides})
    sounds = _open_sounds(args.sounds, args.generated, config)
    if args.responses:
        writer = measured.Measured(config, sounds, args.responses, args.foa_order, args.fold)
        print("".join(f"note: {note}\n" for note in writer.notes), end="", file=sys.stderr)
    else:
        writer = kind(config, sounds)
        writer.only_fold = args.fold
    root = Path(config.data.dataset_dir)
    _prepare(root, writer, _manifest(args.format, writer), args.overwrite)
    todo = [key for key in writer.entries() if not all(path.exists() for path in writer.paths(root, key))]
    start = time.perf_counter()
    with cluster.on(args.dask):
        jobs = cluster.results_of((joblib.delayed(simulate_recording)(writer, root, key) for key in todo),
                                  args.jobs or -1, return_as="generator_unordered")
        for _ in tqdm(jobs, total=len(todo), unit="recording", desc="simulating"):
            pass
    _summarize(root, writer, len(todo), time.perf_counter() - start)
    return 0


def simulate_recording(writer, root, key):
    """Compose, render and write one recording; its annotation is written last and marks it as complete."""
    import soundfile
    scene = writer.scene(key)
    *audio, annotation = writer.paths(root, key)
    if writer.config.array.drawn:
        writer.write_array(audio.pop(), key)
    for path, channels in zip(audio, writer.signals(key, scene)):
        wav = in_memory(functools.partial(
            soundfile.write, data=channels.T, samplerate=writer.config.features.fs, format="WAV", subtype="PCM_16"))
        with replacing(path) as temporary:
            temporary.write_bytes(wav)
    writer.write_annotation(annotation, scene)


def _open_sounds(directories, with_generated, config):
    """The sounds that the command line asks for; those of a folder keep their folds when others are added."""
    from doatools.simulate.sounds import FolderSounds, GeneratedSounds, SoundsTogether
    from doatools.simulate.writers import SOUND_FOLDS
    seed, fs = config.run.seed, config.features.fs
    banks = [GeneratedSounds(seed, fs)] if with_generated or not directories else []
    for directory in directories:
        banks.append(FolderSounds(directory, seed, fs, SOUND_FOLDS))
        skipped = [str(path.relative_to(directory)) for path in banks[-1].skipped]
        if skipped:
            names = ", ".join(skipped[:5]) + ", ..." * (len(skipped) > 5)
            print(f"{directory}: left out {len(skipped)} sounds that are silent, too short, unreadable or beyond any "
                  f"level: {names}", file=sys.stderr)
    return SoundsTogether(banks) if len(banks) > 1 else banks[0]


def _manifest(name, writer):
    given = writer.config.flat()
    settings = {key: list(given[key]) if isinstance(given[key], tuple) else given[key] for key in writer.settings}
    return {"format": name, "version": writer.version, "sounds": writer.sounds.digest,
            "classes": list(writer.sounds.names), **settings, **writer.made_with}


def _prepare(root, writer, manifest, overwrite):
    """Note the settings in ``root``; remove what ``overwrite`` replaces; UserError for a folder with other contents."""
    from doatools.data.mixtures import remove_all
    note, recordings = root / MANIFEST, writer.written(root)
    if not note.exists():
        if recordings:
            raise UserError(f"{root} holds recordings that simulate_dataset.py did not write; choose another "
                            "dataset_dir")
    else:
        from doatools.config.stored import read_json
        remedy = "if nothing else is in its folder that you need, remove the folder and simulate it again"
        found = read_json(note, dict[str, Any], remedy)
        hop_s = found.pop("label_hop_len_s", writer.hop_s)  # the first edition wrote frames of any length
        if found != manifest or hop_s != writer.hop_s:
            if found.get("format") != manifest["format"]:
                raise UserError(f"{root} was simulated as {found.get('format')} (see {note}); choose another "
                                "dataset_dir")
            if not overwrite:
                raise UserError(f"{root} was simulated with other settings (see {note}); choose another dataset_dir, "
                                "or replace it by --overwrite")
            for path in recordings:
                path.unlink()
            remove_all(root)
    for folder in {path.parent for key in writer.entries() for path in writer.paths(root, key)}:
        remove_leftovers(folder)
    write_json(note, manifest)


def _summarize(root, writer, n_made, seconds):
    from cls_feature_class import data_words
    from doatools.simulate.writers import summary
    n_all, n_events, moving, overlapped = summary(writer)
    length_s = writer.config.simulation.recording_len_s
    print(f"{root}: {n_all} recordings, {n_all * length_s / 60:.1f} minutes, {n_events} events of "
          f"{len(writer.sounds.names)} classes")
    print(f"{100 * overlapped:.0f} % of active frames overlapped, {100 * moving:.0f} % of events moving")
    if n_made:
        print(f"{n_made} simulated in {seconds:.0f} s, {n_made * length_s / seconds:.0f} times faster than real time")
    print(f"next: {shlex.join(writer.next_command(root, data_words(writer.config)))}")


if __name__ == "__main__":
    sys.exit(main())
