"""Verdicts of check_dataset.py on healthy sets and on sets with planted rotations, tilts and mirrored axes.

Healthy sets differ in seed, array, rooms and sensors; with --responses also through measured responses (one source, two
sources, and realistic faults of channels). In the first healthy FOA set of simulated rooms, and of each folder of
responses, the array is then rotated by 25°, tilted by 5° about either axis, and mirrored. Prints a table in Markdown:
what was reported, and by how many degrees the correction differs from what was planted.
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import check_dataset  # noqa: E402
import simulate_dataset  # noqa: E402
from doanet_parameters import get_params  # noqa: E402
from doatools.check import checks  # noqa: E402
from doatools.check.orientation import MIRRORS  # noqa: E402
from doatools.simulate.realism import REALISTIC  # noqa: E402
from doatools.simulate.sensors import rotation  # noqa: E402

LENGTH = ["sim_recordings_per_fold=2", "sim_recording_len_s=20"]
WEAK = {"sim_snr_db": [6, 30], "sim_rt60_s": [0.8, 1.5]}
UNCLIPPED = REALISTIC | {"sim_clipping_db": 0.0}  # clipping is a fault that check_dataset.py names
HEALTHY = {
    "perfect": ("both", {}),
    "perfect, one source": ("both", {"seed": 2, "max_sources": 1}),
    "perfect, three sources": ("both", {"seed": 3, "max_sources": 3}),
    "perfect, all moving": ("both", {"seed": 4, "sim_moving": 1.0}),
    "perfect, RT60 0.8 to 1.5 s": ("both", {"seed": 5, **WEAK}),
    "realistic": ("both", {"seed": 6, **UNCLIPPED}),
    "realistic, three sources": ("both", {"seed": 7, **UNCLIPPED, "max_sources": 3}),
    "ring of six": ("arrays/respeaker_6mic.yaml", {"seed": 8}),
}
THROUGH = {"one source": {"max_sources": 1}, "two sources": {"seed": 9},
           "faulty channels": {"seed": 10, "sim_gain_db": 1.0, "sim_phase_deg": 5.0, "sim_dc": 0.002,
                               "sim_self_noise": 0.01, "sim_low_cut_hz": 80.0}}
PLANTED = {"rotated by 25°": rotation(25, 0, 0), "tilted by 5° about y": rotation(0, 5, 0),
           "tilted by 5° about x": rotation(0, 0, 5)}
PLANTED |= {f"{name} exchanged": matrix for name, matrix in MIRRORS.items()}


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", nargs="+", default=[], metavar="FOLDER",
                        help="measured ambisonic responses (see simulate_dataset.py)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    print("| set | array | reported |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, root, arrays, spoil in sets(Path(folder), args):
            for array in arrays:
                verdict(name, root, array, args.jobs)
            if spoil:
                for fault, matrix in PLANTED.items():
                    spoiled = planted(root, matrix, Path(folder, "planted"))
                    verdict(f"{name}: {fault}", spoiled, "foa", args.jobs, matrix)
    return 0


def sets(folder, args):
    """Yield (name, folder, arrays, whether faults are planted) of healthy datasets; one is there at a time."""
    for name, (array, settings) in HEALTHY.items():
        root = simulated(folder, settings | ({} if array == "both" else {"array": array}), args)
        yield name, root, ("foa", "mic") if array == "both" else (array,), name == "perfect"
    for responses in args.responses:
        for kind, settings in THROUGH.items():
            root = simulated(folder, settings | {"sim_recordings_per_fold": 10}, args, "--responses", responses,
                             "--fold", "1")
            yield f"{Path(responses).name}, {kind}", root, ("foa",), kind == "one source"


def simulated(folder, settings, args, *words):
    root = folder / "healthy"
    shutil.rmtree(root, ignore_errors=True)
    given = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if simulate_dataset.main([f"dataset_dir={root}", *LENGTH, *given, "--jobs", str(args.jobs), *words]):
            raise SystemExit(f"could not simulate {settings} {words}")
    return root


def planted(healthy, matrix, root):
    """A copy of a FOA set whose array stands as ``matrix`` (3, 3) says."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(healthy / "metadata_dev", root / "metadata_dev")
    shutil.copytree(healthy / "foa_dev", root / "foa_dev")
    for path in root.glob("foa_dev/*.wav"):
        audio, fs = soundfile.read(path)
        audio[:, [3, 1, 2]] = audio[:, [3, 1, 2]] @ matrix.T
        soundfile.write(path, audio, fs, subtype="PCM_24")
    return root


def verdict(name, root, array, jobs, matrix=None):
    """Print the row of a set."""
    config = get_params(dataset_dir=str(root), max_sources=3)
    with contextlib.redirect_stderr(io.StringIO()):
        report = checks.check(config.data, config.features.fs, check_dataset.find_arrays(root, array), jobs)
    told = "; ".join(f"{finding.file} {finding.text}".strip()[:110] for finding in report.findings) or "healthy"
    for standing in report.orientations.values():
        told += f" (yaw {standing.yaw:.1f}°, tilt {standing.tilt:.1f}° ± {standing.certainty:.1f}°"
        if matrix is not None:
            rest = standing.matrix @ matrix
            off = np.rad2deg(np.arccos(np.clip((np.trace(rest) - 1) / 2, -1, 1)))
            told += f", correction {off:.1f}° off" if np.linalg.det(rest) > 0 else ", mirror missed"
        told += ")"
    print(f"| {name} | {Path(array).stem} | {told} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
