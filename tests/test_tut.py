"""TUT Sound Events 2018: annotations, folders, folds, and small sets simulated like it."""

import shutil

import numpy as np
import pytest
import soundfile
from tut_helpers import make_tut

import augment_files
import simulate_dataset
from doanet_parameters import get_params
from doatools.data.mixtures import read_pieces
from doatools.data.readers import Tut2018, recordings_for
from doatools.data.slots import assign_slots, count_overlap, rows_at
from doatools.data.tut import find_tut, read_tut, select_tut, write_tut
from doatools.errors import UserError
from doatools.simulate import writers
from doatools.simulate.sounds import GeneratedSounds
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.types import EVENT_PIECES

HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"


def rows_of(folder, text, hop_s=0.02, seconds=None):
    """A TUT CSV with these lines → EVENT_ROWS at frames of ``hop_s``, up to ``seconds``."""
    path = folder / "some.csv"
    path.write_text(HEADER + text)
    return rows_at(Tut2018.read(path, seconds), hop_s)


# --- annotations -------------------------------------------------------------------------------------------------

def test_an_event_is_active_in_every_frame_that_it_touches(tmp_path):
    """Frame k is [0.02k, 0.02k + 0.02): active if start < its end and end > its start."""
    rows = rows_of(tmp_path, "a.wav,0.019,0.06,20,-100,1\nb.wav,0.06,0.0601,-20,100,1\n")
    assert rows["frame"].tolist() == [0, 1, 2, 3]  # 0.06 is no part of frame 2 for b, nor of frame 3 for a
    assert rows["event"].tolist() == [0, 0, 0, 1]
    assert rows["azimuth"].tolist() == [-100, -100, -100, 100]  # the elevation's column comes first
    assert rows["elevation"].tolist() == [20, 20, 20, -20]


def test_borders_on_frames_are_exact(tmp_path):
    for frame in range(1, 1500):
        rows = rows_of(tmp_path, f"a.wav,{frame / 50:.2f},{(frame + 2) / 50:.2f},0,0,1\n")
        assert rows["frame"].tolist() == [frame, frame + 1]


def test_any_label_hop(tmp_path):
    text = "a.wav,0.25,0.55,0,0,1\n"
    assert rows_of(tmp_path, text, hop_s=0.1)["frame"].tolist() == [2, 3, 4, 5]
    assert rows_of(tmp_path, text, hop_s=0.1, seconds=0.4)["frame"].tolist() == [2, 3]
    assert rows_of(tmp_path, text, hop_s=0.1, seconds=0.41)["frame"].tolist() == [2, 3, 4]
    assert rows_of(tmp_path, text, hop_s=0.1, seconds=0.2)["frame"].tolist() == []


def test_slots_follow_the_start_times_of_the_active(tmp_path):
    """b starts first; from the frame on in which b has ended, a is the first of the active."""
    rows = rows_of(tmp_path, "a.wav,0.04,0.16,0,10,1\nb.wav,0.0,0.10,0,20,1\nc.wav,0.04,0.08,0,30,1\n")
    _, event = assign_slots(rows, 8, 4, how="start")
    names = {0: "b", 1: "a", 2: "c", -1: "."}
    told = ["".join(names[int(e)] for e in frame) for frame in event]
    assert told == ["b...", "b...", "bac.", "bac.", "ba..", "a...", "a...", "a..."]
    assert count_overlap(rows) == 3


def test_more_sources_than_slots(tmp_path):
    rows = rows_of(tmp_path, "a.wav,0,0.1,0,0,1\nb.wav,0,0.1,0,50,1\n")
    with pytest.raises(UserError, match="more than 1 sources at once"):
        assign_slots(rows, 5, 1, how="start")
    doa, _ = assign_slots(rows, 5, 1, how="start", overflow="drop")
    np.testing.assert_allclose(doa[0, 0], unit_vectors(0, 0), atol=1e-6)


def test_silence_and_round_trip(tmp_path):
    assert len(rows_of(tmp_path, "")) == 0
    write_tut(tmp_path / "a.csv", [("x.wav", 1.0, 2.5, -170.0, 40.0, 2.0)])
    pieces = read_tut(tmp_path / "a.csv")
    assert pieces.dtype == EVENT_PIECES and pieces.tolist() == [(1.0, 2.5, 0, 0, 0, -170.0, 40.0, 2.0)]
    rows = rows_at(pieces, 0.02)
    assert rows["frame"].tolist() == list(range(50, 125))
    assert set(rows["azimuth"]) == {-170} and set(rows["elevation"]) == {40}


