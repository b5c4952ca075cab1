"""The page of the study of networks: written from result files, with commands that the toolkit accepts."""

import json
import shlex
from pathlib import Path

import pytest
import torch

from doanet_parameters import get_params, split_words

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """docs/make_networks.py, which reads and writes under tmp_path."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    import make_networks
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "networks.template.md").write_bytes((ROOT / "docs" / "networks.template.md").read_bytes())
    monkeypatch.setattr(make_networks, "ROOT", tmp_path)
    monkeypatch.setattr(make_networks, "DOCS", docs)
    return make_networks


def write_run(folder, study, value):
    folder.mkdir(parents=True)
    figures = dict.fromkeys(study.FIGURES, value)
    torch.save({"model": {"a": torch.zeros(3, 5), "bn.running_mean": torch.zeros(7)}}, folder / "best.pt")
    (folder / "scores.json").write_text(json.dumps({"validation": figures, "test": figures}))
    (folder / "log.jsonl").write_text("".join(
        json.dumps({"epoch": epoch, "seconds": 9.0, "cpu_seconds": 10.0, "lr": 0.1, "selection": 0.5,
                    "train": {"loss": 1.0}, "val": {"loss": 1.0}, "scores": figures}) + "\n" for epoch in (1, 2)))


def test_the_page_holds_the_figures_of_the_runs(networks, tmp_path, monkeypatch):
    monkeypatch.setattr("doatools.train.checkpoint.load", torch.load)
    for name, (task, *_) in networks.CANDIDATES.items():
        write_run(networks.folder(task, name, 1), networks.study, 40.0)
    for name, (task, _, seeds, _) in networks.FINALISTS.items():
        for seed in seeds:
            write_run(networks.folder(task, name, seed), networks.study, 50.0 + seed)
    assert networks.main([]) == 0
    page = (tmp_path / "docs" / "networks.md").read_text()
    assert "[[" not in page and "| without mixtures (`mix_augment=0`) | 20 | 20 s | 40.0° | " in page
    assert page.count("| task 22, 3 seeds | 15 | 55 | 20 s | 52.0 ± 1.0 | ") == 2
    assert (tmp_path / "docs" / "networks.png").stat().st_size > 10_000


def test_missing_runs_are_named(networks, capsys):
    assert networks.main([]) == 2
    assert "lacks the runs 20_reference_1, 22_third_1" in capsys.readouterr().err


def test_commands_are_those_of_the_toolkit(networks, capsys):
    assert networks.main(["--commands"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "train_doanet.py" in line]
    assert len(lines) == len(networks.CANDIDATES) + sum(len(seeds) for *_, seeds, _ in networks.FINALISTS.values())
    for line in lines:
        words = shlex.split(line.split("train_doanet.py")[1])
        (task, _), overrides = split_words([word for word in words if not word.startswith("--")], "1", "name")
        assert get_params(task, **overrides).run.seed in networks.study.SEEDS
