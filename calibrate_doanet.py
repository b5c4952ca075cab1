"""Calibrate the activity and the error radius of a trained network on its validation recordings.

Activity probabilities are rescaled so that a threshold of 0.5 gives the best F20. The error radius is scaled so that
the true direction is within it in 90 % of the correct predictions. The predictions are made as in localize.py, with
test-time rotation if the network was trained with rotations. Both corrections become part of the weights, so exported
networks and streams have them, too.
"""

import argparse
import sys
from pathlib import Path

from doanet_parameters import get_params
from doatools.config.commandline import add_override_argument, add_threads_argument, set_threads, split_words
from doatools.errors import UserError, exits_cleanly

THRESHOLDS = tuple(percent / 100 for percent in range(20, 85, 5))


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s best.pt [key=value ...] [--out FILE]",
        epilog="example: python3 calibrate_doanet.py results/22_first/best.pt   -> results/22_first/calibrated.pt\n"
               "         python3 localize.py recording.wav --checkpoint results/22_first/calibrated.pt")
    add_override_argument(parser)
    parser.add_argument("--out", type=Path, help="checkpoint to write (default: calibrated.pt next to the checkpoint)")
    return add_threads_argument(parser, "the network")


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    set_threads(args.threads)
    path, overrides = find_checkpoint(args.overrides)
    from doatools.train import checkpoint
    from evaluation import by_localizer
    from localizer import Localizer
    content = checkpoint.load(path)
    localizer = Localizer.from_content(content, path, **overrides)
    if not hasattr(localizer.model, "calibrate") or not localizer.config.predicts_activity:
        raise UserError(f"{path}: model={localizer.config.model.model} has nothing to calibrate here; it takes "
                        "model=bearing or doanet_radius with an activity branch")
    results = by_localizer(localizer, "val")
    threshold = best_threshold(results)
    errors, radii = errors_and_radii([with_threshold(result, threshold) for result in results])
    factor = radius_factor(errors, radii)
    report(results, threshold, errors, radii, factor)
    localizer.model.calibrate(threshold, factor)
    out = args.out or path.with_name("calibrated.pt")
    calibration = {"threshold": threshold, "radius_factor": factor, "recordings": len(results)}
    checkpoint.save(out, {**content, "model": {name: value.contiguous() for name, value in
                                               localizer.model.state_dict().items()}, "calibration": calibration})
    print(f"\ncalibrated  {out}")
    return 0


def find_checkpoint(words):
    """(path, overrides) of the words of a command line; mistyped parameters are refused before anything is loaded."""
    (path, _), overrides = split_words(words, None, None)
    get_params(**overrides)
    if path is None:
        raise UserError("give a checkpoint of train_doanet.py, such as results/22_first/best.pt")
    return Path(path), overrides


def with_threshold(result, threshold):
    """A Result whose slots are active where their probability is above ``threshold``: its probabilities are changed so
    that this is 0.5."""
    from dataclasses import replace

    import numpy as np
    odds = result.probability / np.maximum(1 - result.probability, 1e-7) * (1 - threshold) / threshold
    return result.replaced(predictions=replace(result.predictions, probability=odds / (1 + odds)))


def best_threshold(results):
    """The one of THRESHOLDS whose F20 is best."""
    return max(THRESHOLDS, key=lambda threshold: f20([with_threshold(result, threshold) for result in results]))


def f20(results):
    from cls_metric import FrameScores, scored
    return scored(results, (FrameScores,))["F20"]


def errors_and_radii(results):
    """Angles (K,) between correct predictions and their references, and the radii of these predictions, in degrees."""
    import numpy as np

    from doatools.match.assignment import Scene
    from doatools.train.losses import CORRECT_DEG
    errors, radii = [np.zeros(0)], [np.zeros(0)]
    for result in results:
        _, angles = Scene(result.doa, result.active, result.ref_doa, result.ref_id).best
        correct = angles <= CORRECT_DEG
        errors.append(angles[correct])
        radii.append(result.predictions.others["radius"][correct])
    return np.concatenate(errors), np.concatenate(radii)


def radius_factor(errors, radii):
    """What radii must be multiplied by to hold RADIUS_QUANTILE of the errors."""
    import numpy as np

    from doatools.train.losses import CORRECT_DEG, RADIUS_QUANTILE
    if not len(errors):
        raise UserError(f"no prediction is within {CORRECT_DEG:g} degrees of its reference, so there is nothing to "
                        "calibrate by: train longer")
    return float(np.quantile(errors / radii, RADIUS_QUANTILE))


def report(results, threshold, errors, radii, factor):
    """Print what was found."""
    before, after = f20(results), f20([with_threshold(result, threshold) for result in results])
    print(f"{len(results)} validation recordings, {len(errors)} correct predictions")
    print(f"threshold   {threshold:g} becomes 0.5: F20 {before:.1f} % before, {after:.1f} % after")
    print(f"radius      times {factor:.2f}: holds {100 * (errors <= radii).mean():.1f} % before, "
          f"{100 * (errors <= factor * radii).mean():.1f} % after; mean {factor * radii.mean():.1f} degrees")


if __name__ == "__main__":
    sys.exit(main())
