"""check_dataset.py finds and names each fault in a dataset, and finds nothing in healthy ones.

Channels of FOA are W, Y, Z, X. Lines of a CSV: frame, class, track, azimuth, elevation.
"""

import shutil

import numpy as np
import pytest
import soundfile
from helpers import FS, make_dataset

import check_dataset
import simulate_dataset
from doatools.check import alignment
from doatools.spatial.arrays import find_array

SIMULATION = ["sim_recordings_per_fold=1", "sim_rooms_per_fold=1", "--jobs", "1"]


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    """Six reverberant rooms, static and moving sources, two at once now and then; FOA and MIC."""
    folder = tmp_path_factory.mktemp("healthy") / "data"
    assert simulate_dataset.main([f"dataset_dir={folder}", "sim_recording_len_s=14", *SIMULATION]) == 0
    return folder


@pytest.fixture
def data(healthy, tmp_path):
    return shutil.copytree(healthy, tmp_path / "data")


def checked(capsys, folder, *words):
    """Exit status and report."""
    code = check_dataset.main([f"dataset_dir={folder}", "--jobs", "1", *words])
    return code, capsys.readouterr().out


def diagnosis(capsys, folder, *words):
    """The findings of an unhealthy folder, without what was checked."""
    code, report = checked(capsys, folder, *words)
    findings = [line for line in report.splitlines()[1:] if not line.startswith(("checked:", "note:"))]
    assert code == 1 and "not healthy" in findings[-1], report
    return findings[:-1]


def remix(folder, dataset, order, gains=(1, 1, 1, 1), only=slice(None)):
    """Recorded channel c becomes ``gains[c]`` times what was channel ``order[c]``."""
    for path in sorted((folder / f"{dataset}_dev").glob("*.wav"))[only]:
        audio, fs = soundfile.read(path)
        soundfile.write(path, audio[:, order] * gains, fs, subtype="PCM_16")


def relabel(folder, change, only=slice(None)):
    """``change`` a line's five numbers into those written."""
    for path in sorted((folder / "metadata_dev").glob("*.csv"))[only]:
        lines = [change(*map(int, line.split(","))) for line in path.read_text().splitlines()]
        path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))


def wavs(folder, dataset="foa"):
    return sorted((folder / f"{dataset}_dev").glob("*.wav"))


# --- healthy ---------------------------------------------------------------------------------------------

def test_nothing_is_found_in_healthy_rooms(healthy, capsys):
    code, report = checked(capsys, healthy)
    assert code == 0 and report.splitlines()[-1] == "healthy"
    assert "foa: the audio points" in report and "mic: sounds start" in report


@pytest.mark.parametrize("words", [["max_sources=1", "sim_moving=0", "sim_elevation_deg=10"],
                                   ["sim_moving=1", "sim_snr_db=[6,6]", "sim_rt60_s=[0.8,0.8]"]])
def test_nothing_is_found_in_static_flat_or_in_moving_noisy_scenes(words, tmp_path, capsys):
    simulation = ["sim_recording_len_s=8", "seed=7", *SIMULATION]
    assert simulate_dataset.main([f"dataset_dir={tmp_path}", *words, *simulation]) == 0
    capsys.readouterr()
    code, report = checked(capsys, tmp_path)
    assert code == 0, report


@pytest.mark.parametrize("options", [{}, {"folds": [1]}, {"overlap": 2}, {"formats": ["mic"]}])
def test_nothing_is_found_in_tiny_free_fields(options, tmp_path, capsys):
    code, report = checked(capsys, make_dataset(tmp_path, **options))
    assert code == 0, report
    assert ("not compared" in report) == ("folds" in options or "overlap" in options)  # too little to compare


def test_folds_that_cannot_train_are_noted(tmp_path, capsys):
    code, report = checked(capsys, make_dataset(tmp_path, formats=["foa"], seconds=2.0, folds=[1, 3]))
    assert code == 0 and "note: no recording is for val in mode=dev" in report and "splits.csv" in report
    code, report = checked(capsys, make_dataset(tmp_path, formats=["foa"], seconds=2.0, folds=[2]))
    assert code == 0 and "no recording is for" not in report


def test_one_healthy_recording_is_enough(data, capsys):
    for path in data.glob("*_dev/fold[2-6]*"):
        path.unlink()
    assert checked(capsys, data)[0] == 0


# --- the audio against the labels ------------------------------------------------------------------------

@pytest.mark.parametrize(("order", "gains", "expected"), [
    ([3, 1, 2, 0], 1, "foa: W and X are exchanged"),
    ([0, 1, 2, 3], [1, -1, 1, 1], "foa: Y is negated (rewrite the channels (sox in.wav out.wav remix 1 2v-1 3 4))"),
    ([0, 1, 2, 3], [1, 1, -1, 1], "foa: Z is negated"),
    ([0, 3, 1, 2], 1, "foa: the channels are in FuMa order"),
])
def test_channels_of_ambisonics(order, gains, expected, data, capsys):
    remix(data, "foa", order, gains)
    findings = diagnosis(capsys, data)
    assert len(findings) == 1 and expected in findings[0], findings


