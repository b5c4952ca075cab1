"""localize.py --html: the page of a recording is that of its tracks, its sound and its reference."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from live_helpers import LoudnessLocalizer

import localize

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """Four seconds of which the second half sounds."""
    audio = 0.1 * np.random.default_rng(0).standard_normal((96000, 4))
    audio[:48000] = 0
    soundfile.write(tmp_path / "one.wav", audio, 24000)
    monkeypatch.setattr(localize, "open_localizer", lambda args: LoudnessLocalizer())
    return tmp_path / "one.wav"


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_page_with_a_reference(recording, capsys):
    reference = recording.with_name("true.csv")
    reference.write_text("".join(f"{frame},0,0,10,0\n" for frame in range(20, 40)))
    assert localize.main([str(recording), "--html", "--no-plot", "--reference", str(reference)]) == 0
    assert f"one.csv, {recording.with_suffix('.html')}" in capsys.readouterr().out
    data = data_of(recording.with_suffix(".html"))
    assert data["seconds"] == 4 and data["sound"]["mime"] == "audio/mpeg" and data["title"] == "one.wav"
    assert "mean error 10.0°; 100% of the reference positions have a prediction within 20°" in data["comparison"]
    assert not recording.with_suffix(".png").exists()


def test_pages_are_written_when_asked_for_and_never_over_others(recording, capsys):
    page = recording.with_suffix(".html")
    assert localize.main([str(recording), "--no-plot"]) == 0 and not page.exists()
    page.write_text("mine")
    recording.with_suffix(".csv").unlink()
    assert localize.main([str(recording), "--no-plot", "--html"]) == 2
    assert f"{page} exists" in capsys.readouterr().err and page.read_text() == "mine"


@pytest.mark.parametrize(("words", "told"), [
    (["--reference", "true.csv"], "add --html"),
    (["--html", "--reference", "missing.csv"], "missing.csv does not exist"),
])
def test_mistakes_with_references_are_one_line(recording, capsys, words, told):
    assert localize.main([str(recording), *words]) != 0
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_of_three_formats(recording, kind, begins):
    assert localize.main([str(recording), "--plot-format", kind]) == 0
    assert recording.with_suffix(f".{kind}").read_bytes().startswith(begins)


@pytest.mark.slow
def test_an_hour_is_never_held_in_memory(tmp_path):
    """An hour of four channels is 1.4 GB as float32; localizing it with a page needs 400 MB more than a minute."""
    block = (0.1 * np.random.default_rng(0).standard_normal((24000 * 60, 4))).astype(np.float32)
    script = "import sys, localize; from live_helpers import LoudnessLocalizer\n" \
             "localize.open_localizer = lambda args: LoudnessLocalizer(); sys.exit(localize.main())"
    peaks = []
    for minutes in (1, 60):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 24000, 4, "PCM_16") as file:
            for _ in range(minutes):
                file.write(block)
        subprocess.run([sys.executable, "-c", script, path, "--html", "--no-plot"], check=True, cwd=ROOT,
                       env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}, capture_output=True)
        peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)  # the largest of all so far
    assert peaks[1] - peaks[0] < 400e6, peaks
    assert (tmp_path / "60.html").stat().st_size < 40e6
