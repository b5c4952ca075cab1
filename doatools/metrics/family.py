"""What a family of scores is: counts summed over recordings, and figures that are a pure function of them.

The families of frames, CLEAR MOT, identity, HOTA and segments are in cls_metric.py, which also states the shapes that
``update`` takes.
"""

from typing import ClassVar, NamedTuple

import numpy as np

from doatools.match.assignment import Scene

GATE_DEG = 20.0
SEGMENT_FRAMES = 10  # frames of 100 ms in a one-second segment


def ratio(numerator, denominator):
    """Quotient as a float; NaN where the denominator is zero."""
    return float(numerator) / float(denominator) if denominator else float("nan")


class Figure(NamedTuple):
    """Unit and meaning of one score."""

    unit: str  # '°', '%', '/s', ' s' or '' for a number of events
    meaning: str
    lower: bool = False  # whether lower is better
    main: bool = False  # whether the printed comparison of two systems includes it


class Family:
    """One family of scores. A subclass defines what it counts in a recording (``count``), the scores that follow from
    the counts (``figures``), and how these are presented (``groups``). A new family is one class and one line in
    doatools/registry.py.
    """

    name = ""  # as in the registry
    groups: ClassVar = {}  # {title: {score: Figure}}
    shapes: ClassVar = {}  # {count: shape}, () for a scalar

    def __init__(self, has_activity=True, gate=GATE_DEG, segment_frames=SEGMENT_FRAMES):
        self.has_activity, self.gate, self.segment_frames = has_activity, gate, segment_frames
        self.counts = {name: np.zeros(shape) if shape else 0.0 for name, shape in self.shapes.items()}

    def update(self, doa, active, ref_doa, ref_id, pred_id=None, ref_class=None, pred_class=None):
        self.add(self.count(Scene(doa, active, ref_doa, ref_id, pred_id, ref_class, pred_class)))

    def add(self, counts):
        for name, value in counts.items():
            self.counts[name] = self.counts[name] + (value if self.shapes[name] else float(value))

    def count(self, recording):
        """The counts of one recording, a Scene → dict."""
        raise NotImplementedError

    @staticmethod
    def figures(counts, gate=GATE_DEG):
        """The scores that follow from counts, {name: value}."""
        raise NotImplementedError

    def compute(self):
        return self.figures(self.counts, self.gate)
