"""Rows of tracks at the frames of a format, by hand, and the files that models with other label hops write."""

import io
import json
import types

import numpy as np
import pytest
import soundfile
from helpers import FS, foa_wave
from test_localize import IntensityLocalizer, assert_two_events, noise, tiny_localizer, two_events

import localize
from doatools.data.dcase import read_dcase
from doatools.report import plots
from doatools.spatial.geometry import unit_vectors
from doatools.track.rows import (
    TRACK_ROWS,
    TRACK_ROWS_WITH_RADIUS,
    as_values,
    at_frames,
    frame_lines,
    table_header,
)
from doatools.types import Predictions, Result
from evaluation import write_csvs
from inference import Recorded, track_audio


def rows_of(*rows):
    """(frame, track, azimuth, elevation, probability), ... → TRACK_ROWS."""
    return np.array([(frame, 0, track, azimuth, elevation, probability)
                     for frame, track, azimuth, elevation, probability in rows], TRACK_ROWS)


def values(rows):
    return [(int(r["frame"]), int(r["track"]), round(float(r["azimuth"]), 2), round(float(r["elevation"]), 2),
             round(float(r["probability"]), 2)) for r in rows]


# --- frames ------------------------------------------------------------------------------------------------------

def test_the_same_frames_stay():
    rows = rows_of((0, 1, 10, 5, 0.9), (1, 1, 20, 5, 0.8))
    assert at_frames(rows, 0.1, 0.1).tolist() == rows.tolist()
    assert len(at_frames(rows[:0], 0.02, 0.1)) == len(at_frames(rows[:0], 0.2, 0.1)) == 0


def test_longer_frames_hold_the_mean_of_the_rows_in_them():
    """20 ms → 100 ms: frames 3 and 4 lie in the first, 5 to 8 in the second."""
    rows = rows_of((3, 1, 10, 0, 0.6), (3, 2, 90, 40, 0.7), (4, 1, 20, 0, 0.9), (5, 1, 30, 0, 0.8), (8, 1, 50, 0, 0.7))
    assert values(at_frames(rows, 0.02, 0.1)) == [(0, 1, 15, 0, 0.9), (0, 2, 90, 40, 0.7), (1, 1, 40, 0, 0.8)]


def test_a_mean_direction_crosses_the_back():
    rows = rows_of((0, 1, 170, 0, 1), (1, 1, -170, 0, 1))
    ((frame, track, azimuth, _, _),) = values(at_frames(rows, 0.05, 0.1))
    assert (frame, track, abs(azimuth)) == (0, 1, 180)


def test_frames_that_do_not_divide_go_by_their_middles():
    """40 ms → 100 ms: middles at 20, 60, 100, 140, 180, 220 ms, so two rows, three, and one."""
    rows = rows_of(*((frame, 1, 10 * frame, 0, 1) for frame in range(6)))
    assert values(at_frames(rows, 0.04, 0.1)) == [(0, 1, 5, 0, 1), (1, 1, 30, 0, 1), (2, 1, 50, 0, 1)]


def test_shorter_frames_repeat_rows():
    """200 ms → 100 ms: each row twice; tracks of a frame stay together."""
    rows = rows_of((1, 1, 10, 5, 0.9), (1, 2, -60, 0, 0.6), (2, 2, -50, 0, 0.7))
    assert values(at_frames(rows, 0.2, 0.1)) == [
        (2, 1, 10, 5, 0.9), (2, 2, -60, 0, 0.6), (3, 1, 10, 5, 0.9), (3, 2, -60, 0, 0.6), (4, 2, -50, 0, 0.7),
        (5, 2, -50, 0, 0.7)]


def test_shorter_frames_that_do_not_divide_go_by_their_middles():
    """150 ms → 100 ms: middles at 50 | 150, 250 | 350, 450 ms (an end belongs to the next row)."""
    rows = rows_of(*((frame, 1, 10 * frame, 0, 1) for frame in range(3)))
    assert [(r[0], r[2]) for r in values(at_frames(rows, 0.15, 0.1))] == [(0, 0), (1, 10), (2, 10), (3, 20)]