def test_fuma_gains_are_found_as_well(data, capsys):
    remix(data, "foa", [0, 3, 1, 2], [0.707, 1, 1, 1])
    order, gains = diagnosis(capsys, data)
    assert "FuMa order" in order and "multiply W by 1.414" in gains


@pytest.mark.parametrize(("order", "expected"), [
    ([1, 2, 3, 0], "rotated by 1: they hold capsules 2 3 4 1"),
    ([3, 0, 1, 2], "rotated by 1: they hold capsules 4 1 2 3"),
    ([0, 2, 1, 3], "channels 2 and 3 are exchanged")])
def test_channels_of_capsules(order, expected, data, capsys):
    remix(data, "mic", order)
    findings = diagnosis(capsys, data)
    assert len(findings) == 1 and "mic: " in findings[0] and expected in findings[0], findings


def test_a_capsule_of_the_wrong_polarity(data, capsys):
    remix(data, "mic", [0, 1, 2, 3], [1, 1, -1, 1])
    assert "mic: channel 3 has the wrong polarity" in diagnosis(capsys, data, "dataset=mic")[0]


@pytest.mark.parametrize(("change", "expected"), [
    (lambda f, c, t, a, e: (f, c, t, -a, e), "the azimuth of the labels runs clockwise (write minus"),
    (lambda f, c, t, a, e: (f, c, t, (a + 360) % 360 - 180, e), "the azimuth of the labels counts from the back"),
    (lambda f, c, t, a, e: (f, c, t, a, -e), "the elevation of the labels counts downward"),
    (lambda f, c, t, a, e: (f, c, t, e, a), "the columns azimuth and elevation are exchanged"),
    (lambda f, c, t, a, e: (f, c, t, np.deg2rad(a), np.deg2rad(e)), "the angles of the labels are radians")])
@pytest.mark.parametrize("dataset", ["both", "mic"])
def test_conventions_of_labels(change, expected, dataset, data, capsys):
    relabel(data, change)
    findings = diagnosis(capsys, data, f"dataset={dataset}")
    assert len(findings) == 1 and expected in findings[0], findings
    assert dataset == "mic" or "foa" not in findings[0]


def test_one_array_alone_names_both_causes(data, capsys):
    """A mirrored Y is heard like a mirrored azimuth."""
    remix(data, "foa", [0, 1, 2, 3], [1, -1, 1, 1])
    finding, = diagnosis(capsys, data, "dataset=foa")
    assert "one of these" in finding and "Y is negated" in finding and "runs clockwise" in finding


@pytest.mark.parametrize(("frames", "expected"), [(3, "s late: subtract 3"), (-4, "s early: add 4")])
def test_labels_at_another_time(frames, expected, data, capsys):
    relabel(data, lambda f, *rest: (f + frames, *rest))
    for path in (data / "metadata_dev").glob("*.csv"):  # what the shift moved out of the recording
        lines = [line for line in path.read_text().splitlines() if 0 <= int(line.split(",")[0]) < 140]
        path.write_text("\n".join(lines) + "\n")
    findings = diagnosis(capsys, data)
    assert len(findings) == 1 and "the labels are 0." in findings[0] and expected in findings[0], findings


def test_recordings_of_another_dataset_are_not_explained_away(data, capsys):
    """WAVs and CSVs that do not belong together."""
    paths = wavs(data) + wavs(data, "mic")
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:6] + contents[:1] + contents[7:] + contents[6:7]):
        path.write_bytes(content)
    assert "points elsewhere" in " ".join(diagnosis(capsys, data))


@pytest.mark.parametrize(("dataset", "order", "expected"), [("foa", [3, 1, 2, 0], "W and X are exchanged"),
                                                        ("mic", [1, 2, 3, 0], "rotated by 1")])
def test_a_single_file_with_other_channels(dataset, order, expected, data, capsys):
    remix(data, dataset, order, only=slice(2, 3))
    finding, = diagnosis(capsys, data)
    assert f"{wavs(data)[2].stem}: {dataset}: " in finding and expected in finding


# --- files -----------------------------------------------------------------------------------------------

def spoil_audio(path, change, fs=FS):
    audio, _ = soundfile.read(path)
    soundfile.write(path, change(audio), fs, subtype="FLOAT")


def without_channel(audio):
    return audio * [1, 1, 0, 1]


def with_nan(audio):
    audio[1000, 1] = np.nan
    return audio


