"""Mixtures of recordings: which pairs, what they hold, when they are made again."""

import itertools
import os
from collections import Counter

import numpy as np
import pytest
import soundfile
from helpers import make_dataset, make_rows

import augment_files
from augment_files import draw_pairs
from cls_feature_class import FeatureFiles
from doanet_parameters import get_params
from doatools.data.dcase import read_dcase
from doatools.data.mixtures import mix_pieces, read_pieces, write_pieces
from doatools.data.readers import recordings_for, recordings_to_extract
from doatools.data.slots import count_overlap, pieces_of_rows, rows_at
from doatools.errors import UserError


@pytest.mark.parametrize("count", [2, 3, 8, 9, 10, 11, 25, 50])
def test_pairs_are_drawn_evenly(count):
    pairs = draw_pairs(count, np.random.default_rng(0))
    assert len(set(pairs)) == len(pairs) == min(4 * count, count * (count - 1) // 2)
    assert all(i < j for i, j in pairs)
    uses = Counter(itertools.chain.from_iterable(pairs))
    assert set(uses.values()) == {2 * len(pairs) // count}  # each equally often
    assert pairs == draw_pairs(count, np.random.default_rng(0))


def test_tracks_and_events_stay_apart(tmp_path):
    one, other, silent = (pieces_of_rows(make_rows(*events), 0.1) for events in (
        [(1, 4, 0, 10, 0), (6, 8, 3, 20, 0)], [(0, 7, 0, -30, 0)], []))
    pieces = mix_pieces(one, other)
    rows = rows_at(pieces, 0.1)
    assert count_overlap(rows) == 2 and len(rows) == len(one) + len(other) and (np.diff(pieces["start"]) >= 0).all()
    assert set(rows["track"][rows["azimuth"] == -30]) == {4}
    assert {(int(row["event"]), float(row["azimuth"])) for row in rows} == {(0, -30), (1, 10), (2, 20)}
    for pair in ((one, silent), (silent, one), (silent, silent), (one, other)):
        mixed = mix_pieces(*pair)
        write_pieces(tmp_path / "mixed.csv", mixed)
        back = read_pieces(tmp_path / "mixed.csv")
        for name in mixed.dtype.names:
            np.testing.assert_allclose(back[name], mixed[name], rtol=1e-7)
    (tmp_path / "mixed.csv").write_text("0,0,0,10,0\n")
    with pytest.raises(UserError, match=r"mixed\.csv is not a mixture"):
        read_pieces(tmp_path / "mixed.csv")


@pytest.fixture
def folder(tmp_path):
    return make_dataset(tmp_path, recordings_per_fold=3, seconds=1.5, folds=(1, 3, 4))


def run(folder, capsys, *words):
    assert augment_files.main([f"dataset_dir={folder}", *words]) == 0
    return capsys.readouterr().out


def contents(folder):
    return {path.name + path.parent.name: path.read_bytes() for path in folder.glob("*_dev/*")}


def made(folder, array):
    """Stems of the mixtures of an array."""
    return sorted(path.stem for path in folder.glob(f"mixtures/{array}/*.wav"))


def name(fold, one, other):
    return f"fold{fold}_room1_mix00{one}_ov1_mixed_with_fold{fold}_room1_mix00{other}_ov1"


def test_mixtures(folder, capsys):
    before = contents(folder)
    assert "6 mixtures made" in run(folder, capsys)
    assert contents(folder) == before
    for array in ("foa", "mic"):
        config = get_params("6", dataset_dir=str(folder), array=array)
        assert not any(r.augmented for r in recordings_for(config, "test"))
        mixed = [r for r in recordings_for(config, "train") if r.augmented]
        assert [r.stem for r in mixed] == [name(f, *pair) for f in (3, 4) for pair in ((1, 2), (1, 3), (2, 3))]
        assert {(r.split, r.room) for r in mixed[:3]} == {("3", "1")}
        one, other, mixture = (soundfile.read(path, dtype="float64")[0] for path in (
            *(folder / f"{array}_dev" / f"fold3_room1_mix{n}_ov1.wav" for n in ("001", "003")), mixed[1].audio))
        np.testing.assert_allclose(mixture, (one + other) / 2, atol=2**-15)
        info = soundfile.info(mixed[0].audio)
        assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 24000, 4)
        rows = FeatureFiles(config).read_labels(mixed[1])
        parts = [read_dcase(folder / f"metadata_dev/fold3_room1_mix{n}_ov1.csv") for n in ("001", "003")]
        assert len(rows) == sum(map(len, parts)) and count_overlap(rows) == 2
        assert set(rows["azimuth"]) == {part["azimuth"][0] for part in parts}


def test_a_second_run_adds_nothing(folder, capsys):
    run(folder, capsys)
    files = {path: path.read_bytes() for path in folder.glob("mixtures/*/*")}
    assert len(files) == 24 and "0 mixtures made, 6 were up to date" in run(folder, capsys)
    os.utime(folder / "mic_dev/fold4_room1_mix002_ov1.wav")  # in two of the three pairs
    (folder / f"mixtures/foa/{name(3, 1, 2)}.wav").unlink()
    assert "3 mixtures made, 3 were up to date" in run(folder, capsys)
    assert {path: path.read_bytes() for path in folder.glob("mixtures/*/*")} == files


def test_former_mixtures_are_removed(folder, capsys):
    run(folder, capsys)
    own = [folder / f"{kind}_dev/fold4_room1_aug9.{end}" for kind, end in (
        ("foa", "wav"), ("mic", "wav"), ("metadata", "csv"))]  # a user's own recording
    for path in own:
        path.write_bytes(next(folder.glob(f"{path.parent.name}/fold1*")).read_bytes())
    for path in folder.glob("*_dev/fold3_room1_mix003_ov1.*"):
        path.unlink()
    config = get_params("6", dataset_dir=str(folder))
    assert len([r for r in recordings_for(config, "train") if r.augmented]) == 4  # not those of what is gone
    told = run(folder, capsys)
    assert "former mixtures" in told
    assert made(folder, "foa") == made(folder, "mic") and name(3, 1, 2) in made(folder, "foa")
    assert not any("mix003" in stem for stem in made(folder, "foa") if stem.startswith("fold3"))
    assert all(path.exists() for path in own) and "were removed" not in run(folder, capsys)


def test_another_seed_leaves_no_mixture_of_the_first(tmp_path, capsys):
    folder = make_dataset(tmp_path, recordings_per_fold=12, seconds=1.2, folds=(3,), formats=("mic",))
    assert "next: python3 batch_feature_extraction.py 5" in run(folder, capsys, "seed=1")
    told = run(folder, capsys, "seed=2", "max_sources=3")
    assert "former mixtures" in told
    assert len(made(folder, "mic")) == len(list(folder.glob("mixtures/mic/*.csv"))) == 48
    next_line = told.splitlines()[-1]
    assert "array=mic" in next_line and "max_sources=3" in next_line and f"dataset_dir={folder}" in next_line


def test_suffixes_in_capitals(folder, capsys):
    for path in folder.glob("*_dev/fold3_room1_mix00[12]*"):
        path.rename(path.with_suffix(path.suffix.upper()))
    assert "6 mixtures made" in run(folder, capsys)
    assert "0 mixtures made, 6 were up to date" in run(folder, capsys)


def test_only_the_array_asked_for(folder, capsys):
    told = run(folder, capsys, "array=mic")
    assert f"{folder}/mixtures/mic\n" in told and not made(folder, "foa") and len(made(folder, "mic")) == 6


def test_rooms_of_a_splits_csv(folder, capsys):
    """Recordings of any name; those of another room or split are not mixed with each other."""
    lines = []
    for number, path in enumerate(sorted((folder / "foa_dev").iterdir())):
        for kind in ("foa", "mic", "metadata"):
            (old,) = folder.glob(f"{kind}_dev/{path.stem}.*")
            old.rename(old.with_stem(f"take{number}"))
        lines.append(f"take{number},{'val' if number == 0 else 'test' if number == 1 else 'train'},"
                     f"{'hall' if number < 6 else 'attic'}\n")
    (folder / "splits.csv").write_text("file,split,room\n" + "".join(lines))
    assert "9 mixtures made" in run(folder, capsys)
    pairs = [*itertools.combinations((2, 3, 4, 5), 2), *itertools.combinations((6, 7, 8), 2)]
    assert made(folder, "mic") == [f"take{i}_mixed_with_take{j}" for i, j in pairs]


def test_sources_add_up_to_max_sources_at_most(folder, capsys):
    csv = folder / "metadata_dev/fold3_room1_mix001_ov1.csv"
    csv.write_text(csv.read_text() + "5,0,8,0,0\n5,0,9,0,0\n")  # three sources at once, whatever its name says
    assert "4 mixtures made" in run(folder, capsys)
    assert made(folder, "foa")[0] == name(3, 2, 3)
    assert "2 mixtures made, 4 were up to date" in run(folder, capsys, "max_sources=4")


def test_an_array_of_ones_own(folder, capsys):
    (folder / "mine.yaml").write_text("name: mine\nkind: free\n"
                                      "positions_m: [[0.1, 0, 0], [0, 0.1, 0], [-0.1, 0, 0], [0, 0, 0.1]]\n")
    (folder / "mic_dev").rename(folder / "mine_dev")
    told = run(folder, capsys, f"array={folder / 'mine.yaml'}")
    assert "6 mixtures made" in told and f"array={folder / 'mine.yaml'}" in told.splitlines()[-1]
    assert len(made(folder, "mine")) == 6
    (folder / "mine.yaml").write_text("name: mine\nkind: free\npositions_m: [[0.1, 0, 0], [0, 0.1, 0], [-0.1, 0, 0]]\n")
    assert augment_files.main([f"dataset_dir={folder}", f"array={folder / 'mine.yaml'}"]) == 2
    assert "4 channel(s), not 3" in capsys.readouterr().err


def test_unlike_lengths(tmp_path, capsys):
    folder = make_dataset(tmp_path, recordings_per_fold=2, seconds=1.5, folds=(3,), formats=("foa",))
    path = folder / "foa_dev/fold3_room1_mix002_ov1.wav"
    soundfile.write(path, soundfile.read(path)[0][:-5000], 24000)
    assert "1 mixtures made" in run(folder, capsys)
    assert soundfile.info(folder / f"mixtures/foa/{name(3, 1, 2)}.wav").frames == 36000


def test_mixtures_of_an_earlier_edition_are_left_out(folder, capsys):
    for kind in ("foa", "mic", "metadata"):
        (old,) = folder.glob(f"{kind}_dev/fold3_room1_mix001_ov1.*")
        old.with_stem("fold3_room1_aug001002_ov1").write_bytes(old.read_bytes())
    run(folder, capsys)
    config = get_params("6", dataset_dir=str(folder))
    found = recordings_to_extract(FeatureFiles(config).reader, config)
    assert len(found) == 15 and not any("aug" in recording.stem for recording in found)


def test_refusals(folder, capsys):
    def refused():
        assert augment_files.main([f"dataset_dir={folder}"]) == 2
        return capsys.readouterr().err

    (folder / "splits.csv").write_text("file,split\n")
    assert "splits.csv" in refused()
    (folder / "splits.csv").unlink()
    (folder / "mic_dev/fold3_room1_mix001_ov1.wav").unlink()
    assert "mic_dev" in refused()
    (folder / "metadata_dev/fold3_room1_mix001_ov1.csv").unlink()
    (folder / "foa_dev/fold3_room1_mix001_ov1.wav").unlink()
    for path in folder.glob("*_dev/fold*_room1_mix003*"):
        path.rename(path.with_name(path.name.replace("room1", "room2")))
    for path in folder.glob("*_dev/fold4*mix001*"):
        path.unlink()
    assert "no two training recordings of one room" in refused()
    for path in folder.glob("*_dev/fold[34]*"):
        path.unlink()
    assert "is for 'train'" in refused()
    assert augment_files.main([f"dataset_dir={folder / 'nowhere'}"]) == 2
    assert "simulate_dataset.py" in capsys.readouterr().err
