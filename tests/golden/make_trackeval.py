"""Make trackeval.npz: random scenes and what TrackEval (Luiten et al., MIT) scores them, recording by recording.

TrackEval is no requirement of this project; it is installed for this script alone, and the file is kept:

    python3 -m venv /tmp/trackeval && /tmp/trackeval/bin/pip install trackeval==1.3.0
    /tmp/trackeval/bin/python tests/golden/make_trackeval.py

Scenes are stored as hundredths of degrees, azimuth and elevation (frames, slots, 2), all scenes end to end and padded
to WIDTH slots; an identity of -1 is an inactive slot. ``length`` holds the number of frames of each scene.
"""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from trackeval.metrics import CLEAR, HOTA, Identity

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from doatools.spatial.geometry import angular_distance, unit_vectors  # noqa: E402

SCENES = 300
WIDTH = 4  # slots
GATE = 20.0
KINDS = ("wander", "close", "crossing", "swaps", "gaps", "crowd", "no predictions", "no references", "silence")
SHARE = (0.2, 0.2, 0.15, 0.15, 0.12, 0.1, 0.03, 0.03, 0.02)
TAKEN = {
    CLEAR: ("CLR_TP", "CLR_FP", "CLR_FN", "IDSW", "Frag", "MT", "PT", "ML", "MOTP_sum", "MOTA"),
    Identity: ("IDTP", "IDFP", "IDFN", "IDF1", "IDP", "IDR"),
    HOTA: ("HOTA_TP", "HOTA_FP", "HOTA_FN", "HOTA", "DetA", "AssA"),
}


def make_scene(kind, rng):
    """Hundredths of degrees (T, WIDTH, 2) and identities (T, WIDTH) of references, then the same of predictions."""
    frames = int(rng.integers(1, 70))
    sources = WIDTH if kind == "crowd" else int(rng.integers(1, WIDTH))
    apart = {"close": 12, "crowd": 20, "crossing": 0}.get(kind, 60)
    place = rng.uniform(-180, 180) + apart * np.arange(sources) + rng.uniform(-8, 8, sources)
    speed = rng.uniform(-3, 3, sources) * (kind in ("crossing", "wander", "crowd"))
    time = np.arange(frames)[:, None]
    azimuth = place + speed * (time - frames / 2)
    elevation = np.clip(rng.uniform(-50, 50) + rng.normal(0, 5, sources) + 0 * azimuth, -80, 80)
    alive = lives(frames, sources, rng, pieces=1 if kind == "crossing" else 2)
    heard = alive & ~holes(frames, sources, rng, share=0.3 if kind == "gaps" else 0.05)
    noise = rng.choice([1, 6, 12], p=[0.3, 0.4, 0.3])
    seen = np.stack([azimuth, elevation], -1) + rng.normal(0, noise, (frames, sources, 2))
    seen, heard, name = with_ghosts(seen, heard, rng)
    if kind == "swaps":
        for at in np.flatnonzero(rng.random(frames) < 0.1):
            name[at:] = name[at:, rng.permutation(WIDTH)]
    alive &= kind not in ("no references", "silence")
    heard &= kind not in ("no predictions", "silence")
    padded = np.zeros((frames, WIDTH, 2))
    padded[:, :sources] = np.stack([azimuth, elevation], -1)
    ref_id = np.full((frames, WIDTH), -1)
    ref_id[:, :sources] = np.where(alive, np.arange(sources), -1)
    pred_id = np.where(heard, name, -1)
    for t in range(frames):  # which slot a source takes means nothing
        for values, ids in ((padded, ref_id), (seen, pred_id)):
            order = rng.permutation(WIDTH)
            values[t], ids[t] = values[t, order], ids[t, order]
    return hundredths(padded), ref_id, hundredths(seen), pred_id


def lives(frames, sources, rng, pieces):
    """(T, sources) bool: each source sounds in up to ``pieces`` stretches of the scene."""
    alive = np.zeros((frames, sources), bool)
    for source in range(sources):
        for _ in range(rng.integers(1, pieces + 1)):
            first, last = np.sort(rng.integers(0, frames + 1, 2))
            alive[first:last + 1, source] = True
    return alive


def holes(frames, sources, rng, share):
    """(T, sources) bool: frames that the system misses, in runs."""
    return np.repeat(rng.random((frames // 3 + 1, sources)) < share, 3, axis=0)[:frames]


def with_ghosts(seen, heard, rng):
    """Fill the free slots: predictions of nothing, near a source or anywhere, each with a name of its own."""
    frames, sources = heard.shape
    ghosts = WIDTH - sources
    where = seen[:, rng.integers(0, sources, ghosts)] + rng.normal(0, rng.choice([10, 60]), (ghosts, 2))
    there = np.repeat(rng.random((frames // 4 + 1, ghosts)) < 0.3, 4, axis=0)[:frames]
    name = np.tile(np.arange(WIDTH), (frames, 1))
    half = int(rng.integers(0, frames + 1))
    name[half:] += np.where(rng.random(WIDTH) < 0.3, WIDTH, 0)  # some tracks are broken in two
    return np.concatenate([seen, where], 1), np.concatenate([heard, there], 1), name


def hundredths(degrees):
    azimuth = (degrees[..., 0] + 180) % 360 - 180
    return np.round(100 * np.stack([azimuth, np.clip(degrees[..., 1], -90, 90)], -1)).astype(np.int16)


def scored(scene):
    """{metric: result of TrackEval} of a scene."""
    ref, ref_id, pred, pred_id = scene
    ref_doa, doa = (unit_vectors(values[..., 0] / 100, values[..., 1] / 100) for values in (ref, pred))
    data = {"num_timesteps": len(ref), "gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    names = [np.unique(ids[ids >= 0]) for ids in (ref_id, pred_id)]
    for t in range(len(ref)):
        there, heard = ref_id[t] >= 0, pred_id[t] >= 0
        data["gt_ids"].append(np.searchsorted(names[0], ref_id[t, there]))
        data["tracker_ids"].append(np.searchsorted(names[1], pred_id[t, heard]))
        angles = angular_distance(ref_doa[t, there][:, None], doa[t, heard][None])
        data["similarity_scores"].append(np.maximum(0, 1 - angles / (2 * GATE)))
    for side, ids, name in (("gt", ref_id, names[0]), ("tracker", pred_id, names[1])):
        data[f"num_{side}_ids"], data[f"num_{side}_dets"] = len(name), np.count_nonzero(ids >= 0)
    return {metric: metric().eval_sequence(data) for metric in TAKEN}


def main():
    rng = np.random.default_rng(0)
    scenes = [make_scene(kind, rng) for kind in rng.choice(KINDS, SCENES, p=SHARE)]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its settings
        results = [scored(scene) for scene in scenes]
        combined = {metric: metric().combine_sequences({str(k): r[metric] for k, r in enumerate(results)})
                    for metric in TAKEN}
    arrays = {name: np.concatenate([scene[k] for scene in scenes]).astype(np.int16 if k in (0, 2) else np.int8)
              for k, name in enumerate(("ref", "ref_id", "pred", "pred_id"))}
    for metric, names in TAKEN.items():
        for name in names:
            arrays[name] = np.array([np.asarray(result[metric][name], float) for result in results])
            arrays[f"all {name}"] = np.asarray(combined[metric][name], float)
    path = Path(__file__).with_name("trackeval.npz")
    np.savez_compressed(path, length=[len(scene[0]) for scene in scenes], **arrays)
    print(f"{path}: {SCENES} scenes, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