@pytest.mark.parametrize("line, says", [
    ("a.wav,1,2,0,0", "not as many cells"),
    ("a.wav,1,2,0,0,1,7", "not as many cells"),
    ("a.wav,one,2,0,0,1", "start_time 'one' is not a number"),
    ("a.wav,1,2,0,181,1", "azi 181"),
    ("a.wav,1,2,100,0,1", "ele 100"),
    ("a.wav,2,1,0,0,1", "ends after its start"),
    ("a.wav,-1,1,0,0,1", "start at 0"),
    ("a.wav,nan,1,0,0,1", "start at 0"),
])
def test_bad_lines_are_named(tmp_path, line, says):
    with pytest.raises(UserError, match=rf"some\.csv, line 3: .*{says}"):
        rows_of(tmp_path, f"a.wav,1,2,0,0,1\n{line}\n")


def test_a_wrong_header_is_named(tmp_path):
    (tmp_path / "some.csv").write_text("0,1,0,20,10\n")
    with pytest.raises(UserError, match=r"some\.csv, line 1: no column 'sound_event_recording'"):
        read_tut(tmp_path / "some.csv")


# --- recordings -----------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def ansim(tmp_path_factory):
    return make_tut(tmp_path_factory.mktemp("tut") / "ansim", seconds=0.5, fs=8000)


def test_folds_divide_the_recordings(ansim):
    found = find_tut(ansim)
    assert len(found) == len({recording.stem for recording in found}) == 12
    assert found[0].stem == "ov1_split1_test_0_desc_30_100" and found[0].overlap == 1
    roles = {fold: {role: {r.stem for r in select_tut(found, role, fold)} for role in ("train", "val", "test")}
             for fold in (1, 2, 3)}
    for parts in roles.values():
        assert set.union(*parts.values()) == {r.stem for r in found}
        assert sum(map(len, parts.values())) == 12
    assert roles[2]["test"] == {f"ov{o}_split2_{p}_0_desc_30_100" for o in (1, 2) for p in ("train", "test")}
    assert roles[2]["train"] == {f"ov{o}_split{s}_train_0_desc_30_100" for o in (1, 2) for s in (1, 3)}
    assert roles[2]["val"] == {f"ov{o}_split{s}_test_0_desc_30_100" for o in (1, 2) for s in (1, 3)}


@pytest.mark.parametrize("spoil, says", [
    (lambda d: (d / "wav_ov1_split2_30db").rename(d / "wav_ov1_split8_30db"), "1, 8 and 9"),
    (lambda d: (d / "wav_ov1_split2_30db").rename(d / "wav_ov4_split2_30db"), "ov1, ov2, ov3"),
    (lambda d: [shutil.rmtree(p) for p in d.glob("*_split3*")], "no recordings of split 3"),
    (lambda d: shutil.rmtree(d / "desc_ov2_split1"), "desc_ov2_split1 does not exist"),
    (lambda d: next(d.glob("desc_ov1_split1/train*")).unlink(), "has no annotation"),
    (lambda d: next(d.glob("wav_ov1_split1_30db/train*")).unlink(), "has no recording"),
    (lambda d: [next(d.glob(f"{k}_ov1_split1*/train*")).rename(next(d.glob(f"{k}_ov1_split1*")) / f"dev_0.{e}")
                for k, e in (("wav", "wav"), ("desc", "csv"))], "neither with train_ nor with test_"),
])
def test_bad_folders_are_named(ansim, tmp_path, spoil, says):
    folder = shutil.copytree(ansim, tmp_path / "ansim")
    spoil(folder)
    with pytest.raises(UserError, match=says):
        find_tut(folder)


def test_a_missing_set_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match=r"download_dataset\.py resim.*simulate_dataset\.py --format tut2018"):
        find_tut(tmp_path / "resim")


# --- simulation -------------------------------------------------------------------------------------------------

WORDS = ["sim_recordings_per_fold=2", "sim_recording_len_s=2", "fs=16000", "--jobs", "1", "--format", "tut2018"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "tut"
    assert simulate_dataset.main([*WORDS, f"dataset_dir={root}"]) == 0
    return root


def test_simulated_sets_have_the_layout(simulated):
    for name in ("ansim", "resim"):
        found = find_tut(simulated / name)
        assert len(found) == 3 * 3 * 2
        for recording in found:
            info = soundfile.info(recording.audio)
            assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 4, "PCM_16", 32000)
            rows = rows_at(Tut2018.read(recording.annotation, 2.0), 0.02)
            assert 1 <= count_overlap(rows) <= recording.overlap
            assert not (rows["azimuth"] % 10).any() and not (rows["elevation"] % 10).any()
            assert np.abs(rows["elevation"]).max() <= 60


