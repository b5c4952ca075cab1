"""The page of a recording as a file; what it does in a browser: test_recording_page_browser.py."""

import base64
import hashlib
import html.parser
import io
import json
import re

import numpy as np
import pytest
import soundfile
from recording_page_helpers import EVIL, FRAME_S, FS, small_page, small_reference, small_rows, without

from doatools.report import recording_page


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def sound_of(text):
    return base64.b64decode(re.search(r'<script type="text/plain" id="sound">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


class Elements(html.parser.HTMLParser):
    """The elements of a page: [(name, attributes)]."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


# --- data ------------------------------------------------------------------------------------------------------

def test_rows_come_back_from_the_page():
    rows, tracks = small_rows(), data_of(recording_page.render(small_page()))["tracks"]
    order = np.lexsort((rows["frame"], rows["track"]))
    assert np.array_equal(unpacked(tracks["track"], "<i4"), rows["track"][order])
    assert np.array_equal(unpacked(tracks["frame"], "<i4"), rows["frame"][order])
    for name in ("azimuth", "elevation"):
        assert np.allclose(unpacked(tracks[name], "<i2") / 100, rows[name][order], atol=0.0051)
    assert np.allclose(unpacked(tracks["probability"], "u1") / 255, rows["probability"][order], atol=0.002)
    radius = unpacked(tracks["radius"], "<u2").astype(float)
    radius[radius == recording_page.NONE] = np.nan
    assert np.allclose(radius / 100, rows["radius"][order], atol=0.0051, equal_nan=True)


def test_azimuths_are_brought_to_the_range_of_the_axes():
    rows = small_rows()[:4]
    rows["azimuth"] = -180, 180, 270, -181
    azimuth = unpacked(recording_page.track_data(rows)["azimuth"], "<i2") / 100
    assert azimuth.tolist() == [180, 180, -90, 179]


def test_radius_and_reference_are_optional():
    data = data_of(recording_page.render(small_page(rows=without(small_rows(), "radius"))))
    assert "radius" not in data["tracks"] and "error" not in data["tracks"]
    assert "reference" not in data and "comparison" not in data


def test_a_page_without_tracks_sound_or_frames():
    page = small_page(rows=small_rows()[:0], audio=None, spectrogram=np.zeros((0, 64)))
    text = recording_page.render(page)
    assert data_of(text)["tracks"]["frame"] == "" and sound_of(text) == b""


def test_levels_span_the_range_of_colours():
    spectrogram = np.full((100, 4), -200.0)  # digital silence, which says nothing of the range
    spectrogram[50:] = np.linspace(-80, -20, 200).reshape(50, 4)
    levels, low, high = recording_page.shown_levels(spectrogram)
    assert (levels[:50] == 0).all() and levels.max() == 255
    assert -80 < low < -75 and -21 < high < -20


def test_a_long_spectrogram_is_averaged():
    spectrogram = np.repeat(np.arange(recording_page.COLUMNS, dtype=float), 3)[:, None]
    levels, low, high = recording_page.shown_levels(spectrogram)
    assert levels.shape == (recording_page.COLUMNS, 1)
    exact = (np.arange(recording_page.COLUMNS) - low) / (high - low)
    assert np.abs(levels[:, 0] / 255 - np.clip(exact, 0, 1)).max() < 0.003


# --- reference -------------------------------------------------------------------------------------------------

def test_errors_against_a_reference():
    rows, reference = small_rows(), small_reference()
    errors, found = recording_page.paired_errors(rows, reference)
    assert np.allclose(errors[rows["track"] == 1], np.where(np.arange(30) < 30, 10, 0), atol=1e-4)  # -5 against 5
    assert np.isnan(errors[(rows["track"] == 2)][20:]).all()  # from 3 s on there is none for it
    assert np.allclose(errors[rows["track"] == 7], 0, atol=1e-4)
    assert np.isnan(found[reference["class"] == 6]).all()  # the farther one of two
    data = data_of(recording_page.render(small_page(reference=reference)))
    assert data["reference"]["names"] == ["reference 1 of class 4", "reference 1 of class 6"]
    # 40 of 50 reference positions have a partner, 30 of them at 10° and 10 at 0°; track 2 (40 frames) has none
    assert data["comparison"] == ("Compared with the reference: mean error 7.5°; 80% of the reference positions have a "
                                  "prediction within 20°, 20% have none; 40 of 80 predictions have no reference.")


def test_pairs_have_the_least_sum():
    """Predictions at 0° and 3°, references at -2° and 1°: the nearest first would pair 0° with 1° and leave 5°."""
    def at(dtype, *azimuths):
        rows = np.zeros(len(azimuths), dtype)
        rows["azimuth"], rows["track"] = azimuths, np.arange(len(azimuths))
        return rows
    rows, reference = at(small_rows().dtype, 0, 3), at(small_reference().dtype, -2, 1)
    errors, found = recording_page.paired_errors(rows, reference)
    assert np.allclose(errors, [2, 2], atol=1e-5) and np.allclose(found, [2, 2], atol=1e-5)
    errors, found = recording_page.paired_errors(at(rows.dtype, 9, 2, 5), at(reference.dtype, 0))
    assert np.allclose(errors, [np.nan, 2, np.nan], atol=1e-5, equal_nan=True) and np.allclose(found, [2], atol=1e-5)


def test_an_empty_reference_is_told():
    data = data_of(recording_page.render(small_page(reference=small_reference()[:0])))
    assert data["comparison"] == "The reference is empty."


# --- sound -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fs", recording_page.MP3_RATES)
def test_sound_is_small_and_lags_as_told(fs):
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * fs).astype(np.float32)
    sound = recording_page.compress(np.array_split(noise, 7), fs)
    assert sound.mime == "audio/mpeg"
    assert len(sound.data) * 8 / 4 < 66_000  # bit/s; rates from 32 kHz on have no 48 kbit/s in libsndfile's steps
    heard, heard_fs = soundfile.read(io.BytesIO(sound.data), dtype="float32")
    assert heard_fs == fs and len(heard) >= len(noise)
    spectrum = np.fft.rfft(heard, 2 * len(heard)) * np.conj(np.fft.rfft(noise, 2 * len(heard)))
    assert np.argmax(np.fft.irfft(spectrum)) == round(sound.delay_s * fs)


@pytest.mark.parametrize(("fs", "rate"), [(96000, 48000), (20000, 22050)])
def test_sound_at_a_rate_that_mp3_lacks_is_resampled(fs, rate):
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * fs) / fs).astype(np.float32)
    sound = recording_page.compress(np.array_split(tone, 9), fs)
    heard, heard_fs = soundfile.read(io.BytesIO(sound.data))
    assert heard_fs == rate and len(heard) >= 2 * rate
    assert abs(np.argmax(np.abs(np.fft.rfft(heard[:rate]))) - 440) <= 1


def test_compressed_sound_is_taken_as_it_is():
    sound = recording_page.compress([np.zeros(FS, np.float32)], FS)
    assert sound_of(recording_page.render(small_page(audio=sound))) == sound.data


# --- safety ----------------------------------------------------------------------------------------------------

def test_nothing_in_names_or_notes_becomes_markup():
    plain, evil = (recording_page.render(small_page(title=title, notes=[title])) for title in ("plain", EVIL))
    assert Elements(evil).found == Elements(plain).found
    assert data_of(evil)["title"] == data_of(evil)["notes"][0] == EVIL


def test_the_policy_lets_only_the_page_s_own_code_through():
    text = recording_page.render(small_page(title=EVIL))
    policy = next(attributes["content"] for tag, attributes in Elements(text).found
                  if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    for tag, count in (("script", 2), ("style", 1)):
        codes = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(codes) == count
        for code in codes:
            assert base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in policy
    assert text.index("Content-Security-Policy") < text.index("<title>")


def test_no_address_and_no_inline_handler():
    text = recording_page.render(small_page())
    assert not re.search(r"https?:|//[a-z0-9.-]+\.[a-z]{2,}/", text)
    for tag, attributes in Elements(text).found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
    assert "innerHTML" not in text and "insertAdjacentHTML" not in text


# --- file ------------------------------------------------------------------------------------------------------

def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "recording.html"
    recording_page.write(path, small_page())
    before = path.read_bytes()
    assert before.decode() == recording_page.render(small_page()) and b"\r" not in before
    with pytest.raises(ValueError):
        recording_page.write(path, small_page(seconds=np.nan))  # which JSON lacks
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_size_without_sound():
    """An hour of two sources at a time, with radius and reference, is a few megabytes."""
    frames = np.repeat(np.arange(round(3600 / FRAME_S)), 2)
    rows = np.zeros(len(frames), small_rows().dtype)
    rows["frame"], rows["track"] = frames, 1 + np.arange(len(frames)) % 2 + 2 * (frames // 50)
    page = small_page(rows=rows, audio=None, seconds=3600.0, spectrogram=np.zeros((20000, 64)))
    assert len(recording_page.render(page)) < 3_000_000


def test_colours_stand_out():
    """Contrast of at least 3 to the cards of their theme (WCAG, graphical objects)."""
    def luminance(colour):
        parts = np.array([int(colour[k:k + 2], 16) for k in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
    script, page = recording_page.SCENE_VIEW.read_text(encoding="utf-8"), recording_page.template()
    cards = re.findall(r"--card: (#\w{6})", page)
    for name, card in zip(("LIGHT", "DARK"), cards, strict=True):
        colours = re.findall(r"#\w{6}", re.search(rf"const {name} = \[(.*?)\]", script, re.DOTALL)[1])
        assert len(set(colours)) == 20
        for colour in colours:
            light, dark = sorted((luminance(colour) + 0.05, luminance(card) + 0.05), reverse=True)
            assert light / dark >= 3, (name, colour)
