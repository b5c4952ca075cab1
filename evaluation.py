"""Systems → tracks → scores with intervals, breakdowns, comparisons.

A system is whatever localizes the recordings of a set: a checkpoint, a folder of CSVs in DCASE format that any
program wrote, or a classical yardstick. All are scored alike, over the label frames of the references. References
are Tracks of T label frames without predictions; a system fills those in.
"""

from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from cls_data_generator import SequenceDataset, make_loader
from cls_feature_class import FeatureClass
from cls_metric import FAMILIES, FrameScores, Scores, figures
from doatools.data import annotations
from doatools.data.annotations import assign_slots, count_overlap, read_dcase
from doatools.data.readers import recordings_for
from doatools.errors import UserError
from doatools.report.breakdowns import break_down
from doatools.report.intervals import compare, jackknife, total
from doatools.spatial.geometry import azimuth_elevation
from doatools.track import baselines as yardsticks
from doatools.track.trackers import link
from doatools.train.loop import make_fabric
from localizer import Track, open_checkpoint
from trainer import find_tracks

CLASS = 0  # of a prediction in a CSV: sources are localized, not classified


# --- references --------------------------------------------------------------------------------------------

def references_of_dataset(params):
    """References of the test recordings, padded or cut to max_audio_len_s as in training."""
    features = FeatureClass(params)
    return [_reference(r.stem, features.labels(r), features.nb_annotation_frames, r.room, r.overlap)
            for r in recordings_for(params, "test")]


def references_of_folder(folder, predictions, n_frames=None):
    """References of a folder of CSVs; T is ``n_frames``, or the last frame that a reference or its prediction names."""
    references = []
    for stem, path in _csvs(folder).items():
        rows, other = read_dcase(path, n_frames), Path(predictions) / path.name
        last = max(rows["frame"].max(initial=0), read_dcase(other)["frame"].max(initial=0) if other.is_file() else 0)
        match = annotations.TAU_NAME.match(stem)
        references.append(_reference(stem, rows, n_frames or last + 1, match["room"] if match else None))
    return references


def _reference(stem, rows, n_frames, room=None, overlap=None):
    doa, event = assign_slots(rows, n_frames, max(1, count_overlap(rows)))
    return Track(stem, np.zeros((n_frames, 0, 3)), np.zeros((n_frames, 0)), doa, event, None, room, overlap)


def _csvs(folder):
    """{stem: path} of the CSVs of a folder."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder of CSVs (one a recording, named as the recording is)")
    found = {path.stem: path for path in sorted(Path(folder).glob("*.csv")) if not path.name.startswith(".")}
    if not found:
        raise UserError(f"{folder} holds no CSV")
    return found


# --- systems -----------------------------------------------------------------------------------------------

def by_checkpoint(path, overrides):
    """What a trained model finds in its test recordings, linked as its parameters say → (tracks, parameters)."""
    localizer, precision = open_checkpoint(path, overrides)
    tracks, _ = predict(localizer, precision)
    return [linked(track, localizer.params) for track in tracks], localizer.params


def predict(localizer, precision):
    """Predictions of every test recording → (list of Track, the data set)."""
    params = localizer.params
    dataset = SequenceDataset(params, "test", scaler=localizer.scaler)
    fabric = make_fabric(params, precision if params["device"] == "auto" else None)
    return find_tracks(fabric, localizer.model, make_loader(dataset, params, train=False)), dataset


def by_csvs(folder, references, params=None):
    """Tracks of a folder of CSVs; identities are its (class, track id), or made anew as ``params`` say."""
    paths, stems = _csvs(folder), {reference.stem for reference in references}
    missing, unknown = sorted(stems - paths.keys()), sorted(paths.keys() - stems)
    if missing:
        raise UserError(f"{Path(folder) / missing[0]}.csv does not exist ({len(missing)} of {len(references)} "
                        "recordings have no predictions); a recording without any source is an empty file. Predictions "
                        "of a test fold alone are scored by dataset_dir=... in place of --references")
    if unknown:
        raise UserError(f"{paths[unknown[0]]}: there is no reference of that name ({len(unknown)} such files); "
                        "take them away, or give the references of all recordings")
    tracks = []
    for reference in references:
        rows = read_dcase(paths[reference.stem], len(reference.ref_id))
        doa, event = assign_slots(rows, len(reference.ref_id), max(1, count_overlap(rows)))
        number = np.full(rows["event"].max(initial=-1) + 2, -1)  # the last one is for event -1
        number[rows["event"]] = np.unique(rows[["class", "track"]], return_inverse=True)[1]
        track = reference._replace(doa=doa, probability=(event >= 0).astype(float), pred_id=number[event])
        tracks.append(linked(track, params) if params else track)
    return tracks


def by_yardstick(kind, params, references, jobs=1):
    """What a classical localizer finds in the test recordings, linked as the parameters say."""
    params = params | {"dataset": yardsticks.DATASETS[kind]}
    recordings = {recording.stem: recording for recording in recordings_for(params, "test")}
    absent = [reference.stem for reference in references if reference.stem not in recordings]
    if absent:
        raise UserError(f"{kind} reads {params['dataset']} recordings, and {params['dataset_dir']} has none of "
                        f"'{absent[0]}' ({len(absent)} in all)")
    tasks = (joblib.delayed(_localize)(kind, params, recordings[reference.stem].audio) for reference in references)
    found = tqdm(joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks), desc=kind, total=len(references),
                 unit="recording", leave=False)
    tracks = []
    for reference, (doa, active) in zip(references, found):
        doa, active = (_fit(array, len(reference.ref_id)) for array in (doa, active))
        tracks.append(linked(reference._replace(doa=doa, probability=active.astype(float)), params))
    return tracks


def _localize(kind, params, audio):
    features = FeatureClass(params)
    return yardsticks.localize(kind, features.read_audio(audio, features.max_samples), params["fs"],
                               params["annotation_hop_len_s"], params["max_sources"])


def _fit(array, length):
    """The first ``length`` rows, zeros where there are fewer."""
    return np.concatenate([array[:length], np.zeros((max(0, length - len(array)), *array.shape[1:]), array.dtype)])


def linked(track, params):
    """A track with the identities that the parameters' tracker makes."""
    return track._replace(pred_id=link(
        track.doa, track.active, params["tracker"], params["tracker_gate_deg"], params["tracker_max_gap"],
        params["tracker_process_deg"], params["tracker_measurement_deg"]))


