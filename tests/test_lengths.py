"""Recordings of different lengths: on disk, in batches, in training; and recordings that end within a label frame."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch
from helpers import FS, make_dataset, make_rows
from tut_helpers import make_tut

import batch_feature_extraction
import train_doanet
from cls_data_generator import SequenceDataset, make_loader
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.data.dcase import write_dcase
from doatools.train.loop import Sequences
from doatools.types import Predictions

SECONDS = {1: 7.0, 2: 1.4, 3: 2.0, 4: 5.25, 5: 0.83, 6: 3.0}  # of each fold; 5.25 s end within a label frame
FRAMES = {fold: math.ceil(10 * seconds) for fold, seconds in SECONDS.items()}
LENGTH = 10  # label frames of a sequence
SMALL = [f"label_sequence_length={LENGTH}", "batch_size=5", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8", "device=cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = make_dataset(tmp_path_factory.mktemp("lengths") / "data", seconds=SECONDS, formats=("foa",))
    assert batch_feature_extraction.main([f"dataset_dir={root}", "--jobs", "1"]) == 0
    return root


@pytest.fixture
def config(folder):
    return get_params(dataset_dir=str(folder), label_sequence_length=LENGTH, batch_size=5)


def test_files_are_as_long_as_their_recordings(config):
    files = FeatureFiles(config)
    for recording in files.reader.find():
        frames = FRAMES[int(recording.split)]
        assert len(np.load(files.features(recording))) == len(np.load(files.normalised(recording))) == 5 * frames


@pytest.mark.parametrize("role, folds", [("train", (3, 4, 5, 6)), ("val", (2,)), ("test", (1,))])
def test_no_sequence_is_padding_alone(config, role, folds):
    data = SequenceDataset(config, role)
    assert len(data) == sum(math.ceil(FRAMES[fold] / LENGTH) for fold in folds)
    for index in range(len(data)):
        recording, first, real = data.locate(index)
        assert 1 <= real <= LENGTH and first + real <= FRAMES[folds[recording]]
        item = data[index]
        assert item["features"][:, : 5 * real].abs().amax((0, 2)).min() > 0  # each real frame holds something
        assert not item["features"][:, 5 * real :].any() and not item["activity"][real:].any()
    covered = [data.locate(index) for index in range(len(data))]
    assert [sum(real for number, _, real in covered if number == own) for own in range(len(folds))] == [
        FRAMES[fold] for fold in folds]  # each frame once


def test_sequences_are_located_and_described(config):
    data = SequenceDataset(config, "train")  # of 20, 53, 9 and 30 label frames
    assert [data.locate(index) for index in (0, 1, 2, 7, 8, 9, 11)] == [
        (0, 0, 10), (0, 10, 10), (1, 0, 10), (1, 50, 3), (2, 0, 9), (3, 0, 10), (3, 20, 10)]
    assert [list(data.sequences_of(number)) for number in range(4)] == [[0, 1], [2, 3, 4, 5, 6, 7], [8], [9, 10, 11]]
    assert data.describe([7, 8]) == ["fold4_room1_mix001_ov1 frames 50-52", "fold5_room1_mix001_ov1 frames 0-8"]


def test_results_are_as_long_as_their_recordings(config):
    """Predictions that are the references, in any order of sequences, become Results that match them."""
    data = SequenceDataset(config, "train")
    order = np.random.default_rng(0).permutation(len(data))
    batch = data.__getitems__(order.tolist())
    results = data.results(Sequences(order, Predictions(batch["doa"].numpy(), batch["activity"].numpy())))
    assert [result.stem for result in results] == [recording.stem for recording in data.recordings]
    for number, (result, fold) in enumerate(zip(results, (3, 4, 5, 6))):
        doa, event = data.references(number)
        assert result.doa.shape == (FRAMES[fold], 2, 3) and result.ref_id.shape == event.shape == (FRAMES[fold], 1)
        np.testing.assert_array_equal(result.doa[:, :1], doa)
        np.testing.assert_array_equal(result.active[:, :1], event >= 0)
        np.testing.assert_array_equal(result.ref_id, event)


def test_a_batch_holds_sequences_of_different_recordings(config):
    data = SequenceDataset(config, "train")
    batches = list(make_loader(data, config, train=True))
    assert sorted(int(index) for batch in batches for index in batch["index"]) == list(range(len(data)))
    recordings = [{data.locate(index)[0] for index in batch["index"]} for batch in batches]
    assert max(map(len, recordings)) > 1
    assert batches[0]["features"].shape == (5, 7, 50, 64)


def test_training_on_different_lengths(folder, tmp_path, capsys):
    words = ["1", "job", f"dataset_dir={folder}", f"results_dir={tmp_path}", "--full", "nb_epochs=2", *SMALL]
    assert train_doanet.main(words) == 0
    told = capsys.readouterr().out
    assert "train 4 recordings = 12 sequences, val 1 recordings = 2 sequences, test 1 recordings = 7 sequences" in told
    scores = json.loads((tmp_path / "1_job" / "scores.json").read_text())
    assert all(np.isfinite(value) for value in scores["test"].values() if value is not None) and scores["test"]
    log = [json.loads(line) for line in (tmp_path / "1_job" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2


def test_a_limit_cuts_the_longer_ones_only(folder, tmp_path, capsys):
    words = [f"dataset_dir={folder}", f"feat_label_dir={tmp_path}", "max_audio_len_s=2", "--jobs", "1"]
    assert batch_feature_extraction.main(words) == 0
    assert "3 recording(s) are longer than max_audio_len_s=2 and were cut" in capsys.readouterr().out
    files = FeatureFiles(get_params(dataset_dir=str(folder), feat_label_dir=str(tmp_path), max_audio_len_s=2))
    lengths = {int(recording.split): len(np.load(files.features(recording))) for recording in files.reader.find()}
    assert lengths == {fold: 5 * min(frames, 20) for fold, frames in FRAMES.items()}


# --- the end of a recording ------------------------------------------------------------------------------------

def one_recording(root, samples, rows):
    """A dataset of one training recording of noise → its folder."""
    (root / "foa_dev").mkdir(parents=True)
    audio = 0.01 * np.random.default_rng(0).standard_normal((samples, 4))
    soundfile.write(root / "foa_dev/fold3_room1_mix001_ov1.wav", audio, FS)
    write_dcase(root / "metadata_dev/fold3_room1_mix001_ov1.csv", rows)
    return root


@pytest.mark.parametrize("hop_s, per_frame", [(0.1, 1), (0.02, 5)])
@pytest.mark.parametrize("samples", [2_401, 3_600, 4_799, 4_800])  # of the second frame: one, half, all but one, all
def test_the_last_frame_keeps_its_labels(tmp_path, samples, hop_s, per_frame):
    root = one_recording(tmp_path, samples, make_rows((1, 1, 0, 40, -10)))
    words = {"dataset_dir": str(root), "label_hop_len_s": hop_s, "label_sequence_length": 10}
    assert batch_feature_extraction.main([*(f"{key}={value}" for key, value in words.items()), "--jobs", "1"]) == 0
    data = SequenceDataset(get_params(**words), "train")
    assert data.locate(0) == (0, 0, 2 * per_frame)
    active = data[0]["activity"][:, 0]
    assert active.nonzero().flatten().tolist() == list(range(per_frame, 2 * per_frame))
    doa, event = data.references(0)
    assert event[:, 0].tolist() == [-1, 0]
    torch.testing.assert_close(data[0]["doa"][per_frame, 0], torch.from_numpy(doa[1, 0]))
    rows = data.features(0)
    assert len(rows) == 10 and np.isfinite(rows).all()  # two label frames of features, the end padded


def test_the_last_frame_of_times_keeps_its_labels(tmp_path):
    """1.511 s are 75 frames of 20 ms and 11 ms; source 0 sounds to the end."""
    root = make_tut(tmp_path / "ansim", seconds=1.511, overlaps=(1,))
    words = {"format": "tut2018", "dataset_dir": str(root), "label_sequence_length": 20}
    given = ["configs/cnn.yaml", *(f"{key}={value}" for key, value in words.items())]
    assert batch_feature_extraction.main([*given, "--jobs", "1"]) == 0
    data = SequenceDataset(get_params("configs/cnn.yaml", **words), "test")
    assert [data.locate(index)[2] for index in data.sequences_of(0)] == [20, 20, 20, 16]
    assert data[3]["activity"][:, 0].tolist() == [1.0] * 16 + [0.0] * 4
