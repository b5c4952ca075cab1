"""Scores of systems on a set of recordings: with intervals, by parts of the set, and compared with another system.

A system is whatever localizes the recordings: a checkpoint, a folder of CSVs in DCASE format that any program wrote,
or a classical baseline. All are scored alike, over the frames of the references. References are Results without
predictions, to which a system adds its own. For planar arrays, the elevations of both are folded into the upper half.
"""

import sys
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from cls_feature_class import FeatureFiles
from cls_metric import FrameScores, Scores, figures
from doatools.cluster import results_of
from doatools.data import dcase
from doatools.data.dcase import read_dcase
from doatools.data.readers import reader_of, recordings_for
from doatools.data.slots import assign_slots, at_slots, classes_and_distances, count_overlap
from doatools.errors import UserError
from doatools.files import list_files
from doatools.registry import BASELINES
from doatools.report.breakdowns import break_down
from doatools.report.intervals import compare, jackknife, total
from doatools.spatial.geometry import azimuth_elevation
from doatools.track.identities import numbers_of
from doatools.track.rows import TRACK_ROWS, at_frames
from doatools.track.slots import settled
from doatools.track.trackers import link
from doatools.types import Predictions, Result

TOGETHER = 8  # sequences that an exported network predicts at once


# --- references ------------------------------------------------------------------------------------------------

def references_of_dataset(config, role="test"):
    """References of the recordings of a Config that have a role."""
    files, references = FeatureFiles(config), []
    for recording in recordings_for(config, role):
        samples = files.feature_class_of(recording).inspect_audio(recording)
        references.append(_reference(recording.stem, files.read_labels(recording, samples), files.score_frames(samples),
                                     recording.room, recording.overlap))
    return references


def references_of_folder(folder, predictions, n_frames=None, array=None):
    """References from a folder of CSVs, which have ``n_frames`` frames each, or up to the last frame that a reference
    or its prediction names."""
    references, others = [], _csvs(predictions)
    for stem, path in _csvs(folder).items():
        rows = read_dcase(path, n_frames, shared_ids=True)
        last = max(rows["frame"].max(initial=0),
                   read_dcase(others[stem], shared_ids="any")["frame"].max(initial=0) if stem in others else 0)
        match = dcase.TAU_NAME.match(stem)
        reference = _reference(stem, rows, n_frames or last + 1, match["room"] if match else None)
        references.append(reference.replaced(ref_doa=array.folded(reference.ref_doa)) if array else reference)
    return references


def _reference(stem, rows, n_frames, room=None, overlap=None):
    doa, event = assign_slots(rows, n_frames, max(1, count_overlap(rows)))
    identity = numbers_of(rows, event)
    nothing = Predictions(np.zeros((n_frames, 0, 3)), np.zeros((n_frames, 0)))
    return Result(stem, nothing, doa, identity, None, room, overlap, **classes_and_distances(rows, event))


