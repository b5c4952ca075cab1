"""Annotation files, splits and slots, on hand-made tracks."""

import numpy as np
import pytest
from helpers import make_dataset, make_rows

from doatools.data.dcase import find_recordings, is_mixture, read_dcase, select, write_dcase
from doatools.data.slots import assign_slots, count_overlap, refuse_overflow
from doatools.errors import UserError
from doatools.spatial.geometry import unit_vectors


def csv_file(folder, text):
    path = folder / "some.csv"
    path.write_text(text)
    return path


def test_events_are_runs_of_one_class_and_track(tmp_path):
    rows = read_dcase(csv_file(tmp_path, "0,1,0,10,5\n1,1,0,20,5\n\n1,2,0,30,-5,250\n3,1,0,-40,5\n"))
    assert rows["frame"].tolist() == [0, 1, 1, 3]
    assert rows["event"].tolist() == [0, 0, 1, 2]  # the gap at frame 2 ends the first event
    assert rows["azimuth"].tolist() == [10, 20, 30, -40]


def test_lines_in_any_order_keep_theirs_inside_a_frame(tmp_path):
    rows = read_dcase(csv_file(tmp_path, "1,0,7,10,0\n0,0,9,20,0\n0,0,7,30,0\n"))
    assert rows["track"].tolist() == [9, 7, 7]
    assert rows["event"].tolist() == [0, 1, 1]


def test_empty_file_is_silence(tmp_path):
    rows = read_dcase(csv_file(tmp_path, ""), 10)
    doa, event = assign_slots(rows, 10, 2)
    assert len(rows) == 0 and count_overlap(rows) == 0
    assert not doa.any() and (event == -1).all()


def test_round_trip(tmp_path):
    rows = make_rows((0, 3, 0, -180, 45), (2, 5, 1, 179, -90))
    write_dcase(tmp_path / "a.csv", rows)
    assert read_dcase(tmp_path / "a.csv", 6).tobytes() == rows.tobytes()  # as bytes: distances are NaN


def test_distances_are_in_cm(tmp_path):
    rows = read_dcase(csv_file(tmp_path, "0,1,0,10,5,230\n0,2,0,10,5\n"))
    np.testing.assert_array_equal(rows["distance"], np.float32([2.3, np.nan]))
    rows = read_dcase(csv_file(tmp_path, "0,1,0,10,5,230\n1,1,0,10,5,228\n"))
    np.testing.assert_array_equal(rows["distance"], np.float32([2.3, 2.28]))
    write_dcase(tmp_path / "six.csv", rows, distance=True)
    assert (tmp_path / "six.csv").read_text() == "0,1,0,10,5,230\n1,1,0,10,5,228\n"


def test_sources_may_share_an_id_where_told(tmp_path):
    path = csv_file(tmp_path, "0,8,0,10,5\n0,8,0,90,5\n1,8,0,12,5\n1,8,0,92,5\n2,8,0,14,5\n")
    with pytest.raises(UserError, match="line 2"):
        read_dcase(path)
    rows = read_dcase(path, shared_ids=True)
    assert rows["event"].tolist() == [0, 1, 0, 1, 0]
    assert rows["track"].tolist() == [0, 1000, 0, 1000, 0]


def test_ids_that_are_not_zero_may_be_shared_for_a_tracker(tmp_path):
    path = csv_file(tmp_path, "0,8,3,10,5\n0,8,3,90,5\n0,8,1003,30,5\n1,8,3,12,5\n")
    with pytest.raises(UserError, match=r"line 2: .*twice in frame 0; add tracker=kalman"):
        read_dcase(path, shared_ids=True)
    rows = read_dcase(path, shared_ids="any")
    assert rows["event"].tolist() == [0, 1, 2, 0] and rows["track"].tolist() == [0, 1, 2, 0]  # 3 + 1000 is taken


