"""Choose the counting rules of the classical yardsticks (RULES in doatools/track/baselines.py) on the validation fold.

The rule of the highest F20 is printed for each: ``python3 benchmarks/tune_yardsticks.py dataset_dir=datasets/recorded``
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cls_feature_class import FeatureClass
from cls_metric import FrameScores
from doanet_parameters import add_override_argument, get_params, parse_overrides
from doatools.data.dcase import find_recordings, select
from doatools.data.slots import assign_slots, count_overlap
from doatools.errors import exits_cleanly
from doatools.track import baselines as yardsticks

LEVELS_DB = np.arange(0.0, 6.1, 0.5)
HEIGHTS = np.round(np.arange(0.3, 1.0, 0.05), 2)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="example: python3 benchmarks/tune_yardsticks.py dataset_dir=datasets/mine")
    return add_override_argument(parser)


@exits_cleanly
def main(argv=None):
    overrides = parse_overrides(build_parser().parse_args(argv).overrides)
    for kind, dataset in yardsticks.DATASETS.items():
        params = get_params("1", **overrides | {"dataset": dataset})
        found = [prepare(kind, params, recording) for recording in tqdm(
            select(find_recordings(params["dataset_dir"], dataset, params["mode"]), "val", params["mode"]),
            desc=kind, unit="recording", leave=False)]
        rules = [yardsticks.Rule(*map(float, pair)) for pair in itertools.product(LEVELS_DB, HEIGHTS)]
        scores = [f20(found, rule) for rule in rules]
        best = int(np.argmax(scores))
        print(f'"{kind}": {rules[best]}   F20 {scores[best]:.1f}% (all rules: {min(scores):.1f} to {max(scores):.1f}%)',
              flush=True)
    return 0


def prepare(kind, params, recording):
    """(Candidates, references, their identities) of a recording, all of the same frames."""
    features = FeatureClass(params)
    rows = features.labels(recording)
    audio = features.read_audio(recording.audio, features.max_samples)
    found = yardsticks.candidates(kind, audio, params["fs"], params["label_hop_len_s"], params["max_sources"])
    return found, *assign_slots(rows, len(found.doa), max(1, count_overlap(rows)))


def f20(found, rule):
    scores = FrameScores()
    for candidates, ref_doa, ref_id in found:
        scores.update(candidates.doa, candidates.active(rule), ref_doa, ref_id)
    return scores.compute()["F20"]


if __name__ == "__main__":
    sys.exit(main())
