"""Measured impulse responses: reading folders and SOFA files, and scenes that equal those of the simulator."""

import json
import os

import h5py
import numpy as np
import pytest
import soundfile

import simulate_dataset
from doanet_parameters import get_params
from doatools.data.dcase import find_recordings, read_dcase
from doatools.errors import UserError
from doatools.simulate import responses
from doatools.simulate.responses import LEAD_S, MeasuredRenderer, MeasuredTrajectory, open_rooms
from doatools.simulate.rooms import Renderer, Room
from doatools.simulate.scenes import Event, Scene, Trajectory, render
from doatools.simulate.sounds import GeneratedSounds
from doatools.spatial.arrays import find_array
from doatools.spatial.geometry import angular_distance, unit_vectors

FS = 24000
FOA, MIC = find_array("foa"), find_array("mic")
ROOM = Room((8.0, 7.0, 4.0), 0.3, (4.0, 3.5, 1.8))
ANGLES = [(0.0, 0.0), (70.0, 20.0), (-120.0, -15.0), (160.0, 5.0)]
DISTANCE_M = 1.5


def simulated(array, angles, fs=FS, seed=0):
    """Responses (C, samples) of a simulated room to sources at ``angles``."""
    renderer = Renderer((array,), fs)
    return [renderer.source(ROOM, np.ones(1), DISTANCE_M * unit_vectors(*angle)[None],
                            np.random.default_rng(seed + number)) for number, angle in enumerate(angles)]


