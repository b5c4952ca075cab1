"""A live server for tests, and frames for it."""

import contextlib
import threading
import time

import numpy as np

from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.live.feed import Frame
from doatools.live.server import LiveServer, listen
from doatools.types import Predictions, Scaler
from inference import TRACK_ROWS

HOP_S, BANDS = 0.1, 64
ABOUT = {"title": "test.wav", "summary": "foa, 24000 Hz", "frame_s": HOP_S, "latency_s": 1.6, "first_s": 5.0,
         "bands_hz": np.geomspace(60, 11000, BANDS).round(1).tolist(), "notes": []}


class LoudnessLocalizer:
    """Not learned: one source in front wherever there is sound."""

    def __init__(self):
        self.config = get_params(top_db=0.0)
        self.features = build_features(self.config)
        self.scaler = Scaler.identity(7 * 64)

    def predict(self, features):
        ratio = self.features.ratio
        active = (features[:, 0].mean(-1) > -60).reshape(len(features), -1, ratio).all(-1).astype(np.float32)  # (B, T)
        doa = np.zeros((*active.shape, 2, 3), np.float32)
        doa[..., 0] = 1
        return Predictions(doa, np.stack([active, np.zeros_like(active)], -1))


def frames_of(count, begin=None, pause_s=0.0, bands=BANDS):
    """Frames of one source that goes round once in ten seconds, a new track each; once ``begin`` is set."""
    if begin:
        begin.wait(30)
    for number in range(count):
        rows = np.array([(number, 0, 1 + number // 100, 3.6 * (number % 100) - 180, 20, 0.9)], TRACK_ROWS)
        levels = np.full(bands, 60 + 2 * (number % 50), np.uint8)
        yield Frame(number, rows, levels, 1.5)
        time.sleep(pause_s)


@contextlib.contextmanager
def serving(frames, localizer=None, **about):
    """A server in a thread → (host:port of HTTP, (host, port) of TCP); what it raises is raised at the end."""
    if localizer:
        about["bands_hz"] = localizer.features.frequencies.tolist()
    listeners = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    one, raised = LiveServer(listeners, ABOUT | about, frames), []

    def run():
        try:
            one.run()
        except Exception as error:
            raised.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield one.addresses()["view"].removeprefix("http://"), listeners[1].getsockname()
    finally:
        thread.join(30)
    if raised:
        raise raised[0]