def test_frames_beyond_the_end_are_left_out():
    """A recording of 0.5 s, padded to three frames of 200 ms, has five frames of 100 ms."""
    rows = rows_of(*((frame, 1, 0, 0, 1) for frame in range(3)))
    assert at_frames(rows, 0.2, 0.1, 0.5)["frame"].tolist() == [0, 1, 2, 3, 4]
    assert at_frames(rows, 0.1, 0.1, 0.2)["frame"].tolist() == [0, 1]


@pytest.mark.parametrize("hop_s", [0.02, 0.05, 0.1, 0.2])
def test_time_is_kept_at_any_hop(hop_s):
    """A source from 2.0 to 3.0 s."""
    frames = np.arange(round(2 / hop_s), round(3 / hop_s))
    rows = rows_of(*((frame, 1, 30, 10, 1) for frame in frames))
    assert at_frames(rows, hop_s, 0.1)["frame"].tolist() == list(range(20, 30))


# --- text --------------------------------------------------------------------------------------------------------

def test_lines_of_a_frame():
    rows = rows_of((3, 1, 10.04, -5, 0.91234), (3, 2, 90, 40, 0.7))
    assert frame_lines(0.3, rows, "csv") == "0.3,1,10.0,-5.0,0.912\n0.3,2,90.0,40.0,0.7"
    assert [frame_lines(time, rows[:0], "csv") for time in (0.0, 0.02, 0.1, 1.0, 0.125)] == [
        "0.0,,,,", "0.02,,,,", "0.1,,,,", "1.0,,,,", "0.125,,,,"]
    assert json.loads(frame_lines(0.06, rows[1:], "json")) == {
        "time": 0.06, "tracks": [{"track": 2, "azimuth": 90, "elevation": 40, "probability": 0.7}]}
    assert as_values(rows)[1] == {
        "track": 2, "frame": [3], "azimuth": [90.0], "elevation": [40.0], "probability": [0.7]}


def test_radius_of_a_model_that_estimates_it(tmp_path):
    rows = np.array([(3, 0, 1, 10, 60, 0.9, 4.26), (4, 0, 1, 20, 60, 0.8, 6.0)], TRACK_ROWS_WITH_RADIUS)
    assert table_header(rows) == "time,track,azimuth,elevation,probability,radius"
    assert frame_lines(0.3, rows[:1], "csv") == "0.3,1,10.0,60.0,0.9,4.3"
    assert frame_lines(0.1, rows[:0], "csv") == "0.1,,,,,"
    assert json.loads(frame_lines(0.3, rows[:1], "json"))["tracks"][0]["radius"] == 4.3
    assert as_values(rows)[0]["radius"] == [4.26, 6.0]
    joined = rows.copy()
    joined["frame"] -= 1
    assert at_frames(joined, 0.1, 0.2)["radius"].tolist() == pytest.approx([5.13])
    assert at_frames(rows, 0.05, 0.2)["radius"].tolist() == pytest.approx([4.26, 6.0])
    assert at_frames(rows[:1], 0.2, 0.1)["radius"].tolist() == pytest.approx([4.26, 4.26])
    recorded = Recorded(0.5, rows, np.zeros((0, 0)), [])
    localize.write_tracks(tmp_path / "a.csv", "table", "a.wav", recorded, 0.1)
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "time,track,azimuth,elevation,probability,radius", "0.3,1,10.0,60.0,0.9,4.3", "0.4,1,20.0,60.0,0.8,6.0"]
    localize.write_tracks(tmp_path / "a.csv", "csv", "a.wav", recorded, 0.1)
    assert (tmp_path / "a.csv").read_text().split() == ["3,0,1,10,60", "4,0,1,20,60"]


def test_band_of_the_radius_is_drawn():
    rows = np.array([(3, 0, 1, 10, 60, 0.9, 5.0), (4, 0, 1, 20, 60, 0.8, 5.0)], TRACK_ROWS_WITH_RADIUS)
    for part, half in (("azimuth", 10.038), ("elevation", 5.0)):  # arcsin(sin 5° / cos 60°)
        ax = Axes()
        plots._draw_band(ax, np.array([0.35, 0.45]), rows, part, "red")
        np.testing.assert_allclose([ax.low, ax.high], [rows[part] - half, rows[part] + half], atol=1e-3)


