"""An array of one's own, from one YAML file end to end: a ring of six, which cannot distinguish above from below."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import batch_feature_extraction
import check_dataset
import evaluate_doanet
import export_doanet
import localize
import simulate_dataset
import train_doanet
from cls_data_generator import SequenceDataset
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.data.dcase import read_dcase
from doatools.data.readers import recordings_for
from doatools.spatial.arrays import FOLDER, find_array, read_array
from doatools.track.rotated import RotatedCopies
from inference import load_localizer
from trainer import build_augmentation

SMALL = ["label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8", "device=cpu"]


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """Folder with ring.yaml, a dataset in data/, and a run 1_first in results/; and the words that lead to them."""
    folder = tmp_path_factory.mktemp("ring")
    text = (FOLDER / "respeaker_6mic.yaml").read_text()
    (folder / "ring.yaml").write_text(text.replace("name: respeaker_6mic", "name: ring"))
    words = [f"dataset_dir={folder / 'data'}", f"array={folder / 'ring.yaml'}"]
    simulation = ["sim_recordings_per_fold=1", "sim_rooms_per_fold=1", "sim_recording_len_s=12", "--jobs", "1"]
    assert simulate_dataset.main([*words, *simulation]) == 0
    assert batch_feature_extraction.main([*words, "top_db=0", "--jobs", "1"]) == 0
    words.append(f"results_dir={folder / 'results'}")
    assert train_doanet.main(["1", "first", *words, *SMALL, "rotation_augment=True", "top_db=0"]) == 0
    return folder, words


def test_the_dataset_has_six_channels_and_is_healthy(ring, capsys):
    folder, words = ring
    wavs = sorted((folder / "data" / "ring_dev").glob("*.wav"))
    assert len(wavs) == 6 and {soundfile.info(wav).channels for wav in wavs} == {6}
    assert not (folder / "data" / "foa_dev").exists()
    assert check_dataset.main([*words[:2], "--jobs", "1"]) == 0
    report = capsys.readouterr().out
    assert report.splitlines()[-1] == "healthy" and "ring: the audio points" in report and "ring is planar" in report


def test_exchanged_channels_are_found(ring, tmp_path, capsys):
    folder, words = ring
    data = shutil.copytree(folder / "data", tmp_path / "data", ignore=shutil.ignore_patterns("features"))
    for path in (data / "ring_dev").glob("*.wav"):
        audio, fs = soundfile.read(path)
        soundfile.write(path, audio[:, [0, 1, 4, 3, 2, 5]], fs)
    assert check_dataset.main([f"dataset_dir={data}", words[1], "--jobs", "1"]) == 1
    assert "channels 3 and 5 are exchanged" in capsys.readouterr().out


def test_elevations_are_folded_in_labels_and_the_user_is_informed(ring, capsys):
    folder, words = ring
    config = get_params(dataset_dir=str(folder / "data"), array=str(folder / "ring.yaml"), top_db=0)
    files = FeatureFiles(config)
    below = 0
    for recording in recordings_for(config, "train"):
        written, folded = read_dcase(recording.annotation), np.load(files.labels(recording))
        assert (folded["elevation"] == np.abs(written["elevation"])).all()
        below += np.count_nonzero(written["elevation"] < 0)
    assert below > 20
    assert batch_feature_extraction.main([*words[:2], "top_db=0", "--jobs", "1"]) == 0
    assert "array 'ring' is planar" in capsys.readouterr().out


def test_training_uses_the_twelve_rotations(ring):
    folder, _ = ring
    config = get_params(dataset_dir=str(folder / "data"), array=str(folder / "ring.yaml"), rotation_augment=True,
                        label_sequence_length=10, top_db=0)
    dataset = SequenceDataset(config, "train")
    localizer = load_localizer(folder / "results" / "1_first" / "best.pt")
    augment = build_augmentation(config, localizer.features, dataset.scaler)
    assert augment.n_rotations == 12
    batch = dataset.__getitems__(list(range(len(dataset))))
    done = augment(batch, 1)
    assert (done["doa"][..., 2] >= 0).all() and (batch["doa"][..., 2] >= 0).all()
    assert not np.allclose(done["doa"], batch["doa"])
    assert isinstance(localizer.predict, RotatedCopies) and len(localizer.predict._copies) == 3
    assert localizer.config.array == read_array(folder / "ring.yaml") == find_array("respeaker_6mic")


def test_it_is_evaluated_with_folded_elevations(ring, tmp_path, capsys):
    folder, words = ring
    changeable = [words[0], words[2]]
    command = ["1", "first", *changeable, "--out", str(tmp_path), "--write-csv", str(tmp_path / "csv")]
    assert evaluate_doanet.main(command) == 0
    printed = capsys.readouterr().out
    assert "1 recordings" in printed and "array 'ring' is planar: all elevations are folded" in printed
    for path in (tmp_path / "csv").glob("*.csv"):
        assert (read_dcase(path)["elevation"] >= 0).all()
    # the CSVs of the simulation, half of whose elevations are below, are perfect predictions of themselves
    truth = tmp_path / "truth"
    truth.mkdir()
    for path in (folder / "data" / "metadata_dev").glob("fold1*.csv"):
        shutil.copy(path, truth)
    assert evaluate_doanet.main(["--predictions", str(truth), *words[:2], "--out", str(tmp_path / "out")]) == 0
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())["figures"]
    assert figures["LE"]["value"] == pytest.approx(0, abs=1e-3) and figures["F20"]["value"] == 100
    assert evaluate_doanet.main(["--baseline", "srp", *words[:2], "--out", str(tmp_path / "srp")]) == 0
    figures = json.loads((tmp_path / "srp" / "evaluation.json").read_text())["figures"]
    assert figures["LE"]["value"] < 35


def test_it_localizes_and_is_exported(ring, tmp_path, capsys):
    folder, _ = ring
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    best, wav = folder / "results" / "1_first" / "best.pt", next((folder / "data" / "ring_dev").glob("fold1*.wav"))
    assert export_doanet.main([str(best), "--out", str(tmp_path / "ring.onnx")]) == 0
    words = [str(wav), "--threshold", "0.2", "--no-plot", "--array", str(folder / "ring.yaml")]
    for model, out in ((best, "torch"), (tmp_path / "ring.onnx", "onnx")):
        capsys.readouterr()
        assert localize.main([*words, "--checkpoint", str(model), "--out", str(tmp_path / out)]) == 0
        notes = capsys.readouterr().err
        assert "this array is planar and cannot distinguish above from below" in notes and "6 omnidirectional" in notes
    rows = read_dcase(tmp_path / "torch" / f"{wav.stem}.csv", 120)
    assert len(rows) and (rows["elevation"] >= 0).all()
    assert (tmp_path / "torch" / f"{wav.stem}.csv").read_text() == (tmp_path / "onnx" / f"{wav.stem}.csv").read_text()
    assert localize.main([str(wav), "--checkpoint", str(best), "--array", "uma8", "--out", str(tmp_path)]) == 2
    assert "was not trained for the array 'uma8'" in capsys.readouterr().err
    foa = Path(tmp_path) / "foa.wav"
    soundfile.write(foa, np.zeros((4800, 4)), 24000)
    assert localize.main([str(foa), "--checkpoint", str(best), "--no-plot"]) == 1
    assert "has 4 channel(s); this model reads 6 omnidirectional capsules" in capsys.readouterr().err