@pytest.mark.parametrize("length", [1, 0.5, 1.2])
def test_vectors_are_read_as_directions(tmp_path, length):
    x, y, z = length * unit_vectors(-120.0, 40.0)
    rows = read_dcase(csv_file(tmp_path, f"0,1,0,{x},{y},{z}\n\n3,1,0,{length:.1f},0.0,0.0\n"))
    np.testing.assert_allclose(rows["azimuth"], [-120, 0], atol=1e-4)
    np.testing.assert_allclose(rows["elevation"], [40, 0], atol=1e-4)
    assert np.isnan(rows["distance"]).all() and rows["frame"].tolist() == [0, 3]


@pytest.mark.parametrize("text, azimuth", [
    ("0,1,0,1,0,1\n", 1), ("0,1,0,0,1,1.2\n", 0), ("0,1,0,1.0,0.5,230\n", 1), ("0,1,0,1.0,0.5\n", 1)])
def test_angles_near_the_front_are_no_vectors(tmp_path, text, azimuth):
    assert read_dcase(csv_file(tmp_path, text))["azimuth"] == azimuth


def test_a_vector_without_a_length_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"line 2: the vector x, y, z has no length"):
        read_dcase(csv_file(tmp_path, "0,1,0,0.5,0.5,0.1\n1,1,0,0.0,0.0,0.0\n"))


@pytest.mark.parametrize("line, says", [
    ("0,1,0,10", "4 columns"),
    ("0,1,0,10,5,1,1", "7 columns"),
    ("frame,class,track,azimuth,elevation", "not a number"),
    ("0.5,1,0,10,5", "whole number"),
    ("nan,1,0,10,5", "whole number"),
    ("0,1,0,181,5", "azimuth 181"),
    ("0,1,0,nan,5", "azimuth nan"),
    ("0,1,0,10,-91", "elevation -91"),
    ("-1,1,0,10,5", "negative"),
    ("10,1,0,10,5", "beyond the end"),
    ("0,1,0,10,5,-1", "distance -1 is negative"),
    ("0,1,0,10,5,nan", "distance nan"),
    ("3,1,0,20,5", "twice in frame 3"),
])
def test_errors_name_file_and_line(tmp_path, line, says):
    path = csv_file(tmp_path, f"3,1,0,10,5\n{line}\n")
    with pytest.raises(UserError, match=rf"some\.csv, line 2: .*{says}"):
        read_dcase(path, n_frames=10)


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "some.csv"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match=r"some\.csv is not a text file"):
        read_dcase(path)
    with pytest.raises(UserError, match="does not exist"):
        read_dcase(tmp_path / "none.csv")


# --- slots: frames      0 1 2 3 4 5
#     event 0 (track 0)  x x x
#     event 1 (track 1)    x x x x x
#     event 2 (track 2)        x x      takes the slot that event 0 left
ROWS = make_rows((0, 2, 0, 0, 0), (1, 5, 1, 90, 0), (3, 4, 2, 180, 30))


def test_a_track_keeps_its_slot_for_life():
    doa, event = assign_slots(ROWS, 6, 2)
    assert event.T.tolist() == [[0, 0, 0, 2, 2, -1], [-1, 1, 1, 1, 1, 1]]
    np.testing.assert_allclose(doa[4], unit_vectors([180, 90], [30, 0]), atol=1e-6)
    assert doa.dtype == np.float32 and event.dtype == np.int32
    assert not doa[event < 0].any()


def test_by_frame_fills_slots_in_the_order_of_lines():
    _, event = assign_slots(ROWS, 6, 2, how="frame")
    assert event.T.tolist() == [[0, 0, 0, 1, 1, 1], [-1, 1, 1, 2, 2, -1]]


