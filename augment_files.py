"""Mix pairs of single-source training recordings into recordings of two sources.

Each mixture is half the sum of two recordings of one fold and room, both annotations joined (the track ids of
the second are raised above those of the first). From fold3_room1_mix001_ov1 and fold3_room1_mix007_ov1 comes
fold3_room1_aug001007_ov1, in foa_dev and mic_dev alike, up to four times as many as there are single-source
recordings in the room, each of which is used equally often. Former mixtures that are none of these (after a
change of seed or of recordings) are removed.
"""

import argparse
import itertools
import re
import shlex
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from cls_feature_class import data_words
from doanet_parameters import add_override_argument, get_params, split_words
from doatools.data.audiofiles import read_audio
from doatools.data.dcase import find_recordings, is_mixture, read_dcase, select, write_dcase
from doatools.data.slots import count_overlap
from doatools.errors import UserError, exits_cleanly
from doatools.files import in_memory, replacing
from doatools.spatial.arrays import known_arrays

SINGLE_NAME = re.compile(r"(?P<place>fold\d+_room[^_]+)_mix(?P<number>\d+)_ov1")
MIXTURES_PER_RECORDING = 4
TASK = "5"  # one that trains on mixtures, for the command to go on with


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 augment_files.py dataset_dir=datasets/simulated\n"
               "then:    python3 batch_feature_extraction.py 5 dataset_dir=datasets/simulated")
    return add_override_argument(parser)


@exits_cleanly
def main(argv=None):
    _, overrides = split_words(build_parser().parse_intermixed_args(argv).overrides)
    config = get_params(TASK, **overrides)
    dataset_dir = Path(config.data.dataset_dir)
    wanted = [config.array.name] if "array" in overrides else known_arrays()
    datasets = [name for name in wanted if (dataset_dir / f"{name}_dev").is_dir()] or [config.array.name]
    groups = single_source_recordings(dataset_dir, datasets)
    mixtures = plan_mixtures(groups, config.run.seed)
    n_removed = remove_others(dataset_dir, datasets, mixtures)
    todo = [(name, pair) for name, pair in mixtures.items()
            if not _is_made(dataset_dir, datasets, name, pair)]
    for name, pair in tqdm(todo, desc="mixtures", unit="file", leave=False):
        make_mixture(dataset_dir, datasets, name, pair, config.features.fs)
    print(f"{len(todo)} mixtures made, {len(mixtures) - len(todo)} were up to date: "
          f"{', '.join(f'{name}_dev' for name in datasets)} and metadata_dev in {dataset_dir}/")
    if n_removed:
        print(f"{n_removed} former mixtures, of other pairs or recordings, were removed")
    if config.array.name not in datasets:
        config = config.replaced(array=datasets[0])
    print(f"next: {shlex.join(['python3', 'batch_feature_extraction.py', TASK, *data_words(config)])}")
    return 0


def single_source_recordings(dataset_dir, datasets):
    """{'fold3_room1': [Recording], ...}: the training recordings of one source, by names such as TAU's."""
    if (dataset_dir / "splits.csv").exists():
        raise UserError(f"{dataset_dir} has a splits.csv; mixing works on rooms and numbers of sources that "
                        "names such as fold3_room1_mix001_ov1.wav tell")
    lists = {name: select(find_recordings(dataset_dir, name), "train") for name in datasets}
    stems = {name: {recording.stem for recording in found} for name, found in lists.items()}
    for one, other in itertools.combinations(datasets, 2):
        if stems[one] != stems[other]:
            raise UserError(f"{dataset_dir}: {one}_dev and {other}_dev hold different training "
                            f"recordings (such as {min(stems[one] ^ stems[other])}); the same pairs are "
                            "mixed in both")
    groups = defaultdict(list)
    for recording in lists[datasets[0]]:
        if match := SINGLE_NAME.fullmatch(recording.stem):
            groups[match["place"]].append(recording)
    if not any(len(group) > 1 for group in groups.values()):
        raise UserError(f"{dataset_dir}: no two single-source training recordings of one room, told by names "
                        "such as fold3_room1_mix001_ov1.wav")
    return groups


