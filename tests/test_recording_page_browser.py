"""The page of a recording in a headless Chromium (apt install chromium); see test_recording_page.py for the file."""

import time

import chromium
import pytest
from recording_page_helpers import EVIL, SECONDS, small_page, small_reference, small_rows, without

from doatools.report import recording_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not chromium.find(), reason="needs Chromium")]

READY = "document.getElementById('audio')?.readyState > 0"
CLOCK = "parseFloat(document.getElementById('clock').textContent)"
SUM_OF_PIXELS = """(() => { const canvas = document.getElementById('%s'), context = canvas.getContext('2d');
    return context.getImageData(0, 0, canvas.width, canvas.height).data.reduce((a, b) => a + b, 0) })()"""


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as one:
        yield one


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "recording.html"
    recording_page.write(path, small_page(reference=small_reference(), notes=["directions may be wrong"]))
    return path


@pytest.fixture
def page(browser, path):
    one = browser.open(path.as_uri())
    one.wait(READY)
    yield one
    assert not one.complaints()
    one.call("Page.close")


def drawn(page, canvas):
    """A number that changes with the picture, once all that was asked for has been drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(SUM_OF_PIXELS % canvas)


# --- sound and time --------------------------------------------------------------------------------------------

def test_sound_plays_and_everything_moves(page):
    before = {canvas: drawn(page, canvas) for canvas in ("sphere", "map", "azimuth", "spectrogram", "overview")}
    page.click("#play")
    page.wait("document.getElementById('audio').currentTime > 1.5")
    assert page.evaluate("document.getElementById('play').ariaLabel") == "Pause"
    assert page.evaluate(f"{CLOCK} > 1")
    page.press(" ")
    page.wait("document.getElementById('audio').paused")
    assert all(drawn(page, canvas) != pixels for canvas, pixels in before.items())


def test_sound_can_be_heard(page):
    """The 440 Hz of the recording arrive at the loudspeaker."""
    loudest = page.evaluate("""new Promise(done => {
        const audio = document.getElementById('audio');
        const context = new AudioContext(), analyser = context.createAnalyser();
        context.createMediaElementSource(audio).connect(analyser).connect(context.destination);
        audio.play();
        setTimeout(() => {
            const levels = new Float32Array(analyser.frequencyBinCount);
            analyser.getFloatFrequencyData(levels);
            done(levels.indexOf(Math.max(...levels)) * context.sampleRate / analyser.fftSize);
        }, 1000); })""")
    assert abs(loudest - 440) < 25


def test_it_stops_at_the_end_and_begins_again(page):
    page.press("End")
    assert page.evaluate(CLOCK) == SECONDS
    page.press("ArrowLeft")
    page.press(" ")
    page.wait("document.getElementById('audio').ended")
    page.wait("!document.getElementById('play').classList.contains('playing')")
    page.press(" ")
    page.wait("!document.getElementById('audio').paused && document.getElementById('audio').currentTime < 3")


def test_keys_seek(page):
    times = []
    for key, shift in (("ArrowRight", 0), ("ArrowRight", 0), ("ArrowLeft", 0), (".", 0), ("End", 0), ("Home", 0),
                       ("ArrowRight", 1), ("ArrowLeft", 1)):
        page.press(key, shift)
        page.wait("!document.getElementById('audio').seeking")
        times.append(page.evaluate(CLOCK))
    assert times[3] in (1.1, 1.2)  # the middle of frame 11
    assert times[:3] + times[4:] == [1, 2, 1, 6, 0, 6, 0]
    assert page.evaluate("document.getElementById('overview').getAttribute('aria-valuetext')") == "0.0 s of 6.0 s"


def test_dragging_seeks(page):
    x, y = page.place("#azimuth", 0.4)
    page.mouse("Pressed", x, y, button="left", clickCount=1)
    first = page.evaluate(CLOCK)
    page.mouse("Moved", x + 200, y, button="left", buttons=1)
    page.mouse("Released", x + 200, y, button="left", clickCount=1)
    assert 1 < first < page.evaluate(CLOCK) < 5
    page.click("#overview", 0.99)
    assert page.evaluate(CLOCK) >= 5.9


def test_wheel_and_buttons_zoom(page):
    x, y = page.place("#elevation", 0.5)
    whole = drawn(page, "elevation")
    page.mouse("Moved", x, y)
    time.sleep(0.4)  # a wheel right after a scroll of the page belongs to that scroll
    page.mouse("Wheel", x, y, deltaX=0, deltaY=-400)
    assert drawn(page, "elevation") != whole
    page.click("#zoom-all")
    page.mouse("Moved", 5, 5)
    page.click("#zoom-in")
    zoomed = drawn(page, "elevation")
    page.click("#zoom-out")
    assert drawn(page, "elevation") != zoomed


def test_fingers_seek_scroll_and_pinch(browser, path):
    page = browser.open(path.as_uri(), 390, 844, touch=True)
    page.wait(READY)
    x, y = page.place("#azimuth", 0.3)
    page.touch("Start", (x, y))
    page.touch("Move", (x + 40, y))
    page.touch("Move", (x + 120, y))
    page.touch("End")
    assert page.evaluate(CLOCK) > 2
    before, pixels = page.evaluate(CLOCK), drawn(page, "elevation")
    page.touch("Start", (x, y), (x + 100, y))
    page.touch("Move", (x - 40, y), (x + 180, y))
    page.touch("End")
    assert drawn(page, "elevation") != pixels and page.evaluate(CLOCK) == before
    page.touch("Start", (x, y))  # up and down belongs to the page
    for step in range(1, 6):
        page.touch("Move", (x + 2, y - 30 * step))
    page.touch("End")
    assert page.evaluate(CLOCK) == before
    assert not page.complaints()


# --- tracks ----------------------------------------------------------------------------------------------------

def test_tracks_are_told_in_words(page):
    texts = page.evaluate("[...document.querySelectorAll('#tracks .jump')].map(item => item.innerText)")
    assert [text.replace("\n", "; ") for text in texts] == [
        "Track 1: 0.0–3.0 s, mean error 10°; azimuth 30°, elevation −5°",
        "Track 2: 1.0–5.0 s, no reference; azimuth 152° to −173°, elevation 10°",
        "Track 7: 5.0–6.0 s, mean error 0°; azimuth −90°, elevation 60°"]
    assert page.evaluate("document.getElementById('summary').textContent") == (
        "6.0 s, 3 tracks, at most 2 at once; a source is active 100% of the time")
    now = "[...document.querySelectorAll('#now li')].map(item => item.textContent)"
    assert page.evaluate(now) == ["track 1: azimuth 30°, elevation −5° (±5°), error 10°"]


def test_a_track_can_be_hidden_and_shown(page):
    shown = drawn(page, "azimuth")
    page.click("#tracks li:nth-child(2) input")
    hidden = drawn(page, "azimuth")
    assert hidden != shown
    page.click("#none")
    assert page.evaluate("document.querySelectorAll('#tracks input:checked').length") == 0
    assert page.evaluate("document.getElementById('now').textContent") == "no source at this time"
    page.click("#tracks li:nth-child(1) .only")
    page.click("#all")
    page.mouse("Moved", 5, 5)
    assert drawn(page, "azimuth") == shown


def test_jump_to_a_track(page):
    page.click("#tracks li:nth-child(3) .jump")
    assert page.evaluate(CLOCK) == 5
    assert page.evaluate("document.querySelector('#tracks li:nth-child(3)').classList.contains('active')")


def test_only_tracks_in_view_are_listed(page):
    page.press("+")
    page.press("+")  # 0 to 1.5 s
    page.click("#in-view")
    listed = "[...document.querySelectorAll('#tracks li')].filter(item => !item.hidden).length"
    assert page.evaluate(listed) == 2
    page.press("0")
    assert page.evaluate(listed) == 3


# --- safety ----------------------------------------------------------------------------------------------------

def test_an_injected_script_does_not_run(browser, tmp_path):
    path = tmp_path / "evil.html"
    recording_page.write(path, small_page(title=EVIL, notes=[EVIL]))
    page = browser.open(path.as_uri())
    page.wait(READY)
    assert page.evaluate("window.injected") is None
    assert page.evaluate("document.title") == page.evaluate("document.getElementById('title').textContent") == EVIL
    page.evaluate("""(() => { const script = document.createElement('script');
        script.textContent = 'window.injected = true';
        document.body.append(script); })()""")  # even one that had found its way into the page
    assert page.evaluate("window.injected") is None


def test_no_request_leaves_the_page(browser, path):
    page = browser.open(path.as_uri())
    page.wait(READY)
    page.click("#play")
    page.wait("document.getElementById('audio').currentTime > 0.5")
    assert all(url == path.as_uri() or url.startswith(("blob:", "data:")) for url in page.requested())
    assert not page.complaints()
    for attempt in ("fetch('https://example.org/')", "fetch('http://127.0.0.1:9/')"):
        with pytest.raises(RuntimeError, match="Failed to fetch"):
            page.evaluate(attempt)
    assert any("Content Security Policy" in text for text in page.complaints())


# --- look ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("width", [390, 720, 1079, 1280, 1600])
def test_nothing_is_wider_than_the_window(browser, path, width):
    page = browser.open(path.as_uri(), width, 844)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(page.evaluate("[...document.querySelectorAll('main > section')].map(card => card.clientWidth > 200)"))
    page.call("Page.close")


def test_themes(browser, path):
    background = "getComputedStyle(document.body).backgroundColor"
    page = browser.open(path.as_uri(), dark=True)
    dark = page.evaluate(background), drawn(page, "spectrogram")
    page.click("#theme")
    light = page.evaluate(background), drawn(page, "spectrogram")
    assert dark[0] != light[0] and dark[1] != light[1]
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    assert page.evaluate(background) == light[0]


def test_without_sound_radius_reference_or_tracks(browser, tmp_path):
    path = tmp_path / "bare.html"
    recording_page.write(path, small_page(audio=None, rows=without(small_rows()[:0], "radius")))
    page = browser.open(path.as_uri())
    page.wait("!document.getElementById('notes').hidden")
    assert page.evaluate("document.getElementById('notes').textContent") == "This page has no sound."
    assert page.evaluate("document.getElementById('empty').textContent") == "No source was found."
    page.press(" ")
    page.wait(f"{CLOCK} > 0.3")
    assert not page.complaints()


# --- the drawing code by itself, as a live view uses it -----------------------------------------------------------

def test_a_scene_grows_and_forgets(page):
    """Ten minutes of frames, one second kept after each; the colour of a track stays its own."""
    grown = page.evaluate("""(() => {
        const scene = new SceneView.Scene({frameS: 0.1, bandsHz: [100, 1000]});
        const canvases = Object.fromEntries(["sphere", "map", "azimuth", "spectrogram"].map(name => {
            const canvas = document.createElement("canvas");
            canvas.style.cssText = "width: 300px; height: 200px";
            document.body.append(canvas);
            return [name, canvas]; }));
        const view = new SceneView.View(scene, canvases);
        let most = 0;
        for (let frame = 0; frame < 6000; frame++) {
            scene.append(frame, [{track: 1 + Math.floor(frame / 25), azimuth: frame % 360 - 180, elevation: 0},
                                 {track: 100000, azimuth: 0, elevation: 45}], new Uint8Array([frame % 256, 0]));
            if (frame % 10 === 9) scene.forgetBefore((frame + 1) * 0.1 - 10);
            most = Math.max(most, scene.tracks.size);
        }
        view.setTime(scene.seconds);
        view.setRange(scene.seconds - 10, scene.seconds);
        view.dataChanged();
        view.drawNow();
        const pixels = canvases.azimuth.getContext("2d").getImageData(0, 0, 300, 200).data;
        return {most, length: scene.tracks.get(100000).length, room: scene.tracks.get(100000).frame.length,
                tiles: scene.spectrogram.tiles.filter(tile => tile).length, seconds: scene.seconds, from: view.from,
                drawn: pixels.some(value => value > 0),
                colours: new Set([...scene.tracks.values()].map(track => track.colour)).size,
                tracks: scene.tracks.size}; })()""")
    assert grown["most"] < 8 and grown["length"] == 100 and grown["room"] < 300 and grown["tiles"] <= 2
    assert grown["seconds"] == pytest.approx(600) and grown["from"] == pytest.approx(590) and grown["drawn"]
    assert grown["colours"] == grown["tracks"]
