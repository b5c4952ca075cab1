"""Evaluation of checkpoints, CSVs and baselines; breakdowns by hand; the page; errors in one line."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import make_rows
from test_metric import drawn, referenced
from test_scripts import SMALL, fails

import evaluate_doanet
import export_doanet
import train_doanet
from cls_metric import all_figures, figures
from doanet_parameters import get_params
from doatools.data.dcase import write_dcase
from doatools.report.breakdowns import break_down, closest_references, moving_events, paired_angles
from doatools.types import Predictions, Result
from evaluation import compare_results, counts_of, evaluate_results, frame_counts_of


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    """(folder of results, words that lead to the data): a quick test of task 1 named 1_job."""
    results = tmp_path_factory.mktemp("results")
    words = [f"dataset_dir={tiny_data}", f"results_dir={results}"]
    assert train_doanet.main(["1", "job", *words, *SMALL]) == 0
    return results, words


def read(path):
    return json.loads(path.read_text())


# --- systems -------------------------------------------------------------------------------------------------

def test_a_checkpoint_is_scored_as_its_training_did(run, capsys):
    results, words = run
    assert evaluate_doanet.main(["1", "job", *words]) == 0
    assert "1_job: 1 recordings" in capsys.readouterr().out
    found, trained = read(results / "1_job" / "evaluation.json"), read(results / "1_job" / "scores.json")["test"]
    assert {name: found["figures"][name]["value"] for name in trained} == pytest.approx(trained)
    assert set(found["figures"]) == set(all_figures())
    assert found["parameters"]["nb_cnn2d_filt"] == 8 and "1 job" in found["command"]


def test_an_exported_network_scores_as_its_checkpoint(run, tmp_path, capsys, monkeypatch):
    """Also where features are not extracted; with --threads, and compared with itself."""
    results, words = run
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert export_doanet.main([str(results / "1_job" / "best.pt"), "--out", str(tmp_path / "mine.onnx")]) == 0
    assert evaluate_doanet.main(["1", "job", *words]) == 0
    again = [str(tmp_path / "mine.onnx"), words[0], f"feat_label_dir={tmp_path / 'none'}", f"results_dir={tmp_path}"]
    assert evaluate_doanet.main([*again, "--threads", "1", "--against", str(tmp_path / "mine.onnx")]) == 0
    ours = read(tmp_path / "evaluation_mine" / "evaluation.json")["figures"]
    theirs = read(results / "1_job" / "evaluation.json")["figures"]
    assert ours.keys() == theirs.keys()
    for name, interval in theirs.items():
        assert ours[name]["value"] == (interval["value"] and pytest.approx(interval["value"], rel=1e-3)), name
    capsys.readouterr()
    assert evaluate_doanet.main([*again, "--threads", "0"]) == 2
    assert "--threads is a number from 1 on" in capsys.readouterr().err


@pytest.mark.parametrize("path, name, folder", [
    ("r/1_a/best.pt", "1_a", "r/1_a"), ("r/1_a/best.onnx", "1_a_best", "results/evaluation_1_a_best"),
    ("r/1_a/last.pt", "1_a_last", "results/evaluation_1_a_last"), ("m/foa.pt", "foa", "results/evaluation_foa")])
def test_reports_of_several_files_do_not_replace_each_other(path, name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out = evaluate_doanet.place_of(Path(path), get_params())
    assert found == name and out.absolute() == tmp_path / folder


def test_predictions_written_as_csvs_score_the_same(run, tmp_path, tiny_data):
    results, words = run
    assert evaluate_doanet.main(["1", "job", *words, "--write-csv", str(tmp_path / "csv"), "tracker=nearest"]) == 0
    direct = read(results / "1_job" / "evaluation.json")
    again = ["--predictions", str(tmp_path / "csv"), "--out", str(tmp_path / "again")]
    assert evaluate_doanet.main([*again, *words, "max_audio_len_s=6"]) == 0
    by_csv = read(tmp_path / "again" / "evaluation.json")
    for name in ("LR", "LP", "misses", "false positives", "ID switches", "IDF1"):  # directions are whole degrees there
        assert by_csv["figures"][name]["value"] == pytest.approx(direct["figures"][name]["value"], abs=2)
    assert by_csv["figures"]["LE"]["value"] == pytest.approx(direct["figures"]["LE"]["value"], abs=0.8)
    assert by_csv["frames"] == direct["frames"] == 60


@pytest.fixture
def folders(tmp_path):
    """Two folders of CSVs, references and predictions that are the same, of three recordings."""
    for folder in ("theirs", "truth"):
        for number in (1, 2, 3):
            rows = make_rows((2, 20, 0, 10 * number, 5), (10, 30 + number, 1, -100, 0))
            write_dcase(tmp_path / folder / f"fold1_room{number}_mix001_ov2.csv", rows)
        write_dcase(tmp_path / folder / "silent.csv", [])
    return tmp_path


def score(folder, *words, predictions="theirs"):
    return evaluate_doanet.main(["--predictions", str(folder / predictions), "--references", str(folder / "truth"),
                                 "--out", str(folder / "out"), *words])


def test_perfect_csvs_have_perfect_scores(folders):
    assert score(folders) == 0
    found = read(folders / "out" / "evaluation.json")
    values = {name: figure["value"] for name, figure in found["figures"].items()}
    assert values["LE"] == pytest.approx(0, abs=1e-5)
    assert all(values[name] == pytest.approx(100) for name in ("F20", "LF", "MOTA@20", "IDF1", "HOTA", "frame recall"))
    assert found["recordings"] == 4 and found["frames"] == 32 + 33 + 34 + 1  # up to the last line; silence has one
    assert set(found["breakdowns"]["room"]) == {"1", "2", "3"} and found["parameters"] == {}


def test_length_is_given_or_that_of_the_longer_file(folders):
    path = folders / "theirs" / "silent.csv"
    path.write_text("49,0,0,0,0\n")
    assert score(folders) == 0
    assert read(folders / "out" / "evaluation.json")["frames"] == 32 + 33 + 34 + 50
    assert score(folders, "--frames", "60") == 0
    assert read(folders / "out" / "evaluation.json")["frames"] == 4 * 60


def test_identities_of_csvs_are_theirs_unless_a_tracker_is_asked_for(folders):
    path = folders / "theirs" / "fold1_room1_mix001_ov2.csv"
    rows = make_rows((2, 9, 0, 10, 5), (10, 20, 5, 10, 5), (10, 31, 1, -100, 0))  # track 0 goes on as track 5
    write_dcase(path, rows)
    assert score(folders) == 0
    assert read(folders / "out" / "evaluation.json")["figures"]["ID switches"]["value"] == 1
    assert score(folders, "tracker=nearest") == 0
    assert read(folders / "out" / "evaluation.json")["figures"]["ID switches"]["value"] == 0


def test_a_baseline_needs_no_features(tiny_data, tmp_path, capsys):
    data = shutil.copytree(tiny_data, tmp_path / "data", ignore=shutil.ignore_patterns("features"))
    words = [f"dataset_dir={data}", "max_audio_len_s=6", f"results_dir={tmp_path}"]
    assert evaluate_doanet.main(["--baseline", "intensity", *words]) == 0
    found = read(tmp_path / "evaluation_intensity" / "evaluation.json")
    assert found["figures"]["F20"]["value"] > 90 and found["figures"]["LE"]["value"] < 5
    assert found["parameters"]["tracker"] == "kalman" and found["parameters"]["array"] == "foa"


def test_a_checkpoint_against_a_baseline_and_itself(run, tmp_path, capsys):
    _, words = run
    for other in ("1_job", "intensity"):
        assert evaluate_doanet.main(["1", "job", *words, "--against", other, "--out", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert f"against {other}" in out
        assert ("identities by tracker=kalman" in out) == (other == "intensity")  # the same tracker for both
    assert "Against intensity" in (tmp_path / "report.html").read_text()


# --- comparison ------------------------------------------------------------------------------------------------

def made(offsets, seed=0, frames=40, stem="r{}"):
    """A Result for each offset: one source that moves, predicted so many degrees (and some noise) beside it."""
    rng, results = np.random.default_rng(seed), []
    for number, offset in enumerate(offsets):
        azimuth = rng.uniform(-90, 90) + np.arange(frames)
        ref_doa, ref_id = referenced([(a,) for a in azimuth], [(1,)] * frames)
        doa, active = drawn([(a + offset + rng.normal(0, 1),) for a in azimuth])
        results.append(Result(stem.format(number), Predictions(doa, active.astype(float)), ref_doa, ref_id))
    return results


def test_a_rotated_system_is_significantly_worse_and_an_equal_one_is_not():
    good, rotated = made(np.linspace(5, 12, 8)), made(np.linspace(21, 60, 8))
    compared = compare_results(rotated, good)
    assert compared["LE"].difference > 10 and compared["LE"].verdict == "significant"
    assert compared["F20"].difference < -50 and compared["F20"].verdict == "significant"
    assert compared["LR"].verdict == "not significant"
    assert {c.verdict for c in compare_results(good, good).values()} <= {"not significant", "undetermined"}


def test_systems_on_other_recordings_or_references_are_not_compared():
    good = made([1, 2, 3])
    with pytest.raises(ValueError, match="different recordings"):
        compare_results(good, made([1, 2, 3], stem="other{}"))
    with pytest.raises(ValueError, match="different references"):
        compare_results(good, made([1, 2, 3], seed=1))


# --- breakdowns --------------------------------------------------------------------------------------------------

def two_sources():
    """Four frames: references 1 at 0° (static), 2 at 40, 52 (moving) and, after a frame without it, 120°.

    Predicted: 10 and 40 | 0 and 75 | 0 (and one in excess at 170) | nothing.
    """
    ref_doa, ref_id = referenced([(0, 40), (0, 52), (0, None), (0, 120)], [(1, 2)] * 4)
    doa, active = drawn([(10, 40), (0, 75), (0, 170), (None, None)])
    return Result("r", Predictions(doa, active.astype(float)), ref_doa, ref_id, room="a", overlap=2)


def test_breakdowns_by_hand():
    result = two_sources()
    assert paired_angles(result) == pytest.approx(
        np.array([[10, 0], [0, 23], [0, np.nan], [np.nan, np.nan]]), abs=1e-5, nan_ok=True)
    assert moving_events(result).tolist() == [[False, True], [False, True], [False, False], [False, False]]
    assert closest_references(result) == pytest.approx([40, 52, np.nan, 120], nan_ok=True)
    found = break_down([result], [counts_of(result)], frame_counts_of, figures)

    def value(breakdown, group, name):
        return found[breakdown][group]["figures"][name].value
    # an event ends at a pause: source 2 moves from 40 to 52, and what it is after the pause is static
    assert value("motion", "static", "LE") == pytest.approx(10 / 3, abs=1e-5)
    assert value("motion", "static", "recall@20") == pytest.approx(100 * 3 / 5)
    assert value("motion", "moving", "LE") == pytest.approx(23 / 2)
    assert value("motion", "moving", "recall@20") == pytest.approx(100 / 2)
    assert value("motion", "static", "LR") == pytest.approx(100 * 3 / 5)
    # one source at once: the third frame alone, its prediction in excess included: 2·1 hits / (1 + 2)
    assert value("sources at once", "1", "F20") == pytest.approx(200 / 3)
    # 30-60°: frames 1 and 2: hits 10, 0, 0; 23° is none: 2·3 / (4 + 4)
    assert value("distance", "30-60°", "F20") == pytest.approx(75)
    assert value("distance", "90-180°", "LR") == 0
    assert set(found["distance"]) == {"30-60°", "90-180°"} and set(found["room"]) == {"a"}
    assert found["motion"]["moving"]["references"] == 2 and found["sources at once"]["2"]["references"] == 6
    assert value("overlap", "2", "LE") == figures(counts_of(result))["LE"]


def test_frames_of_a_group_add_up_to_the_whole():
    result = made([3.0])[0]
    mask = np.arange(len(result.ref_id)) < 11
    parts = [frame_counts_of(result.frames(part)) for part in (mask, ~mask)]
    whole = frame_counts_of(result)
    for name in ("frame/angle", "frame/hits", "frame/references", "frame/confusion"):
        assert parts[0][name] + parts[1][name] == pytest.approx(whole[name])


def test_confusion_counts_frames_by_number_of_sources():
    found = evaluate_results([two_sources()])["confusion"]
    assert found == [[0, 0, 0], [0, 0, 1], [1, 0, 2]]


# --- the page ----------------------------------------------------------------------------------------------------

class Page(HTMLParser):
    """Collects tags, what is referred to, and whether every tag is closed."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.referred, self.ids = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open += [tag] if tag not in self.VOID else []
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.referred.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_complete_and_self_contained(run, tmp_path):
    _, words = run
    assert evaluate_doanet.main(["1", "job", *words, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "img", "iframe"} & set(page.tags) and page.tags.count("svg") >= 5
    assert all(value.startswith(("#", "data:")) for value in page.referred)
    assert {value[1:] for value in page.referred if value.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/1999/xlink"}  # a name, not an address
    assert len(text) < 3_000_000 and "$" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)


def test_files_are_written_before_scores_are_printed(folders, monkeypatch):
    def fail(*_):
        raise RuntimeError("no terminal")
    monkeypatch.setattr("doatools.report.tables.print_scores", fail)
    with pytest.raises(RuntimeError, match="no terminal"):
        score(folders, "--write-csv", str(folders / "csv"))
    assert read(folders / "out" / "evaluation.json")["recordings"] == 4
    assert (folders / "out" / "report.html").stat().st_size > 10_000
    assert len(list((folders / "csv").glob("*.csv"))) == 4


def test_scores_survive_a_report_that_cannot_be_drawn(folders, monkeypatch):
    def fail(*_):
        raise RuntimeError("no picture")
    monkeypatch.setattr("doatools.report.page.write", fail)
    with pytest.raises(RuntimeError, match="no picture"):
        score(folders)
    assert read(folders / "out" / "evaluation.json")["recordings"] == 4


# --- mistakes --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("spoil", "message"), [
    (lambda f: (f / "theirs" / "silent.csv").unlink(), "silent.csv does not exist"),
    (lambda f: (f / "truth" / "silent.csv").unlink(), "silent.csv: there is no reference"),
    (lambda f: (f / "theirs" / "silent.csv").write_text("3,0,0,0,0\n60,0,0,0,0\n"), "silent.csv, line 2: frame 60 is"),
    (lambda f: (f / "truth" / "silent.csv").write_text("60,0,0,0,0\n"), "silent.csv, line 1: frame 60 is beyond"),
    (lambda f: (f / "theirs" / "silent.csv").write_text("3,0,1,0,0\n3,0,1,9,0\n"), "silent.csv, line 2: source"),
    (lambda f: (f / "theirs" / "silent.csv").write_text("3,0,1,0\n"), "silent.csv, line 1: 4 columns"),
    (lambda f: (f / "theirs" / "silent.csv").write_text("3,100,1,0,0\n"), "silent: class 100: scores by class take"),
    (lambda f: shutil.rmtree(f / "theirs"), "theirs: no such folder"),
    (lambda f: [p.unlink() for p in (f / "truth").iterdir()], "truth holds no CSV"),
])
def test_csvs_that_do_not_fit_are_named_by_file_and_line(spoil, message, folders, capsys):
    spoil(folders)
    words = ["--predictions", str(folders / "theirs"), "--references", str(folders / "truth"), "--frames", "60"]
    assert message in fails(capsys, evaluate_doanet, *words)


def test_other_mistakes(folders, run, capsys):
    _, words = run
    assert "not both" in fails(capsys, evaluate_doanet, "--predictions", "a", "--baseline", "srp")
    assert "--references are for" in fails(capsys, evaluate_doanet, "1", "job", *words, "--references", "a")
    assert "--frames is" in fails(capsys, evaluate_doanet, "1", "job", *words, "--frames", "9")
    assert "cannot be changed" in fails(capsys, evaluate_doanet, "1", "job", *words, "rnn_size=3")
    assert "neither a run" in fails(capsys, evaluate_doanet, "1", "job", *words, "--against", "nowhere")
    assert "no predictions" in fails(capsys, evaluate_doanet, "1", "job", *words, "--against", str(folders / "theirs"))
