"""Scores of parts of a dataset: by recording, by frame, by source.

Of a Result (doatools/types.py), ``doa`` (T, N, 3) and ``active`` (T, N) are predictions, ``ref_doa`` (T, M, 3) and
``ref_id`` (T, M) references, -1 where inactive; T frames, N slots, M references at most at once. Three kinds of parts:

- by recording ('room'; 'overlap': the most sources at once in a recording): all scores, of whole recordings;
- by frame ('sources at once'; 'distance': the smallest angle between two references of a frame): the scores that treat
  each frame by itself, from those frames alone with all their predictions. Tracking scores are left out, since such a
  selection cuts tracks into pieces;
- by source ('motion': a reference event moves if any of its directions is MOVING_DEG or more from its first; 'class'
  and 'range', its distance from the array, where these are known): the references of such events, each with its
  prediction in the optimal assignment of the frame. A prediction without a reference belongs to no source, so there is
  no precision here.
"""

import itertools
import re

import numpy as np

from doatools.match.assignment import assign
from doatools.report.intervals import jackknife
from doatools.spatial.geometry import angular_distance, pairwise_angles
from doatools.track.identities import periods

ORDER = ("room", "overlap", "sources at once", "distance", "motion", "range", "class")
MOVING_DEG = 10.0
DISTANCES_DEG = (0, 30, 60, 90, 180)
RANGES_M = (0, 1, 2, 3, 5, np.inf)
FRAME_FIGURES = ("LE", "LR", "LP", "LF", "F20", "frame recall")
GATE_DEG = 20.0


def break_down(results, counts, count_frames, figures):
    """Scores of the parts of a dataset.

    Parameters
    ----------
    results : list of Result
    counts : list of dict, the counts of each whole recording
    count_frames : callable, Result → counts of the scores that treat each frame by itself
    figures : callable, counts → scores

    Returns
    -------
    {breakdown: {part: {'recordings': n, 'references': active frames, 'figures': {name: Interval}}}}
    """
    def of_frames(counts):
        found = figures(counts)
        return {name: found[name] for name in FRAME_FIGURES}

    parts = {}  # (breakdown, part) → (figures, counts of each recording)
    for result, whole in zip(results, counts):
        for key, own in _of_recording(result, whole):
            parts.setdefault(key, (figures, []))[1].append(own)
        for key, mask in _frames(result):
            if mask.any():
                parts.setdefault(key, (of_frames, []))[1].append(count_frames(result.frames(mask)))
        for key, own in _of_sources(result):
            parts.setdefault(key, (source_figures, []))[1].append(own)
    tables = {}
    for (name, group), (of, own) in sorted(parts.items(), key=lambda item: _natural(item[0])):
        references = sum(c.get("frame/references", c.get("references")) for c in own)
        tables.setdefault(name, {})[group] = {
            "recordings": len(own), "references": int(references), "figures": jackknife(of, own)}
    return {name: parts for name, parts in tables.items() if name != "class" or len(parts) > 1}


def paired_angles(result):
    """Angle (T, M) between each reference and its prediction in the optimal assignment; NaN where there is none."""
    angles = pairwise_angles(result.ref_doa, result.doa)  # (T, M, N)
    angles = np.where((result.ref_id >= 0)[:, :, None] & result.active[:, None], angles, np.inf)
    slot = assign(angles)
    found = np.full(slot.shape, np.nan)
    there = slot >= 0
    found[there] = angles[(*np.nonzero(there), slot[there])]
    return found


def moving_events(result):
    """(T, M) bool: references of events that move; an event ends at a pause."""
    events = periods(result.ref_id)
    moving = np.zeros(events.shape, bool)
    for event in range(events.max(initial=-1) + 1):
        cells = events == event
        directions = result.ref_doa[cells]
        moving[cells] = angular_distance(directions, directions[:1]).max() >= MOVING_DEG
    return moving


def closest_references(result):
    """(T,) smallest angle between two references of a frame; NaN where there are fewer than two."""
    angles = pairwise_angles(result.ref_doa, result.ref_doa)
    there = result.ref_id >= 0
    other = there[:, :, None] & there[:, None] & ~np.eye(there.shape[1], dtype=bool)
    least = np.where(other, angles, np.inf).min((1, 2))
    return np.where(np.isfinite(least), least, np.nan)


def source_figures(counts):
    """Scores of references: LE of those that are paired, share that is paired (LR), share paired within the gate."""
    percent = 100 / counts["references"] if counts["references"] else np.nan
    return {"LE": counts["angle"] / counts["pairs"] if counts["pairs"] else np.nan,
            "LR": percent * counts["pairs"], "recall@20": percent * counts["hits"]}


def _of_recording(result, whole):
    if result.room is not None:
        yield ("room", str(result.room)), whole
    overlap = result.overlap if result.overlap is not None else int((result.ref_id >= 0).sum(1).max(initial=0))
    yield ("overlap", str(overlap)), whole


def _frames(result):
    count = (result.ref_id >= 0).sum(1)
    for number in range(1, count.max(initial=0) + 1):
        yield ("sources at once", str(number)), count == number
    closest = closest_references(result)
    for low, high in itertools.pairwise(DISTANCES_DEG):
        upper = closest <= high if high == DISTANCES_DEG[-1] else closest < high
        yield ("distance", f"{low}-{high}°"), (closest >= low) & upper


def _of_sources(result):
    angles, moving, there = paired_angles(result), moving_events(result), result.ref_id >= 0
    parts = [(("motion", "moving"), moving), (("motion", "static"), ~moving)]
    if result.ref_distance is not None:
        for low, high in itertools.pairwise(RANGES_M):
            name = f"{low}-{high} m" if np.isfinite(high) else f"{low} m and more"
            parts.append((("range", name), (result.ref_distance >= low) & (result.ref_distance < high)))
    if result.ref_class is not None:
        parts += [(("class", str(number)), result.ref_class == number) for number in np.unique(result.ref_class[there])]
    for key, cells in parts:
        cells = cells & there
        if cells.any():
            own = angles[cells]
            yield key, {"references": len(own), "angle": np.nansum(own), "hits": np.sum(own <= GATE_DEG),
                        "pairs": np.count_nonzero(np.isfinite(own))}


def _natural(key):
    """Breakdowns in their ORDER, and room '10' after room '9'."""
    breakdown, group = key
    return ORDER.index(breakdown), [(not word.isdigit(), int(word) if word.isdigit() else 0, word)
                                    for word in re.split(r"(\d+)", group)]