def write_csvs(folder, tracks, hop_s=0.1):
    """Predictions as CSVs in DCASE format, one a recording; the track id is the identity.

    UserError where frames do not last the 100 ms of the format.
    """
    if abs(hop_s - 0.1) > 1e-9:
        raise UserError(f"CSVs in DCASE format have frames of 100 ms, and these answers are {1000 * hop_s:g} ms apart")
    for track in tqdm(tracks, unit="file", leave=False):
        frames, slots = np.nonzero(track.active)
        azimuth, elevation = azimuth_elevation(track.doa[frames, slots])
        identity = slots if track.pred_id is None else track.pred_id[frames, slots]
        annotations.write_dcase(Path(folder) / f"{track.stem}.csv", [
            {"frame": row[0], "class": CLASS, "track": row[1], "azimuth": row[2], "elevation": row[3]}
            for row in zip(frames, identity, azimuth, elevation)])


# --- scores ------------------------------------------------------------------------------------------------

def counts_of(track, has_activity=True, hop_s=0.1, families=FAMILIES):
    """Counts of one recording, whose label frames last hop_s."""
    scores = Scores(has_activity, families=families, segment_frames=max(1, round(1 / hop_s)))
    scores.update(track.doa, track.active, track.ref_doa, track.ref_id, track.pred_id)
    return scores.counts


def frame_counts_of(track, has_activity=True):
    """Counts of the figures that look at each frame for itself."""
    return counts_of(track, has_activity, families=(FrameScores,))


def evaluate_tracks(tracks, hop_s=0.1):
    """Everything told of a system: figures with intervals, of groups, and of each recording."""
    has_activity = all(track.probability is not None for track in tracks)
    counts = [counts_of(track, has_activity, hop_s) for track in tracks]
    return {
        "recordings": len(tracks), "frames": sum(len(track.ref_id) for track in tracks),
        "figures": jackknife(figures, counts),
        "breakdowns": break_down(tracks, counts, lambda track: frame_counts_of(track, has_activity), figures),
        "confusion": confusion(counts),
        "per_recording": {track.stem: figures(own) for track, own in zip(tracks, counts)},
    }


def confusion(counts):
    """Label frames by number of sources: rows references, columns predictions, as far as either goes."""
    frames = total(counts)["frame/confusion"]
    size = 1 + max(np.flatnonzero(frames.any(1) | frames.any(0)), default=0)
    return frames[:size, :size].astype(int).tolist()


def compare_tracks(tracks, others, hop_s=0.1):
    """Figures of two systems on the same recordings → {name: Comparison}."""
    by_stem = {track.stem: track for track in others}
    if by_stem.keys() != {track.stem for track in tracks}:
        different = sorted(by_stem.keys() ^ {track.stem for track in tracks})
        raise UserError(f"the two systems were tested on different recordings (first: {different[0]})")
    others = [by_stem[track.stem] for track in tracks]
    for track, other in zip(tracks, others):
        if not (np.array_equal(track.ref_id, other.ref_id) and np.array_equal(track.ref_doa, other.ref_doa)):
            raise UserError(f"{track.stem}: the two systems were tested against different references")
    both = all(track.probability is not None for track in (*tracks, *others))
    return compare(figures, *([counts_of(track, both, hop_s) for track in system] for system in (tracks, others)))
