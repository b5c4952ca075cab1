"""How well do the vectors of features point at sources, before any training? Several arrays in the same rooms.

Per array and feature set: the median angle between a label frame's summed vector and its single source (summed), and
that of the longest fifth of the vectors of single bands and feature frames to the nearest source, with one source and
with two (bands). Label frames within QUIET_DB of the loudest one count. Azimuths only for planar arrays. Each feature
set is represented by its last triple of vectors.

    python3 benchmarks/array_vectors.py [--arrays uma8,mic,...] [--scenes 2] [--seconds 8]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cls_feature_class import build_features
from doanet_parameters import get_params
from doatools.simulate import scenes
from doatools.simulate.rooms import Renderer
from doatools.simulate.sounds import GeneratedSounds
from doatools.spatial import steered
from doatools.spatial.arrays import find_array
from doatools.spatial.geometry import angular_distance, unit_vectors

QUIET_DB = 15.0
# Title: (features, NOISE of the steered response).
DESIGNS = {"gradient (features=vectors)": ("vectors", None),
           "steered, without the diffuse field": ("steered", 1e3),
           "steered (features=steered)": ("steered", steered.NOISE)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", default="uma8,matrix_creator,mic,cube8,irregular5")
    parser.add_argument("--scenes", type=int, default=2, help="of one source, and of two")
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    arrays = [find_array(name) for name in args.arrays.split(",")]
    recorded = [record(arrays, sources, number, args) for sources in (1, 2) for number in range(args.scenes)]
    rows = []
    for title, (features, noise) in DESIGNS.items():
        steered.NOISE = noise
        for number, array in enumerate(arrays):
            config = get_params("24", array=array.name, features=features)
            found = [errors(config, channels[number], rows_of, sources) for channels, rows_of, sources in recorded]
            summed = np.concatenate([one[0] for one in found if one[2] == 1])
            bands = [np.concatenate([one[1] for one in found if one[2] == sources]) for sources in (1, 2)]
            rows.append([title, array.name, *(f"{np.median(values):.1f}°" for values in (summed, *bands))])
    print("| vectors | array | summed | bands, one source | bands, two sources |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def record(arrays, sources, number, args):
    """A scene at all arrays: [channels (samples, M)], EVENT_ROWS, and how many sources it has at once."""
    config = get_params(max_sources=sources, sim_recording_len_s=args.seconds, seed=77, sim_rooms_per_fold=args.scenes)
    sounds, rules = GeneratedSounds(77, config.features.fs), scenes.rules_of(config)
    scene = scenes.compose(rules, 1, 2 * number, sounds.classes(1))
    signals = scenes.render(scene, sounds, Renderer(arrays, config.features.fs))
    ends = np.cumsum([array.channels for array in arrays])[:-1]
    return [own.T for own in np.split(signals, ends)], scene.labels(), sources


def errors(config, audio, rows, sources):
    """Angles of summed vectors and of the longest fifth of single ones, in label frames with ``sources`` sources."""
    features, array = build_features(config), config.array
    flat = np.array([1, 1, 0]) if array.planar else np.ones(3)
    first, ratio, size = features.kind.vectors[-1], features.ratio, features.nb_bands
    found = features.as_channels(features.extract(audio.astype(np.float32)))[[first + 2, first, first + 1]]  # x, y, z
    found = found[:, : found.shape[1] // ratio * ratio].reshape(3, -1, ratio * size).transpose(1, 2, 0) * flat
    power = (audio[: len(found) * ratio * features.hop] ** 2).reshape(len(found), -1).sum(1)
    summed, bands = [], []
    for frame in np.flatnonzero(power > 10 ** (-QUIET_DB / 10) * power.max()):
        own, vectors = rows[rows["frame"] == frame], found[frame]
        if len(own) != sources:
            continue
        truth = unit_vectors(own["azimuth"], own["elevation"]) * flat
        truth /= np.linalg.norm(truth, axis=1, keepdims=True)
        longest = vectors[np.argsort(-np.linalg.norm(vectors, axis=1))[: len(vectors) // 5]]
        bands.append(np.min([angular_distance(_unit(longest), one) for one in truth], axis=0))
        summed += [] if sources > 1 else [angular_distance(_unit(vectors.sum(0)), truth[0])]
    return np.array(summed), np.concatenate(bands), sources


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
