"""Overlapped windows of a network's training length → one course of slots over time, however long.

Window k begins at label frame k·hop, whatever the recording's length and whoever reads it, a file or a stream. Its
last ``margin`` frames see too little of what follows and are not used where a next window has them. In the ``fade``
frames before these, window and next window are cross-faded; up to there a window answers alone:

    window k      |..............................====>>>>>--|
    window k + 1            |....................<<<<<====================>>>>>--|
                                                                 (= alone, > fading out, < fading in, - margin)

Slots of a network may be permuted from window to window: each next window's are put into the order that agrees best
with the window before over all frames they share, and in each fading frame into the best order of that frame (see
slots). Shapes: L frames of a window, N slots.
"""

import numpy as np

from doatools.errors import UserError
from doatools.track.slots import best_order, weighted_mean
from doatools.types import Predictions

MARGIN, FADE = 0.08, 0.1  # shares of a window: where the networks here lose accuracy at its end, and of the fading


class Windows:
    """Where windows lie; frames are label frames.

    Parameters
    ----------
    length : int, L
    hop_s : float
        A label frame's.
    latency_s : float or None
        Time after which a frame is answered at the latest, counted from its start; less costs more computation.
        None: windows overlap by half.

    Attributes
    ----------
    hop, margin, fade : int, frames
    latency_s : float, what it is
    """

    def __init__(self, length, hop_s, latency_s=None):
        self.length = length
        self.margin, self.fade = round(MARGIN * length), round(FADE * length)
        used = self.margin + self.fade
        least, most = used + max(self.fade, 1), length - used
        frames = used + max(length // 2, 1) if latency_s is None else int(latency_s / hop_s + 1e-6)
        if latency_s is not None and not least <= frames <= most:
            raise UserError(f"this model's windows of {length * hop_s:g} s allow latencies from {least * hop_s:g} to "
                            f"{most * hop_s:g} s, not {latency_s:g} s")
        self.hop = frames - used
        self.latency_s = frames * hop_s


def merged(predictions, windows):
    """Predictions of window after window (L, N, ...) → those of the frames that no later window changes, piece by piece."""
    alone = windows.length - windows.margin - windows.fade  # where the next window begins to fade in
    shared = windows.length - windows.margin - windows.hop
    last = None
    for now in predictions:
        if last is None:
            last = now
            yield now.frames(slice(alone))
            continue
        before = last.frames(slice(windows.hop, windows.hop + shared))
        now = now.permuted(best_order(before, now.frames(slice(shared))))
        start = alone - windows.hop  # of this window, where it begins to fade in
        faded = _cross_fade(last.frames(slice(alone, alone + windows.fade)), now.frames(slice(start, start + windows.fade)))
        last = Predictions.join([now.frames(slice(start)), faded, now.frames(slice(start + windows.fade, None))])
        yield last.frames(slice(start, alone))
    if last is not None:
        yield last.frames(slice(alone, None))


def _cross_fade(now, following):
    """From one window's frames to the next one's."""
    weight = (np.arange(1, len(now) + 1) / (len(now) + 1)).astype(np.float32)[:, None]
    return weighted_mean((now, following), (1 - weight, weight))