def write_folder(folder, array, angles=ANGLES, fs=FS, order="acn", found=None):
    folder.mkdir(parents=True)
    lines = ["file,azimuth,elevation,distance_m"]
    for number, (angle, response) in enumerate(zip(angles, found or simulated(array, angles, fs))):
        if order == "fuma":
            response = response[[0, 3, 1, 2]] * np.array([[0.5**0.5], [1], [1], [1]])
        soundfile.write(folder / f"{number}.wav", 0.3 * response.T, fs, subtype="FLOAT")
        lines.append(f"{number}.wav,{angle[0]},{angle[1]},{DISTANCE_M}")
    (folder / "directions.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_sofa(path, found, positions, fs=FS, **more):
    """A SOFA file as far as it matters: FIR responses (M, R, N), positions of sources (M, 3) as (azimuth, elevation,
    m)."""
    length = max(one.shape[1] for one in found)
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("SOFA")
        file["Data.IR"] = np.stack([np.pad(one, ((0, 0), (0, length - one.shape[1]))) for one in found])
        file["Data.SamplingRate"] = np.array([float(fs)])
        file["SourcePosition"] = np.asarray(positions, float)
        file["SourcePosition"].attrs["Type"] = np.bytes_("spherical")
        file["ListenerPosition"] = np.zeros((1, 3))
        for name, (values, kind) in more.items():
            name = name.replace("Data_", "Data.")
            if name in file:
                del file[name]
            file[name] = values
            file[name].attrs["Type"] = np.bytes_(kind)
    return path


@pytest.mark.parametrize("array, offset", [(FOA, 0.01), (MIC, 0.0)])
def test_a_scene_through_responses_is_the_scene_of_the_simulator(tmp_path, array, offset):
    """Responses rendered by the simulator, written to files (with an offset) and read again: the same labels, and audio
    within 1 %."""
    written = [one + offset for one in simulated(array, ANGLES)]
    room, = open_rooms(write_folder(tmp_path / "hall", array, found=written), array, FS)
    config = get_params(sim_recording_len_s=4.0, sim_snr_db=[90, 90])
    events = [(0, 0.5, 2.0), (2, 1.0, 2.5)]
    through = Scene((1, 1, 0), room, 4.0, 90.0, tuple(
        Event(3, number, onset, duration, 0.0, MeasuredTrajectory(room, ((place, 0.0),)))
        for number, (place, onset, duration) in enumerate(events)))
    plain = Scene((1, 1, 0), ROOM, 4.0, 90.0, tuple(
        Event(3, number, onset, duration, 0.0, Trajectory(*ANGLES[place], DISTANCE_M))
        for number, (place, onset, duration) in enumerate(events)))
    found, wanted = through.labels(), plain.labels()
    for name in found.dtype.names:
        np.testing.assert_array_equal(found[name], wanted[name])

    class SameTails(Renderer):
        """The tail is noise: that of the written responses, in place of a new one."""

        def tail_response(self, room, distance, rng):
            return super().tail_response(room, distance, np.random.default_rng(self.seeds.pop(0)))

    renderer = SameTails((array,), FS)
    renderer.seeds = [place for place, _, _ in events]
    sounds = GeneratedSounds(1, FS)
    wanted = render(plain, sounds, renderer)
    found = render(through, sounds, MeasuredRenderer(array, FS, config.simulation))
    assert np.linalg.norm(found - wanted) < 0.01 * np.linalg.norm(wanted)


def test_fuma_higher_orders_and_resampling(tmp_path):
    plain, = open_rooms(write_folder(tmp_path / "acn", FOA), FOA, FS)
    fuma, = open_rooms(write_folder(tmp_path / "fuma", FOA, order="fuma"), FOA, FS, "fuma")
    higher, = open_rooms(write_folder(tmp_path / "third", FOA, found=[np.pad(one, ((0, 12), (0, 0)))
                                                                       for one in simulated(FOA, ANGLES)]), FOA, FS)
    fast, = open_rooms(write_folder(tmp_path / "fast", FOA, fs=48000), FOA, FS)
    lead = round(LEAD_S * FS)
    for number, response in enumerate(plain.responses):
        np.testing.assert_allclose(fuma.responses[number], response, atol=1e-5)
        np.testing.assert_array_equal(higher.responses[number], response)
        assert np.abs(response[0]).argmax() == lead == np.abs(fast.responses[number][0]).argmax()
        direct = fast.responses[number][:, lead - 3 : lead + 4]
        assert angular_distance(direct[[3, 1, 2]] @ direct[0], unit_vectors(*ANGLES[number])) < 1
        assert np.abs(response[0, lead]) == pytest.approx(1, abs=0.02)  # gain 1
    assert plain.notes == () == fuma.notes == fast.notes


def test_notes_on_wrong_channels(tmp_path):
    swapped, = open_rooms(write_folder(tmp_path / "hall", FOA, order="fuma"), FOA, FS)
    assert any("--foa-order fuma" in note for note in swapped.notes)
    loud, = open_rooms(write_folder(tmp_path / "n3d", FOA, found=[one * np.array([[1], [3], [3], [3]]) ** 0.5
                                                                  for one in simulated(FOA, ANGLES)]), FOA, FS)
    assert any("N3D" in note for note in loud.notes)


# --- SOFA ------------------------------------------------------------------------------------------------------

def test_sofa_positions_views_and_gains(tmp_path):
    found = simulated(FOA, ANGLES)
    positions = [(azimuth % 360, elevation, DISTANCE_M) for azimuth, elevation in ANGLES]
    plain, = open_rooms(write_folder(tmp_path / "table", FOA), FOA, FS)
    n3d = [one * np.array([[1], [3], [3], [3]]) ** 0.5 for one in found]
    x, y, z = DISTANCE_M * unit_vectors(*np.array(ANGLES).T).T
    listener = np.array([[2.0, 1.0, 1.2]])
    variants = {
        "spherical": (found, {}),
        "cartesian": (found, {"SourcePosition": (np.stack([x, y, z], 1) + listener, "cartesian"),
                              "ListenerPosition": (listener, "cartesian")}),
        "turned": (found, {"SourcePosition": (np.stack([-y, x, z], 1), "cartesian"),  # the listener looks to +y
                           "ListenerView": (np.array([[0.0, 1, 0]]), "cartesian"),
                           "ListenerUp": (np.array([[0, 0, 1.0]]), "cartesian")}),
        "harmonics": (n3d, {"ReceiverPosition": (np.zeros((4, 3, 1)), "spherical harmonics")}),
        "delayed": ([one[:, 5:] for one in found], {"Data_Delay": (np.full((1, 4), 7.0), "")}),
    }
    for name, (impulses, more) in variants.items():
        folder = tmp_path / name
        folder.mkdir()
        write_sofa(folder / "room.sofa", impulses, positions, **more)
        room, = open_rooms(folder, FOA, FS)
        np.testing.assert_allclose(room.directions, plain.directions, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(room.distances_m, DISTANCE_M, atol=1e-6)
        for one, other in zip(room.responses, plain.responses):
            shared = min(one.shape[1], other.shape[1])
            np.testing.assert_allclose(one[:, 30:shared], other[:, 30:shared], atol=2e-3, err_msg=name)


def test_sofa_of_many_emitters(tmp_path):
    found = simulated(FOA, ANGLES)
    length = min(one.shape[1] for one in found)
    impulses = np.stack([one[:, :length] for one in found], -1)[None]  # (1, R, N, E)
    emitters = DISTANCE_M * unit_vectors(*np.array(ANGLES).T)
    path = write_sofa(tmp_path / "mimo.sofa", found, [(0, 0, 1)], Data_IR=(impulses, ""),
                      SourcePosition=(np.zeros((1, 3)), "cartesian"), EmitterPosition=(emitters, "cartesian"))
    room, = open_rooms(path.parent, FOA, FS)
    np.testing.assert_allclose(room.directions, emitters / DISTANCE_M, atol=1e-6)


def test_sofa_receivers_are_compared_with_the_array(tmp_path):
    ring = find_array("respeaker_4mic")
    found = simulated(ring, ANGLES)
    positions = [(*angle, DISTANCE_M) for angle in ANGLES]
    write_sofa(tmp_path / "room.sofa", found, positions,
               ReceiverPosition=(ring.positions + np.array([0.1, 0, 0]), "cartesian"))
    assert len(open_rooms(tmp_path, ring, FS)[0].responses) == 4
    write_sofa(tmp_path / "room.sofa", found, positions, ReceiverPosition=(2 * ring.positions, "cartesian"))
    with pytest.raises(UserError, match=r"receiver \d lies 4. mm from capsule"):
        open_rooms(tmp_path, ring, FS)


# --- what is refused -------------------------------------------------------------------------------------------

def replaced_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def short_sofa(folder, shape=None, **more):
    """A SOFA file in place of the table, with another content in one of its variables; or with a response of a shape
    that is stated but not there."""
    (folder / "directions.csv").unlink()
    path = write_sofa(folder / "bad.sofa", [np.ones((4, 99))] * 4, [(0, 0, 1)] * 4, **more)
    if shape:
        with h5py.File(path, "r+") as file:
            del file["Data.IR"]
            file.create_dataset("Data.IR", shape, "f8", chunks=(1, 4, 1000))


@pytest.mark.parametrize("spoil, told", [
    (lambda folder: (folder / "directions.csv").unlink(), "holds no impulse responses"),
    (lambda folder: (folder / "directions.csv").write_text("file,azimuth\n0.wav,3\n"), "no column 'elevation'"),
    (lambda folder: (folder / "directions.csv").write_text("file,azimuth,elevation\n0.wav,x,3\n"), "line 2"),
    (lambda folder: (folder / "directions.csv").write_text("file,azimuth,elevation\n0.wav,0,95\n"), "out of range"),
    (lambda folder: (folder / "directions.csv").write_text("file,azimuth,elevation\n9.wav,0,5\n"),
     "9.wav does not exist"),
    (lambda folder: soundfile.write(folder / "0.wav", np.zeros((99, 4)), FS), "silent"),
    (lambda folder: soundfile.write(folder / "0.wav", np.ones((99, 3)), FS), "3 channel"),
    (lambda folder: soundfile.write(folder / "0.wav", np.ones((99, 4)), 8000), "different sample rates"),
    (lambda folder: replaced_by_pipe(folder / "0.wav"), "0.wav is not a regular file"),
    (lambda folder: (folder / "bad.sofa").write_bytes(b"no"), "bad.sofa cannot be read as SOFA"),
    (lambda folder: os.mkfifo(folder / "bad.sofa"), "bad.sofa is not a regular file"),
    (lambda folder: soundfile.write(folder / "0.wav", np.full((99, 4), 1e30), FS, "FLOAT"), "0.wav: sample 0 .* is 1e"),
    (lambda folder: short_sofa(folder, Data_IR=(np.full((4, 4, 9), 1e300), "")), "'Data.IR' holds values beyond any"),
    (lambda folder: short_sofa(folder, Data_IR=(np.zeros(3), "")), "not that of a SOFA file of impulse responses"),
    (lambda folder: short_sofa(folder, Data_SamplingRate=([b"x"], "")), "not that of a SOFA file"),
    (lambda folder: short_sofa(folder, Data_SamplingRate=([0.0], "")), "its sample rate is 0 Hz"),
    (lambda folder: short_sofa(folder, Data_Delay=([[1e9, 0, 0, 0]], "")), "'Data.Delay' holds more than delays"),
    (lambda folder: short_sofa(folder, ListenerView=([[np.inf, 0, 0]], "")), "'ListenerView' does not hold finite"),
    (lambda folder: short_sofa(folder, ListenerView=(np.zeros((1, 3)), "")), "state no orientation"),
    (lambda folder: short_sofa(folder, SourcePosition=(np.zeros((0, 3)), "")), "'SourcePosition' does not hold finite"),
    (lambda folder: short_sofa(folder, shape=(10**9, 4, 10**6)), "'Data.IR' states 3.* bytes, more than the file"),
])
def test_damaged_folders_are_refused_in_one_line(tmp_path, spoil, told):
    folder = write_folder(tmp_path / "hall", FOA)
    spoil(folder)
    with pytest.raises(UserError, match=told) as caught:
        open_rooms(folder, FOA, FS)
    assert "\n" not in str(caught.value)


# --- movement --------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    angles = [(float(azimuth), 0.0) for azimuth in range(-180, 180, 5)]
    return write_folder(tmp_path_factory.mktemp("responses") / "ring", FOA, angles)


def test_moving_sources_are_heard_where_their_labels_say(ring):
    room, = open_rooms(ring, FOA, FS)
    assert room.dense and room.spacing_deg == pytest.approx(5, abs=0.01)
    rng = np.random.default_rng(0)
    course = responses.draw_trajectory(room, 3.0, rng, (30.0, 30.0))
    times = np.arange(0, 3.0, 0.05)
    steps = angular_distance(course.directions(times[1:]), course.directions(times[:-1]))
    np.testing.assert_allclose(steps, 1.5, atol=0.05)
    assert angular_distance(course.directions(3.0), course.directions(0.0)) > 80  # it goes on, not to and fro
    dry = rng.standard_normal(3 * FS).astype(np.float32)
    heard = MeasuredRenderer(FOA, FS, get_params().simulation).source(room, dry, course.positions(
        np.arange(61) * 0.05, room), rng).astype(float)
    for second in (0.5, 1.5, 2.5):
        frame = heard[:, round(second * FS) - 1200 :][:, :2400]
        assert angular_distance(frame[[3, 1, 2]] @ frame[0], course.directions(second)) < 6
    static = MeasuredRenderer(FOA, FS, get_params().simulation).source(room, dry, np.array([[3, 3, 0.0]]), rng)
    resting = MeasuredRenderer(FOA, FS, get_params().simulation).source(room, dry, np.array([[3, 3, 0.0]] * 61), rng)
    np.testing.assert_allclose(resting[:, : 3 * FS], static[:, : 3 * FS], atol=1e-3)


def test_sparse_positions_refuse_movement(tmp_path, capsys):
    folder = write_folder(tmp_path / "hall", FOA)
    assert simulate(tmp_path / "out", folder, "sim_moving=0.5") == 2
    assert "too far for sources that move" in " ".join(capsys.readouterr().err.split())


# --- the dataset -----------------------------------------------------------------------------------------------

def simulate(root, folder, *words):
    return simulate_dataset.main([f"dataset_dir={root}", "sim_recordings_per_fold=2", "sim_recording_len_s=4",
                                  "--jobs", "1", "--responses", str(folder), *words])


def test_rooms_are_dealt_to_folds(tmp_path, capsys):
    for name in ("a", "b", "c"):
        write_folder(tmp_path / "rooms" / name, FOA)
    assert simulate(tmp_path / "out", tmp_path / "rooms", "max_sources=3") == 0
    recordings = find_recordings(tmp_path / "out", "foa")
    assert {recording.split for recording in recordings} == {"1", "2", "3"}
    assert len({one.room for one in recordings}) == 3
    assert json.loads((tmp_path / "out/simulation.json").read_text())["rooms"] == {
        "a": "fold1_room1", "b": "fold2_room2", "c": "fold3_room3"}
    for recording in recordings:
        rows = read_dcase(recording.annotation, 40)
        assert {(row["azimuth"], row["elevation"]) for row in rows} <= {(a, e) for a, e in ANGLES}
    assert "batch_feature_extraction.py" in capsys.readouterr().out
    assert simulate(tmp_path / "out", tmp_path / "rooms", "max_sources=3") == 0  # nothing left to do
    assert "made" not in capsys.readouterr().out
    assert simulate(tmp_path / "test", tmp_path / "rooms", "--fold", "1", "sim_recordings_per_fold=6") == 0
    found = find_recordings(tmp_path / "test", "foa")
    assert {recording.split for recording in found} == {"1"} and len({recording.room for recording in found}) == 3
    assert "evaluate_doanet.py --baseline intensity" in capsys.readouterr().out


def test_faults_of_channels_apply_and_those_of_rooms_are_refused(tmp_path, capsys):
    folder = write_folder(tmp_path / "hall", FOA)
    assert simulate(tmp_path / "plain", folder) == 0 and simulate(tmp_path / "real", folder, "--realistic") == 0
    plain, real = (soundfile.read(next((tmp_path / name / "foa_dev").iterdir()))[0] for name in ("plain", "real"))
    assert plain.shape == real.shape and not np.array_equal(plain, real)
    capsys.readouterr()
    for words, told in ((["sim_rt60_s=[0.2,0.3]"], "the measured rooms decide"), (["sim_encoder_mm=[9,9]"], "own room"),
                        (["--format", "tut2018"], "--format dcase2020"),
                        (["array=mic", "--foa-order", "fuma"], "ambisonics")):
        assert simulate(tmp_path / "no", folder, *words) == 2
        assert told in " ".join(capsys.readouterr().err.split())
    assert simulate_dataset.main([f"dataset_dir={tmp_path}/no", "--foa-order", "fuma"]) == 2
