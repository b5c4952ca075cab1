"""Which frames belong to one source: one rule for references and predictions.

An identity is a (class, track id) of a file, a track of a tracker, or a slot, for the whole recording and through its
pauses. Slots, and the ids of some datasets, are used again for other sources. That is taken to be so where an identity
returns from a gap in another direction: farther away than GATE_DEG, plus what a source covers at SPEED_DEG_S since it
was last seen, MOTION_DEG at most. There the identity ends and another one begins. Without a gap, or without such a
jump, it goes on.

T frames, N slots; identities (T, N) int, -1 where inactive, each at most once in a frame.
"""

import numpy as np

from doatools.spatial.geometry import angular_distance

GATE_DEG = 20.0  # that of the scores
SPEED_DEG_S = 40.0  # the fastest sources of TAU-NIGENS 2020 and 2021
MOTION_DEG = 20.0  # of motion in a pause of any length


def numbers_of(rows, event):
    """(class, track id) of EVENT_ROWS, numbered from 0, where ``assign_slots`` put their events: (T, N), -1 in free
    slots."""
    number = np.full(rows["event"].max(initial=-1) + 2, -1)  # of each event; the last is that of event -1
    number[rows["event"]] = np.unique(rows[["class", "track"]], return_inverse=True)[1]
    return number[event]


def identified(result, hop_s):
    """A Result with frames of ``hop_s``, with its references and predictions (slots, if there are no others)
    ``separated``."""
    names = np.arange(result.active.shape[1]) if result.pred_id is None else result.pred_id
    return result.replaced(ref_id=separated(result.ref_id, result.ref_doa, hop_s),
                           pred_id=separated(np.where(result.active, names, -1), result.doa, hop_s))


def separated(ids, doa, hop_s):
    """Identities (T, N) with directions (T, N, 3) in frames of ``hop_s``, split where one is used again for another
    source; numbered from 0."""
    frame, slot, first = _in_order(ids)
    elapsed = np.diff(frame, prepend=0)
    direction = doa[frame, slot]
    jump = angular_distance(direction, np.roll(direction, 1, axis=0))
    allowed = GATE_DEG + np.minimum(SPEED_DEG_S * elapsed * hop_s, MOTION_DEG)
    return _numbered(ids, frame, slot, first | ((elapsed > 1) & (jump > allowed)))


def periods(ids):
    """The runs of consecutive frames of each identity, numbered from 0: (T, N), -1 where inactive."""
    frame, slot, first = _in_order(ids)
    return _numbered(ids, frame, slot, first | (np.diff(frame, prepend=0) > 1))


def _in_order(ids):
    """Frame and slot of the active cells, identity after identity, and whether an identity begins: three (A,)."""
    frame, slot = np.nonzero(ids >= 0)
    own = ids[frame, slot]
    order = np.lexsort((frame, own))
    return frame[order], slot[order], np.diff(own[order], prepend=-1) != 0


def _numbered(ids, frame, slot, begins):
    numbers = np.full(ids.shape, -1)
    numbers[frame, slot] = np.cumsum(begins) - 1
    return numbers
