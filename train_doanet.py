"""Train DOAnet on extracted features, test it on the unseen fold, and leave checkpoints, logs and curves."""

import argparse
import sys
from pathlib import Path

from cls_metric import format_score, selection_score
from doanet_parameters import DEFAULTS, add_override_argument, get_params, split_words
from doatools.data.cache import remove_leftovers
from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json
from doatools.report import plots
from doatools.train import checkpoint
from doatools.train.loop import Run
from localizer import score
from trainer import Training, changed_settings


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id | config.yaml [job-id]] [key=value ...] [--resume] [--overwrite]",
        epilog="task-id: 1-21 or 999, see the README (default 1); job-id: a name for the run (default first)\n"
               "example: python3 train_doanet.py 4 myrun quick_test=False nb_epochs=40 dataset=mic\n"
               "         python3 train_doanet.py configs/seldnet.yaml myrun quick_test=False nb_epochs=40",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_override_argument(parser)
    parser.add_argument("--resume", action="store_true", help="go on with a stopped run of the same task and job")
    parser.add_argument("--overwrite", action="store_true", help="start anew although that run exists")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    (task_id, job_id), overrides = split_words(args.overrides, "1", "first")
    params = get_params(task_id, **overrides)
    if Path(job_id).name != job_id:
        raise UserError(f"job id '{job_id}' names a folder in {params['results_dir']}/ and takes no slash")
    run = Run(f"{params['results_dir']}/{Path(task_id).stem}_{job_id}")
    saved = find_run(run, params, args.resume, args.overwrite)
    training = Training(params, run, saved)
    if training.fabric.is_global_zero:
        announce(params, run, training)
    history, best = training.fit(score, lambda scores, terms: selection_score(scores))
    scores = score(training.test(best))
    if training.fabric.is_global_zero:
        plots.training_curve(history, run.folder / "training_curve.png", run.folder.name)
        report(scores, params, run, best)
    return 0


def find_run(run, params, resume, overwrite):
    """The last checkpoint of the run that is to be resumed, or None for a run from the start.

    Changes nothing. UserError rather than mixing two runs in one folder.
    """
    remove_leftovers(run.folder)
    if resume and not run.last.is_file():
        print(f"{run.folder} holds no finished epoch: the run starts from the beginning")
        return None
    if overwrite or not run.exists():
        return None
    saved = checkpoint.load(run.last if run.last.is_file() else run.best)
    if resume:
        changed = changed_settings(saved["params"], params)
        if changed:
            told = ", ".join(f"{key}={value}" for key, value in changed.items())
            raise UserError(f"{run.folder}: this run was started with {told}; resume it with the same, "
                            "or choose another job id")
        return saved
    if not saved["quick_test"]:
        raise UserError(f"{run.folder}: holds a run of {saved['epoch']} epochs; go on with it by --resume, start anew "
                        "by --overwrite, or choose another job id")
    print(f"{run.folder} holds a quick test, which this run replaces")
    return None


def announce(params, run, training):
    fabric, weights = training.fabric, sum(p.numel() for p in training.localizer.model.parameters())
    print(f"task {params['task_id']}: {params['model']}, {params['dataset']}, loss {params['loss']}, "
          f"{'with' if params['activity'] else 'without'} activity branch, {weights:,} weights")
    told = [f"{role} {len(data.recordings)} recordings = {len(data)} sequences"
            for role, data in training.datasets.items()]
    print(f"data {params['dataset_dir']} ({params['mode']}): {', '.join(told)}")
    processes = f" in {fabric.world_size} processes" if fabric.world_size > 1 else ""
    print(f"device {fabric.device}{processes}, precision {training.precision}, {params['nb_epochs']} epochs at most "
          f"-> {run.folder}/")
    if params["quick_test"]:
        print("quick test: 2 epochs of 2 batches, its scores mean nothing; add quick_test=False to train in full")


def report(scores, params, run, best):
    """Print the table of the test and keep it as scores.json."""
    write_json(run.folder / "scores.json", {
        "task": params["task_id"], "run": run.folder.name, "epoch": best["epoch"], "precision": best["precision"],
        "quick_test": params["quick_test"], "validation": best["scores"], "test": scores})
    print(f"\ntest fold, weights of epoch {best['epoch']} (the best on validation):")
    print("  ".join(f"{name:>10}" for name in scores))
    print("  ".join(f"{format_score(name, value):>10}" for name, value in scores.items()))
    print(f"\ncheckpoint  {run.best}\nscores      {run.folder}/scores.json")
    print(f"curve       {run.folder}/training_curve.png")
    elsewhere = "" if params["results_dir"] == DEFAULTS["results_dir"] else f" results_dir={params['results_dir']}"
    print(f"see it: python3 visualize_doanet_output.py {run.folder.name.replace('_', ' ', 1)}{elsewhere}")


if __name__ == "__main__":
    sys.exit(main())
