"""Folders of runs: their files, resuming them, finding the one that a command line means."""

import json
import shutil
import sys
from pathlib import Path

from doatools.config.commandline import split_words
from doatools.config.schema import FLAT, checked, defaults, flat_name
from doatools.config.stored import Stored, parse_json, read_json
from doatools.errors import UserError
from doatools.files import has_suffix, plain_json, read_text, replacing
from doatools.train import checkpoint

# What may differ between a run and its resumption: where things are and what computes them, not what they are.
FREE_ON_RESUME = {"num_workers", "compile", "dataset_dir", "feat_label_dir", "results_dir", "device"}
# What may change after training: where things are, what computes, and how predictions are linked to tracks.
# The array may only change where a model reads any array.
CHANGEABLE = ("dataset_dir", "array", "feat_label_dir", "rotation", "results_dir", "device", "num_workers",
              *(name for name, (section, _) in FLAT.items() if section == "tracker"))


class Epoch(Stored):
    """A line of log.jsonl, as far as it is read again; None stands for NaN."""

    epoch: int
    seconds: float
    selection: float | None
    train: dict[str, float | None]
    val: dict[str, float | None]
    scores: dict[str, float | None]


class Scores(Stored):
    """scores.json, which the training writes at its end."""

    test: dict[str, float | None]  # None where there is no value
    precision: str
    quick_test: bool


class Bounds(Stored):
    """A score with its interval; None where there is no value."""

    value: float | None
    low: float | None
    high: float | None


class Evaluation(Stored):
    """evaluation.json of evaluate_doanet.py, as far as it is read again."""

    system: str
    figures: dict[str, Bounds]


def read_scores(folder):
    """The Scores of a finished run."""
    return read_json(Path(folder) / "scores.json", Scores, "train the run again")


def read_evaluation(folder):
    """The Evaluation in a folder."""
    return read_json(Path(folder) / "evaluation.json", Evaluation, "run evaluate_doanet.py again")


