"""The plain reference code of the benchmarks gives the numbers of the toolkit; the page; short measurements."""

import importlib
import json
import re
import subprocess

import numpy as np
import pytest
import torch

from benchmarks import (
    chain,
    chunk_step,
    features,
    growth,
    inference,
    loading,
    loss,
    page,
    run,
    simulation,
    step_parts,
    tune_baselines,
    work,
)
from benchmarks.frame_scores import frame_scores, make_recordings, plain_frame_scores
from benchmarks.measure import median_seconds
from benchmarks.parts import ALL, BARS, GROWTH, PARTS
from benchmarks.plain import PlainDOAnet
from benchmarks.plain_features import plain_extraction
from benchmarks.recordings import make_recordings as make_wavs
from benchmarks.training_step import make_batch, measure
from cls_data_generator import SequenceDataset
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.data.slots import assign_slots
from doatools.registry import BASELINES
from doatools.train.losses import build_criterion
from inference import localize_audio
from localizer import Localizer, build_model

NAMES = ((r"blocks\.(\d)\.conv", r"convs.\1"), (r"blocks\.(\d)\.bn", r"norms.\1"))
HEADS = (("doa_head", "doa"), ("activity_head", "activity"))


def plainly_named(state):
    renamed = {}
    for name, value in state.items():
        for pattern, plain in NAMES:
            name = re.sub(pattern, plain, name)
        for ours, plain in HEADS:
            name = re.sub(rf"{ours}\.(\d)", lambda m, plain=plain: f"{plain}.{int(m[1]) // 2}", name)
        renamed[name] = value
    return renamed


def test_the_plain_network_is_doanet():
    config = get_params("1")
    torch.manual_seed(0)
    ours, plain = build_model(config), PlainDOAnet()
    plain.load_state_dict(plainly_named(ours.state_dict()))
    features, target = make_batch(batch=2)
    criterion = build_criterion(config)
    results = [model(features) for model in (ours, plain)]
    assert torch.allclose(results[0].doa, results[1].doa, atol=1e-5)
    assert torch.allclose(results[0].activity_logits, results[1].activity_logits, atol=1e-5)
    losses = [criterion(localization, target)["loss"].item() for localization in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_plain_frame_scores_are_ours():
    recordings = make_recordings(recordings=2, frames=300)
    assert frame_scores(recordings) == pytest.approx(plain_frame_scores(recordings), rel=1e-12)


@pytest.fixture(scope="module", params=["foa", "mic"])
def extracted(request, tmp_path_factory):
    """A few short recordings, features by the toolkit and by plain code: (Config, folder of the plain)."""
    folder = tmp_path_factory.mktemp(request.param)
    config = make_wavs(folder / "data", 3, 11.0, request.param)
    (folder / "plain").mkdir()
    plain_extraction(folder / "data", request.param, folder / "plain")
    return features.extract(config, "features", jobs=1), folder / "plain"


def test_the_plain_features_are_ours(extracted):
    config, plain = extracted
    files = FeatureFiles(config)
    for recording in files.reader.find():
        ours, theirs = np.load(files.features(recording)), np.load(plain / f"{recording.stem}.npy")
        np.testing.assert_allclose(theirs[:, :256], ours[:, :256], atol=1e-3)  # dB
        np.testing.assert_allclose(theirs[:, 256:], ours[:, 256:], atol=1e-4)
        normalised = np.load(plain / f"{recording.stem}_norm.npy")
        np.testing.assert_allclose(normalised, np.load(files.normalised(recording)), atol=5e-3)
        labels = np.load(plain / f"{recording.stem}_label.npy").reshape(110, 4, 2)
        doa, event = assign_slots(np.load(files.labels(recording)), 110, 2, how="frame")
        both = (event >= 0).all(1)
        np.testing.assert_allclose(labels[both, :3].swapaxes(1, 2), doa[both], atol=1e-6)
        np.testing.assert_array_equal(labels[:, 3].sum(1), (event >= 0).sum(1))


def test_the_plain_batches_are_ours(extracted):
    config, plain = extracted
    stems = sorted(path.stem for path in (plain.parent / "data" / f"{config.array.name}_dev").iterdir())
    data = SequenceDataset(config, "train")
    indices = [4, 0, 7, 3]  # of three sequences a recording, the last of which is not whole
    ours, theirs = data.__getitems__(indices), loading.plain_batch(plain, stems, 3, indices)
    torch.testing.assert_close(theirs["features"], ours["features"], atol=5e-3, rtol=0)
    torch.testing.assert_close(theirs["activity"].sum(-1), ours["activity"].sum(-1))


def test_the_plain_loss_is_ours():
    results = []
    for side in ("plain", "ours"):
        value, leaves = loss.loss_of(side, loss.make_predictions(batch=2))
        found = value()
        found.backward()
        results.append([found, *(leaf.grad for leaf in leaves)])
    for plain, ours in zip(*results):
        torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-5)


def test_the_plain_chain_finds_what_ours_finds(tmp_path):
    config = make_wavs(tmp_path, 1, 11.0).replaced(top_db=0.0)
    (wav,) = tmp_path.glob("foa_dev/*.wav")
    localizer, plain = Localizer(config, chain.SCALER), PlainDOAnet().eval()
    plain.load_state_dict(plainly_named(localizer.model.state_dict()))
    doa, probability = chain.plain_chain(plain, wav, top_db=0)
    assert doa.shape == (3, 50, 2, 3) and len(chain.listed(doa, probability)) == (probability > 0.5).sum()
    course = localize_audio(localizer, localizer.features.read_audio(wav))
    np.testing.assert_allclose(doa[0, :40], course.doa[:40], atol=1e-3)  # where the first window answers alone
    np.testing.assert_allclose(probability[0, :40], course.probability[:40], atol=1e-3)


