"""Simulate a dataset of spatial sound events in the layout of TAU-NIGENS (DCASE) 2020.

Writes foa_dev/ and mic_dev/ (the same scenes, 4 channels, 16 bit) and metadata_dev/ (frame of 100 ms, class,
track, azimuth, elevation) in six folds that share neither rooms nor sounds. The same command writes the same
bytes, whatever the number of jobs; a command that was stopped goes on where it was when started again.
"""

import argparse
import functools
import json
import shlex
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import soundfile
from tqdm import tqdm

from cls_feature_class import data_words
from doanet_parameters import add_override_argument, get_params, parse_overrides
from doatools import scenes
from doatools.annotations import is_mixture, write_dcase
from doatools.errors import UserError, exits_cleanly
from doatools.files import in_memory, replacing, write_json
from doatools.sounds import FolderSounds, GeneratedSounds

FOLDS = 6
FOLDERS = {"foa_dev": ".wav", "mic_dev": ".wav", "metadata_dev": ".csv"}
MANIFEST = "simulation.json"
SETTINGS = ("seed", "fs", "label_hop_len_s", "max_sources", "sim_recordings_per_fold", "sim_recording_len_s",
            "sim_rt60_s", "sim_snr_db", "sim_elevation_deg", "sim_moving", "sim_rooms_per_fold")
VERSION = 1  # of the simulation: raised when the same settings give other bytes


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 simulate_dataset.py dataset_dir=datasets/large sim_recordings_per_fold=50\n"
               "         python3 simulate_dataset.py dataset_dir=datasets/mine --sounds ~/sounds\n"
               f"parameters that matter here: dataset_dir, {', '.join(SETTINGS)}")
    add_override_argument(parser)
    parser.add_argument("--sounds", metavar="DIR",
                        help="use the WAV, FLAC and OGG files under DIR (classes are its sub-folders) in "
                             "place of the built-in generated sounds")
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    parser.add_argument("--overwrite", action="store_true",
                        help="replace a dataset that was simulated with other settings")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    params = get_params(**parse_overrides(args.overrides))
    scenes.check_settings(params)
    sounds = _open_sounds(args.sounds, params)
    root = Path(params["dataset_dir"])
    _prepare(root, _manifest(params, sounds), args.overwrite)
    per_fold = params["sim_recordings_per_fold"]
    todo = [(fold, index) for fold in range(1, FOLDS + 1) for index in range(per_fold)
            if not all(path.exists() for path in recording_paths(root, params, fold, index))]
    start = time.perf_counter()
    jobs = joblib.Parallel(n_jobs=args.jobs or -1, return_as="generator_unordered")(
        joblib.delayed(simulate_recording)(root, params, sounds, fold, index) for fold, index in todo)
    for _ in tqdm(jobs, total=len(todo), unit="recording", desc="simulating"):
        pass
    _summarize(root, params, sounds, len(todo), time.perf_counter() - start)
    return 0


def recording_paths(root, params, fold, index):
    """Paths of a recording's FOA and MIC audio and of its labels; mixes are counted within a room."""
    rooms, number = params["sim_rooms_per_fold"], scenes.room_number(params, index)
    mix = index // (2 * rooms) * 2 + index % 2 + 1
    stem = (f"fold{fold}_room{(fold - 1) * rooms + number + 1}_mix{mix:03d}"
            f"_ov{scenes.n_tracks(params, index)}")
    return [root / folder / (stem + suffix) for folder, suffix in FOLDERS.items()]


def simulate_recording(root, params, sounds, fold, index):
    """Compose, render and write one recording; the labels come last, as a mark that all is there."""
    scene = scenes.compose(params, fold, index, sounds.classes(fold))
    signals = scenes.render(scene, sounds, scenes.tau_renderer(params["fs"]))
    foa, mic, labels = recording_paths(root, params, fold, index)
    for path, channels in ((foa, signals[:4]), (mic, signals[4:])):
        wav = in_memory(functools.partial(
            soundfile.write, data=channels.T, samplerate=params["fs"], format="WAV", subtype="PCM_16"))
        with replacing(path) as temporary:
            temporary.write_bytes(wav)
    write_dcase(labels, scene.labels(params["label_hop_len_s"]))


def _open_sounds(directory, params):
    if directory is None:
        return GeneratedSounds(params["seed"], params["fs"])
    sounds = FolderSounds(directory, params["seed"], params["fs"], FOLDS)
    if sounds.skipped:
        names = ", ".join(path.name for path in sounds.skipped[:5]) + ", ..." * (len(sounds.skipped) > 5)
        print(f"left out {len(sounds.skipped)} sounds that are silent, too short or cannot be read: {names}",
              file=sys.stderr)
    return sounds


def _manifest(params, sounds):
    return {"format": "dcase2020", "version": VERSION, "sounds": sounds.digest, "classes": list(sounds.names),
            **{key: params[key] for key in SETTINGS}}


def _prepare(root, manifest, overwrite):
    """Refuse a folder that holds something else, clear what is to be overwritten, and note the settings."""
    note = root / MANIFEST
    recordings = [path for folder in FOLDERS for path in root.glob(f"{folder}/fold*_room*_mix*_ov*.*")]
    if not note.exists():
        if recordings:
            raise UserError(f"{root} holds recordings that simulate_dataset.py did not write; pick another "
                            "dataset_dir")
    elif json.loads(note.read_text(encoding="utf-8")) != manifest:
        if not overwrite:
            raise UserError(f"{root} was simulated with other settings ({note.name} there); pick another "
                            "dataset_dir=..., or pass --overwrite to replace it")
        mixtures = [path for folder, suffix in FOLDERS.items() for path in root.glob(f"{folder}/*{suffix}")
                    if is_mixture(path.stem)]  # by augment_files.py, of the recordings that go
        for path in recordings + mixtures:
            path.unlink()
    for folder in FOLDERS:
        for partial in root.glob(f"{folder}/.fold*.partial-*"):  # of a run that was killed
            partial.unlink()
    write_json(note, manifest)


def _summarize(root, params, sounds, n_made, seconds):
    events = moving = active = overlapped = 0
    for fold in range(1, FOLDS + 1):
        for index in range(params["sim_recordings_per_fold"]):
            scene = scenes.compose(params, fold, index, sounds.classes(fold))
            events += len(scene.events)
            moving += sum(event.trajectory.moving for event in scene.events)
            counts = np.bincount(scene.labels(params["label_hop_len_s"])["frame"])
            active, overlapped = active + np.sum(counts > 0), overlapped + np.sum(counts > 1)
    n_all, minutes = FOLDS * params["sim_recordings_per_fold"], params["sim_recording_len_s"] / 60
    print(f"{root}: {n_all} recordings, {n_all * minutes:.1f} minutes, {events} events of "
          f"{len(sounds.names)} classes")
    print(f"{100 * overlapped / max(1, active):.0f} % of active frames overlapped, "
          f"{100 * moving / max(1, events):.0f} % of events moving")
    if n_made:
        print(f"{n_made} made in {seconds:.0f} s, {n_made * minutes * 60 / seconds:.0f} times real time")
    print(f"next: {shlex.join(['python3', 'batch_feature_extraction.py', *data_words(params)])}")


if __name__ == "__main__":
    sys.exit(main())