@pytest.mark.parametrize(("change", "expected"), [
    (without_channel, "channel 3 (Z) is silent"),
    (lambda audio: audio * 0, "silent in all channels"),
    (lambda audio: np.clip(audio * 20, -1, 1), "clipped"),
    (lambda audio: np.clip(audio, -0.3 * audio.max(), 0.3 * audio.max()), "clipped"),
    (with_nan, "sample 1000 (0.042 s) of channel 2 is nan"),
    (lambda audio: audio[:, :3], "3 channel(s), not 4"),
    (lambda audio: audio[:, [0, 0, 0, 0]], "all channels are the same"),
    (lambda audio: audio[: 10 * FS], "beyond the end of the recording")])
def test_spoiled_audio(change, expected, data, capsys):
    victim = wavs(data)[1]
    spoil_audio(victim, change)
    findings = diagnosis(capsys, data, "dataset=foa")
    assert any(expected in finding and victim.stem in finding for finding in findings), findings
    assert all(victim.stem in finding for finding in findings)


def test_a_wrong_sample_rate_a_cut_file_and_a_silent_channel_are_all_reported(data, capsys):
    rate, cut, silent = wavs(data, "mic")[1:4]
    spoil_audio(rate, np.array, fs=44100)
    cut.write_bytes(cut.read_bytes()[:-1000])
    spoil_audio(silent, without_channel)
    findings = diagnosis(capsys, data)
    assert len(findings) == 3
    for path, expected in ((rate, "sampled at 44100 Hz"), (cut, "truncated"), (silent, "channel 3 is silent")):
        assert any(expected in finding and path.name in finding for finding in findings), findings


def test_layout_names_and_csvs_are_all_reported_and_grouped_by_kind(data, capsys):
    victims = wavs(data)
    victims[0].rename(victims[0].with_name("kitchen.wav"))
    relabel(data, lambda f, c, t, a, e: (f, c, t, a + 720, e), only=slice(2, 5))
    relabel(data, lambda f, c, t, a, e: (f, c, "one", a, e), only=slice(5, 6))
    text = "\n".join(diagnosis(capsys, data))
    for expected in ("foa_dev/kitchen.wav: no annotation of that name", "kitchen: the name does not state the fold",
                 f"{victims[0].stem}.csv: no recording of that name in foa_dev", "is outside [-180, 180] degrees",
                 "the same kind in 2 more", "line 1: not a number"):
        assert expected in text, text


def test_oddities_are_reported_and_stop_nothing(tmp_path, capsys):
    make_dataset(tmp_path)
    annotations = sorted((tmp_path / "metadata_dev").glob("*.csv"))
    annotations[0].write_bytes(b"\xff\xfe\x00")
    annotations[1].write_text("0,1,0,nan,10\n5,1e30,0,0,0\n")
    for dataset in ("foa", "mic"):  # an empty recording, and a silent one of less than a frame without a label
        soundfile.write(wavs(tmp_path, dataset)[2], np.zeros((0, 4)), FS)
        soundfile.write(wavs(tmp_path, dataset)[3], np.zeros((100, 4)), FS)
    annotations[3].write_text("")
    findings = diagnosis(capsys, tmp_path)
    assert len(findings) == 4
    for expected in ("holds no samples", "the same kind in 1 more", "not a text file", "azimuth nan"):
        assert any(expected in finding for finding in findings), findings
    shutil.rmtree(tmp_path / "metadata_dev")
    assert diagnosis(capsys, tmp_path)[0] == "1. metadata_dev: the folder does not exist"


def test_azimuths_from_0_to_360(data, capsys):
    relabel(data, lambda f, c, t, a, e: (f, c, t, a % 360, e))
    text = "\n".join(diagnosis(capsys, data))
    assert "subtract 360 from those above 180" in text and "exchanged" not in text


def test_more_sources_than_slots(healthy, capsys):
    assert "more than max_sources=1" in diagnosis(capsys, healthy, "max_sources=1", "dataset=foa")[0]
    assert checked(capsys, healthy, "max_sources=1", "overflow=drop", "dataset=foa")[0] == 0


def test_a_bad_splits_csv_is_reported(data, capsys):
    (data / "splits.csv").write_text("file,split\nkitchen,train\n")
    assert "splits.csv: no line for fold1" in diagnosis(capsys, data)[0]


def test_a_folder_without_a_dataset_is_refused(tmp_path, capsys):
    assert check_dataset.main([f"dataset_dir={tmp_path}"]) == 2
    assert "neither foa_dev nor mic_dev" in capsys.readouterr().err
    assert check_dataset.main([f"dataset_dir={tmp_path}", "dataset=fao"]) == 2
    assert "Did you mean 'foa'" in capsys.readouterr().err


# --- judgement -------------------------------------------------------------------------------------------

def test_directions_too_alike_accuse_nobody():
    """All sources in front: most suspects explain that as well as "nothing is wrong"."""
    suspects = alignment.suspects_of(find_array("foa"))
    errors = np.random.default_rng(0).uniform(3, 9, (20, len(suspects)))
    assert alignment.judge(errors, suspects).state == "agrees"
    assert alignment.judge(errors[:3], suspects).state == "few"
