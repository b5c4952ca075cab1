"""Choose the counting rules of the classical baselines (``rule`` in doatools/track/baselines.py) on the validation
fold.

Prints the rule of the highest F20 of each: ``python3 benchmarks/tune_baselines.py dataset_dir=datasets/recorded``
"""

import argparse
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from doanet_parameters import add_override_argument, get_params, parse_overrides
from doatools.errors import exits_cleanly
from doatools.registry import BASELINES

ARRAYS = ("foa", "mic")  # a baseline is tuned on the first of these that it reads
LEVELS_DB = [0.5 * step for step in range(13)]  # 0 to 6
HEIGHTS = [round(0.05 * step, 2) for step in range(6, 20)]  # 0.3 to 0.95


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="example: python3 benchmarks/tune_baselines.py dataset_dir=datasets/mine")
    return add_override_argument(parser)


@exits_cleanly
def main(argv=None):
    overrides = parse_overrides(build_parser().parse_args(argv).overrides)
    import numpy as np

    from doatools.track.baselines import Rule
    rules = [Rule(level, height) for level, height in itertools.product(LEVELS_DB, HEIGHTS)]
    for name in BASELINES:
        found = candidates_of(name, overrides)
        scores = [f20(found, rule) for rule in rules]
        best = int(np.argmax(scores))
        print(f"{name}: {rules[best]}   F20 {scores[best]:.1f}% (all rules: {min(scores):.1f} to {max(scores):.1f}%)",
              flush=True)
    return 0


def candidates_of(name, overrides):
    """(Candidates, directions and identities of the references) of each recording of the validation fold."""
    from tqdm import tqdm

    from cls_feature_class import FeatureFiles
    from doatools.data.readers import recordings_for
    configs = [get_params(**{**overrides, "array": array}) for array in ARRAYS]
    config = next(config for config in configs if BASELINES[name].reads(config.array))
    baseline = BASELINES[name](config.array, config.features.fs, config.score_hop_s)
    files = FeatureFiles(config)
    return [prepare(baseline, files, recording)
            for recording in tqdm(recordings_for(config, "val"), desc=name, unit="recording", leave=False)]


def prepare(baseline, files, recording):
    """The same of one recording, all with the same number of frames."""
    from doatools.data.slots import assign_slots, count_overlap
    audio = files.feature_class.read_audio(recording.audio)
    audio = audio[: files.samples_used(len(audio))]
    rows = files.read_labels(recording, len(audio))
    found = baseline.candidates(audio, files.config.data.max_sources)
    return found, *assign_slots(rows, len(found.doa), max(1, count_overlap(rows)))


def f20(found, rule):
    from cls_metric import FrameScores
    scores = FrameScores()
    for candidates, ref_doa, ref_id in found:
        scores.update(candidates.doa, candidates.active(rule), ref_doa, ref_id)
    return scores.compute()["F20"]


if __name__ == "__main__":
    sys.exit(main())
