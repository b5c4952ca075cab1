"""DCASE2021, STARSS22, STARSS23 and LOCATA: tiny folders of their exact layout, from simulation to scores."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import augment_files
import batch_feature_extraction
import check_dataset
import evaluate_doanet
import localize
import simulate_dataset
import train_doanet
import visualize_doanet_output
from cls_feature_class import FeatureFiles, check_up_to_date
from doanet_parameters import get_params
from doatools.config.commandline import parse_overrides
from doatools.data import locata, nested
from doatools.data.readers import reader_of, recordings_for
from doatools.errors import UserError
from doatools.registry import WRITERS
from doatools.simulate import scenes
from doatools.simulate.later_writers import Locata
from doatools.simulate.sounds import GeneratedSounds
from doatools.spatial.arrays import find_array
from doatools.spatial.geometry import angular_distance, unit_vectors

pytestmark = pytest.mark.xdist_group("datasets")  # one process makes the corpora

SMALL = ["label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8", "device=cpu"]
NESTED = {"dcase2021": ["sim_recordings_per_fold=1"], "starss22": ["sim_recordings_per_fold=4", "sim_rooms_per_fold=2"],
          "starss23": ["sim_recordings_per_fold=4", "sim_rooms_per_fold=2"]}
LOCATA = ["format=locata", "array=mic", "mode=eval"]
SIMULATED = ["sim_recordings_per_fold=2", "sim_recording_len_s=3", "sim_rt60_s=[0.2,0.25]"]


@pytest.fixture(scope="module", params=list(NESTED))
def dataset(request, tmp_path_factory):
    """(format, folder) of a simulated dataset in sub-folders."""
    folder = tmp_path_factory.mktemp(request.param) / "data"
    words = ["--format", request.param, f"dataset_dir={folder}", "sim_recording_len_s=3", *NESTED[request.param]]
    assert simulate_dataset.main([*words, "--jobs", "1"]) == 0
    return request.param, folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A simulated LOCATA of two tasks: one static source, and moving ones at a rotating array."""
    folder = tmp_path_factory.mktemp("locata") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Locata, "tasks", (1, 6))
        assert simulate_dataset.main(["--format", "locata", f"dataset_dir={folder}", *SIMULATED, "--jobs", "1"]) == 0
    return folder


def whole_way(words, folder, task, audio, tmp_path, capsys):
    """Check, extract, train, evaluate, localize and visualize → what evaluate_doanet.py printed."""
    words = [f"dataset_dir={folder}", *words]
    assert check_dataset.main([*(word for word in words if "array" not in word), "--jobs", "1"]) == 0
    assert batch_feature_extraction.main([task, *words, "--jobs", "1"]) == 0
    runs = [f"results_dir={tmp_path / 'runs'}"]
    assert train_doanet.main([task, "job", *words, *runs, *SMALL]) == 0
    capsys.readouterr()
    assert evaluate_doanet.main([task, "job", *runs]) == 0
    printed = capsys.readouterr().out
    assert visualize_doanet_output.main([task, "job", *runs]) == 0
    best = tmp_path / "runs" / f"{task}_job" / "best.pt"
    assert localize.main([str(audio), "--checkpoint", str(best), "--out", str(tmp_path / "tracks"), "--no-plot"]) == 0
    return printed


@pytest.mark.parametrize("dataset", ["dcase2021", pytest.param("starss22", marks=pytest.mark.slow), "starss23"],
                         indirect=True)
def test_nested_from_simulation_to_scores(dataset, tmp_path, capsys):
    name, folder = dataset
    audio = next((folder / "foa_dev").rglob("*.wav"))
    printed = whole_way([f"format={name}", "array=foa"], folder, "20", audio, tmp_path, capsys)
    assert ("range" in printed) == (name == "starss23")  # the breakdown by distance: only STARSS23 states it
    results = json.loads((tmp_path / "runs" / "20_job" / "evaluation.json").read_text())
    with_classes = name != "dcase2021"  # whose one test recording here has sounds of one class
    assert ("class" in results["breakdowns"]) == ("\nclass " in printed) == with_classes


