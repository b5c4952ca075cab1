"""Rooms of unlike, frequency-dependent surfaces, directional sources, noise from one side; the preset as a whole."""

import json

import numpy as np
import pyroomacoustics as pra
import pytest
from scipy.signal import butter, lfilter, oaconvolve, sosfiltfilt

import simulate_dataset
from doanet_parameters import get_params
from doatools.errors import UserError
from doatools.simulate import kernels, live_rooms, sensors
from doatools.simulate.live_rooms import Lattice, LiveRenderer, LiveRoom
from doatools.simulate.realism import CAPSULES, CHANNELS, COMPOSED, REALISTIC, ROOMS, is_realistic, notes
from doatools.simulate.rooms import Renderer, Room, early_images
from doatools.simulate.scenes import compose, draw_room, render, rules_of
from doatools.simulate.sounds import GeneratedSounds
from doatools.simulate.writers import Dcase2020
from doatools.spatial.arrays import SPEED_OF_SOUND, find_array
from doatools.spatial.geometry import angular_distance, unit_vectors

FS = 24000
FOA, MIC = find_array("foa"), find_array("mic")


@pytest.fixture(scope="module")
def renderer():
    return LiveRenderer([sensors.Sensor(array, array) for array in (FOA, MIC)], FS, get_params().simulation)


def room_of(rt60=0.5, size=(6.0, 5.0, 3.0), seed=0, **settings):
    simulation = get_params(**{f"sim_{name}": value for name, value in settings.items()}).simulation
    return live_rooms.furnished(Room(size, rt60, tuple(np.divide(size, 2))), simulation, np.random.default_rng(seed))


def decay_s(responses, low, high):
    """RT60 of responses (R, n) between two frequencies, by Schroeder's integral from -5 to -25 dB."""
    band = sosfiltfilt(butter(2, (low, high), "bandpass", fs=FS, output="sos"), responses)
    decay = 10 * np.log10(np.cumsum(np.mean(band**2, axis=0)[::-1])[::-1] + 1e-20)
    decay -= decay[0]
    first, last = (decay < -5).argmax(), (decay < -25).argmax()
    return -60 / np.polyfit(np.arange(first, last) / FS, decay[first:last], 1)[0]


def test_images_are_those_of_the_plain_room():
    room, position = room_of(), np.array([1.0, 0.5, 0.2])
    plain = Room(room.size_m, room.rt60_s, room.sensor_m)
    directions, delays, amplitudes = next(early_images(plain, position[None]))
    lattice = Lattice(room, SPEED_OF_SOUND * 0.06 + 2)
    ours = lattice.images(position, 0.06)
    assert len(ours[1]) == len(delays)
    np.testing.assert_allclose(np.sort(ours[1]), np.sort(delays), atol=1e-6)
    wanted = np.sort(amplitudes)[:, None].repeat(3, 1)
    np.testing.assert_allclose(np.sort(ours[2], axis=0), wanted, rtol=2e-4, atol=1e-6)
    places = [one[:, None] * two for one, two in ((delays + 1, directions), (ours[1] + 1, ours[0]))]
    assert max(np.linalg.norm(places[1] - place, axis=1).min() for place in places[0]) < 1e-4


def test_surfaces_absorb_as_an_independent_image_source_model_says():
    """Unlike surfaces in one band, against pyroomacoustics with one material per surface."""
    room, position = room_of(surface_contrast=1.0, seed=3), np.array([-1.2, 0.7, 0.3])
    absorption = 1 - np.exp(-np.array(room.exponents)[:, 1])
    names = ("west", "east", "south", "north", "floor", "ceiling")
    shoebox = pra.ShoeBox(room.size_m, materials={name: pra.Material(float(value))
                                                  for name, value in zip(names, absorption)}, max_order=12)
    shoebox.add_microphone(list(room.sensor_m))
    shoebox.add_source(np.add(room.sensor_m, position))
    shoebox.image_source_model()
    images = shoebox.sources[0].images.T - room.sensor_m
    distances = np.linalg.norm(images, axis=1)
    early = distances < np.linalg.norm(position) + SPEED_OF_SOUND * 0.03
    theirs = np.sort(shoebox.sources[0].damping[0, early] / distances[early])
    fade = live_rooms.FADE_S
    ours = Lattice(room, 14.0).images(position, 0.03 + fade)
    kept = ours[1] < 0.03
    np.testing.assert_allclose(np.sort(ours[2][kept, 1]), theirs, rtol=1e-3)
    assert np.ptp(absorption) > 0.1


