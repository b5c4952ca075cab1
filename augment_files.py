"""Mix pairs of single-source training recordings into recordings with two sources.

A mixture is half the sum of two recordings from the same fold and room, with the lines of both annotations (the track
ids of the second one are raised above those of the first one). For example, fold3_room1_mix001_ov1 and
fold3_room1_mix007_ov1 give fold3_room1_aug001007_ov1. Each room gets up to four times as many mixtures as it has
single-source recordings, and each recording is used equally often. All arrays of the dataset get the same mixtures
(foa_dev, mic_dev, ...). Mixtures from earlier runs that are not among these are removed.
"""

import argparse
import itertools
import re
import shlex
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from doanet_parameters import add_override_argument, get_params, split_words
from doatools.data.dcase import find_recordings, is_mixture, read_dcase, select, write_dcase
from doatools.data.slots import count_overlap
from doatools.errors import UserError, exits_cleanly
from doatools.files import in_memory, list_files, replacing
from doatools.spatial.arrays import find_array, known_arrays

SINGLE_NAME = re.compile(r"(?P<place>fold\d+_room[^_]+)_mix(?P<number>\d+)_ov1")
MIXTURES_PER_RECORDING = 4
TASK = "5"  # a task that trains on mixtures, for the next command


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
    root = Path(config.data.dataset_dir)
    arrays = find_arrays(root, config, "array" in overrides or "dataset" in overrides)
    recordings = training_recordings(root, arrays)
    mixtures = plan_mixtures(recordings[arrays[0].name], config.run.seed, root)
    n_removed = remove_others(root, arrays, mixtures)
    todo = {name: pair for name, pair in mixtures.items() if not _is_made(root, recordings, name, pair)}
    _make(root, arrays, recordings, todo, config.features.fs)
    print(f"{len(todo)} mixtures made, {len(mixtures) - len(todo)} were up to date: "
          f"{', '.join(f'{array.name}_dev' for array in arrays)} and metadata_dev in {root}/")
    if n_removed:
        print(f"{n_removed} former mixtures, of other pairs or recordings, were removed")
    from cls_feature_class import data_words
    if config.array not in arrays:
        config = config.replaced(array=arrays[0].name)
    print(f"next: {shlex.join(['python3', 'batch_feature_extraction.py', TASK, *data_words(config)])}")
    return 0


def find_arrays(root, config, given):
    """The Arrays to mix: that of the Config if it was ``given``, else all known ones with recordings in ``root``."""
    if given:
        return [config.array]
    return [find_array(name) for name in known_arrays() if (root / f"{name}_dev").is_dir()] or [config.array]


def training_recordings(root, arrays):
    """{name of an array: {stem: Recording}}, the same stems for all arrays."""
    if (root / "splits.csv").exists():
        raise UserError(f"{root} has a splits.csv; mixing needs the rooms and numbers of sources from names such as "
                        "fold3_room1_mix001_ov1.wav")
    recordings = {array.name: {recording.stem: recording for recording in select(find_recordings(root, array.name),
                                                                                 "train")} for array in arrays}
    for (one, held), (other, others) in itertools.combinations(recordings.items(), 2):
        if held.keys() != others.keys():
            raise UserError(f"{root}: {one}_dev and {other}_dev hold different training recordings (such as "
                            f"{min(held.keys() ^ others.keys())}); the same pairs are mixed in both")
    return recordings


def plan_mixtures(stems, seed, root):
    """Stems of training recordings → {name of a mixture: (stem, stem)}."""
    places = defaultdict(list)  # {'fold3_room1': [(stem, number), ...]}
    for stem in sorted(stems):
        if match := SINGLE_NAME.fullmatch(stem):
            places[match["place"]].append((stem, match["number"]))
    rng, mixtures = np.random.default_rng(seed), {}
    for place, group in sorted(places.items()):
        for i, j in draw_pairs(len(group), rng):
            (one, number), (other, other_number) = group[i], group[j]
            mixtures[f"{place}_aug{number}{other_number}_ov1"] = one, other
    if not mixtures:
        raise UserError(f"{root}: no two single-source training recordings in one room, by names such as "
                        "fold3_room1_mix001_ov1.wav")
    return mixtures