def test_layout_of_starss(dataset):
    name, folder = dataset
    places = {"dcase2021": {"dev-train", "dev-val", "dev-test"}}.get(
        name, {f"dev-{part}-{site}" for part in ("train", "test") for site in ("sony", "tau")})
    for kind in ("foa_dev", "mic_dev", "metadata_dev"):
        assert {path.name for path in (folder / kind).iterdir()} == places
    columns = {len(row) for path in (folder / "metadata_dev").rglob("*.csv") for row in csv.reader(path.open())}
    assert columns == {6 if name == "starss23" else 5}
    assert soundfile.info(next((folder / "mic_dev").rglob("*.wav"))).samplerate == 24000


def test_interferers_of_dcase2021_are_heard_and_not_labelled(dataset):
    name, folder = dataset
    config = get_params(**{**WRITERS[name].defaults, "dataset_dir": str(folder), "sim_recording_len_s": 3.0,
                           "sim_recordings_per_fold": 1})
    writer = WRITERS[name](config, GeneratedSounds(1234, 24000))
    scene = writer.scene((1 if name == "dcase2021" else 3, 0))
    interferers = [event for event in scene.events if not event.labelled]
    assert bool(interferers) == (name == "dcase2021")
    labels = scene.labels()
    assert len(np.unique(labels["event"])) == len(scene.events) - len(interferers) > 0
    if interferers:
        targets = {event.class_id for event in scene.events if event.labelled}
        assert set(labels["class"]) <= targets and not targets & {event.class_id for event in interferers}
        quiet, renderer = replace(scene, snr_db=200.0), scenes.renderer_of((find_array("foa"),), 24000)
        labelled = replace(quiet, events=tuple(event for event in scene.events if event.labelled))
        heard, without = (scenes.render(one, writer.sounds, renderer) for one in (quiet, labelled))
        onset = round(interferers[0].onset_s * 24000)
        assert np.abs((heard - without)[:, : onset - 200]).max() < 1e-6 < 1e-3 < (heard - without)[:, onset:].std()


def test_roles_by_fold_and_room(dataset):
    name, folder = dataset
    config = get_params(dataset_dir=str(folder), format=name)
    stems = {role: {recording.stem for recording in recordings_for(config, role)} for role in ("train", "val", "test")}
    folds = {role: {stem[4] for stem in own} for role, own in stems.items()}
    if name == "dcase2021":
        assert folds == {"train": set("1234"), "val": {"5"}, "test": {"6"}}
        return
    assert folds == {"train": {"3"}, "val": {"3"}, "test": {"4"}} and not stems["train"] & stems["val"]
    rooms = [{stem.split("_")[1] for stem in stems[role]} for role in ("train", "val")]
    assert not rooms[0] & rooms[1]


def test_validation_rooms():
    # In the order of their numbers: 4 6 7 9 12 13 14 15 21 22; a fifth of ten, the middle ones of two halves
    assert nested.validation_rooms(["21", "22", "4", "6", "7", "9", "12", "13", "14", "15"]) == {"7", "15"}
    assert nested.validation_rooms(["4", "21"]) == {"21"}  # one of two
    assert nested.validation_rooms(["4"]) == set()
    assert nested.validation_rooms(map(str, range(1, 11))) == {"3", "8"}  # a fifth of ten, evenly spaced, by number


def test_splits_csv_overrides_the_folds(dataset, tmp_path):
    name, folder = dataset
    shutil.copytree(folder, tmp_path / "data")
    stems = sorted(path.stem for path in (folder / "foa_dev").rglob("*.wav"))
    (tmp_path / "data" / "splits.csv").write_text("file,split\n" + "".join(
        f"{stem},{'val' if number == 0 else 'train' if number > 2 else 'test'}\n" for number, stem in enumerate(stems)))
    config = get_params(dataset_dir=str(tmp_path / "data"), format=name)
    assert [recording.stem for recording in recordings_for(config, "val")] == stems[:1]
    assert [recording.stem for recording in recordings_for(config, "test")] == stems[1:3]


