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
from doatools.match.assignment import cheapest
from doatools.track.slots import as_vectors, mixed

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


class Merger:
    """Windows' answers, one after the other, → the frames that are final.

    ``add`` takes a window's directions (L, N, 3) and probabilities (L, N) and returns those of the frames that no
    later window changes; ``rest`` returns what is left of the last window.
    """

    def __init__(self, windows):
        self.windows = windows
        self._last = None  # directions and probabilities of the last window

    def add(self, doa, probability):
        at = self.windows
        stop = at.length - at.margin - at.fade  # where the next window begins to fade in
        if self._last is None:
            self._last = doa, probability
            return doa[:stop], probability[:stop]
        shared = at.length - at.margin - at.hop
        before = tuple(part[at.hop : at.hop + shared] for part in self._last)
        order = _order(*before, doa[:shared], probability[:shared])
        doa, probability = doa[:, order], probability[:, order]
        doa, probability = doa.copy(), probability.copy()
        fading = slice(stop - at.hop, stop - at.hop + at.fade)
        last = tuple(part[stop : stop + at.fade] for part in self._last)
        doa[fading], probability[fading] = _cross_fade(last, (doa[fading], probability[fading]))
        self._last = doa, probability
        return doa[stop - at.hop : stop], probability[stop - at.hop : stop]

    def rest(self):
        """The frames of the last window from where a next one would begin to fade in."""
        stop = self.windows.length - self.windows.margin - self.windows.fade
        return tuple(part[stop:] for part in self._last)


def _order(doa, probability, next_doa, next_probability):
    """The next window's slot for each slot of this one, (N,), from all frames together."""
    ours, theirs = as_vectors(doa, probability), as_vectors(next_doa, next_probability)
    return cheapest(-np.einsum("tnx,tmx->nm", ours, theirs)[None])[0]


def _cross_fade(now, following):
    """From one window's frames to the next one's: pairs of directions and probabilities → a pair."""
    frames = len(now[0])
    weight = (np.arange(1, frames + 1) / (frames + 1)).astype(np.float32)[:, None]
    return mixed((now, following), (1 - weight, weight))
