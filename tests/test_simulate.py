"""Rooms, sounds, scenes and the simulated dataset, from physics to bytes."""

import itertools
import json
import os
import platform
import shutil

import numpy as np
import pytest
import soundfile

import simulate_dataset
from doanet_parameters import get_params
from doatools.data.dcase import find_recordings, read_dcase
from doatools.errors import UserError
from doatools.simulate.rooms import HOP_S, Room, early_images
from doatools.simulate.scenes import SEPARATION_DEG, compose, render, renderer_of, rules_of
from doatools.simulate.sounds import FolderSounds, GeneratedSounds, SoundsTogether, without_pauses
from doatools.simulate.writers import Dcase2020
from doatools.spatial.arrays import SPEED_OF_SOUND, find_array
from doatools.spatial.geometry import angular_distance, unit_vectors

FS = 24000
NOBODY = 4_194_999  # beyond the largest process id of Linux
DEAD = Room((8.0, 7.0, 5.0), 0.03, (4.0, 3.5, 2.5))  # hardly a reflection


@pytest.fixture(scope="module")
def renderer():
    return renderer_of((find_array("foa"), find_array("mic")), FS)


def intensity_direction(foa):
    """Active intensity (3,) as x, y, z of FOA signals (4, n)."""
    return foa[[3, 1, 2]] @ foa[0]


# --- rooms -----------------------------------------------------------------------------------------------

def test_images_of_a_shoebox_are_mirrors(renderer):
    """The six first-order images are the source mirrored at each wall."""
    room, source = Room((6.0, 5.0, 3.0), 0.5, (3.0, 2.0, 1.5)), np.array([1.0, 0.5, 0.2])
    directions, delays, amplitudes = next(early_images(room, source[None]))
    found = directions * (delays[:, None] * SPEED_OF_SOUND + np.linalg.norm(source))
    for axis, wall in itertools.product(range(3), (0, 1)):
        mirrored = source.copy()
        mirrored[axis] = 2 * (wall * room.size_m[axis] - room.sensor_m[axis]) - source[axis]
        nearest = np.linalg.norm(found - mirrored, axis=1).argmin()
        assert np.linalg.norm(found[nearest] - mirrored) < 1e-3
        wanted = np.sqrt(1 - room.absorption) / np.linalg.norm(mirrored)
        assert amplitudes[nearest] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("azimuth, elevation", [(0, 0), (100, 30), (-150, -40)])
def test_free_field_source_has_foa_gains(renderer, azimuth, elevation):
    direction = unit_vectors(azimuth, elevation)
    response = renderer.early_response(direction[None], np.array([0.01]), np.array([0.5]))
    assert response[0].argmax() == 240 + renderer.lead
    np.testing.assert_allclose(response[1:4], response[:1] * direction[[1, 2, 0], None], atol=1e-6)


def test_sub_sample_delays_and_angle_bins_agree_with_the_exact_response(renderer):
    """Spectrum of a wave from anywhere, at 1/16 of a sample, against the formula: within 1 % up to 10 kHz."""
    direction, delay = unit_vectors(33.3, 12.7)[None], (100 + 5 / 16) / FS
    response = renderer.early_response(direction, np.array([delay]), np.ones(1))
    spectrum = np.fft.rfft(response, 4096)
    frequencies = np.fft.rfftfreq(4096, 1 / FS)
    exact = np.concatenate([find_array(name).response(direction, frequencies)[:, 0] for name in ("foa", "mic")])
    exact = exact * np.exp(-2j * np.pi * frequencies * (delay + renderer.lead / FS))
    band = frequencies < 10000
    assert np.abs(spectrum - exact)[:, band].max() < 0.02


def test_capsules_nearer_the_source_hear_it_first(renderer):
    for capsule, direction in enumerate(find_array("mic").capsules):
        mic = renderer.early_response(direction[None], np.zeros(1), np.ones(1))[4:]
        energy = np.cumsum(mic**2, axis=1) / np.sum(mic**2, axis=1, keepdims=True)
        onset = (energy > 0.5).argmax(axis=1)
        assert (np.delete(onset, capsule) > onset[capsule]).all()


