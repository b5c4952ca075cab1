"""Does training on realistic rooms and sensors help on measured rooms? Trainings that differ in the training set alone.

Each variant is a simulated dataset: ``perfect``, ``realistic`` (all of --realistic), and the perfect one with a single
ingredient (``only_<ingredient>``) or the realistic one without it (``without_<ingredient>``). Each is trained from
several seeds for as long as the demo, and tested on recordings through measured responses (--responses) and on the test
fold of the perfect dataset. What is there already is not made again, so a study that was stopped continues. Reported
are LE and F20: mean and range over the seeds.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.studies import run, scored, trained, words_of
from doatools.simulate.realism import REALISTIC
from doatools.spatial.arrays import find_array

INGREDIENTS = {
    "rt60": ("sim_rt60_s",), "noise": ("sim_snr_db", "sim_directional_noise"), "elevation": ("sim_elevation_deg",),
    "places": ("sim_room_m", "sim_offset", "sim_distance_m", "sim_margin_m"), "surfaces": ("sim_surface_contrast",),
    "decay": ("sim_decay_tilt",), "directivity": ("sim_directivity",), "mismatch": ("sim_gain_db", "sim_phase_deg"),
    "capsules": ("sim_encoder_mm", "sim_encoder_corrected", "sim_position_mm"), "dipoles": ("sim_dipole_db",),
    "stand": ("sim_stand_deg",), "recorder": ("sim_self_noise", "sim_dc", "sim_clipping_db", "sim_low_cut_hz"),
}
VARIANTS = ("perfect", "realistic", *(f"{how}_{name}" for how in ("only", "without") for name in INGREDIENTS))
TASK, TRAINING = "22", ("quick_test=False", "nb_epochs=50")
FIGURES = ("LE", "F20")


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 benchmarks/sensor_study.py --responses ~/responses/hall ~/responses/church\n"
               "         python3 benchmarks/sensor_study.py --responses ~/responses/hall --variants perfect only_decay "
               "only_surfaces")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="parameters of features and trainings, task "
                        f"{TASK} (default: {' '.join(TRAINING)})")
    parser.add_argument("--responses", nargs="+", default=[], metavar="FOLDER",
                        help="measured responses to test on, each folder by itself (see simulate_dataset.py)")
    parser.add_argument("--foa-order", choices=("acn", "fuma"), default="acn", help="of these responses")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["perfect", "realistic"], metavar="NAME",
                        help=f"training sets: {', '.join(VARIANTS[:2])}, only_ or without_ one of "
                             f"{', '.join(INGREDIENTS)} (default: perfect realistic)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings per variant (default 3)")
    parser.add_argument("--array", default="foa", help="array of the trainings (default foa)")
    parser.add_argument("--per-fold", type=int, default=8, metavar="N", help="recordings per fold (default 8)")
    parser.add_argument("--test", type=int, default=40, metavar="N",
                        help="recordings of 30 s per measured folder (default 40)")
    parser.add_argument("--work", type=Path, default=Path("studies/sensors"), metavar="FOLDER",
                        help="datasets and results (default studies/sensors)")
    return parser


def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    find_array(args.array)
    tests = {"perfect": simulated(args, "perfect")} | {
        Path(folder).name: measured(args, folder) for folder in args.responses}
    scores = {}
    for variant in args.variants:
        dataset = simulated(args, variant)
        for seed in range(args.seeds):
            job = f"{variant}_{args.array.replace('/', '_')}_{seed}"
            checkpoint = trained(TASK, job, args.work / "results", f"dataset_dir={dataset}", f"array={args.array}",
                                 f"seed={seed + 1}", *TRAINING, *args.overrides)
            for name, test in tests.items():
                out = args.work / "scores" / f"{variant}_{seed}_{name}"
                scores.setdefault((variant, name), []).append(scored(out, checkpoint, f"dataset_dir={test}"))
    print("\n".join(table(scores, args.variants, tests)))
    return 0


def settings_of(variant):
    """Simulation parameters of a variant."""
    if variant == "perfect":
        return {}
    if variant == "realistic":
        return dict(REALISTIC)
    how, _, name = variant.partition("_")
    names = INGREDIENTS[name]
    return {key: value for key, value in REALISTIC.items() if (key in names) == (how == "only")}


def simulated(args, variant):
    """The dataset of a variant, with features."""
    folder = args.work / "data" / variant
    array = [] if args.array in ("foa", "mic") else [f"array={args.array}"]
    run("simulate_dataset.py", f"dataset_dir={folder}", f"sim_recordings_per_fold={args.per_fold}", *array,
        *words_of(settings_of(variant)))
    run("batch_feature_extraction.py", TASK, f"dataset_dir={folder}", f"array={args.array}", *args.overrides)
    return folder


def measured(args, responses):
    """The test set of a folder of responses, with features."""
    folder = args.work / "data" / f"measured_{Path(responses).name}"
    run("simulate_dataset.py", f"dataset_dir={folder}", f"array={args.array}", "--responses", responses, "--fold", "1",
        "--foa-order", args.foa_order, f"sim_recordings_per_fold={args.test}", "sim_recording_len_s=30")
    run("batch_feature_extraction.py", TASK, f"dataset_dir={folder}", f"array={args.array}", *args.overrides)
    return folder


def table(scores, variants, tests):
    """Lines of Markdown: per variant LE and F20 on each test set, mean (smallest to largest over the seeds)."""
    head = ["training set", *(f"{name}: {figure}" for name in tests for figure in FIGURES)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for variant in variants:
        cells = [variant]
        for name in tests:
            for figure in FIGURES:
                values = np.array([one[figure] for one in scores[variant, name]], float)
                cells.append(f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