class Axes:
    def fill_between(self, times, low, high, **_):
        self.low, self.high = low, high


# --- files -------------------------------------------------------------------------------------------------------

HOPS = [(0.02, 250), (0.05, 100), (0.1, 50), (0.2, 25)]  # windows of 5 s


def localizer_at(hop_s, length):
    hop_len_s = 0.01 if hop_s == 0.05 else 0.02
    return IntensityLocalizer(label_hop_len_s=hop_s, hop_len_s=hop_len_s, label_sequence_length=length,
                              format="tut2018")


@pytest.mark.parametrize(("hop_s", "length"), HOPS)
def test_files_are_written_at_the_rate_of_their_format(hop_s, length, tmp_path, monkeypatch):
    """DCASE CSVs have frames of 100 ms, whatever the model; JSON states its frame."""
    soundfile.write(tmp_path / "a.wav", two_events()[: round(13.55 * FS)], FS)
    monkeypatch.setattr("inference.load_localizer", lambda *_: localizer_at(hop_s, length))
    assert localize.main([str(tmp_path / "a.wav"), "--no-plot"]) == 0
    rows = read_dcase(tmp_path / "a.csv", 136)
    frames = rows["frame"][rows["track"] == 1]
    assert abs(frames.min() - 10) <= 2 and abs(frames.max() - 49) <= 2 and len(frames) == len(set(frames.tolist()))
    assert np.abs(rows["azimuth"][rows["track"] == 1] - 60).max() <= 3
    frames = rows["frame"][rows["track"] == 2]
    assert abs(frames.min() - 70) <= 2 and abs(frames.max() - 129) <= 2
    assert localize.main([str(tmp_path / "a.wav"), "--no-plot", "--format", "json"]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["frame_s"] == hop_s and found["seconds"] == pytest.approx(13.55)
    frames = np.array(found["tracks"][0]["frame"])
    assert abs(frames.min() * hop_s - 1) <= 0.21 and abs((frames.max() + 1) * hop_s - 5) <= 0.21


@pytest.mark.parametrize(("hop_s", "length"), HOPS)
def test_tracks_have_the_times_of_the_sources_at_any_hop(hop_s, length):
    rows = track_audio(localizer_at(hop_s, length), two_events())
    if hop_s <= 0.1:
        assert_two_events(rows, hop=hop_s)
    assert rows["frame"].max() < round(14 / hop_s)


def test_streams_print_the_time_of_each_frame(monkeypatch, capsys):
    localizer = tiny_localizer(label_hop_len_s=0.02, top_db=0.0)
    samples = (foa_wave(noise(1), 30, 10) * 32767).astype("<i2")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(samples.tobytes()), isatty=lambda: False))
    monkeypatch.setattr("inference.load_localizer", lambda *_: localizer)
    assert localize.main(["--stream", "--threshold", "1"]) == 0
    times = [line.split(",")[0] for line in capsys.readouterr().out.split()[1:]]
    assert times == [f"{0.02 * frame:.2f}".removesuffix("0") for frame in range(50)]


@pytest.mark.parametrize("hop_s", [0.02, 0.1])
def test_predictions_are_written_as_csvs_of_100_ms(hop_s, tmp_path):
    count = round(1 / hop_s)
    doa = np.broadcast_to(unit_vectors(np.array([40.0, -40.0]), np.array([0.0, 10.0])), (count, 2, 3))
    active = np.stack([np.arange(count) < count // 2, np.ones(count)], 1)
    result = Result("a", Predictions(doa, active.astype(float)), np.zeros((count, 1, 3)), np.full((count, 1), -1))
    write_csvs(tmp_path, [result], hop_s)
    rows = read_dcase(tmp_path / "a.csv", 10)
    assert rows["frame"][rows["track"] == 0].tolist() == list(range(5))
    assert rows["frame"][rows["track"] == 1].tolist() == list(range(10))
    assert set(rows["azimuth"].tolist()) == {40, -40}
