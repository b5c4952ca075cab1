"""The live view in a headless Chromium (apt install chromium); see test_live.py for the server."""

import threading
import time

import chromium
import pytest
from live_helpers import frames_of, serving
from recording_page_helpers import EVIL

pytest.importorskip("aiohttp")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not chromium.find(), reason="needs Chromium")]

LIVE = "document.getElementById('status')?.dataset.state === 'live'"
STATE = "document.getElementById('state').textContent"
SUM_OF_PIXELS = """(() => { const canvas = document.getElementById('%s'), context = canvas.getContext('2d');
    return context.getImageData(0, 0, canvas.width, canvas.height).data.reduce((a, b) => a + b, 0) })()"""


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as one:
        yield one


class Paced:
    """Frames at ten per second, two tracks at once after the first ten seconds, until ``finish`` is called."""

    def __init__(self, history=0):
        self._history, self._finish = history, threading.Event()
        self.sent = 0

    def finish(self):
        self._finish.set()

    def __iter__(self):
        for frame in frames_of(100_000):
            if self._finish.is_set():
                return
            yield frame
            self.sent = frame.number + 1
            if frame.number >= self._history:
                time.sleep(0.1)


@pytest.fixture
def live():
    """(address of a server with half a minute of history, its frames)"""
    frames = Paced(300)
    with serving(iter(frames), notes=["it is only a test"]) as (address, _):
        yield f"http://{address}/", frames
        frames.finish()


def drawn(page, canvas):
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(SUM_OF_PIXELS % canvas)


def test_it_moves_ten_times_a_second(browser, live):
    page = browser.open(live[0])
    page.wait(LIVE)
    before = {canvas: drawn(page, canvas) for canvas in ("sphere", "map", "azimuth", "elevation", "spectrogram")}
    changes = page.evaluate("""new Promise(done => {
        let changes = 0;
        new MutationObserver(() => { changes += 1; }).observe(document.getElementById('state'), {childList: true});
        setTimeout(() => done(changes), 3000); })""")
    assert 24 <= changes <= 36
    assert all(drawn(page, canvas) != pixels for canvas, pixels in before.items())
    seconds = float(page.evaluate(STATE).split(" ")[1])
    assert abs(seconds - live[1].sent / 10) < 1.5
    assert page.evaluate("document.getElementById('notes').textContent") == "it is only a test"
    assert all(url.startswith((live[0], "data:")) for url in page.requested())
    assert not page.complaints()
    with pytest.raises(RuntimeError, match="Failed to fetch"):
        page.evaluate("fetch('http://127.0.0.1:9/')")
    page.call("Page.close")


def test_pause_and_return(browser, live):
    page = browser.open(live[0])
    page.wait(LIVE)
    page.press(" ")
    assert page.evaluate(STATE) == "paused"
    paused = drawn(page, "sphere")
    time.sleep(0.6)
    assert drawn(page, "sphere") == paused
    page.press(" ")
    page.wait(LIVE)
    page.click("#azimuth", 0.3)
    assert page.evaluate(STATE) == "paused"
    page.click("#follow")
    page.wait(LIVE)
    assert not page.complaints()
    page.call("Page.close")


def test_a_track_can_be_hidden(browser, live):
    page = browser.open(live[0])
    page.wait("document.querySelectorAll('#tracks li').length >= 3")
    page.press(" ")
    shown = drawn(page, "azimuth")
    page.click("#tracks li:nth-child(2) input")
    page.mouse("Moved", 5, 5)
    assert drawn(page, "azimuth") != shown
    page.click("#all")
    page.mouse("Moved", 5, 5)
    assert drawn(page, "azimuth") == shown
    assert not page.complaints()
    page.call("Page.close")


def test_two_viewers_and_the_end(browser, live):
    pages = [browser.open(live[0], width, 844, dark=dark) for width, dark in ((390, True), (1280, False))]
    for page in pages:
        page.wait(LIVE)
    live[1].finish()
    for page in pages:
        page.wait(f"{STATE} === 'the sound has ended'")
        assert not page.complaints()
        page.call("Page.close")


def test_a_script_in_a_name_does_not_run(browser):
    frames = Paced()
    with serving(iter(frames), title=EVIL, notes=[EVIL], summary=EVIL) as (address, _):
        page = browser.open(f"http://{address}/")
        page.wait(LIVE)
        assert page.evaluate("document.title") == page.evaluate("document.getElementById('title').textContent") == EVIL
        page.evaluate("""(() => { const script = document.createElement('script');
            script.textContent = 'window.injected = true';
            document.body.append(script); })()""")
        assert page.evaluate("window.injected") is None
        page.call("Page.close")
        frames.finish()


def test_it_connects_again(browser, live):
    """A connection that breaks is opened again, with what was missed."""
    page = browser.open(live[0])
    page.call("Page.addScriptToEvaluateOnNewDocument", source="""
        window.sockets = [];
        window.WebSocket = class extends WebSocket {
            constructor(...words) { super(...words); sockets.push(this); } };""")
    page.call("Page.navigate", url=live[0])
    page.wait(LIVE)
    page.evaluate("sockets[0].close()")
    page.wait(f"{STATE} === 'connection lost, trying again'")
    page.wait(f"sockets.length === 2 && {LIVE}")
    assert not page.complaints()
    page.call("Page.close")


@pytest.mark.parametrize("width", [390, 720, 1079, 1280, 1600])
def test_nothing_is_wider_than_the_window(browser, live, width):
    page = browser.open(live[0], width, 844)
    page.wait(LIVE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.call("Page.close")


def test_memory_of_the_page_is_bounded(browser):
    """An hour of frames in a few seconds: five minutes of them are kept."""
    done = threading.Event()

    def frames():
        for frame in frames_of(36_000):
            yield frame
            if frame.number % 50 == 0:
                time.sleep(0.01)  # a viewer that is given too many at once has holes, which is right but not the point
        done.wait(300)
    with serving(frames()) as (address, _):
        page = browser.open(f"http://{address}/")
        page.wait(f"{LIVE} && {STATE}.includes('1:00:00')", 200)  # a busy machine takes a minute and more
        time.sleep(6)
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        assert heap < 60e6
        assert page.evaluate("document.querySelectorAll('#tracks li').length") <= 30
        page.call("Page.close")
        done.set()