@pytest.mark.parametrize("rt60", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("size", [(5.0, 4.5, 2.9), (12.0, 9.0, 4.5)])
def test_schroeder_decay_gives_the_rt60_asked(renderer, rt60, size):
    room = Room(size, rt60, tuple(np.divide(size, 2)))
    response = renderer.source(room, np.array([1.0]), np.array([[1.4, 0.6, 0.2]]), np.random.default_rng(0))
    for channel in (0, 1, 4):
        decay = 10 * np.log10(np.cumsum(response[channel, ::-1] ** 2)[::-1] + 1e-20)
        decay -= decay[0]
        first, last = (decay < -5).argmax(), (decay < -30).argmax()
        slope = np.polyfit(np.arange(first, last) / FS, decay[first:last], 1)[0]
        assert -60 / slope == pytest.approx(rt60, rel=0.2)


def test_tail_goes_on_where_images_end(renderer):
    """Images of a live room have the energy that the tail's formula says, here within 2 dB."""
    room, position = Room((6.0, 5.0, 3.5), 0.6, (3.0, 2.5, 1.75)), np.array([[1.0, 0.7, 0.2]])
    _, delays, amplitudes = next(early_images(room, position))
    span = slice(round(0.07 * FS), round(0.09 * FS))
    tails = [renderer.tail_response(room, 1.24, np.random.default_rng(k))[0, span] for k in range(8)]
    tail = np.mean(np.square(tails)) * 10 ** (6 * 0.05 / room.rt60_s)  # brought 50 ms back
    images = np.sum(amplitudes[(delays > 0.02) & (delays < 0.04)] ** 2) / (0.02 * FS)
    assert abs(10 * np.log10(images / tail)) < 2


def test_diffuse_noise_is_diffuse_in_both_formats(renderer):
    noise = renderer.diffuse_noise(10 * FS, np.random.default_rng(0))
    covariance = noise[:4] @ noise[:4].T / noise.shape[1]
    np.testing.assert_allclose(covariance, np.diag([1, 1 / 3, 1 / 3, 1 / 3]), atol=0.03)
    low = np.fft.rfft(noise[:, : 8 * FS])[:, 8 * 50 : 8 * 100]  # waves far longer than the array
    assert np.abs(np.vdot(low[4], low[7])) / np.linalg.norm(low[4]) / np.linalg.norm(low[7]) > 0.98
    assert np.abs(np.vdot(low[0], low[7])) / np.linalg.norm(low[0]) / np.linalg.norm(low[7]) > 0.98


def test_noise_is_stationary_across_chunks(renderer):
    noise = renderer.diffuse_noise(12 * FS, np.random.default_rng(1), exponent=0.5)[0]
    power = np.mean(noise.reshape(24, -1) ** 2, axis=1)
    assert power.max() / power.min() < 1.6
    assert np.mean(noise**2) == pytest.approx(1, rel=0.1)


def test_moving_sine_has_no_clicks(renderer):
    """The second difference of a sine is its curvature; a click would exceed it by far."""
    time = np.arange(2 * FS) / FS
    azimuth = 60 * np.arange(0, 2 + HOP_S / 2, HOP_S)
    positions = unit_vectors(azimuth, 20 * np.sin(azimuth / 40)) * np.linspace(1, 2, len(azimuth))[:, None]
    sine = np.sin(2 * np.pi * 440 * time)
    room = Room((8.0, 7.0, 4.0), 0.4, (4.0, 3.5, 2.0))
    heard = renderer.source(room, sine, positions, np.random.default_rng(0))[:, FS // 4 : 2 * FS]
    curvature = np.abs(np.diff(heard, 2, axis=1)).max(axis=1)
    assert (curvature < 1.5 * (2 * np.pi * 440 / FS) ** 2 * np.abs(heard).max(axis=1)).all()


def test_moving_source_that_stays_equals_a_static_one(renderer):
    dry = np.random.default_rng(0).standard_normal(FS)
    position = np.array([[1.0, -1.0, 0.3]])
    static = renderer.source(DEAD, dry, position, np.random.default_rng(1))
    moving = renderer.source(DEAD, dry, np.repeat(position, 21, axis=0), np.random.default_rng(1))
    n = min(static.shape[1], moving.shape[1])
    np.testing.assert_allclose(moving[:, :n], static[:, :n], atol=1e-4)


def test_moving_source_is_heard_where_it_is(renderer):
    azimuth = np.linspace(-60, 60, 41)
    heard = renderer.source(DEAD, np.random.default_rng(0).standard_normal(2 * FS),
                            2 * unit_vectors(azimuth, 10.0), np.random.default_rng(1))
    for second in (0.5, 1.0, 1.5):
        centre = round(second * FS)
        found = intensity_direction(heard[:4, centre - 600 : centre + 600])
        assert angular_distance(found, unit_vectors(-60 + 60 * second, 10.0)) < 3


# --- sounds ----------------------------------------------------------------------------------------------

def test_generated_sounds_are_continuous_and_of_unit_level():
    sounds = GeneratedSounds(0, FS)
    for class_id, fold in itertools.product(sounds.classes(1), (1, 4)):
        sound = sounds.draw(fold, class_id, 2.0, np.random.default_rng(fold))
        assert sound.shape == (2 * FS,) and np.isfinite(sound).all()
        assert np.abs(np.std(sound)) > 0.3
        assert len(without_pauses(sound, FS)) > 0.6 * len(sound), sounds.names[class_id]
        assert sound.tolist() == sounds.draw(fold, class_id, 2.0, np.random.default_rng(fold)).tolist()


def test_generated_voices_belong_to_one_fold():
    sounds = GeneratedSounds(0, FS)
    first, second = (sounds.draw(fold, 11, 1.0, np.random.default_rng(0)) for fold in (1, 2))
    assert np.corrcoef(first, second)[0, 1] < 0.9


@pytest.fixture
def sound_folder(tmp_path):
    """Two sub-folders of five sounds at several rates and channels, beside what must be left out."""
    rng = np.random.default_rng(0)
    rates = (8000, 16000, 24000, 44100, 48000)
    for k, (folder, rate) in enumerate(itertools.product(("dogs", "bells"), rates)):
        path = tmp_path / "sounds" / folder / f"{k}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = rng.standard_normal((int(rate * (0.1 + 0.3 * k)), 1 + k % 2)) * 0.1
        soundfile.write(path, sound, rate)
    soundfile.write(tmp_path / "sounds/bells/silent.wav", np.zeros(8000), 8000)
    (tmp_path / "sounds/bells/broken.wav").write_bytes(b"not audio")
    os.mkfifo(tmp_path / "sounds/bells/pipe.wav")
    soundfile.write(tmp_path / "sounds/bells/huge.wav", np.full(8000, 1e30), 8000, subtype="FLOAT")
    shutil.copy(tmp_path / "sounds/bells/7.flac", tmp_path / "sounds/dogs/copy_of_7.flac")
    return tmp_path / "sounds"


def test_folder_is_dealt_to_folds_without_sharing(sound_folder):
    sounds = FolderSounds(sound_folder, 1, FS, 6)
    assert sounds.names == ("bells", "dogs")
    assert sorted(path.name for path in sounds.skipped) == ["broken.wav", "huge.wav", "pipe.wav", "silent.wav"]
    dealt = [path for hand in sounds.files.values() for files in hand.values() for path in files]
    assert len(dealt) == len(set(dealt)) == 10  # the copy counts once
    for fold in range(1, 7):
        for class_id in sounds.classes(fold):
            sound = sounds.draw(fold, class_id, 1.7, np.random.default_rng(0))
            assert len(sound) == round(1.7 * FS) and np.std(sound) > 0.5


def test_a_sound_that_is_too_large_late_in_its_file_is_an_error_and_no_clipped_recording(tmp_path):
    sound = np.random.default_rng(0).standard_normal(8000 * 31)
    sound[-8000:] = 1e30
    for number in range(2):
        sound[0] = number
        soundfile.write(tmp_path / f"{number}.wav", sound, 8000, subtype="FLOAT")
    sounds = FolderSounds(tmp_path, 1, FS, 2)
    with pytest.raises(UserError, match=r"\.wav: sample 240000 \(30\.000 s\) of channel 1 is 1e\+30"):
        sounds.draw(1, 0, 31, np.random.default_rng(0))


def test_one_folder_takes_classes_from_names(tmp_path):
    for k, name in enumerate(("drum_a", "drum_b", "bass-1", "bass2", "guit e", "guit")):
        soundfile.write(tmp_path / f"{name}.wav", np.full(8000, 0.1 + k / 10), 8000)
    assert FolderSounds(tmp_path, 1, FS, 6).names == ("bass", "drum", "guit")


def test_pauses_and_silent_ends_are_cut():
    noise = np.random.default_rng(0).standard_normal(FS)
    sound = np.concatenate([np.zeros(FS), noise, np.zeros(FS), noise, np.zeros(FS)])
    assert len(without_pauses(sound, FS)) == pytest.approx(2.15 * FS, abs=0.05 * FS)


def test_bad_sound_folders_are_refused(tmp_path, sound_folder):
    with pytest.raises(UserError, match="no such folder"):
        FolderSounds(tmp_path / "missing", 1, FS, 6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no WAV"):
        FolderSounds(tmp_path / "empty", 1, FS, 6)
    with pytest.raises(UserError, match="cannot fill 11 folds"):
        FolderSounds(sound_folder, 1, FS, 11)


# --- scenes ----------------------------------------------------------------------------------------------

def scenes_of(**settings):
    config = get_params(**settings)
    return [compose(rules_of(config), fold, index, range(13)) for fold in range(1, 7)
            for index in range(config.simulation.recordings_per_fold)]


@pytest.mark.parametrize("max_sources", [1, 2, 3, 4])
def test_statistics_of_default_scenes(max_sources):
    scenes = scenes_of(max_sources=max_sources)
    counts = np.concatenate([np.bincount(scene.labels()["frame"], minlength=600) for scene in scenes])
    moving = [event.trajectory.moving for scene in scenes for event in scene.events]
    assert counts.max() == max_sources
    assert np.mean(counts == 0) > 0.02
    assert np.mean(moving) >= 0.3
    if max_sources > 1:
        assert np.mean(counts[counts > 0] > 1) >= 0.3


def test_short_small_datasets_keep_the_shares():
    scenes = scenes_of(sim_recordings_per_fold=2, sim_recording_len_s=10.0)
    counts = np.concatenate([np.bincount(scene.labels()["frame"]) for scene in scenes])
    assert np.mean(counts[counts > 0] > 1) >= 0.3
    assert np.mean([event.trajectory.moving for scene in scenes for event in scene.events]) >= 0.3


def test_events_are_runs_apart_in_direction_and_inside_their_room():
    for scene in scenes_of(sim_recordings_per_fold=6):
        rows = scene.labels()
        for track in np.unique(rows["track"]):
            frames, events = rows["frame"][rows["track"] == track], rows["event"][rows["track"] == track]
            step = np.diff(frames)
            assert ((step == 1) == (np.diff(events) == 0)).all()  # a silent frame between two events
        assert np.abs(rows["azimuth"]).max() <= 180 and np.abs(rows["elevation"]).max() <= 45
        for event in scene.events:
            positions = event.trajectory.positions(np.arange(0, event.duration_s, 0.1), scene.room)
            assert (np.abs(positions + scene.room.sensor_m - np.divide(scene.room.size_m, 2))
                    <= np.divide(scene.room.size_m, 2) - 0.29).all()
            assert np.linalg.norm(positions, axis=1).min() > 0.7
            for other in scene.events:
                if other.onset_s < event.onset_s < other.end_s:
                    there = other.trajectory.directions(event.onset_s - other.onset_s)
                    assert angular_distance(event.trajectory.directions(0.0), there) >= SEPARATION_DEG


def test_moving_events_have_the_speeds_of_the_dataset():
    speeds = []
    for scene in scenes_of(sim_recordings_per_fold=4):
        for event in scene.events:
            directions = event.trajectory.directions(np.arange(0, event.duration_s, 0.1))
            speed = angular_distance(directions[1:], directions[:-1]) / 0.1
            assert event.trajectory.moving or speed.max() < 1e-3
            speeds += speed.tolist() if event.trajectory.moving else []
    assert np.percentile(speeds, 2) > 8 and np.percentile(speeds, 98) < 65


def test_a_scene_depends_on_nothing_but_its_key():
    config = get_params(sim_recordings_per_fold=3)
    scene = compose(rules_of(config), 2, 1, range(13))
    assert scene == compose(rules_of(config.replaced(sim_recordings_per_fold=9)), 2, 1, range(13))
    assert scene != compose(rules_of(config), 3, 1, range(13))


def test_share_of_recordings_without_a_source():
    rules = rules_of(get_params(sim_recording_len_s=10.0, sim_empty=0.5))
    scenes = [compose(rules, 3, index, range(13)) for index in range(24)]
    assert 6 <= sum(not scene.events for scene in scenes) <= 18
    full = compose(rules_of(get_params(sim_recording_len_s=10.0)), 3, 0, range(13))
    assert any(scene == full for scene in scenes)  # the others are as without it


def test_labels_agree_with_the_audio(renderer):
    """In dead, quiet scenes the intensity of loud single-source frames points at the label."""
    rules = rules_of(get_params(max_sources=1, sim_rt60_s=[0.03, 0.03], sim_snr_db=[60, 60], sim_recording_len_s=15.0))
    sounds, errors = GeneratedSounds(1, FS), []
    for index in range(2):
        scene = compose(rules, 1, index, sounds.classes(1))
        foa = render(scene, sounds, renderer)[:4].astype(float)
        for row in scene.labels():
            frame = foa[:, row["frame"] * FS // 10 :][:, : FS // 10]
            if np.mean(frame[0] ** 2) > np.mean(foa[0] ** 2) / 4:
                label = unit_vectors(float(row["azimuth"]), float(row["elevation"]))
                errors.append(angular_distance(intensity_direction(frame), label))
    assert len(errors) > 80
    assert np.median(errors) < 3 and np.percentile(errors, 90) < 6


def test_ambient_noise_has_the_level_asked(renderer):
    config = get_params(max_sources=1, sim_snr_db=[10, 10], sim_recording_len_s=20.0)
    scene = compose(rules_of(config), 1, 0, range(13))
    foa = render(scene, GeneratedSounds(1, FS), renderer)[0]
    active = np.zeros(200, bool)
    active[np.unique(scene.labels()["frame"])] = True
    before = active.argmax()
    assert before >= 2, "this seed starts with a pause"
    noise = np.mean(foa[: (before - 1) * FS // 10] ** 2)
    signal = np.mean(foa.reshape(200, -1)[active] ** 2) - noise
    assert 10 * np.log10(signal / noise) == pytest.approx(10, abs=2.5)


@pytest.mark.parametrize("setting", [{"sim_rt60_s": [0.8, 0.3]}, {"sim_snr_db": [6]}, {"sim_moving": 1.5},
                                     {"sim_recording_len_s": 0.5}, {"seed": -1}, {"sim_rooms_per_fold": 0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        get_params(**setting)


# --- the dataset -----------------------------------------------------------------------------------------

SMALL = ("sim_recordings_per_fold=1", "sim_recording_len_s=5")


def simulate(root, *words):
    return simulate_dataset.main([f"dataset_dir={root}", *SMALL, *words])


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "one"
    assert simulate(root, "--jobs", "1") == 0
    return root


def test_layout_is_that_of_the_challenge(dataset):
    stems = {folder: sorted(path.stem for path in (dataset / folder).iterdir())
             for folder in ("foa_dev", "mic_dev", "metadata_dev")}
    assert stems["foa_dev"] == stems["mic_dev"] == stems["metadata_dev"]
    assert stems["foa_dev"][:2] == ["fold1_room1_mix001_ov2", "fold2_room5_mix001_ov2"]
    for folder in ("foa_dev", "mic_dev"):
        info = soundfile.info(dataset / folder / "fold1_room1_mix001_ov2.wav")
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (FS, 4, "PCM_16", 5 * FS)
    recordings = find_recordings(dataset, "foa")
    assert {recording.split for recording in recordings} == {"1", "2", "3", "4", "5", "6"}
    assert len({recording.room for recording in recordings}) == 6
    for path in (dataset / "metadata_dev").iterdir():
        assert len(read_dcase(path, 50)) > 0


def test_mixes_are_counted_within_rooms(tmp_path):
    writer = Dcase2020(get_params(sim_recordings_per_fold=20, max_sources=3), GeneratedSounds(1, FS))
    names = [writer.paths(tmp_path, key)[0].stem for key in writer.entries()]
    assert len({name.rsplit("_", 1)[0] for name in names}) == 120
    assert "fold2_room5_mix004_ov1" in names  # index 9: the second pair of the fold's first room


def test_same_bytes_for_any_number_of_jobs(dataset, tmp_path):
    assert simulate(tmp_path / "two", "--jobs", "2") == 0
    assert contents(tmp_path / "two") == contents(dataset)


def test_one_fold_is_that_of_the_whole_dataset(dataset, tmp_path, capsys):
    assert simulate(tmp_path / "fold2", "--fold", "2", "--jobs", "1") == 0
    expected = {name: content for name, content in contents(dataset).items() if "fold2" in name or "json" in name}
    assert contents(tmp_path / "fold2") == expected and len(expected) == 4
    assert simulate(tmp_path / "tut", "--fold", "2", "--format", "tut2018") == 2
    assert "--fold is for --format dcase2020" in capsys.readouterr().err


def test_a_stopped_run_goes_on_to_the_same_files(dataset, tmp_path, capsys):
    root = tmp_path / "stopped"
    shutil.copytree(dataset, root)
    stem = "fold3_room9_mix001_ov2"
    (root / f"metadata_dev/{stem}.csv").unlink()
    (root / f"mic_dev/{stem}.wav").unlink()
    (root / f"mic_dev/.{stem}.partial-{platform.node()}-{NOBODY}.wav").write_bytes(b"half")  # of a killed process
    living = root / f"mic_dev/.{stem}.partial-{platform.node()}-{os.getppid()}.wav"
    living.write_bytes(b"half")  # of a process that is still at work
    kept = (root / "foa_dev/fold1_room1_mix001_ov2.wav").stat().st_mtime_ns
    assert simulate(root, "--jobs", "1") == 0
    assert "1 simulated" in capsys.readouterr().out
    living.unlink()
    assert contents(root) == contents(dataset)
    assert (root / "foa_dev/fold1_room1_mix001_ov2.wav").stat().st_mtime_ns == kept


def test_other_settings_need_overwrite(dataset, tmp_path, capsys):
    root = tmp_path / "other"
    shutil.copytree(dataset, root)
    mixtures = {root / "mixtures" / "foa" / f"a_mixed_with_b{suffix}" for suffix in (".wav", ".csv")}
    for path in mixtures:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of recordings that go")
    assert simulate(root, "max_sources=1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert contents(root).keys() == contents(dataset).keys() | {str(path.relative_to(root)) for path in mixtures}
    assert simulate(root, "max_sources=1", "--overwrite", "--jobs", "1") == 0
    assert {path.stem[-3:] for path in (root / "foa_dev").iterdir()} == {"ov1"}
    assert not any(path.exists() for path in mixtures)
    assert json.loads((root / "simulation.json").read_text())["max_sources"] == 1
    next_line = capsys.readouterr().out.splitlines()[-1]
    words = f"dataset_dir={root} max_sources=1"
    assert next_line == f"next: python3 batch_feature_extraction.py {words}"


def test_recordings_of_others_are_never_touched(tmp_path, capsys):
    path = tmp_path / "foa_dev" / "fold1_room1_mix001_ov1.wav"
    path.parent.mkdir()
    path.write_bytes(b"theirs")
    assert simulate(tmp_path, "--overwrite") == 2
    assert "another dataset_dir" in " ".join(capsys.readouterr().err.split())
    assert path.read_bytes() == b"theirs"


def test_generated_and_users_sounds_together(sound_folder, tmp_path, capsys):
    generated, folder = GeneratedSounds(1, FS), FolderSounds(sound_folder, 1, FS, 6)
    both, ids = SoundsTogether([generated, folder, folder]), len(generated.names)
    assert both.names[ids:] == ("bells", "dogs") * 2 and both.classes(2) == list(range(ids + 4))
    for class_id, bank, own in ((3, generated, 3), (ids + 1, folder, 1), (ids + 2, folder, 0), (ids + 3, folder, 1)):
        drawn = [sounds.draw(2, c, 1.0, np.random.default_rng(0)) for sounds, c in ((both, class_id), (bank, own))]
        assert np.array_equal(*drawn)
    assert simulate(tmp_path / "mine", "--sounds", str(sound_folder), "--sounds", str(sound_folder), "--generated",
                    "--jobs", "1") == 0
    assert f"of {ids + 4} classes" in capsys.readouterr().out


def test_users_sounds_make_a_dataset(sound_folder, tmp_path, capsys):
    assert simulate(tmp_path / "mine", "--sounds", str(sound_folder), "--jobs", "1") == 0
    told = capsys.readouterr()
    assert "left out 4 sounds" in told.err and "of 2 classes" in told.out
    assert "python3 batch_feature_extraction.py" in told.out