def test_errors_of_nested_folders(dataset, tmp_path):
    name, folder = dataset
    config = get_params(dataset_dir=str(tmp_path / "none"), format=name)
    with pytest.raises(UserError, match=f"download_dataset.py {name}"):
        reader_of(config).find()
    copy = tmp_path / "data"
    shutil.copytree(folder, copy)
    reader = reader_of(get_params(dataset_dir=str(copy), format=name))
    wav = next((copy / "foa_dev").rglob("*.wav"))
    renamed = wav.rename(wav.with_name("fold9_room1_mix001.wav"))
    with pytest.raises(UserError, match="no annotation"):
        reader.find()
    label = next((copy / "metadata_dev").rglob(f"{wav.stem}.csv"))
    label.rename(label.with_name("fold9_room1_mix001.csv"))
    with pytest.raises(UserError, match=r"does not state a fold .*splits\.csv"):
        reader.find()
    renamed.unlink()
    shutil.copy(next((copy / "foa_dev").rglob("*.wav")), copy / "foa_dev")
    with pytest.raises(UserError, match="have the same name"):
        reader.find()


def test_distances_reach_the_labels(dataset):
    name, folder = dataset
    config = get_params(dataset_dir=str(folder), format=name)
    files, (recording, *_) = FeatureFiles(config), recordings_for(config, "test")
    rows = files.read_labels(recording)
    with open(recording.annotation) as file:
        lines = list(csv.reader(file))
    if name == "starss23":
        np.testing.assert_allclose(sorted(rows["distance"]), sorted(int(line[5]) / 100 for line in lines), rtol=1e-6)
    else:
        assert np.isnan(rows["distance"]).all()


