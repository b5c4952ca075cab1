"""What is doubtful about a sound, judged while it passes: silent and failing channels, levels that no array has.

Levels are judged in blocks of time, each without its mean, so that neither a loud moment nor a DC offset decides them.
A file and a stream are judged alike.

M channels, B blocks; audio is (samples, M), full scale ±1.
"""

from collections import deque

import numpy as np

from doatools.spatial.horizontal import Height

BLOCK_S = 0.1
JUDGED_EVERY_S = 30.0  # how often a stream is judged
SILENT_DB = -50.0  # a channel that lies this far below the loudest is silent
HEARD_DB = -40.0  # blocks this far below the loud ones are pauses
DEAD_S = 1.0  # a channel that is silent for so long, up to the end, has died
SILENT = 1e-5  # full scale; sound without any larger sample is silence
TOO_LOUD = 10.0  # full scale; floats beyond it are integers, or no sound
KEPT_BLOCKS = 36_000  # of a stream: the last hour
KEPT_S = 120.0  # of sound whose waves are compared between channels
UNUSUAL_RATIO = 1.5  # of the energies of Y, Z, X together to that of W
UNUSUAL_DB = 4.0  # between capsules


def block_levels(audio, fs):
    """Levels (B, M) of blocks in dB, DC apart."""
    size = max(2, round(BLOCK_S * fs))
    count = max(1, len(audio) // size)
    blocks = audio[: count * size].reshape(count, -1, audio.shape[1]) if len(audio) >= size else audio[None]
    return 20 * np.log10(blocks.std(axis=1) + 1e-12)


def heard_blocks(levels):
    """Whether anything is heard in each block of (B, M)."""
    loudest = levels.max(axis=1)
    return loudest > max(-110.0, np.percentile(loudest, 90) + HEARD_DB)


def silent_channels(levels):
    """Channels silent in nearly all blocks of (B, M) in which another is heard, and {channel: block} of those that
    die."""
    heard = heard_blocks(levels)
    if not heard.any():
        return [], {}
    quiet = levels < levels.max(axis=1, keepdims=True) + SILENT_DB
    silent = [channel for channel in range(levels.shape[1]) if quiet[heard, channel].mean() > 0.95]
    dead = {}
    for channel in set(range(levels.shape[1])) - set(silent):
        alive = np.flatnonzero(heard & ~quiet[:, channel])
        after = np.flatnonzero(heard)
        after = after[after > (alive[-1] if len(alive) else -1)]
        if len(after) * BLOCK_S >= DEAD_S:
            dead[channel] = int(after[0])
    return silent, dead


class Doubts:
    """What is doubtful about a sound at ``fs`` Hz for an Array.

    ``watched`` passes its blocks on; ``sentences`` may be asked for at any time.
    """

    def __init__(self, array, fs):
        self.array, self.fs = array, fs
        self.samples, self.loudest = 0, 0.0
        self._height = Height(array)
        self._size = max(2, round(BLOCK_S * fs))
        self._levels, self._left_out = deque(maxlen=KEPT_BLOCKS), 0
        self._rest = np.zeros((0, array.channels), np.float32)  # samples of the next block
        self._kept, self._of_kept = [], (0, {})  # the first KEPT_S of sound from capsules; what was said of so many

    @property
    def seconds(self):
        return self.samples / self.fs

    def watched(self, blocks):
        """The blocks (samples, M), unchanged."""
        for block in blocks:
            if self.array.kind != "ambisonic" and self.seconds < KEPT_S:
                self._kept.append(block)
            self.samples += len(block)
            self._height.hear(block)
            self.loudest = max(self.loudest, float(np.abs(block).max(initial=0)))
            audio = np.concatenate([self._rest, block])
            whole = len(audio) - len(audio) % self._size
            if whole:
                levels = block_levels(audio[:whole], self.fs)
                self._left_out += max(len(self._levels) + len(levels) - KEPT_BLOCKS, 0)
                self._levels.extend(levels)
            self._rest = audio[whole:]
            yield block

    def announced(self, parts, tell):
        """What is made of the sound, unchanged; each sentence is told once, every JUDGED_EVERY_S and at the end."""
        judged_s, told = 0.0, set()

        def judge():
            for kind, text in self.sentences().items():
                if kind not in told:
                    tell(text)
                    told.add(kind)

        for part in parts:
            yield part
            if self.seconds - judged_s >= JUDGED_EVERY_S:
                judged_s = self.seconds
                judge()
        judge()

    def sentences(self):
        """{kind: sentence} for the user; the same kind twice is the same doubt."""
        if self.loudest < SILENT:
            return {"silent": "the recording is silent"}
        found = {}
        if self.loudest > TOO_LOUD:
            found["loud"] = (f"samples reach {self.loudest:.3g} times full scale: are they integers stored as floats? "
                             "Levels are wrong, and directions may be")
        levels = np.array(self._levels or block_levels(self._rest, self.fs))
        silent, dead = silent_channels(levels)
        if self._height.missing:
            found["horizontal"] = ("channel 3 (Z) is silent: the recording is horizontal only, as that of a Zoom H2n; "
                                   "elevations cannot be known and are 0")
            silent, dead = [one for one in silent if one != 2], {one: at for one, at in dead.items() if one != 2}
        found |= {f"silent {channel}": f"channel {channel + 1} is silent: directions are wrong" for channel in silent}
        for channel, block in dead.items():
            found[f"dead {channel}"] = (
                f"channel {channel + 1} falls silent at {(self._left_out + block) * BLOCK_S:.0f} s and stays so: "
                "directions are wrong from there on")
        if not silent and not dead:
            found |= self._of_levels(levels[heard_blocks(levels)])
            found |= self._of_waves()
        return found

    def _of_levels(self, levels):
        """Of the levels (B, M) of blocks in which something is heard."""
        if not len(levels):
            return {}
        if self.array.kind == "ambisonic":
            energy = 10 ** (levels / 10)
            ratio = np.median(energy[:, 1:].sum(axis=1) / energy[:, 0])
            return {} if ratio < UNUSUAL_RATIO else {"ratio": (
                f"channels 2 to 4 together have {ratio:.1f} times the energy of channel 1, where 1 or less is usual; 2 "
                "suggests FuMa (--foa-order fuma), 3 suggests N3D gains or raw capsules: directions may be wrong")}
        spread = np.ptp(np.median(levels - levels.mean(axis=1, keepdims=True), axis=0))
        return {} if spread < UNUSUAL_DB or self.array.axes.any() else {"spread": (  # cardioids differ by direction
            f"the levels of the channels differ by up to {spread:.0f} dB, those of omnidirectional capsules by about 1 "
            "dB: is this ambisonics, or do gains differ? Directions may be wrong")}

    def _of_waves(self):
        if len(self._kept) > self._of_kept[0]:
            from doatools.check import capsules  # imports much of scipy
            texts = capsules.doubts(np.concatenate(self._kept), self.fs, self.array)
            self._of_kept = len(self._kept), {text: text for text in texts}
        return self._of_kept[1]