def draw_pairs(count, rng):
    """Up to four pairs (i, j), i < j, for each of ``count`` items; each item is in equally many pairs.

    In a shuffled circle, each item is paired with the next four: no pair occurs twice, and no item is paired with
    itself. Up to nine items have no more pairs than that, and all pairs are taken.
    """
    if count <= 2 * MIXTURES_PER_RECORDING + 1:
        return list(itertools.combinations(range(count), 2))
    circle = rng.permutation(count)
    return sorted(tuple(sorted((int(circle[i]), int(circle[(i + step) % count]))))
                  for step in range(1, MIXTURES_PER_RECORDING + 1) for i in range(count))


def remove_others(root, arrays, mixtures):
    """Remove the mixtures whose names are not in ``mixtures`` → how many there were."""
    found = [list_files(root / "metadata_dev", ".csv"), *(list_files(root / f"{array.name}_dev", ".wav")
                                                          for array in arrays)]
    others = set()
    for stem, path in itertools.chain.from_iterable(files.items() for files in found):
        if is_mixture(stem) and stem not in mixtures:
            path.unlink()
            others.add(stem)
    return len(others)


def _make(root, arrays, recordings, mixtures, fs):
    """Write mixtures: the annotation, then the audio of each array."""
    from tqdm import tqdm
    for name, pair in tqdm(mixtures.items(), desc="mixtures", unit="file", leave=False):
        annotations = [recordings[arrays[0].name][stem].annotation for stem in pair]
        rows = mix_annotations(*map(read_dcase, annotations))
        if count_overlap(rows) > 2:
            raise UserError(f"{annotations[0]} or {annotations[1]} is named single-source (ov1), but has more than one "
                            "source at once; rename it")
        write_dcase(root / "metadata_dev" / f"{name}.csv", rows)
        for array in arrays:
            mix_audio([recordings[array.name][stem].audio for stem in pair], root / f"{array.name}_dev" / f"{name}.wav",
                      fs, array.channels)


def mix_audio(sources, path, fs, channels):
    """Write half the sum of two WAVs, as long as the longer one."""
    import soundfile

    from doatools.data.audiofiles import read_audio
    one, other = (read_audio(source, fs, channels) for source in sources)
    mixture = np.zeros((max(len(one), len(other)), channels), np.float32)
    mixture[: len(one)] += 0.5 * one
    mixture[: len(other)] += 0.5 * other
    subtype = soundfile.info(sources[0]).subtype
    wav = in_memory(lambda file: soundfile.write(file, mixture, fs, subtype, format="WAV"))
    with replacing(path) as temporary:
        temporary.write_bytes(wav)


def mix_annotations(one, other):
    """EVENT_ROWS of two recordings → of their mixture; track ids stay different."""
    other = other.copy()
    if len(one) and len(other):
        other["track"] += one["track"].max() + 1 - other["track"].min()
    rows = np.concatenate([one, other])
    return rows[np.argsort(rows["frame"], kind="stable")]


def _is_made(root, recordings, name, pair):
    """Whether the mixture exists for each array and is newer than its sources."""
    made, sources = [root / "metadata_dev" / f"{name}.csv"], []
    for array, found in recordings.items():
        made.append(root / f"{array}_dev" / f"{name}.wav")
        sources += [path for stem in pair for path in (found[stem].audio, found[stem].annotation)]
    return all(path.exists() for path in made) and (
        min(path.stat().st_mtime_ns for path in made) >= max(path.stat().st_mtime_ns for path in sources))


if __name__ == "__main__":
    sys.exit(main())