def test_too_many_sources():
    with pytest.raises(UserError, match="more than 1 sources at once, first in frame 1"):
        assign_slots(ROWS, 6, 1)
    _, event = assign_slots(ROWS, 6, 1, overflow="drop")
    assert event[:, 0].tolist() == [0, 0, 0, 2, 2, -1]  # event 1 found no slot at birth and stays out
    _, event = assign_slots(ROWS, 6, 1, "frame", overflow="drop")
    assert event[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert count_overlap(ROWS) == 2


def test_rows_beyond_the_end_are_left_out():
    _, event = assign_slots(ROWS, 3, 1, overflow="drop")
    assert event[:, 0].tolist() == [0, 0, 0]


def test_refusal_lists_at_most_twenty():
    with pytest.raises(UserError, match="25 recording") as error:
        refuse_overflow({f"file{n}": 3 for n in range(25)} | {"fine": 2}, 2)
    assert str(error.value).count("file") == 20 and "and 5 more" in str(error.value)
    assert "max_sources=3" in str(error.value) and "overflow=drop" in str(error.value)


# --- recordings -------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    return make_dataset(tmp_path, seconds=1.0, formats=("foa",))


def test_names_state_split_room_and_overlap(folder):
    found = find_recordings(folder, "foa")
    assert [r.stem for r in found] == [f"fold{n}_room1_mix001_ov1" for n in range(1, 7)]
    assert (found[2].split, found[2].room, found[2].overlap, found[2].augmented) == ("3", "1", 1, False)
    assert found[2].annotation.exists() and found[2].audio.exists()
    splits = {role: [r.split for r in select(found, role)] for role in ("train", "val", "test")}
    assert splits == {"train": ["3", "4", "5", "6"], "val": ["2"], "test": ["1"]}


def test_evaluation_mode(folder):
    with pytest.raises(UserError, match=r"foa_eval does not exist: download.*download_dataset.py tau2020") as error:
        find_recordings(folder, "foa", "eval")
    assert "simulate_dataset.py" not in str(error.value)  # which makes none
    for name, ending in (("foa", ".wav"), ("metadata", ".csv")):
        (folder / f"{name}_eval").mkdir()
        source = folder / f"{name}_dev" / f"fold1_room1_mix001_ov1{ending}"
        (folder / f"{name}_eval" / f"mix001{ending}").write_bytes(source.read_bytes())
    found = find_recordings(folder, "foa", "eval")
    assert [r.split for r in select(found, "train", "eval")] == ["2", "3", "4", "5", "6"]
    assert [r.stem for r in select(found, "test", "eval")] == ["mix001"]
    assert [r.split for r in select(found, "val", "eval")] == ["1"]


@pytest.mark.parametrize("name, mixed", [
    ("fold3_room1_aug001002_ov1", True),
    ("fold3_room_aug_mix001_ov1", False),
    ("fold3_room1_aug5", False),
    ("august_augmented", False),
    ("day_aug3_ov1", False),
])
def test_only_the_full_pattern_is_a_mixture(name, mixed):
    assert is_mixture(name) is mixed


def rename(folder, stem, new):
    """Rename the WAV and the CSV of one recording."""
    for path in list(folder.glob(f"*_dev/{stem}.*")):
        path.rename(path.with_stem(new))


@pytest.mark.parametrize("name", ["kitchen_aug_17", "fold3_room1_aug001002_ov1"])
def test_recordings_of_a_splits_csv_are_no_mixtures(folder, name):
    rename(folder, "fold1_room1_mix001_ov1", name)
    lines = [f"fold{n}_room1_mix001_ov1,train\n" for n in range(2, 7)]
    (folder / "splits.csv").write_text("file,split\n" + "".join(lines))
    with pytest.raises(UserError, match=f"no line for {name}"):
        find_recordings(folder, "foa")
    (folder / "splits.csv").write_text("file,split\n" + "".join(lines) + f"{name},test\n")
    (own,) = select(find_recordings(folder, "foa"), "test")
    assert own.stem == name and not own.augmented
    (folder / f"foa_dev/{name}.wav").unlink()
    (folder / f"metadata_dev/{name}.csv").unlink()
    with pytest.raises(UserError, match=f"line 7: .* holds no recording '{name}"):
        find_recordings(folder, "foa")


def test_suffixes_in_capitals(folder):
    (folder / "foa_dev/fold1_room1_mix001_ov1.wav").rename(folder / "foa_dev/B.WAV")
    (folder / "metadata_dev/fold1_room1_mix001_ov1.csv").rename(folder / "metadata_dev/B.CSV")
    lines = [f"fold{n}_room1_mix001_ov1,train\n" for n in range(2, 7)]
    (folder / "splits.csv").write_text("file,split\nB.WAV,test\n" + "".join(lines))
    assert [r.stem for r in select(find_recordings(folder, "foa"), "test")] == ["B"]
    (folder / "foa_dev/B.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"B\.WAV and B\.wav have the same name"):
        find_recordings(folder, "foa")


def test_splits_csv_replaces_names(folder):
    rename(folder, "fold1_room1_mix001_ov1", "my own")
    lines = [f"fold{n}_room1_mix001_ov1,train,,\n" for n in range(2, 6)]
    lines += ["my own.wav,test,kitchen,3\n", "fold6_room1_mix001_ov1,2,,\n"]
    with pytest.raises(UserError, match=r"my own\.wav: the name does not state the fold"):
        find_recordings(folder, "foa")
    (folder / "splits.csv").write_text("file,split,room,overlap\n" + "".join(lines))
    found = find_recordings(folder, "foa")
    assert len(select(found, "train")) == 4 and len(select(found, "val")) == 1
    (own,) = select(found, "test")
    assert (own.stem, own.room, own.overlap) == ("my own", "kitchen", 3)
    assert len(select(find_recordings(folder, "foa", "eval"), "train", "eval")) == 5  # needs no foa_eval


@pytest.mark.parametrize("text, says", [
    ("name,split\n", "line 1: the header"),
    ("file,split\nfold1_room1_mix001_ov1,trian\n", "line 2: split 'trian'.*Did you mean 'train'"),
    ("file,split\nfold1_room1_mix001_ov1\n", "line 2: split 'None'"),
    ("file,split,overlap\nfold1_room1_mix001_ov1,train,two\n", "line 2: overlap 'two'"),
    ("file,split\nfold1_room1_mix001_ov1,1\nfold1_room1_mix001_ov1,2\n", "line 3: .* is given in line 2"),
    ("file,split\nfold1_room1_mix001_ov1,1\n", "no line for fold2"),
    ("file,split\n" + "".join(f"fold{n}_room1_mix001_ov1,{n}\n" for n in range(1, 7)) + "x,1\n",
     "line 8: .*no recording 'x.wav'"),
])
def test_errors_of_splits_csv(folder, text, says):
    (folder / "splits.csv").write_text(text)
    with pytest.raises(UserError, match=rf"splits\.csv.*{says}"):
        find_recordings(folder, "foa")


def test_missing_and_unpaired_files(folder):
    with pytest.raises(UserError, match=r"mic_dev does not exist.*simulate_dataset.py.*download_dataset.py"):
        find_recordings(folder, "mic")
    wav = folder / "foa_dev/fold1_room1_mix001_ov1.wav"
    csv = folder / "metadata_dev/fold2_room1_mix001_ov1.csv"
    csv.rename(folder / "kept.csv")
    with pytest.raises(UserError, match=r"fold2_room1_mix001_ov1\.wav has no annotation"):
        find_recordings(folder, "foa")
    (folder / "kept.csv").rename(csv)
    wav.unlink()
    with pytest.raises(UserError, match=r"fold1_room1_mix001_ov1\.csv has no recording"):
        find_recordings(folder, "foa")
    for path in (folder / "foa_dev").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"holds no WAV file$"):
        find_recordings(folder, "foa")
    (folder / "foa_dev" / "dev-train-sony").mkdir()
    (folder / "foa_dev" / "dev-train-sony" / "fold3.WAV").touch()
    with pytest.raises(UserError, match=r"sub-folders hold 1 \(first: dev-train-sony/fold3\.WAV\): .*format=dcase2021"):
        find_recordings(folder, "foa")


def test_a_frame_far_beyond_any_recording_costs_no_memory(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("0,1,0,10,20\n999999,1,0,10,20\n")
    assert len(read_dcase(path)) == 2
    path.write_text("0,1,0,10,20\n1e9,1,0,10,20\n")
    with pytest.raises(UserError, match=r"a\.csv, line 2: frame 1e\+09 is 27\.7778 hours or more after the start"):
        read_dcase(path)
