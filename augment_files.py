"""Mix pairs of training recordings into recordings with more simultaneous sources, for tasks that train on mixtures.

A mixture is half the sum of two recordings of the same fold (or split) and room, with the events of both. Two
recordings are mixed if their numbers of simultaneous sources add up to at most max_sources (for the default of two:
pairs of single-source recordings). Each room gets up to four mixtures per such recording, and all recordings are used
equally often. Mixtures are written to mixtures/<array>/ in dataset_dir. All arrays of a dataset get the same pairs.
Mixtures of other pairs from earlier runs are removed.
"""

import argparse
import itertools
import shlex
import sys
from collections import defaultdict
from pathlib import Path

from doanet_parameters import add_override_argument, get_params, split_words
from doatools.errors import UserError, exits_cleanly
from doatools.files import in_memory, replacing
from doatools.registry import READERS

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
    arrays = find_arrays(config, "array" in overrides or "dataset" in overrides)
    from cls_feature_class import FeatureFiles, data_words
    files = {array.name: FeatureFiles(config.replaced(array=array.name if array != config.array else config.data.array))
             for array in arrays}
    recordings = training_recordings(files, config)
    mixtures = plan_mixtures(recordings[arrays[0].name], files[arrays[0].name], config)
    n_removed = sum(remove_others(own, mixtures) for own in files.values())
    todo = {name: pair for name, pair in mixtures.items()
            if not all(_is_made(files[array], name, [found[stem] for stem in pair])
                       for array, found in recordings.items())}
    _make(files, recordings, todo)
    folder = Path(config.data.dataset_dir, "mixtures")
    print(f"{len(todo)} mixtures made, {len(mixtures) - len(todo)} were up to date: "
          f"{', '.join(f'{folder / array.name}' for array in arrays)}")
    if n_removed:
        print(f"{n_removed} former mixtures, of other pairs or recordings, were removed")
    first = files[arrays[0].name].config if config.array not in arrays else config
    print(f"next: {shlex.join(['python3', 'batch_feature_extraction.py', TASK, *data_words(first)])}")
    return 0


def find_arrays(config, given):
    """The Arrays to mix: that of the Config if it was ``given``, else all known ones with recordings."""
    from doatools.spatial.arrays import find_array, known_arrays
    if config.array.drawn:
        raise UserError(f"array={config.data.array} stands for many arrays, one per recording; only recordings of one "
                        "array can be mixed (mix_augment mixes each of them with itself)")
    if given:
        return [config.array]
    usual = getattr(READERS[config.data.format], "usual_array", None)  # where no folder is named after the array
    if usual:
        return [find_array(usual)]
    root = Path(config.data.dataset_dir)
    found = [find_array(name) for name in known_arrays() if (root / f"{name}_dev").is_dir()]
    return [array for array in found if not array.drawn] or [config.array]


def training_recordings(files, config):
    """{name of an array: {stem: Recording}}, the same stems for all arrays."""
    recordings = {}
    for array, own in files.items():
        found = own.reader.select(own.reader.find(), "train")
        if not found:
            from doatools.data.readers import no_role
            raise UserError(no_role(config, own.reader, "train"))
        recordings[array] = {recording.stem: recording for recording in found}
    for (one, held), (other, others) in itertools.combinations(recordings.items(), 2):
        if held.keys() != others.keys():
            raise UserError(f"{config.data.dataset_dir}: the training recordings of {one} and {other} differ (such as "
                            f"{min(held.keys() ^ others.keys())}); the same pairs are mixed for both: add what is "
                            f"missing, or give array={one}")
    return recordings


def plan_mixtures(recordings, files, config):
    """{stem: Recording} of training recordings → {name of a mixture: (stem, stem)}."""
    import numpy as np

    from doatools.data.mixtures import name_of
    most, root = config.data.max_sources, config.data.dataset_dir
    places = defaultdict(list)  # {(split, room): [(stem, sources), ...]}
    for stem, recording in sorted(recordings.items()):
        sources = max(recording.overlap or 0, _count_sources(recording, files))
        if 1 <= sources < most:
            places[recording.split, recording.room or ""].append((stem, sources))
    rng, mixtures = np.random.default_rng(config.run.seed), {}
    for _, group in sorted(places.items()):
        for i, j in draw_pairs(len(group), rng):
            (one, sources), (other, more) = group[i], group[j]
            if sources + more <= most:
                mixtures[name_of(one, other)] = one, other
    if not mixtures:
        raise UserError(f"{root}: no two training recordings of one room have together at most max_sources={most} "
                        "sources at once, so there is nothing to mix (rooms are those of the names, such as "
                        "fold3_room1_mix001_ov1.wav, or of the column room in splits.csv)")
    return mixtures


def _count_sources(recording, files):
    from doatools.data.slots import count_overlap
    return count_overlap(files.read_labels(recording))


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


def remove_others(files, mixtures):
    """Remove the mixtures of an array whose names are not in ``mixtures`` → how many there were."""
    from doatools.data.mixtures import folder_of, mixture_stems
    data = files.config.data
    others = mixture_stems(data.dataset_dir, files.config.array) - mixtures.keys()
    for stem in others:
        for suffix in (".wav", ".csv"):
            (folder_of(data.dataset_dir, files.config.array) / f"{stem}{suffix}").unlink(missing_ok=True)
    return len(others)


def _paths(files, name):
    from doatools.data.mixtures import folder_of
    folder = folder_of(files.config.data.dataset_dir, files.config.array)
    return folder / f"{name}.wav", folder / f"{name}.csv"


def _make(files, recordings, mixtures):
    """Write the mixtures of each array."""
    from tqdm import tqdm
    for name, pair in tqdm(mixtures.items(), desc="mixtures", unit="file", leave=False):
        for array, own in files.items():
            _write(own, [recordings[array][stem] for stem in pair], *_paths(own, name))


def _write(files, pair, audio_path, csv_path):
    """Write the mixture of a pair of Recordings, its CSV last."""
    import soundfile

    from doatools.data.mixtures import mix_audio, mix_pieces, write_pieces
    made = files.feature_class
    audio = [made.read_audio(recording) for recording in pair]
    pieces = [files.reader.read(recording.annotation, len(own) / made.fs) for recording, own in zip(pair, audio)]
    subtype = soundfile.info(pair[0].audio).subtype
    wav = in_memory(lambda file: soundfile.write(file, mix_audio(*audio), made.fs, subtype, format="WAV"))
    csv_path.unlink(missing_ok=True)
    with replacing(audio_path) as temporary:
        temporary.write_bytes(wav)
    write_pieces(csv_path, mix_pieces(*pieces))


def _is_made(files, name, pair):
    """Whether the mixture exists and is newer than its sources."""
    made = _paths(files, name)
    sources = [path for recording in pair
               for path in (recording.audio, recording.annotation, *recording.more_annotations)]
    return all(path.exists() for path in made) and (
        min(path.stat().st_mtime_ns for path in made) >= max(path.stat().st_mtime_ns for path in sources))


if __name__ == "__main__":
    sys.exit(main())