def test_an_evaluation_set_without_labels(dataset, tmp_path, capsys):
    name, folder = dataset
    copy = tmp_path / "data"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("features"))
    (copy / "foa_eval").mkdir()
    shutil.copy(next((copy / "foa_dev").rglob("*.wav")), copy / "foa_eval" / "mix001.wav")
    words = [f"dataset_dir={copy}", f"format={name}", "mode=eval"]
    assert batch_feature_extraction.main(["20", *words, "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 recordings without labels" in out and f"python3 localize.py {copy}/foa_eval" in out
    assert not list((copy / "features").rglob("mix001*"))
    with pytest.raises(UserError, match=r"cannot be scored.*localize\.py"):
        recordings_for(get_params(**dict(word.split("=") for word in words)), "test")
    assert check_dataset.main([*words, "--jobs", "1"]) == 0
    assert "has no labels" in capsys.readouterr().out
    if name == "starss23":  # trained, and localized as the last lines say
        assert train_doanet.main(["20", "job", *words, f"results_dir={tmp_path / 'runs'}", *SMALL]) == 0
        command = re.search(r"no test scores: .* python3 (.*)", capsys.readouterr().out)[1].split()
        assert localize.main([*command[1:], "--no-plot", "--out", str(tmp_path / "tracks")]) == 0
        assert (tmp_path / "tracks" / "mix001.csv").is_file()


def test_more_sources_than_slots_are_counted(dataset, tmp_path, capsys):
    name, folder = dataset
    words = [f"dataset_dir={folder}", f"format={name}", "max_sources=1", f"feat_label_dir={tmp_path}", "--jobs", "1"]
    assert batch_feature_extraction.main(["20", *words]) == 2
    assert "overflow=drop" in capsys.readouterr().err
    assert batch_feature_extraction.main(["20", *words, "overflow=drop"]) == 0
    out = capsys.readouterr().out
    config = get_params(dataset_dir=str(folder), format=name)
    files, beyond, total, recordings = FeatureFiles(config), 0, 0, 0
    for recording in reader_of(config).find():
        rows = files.read_labels(recording)
        kept, busy_until = 0, -1  # by hand: an event keeps the one slot from its birth to its end
        for event in np.unique(rows["event"]):
            frames = rows["frame"][rows["event"] == event]
            if frames[0] > busy_until:
                busy_until, kept = frames[-1], kept + len(frames)
        if kept < len(rows):
            beyond, total, recordings = beyond + len(rows) - kept, total + len(rows), recordings + 1
    assert beyond and f"{beyond} of their {total} source frames" in out
    assert f"{recordings} recording(s) have more" in out


def mixtures_of(folder, task, *words):
    """Make mixtures and extract → (FeatureFiles, the mixtures that train, {stem: Recording} of all that train)."""
    words = [f"dataset_dir={folder}", *words]
    assert augment_files.main(words) == 0
    assert batch_feature_extraction.main([task, *words, "augmented=True", "--jobs", "1"]) == 0
    config = get_params(task, augmented=True, **parse_overrides(words))
    found = recordings_for(config, "train")
    check_up_to_date(config, found)
    mixtures = [recording for recording in found if recording.augmented]
    assert mixtures
    return FeatureFiles(config), mixtures, {recording.stem: recording for recording in found}


def labels_add_up(files, mixtures, recordings):
    for mixture in mixtures:
        parts = [files.read_labels(recordings[stem]) for stem in mixture.stem.split("_mixed_with_")]
        wanted, rows = np.concatenate(parts), files.read_labels(mixture)
        for name in ("frame", "azimuth", "elevation", "distance"):
            np.testing.assert_allclose(np.sort(rows[name]), np.sort(wanted[name]), rtol=1e-6)


def test_mixtures_of_nested_folders(dataset, tmp_path):
    name, folder = dataset
    copy = tmp_path / "data"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("features"))
    if name == "dcase2021":  # which has one recording per fold here
        for path in copy.glob("*_dev/dev-train/fold1*"):
            path.with_name(path.name.replace("mix001", "mix002")).write_bytes(path.read_bytes())
    files, mixtures, recordings = mixtures_of(copy, "20", f"format={name}", "max_sources=4")
    assert {len({recordings[stem].room for stem in mixture.stem.split("_mixed_with_")}) for mixture in mixtures} == {1}
    labels_add_up(files, mixtures, recordings)


# --- LOCATA ----------------------------------------------------------------------------------------------------

def test_locata_from_simulation_to_scores(corpus, tmp_path, capsys):
    audio = corpus / "dev" / "task1" / "recording1" / "eigenmike" / "audio_array_eigenmike.wav"
    assert soundfile.info(audio).channels == 32 and soundfile.info(audio).samplerate == 48000
    printed = whole_way(LOCATA, corpus, "21", audio, tmp_path, capsys)
    assert "LOCATA, gate of 30° azimuth" in printed and "detection rate" in printed and "range" in printed
    lines = (tmp_path / "tracks" / "audio_array_eigenmike.csv").read_text().splitlines()
    assert all(int(line.split(",")[0]) < 30 for line in lines)


def scenes_of(folder, array="mic"):
    """(Recording, EVENT_ROWS as read, EVENT_ROWS of the scene) of each recording."""
    values = Locata.defaults | {"dataset_dir": str(folder), "sim_recordings_per_fold": 2, "sim_recording_len_s": 3.0}
    writer = WRITERS["locata"](get_params(**values), GeneratedSounds(1234, 48000))
    config = get_params("21", dataset_dir=str(folder), format="locata", mode="eval", array=array)
    files = FeatureFiles(config)
    for recording in files.reader.find():
        part, task, number = recording.stem.split("_")
        scene = writer.scene((part, int(task.removeprefix("task")), int(number.removeprefix("recording"))))
        yield recording, files.read_labels(recording), scene.labels(0.1)


def test_locata_positions_in_the_frame_of_the_array(corpus):
    """Rotated and moved arrays: directions as the scene was composed in the array's frame, to the rounding of its
    labels."""
    for _, read, wanted in scenes_of(corpus):
        assert np.array_equal(read["frame"], wanted["frame"]) and np.array_equal(read["track"], wanted["track"])
        angles = [unit_vectors(rows["azimuth"], rows["elevation"]) for rows in (read, wanted)]
        assert angular_distance(*angles).max() < 0.75
        np.testing.assert_allclose(read["distance"], wanted["distance"], atol=0.01)


def test_locata_reads_four_capsules_at_the_rate_of_the_model(corpus):
    assert locata.folder_of(find_array("mic")) == ("eigenmike", (5, 9, 25, 21))
    config = get_params("21", dataset_dir=str(corpus), format="locata")
    files = FeatureFiles(config)
    recording = files.reader.find()[0]
    audio = files.feature_class.read_audio(recording)
    whole, _ = soundfile.read(recording.audio, dtype="float32")
    assert audio.shape == (len(whole) // 2, 4) and files.feature_class.inspect_audio(recording) == len(audio)
    # The same as reading at 48 kHz and filtering: compare spectra below 8 kHz
    picked = whole[:, [5, 9, 25, 21]]
    ours, theirs = np.fft.rfft(audio, axis=0), np.fft.rfft(picked, axis=0) / 2
    band = slice(300, 24000)  # bins of 1/3 Hz
    np.testing.assert_allclose(np.abs(ours[band] - theirs[band]).max() / np.abs(theirs[band]).max(), 0, atol=1e-3)


def test_mixtures_of_locata(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "data")
    files, mixtures, recordings = mixtures_of(tmp_path / "data", "21", *LOCATA, "max_sources=3")
    assert [mixture.stem for mixture in mixtures] == ["dev_task1_recording2_mixed_with_dev_task6_recording2"]
    assert soundfile.info(mixtures[0].audio).channels == 4 and soundfile.info(mixtures[0].audio).samplerate == 24000
    labels_add_up(files, mixtures, recordings)


def test_locata_roles(corpus):
    def stems(mode, role):
        config = get_params("21", dataset_dir=str(corpus), format="locata", mode=mode)
        return [recording.stem for recording in recordings_for(config, role)]
    dev = [f"dev_task{task}_recording{number}" for task in (1, 6) for number in (1, 2)]
    assert stems("dev", "test") == dev
    assert stems("eval", "val") == dev[::2] and stems("eval", "train") == dev[1::2]
    assert stems("eval", "test") == [stem.replace("dev", "eval") for stem in dev]
    with pytest.raises(UserError, match=r"mode=dev .*eval: dev/ trains.*splits\.csv"):
        stems("dev", "train")


def submission(corpus, folder, shift_deg=0.0, tasks=(1, 6), swap=False):
    """Write the eval sources as a submission to LOCATA: its own frame, radians, one file per source."""
    for place in sorted(corpus.glob("eval/task*/recording*/eigenmike")):
        if int(place.parts[-3].removeprefix("task")) not in tasks:
            continue
        array = locata.read_table(place / "position_array_eigenmike.txt", ())
        rotations = array.columns(*(f"rotation_{r}{c}" for r in (1, 2, 3) for c in (1, 2, 3))).reshape(-1, 3, 3)
        for number, source in enumerate(locata.source_names(place), 1):
            table = locata.read_table(place / f"position_source_{source}.txt", ())
            x, y, z = np.einsum("tji,tj->it", rotations, table.columns("x", "y", "z") - array.columns("x", "y", "z"))
            azimuth = np.arctan2(y, x) - np.pi / 2 + np.deg2rad(shift_deg)
            vad = np.loadtxt(place / f"VAD_eigenmike_{source}.txt", skiprows=1)
            active = vad[np.minimum((np.arange(len(azimuth)) / 120 * 48000).astype(int), len(vad) - 1)] > 0
            columns = [*table.columns(*locata.TIME).T, np.where(active, azimuth, np.nan),
                       np.arccos(z / np.sqrt(x**2 + y**2 + z**2))]
            path = folder / place.relative_to(corpus / "eval") / "ours" / f"source_{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, np.stack(columns, 1), fmt="%.6f", delimiter="\t", comments="",
                       header="\t".join([*locata.TIME, "azimuth", "elevation"]))


def test_a_submission_to_locata_is_scored_by_one_command(corpus, tmp_path, capsys):
    submission(corpus, tmp_path / "theirs", shift_deg=7)
    words = [f"dataset_dir={corpus}", *LOCATA, f"results_dir={tmp_path}"]
    assert evaluate_doanet.main(["--predictions", str(tmp_path / "theirs"), *words]) == 0
    results = json.loads((tmp_path / "evaluation_theirs" / "evaluation.json").read_text())
    figures = {name: interval["value"] if isinstance(interval, dict) else interval[0]
               for name, interval in results["figures"].items()}
    assert results["recordings"] == 4
    assert figures["azimuth error"] == pytest.approx(7, abs=0.6) and figures["elevation error"] < 0.6
    assert figures["detection rate"] > 95 and figures["swap rate"] == 0
    assert figures["class LE"] is None  # LOCATA has no classes


def test_a_submission_to_some_tasks(corpus, tmp_path, capsys):
    submission(corpus, tmp_path / "theirs", tasks=(1,))
    words = [f"dataset_dir={corpus}", *LOCATA, f"results_dir={tmp_path}"]
    assert evaluate_doanet.main(["--predictions", str(tmp_path / "theirs"), *words]) == 0
    assert "predictions for 2 of 4 recordings" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "theirs" / "task1" / "recording2")
    assert evaluate_doanet.main(["--predictions", str(tmp_path / "theirs"), *words]) == 2
    assert "no predictions for eval_task1_recording2" in capsys.readouterr().err


