"""What studies share: the toolkit's scripts as steps, each of which is skipped or continued if it was done before."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(script, *words):
    """Run one of the toolkit's scripts to its end, without its standard output; CalledProcessError if it fails."""
    subprocess.run([sys.executable, str(ROOT / script), *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def words_of(settings):
    """{parameter: value} as words of a command line."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def trained(task, job, results, *words):
    """best.pt of a training in the folder ``results``, trained unless it was finished before."""
    folder = results / f"{task}_{job}"
    if not (folder / "finished").exists():
        run("train_doanet.py", task, job, f"results_dir={results}", "--overwrite", *words)
        (folder / "finished").touch()
    return folder / "best.pt"


def scored(out, *words):
    """{figure: value} of evaluate_doanet.py, from ``out``/evaluation.json if it is there."""
    path = out / "evaluation.json"
    if not path.exists():
        run("evaluate_doanet.py", *words, "--out", out)
    found = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return {name: figure["value"] for name, figure in found.items()}