def test_bands_add_up_to_a_flat_response(renderer):
    """A live room without contrast, tilt or directivity has the early response of a plain one."""
    room, position = room_of(rt60=0.4), np.array([[1.4, 0.6, 0.2]])
    plain = Renderer((FOA, MIC), FS)
    wanted = plain.early_response(*next(early_images(Room(room.size_m, room.rt60_s, room.sensor_m), position)))
    ours = renderer.early_response(Lattice(room, 25.0), position[0], room.early_s)[:, live_rooms.GUARD :]
    count = round((room.early_s - live_rooms.FADE_S) * FS)  # the two end at different times
    np.testing.assert_allclose(ours[:, :count], wanted[:, :count], atol=2e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("rt60", [0.2, 0.6, 1.5])
def test_each_band_decays_as_asked(renderer, rt60):
    room = room_of(rt60=rt60, decay_tilt=0.6, surface_contrast=0.5, seed=1)
    responses = np.stack([renderer.source(room, np.ones(1), np.array([[1.4, 0.6, 0.2]]), np.random.default_rng(seed))
                          for seed in range(4)])
    for channel in (0, 1, 5):
        for wanted, low, high in zip(room.rt60_bands_s, (180, 900, 4000), (300, 1100, 8000)):
            assert decay_s(responses[:, channel], low, high) == pytest.approx(wanted, rel=0.2)
    assert room.rt60_bands_s[0] > 1.15 * room.rt60_bands_s[2]


def test_tail_goes_on_where_images_end(renderer):
    """Energy per millisecond of images, just before they end, and of the tail, brought back in time: within 2 dB."""
    room, position = room_of(rt60=0.6, size=(6.0, 5.0, 3.5)), np.array([1.0, 0.7, 0.2])
    _, delays, amplitudes = Lattice(room, 30.0).images(position, 0.06)
    images = np.sum(amplitudes[(delays > 0.02) & (delays < 0.04), 1] ** 2) / (0.02 * FS)
    span = slice(round(0.07 * FS) + renderer.lead, round(0.09 * FS) + renderer.lead)
    tails = [renderer.tail_response(room, 1.24, np.random.default_rng(k))[0, span] for k in range(8)]
    tail = np.mean(np.square(tails)) * 10 ** (6 * 0.05 / room.rt60_s)
    assert abs(10 * np.log10(images / tail)) < 2


def test_a_talker_facing_away_is_dull_and_reverberant(renderer):
    room, position = room_of(rt60=0.4), np.array([[2.0, 0.0, 0.0]])
    lattice = Lattice(room, 25.0)
    levels = {}
    for name, axis in (("toward", [-1.0, 0, 0]), ("away", [1.0, 0, 0]), ("all", None)):
        directions, delays, amplitudes = lattice.images(position[0], 0.06, axis if axis is None else np.array(axis))
        direct = delays.argmin()
        assert angular_distance(directions[direct], position[0]) < 1e-6
        levels[name] = 20 * np.log10(amplitudes[direct] * 2.0)
    np.testing.assert_allclose(levels["toward"], levels["all"], atol=1e-3)
    assert levels["away"][0] > -4 and -30 < levels["away"][2] < -18
    # The reflection from the wall that the talker faces is as loud as it gets.
    mirrored = np.array([6.0 - 2.0, 0, 0])
    behind = np.argmin(np.linalg.norm(directions * (delays[:, None] * SPEED_OF_SOUND + 2) - mirrored, axis=1))
    away = lattice.images(position[0], 0.06, np.array([1.0, 0, 0]))[2]
    np.testing.assert_allclose(away[behind], lattice.images(position[0], 0.06)[2][behind], rtol=1e-6)


def test_moving_source_that_stays_equals_a_static_one(renderer):
    dry, room = np.random.default_rng(0).standard_normal(FS), room_of(rt60=0.2, surface_contrast=1.0, decay_tilt=0.5)
    position = np.array([[1.0, -1.0, 0.3]])
    static = renderer.source(room, dry, position, np.random.default_rng(1))
    moving = renderer.source(room, dry, np.repeat(position, 21, axis=0), np.random.default_rng(1))
    n = min(static.shape[1], moving.shape[1])
    np.testing.assert_allclose(moving[:, :n], static[:, :n], atol=1e-3 * np.abs(static).max())


@pytest.mark.parametrize("noise", live_rooms.NOISES)
def test_directional_noise_comes_from_a_side_at_the_level_asked(renderer, noise, monkeypatch):
    monkeypatch.setattr(live_rooms, "NOISES", (noise,))
    rules = rules_of(get_params(sim_directional_noise=1.0, max_sources=1, sim_recording_len_s=30.0))
    scene = compose(rules, 1, 0, range(13))
    found = renderer.ambience(scene, 30 * FS, np.random.default_rng(2))
    assert found.shape == (8, 30 * FS) and np.isfinite(found).all()
    plain = renderer.diffuse_noise(30 * FS, np.random.default_rng(0), 0.5)
    assert renderer.power(found) == pytest.approx(renderer.power(plain), rel=0.2)
    sidedness = [np.linalg.norm(one[[3, 1, 2]] @ one[0]) / (one[0] @ one[0]) for one in (found, plain)]
    assert sidedness[0] > 3 * sidedness[1]


def test_kernels_do_what_scipy_does():
    rng = np.random.default_rng(0)
    noise = kernels.normals(rng, (2, 300_001))
    assert noise.dtype == np.float32 and np.abs(np.corrcoef(noise)[0, 1]) < 0.01
    np.testing.assert_allclose([noise.mean(), noise.std(), np.mean(noise**4)], [0, 1, 3], atol=0.05)
    for samples, taps in ((1, 300), (50, 300), (20_000, 300), (200_000, 33)):
        signals, responses = noise[:, :samples], rng.standard_normal((3, 2, taps)).astype(np.float32)
        responses[2, 1] = responses[1] = 0  # channels that hear less
        wanted = oaconvolve(signals[None], responses, axes=-1).sum(1)
        np.testing.assert_allclose(kernels.convolved(signals, responses), wanted, atol=1e-5 * np.abs(wanted).max())
    wanted = lfilter([0.9, -0.9], [1, -0.8], noise, axis=1)
    np.testing.assert_allclose(kernels.one_pole(noise, 0.9, -1.0, 0.8), wanted, atol=1e-5)


# --- scenes and the preset -------------------------------------------------------------------------------------

def preset(**settings):
    return get_params(**REALISTIC | settings)


def test_preset_sets_every_parameter_and_defaults_set_none():
    plain, real = get_params().simulation, preset().simulation
    assert not is_realistic(plain) and notes(plain) == {} and is_realistic(real)
    names = {f"sim_{name}" for name in COMPOSED + ROOMS + CAPSULES + CHANNELS} - {"sim_empty"}
    assert notes(real).keys() == names | {"realism"}
    assert "realism" not in notes(get_params(sim_room_m=[4, 4, 3, 5, 5, 3]).simulation)  # rendered as any room


def test_realistic_scenes_cover_the_ranges():
    config = preset(max_sources=3, sim_recordings_per_fold=10)
    scenes = [compose(rules_of(config), fold, index, range(13)) for fold in range(1, 7) for index in range(10)]
    rooms = [scene.room for scene in scenes]
    assert min(room.rt60_s for room in rooms) < 0.3 and max(room.rt60_s for room in rooms) > 1.1
    events = [(event.trajectory.positions(np.zeros(1), scene.room)[0], scene.room) for scene in scenes
              for event in scene.events]
    distances = np.array([np.linalg.norm(position) for position, _ in events])
    assert distances.min() < 0.7 and distances.max() > 4
    gaps = np.array([min(np.min(position + room.sensor_m), np.min(np.subtract(room.size_m, room.sensor_m) - position))
                     for position, room in events])
    assert gaps.min() == pytest.approx(0.1, abs=1e-6) and np.mean(gaps < 0.3) > 0.05
    elevations = np.rad2deg(np.arcsin([position[2] / np.linalg.norm(position) for position, _ in events]))
    assert elevations.max() > 70 and elevations.min() < -70
    assert max(np.bincount(scene.labels()["frame"]).max() for scene in scenes) == 3


def test_realistic_recordings_are_audio_that_points_at_its_labels():
    """Through everything at once but noise: the loud frames of single sources still point to within a few degrees."""
    config = preset(max_sources=1, sim_recording_len_s=15.0).replaced(sim_snr_db=[60, 60], sim_rt60_s=[0.15, 0.15])
    writer, errors = Dcase2020(config, GeneratedSounds(1, FS)), []
    for key in ((1, 0), (2, 0), (3, 0)):
        scene = writer.scene(key)
        foa, mic = writer.signals(key, scene)
        assert foa.shape == mic.shape == (4, 15 * FS) and np.abs([foa, mic]).max() <= 1
        foa = foa.astype(float) - foa.mean(1, keepdims=True)
        for row in scene.labels():
            frame = foa[:, row["frame"] * FS // 10 :][:, : FS // 10]
            if np.mean(frame[0] ** 2) > np.mean(foa[0] ** 2) / 4:
                label = unit_vectors(float(row["azimuth"]), float(row["elevation"]))
                errors.append(angular_distance(frame[[3, 1, 2]] @ frame[0], label))
    assert len(errors) > 80 and np.median(errors) < 12


def test_chances_of_rooms_leave_those_of_plain_scenes_alone():
    """A room's size, RT60 and events are those of the perfect simulation."""
    plain, live = rules_of(get_params()), rules_of(get_params(sim_surface_contrast=1.0, sim_gain_db=1.0))
    room, other = draw_room(plain, 2, 1), draw_room(live, 2, 1)
    assert isinstance(other, LiveRoom) and (room.size_m, room.rt60_s) == (other.size_m, other.rt60_s)
    assert compose(plain, 2, 1, range(13)).events == compose(live, 2, 1, range(13)).events


def test_the_ambient_noise_has_the_level_asked():
    config = get_params(max_sources=1, sim_snr_db=[10, 10], sim_recording_len_s=20.0, sim_gain_db=0.5,
                        sim_encoder_mm=[14.0, 14.0], sim_position_mm=0.5)
    scene = compose(rules_of(config), 1, 0, range(13))
    renderer = live_rooms.renderer_of((FOA, MIC), FS, config.simulation, scene.key)
    foa = render(scene, GeneratedSounds(1, FS), renderer)[0]
    active = np.zeros(200, bool)
    active[np.unique(scene.labels()["frame"])] = True
    before = active.argmax()
    assert before >= 2, "this seed starts with a pause"
    noise = np.mean(foa[: (before - 1) * FS // 10] ** 2)
    signal = np.mean(foa.reshape(200, -1)[active] ** 2) - noise
    assert 10 * np.log10(signal / noise) == pytest.approx(10, abs=3)


@pytest.mark.parametrize("setting", [{"sim_distance_m": [3, 1]}, {"sim_room_m": [3, 3, 3]}, {"sim_dipole_db": [1]},
                                     {"sim_room_m": [3, 3, 3, 2, 4, 4]}, {"sim_gain_db": -1},
                                     {"sim_encoder_mm": [9, 2]}])
def test_impossible_ranges_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        get_params(**setting)


def test_command_line(tmp_path, capsys):
    root = tmp_path / "real"
    words = [f"dataset_dir={root}", "sim_recordings_per_fold=1", "sim_recording_len_s=3", "--realistic", "--jobs", "1"]
    assert simulate_dataset.main([*words, "sim_gain_db=0.5"]) == 0
    noted = json.loads((root / "simulation.json").read_text())
    assert noted["sim_gain_db"] == 0.5 and noted["sim_encoder_mm"] == [12.0, 15.0]
    assert noted["sim_rt60_s"] == [0.15, 1.2]
    first = {path.name: path.read_bytes() for path in root.glob("foa_dev/*")}
    assert len(first) == 6
    path = next(iter(root.glob("metadata_dev/*")))
    path.unlink()
    assert simulate_dataset.main([*words, "sim_gain_db=0.5"]) == 0
    assert {path.name: path.read_bytes() for path in root.glob("foa_dev/*")} == first
    assert simulate_dataset.main(words) == 2  # other settings
    capsys.readouterr()
    assert simulate_dataset.main(["--format", "tut2018", f"dataset_dir={tmp_path}/tut", "--realistic"]) == 2
    assert "--format dcase2020" in " ".join(capsys.readouterr().err.split())