def test_locata_without_labels(corpus, tmp_path, capsys):
    shutil.copytree(corpus, tmp_path / "data")
    for path in (tmp_path / "data" / "eval").rglob("*"):
        if path.name.startswith(("position_source", "VAD")):
            path.unlink()
    words = [f"dataset_dir={tmp_path / 'data'}", *LOCATA]
    assert batch_feature_extraction.main(["21", *words, "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "4 recordings without labels" in out and "--array mic" in out
    with pytest.raises(UserError, match="cannot be scored"):
        recordings_for(get_params("21", **dict(word.split("=") for word in words)), "test")


def test_arrays_that_cannot_be_used(corpus, tmp_path):
    def find(array):
        config = get_params(dataset_dir=str(corpus), format="locata", array=array)
        return reader_of(config).find()
    with pytest.raises(UserError, match="not ambisonics: set array=mic"):
        find("foa")
    (tmp_path / "dicit.yaml").write_text("name: dicit\nkind: free\npositions_m: [[0, 0, 0], [1, 0, 0], [0, 0, 0.3], "
                                         "[0, 0.1, 0]]\n")
    with pytest.raises(UserError, match="tell front from back"):
        find(str(tmp_path / "dicit.yaml"))
    (tmp_path / "head.yaml").write_text("name: robot_head\nkind: free\npositions_m: [[0, 0, 0], [1, 0, 0], [0, 0, "
                                        "0.3], [0, 0.1, 0]]\n")
    with pytest.raises(UserError, match="no recording such as task1/recording1/benchmark2"):
        find(str(tmp_path / "head.yaml"))


def test_another_geometry_is_refused(corpus, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(corpus / "dev" / "task1", copy / "task1")
    path = copy / "task1" / "recording1" / "eigenmike" / "position_array_eigenmike.txt"
    table = locata.read_table(path, ())
    values = table.values.copy()
    values[:, table.names.index("mic6_x")] += 0.05
    np.savetxt(path, values, fmt="%.6f", delimiter="\t", comments="", header="\t".join(table.names))
    config = get_params("21", dataset_dir=str(copy), format="locata")
    files = FeatureFiles(config)
    with pytest.raises(UserError, match=r"capsules lie .* cm"):
        files.read_labels(files.reader.find()[0])


def test_tables_of_locata_that_are_broken(corpus, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(corpus / "dev" / "task1" / "recording1", copy / "task1" / "recording1")
    place = copy / "task1" / "recording1" / "eigenmike"
    config = get_params("21", dataset_dir=str(copy), format="locata")
    files = FeatureFiles(config)
    source = next(place.glob("position_source_*"))
    text = source.read_text()
    for broken, says in ((text.replace("\tx\t", "\tq\t", 1), "no column 'x'"),
                         (text + "a\tb\n", "not a table of numbers"),
                         (text + "a" * 100_000, "not a table of numbers .{,130}$"),
                         (text.splitlines()[0], "no rows")):
        source.write_text(broken)
        with pytest.raises(UserError, match=says):
            files.read_labels(files.reader.find()[0])
    source.write_text(text)
    next(place.glob("VAD_*")).unlink()
    with pytest.raises(UserError, match=r"VAD_eigenmike_\w+\.txt does not exist"):
        files.reader.find()