def plan_mixtures(groups, seed):
    """{place: [Recording]} → {name of the mixture: (Recording, Recording)}."""
    rng = np.random.default_rng(seed)
    mixtures = {}
    for place, group in sorted(groups.items()):
        numbers = {recording: SINGLE_NAME.fullmatch(recording.stem)["number"] for recording in group}
        for i, j in draw_pairs(len(group), rng):
            one, other = group[i], group[j]
            mixtures[f"{place}_aug{numbers[one]}{numbers[other]}_ov1"] = one, other
    return mixtures


def remove_others(dataset_dir, datasets, mixtures):
    """Remove the mixtures that are not among the names ``mixtures`` → how many they were."""
    folders = {"metadata_dev": ".csv"} | {f"{dataset}_dev": ".wav" for dataset in datasets}
    others = [path for folder, suffix in folders.items() for path in (dataset_dir / folder).glob(f"*{suffix}")
              if is_mixture(path.stem) and path.stem not in mixtures]
    for path in others:
        path.unlink()
    return len({path.stem for path in others})


def draw_pairs(count, rng):
    """Up to four pairs (i, j), i < j, for each of ``count`` things, each of which is in equally many pairs.

    In a shuffled circle everything is paired with its next four neighbours: no pair twice, none with itself.
    Up to nine things have no more pairs than that: all are taken.
    """
    if count <= 2 * MIXTURES_PER_RECORDING + 1:
        return list(itertools.combinations(range(count), 2))
    circle = rng.permutation(count)
    return sorted(tuple(sorted((int(circle[i]), int(circle[(i + step) % count]))))
                  for step in range(1, MIXTURES_PER_RECORDING + 1) for i in range(count))


def make_mixture(dataset_dir, datasets, name, pair, fs):
    """Write the joined annotation, then the audio of each array, as long as the longer of the pair."""
    rows = mix_annotations(*(read_dcase(recording.annotation) for recording in pair))
    if count_overlap(rows) > 2:
        raise UserError(f"{pair[0].annotation} or {pair[1].annotation} is named single-source (ov1), but has "
                        "more than one source at once; name them after what they hold")
    write_dcase(dataset_dir / "metadata_dev" / f"{name}.csv", rows)
    for dataset in datasets:
        sources = [_audio(dataset_dir, dataset, recording.stem) for recording in pair]
        one, other = (read_audio(source, fs, soundfile.info(source).channels) for source in sources)
        mixture = np.zeros((max(len(one), len(other)), one.shape[1]), np.float32)
        mixture[: len(one)] += 0.5 * one
        mixture[: len(other)] += 0.5 * other
        wav = in_memory(partial(
            soundfile.write, data=mixture, samplerate=fs, format="WAV", subtype=soundfile.info(sources[0]).subtype))
        with replacing(_audio(dataset_dir, dataset, name)) as temporary:
            temporary.write_bytes(wav)


def mix_annotations(one, other):
    """EVENT_ROWS of two recordings → of their mixture; track ids stay apart."""
    other = other.copy()
    if len(one) and len(other):
        other["track"] += one["track"].max() + 1 - other["track"].min()
    rows = np.concatenate([one, other])
    return rows[np.argsort(rows["frame"], kind="stable")]


def _is_made(dataset_dir, datasets, name, pair):
    """Whether the mixture is there in every array and newer than what it is made of."""
    made = [dataset_dir / "metadata_dev" / f"{name}.csv"]
    sources = [recording.annotation for recording in pair]
    for dataset in datasets:
        made.append(_audio(dataset_dir, dataset, name))
        sources += [_audio(dataset_dir, dataset, recording.stem) for recording in pair]
    return all(path.exists() for path in made) and (
        min(path.stat().st_mtime_ns for path in made) >= max(path.stat().st_mtime_ns for path in sources))


def _audio(dataset_dir, dataset, stem):
    """Of the first spelling of the suffix that is there: recorders write .WAV."""
    path = dataset_dir / f"{dataset}_dev" / f"{stem}.wav"
    return next((other for other in (path, path.with_suffix(".WAV")) if other.exists()), path)


if __name__ == "__main__":
    sys.exit(main())
