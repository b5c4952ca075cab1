"""Order of channels and rotation of an array, from recordings of one source in a room."""

import numpy as np
import pytest
import soundfile

import check_capsules
from doatools.check import delays, levels, permutations
from doatools.simulate.rooms import Renderer, Room
from doatools.spatial.arrays import find_array
from doatools.spatial.geometry import unit_vectors

FS = 24000
ANGLES = ((20, 10), (-75, 0))
ROOM = Room((6.0, 5.0, 3.0), 0.3, (3.1, 2.4, 1.4))
ARRAYS = ("respeaker_6mic", "irregular5", "mic")


@pytest.fixture(scope="module")
def rendered():
    """{array: claps (samples, M) from each of ANGLES}, recorded by all arrays at once."""
    arrays, rng = [find_array(name) for name in ARRAYS], np.random.default_rng(0)
    renderer, dry = Renderer(arrays, FS), np.zeros(4 * FS)
    for start in range(FS // 4, len(dry), FS // 4):
        dry[start : start + 400] = rng.standard_normal(400) * np.exp(-np.arange(400) / 80)
    ends = np.cumsum([array.channels for array in arrays])[:-1]
    found = [np.split(renderer.source(ROOM, dry, 1.5 * unit_vectors(*angles)[None], rng), ends) for angles in ANGLES]
    return {array.name: [signals[number].T for signals in found] for number, array in enumerate(arrays)}


def measured(recordings, array):
    return np.stack([permutations.measured_arrivals(audio, FS, array) for audio in recordings])


@pytest.mark.parametrize("name", ARRAYS)
def test_what_was_done_to_the_channels_and_the_array_is_found(rendered, name):
    array = find_array(name)
    order = [1, 2, 0, *range(3, array.channels)]
    stated, answers = permutations.explain(measured(rendered[name], array), ANGLES, array)
    assert answers[0] == stated and stated.misfit < 15e-6
    assert stated.describe() == "channels and orientation are as the array file states"
    permuted = measured([audio[:, order] for audio in rendered[name]], array)
    stated, answers = permutations.explain(permuted, ANGLES, array)
    assert stated not in answers and stated.misfit > 60e-6
    assert tuple(order) in [answer.capsules for answer in answers if not answer.yaw and not answer.upside_down]
    # an array that is rotated by 40° sees its sources 40° to the right of where they are
    rotated = [(azimuth + 40, elevation) for azimuth, elevation in ANGLES]
    _, answers = permutations.explain(measured(rendered[name], array), rotated, array)
    found = [answer.yaw for answer in answers if answer.in_order and not answer.upside_down]
    assert len(found) == 1 and abs(found[0] - 40) <= 6
    assert len(answers) == 1  # the symmetries of the ring and of the tetrahedron are no other answers


@pytest.mark.parametrize("name, order, says", [
    ("respeaker_6mic", (1, 0, 2, 3, 4, 5), "are channels 1 and 2 exchanged?"),
    ("respeaker_6mic", (2, 1, 0, 3, 4, 5), "are channels 1 and 3 or 4 and 6 exchanged?"),  # the ring is symmetric
    ("respeaker_6mic", (1, 2, 3, 4, 5, 0), ""),  # as if the ring were rotated
    ("irregular5", (0, 4, 2, 3, 1), "are channels 2 and 5 exchanged?"),
    ("irregular5", (1, 2, 0, 4, 3), "no direction explains the delays"),
    ("mic", (1, 0, 2, 3), "")])  # as if the tetrahedron were mirrored
def test_what_localize_notes_of_orders_without_directions(rendered, name, order, says):
    array, audio = find_array(name), np.concatenate(rendered[name])
    assert notes_on(audio, array) == []
    told = notes_on(audio[:, list(order)], array)
    assert not told if not says else len(told) == 1 and told[0].startswith(says)


def notes_on(audio, array):
    doubts = levels.Doubts(array, FS)
    for _ in doubts.watched([audio]):
        pass
    return list(doubts.sentences().values())


def test_expected_times_are_those_of_plane_waves():
    array = find_array("irregular5")
    arrivals = delays.expected_arrivals(unit_vectors(30, 20), array)
    leads = array.positions @ unit_vectors(30, 20) / 343.0
    np.testing.assert_allclose(arrivals, leads.mean() - leads, atol=1e-12)
    sphere = delays.expected_arrivals(unit_vectors(45, 35), find_array("mic"))  # from a capsule's own direction
    assert sphere.argmin() == 0
    angle = np.arccos(find_array("mic").capsules[0] @ find_array("mic").capsules[1])
    assert sphere[1] - sphere[0] == pytest.approx(0.042 / 343 * (1 + angle - np.pi / 2))


def test_the_command(rendered, tmp_path, capsys):
    paths = []
    for number, audio in enumerate(rendered["respeaker_6mic"]):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], audio / np.abs(audio).max() / 2, FS)
    words = ["--array", "respeaker_6mic"]
    for path, angles in zip(paths, ANGLES):
        words += ["--source", str(path), *map(str, angles)]
    assert check_capsules.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "channels and orientation are as the array file states"
    audio, _ = soundfile.read(paths[0])
    soundfile.write(paths[0], audio[:, [1, 0, 2, 3, 4, 5]], FS)
    assert check_capsules.main(words[:6]) == 1
    assert "channels 1 2 3 4 5 6 are capsules 2 1 3 4 5 6" in capsys.readouterr().out
    soundfile.write(paths[1], np.zeros((FS, 6)), FS)
    for wrong, says in ((["--array", "foa", *words[2:]], "ambisonic"),
                        (["--array", "uma8", *words[2:]], "array 'uma8' has 7"),
                        ([*words[:4], "front", "0"], "azimuth is an angle in degrees within ±360, not 'front'"),
                        ([*words[:2], "--source", str(paths[1]), "0", "0"], "attacks are too few")):
        assert check_capsules.main(wrong) == 2
        assert says in capsys.readouterr().err
