"""One rule of identity for references and predictions; references against themselves score perfectly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cls_metric import all_figures
from doatools.config.schema import TrackerConfig
from doatools.data.dcase import number_events, write_dcase
from doatools.errors import UserError
from doatools.spatial.geometry import azimuth_elevation, unit_vectors
from doatools.track.identities import periods, separated
from doatools.types import EVENT_ROWS
from evaluation import by_csvs, evaluate_results, references_of_folder


def perfect(name):
    """The value of a score where nothing is wrong."""
    figure = all_figures()[name]
    return 0 if figure.lower else 100


def line(*azimuths):
    """One identity at azimuths on the horizon, None where inactive → ids (T, 1), doa (T, 1, 3)."""
    ids = np.array([[-1 if azimuth is None else 5] for azimuth in azimuths])
    return ids, unit_vectors(np.array([[azimuth or 0] for azimuth in azimuths], float), np.zeros((len(azimuths), 1)))


@pytest.mark.parametrize(("azimuths", "expected"), [
    ((0, None, None, 0), [0, -1, -1, 0]),                          # a pause
    ((0, 90, 180), [0, 0, 0]),                                     # jumps without a gap
    ((0, None, 27, None, 56), [0, -1, 0, -1, 1]),                  # 20° + 40°/s · 0.2 s = 28°
    ((0, *[None] * 4, 39), [0, *[-1] * 4, 0]),                     # 20° + 40°/s · 0.5 s = 40°
    ((0, *[None] * 50, 42), [0, *[-1] * 50, 1]),                   # and no more after a longer pause
    ((None, 10, None, 100, None, 10), [-1, 0, -1, 1, -1, 2])])
def test_an_identity_goes_on_through_pauses_and_ends_where_it_is_used_again(azimuths, expected):
    assert separated(*line(*azimuths), 0.1)[:, 0].tolist() == expected


def test_frames_of_another_length():
    ids, doa = line(0, None, 35)
    assert separated(ids, doa, 0.1)[:, 0].tolist() == [0, -1, 1]
    assert separated(ids, doa, 0.5)[:, 0].tolist() == [0, -1, 0]


def test_identities_may_change_their_columns():
    ids = np.array([[3, 7], [7, 3], [-1, -1], [7, -1], [-1, 3]])
    doa = unit_vectors(np.where(ids == 3, 0.0, 90.0), 0.0)
    assert separated(ids, doa, 0.1).tolist() == [[0, 1], [1, 0], [-1, -1], [1, -1], [-1, 0]]
    assert periods(ids).tolist() == [[0, 2], [2, 0], [-1, -1], [3, -1], [-1, 1]]
    nothing = np.full((3, 2), -1)
    assert (separated(nothing, np.zeros((3, 2, 3)), 0.1) == -1).all() and (periods(nothing) == -1).all()


def rows_of(frame, klass, track, azimuth, elevation):
    rows = np.zeros(len(frame), EVENT_ROWS)
    for name, values in zip(("frame", "class", "track", "azimuth", "elevation"),
                            (frame, klass, track, azimuth, elevation)):
        rows[name] = values
    rows["distance"] = np.nan
    rows = rows[np.argsort(rows["frame"], kind="stable")]
    rows["event"] = number_events(rows)
    return rows


def scores(folder, rows, tracker=None):
    """The scores of references against themselves, as files."""
    write_dcase(folder / "fold1_room1_mix001.csv", rows)
    references = references_of_folder(folder, folder)
    found = evaluate_results(by_csvs(folder, references, tracker))
    return {name: interval.value for name, interval in found["figures"].items()}


def all_perfect(found):
    for name, value in found.items():
        if name != "MOTA'":  # which counts every onset as an error, as published
            assert value == pytest.approx(perfect(name), abs=1e-4), name


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4, 7]))
def test_references_score_perfectly_against_themselves(tmp_path_factory, seed, sources):
    """Sources of any class and track id that pause, move, jump and meet, at whole degrees as in files."""
    rng = np.random.default_rng(seed)
    frames, spread = int(rng.integers(1, 60)), rng.choice([3, 40, 180])
    parts = []
    for source in range(sources):
        present = np.flatnonzero(rng.random(frames) < rng.choice([0.3, 0.8, 1.0]))
        azimuth = rng.integers(-spread, spread + 1) + rng.integers(-2, 3) * np.arange(frames)
        azimuth = np.where(np.arange(frames) < rng.integers(0, frames), azimuth, -azimuth)
        parts.append((present, np.full(len(present), source % 3), np.full(len(present), source),
                      (azimuth[present] + 180) % 360 - 180, np.full(len(present), rng.integers(-spread, spread) // 3)))
    columns = [np.concatenate(column) for column in zip(*parts)]
    rows = rows_of(*columns)
    if len(rows):
        all_perfect(scores(tmp_path_factory.mktemp("files"), rows))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["nearest", "kalman"]))
def test_a_tracker_finds_the_identities_of_sources_that_it_can_follow(tmp_path_factory, seed, how):
    """Sources 60° apart that move slowly and pause for at most max_gap frames, once they were there for longer."""
    rng, config = np.random.default_rng(seed), TrackerConfig(tracker=how)
    frames, parts = 60, []
    for source in range(int(rng.integers(1, 4))):
        there = np.ones(frames, bool)
        for first in range(10, 50, 20):
            there[first : first + rng.integers(0, config.max_gap + 1)] = False
        present = np.flatnonzero(there)
        azimuth = np.round(120 * source - 180 + 30 * np.sin(present / 40 + rng.uniform(0, 6)))
        parts.append((present, np.full(len(present), 2), np.full(len(present), 10 + source),
                      (azimuth + 180) % 360 - 180, np.zeros(len(present))))
    rows = rows_of(*(np.concatenate(column) for column in zip(*parts)))
    all_perfect(scores(tmp_path_factory.mktemp("files"), rows, config))


def test_a_tracker_that_keeps_a_source_through_its_pauses_is_not_punished(tmp_path):
    there = np.array([*range(0, 10), *range(20, 30)])  # two events with one (class, track id), in one direction
    rows = rows_of(there, 0 * there, 0 * there, 0 * there + 30, 0 * there)
    found = scores(tmp_path, rows)
    assert found["IDF1"] == found["HOTA"] == 100 and found["fragmentations"] == 0
    split = rows.copy()
    split["track"][10:] = 1  # another identity after the pause is an ID switch
    write_dcase(tmp_path / "theirs" / "fold1_room1_mix001.csv", split)
    references = references_of_folder(tmp_path, tmp_path / "theirs")
    found = evaluate_results(by_csvs(tmp_path / "theirs", references))["figures"]
    assert found["ID switches"].value == 1 and found["IDF1"].value == pytest.approx(50)


def test_an_id_that_is_used_again_for_another_source_is_split_on_both_sides(tmp_path):
    there = np.array([*range(0, 10), *range(20, 30)])
    rows = rows_of(there, 0 * there, 0 * there, np.where(there < 15, 30, -100), 0 * there)
    assert scores(tmp_path, rows)["IDF1"] == 100
    renamed = rows.copy()
    renamed["track"][10:] = 1  # whether the other program uses the number again makes no difference
    write_dcase(tmp_path / "theirs" / "fold1_room1_mix001.csv", renamed)
    references = references_of_folder(tmp_path, tmp_path / "theirs")
    found = evaluate_results(by_csvs(tmp_path / "theirs", references))["figures"]
    assert found["IDF1"].value == 100 and found["ID switches"].value == 0
    assert azimuth_elevation(references[0].ref_doa[25, 0])[0] == pytest.approx(-100, abs=1e-4)


def test_results_as_vectors_with_shared_ids_are_relinked(tmp_path, capsys):
    """Two sources of one class and track id, as x, y, z of other lengths, 600 lines."""
    frame = np.arange(300)
    rows = np.concatenate([rows_of(frame, 0 * frame + 3, 0 * frame + track, 0 * frame + azimuth, 0 * frame + 30)
                           for track, azimuth in ((0, -60), (1, 120))])
    write_dcase(tmp_path / "truth" / "fold1_room1_mix001.csv", rows[np.argsort(rows["frame"], kind="stable")])
    length = np.random.default_rng(0).uniform(0.5, 1.2, (len(rows), 1))
    vectors = length * unit_vectors(rows["azimuth"], rows["elevation"])
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "fold1_room1_mix001.csv").write_text(
        "".join(f"{row['frame']},3,7,{x},{y},{z}\n" for row, (x, y, z) in zip(rows, vectors)))
    references = references_of_folder(tmp_path / "truth", tmp_path / "theirs")
    with pytest.raises(UserError, match="twice in frame 0; add tracker=kalman"):
        by_csvs(tmp_path / "theirs", references)
    found = evaluate_results(by_csvs(tmp_path / "theirs", references, TrackerConfig(tracker="kalman")))["figures"]
    assert "x, y, z, read as directions" in capsys.readouterr().err
    all_perfect({name: interval.value for name, interval in found.items()})
