"""The page of the study of losses: written from result files, with recorded results where options were removed."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def study(tmp_path, monkeypatch):
    """docs/make_losses.py, which reads and writes under tmp_path."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    spec = importlib.util.spec_from_file_location("make_losses", ROOT / "docs" / "make_losses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("losses.template.md", "losses.recorded.json"):
        (docs / name).write_bytes((ROOT / "docs" / name).read_bytes())
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "DOCS", docs)
    return module


def write_runs(study, names, value=50.0):
    """Result files of a run of each seed, with the names of figures of the first edition."""
    figures = dict.fromkeys(study.FIGURES, value) | {"mismatches": 7}
    del figures["ID switches"]
    for name in names:
        for seed in study.SEEDS:
            folder = study.folder(name, seed)
            folder.mkdir(parents=True)
            (folder / "best.pt").write_bytes(b"")
            (folder / "scores.json").write_text(json.dumps({"validation": figures}))
            shifted = {key: number + seed for key, number in figures.items()}
            (folder / "study.json").write_text(json.dumps(dict.fromkeys(study.PARTS, shifted)))


def test_the_page_holds_results_and_recorded_ones(study, tmp_path, capsys):
    available = [name for name in study.VARIANTS if study.is_available(name)]
    assert 15 < len(available) < len(study.VARIANTS) and "g40meansinktrack1" not in available
    write_runs(study, available)
    assert study.main([]) == 0
    page = (tmp_path / "docs" / "losses.md").read_text()
    assert "[[" not in page and "(`loss=pit`) | 50.0° | 50.0% | 50.0% | 50.0% | 50.0% | 50.0% | 7 |" in page
    assert "| frame PIT | 52.0 ± 1.0 | " in page and "| 9 ± 1 |" in page
    removed = [line for line in page.splitlines() if line.startswith("|") and "†" in line]
    assert len(removed) == len(study.VARIANTS) - len(available) + 3  # rows of candidates, and one in each test table
    assert page.count(f"reproducible at commit `{study.REPRODUCIBLE}`") == 4
    assert (tmp_path / "docs" / "losses.png").stat().st_size > 10_000


def test_runs_of_removed_variants_come_before_recorded_results(study, tmp_path):
    write_runs(study, study.VARIANTS)
    assert study.main([]) == 0
    page = (tmp_path / "docs" / "losses.md").read_text()
    rows = [line for line in page.splitlines() if "association=track" in line and line.startswith("|")]
    assert rows and all("| 50.0° |" in row and "†" in row for row in rows)


def test_missing_runs_are_named(study, capsys):
    assert study.main([]) == 2
    error = capsys.readouterr().err
    assert "lacks the runs raw_1" in error and "g40meansinktrack1" not in error


def test_commands_are_those_that_this_version_can_run(study, capsys):
    assert study.main(["--commands"]) == 0
    *lines, note = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("python3 simulate_dataset.py") and len(lines) > 30
    for removed in ("association=track", "association_gradient", "predicted=", "dmotp=squared", "pit_dmot"):
        assert not any(removed in line for line in lines)
    assert note.startswith(f"# removed since, to be run at commit {study.REPRODUCIBLE}") and "warm" in note


def test_the_recorded_results_and_the_page_agree(study):
    page = (ROOT / "docs" / "losses.md").read_text()
    recorded = json.loads((ROOT / "docs" / "losses.recorded.json").read_text())
    for name, scores in recorded["validation"].items():
        assert f"{study.title(name)} (`{study.VARIANTS[name][0]}`) | {scores['LE']:.1f}° |" in page
    assert recorded["validation"].keys() == {name for name in study.VARIANTS if not study.is_available(name)}


def test_the_commit_of_the_study_is_in_the_history(study):
    done = subprocess.run(["git", "rev-parse", "--short", study.REPRODUCIBLE], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git history here")
    assert re.fullmatch(rf"{study.REPRODUCIBLE}\w*", done.stdout.strip())