def _csvs(folder):
    """{stem: path} of the CSVs in a folder."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder of CSVs (one per recording, of the same name)")
    found = list_files(folder, ".csv")
    if not found:
        raise UserError(f"{folder} holds no CSV")
    return found


# --- systems ---------------------------------------------------------------------------------------------------

def by_checkpoint(path, overrides, any_array=None):
    """The Results of a trained model on its test recordings, linked by the tracker of its parameters, and its
    Config; ``any_array``: the array of a model that reads any, unless ``overrides`` state it."""
    from localizer import open_checkpoint  # imports PyTorch, which CSVs and baselines do not need
    localizer, precision = open_checkpoint(path, overrides, any_array)
    results, _ = predict(localizer, precision)
    return [linked(result, localizer.config.tracker) for result in results], localizer.config


def by_exported(path, overrides, any_array=None):
    """The same of an exported network (.onnx), in ONNX Runtime: without PyTorch, and without extracted features."""
    from inference import OnnxLocalizer
    localizer = OnnxLocalizer(path, any_array, **overrides)
    config = localizer.config
    files, results = FeatureFiles(config), []
    references = references_of_dataset(config)
    for recording, reference in zip(tqdm(recordings_for(config, "test"), unit="file", leave=False), references):
        made = files.feature_class_of(recording)
        samples = made.inspect_audio(recording)
        audio = made.read_audio(recording, files.samples_used(samples))
        features = made.extract(made.padded(audio, files.label_frames(samples)))
        found = settled(_in_sequences(localizer, features), made.array, config.tracker.duplicate_deg,
                        config.labels_per_score)
        found.refuse_not_finite()
        results.append(linked(reference.replaced(predictions=found), config.tracker))
    return results, config


def by_localizer(localizer, role="test"):
    """The Results of what localize.py predicts, before tracking, for the recordings of a role of the localizer's
    Config: with test-time rotation and overlapping windows; of drawn arrays, each recording with its own."""
    from inference import localize_blocks, with_rotated_copies
    config = localizer.config
    own = None if config.array.drawn else with_rotated_copies(localizer)
    files, results = FeatureFiles(config), []
    references = references_of_dataset(config, role)
    for recording, reference in zip(tqdm(recordings_for(config, role), unit="file", leave=False), references):
        audio = files.feature_class_of(recording).read_audio(recording)
        answering = own or with_rotated_copies(localizer.reading(recording.array))
        found = [part.predictions for part in localize_blocks(answering, [audio.astype(np.float32)])]
        found = settled(Predictions.join(found), answering.config.array, config.tracker.duplicate_deg,
                        config.labels_per_score)
        frames = min(len(found), len(reference.ref_doa))
        results.append(reference.frames(slice(frames)).replaced(predictions=found.frames(slice(frames))))
    return results


def _in_sequences(localizer, features):
    """Features (T', C*F) of a recording → Predictions (T, N, ...), in sequences as long as those of training."""
    made, length = localizer.features, localizer.config.batches.label_sequence_length
    frames = len(features) // made.ratio
    count = -(-frames // length)
    padded = np.zeros((count * length * made.ratio, features.shape[1]), np.float32)
    padded[: len(features)] = localizer.scaler.apply(features)
    sequences = made.as_channels(padded.reshape(count, length * made.ratio, -1))
    found = [localizer.predict(sequences[first : first + TOGETHER]) for first in range(0, count, TOGETHER)]
    return Predictions.join(part.sequence(number) for part in found for number in range(len(part.doa))).frames(
        slice(frames))


def predict(localizer, precision):
    """The Results of a Localizer on its test recordings, and the SequenceDataset of these."""
    from cls_data_generator import SequenceDataset, make_loader
    from doatools.train.loop import make_fabric
    from trainer import find_results
    config = localizer.config
    dataset = SequenceDataset(config, "test", scaler=localizer.scaler)
    fabric = make_fabric(config.device, precision if config.device.device == "auto" else None)
    results = find_results(fabric, localizer.model, make_loader(dataset, config, train=False))
    for result in results:
        result.predictions.refuse_not_finite()
    return results, dataset


def by_csvs(folder, references, tracker=None, array=None):
    """Results of a folder of CSVs; identities are its (class, track id), or those of the tracker of a TrackerConfig.

    Several lines of one class with track id 0 in a frame are separate sources, in the order of lines: result files of
    the DCASE challenges have track id 0 throughout. With a tracker, so are those with any track id.
    """
    paths, stems = _csvs(folder), {reference.stem for reference in references}
    missing, unknown = sorted(stems - paths.keys()), sorted(paths.keys() - stems)
    if missing:
        raise UserError(f"{Path(folder) / missing[0]}.csv does not exist ({len(missing)} of {len(references)} "
                        "recordings have no predictions); a recording without any source is an empty file. To score "
                        "predictions of the test fold only, give dataset_dir=... instead of --references")
    if unknown:
        raise UserError(f"{paths[unknown[0]]}: there is no reference of that name ({len(unknown)} such files); "
                        "remove them, or give the references of all recordings")
    vectors = sum(dcase.holds_vectors(dcase.text_lines(path)) for path in paths.values())
    if vectors:
        print(f"{folder}: columns 4 to 6 of {vectors} files are x, y, z, read as directions", file=sys.stderr)
    rows = (read_dcase(paths[reference.stem], len(reference.ref_id), "any" if tracker else True)
            for reference in references)
    return [_by_rows(reference, own, tracker, array) for reference, own in zip(references, rows)]


def _by_rows(reference, rows, tracker, array):
    """A reference with predictions in EVENT_ROWS."""
    doa, event = assign_slots(rows, len(reference.ref_id), max(1, count_overlap(rows)))
    doa = array.folded(doa) if array else doa
    result = reference.replaced(predictions=Predictions(doa, (event >= 0).astype(float)),
                                pred_id=numbers_of(rows, event), pred_class=at_slots(rows, event, "class", -1))
    return linked(result, tracker) if tracker else result


def by_folder(folder, config, references, tracker=None):
    """Results of a folder of predictions for a dataset: CSVs, or in the dataset's own format for submissions (LOCATA).

    Of a submission, recordings without predictions are left out if it has none for their whole task.
    """
    reader = reader_of(config)
    if not (hasattr(reader, "submitted") and reader.submitted(folder)):
        return by_csvs(folder, references, tracker, config.array)
    recordings, results, without = {r.stem: r for r in recordings_for(config, "test")}, [], []
    for reference in references:
        rows = reader.read_submission(folder, recordings[reference.stem], len(reference.ref_id))
        if rows is None:
            without.append(reference.stem)
        else:  # LOCATA's talkers are not told apart by class
            result = _by_rows(reference, rows, tracker, config.array)
            results.append(result.replaced(pred_class=None, ref_class=None))
    tasks = {result.stem.rpartition("_")[0] for result in results}
    partly = [stem for stem in without if stem.rpartition("_")[0] in tasks]
    if not results:
        raise UserError(f"{folder} has no predictions for any of {len(references)} test recordings")
    if partly:
        raise UserError(f"{folder} has no predictions for {partly[0]} ({len(partly)} in all), but for others of its "
                        "task; a recording without any source is a file source_1.txt with azimuths NaN")
    if without:
        print(f"{folder} has predictions for {len(results)} of {len(references)} recordings; the other tasks are left "
              "out")
    return results


def by_baseline(name, config, references, jobs=1):
    """Results of a classical baseline on the test recordings, linked by the tracker of the Config."""
    recordings = {recording.stem: recording for recording in recordings_for(config, "test")}
    absent = [reference.stem for reference in references if reference.stem not in recordings]
    if absent:
        raise UserError(f"{name} reads recordings of array={config.array.name}, and {config.data.dataset_dir} has none "
                        f"of '{absent[0]}' ({len(absent)} in all)")
    files = FeatureFiles(config)
    tasks = (joblib.delayed(_localize)(name, files, recordings[reference.stem]) for reference in references)
    found = tqdm(results_of(tasks, jobs), desc=name, total=len(references), unit="recording", leave=False)
    results = []
    for reference, (doa, active) in zip(references, found):
        doa, active = (_fit(array, len(reference.ref_id)) for array in (doa, active))
        results.append(linked(reference.replaced(predictions=Predictions(doa, active.astype(float))), config.tracker))
    return results


def _localize(name, files, recording):
    data, made = files.config.data, files.feature_class_of(recording)
    baseline = BASELINES[name](made.array, made.fs, files.config.score_hop_s)
    samples = round(data.max_audio_len_s * made.fs) if data.max_audio_len_s else -1
    return baseline(made.read_audio(recording, samples), data.max_sources)


def _fit(array, length):
    """The first ``length`` rows, padded with zeros."""
    return np.concatenate([array[:length], np.zeros((max(0, length - len(array)), *array.shape[1:]), array.dtype)])


def linked(result, tracker):
    """A Result with the identities that the tracker of a TrackerConfig assigns."""
    return result.replaced(pred_id=link(result.predictions, tracker))


def write_csvs(folder, results, hop_s):
    """Write Results with frames of hop_s as CSVs in DCASE format, whose frames are 100 ms; the track id is the
    identity."""
    for result in tqdm(results, unit="file", leave=False):
        frames, slots = np.nonzero(result.active)
        rows = np.zeros(len(frames), TRACK_ROWS)
        rows["frame"] = frames
        rows["track"] = slots if result.pred_id is None else result.pred_id[frames, slots]
        rows["azimuth"], rows["elevation"] = azimuth_elevation(result.doa[frames, slots])
        rows = at_frames(rows, hop_s, dcase.FRAME_S, len(result.active) * hop_s)
        dcase.write_dcase(Path(folder) / f"{result.stem}.csv", rows)


# --- scores ------------------------------------------------------------------------------------------------

def counts_of(result, has_activity=True, hop_s=0.1, only=None):
    """Counts of one Result with frames of hop_s."""
    scores = Scores(has_activity, only=only, segment_frames=max(1, round(1 / hop_s)))
    try:
        scores.update_result(result)
    except UserError as error:
        raise UserError(f"{result.stem}: {error}") from None
    return scores.counts


def frame_counts_of(result, has_activity=True):
    """Counts of the scores that treat each frame by itself."""
    return counts_of(result, has_activity, only=(FrameScores,))


def evaluate_results(results, hop_s=0.1):
    """All that is reported of a system: scores with intervals, by parts of the set, and of each recording."""
    has_activity = all(result.probability is not None for result in results)
    counts = [counts_of(result, has_activity, hop_s) for result in results]
    return {
        "recordings": len(results), "frames": sum(len(result.ref_id) for result in results),
        "figures": jackknife(figures, counts),
        "breakdowns": break_down(results, counts, lambda result: frame_counts_of(result, has_activity), figures),
        "confusion": confusion(counts),
        "per_recording": {result.stem: figures(own) for result, own in zip(results, counts)},
    }


def confusion(counts):
    """Frames by number of sources (rows: references, columns: predictions), up to the largest number that occurs."""
    frames = total(counts)["frame/confusion"]
    size = 1 + max(np.flatnonzero(frames.any(1) | frames.any(0)), default=0)
    return frames[:size, :size].astype(int).tolist()


def compare_results(results, others, hop_s=0.1):
    """The Results of two systems on the same recordings → {name: Comparison}."""
    by_stem = {result.stem: result for result in others}
    if by_stem.keys() != {result.stem for result in results}:
        different = sorted(by_stem.keys() ^ {result.stem for result in results})
        raise UserError(f"the two systems were tested on different recordings (first: {different[0]})")
    others = [by_stem[result.stem] for result in results]
    for result, other in zip(results, others):
        if not (np.array_equal(result.ref_id, other.ref_id) and np.array_equal(result.ref_doa, other.ref_doa)):
            raise UserError(f"{result.stem}: the two systems were tested against different references")
    both = all(result.probability is not None for result in (*results, *others))
    return compare(figures, *([counts_of(result, both, hop_s) for result in system] for system in (results, others)))
