"""Arrays: their response to plane waves against independent formulas, their files, and what follows from these."""

import itertools
import math

import numpy as np
import pytest
import yaml
from scipy.special import eval_legendre, spherical_jn, spherical_yn

import localize
from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools import shipped
from doatools.errors import UserError
from doatools.simulate.rooms import EARLY_S, Renderer, Room
from doatools.spatial.arrays import (
    FOLDER,
    SPEED_OF_SOUND,
    Array,
    fibonacci_directions,
    find_array,
    foa_gains,
    known_arrays,
    read_array,
    rigid_sphere_response,
)
from doatools.spatial.geometry import azimuth_elevation, unit_vectors
from doatools.spatial.rotations import copies_of, rotations_of

MIC = find_array("mic")
FS = 24000
RING = [[0.046 * math.cos(math.radians(60 * k)), 0.046 * math.sin(math.radians(60 * k)), 0] for k in range(6)]
OUTWARD = [[60 * k, 0] for k in range(6)]
CUBE = [[x, y, z] for x in (-0.03, 0.03) for y in (-0.03, 0.03) for z in (-0.03, 0.03)]


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def written(folder, **content):
    """Path of a YAML file with this content."""
    path = folder / "mine.yaml"
    path.write_text(yaml.dump({"name": "mine", **content}, Dumper=Dumper))
    return path


def free(*positions):
    """Omnidirectional capsules."""
    return Array("mine", "free", tuple(map(tuple, positions)), directivity=("omni",) * len(positions))


def cardioid_ring():
    return Array("ring", "free", tuple(map(tuple, RING)), directivity=("cardioid",) * 6,
                 orientations_deg=tuple(map(tuple, OUTWARD)))


# --- responses -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("azimuth, elevation", [(0, 0), (90, 0), (-120, 35), (10, -80)])
def test_foa_gains_are_acn_sn3d(azimuth, elevation):
    az, el = np.deg2rad(azimuth), np.deg2rad(elevation)
    expected = [1, np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)]
    np.testing.assert_allclose(foa_gains(unit_vectors(azimuth, elevation)), expected, atol=1e-12)


def test_rigid_sphere_is_transparent_at_low_frequency():
    response = rigid_sphere_response(np.linspace(-1, 1, 9), np.array([0.0, 1e-6, 1e-3]))
    np.testing.assert_allclose(response, 1, atol=2e-3)


def test_rigid_sphere_low_frequency_phase_leads_by_one_and_a_half_paths():
    """Below kR = 0.1 the sphere delays like 1.5 times the path R cos(gamma) of free capsules."""
    cosines, x = np.linspace(-1, 1, 9), 0.02
    phase = np.angle(rigid_sphere_response(cosines, np.array([x])))[:, 0]
    np.testing.assert_allclose(phase, 1.5 * x * cosines, atol=1e-3 * x + x**2)


def test_rigid_sphere_front_is_louder_than_side_and_tends_to_doubling():
    front, side, _ = np.abs(rigid_sphere_response(np.cos(np.deg2rad([0, 110, 180])), np.array([8.0, 40.0])))
    assert (front > 1.5 * side).all()
    assert front[1] == pytest.approx(2, abs=0.05)  # a wall doubles the pressure


def test_rigid_sphere_agrees_with_incident_plus_scattered_field():
    """The published formula is the Wronskian of: sum i^n (2n+1) P_n [j_n - j_n'/h_n' h_n]."""
    x, cosines = np.linspace(0.05, 9.5, 40), np.linspace(-1, 1, 13)
    expected = 0
    for n in range(31):
        j, dj = spherical_jn(n, x), spherical_jn(n, x, True)
        h, dh = j - 1j * spherical_yn(n, x), dj - 1j * spherical_yn(n, x, True)
        expected = expected + np.outer(1j**n * (2 * n + 1) * eval_legendre(n, cosines), j - dj / dh * h)
    np.testing.assert_allclose(rigid_sphere_response(cosines, x), expected, atol=1e-8)


def test_rigid_sphere_is_finite_from_subsonic_to_large():
    response = rigid_sphere_response(np.linspace(-1, 1, 5), np.geomspace(1e-12, 60, 200))
    assert np.isfinite(response).all()
    assert np.abs(response).max() < 2.1


