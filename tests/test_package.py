"""The installed package: made of the flat modules, it needs no PyTorch and takes no other names."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import setup

ROOT = Path(__file__).resolve().parent.parent
# What `pip install .` brings, by the names that are imported; of the environment of the tests, these are missing then.
TRAINING = ("torch", "lightning_fabric", "tensorboard", "sklearn", "pyroomacoustics", "pooch", "librosa", "numba",
            "dask", "aiohttp", "sounddevice", "onnx")
WITHOUT = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *others):
        return None if name.partition(".")[0] in {TRAINING!r} else self.finder.find_spec(name, *others)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package, as site-packages has it."""
    folder = tmp_path_factory.mktemp("site")
    for place, path in setup.sources().items():
        target = folder / "doanet" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(setup.packaged(path.read_text()).encode() if path.suffix == ".py" else path.read_bytes())
    return folder


def run(site, code, *words, folder=None):
    """Run code with the package alone, far from the clone → its output."""
    done = subprocess.run([sys.executable, "-c", WITHOUT + code, *map(str, words)], cwd=folder or site, text=True,
                          env={"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PATH": ""}, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(module):
    return f"import sys\nfrom doanet.{module} import main\nsys.argv[0] = 'doanet'\nsys.exit(main())"


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Noise from the left: 3 s."""
    path = tmp_path_factory.mktemp("sound") / "left.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal((72000, 1))
    soundfile.write(path, noise * [1, 1, 0, 0], 24000)
    return path


def test_a_recording_is_localized_without_pytorch(site, recording):
    out = run(site, command("localize"), recording, "--html", "--overwrite", "--fast")
    assert "track(s)" in out and recording.with_suffix(".html").exists() and recording.with_suffix(".png").exists()
    azimuths = [int(line.split(",")[3]) for line in recording.with_suffix(".csv").read_text().splitlines()]
    assert (np.abs(np.array(azimuths) - 90) < 15).sum() > 20


def test_the_three_levels_of_the_api(site, recording):
    code = """
import json, soundfile, numpy, doanet
localizer = doanet.load_localizer(fast=True)
audio, fs = soundfile.read(sys.argv[1], dtype="float32")
rows = doanet.track_audio(localizer, audio, fs)
assert numpy.array_equal(rows, doanet.track_file(localizer, sys.argv[1]).rows)
assert rows.dtype.names == (*doanet.TRACK_ROWS.names, "radius")
course = doanet.localize_audio(localizer, audio)
features = doanet.localize_features(localizer, localizer.features.extract(audio))
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in sys.argv[2:])
print(json.dumps([len(rows), list(course.predictions.doa.shape), list(features.predictions.doa.shape), loaded]))
"""
    names = [*setup.MODULES, "doatools"]
    count, of_audio, of_features, loaded = json.loads(run(site, code, recording, *names))
    assert count > 20 and of_audio == of_features == [30, 3, 3] and loaded == []


def test_csvs_are_scored_and_a_dataset_is_checked_without_pytorch(site, tmp_path):
    for name in ("ours", "true"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.csv").write_text("".join(f"{frame},0,0,10,0\n" for frame in range(50)))
    out = run(site, command("evaluate_doanet"), "--predictions", "ours", "--references", "true", folder=tmp_path)
    assert "F20 100.0%" in out
    for place in ("foa_dev", "metadata_dev"):
        (tmp_path / place).mkdir()
    soundfile.write(tmp_path / "foa_dev" / "fold1_room1_mix001_ov1.wav", np.full((48000, 4), 0.1), 24000)
    (tmp_path / "metadata_dev" / "fold1_room1_mix001_ov1.csv").write_text("0,0,0,10,0\n")
    code = command("check_dataset").replace("sys.exit(main())", "print(main())")
    assert run(site, code, "dataset_dir=.", "--jobs", 1, "--threads", 1, folder=tmp_path).splitlines()[-1] in "01"
    out = run(site, command("evaluate_doanet"), site / "doanet" / "models" / "doanet_foa.onnx", "dataset_dir=.",
              "--threads", 1, folder=tmp_path)
    assert "doanet_foa: 1 recordings" in out and (tmp_path / "results" / "evaluation_doanet_foa").is_dir()


def test_what_needs_pytorch_says_so_in_one_line(site, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"")
    code = command("localize").replace("sys.exit(main())", "print(main())")
    done = subprocess.run([sys.executable, "-c", WITHOUT + code, "x.wav", "--checkpoint", "best.pt"], cwd=tmp_path,
                          env={"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.stdout == "2\n"
    assert done.stderr == ("error: this needs the package torch: pip install 'doanet[train]', or in a clone: "
                           "pip install -r requirements.txt\n")


@pytest.mark.parametrize("module", setup.COMMANDS)
def test_help_takes_less_than_half_a_second(site, module):
    """Of one core, whatever else the machine does."""
    code = command(module).replace("sys.exit(main())", """
import resource
try:
    main()
except SystemExit:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("seconds", used.ru_utime + used.ru_stime)""")
    run(site, code, "--help")
    *shown, last = run(site, code, "--help").splitlines()
    assert float(last.split()[1]) < 0.5 and shown[0].startswith("usage:")
    assert f"{module}.py" not in "".join(shown)


def test_imports_are_rewritten_and_nothing_else():
    text = '''"""See inference, and: python3 localize.py x.wav; python3 train_doanet.py 1."""
import numpy as np
import inference
import localizer as one  # why
from doatools.types import Scaler
from inference import (
    a,
)
from doanet_parameters import get_params
def f():
    from cls_metric import Scores
    import inference_other
    return "from inference"
'''
    assert setup.packaged(text) == '''"""See inference, and: doanet-localize x.wav; python3 -m doanet.train_doanet 1."""
import numpy as np
from doanet import inference
from doanet import localizer as one  # why
from doanet.doatools.types import Scaler
from doanet.inference import (
    a,
)
from doanet.doanet_parameters import get_params
def f():
    from doanet.cls_metric import Scores
    import inference_other
    return "from inference"
'''


def test_no_import_of_ours_is_left_behind(site):
    names = {*setup.MODULES, "doatools"}
    for path in (site / "doanet").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [node.module or ""] if isinstance(node, ast.ImportFrom) else (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            assert not names & {name.partition(".")[0] for name in found}, path


def test_the_shipped_onnx_models_are_those_of_the_checkpoints(recording):
    from inference import load_localizer, track_file
    for name in ("foa", "mic"):
        one, other = (track_file(load_localizer(ROOT / "models" / f"doanet_{name}{suffix}", fast=True), recording).rows
                      for suffix in (".pt", ".onnx"))
        assert np.array_equal(one[["frame", "track"]], other[["frame", "track"]]) and len(one)
        for field in ("azimuth", "elevation", "probability"):
            np.testing.assert_allclose(one[field], other[field], atol=0.05)


def test_defaults_that_help_states_without_importing():
    import localize
    from doatools.types import ACTIVE_ABOVE
    assert localize.ACTIVE_ABOVE == ACTIVE_ABOVE
