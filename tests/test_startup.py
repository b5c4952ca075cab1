"""``--help`` and a mistake on the command line respond at once: no script imports what is heavy before it needs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if path.name != "setup.py"  # which is pip's
                 and 'if __name__ == "__main__"' in path.read_text())
HEAVY = {"torch", "librosa", "matplotlib", "pyroomacoustics", "numba", "lightning_fabric", "onnxruntime", "tensorboard",
         "sklearn", "aiohttp"}
# A mistake in what a script takes; of those that are not listed, a mistyped parameter.
MISTAKES = {
    "check_capsules.py": ["--array", "micc", "--source", "a.wav", "0", "0"],
    "compare_runs.py": ["--sytems"], "download_dataset.py": ["tau202"], "export_doanet.py": ["best.pt", "--outt", "x"],
    "generate_hnet_training_data.py": ["--sead", "1"], "localize.py": ["--latensy", "3"],
    "train_hnet.py": ["--epoch", "x"], "visualize_hnet_results.py": ["--sead", "1"],
    "run.py": ["--config", "configs/cnn.yaml", "--data_root", "{folder}", "nb_epoch=3"],
}
# Runs a script as a program; then prints its status, its processor time and what it imported.
WRAPPER = """
import json, resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as stop:
    status = stop.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"status": status, "seconds": used.ru_utime + used.ru_stime,
                  "imported": sorted(name for name in sys.modules if "." not in name)}))
"""


def started(script, *words):
    """(what the script printed, its status, its processor time in s, the names of imported packages)."""
    done = subprocess.run([sys.executable, "-c", WRAPPER, script, *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    *printed, report = done.stdout.splitlines()
    report = json.loads(report)
    return "\n".join(printed) + done.stderr, report["status"], report["seconds"], set(report["imported"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_takes_less_than_a_second(script):
    told, status, seconds, imported = started(script, "--help")
    assert status == 0 and f"python3 {script}" in told
    assert not imported & HEAVY
    assert seconds < 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistake_is_reported_in_less_than_a_second(script, tmp_path):
    (tmp_path / "ansim").mkdir()
    words = [word.format(folder=tmp_path) for word in MISTAKES.get(script, ["nb_epoch=3"])]
    told, status, seconds, imported = started(script, *words)
    assert status == 2 and "error: " in told and "Traceback" not in told
    if words[-1] == "nb_epoch=3":
        assert told.count("\n") == 1 and "unknown parameter 'nb_epoch'. Did you mean 'nb_epochs'?" in told
    assert not imported & HEAVY
    assert seconds < 1


@pytest.mark.parametrize("words", [
    ["batch_feature_extraction.py", "loss=dmott"], ["evaluate_doanet.py", "--baseline", "srp", "trakcer=kalman"],
    ["evaluate_doanet.py", "tracker=kalmann"], ["visualize_doanet_output.py", "trakcer=kalman"],
    ["simulate_dataset.py", "array=fao"], ["train_doanet.py", "configs/cnnn.yaml", "job"]],
    ids=lambda words: f"{words[0]} {words[-1]}")
def test_so_is_a_mistaken_value(words):
    told, status, seconds, imported = started(*words)
    assert status == 2 and told.count("\n") == 1 and ("Did you mean" in told or "does not exist" in told)
    assert not imported & HEAVY
    assert seconds < 1
