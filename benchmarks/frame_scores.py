"""The frame scores (LE, LR, LP, LF, MOTA', F20, DOA errors, counting) of 100 recordings of a minute, two slots each."""

import time

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.measure import median_seconds
from cls_metric import FrameScores
from doatools.spatial.geometry import angular_distance, unit_vectors


def make_recordings(recordings=100, frames=600, seed=0):
    """(doa, active, ref_doa, ref_id) of each: predictions about 8° off, everything silent 30 % of the time."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(recordings):
        azimuth, elevation = rng.uniform(-180, 180, (frames, 2)), rng.uniform(-45, 45, (frames, 2))
        off = rng.normal(0, 6, (2, frames, 2))
        active, present = rng.random((2, frames, 2)) > 0.3
        made.append((unit_vectors(azimuth + off[0], elevation + off[1]), active,
                     unit_vectors(azimuth, elevation), np.where(present, [0, 1], -1)))
    return made


def plain_frame_scores(recordings, gate=20.0):
    """The same figures frame by frame, by their definitions."""
    angles, frame_means, right = [], [], {}
    predicted = references = common = miscounted = onsets = counted = frames = 0
    for doa, active, ref_doa, ref_id in recordings:
        before = np.zeros(active.shape[1], bool)
        for t in range(len(doa)):
            there = ref_id[t] >= 0
            cost = angular_distance(doa[t, active[t]][:, None], ref_doa[t, there][None])
            matched = cost[linear_sum_assignment(cost)]
            angles.extend(matched)
            if len(matched):
                frame_means.append(matched.mean())
            n_pred, n_ref = active[t].sum(), there.sum()
            predicted, references, frames = predicted + n_pred, references + n_ref, frames + 1
            common, miscounted = common + min(n_pred, n_ref), miscounted + abs(n_pred - n_ref)
            onsets, before = onsets + (active[t] & ~before).sum(), active[t]
            counted += n_pred == n_ref
            right.setdefault(n_ref, []).append(n_pred == n_ref)
    hits = sum(angle <= gate for angle in angles)
    return {
        "LE": np.mean(angles), "LR": 100 * common / references, "LP": 100 * common / predicted,
        "LF": 200 * common / (predicted + references), "MOTA'": 100 * (1 - (miscounted + onsets) / references),
        "F20": 200 * hits / (predicted + references), "DOA error 2019": sum(angles) / predicted,
        "DOA error": np.mean(frame_means), "frame recall": 100 * counted / frames,
        "count accuracy": 100 * np.mean([np.mean(of_count) for of_count in right.values()])}


def frame_scores(recordings):
    scores = FrameScores()
    for recording in recordings:
        scores.update(*recording)
    return scores.compute()


def measure(side, recordings=100):
    """Median seconds to score all of them on one core."""
    made = make_recordings(recordings)
    score, turns = (plain_frame_scores, 1) if side == "plain" else (frame_scores, 11)
    return median_seconds(lambda: score(made), turns, warm_up=0, clock=time.process_time)
