"""Mixtures of single-source recordings: which pairs, what they hold, when they are made again."""

import itertools
import os
from collections import Counter

import numpy as np
import pytest
import soundfile
from helpers import make_dataset, make_rows

import augment_files
from augment_files import draw_pairs, mix_annotations
from doatools.data.dcase import find_recordings, read_dcase
from doatools.data.slots import count_overlap


@pytest.mark.parametrize("count", [2, 3, 8, 9, 10, 11, 25, 50])
def test_pairs_are_drawn_evenly(count):
    pairs = draw_pairs(count, np.random.default_rng(0))
    assert len(set(pairs)) == len(pairs) == min(4 * count, count * (count - 1) // 2)
    assert all(i < j for i, j in pairs)
    uses = Counter(itertools.chain.from_iterable(pairs))
    assert set(uses.values()) == {2 * len(pairs) // count}  # each equally often
    assert pairs == draw_pairs(count, np.random.default_rng(0))


def test_tracks_stay_apart():
    one, other = make_rows((0, 4, 0, 10, 0), (6, 8, 3, 20, 0)), make_rows((2, 7, 0, -30, 0))
    rows = mix_annotations(one, other)
    assert count_overlap(rows) == 2 and len(rows) == len(one) + len(other)
    assert set(rows["track"][rows["azimuth"] == -30]) == {4}
    assert (np.diff(rows["frame"]) >= 0).all()
    silent = make_rows()
    for mixed, alone in ((mix_annotations(silent, other), other), (mix_annotations(one, silent), one)):
        for name in alone.dtype.names:  # distances are not a number here, which equals itself in a plain column only
            np.testing.assert_array_equal(mixed[name], alone[name])


@pytest.fixture
def folder(tmp_path):
    return make_dataset(tmp_path, recordings_per_fold=3, seconds=1.5, folds=(1, 3, 4))


def run(folder, capsys, *words):
    assert augment_files.main([f"dataset_dir={folder}", *words]) == 0
    return capsys.readouterr().out


def contents(folder):
    return {path.name + path.parent.name: path.read_bytes() for path in folder.glob("*_dev/*")}


def test_mixtures(folder, capsys):
    before = contents(folder)
    assert "6 mixtures made" in run(folder, capsys)
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    for array in ("foa", "mic"):
        found = find_recordings(folder, array, augmented=True)
        mixed = [r for r in found if r.augmented]
        assert [r.stem for r in mixed] == [f"fold{f}_room1_aug{pair}_ov1" for f in (3, 4)
                                           for pair in ("001002", "001003", "002003")]  # never the test fold
        one, other, mixture = (
            soundfile.read(folder / f"{array}_dev" / f"fold3_room1_{name}_ov1.wav", dtype="float64")[0]
            for name in ("mix001", "mix003", "aug001003"))
        np.testing.assert_allclose(mixture, (one + other) / 2, atol=2**-15)
        info = soundfile.info(mixed[0].audio)
        assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 24000, 4)
        rows = read_dcase(mixed[1].annotation, 15)
        parts = [read_dcase(folder / f"metadata_dev/fold3_room1_mix{n}_ov1.csv") for n in ("001", "003")]
        assert len(rows) == sum(map(len, parts)) and count_overlap(rows) == 2
        assert set(rows["azimuth"]) == {part["azimuth"][0] for part in parts}


def test_a_second_run_adds_nothing(folder, capsys):
    run(folder, capsys)
    before = contents(folder)
    assert "0 mixtures made, 6 were up to date" in run(folder, capsys)
    os.utime(folder / "mic_dev/fold4_room1_mix002_ov1.wav")  # in two of the three pairs
    (folder / "foa_dev/fold3_room1_aug001002_ov1.wav").unlink()
    assert "3 mixtures made, 3 were up to date" in run(folder, capsys)
    assert contents(folder) == before


def test_former_mixtures_are_removed(folder, capsys):
    run(folder, capsys)
    for stem in ("fold4_room1_aug001009_ov1", "fold4_room1_aug9"):  # the second is a user's own recording
        for name, ending in (("foa", "wav"), ("mic", "wav"), ("metadata", "csv")):
            (folder / f"{name}_dev/{stem}.{ending}").write_bytes(b"")
    for path in folder.glob("*_dev/fold3_room1_mix003_ov1.*"):
        path.unlink()
    told = run(folder, capsys)
    assert "0 mixtures made, 4 were up to date" in told and "3 former mixtures" in told
    for name in ("foa", "mic", "metadata"):
        mixed = sorted(path.stem for path in (folder / f"{name}_dev").glob("*_aug*"))
        assert mixed == ["fold3_room1_aug001002_ov1", "fold4_room1_aug001002_ov1", "fold4_room1_aug001003_ov1",
                         "fold4_room1_aug002003_ov1", "fold4_room1_aug9"]
    assert "were removed" not in run(folder, capsys)


def test_another_seed_leaves_no_mixture_of_the_first(tmp_path, capsys):
    folder = make_dataset(tmp_path, recordings_per_fold=12, seconds=1.2, folds=(3,), formats=("mic",))
    assert "next: python3 batch_feature_extraction.py 5" in run(folder, capsys, "seed=1")
    told = run(folder, capsys, "seed=2", "max_sources=3")
    assert "former mixtures" in told
    assert len(list((folder / "mic_dev").glob("*_aug*.wav"))) == 48
    assert len(list((folder / "metadata_dev").glob("*_aug*.csv"))) == 48
    next_line = told.splitlines()[-1]
    assert "array=mic" in next_line and "max_sources=3" in next_line and f"dataset_dir={folder}" in next_line


def test_suffixes_in_capitals(folder, capsys):
    for path in folder.glob("*_dev/fold3_room1_mix00[12]*"):
        path.rename(path.with_suffix(path.suffix.upper()))
    assert "6 mixtures made" in run(folder, capsys)
    assert "0 mixtures made, 6 were up to date" in run(folder, capsys)
    found = find_recordings(folder, "mic", augmented=True)
    assert {recording.audio.suffix for recording in found if recording.augmented} == {".wav"}
    assert len(read_dcase(folder / "metadata_dev/fold3_room1_aug001002_ov1.csv", 15)) == 10


def test_only_the_array_asked_for(folder, capsys):
    told = run(folder, capsys, "array=mic")
    assert "mic_dev and metadata_dev" in told and not list(folder.glob("foa_dev/*_aug*"))


def test_an_array_of_ones_own(folder, capsys):
    (folder / "mine.yaml").write_text("name: mine\nkind: free\n"
                                      "positions_m: [[0.1, 0, 0], [0, 0.1, 0], [-0.1, 0, 0], [0, 0, 0.1]]\n")
    (folder / "mic_dev").rename(folder / "mine_dev")
    told = run(folder, capsys, f"array={folder / 'mine.yaml'}")
    assert "6 mixtures made" in told and f"array={folder / 'mine.yaml'}" in told.splitlines()[-1]
    assert len(list(folder.glob("mine_dev/*_aug*"))) == 6
    (folder / "mine.yaml").write_text("name: mine\nkind: free\npositions_m: [[0.1, 0, 0], [0, 0.1, 0], [-0.1, 0, 0]]\n")
    next(folder.glob("mine_dev/*_aug*")).unlink()
    assert augment_files.main([f"dataset_dir={folder}", f"array={folder / 'mine.yaml'}"]) == 2
    assert "4 channel(s), not 3" in capsys.readouterr().err


def test_unlike_lengths(tmp_path, capsys):
    folder = make_dataset(tmp_path, recordings_per_fold=2, seconds=1.5, folds=(3,), formats=("foa",))
    path = folder / "foa_dev/fold3_room1_mix002_ov1.wav"
    soundfile.write(path, soundfile.read(path)[0][:-5000], 24000)
    assert "1 mixtures made" in run(folder, capsys)
    assert soundfile.info(folder / "foa_dev/fold3_room1_aug001002_ov1.wav").frames == 36000


def test_refusals(folder, capsys):
    def refused():
        assert augment_files.main([f"dataset_dir={folder}"]) == 2
        return capsys.readouterr().err

    (folder / "splits.csv").write_text("file,split\n")
    assert "splits.csv" in refused()
    (folder / "splits.csv").unlink()
    csv = folder / "metadata_dev/fold3_room1_mix001_ov1.csv"
    kept = csv.read_text()
    csv.write_text(kept + "5,0,8,0,0\n5,0,9,0,0\n")
    assert "named single-source" in refused()
    csv.write_text(kept)
    (folder / "mic_dev/fold3_room1_mix001_ov1.wav").unlink()
    assert "mic_dev" in refused()
    for path in folder.glob("*_dev/fold[34]*"):
        path.unlink()
    assert "no two single-source training recordings" in refused()
    assert augment_files.main([f"dataset_dir={folder / 'nowhere'}"]) == 2
    assert "simulate_dataset.py" in capsys.readouterr().err