class Run:
    """The folder of one training: checkpoints, JSON-lines log, TensorBoard events."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.best, self.last = self.folder / "best.pt", self.folder / "last.pt"
        self.log = self.folder / "log.jsonl"

    def exists(self):
        return self.last.is_file() or self.best.is_file()

    def refuse_finished(self):
        """UserError if there is no last.pt to resume, but a best.pt that is more than the first epoch of a stopped run.

        A run that is killed in its first epoch may leave best.pt alone: that is repeated.
        """
        if self.last.is_file() or not self.best.is_file():
            return
        saved = checkpoint.load(self.best)
        more = saved["epoch"] > 1 or len(self.history()) > 1 or (self.folder / "scores.json").exists()
        if more and not saved["quick_test"]:
            raise UserError(f"{self.best} is of epoch {saved['epoch']}, and there is no last.pt to resume; replace the "
                            f"run by --overwrite, or start another job (with init_weights={self.best} from its "
                            "weights)")

    def clear(self):
        """Remove the files of an earlier run, so that none describes a run that is gone."""
        for name in ("last.pt", "best.pt", "best.onnx", "log.jsonl", "scores.json", "evaluation.json", "report.html",
                     "training_curve.png"):
            (self.folder / name).unlink(missing_ok=True)
        for name in ("tensorboard", "pictures"):
            if (self.folder / name).is_dir() and not (self.folder / name).is_symlink():
                shutil.rmtree(self.folder / name, ignore_errors=True)
            else:
                (self.folder / name).unlink(missing_ok=True)

    def history(self):
        """The logged epochs, as dicts; UserError for a line that is none."""
        entries, remedy = [], f"remove it, or all of {self.log}: only the training curve depends on it"
        if self.log.is_file():
            for number, line in enumerate(read_text(self.log, "a log", "a text of JSON lines").splitlines(), 1):
                parse_json(line, Epoch, f"{self.log}, line {number}", remedy)
                entries.append(json.loads(line))
        return entries

    def write_log(self, entries):
        with replacing(self.log) as temporary:
            temporary.write_text("".join(json.dumps(plain_json(entry)) + "\n" for entry in entries))


def changed_settings(before, config):
    """{name: value before} of the parameters that differ between two Configs, except for those that may differ between
    a run and its resumption. Arrays differ by what they are, not by the name of their file."""
    old, new = before.flat(), config.flat()
    changed = {key: old[key] for key, value in new.items()
               if FLAT[key][0] != "simulation" and key not in {*FREE_ON_RESUME, "array"} and old[key] != value}
    if before.array != config.array:
        changed["array"] = old["array"] + (" (the file has changed since)" if old["array"] == new["array"] else "")
    return changed


def to_resume(run, config, elsewhere):
    """The last checkpoint of a stopped run, to be continued; ``elsewhere`` names an alternative in errors.

    Raises
    ------
    UserError
        The run has other settings, or belongs to the first edition.
    """
    saved = checkpoint.resumable(run.last)
    if saved["version"] < checkpoint.VERSION:
        raise UserError(f"{run.folder}: this run was started by an earlier version of the toolkit, which trained "
                        f"differently, so it cannot be resumed; choose {elsewhere} (with init_weights={run.last} it "
                        "starts from the weights of this run)")
    changed = changed_settings(checkpoint.config_of(saved, run.last), config)
    if set(changed) == {"nb_epochs"}:
        _check_extension(run, saved["epoch"], changed["nb_epochs"], config)
        return saved
    if changed:
        given = ", ".join(f"{key}={value}" for key, value in changed.items())
        raise UserError(f"{run.folder}: this run was started with {given}; resume it with the same settings, or choose "
                        f"{elsewhere}")
    return saved


def _check_extension(run, done, before, config):
    """UserError unless a run of ``before`` epochs, ``done`` of them so far, can have nb_epochs of a Config instead."""
    epochs = config.training.nb_epochs
    if config.training.lr_schedule in ("onecycle", "linear"):
        raise UserError(f"{run.folder}: lr_schedule={config.training.lr_schedule} spreads the learning rate over "
                        f"nb_epochs={before}, down to nearly 0, so that it cannot be resumed with nb_epochs={epochs}; "
                        f"start another job with init_weights={run.last} nb_epochs={epochs}")
    if epochs < done:
        raise UserError(f"{run.folder}: {done} epochs are done, more than nb_epochs={epochs}")


def check_changeable(overrides):
    """Overrides of a trained model, checked; UserError for one that can no longer change."""
    values = {}
    for key, value in overrides.items():
        name = flat_name(key)
        if name not in CHANGEABLE:
            raise UserError(f"'{key}' cannot be changed after training; you can set {', '.join(CHANGEABLE)}")
        values[name] = checked(name, value)
    if "dataset_dir" in values:
        values.setdefault("feat_label_dir", "")
        values.setdefault("rotation", "")
    return values


def choose(words, suffixes=(".pt",)):
    """The words of a command line (task or YAML, job | file | nothing, key=value ...) → (path, overrides).

    ``suffixes``: those of files; '.onnx' for exported networks.
    """
    plain, overrides = split_words(words, None, None)
    overrides = check_changeable(overrides)
    results_dir = overrides.get("results_dir", defaults()["results_dir"])
    if plain[0] and has_suffix(plain[0], *suffixes):
        return Path(plain[0]), overrides
    if plain[0] and not plain[1]:
        raise UserError("give a task id and a job id (1 first), the path of a checkpoint, or nothing to use the newest "
                        "run")
    path, quick = find_checkpoint(results_dir, f"{Path(plain[0]).stem}_{plain[1]}" if plain[0] else None)
    print(f"checkpoint {path}" + (" (of a quick test: 2 epochs of 2 batches, so expect little)" if quick else ""))
    return path, overrides


def find_checkpoint(results_dir, name=None):
    """The best checkpoint of a run named ``task_job``, or of the newest one.

    Returns (path, is_quick_test). A quick-test run is taken only if there is no other.
    """
    folder = Path(results_dir)
    if name is not None:
        path = folder / name / "best.pt"
        if not path.is_file():
            runs = sorted(p.parent.name for p in folder.glob("*/best.pt"))
            raise UserError(f"{path}: no such checkpoint. Runs in {folder}: {', '.join(runs) or 'none yet'}; "
                            "train one with: python3 train_doanet.py <task-id> <job-id>")
        return path, checkpoint.load(path)["quick_test"]
    quick_tests = []
    for path in sorted(folder.glob("*/best.pt"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            if not checkpoint.load(path)["quick_test"]:
                return path, False
            quick_tests.append(path)
        except UserError as error:
            print(f"skipped: {error}", file=sys.stderr)
    if not quick_tests:
        raise UserError(f"{folder}: no checkpoint yet; train one with: python3 train_doanet.py <task-id> <job-id>")
    return quick_tests[0], True
