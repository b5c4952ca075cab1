"""Labels: events at the frames of any hop, and one direction per slot and frame.

T frames, N slots. Slots are assigned when labels are used and never stored.
"""

import numpy as np

from doatools.errors import UserError
from doatools.spatial.geometry import unit_vectors
from doatools.types import EVENT_PIECES, EVENT_ROWS

LISTED = 20  # files that an error names one by one
CARRIED = ("event", "class", "track", "azimuth", "elevation", "distance")  # what pieces and rows have in common


def pieces_of_rows(rows, frame_s):
    """EVENT_ROWS at frames of ``frame_s`` → EVENT_PIECES, one per row."""
    pieces = np.empty(len(rows), EVENT_PIECES)
    pieces["start"], pieces["end"] = rows["frame"] * frame_s, (rows["frame"] + 1) * frame_s
    for name in CARRIED:
        pieces[name] = rows[name]
    return pieces


def rows_at(pieces, hop_s):
    """EVENT_PIECES → EVENT_ROWS at frames of ``hop_s``, sorted by frame and within a frame in the order of the pieces.

    A piece is active in frame k if it starts before (k + 1)·hop and ends after k·hop, both to within 1e-6 of a frame.
    """
    first = np.floor(pieces["start"] / hop_s + 1e-6).astype(int)
    counts = np.maximum(np.ceil(pieces["end"] / hop_s - 1e-6).astype(int) - first, 0)
    source = np.repeat(np.arange(len(pieces)), counts)
    rows = np.empty(len(source), EVENT_ROWS)
    rows["frame"] = first[source] + np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    for name in CARRIED:
        rows[name] = pieces[name][source]
    return rows[np.argsort(rows["frame"], kind="stable")]


def count_overlap(rows):
    """The most sources at once in EVENT_ROWS; 0 for a silent recording."""
    return int(np.unique(rows["frame"], return_counts=True)[1].max(initial=0))


def refuse_overflow(overlaps, max_sources):
    """UserError that lists the ``overlaps``, {annotation: the most sources at once}, beyond ``max_sources``."""
    beyond = {path: count for path, count in overlaps.items() if count > max_sources}
    if beyond:
        named = "".join(f"\n  {path}: {count}" for path, count in list(beyond.items())[:LISTED])
        more = f"\n  and {len(beyond) - LISTED} more" if len(beyond) > LISTED else ""
        raise UserError(f"{len(beyond)} recording(s) have more than max_sources={max_sources} sources at "
                        f"once; set max_sources={max(beyond.values())}, or overflow=drop to train without those that "
                        f"began last:{named}{more}")


def assign_slots(rows, n_frames, max_sources, how="track", overflow="error"):
    """EVENT_ROWS → one direction per slot and frame.

    Parameters
    ----------
    rows : EVENT_ROWS; those at or after ``n_frames`` are left out
    n_frames, max_sources : int, T and N
    how : 'track': a new event takes the lowest free slot and keeps it | 'frame': in each frame, slots are filled in the
        order of lines (so a source changes its slot when one before it ends) | 'start': the same in the order of start
        times
    overflow : 'error' | 'drop' events that find no slot (of simultaneous ones, those that began last)

    Returns
    -------
    doa : float32 (T, N, 3), unit vectors; zeros where inactive
    event : int32 (T, N); -1 where inactive

    Raises
    ------
    UserError
        More than N sources at once with overflow='error'.
    """
    rows = rows[rows["frame"] < n_frames]
    doa = np.zeros((n_frames, max_sources, 3), np.float32)
    event = np.full((n_frames, max_sources), -1, np.int32)
    if not len(rows):
        return doa, event
    if overflow == "error" and count_overlap(rows) > max_sources:
        frame = np.argmax(np.bincount(rows["frame"]) > max_sources)
        raise UserError(f"more than {max_sources} sources at once, first in frame {frame}")
    if how == "start":
        rows = rows[np.lexsort((rows["event"], rows["frame"]))]  # events are numbered by start time
    slot = _slots_by_track(rows, max_sources) if how == "track" else _slots_by_frame(rows)
    kept = slot < max_sources
    rows, slot = rows[kept], slot[kept]
    doa[rows["frame"], slot] = unit_vectors(rows["azimuth"], rows["elevation"])
    event[rows["frame"], slot] = rows["event"]
    return doa, event


def at_slots(rows, event, name, otherwise):
    """A field of EVENT_ROWS where ``assign_slots`` put them: (T, N), ``otherwise`` in free slots."""
    values = np.full(event.shape, otherwise, rows.dtype[name])
    rows = rows[rows["frame"] < len(event)]
    row, slot = np.nonzero(event[rows["frame"]] == rows["event"][:, None])
    values[rows["frame"][row], slot] = rows[name][row]
    return values


def classes_and_distances(rows, event):
    """``ref_class`` and ``ref_distance`` of a Result, from EVENT_ROWS and what ``assign_slots`` made of them."""
    known = np.isfinite(rows["distance"]).any()
    return {"ref_class": at_slots(rows, event, "class", -1),
            "ref_distance": at_slots(rows, event, "distance", np.nan) if known else None}


def count_without_slot(rows, max_sources, how="track"):
    """How many rows of EVENT_ROWS find no slot (see ``assign_slots``) and take no part in training."""
    if count_overlap(rows) <= max_sources:
        return 0
    event = assign_slots(rows, int(rows["frame"].max()) + 1, max_sources, how, "drop")[1]
    return len(rows) - int(np.count_nonzero(event >= 0))


def _slots_by_track(rows, max_sources):
    """The slot of each row; ``max_sources`` if its event found none."""
    n_events = rows["event"].max() + 1
    last = np.zeros(n_events, int)
    np.maximum.at(last, rows["event"], rows["frame"])
    busy_until = np.full(max_sources, -1)  # the last frame of the latest event in each slot
    slot_of = np.full(n_events, max_sources)
    events, first_row = np.unique(rows["event"], return_index=True)  # in the order of start times
    for event, frame in zip(events, rows["frame"][first_row]):
        free = np.flatnonzero(busy_until < frame)
        if free.size:
            slot_of[event] = free[0]
            busy_until[free[0]] = last[event]
    return slot_of[rows["event"]]


def _slots_by_frame(rows):
    return np.arange(len(rows)) - np.searchsorted(rows["frame"], rows["frame"])