def test_anechoic_sources_are_plane_waves_from_their_labels(simulated):
    errors = []
    for recording in find_tut(simulated / "ansim"):
        if recording.overlap == 1:
            audio, fs = soundfile.read(recording.audio)
            for row in rows_at(Tut2018.read(recording.annotation, 2.0), 0.02):
                frame = audio[round(row["frame"] * 0.02 * fs) :][: round(0.02 * fs)]
                if np.mean(frame[:, 0] ** 2) > np.mean(audio[:, 0] ** 2) / 4:
                    intensity = frame[:, [3, 1, 2]].T @ frame[:, 0]
                    errors.append(angular_distance(intensity, unit_vectors(row["azimuth"], row["elevation"])))
    assert len(errors) > 50 and np.percentile(errors, 90) < 3


def test_splits_and_parts_share_no_sound_and_splits_no_room():
    writer = writers.Tut2018(get_params(**(writers.Tut2018.defaults | {"sim_recordings_per_fold": 3})),
                             GeneratedSounds(1, 16000))
    sources, rooms = {}, {}
    for key in writer.entries():
        scene = writer.scene(key)
        sources.setdefault(scene.key[1], set()).add(key[2:4])
        rooms.setdefault(scene.room.size_m, set()).add(key[2])
    assert all(len(owners) == 1 for owners in [*sources.values(), *rooms.values()])
    assert len(sources) == 6


def test_the_same_command_gives_the_same_bytes_and_goes_on(simulated, tmp_path, capsys):
    root = shutil.copytree(simulated, tmp_path / "tut")
    victim = next(root.glob("resim/desc_ov3*/train*"))
    before = victim.read_bytes(), {p: p.stat().st_mtime_ns for p in root.rglob("*.wav")}
    victim.unlink()
    assert simulate_dataset.main([*WORDS, f"dataset_dir={root}"]) == 0
    assert "1 simulated" in capsys.readouterr().out and victim.read_bytes() == before[0]
    assert sum(p.stat().st_mtime_ns != time for p, time in before[1].items()) == 1
    assert all((simulated / p.relative_to(root)).read_bytes() == p.read_bytes() for p in before[1])
    assert simulate_dataset.main([*WORDS, f"dataset_dir={root}", "seed=2"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert simulate_dataset.main([f"dataset_dir={root}", "--overwrite"]) == 2
    assert "simulated as tut2018" in capsys.readouterr().err


def test_one_recording_a_folder_is_too_few(tmp_path, capsys):
    assert simulate_dataset.main([f"dataset_dir={tmp_path}", *WORDS, "sim_recordings_per_fold=1"]) == 2
    assert "at least 2" in capsys.readouterr().err


def test_mixtures(tmp_path, capsys):
    """Within a split, of one and two sources; labels are those of both, in seconds."""
    make_tut(tmp_path)
    assert augment_files.main([f"dataset_dir={tmp_path}", "format=tut2018", "fs=44100", "max_sources=3"]) == 0
    config = get_params("configs/cnn.yaml", dataset_dir=str(tmp_path), format="tut2018", augmented=True)
    found = {recording.stem: recording for recording in recordings_for(config, "train")}
    mixtures = [recording for recording in found.values() if recording.augmented]
    assert mixtures and {recording.split for recording in mixtures} == {"train2", "train3"}
    for mixture in mixtures:
        parts = np.concatenate([Tut2018.read(found[stem].annotation) for stem in mixture.stem.split("_mixed_with_")])
        pieces = read_pieces(mixture.annotation)
        for name in ("start", "end", "azimuth"):
            np.testing.assert_allclose(np.sort(pieces[name]), np.sort(parts[name]), atol=1e-6)


def test_a_splits_csv_replaces_the_folds(tmp_path):
    make_tut(tmp_path, seconds=0.5)
    stems = [recording.stem for recording in find_tut(tmp_path)]
    roles = ["test", "val", *["train"] * (len(stems) - 2)]
    (tmp_path / "splits.csv").write_text("file,split\n" + "".join(f"{s},{r}\n" for s, r in zip(stems, roles)))
    for fold in (1, 3):
        config = get_params(dataset_dir=str(tmp_path), format="tut2018", fold=fold)
        assert [[r.stem for r in recordings_for(config, role)] for role in ("test", "val", "train")] == [
            stems[:1], stems[1:2], stems[2:]]
    (tmp_path / "splits.csv").write_text("file,split\n" + "".join(f"{stem},train\n" for stem in stems))
    with pytest.raises(UserError, match=r"is for 'test' .*columns file,split"):
        recordings_for(config, "test")
