"""Colours and labels of the tracks in a picture."""

import re
from pathlib import Path

import numpy as np

from doatools.report import plots, recording_page
from doatools.track.rows import TRACK_ROWS


def test_colours_are_those_of_the_page():
    script = Path(recording_page.SCENE_VIEW).read_text(encoding="utf-8")
    light = re.findall(r"#\w{6}", re.search(r"const LIGHT = \[(.*?)\]", script, re.DOTALL)[1])
    assert list(plots.TRACK_COLOURS) == light and len(set(light)) == 20


def test_a_colour_returns_after_all_others():
    spans = [(10 * k, 10 * k + 15) for k in range(60)]
    colours = plots._colours_of(spans)
    assert all(len(set(colours[k : k + 20])) == 20 for k in range(41))
    assert plots._colours_of(spans[::-1]) == colours[::-1]  # whatever their order


def test_labels_do_not_overlap_and_are_near_their_start():
    rng, labels = np.random.default_rng(0), plots.Labels(60.0, 180)
    placed = []
    for number in range(60):
        x, y = rng.uniform(0, 60), rng.uniform(-180, 180)
        found = labels.place(str(number), x, y)
        if found:
            placed.append((*found, len(str(number))))
            assert abs(found[0] - x) < 2 and abs(found[1] - y) < 25
            assert 0 <= found[0] <= 60 and abs(found[1]) <= 180
    cell = 60 / labels.CELLS[0], 360 / labels.CELLS[1]
    for k, (x, y, size) in enumerate(placed):
        for a, b, other in placed[:k]:
            wide = (0.5 + 0.6 * size + 0.5 + 0.6 * other) * cell[0]
            assert abs(x - a) > 0.99 * wide or abs(y - b) > 0.99 * 2 * cell[1]
    assert len(placed) > 50


def test_labels_avoid_lines():
    labels = plots.Labels(10.0, 90)
    x = np.linspace(0, 10, 200)
    labels.avoid(x, 6 + 0 * x)  # just above the track, where the label would be
    assert labels.place("1", 5.0, 0.0)[1] < 0


def test_pictures_of_an_hour_and_of_nothing(tmp_path):
    rows = np.zeros(36_000, TRACK_ROWS)
    rows["frame"], rows["track"] = np.arange(36_000), 1 + np.arange(36_000) // 100
    rows["azimuth"] = (np.arange(36_000) * 7.3) % 360 - 180
    spectrogram, frequencies = np.random.default_rng(0).normal(size=(2000, 64)), np.geomspace(60, 11_000, 64)
    for name, some in (("hour.png", rows), ("none.svg", rows[:0])):
        plots.tracks(tmp_path / name, name, some, spectrogram, frequencies, 3600.0, 0.1)
        assert (tmp_path / name).stat().st_size > 1000
