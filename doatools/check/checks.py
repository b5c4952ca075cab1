"""Is a folder of recordings and labels fit for this toolkit? All findings, not only the first.

``examine`` looks at each recording once: its CSV, and its audio of each array. What follows only from many recordings
(directions, times) is measured there and judged in ``check``. Findings whose texts differ only in numbers are of one
kind and reported together.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from doatools.check import alignment, capsules, orientation
from doatools.check.delays import measured_delays
from doatools.check.levels import BLOCK_S, block_levels, silent_channels
from doatools.check.permutations import unlabelled_order
from doatools.cluster import results_of
from doatools.data.audiofiles import inspect_audio, read_audio
from doatools.data.dcase import FRAME_S, TAU_NAME, find_recordings, is_mixture, number_events, read_dcase, without_audio
from doatools.data.readers import unlabelled
from doatools.data.slots import count_overlap, rows_at
from doatools.errors import UserError
from doatools.files import list_files, require_file
from doatools.registry import READERS
from doatools.spatial.geometry import angular_distance
from doatools.types import EVENT_ROWS

ATTACKS_AGREE_DEG = 20.0  # attacks that point this near to the labels rule out that a recording is wrong
FEWEST_ATTACKS = 15  # of a recording that is said to point elsewhere
NAMED = 4  # files that are named for each kind of finding
ALIGNED = 100  # recordings whose directions and times are measured, evenly spaced
TOLERATED_LAG_S = 0.2  # labels have frames of 0.1 s, and sounds may start slowly
# Of Y, Z, X together, in dB relative to W. Real microphones have up to 2.5 dB without any fault.
GAINS = {(2.6, 3.8): "W is 3 dB too weak (FuMa gains; SN3D belongs here): multiply W by 1.414",
         (4.0, 5.6): "X, Y and Z are 4.8 dB too strong (N3D gains; SN3D belongs here): multiply them by 0.577"}


@dataclass(frozen=True)
class Finding:
    """A problem and its remedy; ``file`` is '' for a problem of all files."""

    text: str
    file: str = ""

    @property
    def kind(self):
        """The text without its numbers."""
        return re.sub(r"-?\d+(\.\d+)?", "#", self.text)


@dataclass
class Report:
    """Findings make a dataset unhealthy, notes do not; ``checked`` lists what was examined."""

    findings: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    checked: list = field(default_factory=list)
    fs: int = 24000
    orientations: dict = field(default_factory=dict)  # {dataset: Orientation}

    def lines(self):
        """The report as lines of text, one or two per kind of finding."""
        kinds = {}
        for finding in self.findings:
            kinds.setdefault(finding.kind, []).append(finding)
        lines = [f"checked: {text}" for text in self.checked] + [f"note: {text}" for text in self.notes]
        for number, (first, *more) in enumerate(kinds.values(), 1):
            lines.append(f"{number}. {first.file + ': ' if first.file else ''}{first.text}")
            if more:
                names = ", ".join(finding.file for finding in more[: NAMED - 1]) + ", ..." * (len(more) >= NAMED)
                lines.append(f"   the same kind in {len(more)} more: {names}")
        count = f"{len(kinds)} kind{'s' * (len(kinds) > 1)} of findings, the dataset is not healthy"
        return [*lines, count if kinds else "healthy"]


@dataclass(frozen=True)
class Item:
    """A recording to examine: its CSV, or None, and its WAVs {array: path}."""

    stem: str
    annotation: Path | None
    audio: dict
    recordings: dict = field(default_factory=dict)  # {dataset: Recording}, where a reader found it


@dataclass
class Examined:
    """Findings in one recording; ``outside``: those about angles out of range, whose cause follows from all
    recordings."""

    item: Item
    findings: list = field(default_factory=list)
    outside: list = field(default_factory=list)
    rows: np.ndarray | None = None
    seconds: dict = field(default_factory=dict)  # {array: length}
    measured: dict = field(default_factory=dict)  # {array: Measured}
    attacks: dict = field(default_factory=dict)  # {array: (measured (A, 3), labelled (A, 3), delays (A, P))}


def check(data, fs, arrays, jobs=1):
    """Check the folder of a DataConfig, with recordings at ``fs`` Hz of ``arrays`` {name: Array} → Report."""
    report, datasets = Report(fs=fs), list(arrays)
    items = find_items(data, datasets, report) if data.format == "dcase" else items_of_readers(data, arrays, report)
    if items and not report.findings:
        _note_missing_roles(data, arrays, report)
    spread = set(np.linspace(0, len(items) - 1, min(len(items), ALIGNED)).round().astype(int).tolist())
    work = results_of((joblib.delayed(examine)(item, data, fs, arrays, number in spread)
                       for number, item in enumerate(items)), jobs)
    examined = list(tqdm(work, total=len(items), unit="recording", desc="checking", leave=False))
    for one in examined:
        report.findings += one.findings
    hours = sum(max(one.seconds.values(), default=0) for one in examined) / 3600
    report.checked.append(f"layout and names; rate, channels, length, silence, clipping and NaN of {len(items)} "
                          f"recordings ({', '.join(datasets)}; {hours * 60:.1f} minutes); every line of their CSVs")
    if examined and not any(len(one.rows) for one in examined if one.rows is not None):
        report.findings.append(Finding("no CSV holds a single source: frame,class,track,azimuth,elevation, one "
                                       "line per source and frame of 100 ms"))
    long = sum(max(one.seconds.values(), default=0) > (data.max_audio_len_s or math.inf) for one in examined)
    if long:
        report.notes.append(f"{long} recordings are longer than max_audio_len_s={data.max_audio_len_s:g} s and "
                            "were checked up to there; training cuts them as well")
    report.notes += [f"{name} is planar and cannot distinguish above from below: directions are compared with their "
                     "elevations folded into the upper half" for name, array in arrays.items() if array.planar]
    settled, errors = _judge_directions(examined, arrays, report)
    suspects = [suspect for verdict in settled.values() for suspect in verdict.suspects]
    turned = _judge_orientation(examined, arrays, report, explained=any(suspect.cost for suspect in suspects))
    if not settled and not turned:
        _judge_single_files(examined, errors, arrays, report)
    _judge_angles(examined, suspects, report)
    _judge_times(examined, datasets, FRAME_S, report)
    return report


def _note_missing_roles(data, arrays, report):
    """A note where no recording validates or tests, without which training is impossible."""
    reader = READERS[data.format](data, next(iter(arrays.values())))
    found = reader.find()
    missing = [role for role in ("train", "val", "test") if not reader.select(found, role)]
    if missing:
        report.notes.append(f"no recording is for {' or '.join(missing)} in {reader.setting}: training takes all of "
                            f"train, val and test; assign roles with {Path(data.dataset_dir, 'splits.csv')} "
                            "(columns file,split; docs/data.md)")


# --- layout ----------------------------------------------------------------------------------------------

def find_items(data, datasets, report):
    """The recordings of all arrays ``datasets``, sorted by name; problems of folders and names go to ``report``."""
    root, findings = Path(data.dataset_dir), report.findings
    tabled = (root / "splits.csv").exists()
    items = []
    parts = ("dev", "eval") if data.mode == "eval" else ("dev",)
    evaluation = [f"{name}_eval" for name in datasets if (root / f"{name}_eval").is_dir()]
    if data.mode == "eval" and evaluation and not (root / "metadata_eval").is_dir():
        parts = ("dev",)
        report.notes.append(_without_labels(evaluation[0], root / evaluation[0]))
    for part in parts:
        folders = {name: root / f"{name}_{part}" for name in (*datasets, "metadata")}
        missing = [path.name for path in folders.values() if not path.is_dir()]
        findings += [Finding("the folder does not exist", name) for name in missing]
        files = {name: list_files(path, ".csv" if name == "metadata" else ".wav") if path.is_dir() else {}
                 for name, path in folders.items()}
        if not tabled and part == "dev":
            files = {name: {stem: path for stem, path in found.items() if not is_mixture(stem)}
                     for name, found in files.items()}
        annotations = files.pop("metadata")
        for name, audio in files.items() if not missing else ():
            findings += [Finding(f"no annotation of that name in metadata_{part}; add it or take the file away",
                                 _name(audio[stem])) for stem in sorted(audio.keys() - annotations.keys())]
            findings += [Finding(f"no recording of that name in {name}_{part}; add it or take the file away",
                                 _name(annotations[stem])) for stem in sorted(annotations.keys() - audio.keys())]
            if not audio:
                findings.append(Finding(f"the folder {without_audio(root / f'{name}_{part}')}", f"{name}_{part}"))
        stems = sorted(set().union(*files.values()))
        items += [Item(stem, annotations.get(stem), {name: audio[stem] for name, audio in files.items()
                                                     if stem in audio}) for stem in stems]
        if part == "dev" and not tabled:
            findings += [Finding("the name does not state the fold as fold1_room2_mix003_ov1.wav does; rename it, or "
                                 "list all files in splits.csv with columns file,split", stem)
                         for stem in stems if not TAU_NAME.fullmatch(stem)]
    if not findings:
        findings += _readers_refusal(data, datasets)
    return items


def items_of_readers(data, arrays, report):
    """Recordings as the reader of the format finds them; what it refuses goes to ``report``."""
    items, notes = {}, set()
    for name, array in arrays.items():
        reader = READERS[data.format](data, array)
        try:
            found = reader.find()
        except UserError as error:
            report.findings.append(Finding(str(error)))
            continue
        for recording in found:
            item = items.setdefault(recording.stem, Item(recording.stem, recording.annotation, {}))
            item.audio[name], item.recordings[name] = recording.audio, recording
        for path in unlabelled(reader)[:1]:
            notes.add(_without_labels(_name(path.parent), path.parent))
    report.notes += sorted(notes)
    return [items[stem] for stem in sorted(items)]


def _without_labels(name, folder):
    return (f"{name} has no labels: it was not checked, is not scored, and can be localized with python3 localize.py "
            f"{folder}")


def _readers_refusal(data, datasets):
    """What the reader of extraction and training would refuse, such as lines of splits.csv."""
    try:
        for name in datasets:
            find_recordings(data.dataset_dir, name, data.mode)
    except UserError as error:
        return [Finding(str(error))]
    return []


def _name(path):
    return f"{path.parent.name}/{path.name}"


# --- one recording ---------------------------------------------------------------------------------------

def examine(item, data, fs, arrays, align):
    """Item → Examined; ``align``: also measure directions and times."""
    examined = Examined(item)
    if item.annotation and not item.recordings:
        examined.rows = read_loosely(item.annotation)
    lengths = {}
    for name, path in item.audio.items():
        known = item.recordings.get(name)
        source = (known.channels, known.fs) if known else ((), 0)
        try:
            lengths[name] = inspect_audio(path, fs, arrays[name].channels, *source)
            if known and examined.rows is None:
                examined.rows = _rows_of_reader(data, arrays[name], known, lengths[name] / fs)
            limit = round(data.max_audio_len_s * fs) if data.max_audio_len_s else -1
            audio = read_audio(path, fs, arrays[name].channels, limit, *source)
        except UserError as error:
            examined.findings.append(_refusal(path, error))
            continue
        examined.seconds[name] = lengths[name] / fs
        faults = _silence(audio, fs, arrays[name], examined.rows)
        if align and examined.rows is not None and not faults:
            examined.measured[name] = alignment.measure(audio, fs, examined.rows, FRAME_S, arrays[name])
            examined.attacks[name] = _attacks(audio, fs, examined.rows, arrays[name])
        faults += _clipping(audio)
        examined.findings += [Finding(text, _name(path)) for text in faults]
    if len(set(lengths.values())) > 1:
        parts = " and ".join(f"{length / fs:.3f} s at {name}" for name, length in lengths.items())
        examined.findings.append(Finding(f"lengths differ: {parts}; cut both from the same start and end", item.stem))
    if examined.rows is not None:
        _check_annotation(examined, data, fs, lengths)
    return examined


def _rows_of_reader(data, array, recording, seconds):
    return rows_at(READERS[data.format](data, array).read(recording.annotation, seconds), FRAME_S)


def read_loosely(path):
    """Lines of a CSV that are five or six numbers → EVENT_ROWS, angles in range or not."""
    rows = []
    require_file(path)
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        try:
            numbers = [float(cell) for cell in line.split(",")]
        except ValueError:
            continue
        if len(numbers) in (5, 6) and all(abs(number) < 2**31 for number in numbers) and numbers[0] >= 0:
            rows.append((int(numbers[0]), 0, int(numbers[1]), int(numbers[2]), *numbers[3:5], np.nan))
    rows.sort(key=lambda row: row[0])
    rows = np.array(rows, EVENT_ROWS)
    rows["event"] = number_events(rows)
    return rows


def _check_annotation(examined, data, fs, lengths):
    path, rows = examined.item.annotation, examined.rows
    frame = fs * FRAME_S  # samples
    try:
        if not examined.item.recordings:
            read_dcase(path, math.ceil(min(lengths.values()) / frame - 1e-6) if lengths else None)
    except UserError as error:
        outside = np.abs(rows["azimuth"]).max(initial=0) > 180 or np.abs(rows["elevation"]).max(initial=0) > 90
        (examined.outside if outside else examined.findings).append(_refusal(path, error))
    overlap = count_overlap(rows)
    if overlap > data.max_sources and data.overflow == "error":
        examined.findings.append(Finding(
            f"{overlap} sources at once, more than max_sources={data.max_sources}; set max_sources={overlap}, or "
            "overflow=drop to train without those that began last", _name(path)))


def _refusal(path, error):
    """A UserError of a reader about ``path`` as a Finding."""
    text = str(error).removeprefix(str(path)).lstrip(":, ").replace(str(path), "the file")
    return Finding(text, _name(path))


def _silence(audio, fs, array, rows):
    """Silent, equal, reversed or failing channels of audio (samples, M), as a list of faults."""
    levels = block_levels(audio, fs)
    if levels.max() < -120:
        sounding = rows is not None and len(rows)
        return ["silent in all channels, though its CSV names sources"] if sounding else []
    names = dict(enumerate(f" ({name})" for name in "WYZX")) if array.kind == "ambisonic" else {}
    silent, dead = silent_channels(levels)
    loudest = np.percentile(levels.max(axis=1), 90)
    faults = [f"channel {channel + 1}{names.get(channel, '')} is silent, the loudest is at {loudest:.0f} dB; "
              "check the cable or the export and make the file again" for channel in silent]
    faults += [f"channel {channel + 1}{names.get(channel, '')} falls silent at {block * BLOCK_S:.1f} s and "
               "stays so; check the cable or the export and make the file again" for channel, block in dead.items()]
    loud = capsules.loudest_part(audio, fs)
    same = capsules.same_channels(loud) if not silent else []
    if len(same) == audio.shape[1] * (audio.shape[1] - 1) // 2 and same:
        return [*faults, "all channels are the same: a mono recording has no direction"]
    faults += [f"channels {one + 1} and {other + 1} hold the same signal; check the routing of the recorder"
               for one, other in same]
    if (rows is None or not len(rows)) and not silent:  # else the directions tell
        faults += [f"channel {channel + 1} has the wrong polarity: multiply it by -1"
                   for channel in capsules.reversed_channels(loud, fs, array)]
        faults = faults or capsules.doubts_of_delays(audio, fs, array)
    return faults


def _attacks(audio, fs, rows, array):
    """Measured and labelled directions at attacks, and the delays of pairs of capsules there."""
    starts, _ = orientation.attacks(audio, fs, rows, FRAME_S)
    measured, labelled = orientation.attack_directions(audio, fs, rows, FRAME_S, array)
    if array.kind == "ambisonic" or not len(starts):
        return measured, labelled, np.zeros((len(measured), 0))
    return measured, labelled, measured_delays(audio, fs, starts, array)


def _clipping(audio):
    """Clipped channels, which keep their largest or smallest value over several samples, as a list of faults."""
    held = 0
    for channel in np.ascontiguousarray(audio.T):
        for peak in (channel.max(), channel.min()):
            at_peak = np.flatnonzero(channel == peak) if abs(peak) > 0.01 else np.zeros(0, int)
            held += np.count_nonzero(at_peak[2:] - at_peak[:-2] == 2)  # three in a row
    return [f"clipped: {held} samples stay at the largest value; record or mix it again at a lower level"
            ] if held >= 10 else []


# --- all recordings --------------------------------------------------------------------------------------

def _judge_directions(examined, arrays, report):
    """Compare the directions of audio and labels; returns what was reported {name: Verdict} and the errors of events
    {array: [(stem, errors), ...]}."""
    errors = {name: [(one.item.stem, alignment.event_errors(
        one.measured[name], alignment.suspects_of(arrays[name]), arrays[name]))
                     for one in examined if name in one.measured] for name in arrays}
    verdicts = {name: alignment.judge(np.concatenate([events for _, events in pairs]),
                                      alignment.suspects_of(arrays[name]))
                for name, pairs in errors.items() if pairs}
    for name, verdict in verdicts.items():
        where = f"{verdict.n_events} events with a frame of one source, in {len(errors[name])} recordings"
        if verdict.state == "few":
            report.notes.append(f"{name}: directions were not compared, there are only {where}")
        else:
            report.checked.append(f"{name}: the audio points {verdict.error:.0f}° from the labels (median of {where})")
    settled = alignment.settle(verdicts)
    for name, order in _orders(examined, arrays).items():
        own = np.concatenate([events for _, events in errors[name]])
        verdict = alignment.with_order(settled.get(name), own, order)
        settled |= {name: verdict} if verdict else {}
    report.findings += [_direction_finding(name, verdict, arrays) for name, verdict in settled.items()]
    for name in (name for name in verdicts if arrays[name].kind == "ambisonic"):
        suspects = settled[name].suspects if name in settled else ()
        if all(not suspect.order or suspect.order[0] == 0 for suspect in suspects):  # W is where it belongs
            _judge_gains(name, [one.measured[name] for one in examined if name in one.measured], report)
    return settled, errors


def _orders(examined, arrays):
    """{name: Order or None} of the channels of microphone arrays, by the delays at all attacks."""
    delays = {name: [one.attacks[name][2] for one in examined if name in one.attacks and len(one.attacks[name][2])]
              for name, array in arrays.items() if array.kind != "ambisonic"}
    return {name: unlabelled_order(np.concatenate(found), arrays[name]) for name, found in delays.items() if found}


def _judge_orientation(examined, arrays, report, explained=False):
    """Find arrays that stand rotated, tilted or mirrored, or whose capsules lie elsewhere than their file states;
    returns whether any was reported.

    ``explained``: a fault was reported already; then only a correction that mends it is noted, such as a mirrored axis.
    """
    before = len(report.findings)
    for name, array in arrays.items():
        found = [one.attacks[name] for one in examined if name in one.attacks and len(one.attacks[name][0])]
        if array.kind != "ambisonic" and len(found) >= orientation.FEWEST_RECORDINGS and not explained:
            delays, labelled = (np.concatenate([one[part] for one in found]) for part in (2, 1))
            text = capsules.judge_delays(delays, labelled, report.fs, array)
            if text:
                report.findings.append(Finding(f"{name}: {text}"))
                continue
        standing = orientation.orientation([one[:2] for one in found])
        if standing is None or (explained and not standing.mends):
            continue
        report.orientations[name] = standing
        mirrored = f"{standing.mirror} exchanged, " if standing.mirror else ""
        report.checked.append(f"{name}: {mirrored}rotated by {standing.yaw:.1f}°, tilted by {standing.tilt:.1f}° "
                              f"against the labels (± {standing.certainty:.1f}°, {standing.n_attacks} attacks)")
        if standing.wrong and not explained:
            report.findings.append(Finding(
                f"{name}: {standing.describe()} (± {standing.certainty:.0f}°, from {standing.n_attacks} attacks). "
                "--rotation FILE writes the correction; extraction and evaluation take it as rotation=FILE"))
    return len(report.findings) > before


def _direction_finding(name, verdict, arrays, file=""):
    about = "" if name == "labels" else f"{name}: "
    if verdict.state == "unexplained":
        return Finding(f"{about}the audio points elsewhere than the labels ({verdict.error:.0f}° off, guesses would be "
                       "90°) and no known fault explains it: do WAV and CSV of a name belong together? Was this the "
                       f"array ({arrays[name].describe()})?", file)
    faults = "; or ".join(f"{suspect.what} ({suspect.remedy})" for suspect in verdict.suspects[:NAMED])
    several = "one of these, which cannot be distinguished: " if len(verdict.suspects) > 1 else ""
    if verdict.state == "exchanged":
        return Finding(f"{about}{several}{faults}. The delays between channels show it", file)
    return Finding(f"{about}{several}{faults}. With that corrected the audio points {verdict.mended:.0f}° from the "
                   f"labels, now {verdict.error:.0f}° (median of {verdict.n_events} events)", file)


def _judge_single_files(examined, errors, arrays, report):
    """Report single recordings that are wrong in a dataset that is right as a whole."""
    stems = {stem for pairs in errors.values() for stem, _ in pairs}
    by_stem = {name: dict(pairs) for name, pairs in errors.items()}
    attacks = {(one.item.stem, name): found[:2] for one in examined for name, found in one.attacks.items()}
    for stem in sorted(stems):
        verdicts = {name: _verdict_on_file(known[stem], attacks[stem, name], arrays[name])
                    for name, known in by_stem.items() if stem in known}
        report.findings += [_direction_finding(name, verdict, arrays, stem)
                            for name, verdict in alignment.settle(verdicts).items()]


def _verdict_on_file(errors, attacks, array):
    """A Verdict on one recording. Noise and reverberation may turn all of its directions, but hardly its attacks."""
    verdict = alignment.judge(errors, alignment.suspects_of(array), alone=True)
    measured, labelled = attacks
    agree = len(measured) >= 10 and np.median(angular_distance(measured, labelled)) < ATTACKS_AGREE_DEG
    if agree or (verdict.state == "unexplained" and len(measured) < FEWEST_ATTACKS):
        return alignment.Verdict("agrees", verdict.n_events, verdict.error)
    return verdict


def _judge_gains(name, measured, report):
    numbers = np.concatenate([np.full(len(one.event), number) for number, one in enumerate(measured)])
    events = np.unique(np.stack([numbers, np.concatenate([one.event for one in measured])]), axis=1,
                       return_inverse=True)[1]
    excess = alignment.excess_of_gains(np.concatenate([one.excess_db for one in measured]), events)
    if excess is not None:
        report.findings += [Finding(f"{name}: {text}") for (low, high), text in GAINS.items() if low < excess < high]


def _judge_angles(examined, suspects, report):
    """Report angles out of range, with their cause where it follows from all labels together."""
    if any("exchanged" in suspect.what and suspect.relabel for suspect in suspects):
        return  # which explains these angles
    outside = [finding for one in examined for finding in one.outside]
    rows = [one.rows for one in examined if one.rows is not None and len(one.rows)]
    hint = ""
    if outside and rows:
        rows = np.concatenate(rows)
        if rows["azimuth"].min() >= 0 and 180 < rows["azimuth"].max() <= 360:
            hint = ": the azimuths count from 0 to 360, subtract 360 from those above 180"
        elif np.abs(rows["azimuth"]).max() <= 90 < np.abs(rows["elevation"]).max() <= 180:
            hint = ": the columns azimuth and elevation seem to be exchanged"
    report.findings += [Finding(finding.text + hint, finding.file) for finding in outside]


def _judge_times(examined, datasets, label_hop_s, report):
    """Compare the onsets of sounds with their labels."""
    lags = {}
    for name in datasets:
        rises = [one.measured[name].rises for one in examined if name in one.measured]
        count = sum(map(len, rises))
        lag = alignment.lag_of_onsets(np.concatenate(rises)) if rises else None
        if lag is None:
            report.notes.append(f"{name}: times were not compared, {count} labelled onsets do not show them clearly")
        else:
            lags[name] = lag
            report.checked.append(f"{name}: sounds start {lag:+.2f} s from their labels ({count} onsets)")
    late = {name: lag for name, lag in lags.items() if abs(lag) >= TOLERATED_LAG_S}
    together = len(late) == len(lags) and late and max(late.values()) - min(late.values()) < 0.1
    for name, lag in list(late.items())[:1] if together else late.items():
        frames = round(abs(lag) / label_hop_s)
        about = "" if together and len(lags) > 1 else f"{name}: "
        report.findings.append(Finding(
            f"{about}the labels are {abs(lag):.2f} s {'late' if lag < 0 else 'early'}: "
            f"{'subtract' if lag < 0 else 'add'} {frames} {'from' if lag < 0 else 'to'} the frames of the CSVs, or cut "
            "the audio as the labels were made"))
