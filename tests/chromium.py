"""A headless Chromium for tests, driven over the pipe of its DevTools protocol: the standard library is enough.

    with Chromium() as browser:
        page = browser.open("file:///tmp/page.html", width=390, height=844, dark=True)
        page.evaluate("document.title")

``--remote-debugging-pipe`` reads commands from descriptor 3 and writes answers to descriptor 4, JSON ended by a zero
byte; no port, no WebSocket, no driver of the browser's exact version.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--disable-background-networking", "--disable-component-update", "--mute-audio",
         "--autoplay-policy=no-user-gesture-required")
KEYS = {" ": ("Space", 32), "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39), "Home": ("Home", 36),
        "End": ("End", 35), "Tab": ("Tab", 9), "Enter": ("Enter", 13)}  # name → code, virtual key


def find():
    """The path of an installed Chromium, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def _high(descriptors):
    """The same pipe at descriptors out of the way of 3 and 4."""
    moved = tuple(fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in descriptors)
    for one in descriptors:
        os.close(one)
    return moved


class Chromium:
    """One browser process; pages are opened in it."""

    def __init__(self, timeout_s=30):
        self.timeout_s = timeout_s
        self._number, self._held, self.events = 0, b"", []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            theirs_to_read, self._commands = _high(os.pipe())
            self._answers, theirs_to_write = _high(os.pipe())
            command = [find(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
            self._process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{theirs_to_read} 4>&{theirs_to_write}', "bash", *command],
                pass_fds=(theirs_to_read, theirs_to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            os.close(theirs_to_read)
            os.close(theirs_to_write)
            stack.callback(self._stop)
            self.call("Browser.getVersion")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _stop(self):
        with contextlib.suppress(OSError):
            os.write(self._commands, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method, session=None, **params):
        """Send a command and wait for its result; events that come meanwhile are kept in ``events``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.timeout_s
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _receive(self, deadline, method):
        while b"\0" not in self._held:
            if not select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"no answer to {method} within {self.timeout_s} s")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._held += part
        message, self._held = self._held.split(b"\0", 1)
        return json.loads(message)

    def open(self, url, width=1280, height=800, dark=False, touch=False, scale=1):
        """A new page at ``url``, loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = BrowserPage(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=touch)
        page.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        page.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.call("Page.navigate", url=url)
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page


class BrowserPage:
    """One page (tab)."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def evaluate(self, expression):
        """The value of a JavaScript expression, a promise's once it is there."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, expression, seconds=15):
        """Wait until the expression is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {expression}")
            time.sleep(0.05)
        return value

    def place(self, selector, x=0.5, y=0.5):
        """Where a share (x, y) of an element is in the window, px, once it has been scrolled into view."""
        return self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return [box.left + {x} * box.width, box.top + {y} * box.height]; }})()""")

    def mouse(self, kind, x, y, **params):
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **params)

    def click(self, selector, x=0.5, y=0.5):
        px, py = self.place(selector, x, y)
        self.mouse("Moved", px, py)
        self.mouse("Pressed", px, py, button="left", clickCount=1)
        self.mouse("Released", px, py, button="left", clickCount=1)

    def touch(self, kind, *points):
        """kind: Start, Move or End, with the fingers that are down, (x, y)."""
        self.call("Input.dispatchTouchEvent", type=f"touch{kind}",
                  touchPoints=[{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)])

    def press(self, key, shift=False):
        code, number = KEYS.get(key, (key, ord(key[0].upper())))
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        how = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 * shift}
        self.call("Input.dispatchKeyEvent", type="keyDown", **how, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **how)

    def screenshot(self, path, whole=False):
        """The window, or the whole page, as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def requested(self):
        """The addresses of all requests of the page so far."""
        return [event["params"]["request"]["url"] for event in self._own("Network.requestWillBeSent")]

    def complaints(self):
        """Uncaught exceptions and errors on the console so far."""
        thrown = [event["params"]["exceptionDetails"] for event in self._own("Runtime.exceptionThrown")]
        logged = [event["params"]["entry"]["text"] for event in self._own("Log.entryAdded")
                  if event["params"]["entry"]["level"] == "error"]
        return [details.get("exception", {}).get("description", details["text"]) for details in thrown] + logged

    def _own(self, method):
        self.evaluate("0")  # whatever was on its way is here after this
        return [event for event in self.browser.events
                if event.get("method") == method and event.get("sessionId") == self.session]