# --- what is measured ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("part", ALL)
def test_parts_name_what_there_is(part):
    one = ALL[part]
    assert callable(importlib.import_module(f"benchmarks.{one.module}").measure)
    assert set(one.work) <= set(one.sides)
    if part in GROWTH:
        assert one.arguments[0] in growth.MEASURES


def test_small_measurements_take_time_and_memory():
    for side in ("plain", "ours", "read + FFT"):
        taken = features.measure(side, "foa", count=1, seconds=1.0, turns=1)
        assert 0 < taken["seconds"] < 10 and taken["peak_mib"] > 50
    for side in ("plain", "ours"):
        assert loading.measure(side, count=1, seconds=11.0, turns=1)["seconds"] > 0
    assert simulation.measure("one array", count=1, seconds=2.0)["seconds"] > 0
    assert measure("32-true", batch=1)["seconds"] > 0
    assert growth.memory_of_extraction(1)["seconds"] > 0 and growth.memory_of_training(1, 5.0)["seconds"] > 0
    assert chunk_step.measure("ours", "cnn")["seconds"] > 0 and inference.measure("localize")["seconds"] > 0


def test_the_median_leaves_warming_up_out():
    ticks = iter([0, 100, 0, 1, 0, 5, 0, 3])
    assert median_seconds(lambda: None, turns=3, warm_up=1, clock=lambda: next(ticks))["seconds"] == 3


def test_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode
    network = PlainDOAnet().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.convs[2](network.convs[1](torch.zeros(1, 128, 50, 32))[..., ::2])
    wanted = work.convolution(128, 128, 50 * 32) + work.convolution(128, 128, 50 * 16)
    assert counter.get_total_flops() == wanted
    whole = work.doanet(1, training=False).operations
    assert 1.0e9 < whole < 1.2e9 and 2.7 < work.doanet(1, training=True).operations / whole < 3


def fake(part, side, turn):
    rates = {"float32": 100.0, "bfloat16": 200.0, "copy": 10.0}
    return {"seconds": (1.0 if side == ALL[part].sides[0] else 0.25) + 0.01 * turn, "peak_mib": 100.0, "rates": rates}


def test_the_page_shows_ratios_targets_growth_and_shares():
    taken = {part: {side: [fake(part, side, turn) for turn in range(3)] for side in ALL[part].sides} for part in ALL}
    told = page.page(taken)
    assert "| dmot_loss | ours | 2 | 0.26 (0.25-0.27) | 3.88 (3.78-4.00) | 100 MiB |" in told
    assert "- training_step, times the plain version: 3.88 (at least 4: **not met**)" in told
    assert "- adrenaline_step, times the plain version: 3.88 (at least 3: met)" in told
    assert "memory of training, 100 recordings / 10: 1.000 (at most 1.1: met)" in told
    assert told.count("\n- ") == len(BARS) + 2 + 2  # and memory, and multiples of reading
    assert "| 1 thread | 100 GFLOP/s | 200 GFLOP/s | 10.0 GB/s |" in told
    assert re.search(r"\| batch_loading \| ours \| 0 G \| 57 MB \| 0.00573 \| 0.26 \| 2 % \|", told)
    for part in PARTS | GROWTH:
        assert f"| {part} |" in told


def test_named_parts_are_printed_and_the_page_is_left_alone(tmp_path, monkeypatch, capsys):
    def measured(command, **_):
        return subprocess.CompletedProcess(command, 0, json.dumps(fake(*command[-2:], 0)) + "\n", "")
    monkeypatch.setattr(subprocess, "run", measured)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "PAGE", tmp_path / "page.md")
    assert run.main(["dmot_loss", "--repeats", "1"]) == 0
    assert "| dmot_loss | ours | 2 |" in capsys.readouterr().out and not run.PAGE.exists()
    with pytest.raises(SystemExit):
        run.main(["dmot_los"])
    assert "no part 'dmot_los'. Did you mean 'dmot_loss'?" in capsys.readouterr().err
    assert run.main(["--repeats", "1"]) == 0
    assert run.PAGE.read_text().startswith("# Benchmarks")


def test_rules_of_baselines_are_chosen_on_the_validation_fold(tiny_data, monkeypatch, capsys):
    monkeypatch.setattr(tune_baselines, "LEVELS_DB", [0.5, 3.0])
    monkeypatch.setattr(tune_baselines, "HEIGHTS", [0.5, 0.9])
    assert tune_baselines.main([f"dataset_dir={tiny_data}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(BASELINES)
    assert all(re.match(r"\w+: Rule\(level_db=[\d.]+, height=[\d.]+\)   F20 [\d.]+%", line) for line in lines)


@pytest.mark.parametrize("task, parts_of", [("20", step_parts.doanet_parts), ("22", step_parts.bearing_parts)])
def test_the_parts_of_a_step_run_and_add_up(task, parts_of, monkeypatch):
    monkeypatch.setattr(step_parts, "BATCH", 1)
    model = build_model(get_params(task))
    parts = parts_of(model, step_parts.features_for(model))
    for part in parts.values():
        part.work()
    assert all(weights.grad is not None for weights in model.gru.parameters())
    assert {part.passes for part in parts.values()} == {2, 3}  # the first layer needs no gradient of its input
