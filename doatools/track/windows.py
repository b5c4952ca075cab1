"""Overlapping windows of the length a network was trained with → predictions for a recording of any length.

Window k starts at label frame k·hop, whether a file or a stream is read. The last ``margin`` frames of a window see
too little of what follows; they are used only where no next window covers them. In the ``fade`` frames before these,
the window and the next one are cross-faded:

    window k      |..............................====>>>>>--|
    window k + 1            |....................<<<<<====================>>>>>--|
                                                                 (= alone, > fading out, < fading in, - margin)

The slots of a network may be permuted from window to window: those of the next window are put into the order that
agrees best with the window before over all shared frames, and in each fading frame into the best order of that frame
(see slots). Shapes: L frames of a window, N slots.
"""

import itertools

import numpy as np

from doatools.errors import UserError
from doatools.track.slots import best_order, weighted_mean
from doatools.types import Predictions

MARGIN, FADE = 0.08, 0.1  # shares of a window: the end, where the networks here lose accuracy, and the cross-fade


class Windows:
    """How windows overlap; all counts are in label frames.

    Parameters
    ----------
    length : int, L
    hop_s : float, length of a label frame
    latency_s : float or None
        The longest time from the start of a label frame until its prediction is final; a shorter one costs more
        computation. None: windows overlap by half.
    held_s : float
        The share of ``latency_s`` that later steps take, such as the confirmation of tracks.

    Attributes
    ----------
    hop, margin, fade : int, frames
    delay : int, frames that are heard after the end of a window before it is predicted
    latency_s, least_latency_s : float, as it is and the shortest one possible, ``held_s`` included

    Raises
    ------
    UserError
        For a latency that these windows cannot have.
    """

    delay = 0

    def __init__(self, length, hop_s, latency_s=None, held_s=0.0):
        self.length = length
        self.margin, self.fade = round(MARGIN * length), round(FADE * length)
        used = self.margin + self.fade
        least, most = used + max(self.fade, 1), length - used
        self.least_latency_s = least * hop_s + held_s
        if latency_s is None:
            frames = used + max(length // 2, 1)
        else:  # NaN and what is far too long are out of range
            frames = int((latency_s - held_s) / hop_s + 1e-6) if abs(latency_s) < 1e6 else -1
        if latency_s is not None and not least <= frames <= most:
            raise UserError(f"the windows of this model ({length * hop_s:g} s) allow latencies from "
                            f"{least * hop_s + held_s:g} to {most * hop_s + held_s:g} s, not {latency_s:g} s")
        self.hop = frames - used
        self.latency_s = frames * hop_s + held_s

    def joined(self, predictions):
        """The Predictions of windows → of the frames that no later window changes."""
        return merged(predictions, self)


class Steps:
    """Frame by frame, in place of Windows: ``delay`` more frames are heard before a frame is predicted.

    The attributes are those of Windows; UserError for a latency that is shorter than the delay."""

    length = hop = 1

    def __init__(self, delay, hop_s, latency_s=None):
        self.delay = delay
        self.latency_s = self.least_latency_s = (1 + delay) * hop_s
        if latency_s is not None and not latency_s >= self.latency_s - 1e-6:
            raise UserError(f"this model has a latency of {self.latency_s:g} s, not {latency_s:g} s")

    def joined(self, predictions):
        """The Predictions of single frames, ``delay`` late → of these frames."""
        return itertools.islice(predictions, self.delay, None)


def merged(predictions, windows):
    """The Predictions of windows (L, N, ...), one after the other → Predictions of the frames that no later window
    changes."""
    alone = windows.length - windows.margin - windows.fade  # where the next window starts to fade in
    shared = windows.length - windows.margin - windows.hop
    last = None
    for now in predictions:
        if last is None:
            last = now
            yield now.frames(slice(alone))
            continue
        before = last.frames(slice(windows.hop, windows.hop + shared))
        now = now.permuted(best_order(before, now.frames(slice(shared))))
        start = alone - windows.hop  # where this window starts to fade in
        end = start + windows.fade
        faded = _cross_fade(last.frames(slice(alone, alone + windows.fade)), now.frames(slice(start, end)))
        last = Predictions.join([now.frames(slice(start)), faded, now.frames(slice(end, None))])
        yield last.frames(slice(start, alone))
    if last is not None:
        yield last.frames(slice(alone, None))


def _cross_fade(now, following):
    """The frames of one window faded into those of the next one."""
    weight = (np.arange(1, len(now) + 1) / (len(now) + 1)).astype(np.float32)[:, None]
    return weighted_mean((now, following), (1 - weight, weight))