def test_capsules_in_the_free_field_are_pure_delays():
    positions = ((0.1, 0, 0), (-0.1, 0, 0), (0, 0.03, 0.05))
    array = Array("three", "free", positions, directivity=("omni",) * 3)
    frequencies = np.array([0.0, 100.0, 1000.0])
    shift = 2j * np.pi * frequencies * 0.1 / SPEED_OF_SOUND
    response = array.response(unit_vectors(0.0, 0.0)[None], frequencies)
    np.testing.assert_allclose(response[:, 0], np.exp([shift, -shift, 0 * shift]), atol=1e-12)
    # from straight above: only z counts
    response = array.response(unit_vectors(0.0, 90.0)[None], frequencies)
    np.testing.assert_allclose(response[:, 0], np.exp([0 * shift, 0 * shift, 0.5 * shift]), atol=1e-12)


def test_cardioids_have_the_gain_one_half_plus_half_the_cosine():
    """Ahead 1, at 90 degrees 1/2, behind 0; mixed with omnidirectional capsules; and the delays remain."""
    positions = ((0.02, 0, 0), (0, 0.02, 0), (0, 0, 0.02))
    array = Array("mixed", "free", positions, directivity=("cardioid", "omni", "cardioid"),
                  orientations_deg=((0, 0), (0, 0), (30, 60)))
    directions = unit_vectors(np.array([0.0, 90.0, 180.0, 60.0]), np.zeros(4))
    gains = array.gains(directions)
    np.testing.assert_allclose(gains[:, 0], [1, 0.5, 0, 0.75], atol=1e-12)
    np.testing.assert_allclose(gains[:, 1], 1)
    assert array.gains(unit_vectors(30, 60))[2] == pytest.approx(1)
    response = array.response(directions, np.array([0.0, 2000.0]))
    np.testing.assert_allclose(np.abs(response), gains.T[:, :, None] * np.ones(2), atol=1e-12)
    assert np.angle(response[0, 0, 1]) == pytest.approx(2 * np.pi * 2000 * 0.02 / SPEED_OF_SOUND)


def test_patterns_between_omni_and_cardioid():
    array = Array("sub", "free", ((0.02, 0, 0), (0, 0.02, 0)), directivity=(0.25, "omni"),
                  orientations_deg=((0, 0), (0, 0)))
    gains = array.gains(unit_vectors(np.array([0.0, 90.0, 180.0]), np.zeros(3)))
    np.testing.assert_allclose(gains, [[1, 1], [0.75, 1], [0.5, 1]], atol=1e-12)


def test_response_picks_each_capsules_own_angle():
    """A wave from a capsule's direction reaches that capsule first (largest phase) and loudest."""
    response = MIC.response(MIC.capsules, np.array([500.0, 4000.0]))  # (M, D = M, 2)
    assert (np.angle(response[..., 0]).argmax(axis=0) == np.arange(4)).all()
    assert (np.abs(response[..., 1]).argmax(axis=0) == np.arange(4)).all()


def test_response_of_ambisonics_is_its_gains():
    directions = fibonacci_directions(20)
    response = find_array("foa").response(directions, np.array([0.0, 5000.0]))
    np.testing.assert_allclose(response[..., 1], foa_gains(directions).T)


def test_fibonacci_directions_are_even():
    directions = fibonacci_directions(400)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.T @ directions / 400, np.eye(3) / 3, atol=2e-3)


# --- files -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", known_arrays())
def test_every_shipped_array_is_valid(name):
    array = find_array(name)
    assert array.name == name and array == read_array(FOLDER / f"{name}.yaml")
    assert Array.from_plain(array.plain()) == array and hash(Array.from_plain(array.plain())) == hash(array)
    assert array.drawn == (name == "drawn") and (array.drawn or f"{array.channels} " in array.describe())
    assert array.planar == (name not in ("foa", "mic", "eigenmike", "drawn", "cube8", "irregular5"))


@pytest.mark.parametrize(("content", "channels"), [
    ({"kind": "ambisonic"}, 4),
    ({"kind": "free", "positions_m": RING}, 6),
    ({"kind": "free", "positions_m": RING, "directivity": "cardioid", "orientations_deg": OUTWARD}, 6),
    ({"kind": "free", "positions_m": RING[:4], "directivity": ["omni", "cardioid", "omni", "omni"],
      "orientations_deg": OUTWARD[:4]}, 4),
    ({"kind": "free", "positions_m": CUBE}, 8),
    ({"kind": "rigid", "radius_m": 0.05, "capsules_deg": [[0, 0], [120, 10], [240, 30]]}, 3),
    ({"kind": "rigid", "radius_m": 0.05, "positions_m": [[0.05, 0, 0], [0, 0.05, 0], [0, 0, 0.05]]}, 3)])
