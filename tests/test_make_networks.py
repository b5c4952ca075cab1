"""The page of the study of networks: written from result files, with commands that the toolkit accepts."""

import contextlib
import json
import shlex
from pathlib import Path

import pytest
import torch

from benchmarks.network_variants import VARIANTS
from doanet_parameters import get_params, split_words
from doatools.registry import MODELS
from localizer import build_model

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
    for how in ("slots", "followed"):
        (folder / how).mkdir()
        (folder / how / "evaluation.json").write_text(json.dumps(
            {"figures": {name: {"value": value + 1, "low": 0.0, "high": 99.0} for name in figures}}))


def test_the_page_holds_the_figures_of_the_runs(networks, tmp_path, monkeypatch):
    monkeypatch.setattr("doatools.train.checkpoint.load", torch.load)
    for name in networks.CANDIDATES:
        write_run(networks.candidate(name), networks.study, 40.0)
    for runs in networks.finalists().values():
        for number, run in enumerate(runs):
            write_run(run, networks.study, 51.0 + number)
    assert networks.main([]) == 0
    page = (tmp_path / "docs" / "networks.md").read_text()
    assert "[[" not in page and "| without mixtures (`mix_augment=0`) | 26 | 20 s | 40.0° | " in page
    assert "| recorded sounds | test | task 22, 40 epochs, 3 seeds | 15 | 20 s | 52.0 ± 1.0 | " in page
    assert "| task 22 | duplicates dropped, Kalman filter | 53.0 ± 1.0 | " in page
    assert (tmp_path / "docs" / "networks.png").stat().st_size > 10_000


def test_missing_runs_are_named(networks, capsys):
    assert networks.main([]) == 2
    assert "lacks the runs generated/22_base_1, " in capsys.readouterr().err


def test_commands_are_those_of_the_toolkit(networks, capsys):
    assert networks.main(["--commands"]) == 0
    printed = capsys.readouterr().out.splitlines()
    lines = [line for line in printed if "OMP_NUM_THREADS" in line]
    assert len(lines) == len(networks.CANDIDATES) + sum(map(len, networks.finalists().values()))
    with contextlib.ExitStack() as registered:
        for name, variant in VARIANTS.items():
            registered.enter_context(MODELS.adding(name, variant))
        for line in lines:
            words = shlex.split(line.split(" python3 ")[1])
            words = [word for word in words if "=" in word or word.isdigit()]
            (task,), overrides = split_words(words, "1")
            assert get_params(task, **overrides).run.seed in networks.study.SEEDS


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_localize_and_learn(name):
    torch.manual_seed(0)
    with MODELS.adding(name, VARIANTS[name]):
        model = build_model(get_params("22", model=name, fnn_size=16, rnn_size=16, nb_cnn2d_filt=16))
    features = torch.randn(2, model.stem.conv.in_channels, 100, 64)
    found = model(features)
    assert found.doa.shape == (2, 20, 2, 3) and found.activity_logits.shape == (2, 20, 2)
    assert torch.allclose(found.doa.norm(dim=-1), torch.ones(2, 20, 2), atol=1e-3)
    (found.doa.sum() + found.activity_logits.sum()).backward()
    assert all(weights.grad is not None for part, weights in model.named_parameters() if "radius" not in part)
