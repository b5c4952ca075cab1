"""Sequences and batches: what they hold, in which order, shared by how many."""

import itertools
import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers import make_rows

import batch_feature_extraction
from cls_data_generator import EpochSampler, SequenceDataset, make_loader
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.data.dcase import write_dcase
from doatools.errors import UserError
from doatools.types import Scaler

SETTINGS = {"max_audio_len_s": 6, "label_sequence_length": 25, "batch_size": 5}  # 60 label frames: 25, 25, 10


@pytest.fixture
def config(tiny_data):
    return get_params(dataset_dir=str(tiny_data), **SETTINGS)


def test_an_item_is_a_piece_of_a_recording(config):
    data = SequenceDataset(config, "train")
    assert [r.split for r in data.recordings] == ["3", "4", "5", "6"]
    assert len(data) == 4 * 3
    assert [data.locate(index) for index in (0, 2, 4)] == [(0, 0, 25), (0, 50, 10), (1, 25, 25)]
    assert data.describe(torch.tensor([2, 4])) == ["fold3_room1_mix001_ov1 frames 50-59",
                                                   "fold4_room1_mix001_ov1 frames 25-49"]
    item = data[4]
    rows = np.load(FeatureFiles(config).normalised(data.recordings[1]))  # (300, 7*64)
    assert item["features"].shape == (7, 125, 64) and item["index"] == 4
    for channel in range(7):
        bands = slice(64 * channel, 64 * channel + 64)
        np.testing.assert_array_equal(item["features"][channel], rows[125:250, bands])
    doa, event = data.references(1)
    assert item["doa"].shape == (25, 2, 3) and doa.shape == (60, 1, 3)
    np.testing.assert_array_equal(item["doa"][:, 0], doa[25:50, 0])
    np.testing.assert_array_equal(item["activity"][:, 0], event[25:50, 0] >= 0)
    assert not item["activity"][:, 1].any() and not item["doa"][:, 1].any()
    np.testing.assert_array_equal(data.features(1), rows)


def test_the_last_sequence_is_padded(config):
    data = SequenceDataset(config, "val")
    item = data[2]  # label frames 50 … 59, then 15 of padding
    rows = np.load(FeatureFiles(config).normalised(data.recordings[0]))
    np.testing.assert_array_equal(item["features"][1, :50], rows[250:, 64:128])
    assert not item["features"][:, 50:].any() and not item["activity"][10:].any()
    assert item["activity"][:5, 0].all()


def test_a_batch_is_its_items(config):
    data = SequenceDataset(config, "train")
    batch = data.__getitems__([7, 2, 11])
    assert batch["index"].tolist() == [7, 2, 11]
    for position, index in enumerate([7, 2, 11]):
        for name in ("features", "doa", "activity"):
            assert torch.equal(batch[name][position], data[index][name])
            assert batch[name].dtype == torch.float32


def test_data_survives_pickling(config):
    data = SequenceDataset(config, "test")
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[1]["features"], data[1]["features"])


def test_another_scaler_is_applied_to_features_as_extracted(config):
    usual = SequenceDataset(config, "test")
    other = SequenceDataset(config, "test", scaler=Scaler(usual.scaler.mean + 1, usual.scaler.scale * 2))
    unscaled = usual.scaler.invert(usual.features(0))
    np.testing.assert_allclose(other.features(0), other.scaler.apply(unscaled), atol=1e-4)
    np.testing.assert_array_equal(other.features(0)[:125, :64], other[0]["features"][0])
    assert not other[2]["features"][:, 50:].any()  # padding stays zero


def test_roles_and_missing_features(config, tiny_data, tmp_path):
    with pytest.raises(UserError, match=r"out of date.*batch_feature_extraction.py 1 .*top_db=70"):
        SequenceDataset(config.replaced(top_db=70.0), "train")
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    for path in folder.glob("*_dev/fold1*"):
        path.unlink()
    with pytest.raises(UserError, match="none of its 5 recordings is for 'test' in mode=dev"):
        SequenceDataset(config.replaced(dataset_dir=str(folder)), "test")


def test_more_sources_than_slots(tiny_data, tmp_path):
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    rows = make_rows((0, 30, 0, 10, 0), (5, 20, 1, 50, 0), (10, 40, 2, 90, 0))
    write_dcase(folder / "metadata_dev/fold1_room1_mix001_ov1.csv", rows)
    words = [f"dataset_dir={folder}", "max_audio_len_s=6", "--jobs", "1"]
    assert batch_feature_extraction.main([*words, "overflow=drop"]) == 0
    config = get_params(dataset_dir=str(folder), **SETTINGS)
    with pytest.raises(UserError, match=r"fold1_room1_mix001_ov1\.csv: 3"):
        SequenceDataset(config, "test")
    data = SequenceDataset(config.replaced(overflow="drop"), "test")
    _, event = data.references(0)
    assert (event[10:21] >= 0).all() and event.shape == (60, 3)  # scores keep all three
    assert data[0]["activity"][:, 1].nonzero().flatten().tolist() == list(range(5, 21))


# --- order --------------------------------------------------------------------------------------------------

def joined(lists):
    return list(itertools.chain.from_iterable(lists))


def batches(size=103, batch_size=10, shuffle=True, epoch=0, **kwargs):
    sampler = EpochSampler(size, batch_size, shuffle, 1234, **kwargs)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(sampler) == len(found)
    return found


def test_order_follows_from_seed_and_epoch():
    assert batches(epoch=3) == batches(epoch=3) != batches(epoch=4)
    assert sorted(joined(batches())) == list(range(103))  # the last, smaller batch is kept
    assert [len(b) for b in batches()] == [10] * 10 + [3]
    assert joined(batches(shuffle=False)) == list(range(103))
    assert batches(max_batches=2) == batches()[:2]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_share_each_batch(world):
    alone = batches()
    shares = [batches(rank=rank, world=world) for rank in range(world)]
    whole = [joined(parts) for parts in zip(*shares)]
    if world == 4:  # three samples are too few for four: they join the batch before
        alone = [*alone[:9], alone[9] + alone[10]]
    assert whole == alone
    sizes = [[len(part) for part in parts] for parts in zip(*shares)]
    assert all(min(batch) >= 1 and max(batch) - min(batch) <= 1 for batch in sizes)


def test_too_many_processes():
    with pytest.raises(UserError, match="8 processes share batches of 4"):
        batches(batch_size=4, world=8)
    with pytest.raises(UserError, match="out of 3 sequences"):
        batches(size=3, world=4)


def test_workers_change_nothing(config):
    data = SequenceDataset(config, "train")
    alone, helped = (make_loader(data, config.replaced(num_workers=workers), train=True) for workers in (0, 1))
    state = torch.get_rng_state()
    for epoch in (1, 2):
        for loader in (alone, helped):
            loader.batch_sampler.set_epoch(epoch)
        one, other = list(alone), list(helped)
        assert len(one) == len(other) == 3  # 5 + 5 + 2 sequences
        for a, b in zip(one, other):
            assert all(np.array_equal(a[name], b[name]) for name in a)
    assert torch.equal(torch.get_rng_state(), state)  # iterating takes nothing from the global generator


def test_quick_test_stops_after_two_batches(config):
    data = SequenceDataset(config, "train")
    assert len(list(make_loader(data, config, train=True, max_batches=2))) == 2
    assert [i for b in make_loader(data, config, train=False) for i in b["index"]] == list(range(12))