def test_valid_files(content, channels, tmp_path):
    array = read_array(written(tmp_path, **content))
    assert array.name == "mine" and array.channels == channels
    config = get_params(array=str(tmp_path / "mine.yaml"))
    features, pairs = build_features(config), channels * (channels - 1) // 2
    assert features.nb_feature_channels == (7 if array.kind == "ambisonic" else channels + pairs)
    assert features.extract(np.zeros((4800, channels), np.float32)).shape == (10, features.nb_feature_channels * 64)


def test_positions_on_a_sphere_become_angles(tmp_path):
    places = 0.042 * unit_vectors(*np.array(MIC.capsules_deg, float).T)
    array = read_array(written(tmp_path, kind="rigid", radius_m=0.042, positions_m=places.tolist()))
    np.testing.assert_allclose(array.capsules_deg, MIC.capsules_deg, atol=1e-9)


FREE = {"kind": "free", "positions_m": RING}
RIGID = {"kind": "rigid", "radius_m": 0.05, "capsules_deg": [[0, 0], [120, 10], [240, 30]]}


@pytest.mark.parametrize(("content", "message"), [
    ({**FREE, "postions_m": []}, "unknown key 'postions_m'. Did you mean 'positions_m'?"),
    ({**FREE, "name": "my array"}, "key 'name' takes letters"),
    ({**FREE, "name": 8}, "key 'name' takes letters"),
    ({**FREE, "name": "../up"}, "key 'name' takes letters"),
    ({**FREE, "name": "mic"}, "key 'name': arrays/mic.yaml is another array of the name 'mic'"),
    ({"positions_m": RING}, "key 'kind' is one of ambisonic, free, rigid, drawn, not None"),
    ({**FREE, "kind": "ridgid"}, "key 'kind' is one of ambisonic, free, rigid, drawn, not 'ridgid'. Did "
     "you mean 'rigid'?"),
    ({"kind": "ambisonic", "positions_m": RING}, "key 'positions_m' has no meaning for kind: ambisonic"),
    ({**FREE, "radius_m": 0.04}, "key 'radius_m' has no meaning for kind: free"),
    ({"kind": "free"}, "key 'positions_m' takes one [x, y, z] in metres per capsule"),
    ({**FREE, "positions_m": []}, "key 'positions_m' takes one [x, y, z] in metres per capsule"),
    ({**FREE, "positions_m": [[0, 0], [1, 0]]}, "key 'positions_m', capsule 1: takes [x, y, z] in metres, not [0, 0]"),
    ({**FREE, "positions_m": [*RING, [0, 0, "a"]]}, "key 'positions_m', capsule 7: takes [x, y, z] in metres"),
    ({**FREE, "positions_m": [*RING, [0, 0, float("nan")]]}, "key 'positions_m', capsule 7: takes [x, y, z]"),
    ({**FREE, "positions_m": [*RING, [0, 0, True]]}, "key 'positions_m', capsule 7: takes [x, y, z] in metres"),
    ({**FREE, "positions_m": [[46, 0, 0], [0, 46, 0], [-46, 0, 0]]}, "a capsule is 46 m from the origin"),
    ({**FREE, "positions_m": RING[:2]}, "key 'positions_m': 2 capsules; directions take three or more"),
    ({**FREE, "positions_m": RING[:1]}, "key 'positions_m': 1 capsule; directions take three or more"),
    ({**FREE, "positions_m": [*RING, RING[2]]}, "key 'positions_m': capsules 3 and 7 are at the same place"),
    ({**FREE, "positions_m": [[0.01 * k, 0, 0.02 * (k // 9)] for k in range(80)]}, "80 capsules; up to 64 are"),
    ({**FREE, "directivity": "hypercardioid"}, "key 'directivity' takes omni or cardioid, a number from 0 (omni) to "),
    ({**FREE, "directivity": 0.7}, "a list with one of them per capsule (6), not 0.7"),
    ({**FREE, "directivity": 0.3}, "key 'orientations_deg' takes one [azimuth"),
    ({"kind": "drawn", "capsules": [4, 8]}, "key 'aperture_m' takes [smallest, largest] within 0.01 to 1, not None"),
    ({"kind": "drawn", "capsules": [8, 4], "aperture_m": [0.1, 0.2]}, "key 'capsules' takes [smallest, largest]"),
    ({"kind": "drawn", "capsules": [4, 5], "aperture_m": [0.1, 0.2], "rigid": 2}, "key 'rigid' takes a share within 0"),
    ({"kind": "drawn", "positions_m": RING}, "unknown key 'positions_m'"),
    ({**FREE, "directivity": ["omni"]}, "a list with one of them per capsule (6), not ['omni']"),
    ({**FREE, "directivity": [["omni"]] * 6}, "a list with one of them per capsule (6)"),
    ({**FREE, "directivity": "cardioid"}, "key 'orientations_deg' takes one [azimuth"),
    ({**FREE, "directivity": "cardioid", "orientations_deg": OUTWARD[:5]}, "has 5 directions for 6 capsules"),
    ({**FREE, "orientations_deg": OUTWARD}, "key 'orientations_deg' has no meaning for omnidirectional capsules"),
    ({**RIGID, "radius_m": 42}, "key 'radius_m' takes the radius of the sphere in metres (0.001 to 2), not 42"),
    ({**RIGID, "radius_m": "4 cm"}, "key 'radius_m' takes the radius of the sphere in metres"),
    ({**RIGID, "directivity": "omni"}, "key 'directivity' has no meaning for kind: rigid"),
    ({**RIGID, "positions_m": RING}, "key 'positions_m' has no meaning for kind: rigid with capsules_deg"),
    ({"kind": "rigid", "radius_m": 0.06, "positions_m": RING}, "from the origin is not on the sphere of 0.06 m"),
    ({**RIGID, "capsules_deg": [[0, 0, 1]]}, "key 'capsules_deg', capsule 1: takes [azimuth, elevation] in degrees"),
    ({**RIGID, "capsules_deg": [[0, 0], [0, 91]]}, "key 'capsules_deg', capsule 2: elevation 91 is outside [-90, 90]")])
def test_errors_name_file_and_key_in_one_line(content, message, tmp_path):
    path = written(tmp_path, **content)
    with pytest.raises(UserError) as caught:
        read_array(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and message in text and "\n" not in text, text


@pytest.mark.parametrize(("text", "message"), [
    (None, "does not exist"), ("", "holds no 'key: value' lines"), ("- 1", "holds no 'key: value' lines"),
    ("name: [", ", line 1: not valid YAML"), ("name: &a x\nkind: *a", ", line 1: anchors and aliases are not"),
    (b"\xff\xfe\x00", "is not a text file; an array is a YAML file")])
def test_files_that_are_no_arrays(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read_array(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    known = r"unknown array 'uma'\. Did you mean 'uma8'\? Known: cube8, drawn, eigenmike, foa, "
    with pytest.raises(UserError, match=known):
        find_array("uma")
    with pytest.raises(UserError, match=r"unknown array '\.\./mic'"):
        find_array("../mic")


@pytest.mark.parametrize("shape", [lambda k: [0.03 * k, 0, 0], lambda k: [0, 0, 0.02 * k],
                                   lambda k: [0.01 * k, 0.02 * k, -0.01 * k]])
def test_linear_arrays_are_refused_with_the_reason(shape, tmp_path):
    path = written(tmp_path, kind="free", positions_m=[shape(k) for k in range(4)])
    reason = "all capsules are on one line; such an array hears the same from all directions on a cone around the line"
    with pytest.raises(UserError, match=rf"mine\.yaml: key 'positions_m': {reason}"):
        read_array(path)


def test_planes_that_are_not_horizontal_are_refused(tmp_path):
    upright = [[x, 0, y] for x, y, _ in RING]
    along = [[0 if x > 0 else 180, math.degrees(math.asin(y / 0.046))] for x, y, _ in RING]
    for content in ({"kind": "free", "positions_m": upright},
                    {"kind": "free", "positions_m": [[x, y, x] for x, y, _ in RING]},
                    {"kind": "rigid", "radius_m": 0.046, "positions_m": upright},
                    {"kind": "free", "positions_m": upright, "directivity": "cardioid", "orientations_deg": along}):
        with pytest.raises(UserError, match="in one plane that is not horizontal"):
            read_array(written(tmp_path, **content))
    # cardioids that point out of the plane, and a small circle of a rigid sphere, distinguish its sides
    assert not read_array(written(tmp_path, kind="free", positions_m=upright, directivity="cardioid",
                                  orientations_deg=[[90, 0]] * 6)).planar
    assert not read_array(written(tmp_path, kind="rigid", radius_m=0.05,
                                  capsules_deg=[[az, 30] for az in range(0, 360, 60)])).planar


def test_arrays_are_planar_where_above_and_below_sound_alike(tmp_path):
    planar = [{"kind": "free", "positions_m": RING}, {"kind": "free", "positions_m": [[x, y, 0.3] for x, y, _ in RING]},
              {"kind": "free", "positions_m": RING, "directivity": "cardioid", "orientations_deg": OUTWARD},
              {"kind": "rigid", "radius_m": 0.046, "positions_m": RING}]
    solid = [{"kind": "free", "positions_m": CUBE}, RIGID,
             {"kind": "free", "positions_m": RING, "directivity": "cardioid",
              "orientations_deg": [[az, 20] for az, _ in OUTWARD]}]
    directions = fibonacci_directions(30)
    for content in planar + solid:
        array = read_array(written(tmp_path, **content))
        assert array.planar == (content in planar)
        below = directions * [1, 1, -1]
        gain = array.response(directions, np.array([1000.0, 4000.0]))
        mirrored = array.response(below, np.array([1000.0, 4000.0]))
        if array.kind == "free":  # its height is a delay of all channels
            gain, mirrored = gain / gain[:1], mirrored / mirrored[:1]
        assert np.allclose(gain, mirrored, atol=1e-6) == array.planar


def test_elevations_of_planar_arrays_are_folded():
    ring = find_array("respeaker_6mic")
    directions = unit_vectors(np.array([10.0, 10.0, -120.0, 0.0]), np.array([-35.0, 35.0, 0.0, -90.0]))
    azimuth, elevation = azimuth_elevation(ring.folded(directions))
    np.testing.assert_allclose(azimuth[:3], [10, 10, -120])
    np.testing.assert_allclose(elevation, [35, 35, 0, 90], atol=1e-6)
    assert ring.folded(directions.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(find_array("mic").folded(directions), directions)


def test_localize_names_what_is_missing_for_an_array_without_a_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert localize.main(["no.wav", "--array", str(FOLDER / "uma8.yaml")]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    assert err.startswith("error: ") and "doanet_any.pt is missing" in err and "--checkpoint" in err
    assert localize.main(["no.wav", "--array", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml does not exist" in capsys.readouterr().err


# --- rotations ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "count", "copies"), [
    ("respeaker_6mic", 12, 3), ("uma8", 12, 3), ("matrix_creator", 16, 4), ("respeaker_4mic", 8, 4),
    ("respeaker_usb_4mic", 8, 4), ("mic", 8, 4), ("foa", 16, 4)])
def test_rotations_are_found_from_the_positions(name, count, copies):
    """And are a group: products of two are among them, exactly, although positions are rounded to 0.1 mm."""
    rotations = rotations_of(find_array(name))
    assert len(rotations) == count and np.array_equal(rotations[0], np.eye(3))
    for one, other in itertools.product(rotations, repeat=2):
        assert np.abs(rotations - one @ other).max((1, 2)).min() < 1e-9
    assert np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    assert (np.abs(rotations[:, 2, 2]) == 1).all()
    found = copies_of(rotations)
    assert len(found) == copies and np.array_equal(found[0], np.eye(3))


def test_rotations_of_other_shapes(tmp_path):
    def count(**content):
        return len(rotations_of(read_array(written(tmp_path, **content))))
    assert count(kind="free", positions_m=CUBE) == 16
    assert count(kind="free", positions_m=[[x + 0.1, y, z] for x, y, z in CUBE]) == 16  # about the middle of the array
    assert count(kind="free", positions_m=RING[:5]) == 2  # a gap in the ring: one reflection
    assert count(kind="free", positions_m=[[0, 0, 0], [0.05, 0.01, 0], [0, 0.03, 0]]) == 1
    assert count(kind="free", positions_m=RING, directivity="cardioid", orientations_deg=OUTWARD) == 12
    tangent = [[azimuth + 90, 0] for azimuth, _ in OUTWARD]  # a reflection would make them point the other way round
    assert count(kind="free", positions_m=RING, directivity="cardioid", orientations_deg=tangent) == 6
    assert count(kind="free", positions_m=RING, directivity="cardioid", orientations_deg=[[0, 0]] * 6) == 2
    assert count(kind="free", positions_m=RING, directivity=["cardioid", *["omni"] * 5], orientations_deg=OUTWARD) == 2
    assert copies_of(np.eye(3)[None]).tolist() == [np.eye(3).tolist()]
    assert len(copies_of(np.stack([np.eye(3), np.diag([1.0, -1, 1])]))) == 2


SYMMETRIC = {"ring": (free(*RING), 12), "centre": (free([0, 0, 0], *RING), 12), "cardioids": (cardioid_ring(), 12),
             "cube": (free(*CUBE), 16), "sphere": (MIC, 8), "respeaker_6mic": (find_array("respeaker_6mic"), 12),
             "uma8": (find_array("uma8"), 12)}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_features_of_rotated_plane_waves_are_the_mapped_features(name):
    """For each rotation R of the array, waves from R·d have the features of waves from d, mapped channel by channel;
    the lag that a reversed GCC lacks is the one exception. Positions in files are rounded, to 0.1 mm or 1 mm: there
    the features agree on average."""
    array, count = SYMMETRIC[name]
    config = get_params()
    features = build_features(type(config).build("1", config.flat(), array))
    rotations, maps = features.rotations()
    assert len(rotations) == len(maps) == count
    waves, mels = unit_vectors(np.array([20.0, -100.0]), np.array([33.0, 12.0])), array.channels
    original = channels_of(features, array, waves)
    lags = original.shape[-1]
    for rotation, channel_map in zip(rotations, maps):
        rotated, mapped = channels_of(features, array, waves @ rotation.T), original[channel_map.source]
        mapped[channel_map.backwards] = mapped[channel_map.backwards][..., np.minimum(lags - np.arange(lags), lags - 1)]
        assert (channel_map.sign == 1).all() and not channel_map.inverted.any()
        decibels, correlations = np.abs(mapped[:mels] - rotated[:mels]), np.abs(mapped[mels:] - rotated[mels:])[..., 1:]
        if name in ("respeaker_6mic", "uma8"):
            assert decibels.mean() < 0.1 and correlations.mean() < 0.01
        else:
            assert decibels.max() < 2e-3 and correlations.max() < 2e-2  # rounding of phases in weak bins
        if not np.array_equal(rotation, np.eye(3)):
            assert np.abs(original - rotated).mean() > 0.1


def channels_of(features, array, directions):
    """Features (C, T, F) of two independent noises from ``directions`` (2, 3)."""
    rng = np.random.default_rng(0)
    response = array.response(directions, np.fft.rfftfreq(FS, 1 / FS))  # (M, 2, K)
    spectra = np.fft.rfft(0.05 * rng.normal(size=(2, FS)))
    audio = np.fft.irfft((response * spectra).sum(1), FS).T
    return features.as_channels(features.extract(audio.astype(np.float32)))


# --- rendering ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["respeaker_6mic", "uma8", "cardioids"])
def test_a_rendered_source_arrives_with_the_delays_of_the_file(name):
    """The direct sound of a far source in an almost free field, at each capsule within 1/32 sample."""
    array = SYMMETRIC[name][0]
    renderer = Renderer((array,), FS)
    room = Room((60.0, 60.0, 60.0), 0.05, (30.0, 30.0, 30.0))  # reflections arrive after EARLY_S, walls absorb the rest
    for direction in unit_vectors(np.array([0.0, 37.0, -110.0]), np.array([0.0, 25.0, -50.0])):
        dry = np.zeros(200)
        dry[50] = 1
        heard = renderer.source(room, dry, 20.0 * direction[None], np.random.default_rng(0))
        direct = heard[:, : round(EARLY_S * FS / 2) + renderer.lead]
        expected = array.gains(direction)
        # delay from the slope of the phase up to 8 kHz, weighted by frequency
        spectrum, frequencies = np.fft.rfft(direct), np.fft.rfftfreq(direct.shape[1], 1 / FS)
        band = (frequencies > 200) & (frequencies < 8000)
        phase = spectrum * np.exp(2j * np.pi * frequencies * (50 + renderer.lead) / FS)
        for capsule, lead_s in enumerate(array.positions @ direction / SPEED_OF_SOUND):
            if expected[capsule] < 0.1:
                continue
            aligned = np.angle(phase[capsule, band] * np.exp(-2j * np.pi * frequencies[band] * lead_s))
            late = -(aligned @ frequencies[band]) / (frequencies[band] @ frequencies[band]) / (2 * np.pi) * FS
            assert abs(late) <= 1 / 32 + 1e-3
            gain = np.abs(phase[capsule, band]).mean()
            assert gain == pytest.approx(expected[capsule], abs=0.02)
