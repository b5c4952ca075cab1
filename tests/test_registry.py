"""A component of each kind is one class and one line: dummies of all kinds run through every script."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn
from torch.nn import functional

import batch_feature_extraction
import compare_runs
import doanet_parameters
import evaluate_doanet
import export_doanet
import localize
import train_doanet
import visualize_doanet_output
from cls_data_generator import SequenceDataset
from cls_metric import Family, Figure
from doanet_parameters import get_params
from doatools import registry
from doatools.data.dcase import read_dcase
from doatools.errors import UserError
from doatools.registry import (
    ASSOCIATIONS,
    BASELINES,
    FEATURES,
    LOSSES,
    METRICS,
    MODELS,
    READERS,
    TRACKERS,
    Registry,
)
from doatools.spatial.geometry import unit_vectors
from doatools.types import EVENT_PIECES, Localization, Recording
from evaluation import by_checkpoint
from inference import OnnxLocalizer, load_localizer, localize_audio
from localizer import Localizer


class DummyModel(nn.Module):
    """One linear layer per label frame. A further output per slot, a distance, follows from the direction: 2 + x."""

    def __init__(self, shape, config):
        super().__init__()
        self.ratio, self.slots = shape.ratio, shape.slots
        self.linear = nn.Linear(shape.channels * shape.bands, 4 * shape.slots)

    def forward(self, features):
        frames = features.unflatten(2, (-1, self.ratio)).mean(3)  # (B, C, T, F)
        values = self.linear(frames.transpose(1, 2).flatten(2)).unflatten(-1, (self.slots, 4))  # (B, T, N, 4)
        doa = functional.normalize(values[..., :3], dim=-1)
        return Localization(doa, values[..., 3], others={"distance": 2 + doa[..., 0]})


class DummyLoss(nn.Module):
    """Squared distances of active slots in their order, and the entropy of activity."""

    def __init__(self, config, slots):
        super().__init__()

    def forward(self, localization, target):
        gaps = (localization.doa - target.doa).square().sum(-1) * target.activity
        entropy = functional.binary_cross_entropy_with_logits(localization.activity_logits, target.activity)
        return {"loss": gaps.mean() + entropy, "gaps": gaps.mean()}


class DummyAssociation:
    """Slot i has reference i."""

    def __init__(self, config, slots):
        self.slots = slots

    def __call__(self, doa, penalty, target):
        return torch.eye(self.slots).expand(*target.activity.shape, self.slots)


class DummyFeatures:
    """Eight powers of each audio channel, in dB."""

    channels, bands, mel_channels, log_mels, vectors = 4, 8, 0, 4, ()
    normalised, chunked, offset, dtype = True, False, 1e-8, np.float32
    pictured = ((0, "band", "power of channel 1 (dB)", "magma"), (1, "band", "power of channel 2 (dB)", "magma"))

    def __init__(self, config, array):
        self.n_fft = 2 * config.hop

    def prepare(self):
        pass

    @staticmethod
    def shown(features):
        return features

    def __call__(self, spectra, power, out):
        out[:] = power[..., : power.shape[-1] // 8 * 8].reshape(*power.shape[:2], 8, -1).mean(-1)


class DummyReader:
    """``<dataset_dir>/sounds/*.wav`` and ``*.txt`` beside them: lines of start and end (s), azimuth and elevation."""

    frame_s = None
    division, setting = "all", "the last digit of their names"

    def __init__(self, data, array):
        self.folder = Path(data.dataset_dir, "sounds")

    def find(self):
        return [Recording(path.stem, path, path.with_suffix(".txt"), path.stem[-1])
                for path in sorted(self.folder.glob("*.wav"))]

    def select(self, recordings, role):
        splits = {"test": "1", "val": "2", "train": "3456"}[role]
        return [recording for recording in recordings if recording.split in splits]

    @staticmethod
    def read(path, seconds=None):
        rows = np.atleast_2d(np.loadtxt(path))
        pieces = np.zeros(len(rows), EVENT_PIECES)
        pieces["event"] = np.arange(len(rows))
        for name, column in zip(("start", "end", "azimuth", "elevation"), rows.T):
            pieces[name] = column
        return pieces

    def audio_stems(self):
        return {"sounds": {path.stem for path in self.folder.glob("*.wav")}}


class DummyTracker:
    """Identities are slots, numbered from 100."""

    def __init__(self, config):
        pass

    def __call__(self, t, doa, active):
        return np.where(active, 100 + np.arange(len(active)), -1)


class DummyMetric(Family):
    """The number of frames."""

    name, shapes = "dummy", {"frames": ()}
    groups = {"dummies": {"dummy frames": Figure("", "frames of the references")}}  # noqa: RUF012

    def count(self, recording):
        return {"frames": len(recording.present)}

    @staticmethod
    def figures(counts, gate=20.0):
        return {"dummy frames": counts["frames"]}


class DummyBaseline:
    """One source, always in front."""

    @staticmethod
    def reads(array):
        return array.kind == "ambisonic"

    def __init__(self, array, fs, label_hop_s):
        self.samples = round(fs * label_hop_s)

    def __call__(self, audio, max_sources):
        frames = len(audio) // self.samples
        return np.broadcast_to([1.0, 0, 0], (frames, 1, 3)), np.ones((frames, 1), bool)


DUMMIES = ((MODELS, DummyModel), (LOSSES, DummyLoss), (ASSOCIATIONS, DummyAssociation), (FEATURES, DummyFeatures),
           (READERS, DummyReader), (TRACKERS, DummyTracker), (METRICS, DummyMetric), (BASELINES, DummyBaseline))
SMALL = ["label_sequence_length=10", "batch_size=4", "device=cpu", "nb_epochs=2"]
CHOSEN = ["model=dummy", "loss=dummy", "features=dummy", "format=dummy", "tracker=dummy"]


def test_unregistered_names_are_unknown():
    """Runs first, before the dummies exist."""
    assert all("dummy" not in kind for kind, _ in DUMMIES)
    with pytest.raises(UserError, match="is one of doanet"):
        get_params(model="dummy")


@pytest.fixture(scope="module")
def dummies():
    with contextlib.ExitStack() as stack:
        for kind, component in DUMMIES:
            stack.enter_context(kind.adding("dummy", component, f"Dummy {kind.kind}"))
        yield
    assert all("dummy" not in kind for kind, _ in DUMMIES)


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
    """The tiny dataset in the format of DummyReader."""
    folder = tmp_path_factory.mktemp("dummy") / "data"
    (folder / "sounds").mkdir(parents=True)
    for wav in sorted((tiny_data / "foa_dev").glob("*.wav")):
        rows = read_dcase(tiny_data / "metadata_dev" / f"{wav.stem}.csv")
        stem = f"sound{wav.stem[4]}"
        shutil.copy(wav, folder / "sounds" / f"{stem}.wav")
        first, last = rows[0], rows[-1]
        (folder / "sounds" / f"{stem}.txt").write_text(
            f"{first['frame'] / 10} {(last['frame'] + 1) / 10} {first['azimuth']} {first['elevation']}\n")
    return folder


@pytest.fixture(scope="module")
def extracted(dummies, data):
    """The tiny dataset with its dummy features."""
    assert batch_feature_extraction.main([f"dataset_dir={data}", *CHOSEN, *SMALL, "--jobs", "1"]) == 0
    return data


@pytest.fixture(scope="module")
def trained(extracted, tmp_path_factory):
    """The folder of a run of the dummies."""
    results = tmp_path_factory.mktemp("results")
    words = [f"dataset_dir={extracted}", *CHOSEN, *SMALL]
    assert train_doanet.main(["1", "dummy", *words, "--full", f"results_dir={results}"]) == 0
    return results / "1_dummy"


def test_the_run_has_the_terms_of_the_loss_and_learns(trained):
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2 and set(log[0]["train"]) == {"loss", "gaps"}
    assert log[1]["train"]["loss"] < log[0]["train"]["loss"]
    assert (trained / "training_curve.png").stat().st_size > 10_000


def test_a_further_output_reaches_the_results_as_the_model_returned_it(trained):
    localizer = Localizer.from_checkpoint(trained / "best.pt")
    batch = SequenceDataset(localizer.config, "test", localizer.scaler).__getitems__(range(6))
    with torch.inference_mode():
        found = localizer.model.eval()(batch["features"])
    (result,), config = by_checkpoint(trained / "best.pt", {})
    assert result.stem == "sound1" and config.loss.loss == config.tracker.tracker == "dummy"
    np.testing.assert_allclose(result.predictions.others["distance"], found.others["distance"].flatten(0, 1), atol=1e-6)
    np.testing.assert_allclose(result.predictions.others["distance"], 2 + result.doa[..., 0], atol=1e-6)
    assert (result.ref_id >= 0).any(1).tolist() == 5 * [False] + 50 * [True] + 5 * [False]
    assert set(np.unique(result.pred_id)) <= {-1, 100, 101}
    assert result.frames(slice(3, 5)).predictions.others["distance"].shape == (2, 2)


def test_a_further_output_reaches_inference_by_checkpoint_and_onnx(trained, data, capsys):
    assert export_doanet.main([str(trained / "best.pt")]) == 0
    exported = OnnxLocalizer(trained / "best.onnx")
    assert exported.config.model.model == "dummy"
    wav = data / "sounds" / "sound1.wav"
    courses = []
    for name in ("best.pt", "best.onnx"):
        localizer = load_localizer(trained / name)
        audio, _ = soundfile.read(wav, dtype="float32")
        courses.append(localize_audio(localizer, audio))
        distance = courses[-1].predictions.others["distance"]
        assert distance.shape == (60, 2)
        alone = slice(0, localizer.config.batches.label_sequence_length // 2)  # before windows are cross-faded
        np.testing.assert_allclose(distance[alone], 2 + courses[-1].doa[alone, :, 0], atol=1e-4)
    for field in ("doa", "probability"):
        np.testing.assert_allclose(getattr(courses[0], field), getattr(courses[1], field), atol=1e-4)
    np.testing.assert_allclose(*(course.predictions.others["distance"] for course in courses), atol=1e-3)


def test_recordings_are_localized(trained, data, tmp_path, capsys):
    for checkpoint in ("best.pt", "best.onnx"):
        out = tmp_path / checkpoint
        if checkpoint == "best.onnx":
            assert export_doanet.main([str(trained / "best.pt")]) == 0
        assert localize.main([str(data / "sounds" / "sound1.wav"), "--checkpoint", str(trained / checkpoint),
                              "--out", str(out), "--threshold", "0.05"]) == 0
        assert {path.suffix for path in out.iterdir()} == {".csv", ".png"}
        assert len((out / "sound1.csv").read_text().splitlines()) > 20


def test_evaluation_reports_the_metric_and_the_baseline(trained, data, tmp_path, capsys):
    words = [f"dataset_dir={data}", "format=dummy", "tracker=dummy", "--out", str(tmp_path)]
    assert evaluate_doanet.main(["1", "dummy", f"results_dir={trained.parent}", "--out", str(tmp_path / "own")]) == 0
    assert "\ndummies\n  dummy frames 60" in capsys.readouterr().out
    assert json.loads((tmp_path / "own" / "evaluation.json").read_text())["figures"]["dummy frames"]["value"] == 60
    assert "dummy frames" in (tmp_path / "own" / "report.html").read_text()
    assert evaluate_doanet.main(["--baseline", "dummy", *words]) == 0
    figures = json.loads((tmp_path / "evaluation.json").read_text())["figures"]
    annotation = np.loadtxt(data / "sounds" / "sound1.txt")
    error = np.degrees(np.arccos(unit_vectors(*annotation[2:])[0]))
    assert figures["LE"]["value"] == pytest.approx(error, abs=1e-3) and figures["LR"]["value"] == 100
    assert evaluate_doanet.main([str(trained / "best.pt"), "--against", "dummy", "--out", str(tmp_path)]) == 0


def test_results_are_drawn_and_compared(trained, capsys):
    assert visualize_doanet_output.main(["1", "dummy", f"results_dir={trained.parent}"]) == 0
    assert (trained / "pictures" / "sound1.png").stat().st_size > 20_000
    assert compare_runs.main([str(trained), "--systems"]) == 0
    assert "| Dummy model | data |" in capsys.readouterr().out


def test_an_association_trains(extracted, tmp_path):
    words = [f"dataset_dir={extracted}", "format=dummy", "features=dummy", "model=dummy", "association=dummy", *SMALL]
    assert train_doanet.main(["1", "dummy", *words, f"results_dir={tmp_path}"]) == 0
    log = json.loads((tmp_path / "1_dummy" / "log.jsonl").read_text().splitlines()[0])
    assert log["train"]["dmotp"] > 0


# --- what follows from a registry --------------------------------------------------------------------------------

@pytest.mark.parametrize("word", ["model=dumy", "loss=dumy", "association=dumy", "features=dumy", "format=dumy",
                                  "tracker=dumy"])
def test_a_mistyped_name_names_the_nearest(word, dummies, capsys):
    assert train_doanet.main(["1", "job", word]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'dummy'?" in error and "'dumy'" in error and error.count("\n") == 1
    name = word.partition("=")[0]
    assert train_doanet.main(["1", "job", f"{name}=dummy", "nb_epochs=0"]) == 2  # the name itself is right
    assert "nb_epochs" in capsys.readouterr().err


def test_help_and_the_list_of_parameters_name_every_component(dummies, capsys):
    assert doanet_parameters.main(["1"]) == 0
    printed = capsys.readouterr().out
    for kind in (MODELS, LOSSES, ASSOCIATIONS, FEATURES, READERS, TRACKERS):
        assert " | ".join(kind) in printed and " | dummy" in " | ".join(kind)
    with pytest.raises(SystemExit):
        evaluate_doanet.main(["--help"])
    assert "dummy" in capsys.readouterr().out.partition("--baseline {")[2].partition("}")[0]


def test_a_registry_refuses_taken_names_and_forgets_what_was_added():
    kind = Registry("fruit", {"apple": ("fractions:Fraction", "Apple")})
    with kind.adding("pear", dict), pytest.raises(UserError, match="the fruit 'pear' exists already"):
        kind.add("pear", dict)
    assert list(kind) == ["apple"] and kind.title("apple") == "Apple"
    with pytest.raises(UserError, match=r"unknown fruit 'aple'\. Did you mean 'apple'"):
        kind["aple"]


@pytest.mark.parametrize("kind", [one for one in vars(registry).values() if isinstance(one, Registry)],
                         ids=lambda kind: kind.kind)
def test_every_entry_is_a_class_where_the_registry_says(kind):
    for name in kind:
        assert isinstance(kind[name], type) and kind.title(name)
