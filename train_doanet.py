"""Train a network on extracted features and test it on the test fold.

Checkpoints, logs, scores and a training curve are written to results/<task-id>_<job-id>/. Without --full, this is a
quick test: 2 epochs of 2 batches, to see that everything works.
"""

import argparse
import sys
from pathlib import Path

from doanet_parameters import add_override_argument, get_params, split_words
from doatools.config.schema import defaults
from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id | config.yaml [job-id]] [key=value ...] [--full] [--resume] "
                                   "[--overwrite]",
        epilog="task-id: 1-24 or 999, see docs/tasks.md (default 1, recommended 22)\n"
               "job-id: a name for the run (default first)\n"
               "example: python3 train_doanet.py 22 myrun --full nb_epochs=40 dataset_dir=datasets/simulated\n"
               "         python3 train_doanet.py configs/seldnet.yaml myrun --full nb_epochs=40",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_override_argument(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--full", action="store_true", help="train in full (quick_test=False)")
    length.add_argument("--quick", action="store_true",
                        help="quick test: 2 epochs of 2 batches (quick_test=True, the default)")
    parser.add_argument("--resume", action="store_true", help="continue a stopped run of the same task and job; "
                        "with a larger nb_epochs, also a finished run, unless lr_schedule is onecycle or linear")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing run of the same task and job")
    return parser


@exits_cleanly(again="add --resume to go on")
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    (task_id, job_id), overrides = split_words(args.overrides, "1", "first")
    if args.full or args.quick:
        if overrides.get("quick_test", args.quick) != args.quick:
            raise UserError(f"--{'full' if args.full else 'quick'} contradicts quick_test={overrides['quick_test']}; "
                            "give only one of them")
        overrides["quick_test"] = args.quick
    config = get_params(task_id, **overrides)
    if Path(job_id).name != job_id:
        raise UserError(f"job id '{job_id}' names a folder in {config.run.results_dir}/ and takes no slash")
    from cls_metric import selection_score, summary_scores
    from doatools.report import plots
    from doatools.train.runs import Run
    from evaluation import linked
    from trainer import Training
    run = Run(f"{config.run.results_dir}/{Path(task_id).stem}_{job_id}")
    saved = find_run(run, config, args.resume, args.overwrite)
    training = Training(config, run, saved)
    if training.fabric.is_global_zero:
        announce(config, run, training)
    history, best = training.fit(summary_scores, lambda scores, terms: selection_score(scores))
    scores = {role: summary_scores([linked(result, config.tracker) for result in training.results(best, loader)])
              for role, loader in training.loaders.items() if role != "train"}
    if training.fabric.is_global_zero:
        if history:
            plots.training_curve(history, run.folder / "training_curve.png", run.folder.name)
        report(scores, config, run, best)
    return 0


def find_run(run, config, resume, overwrite):
    """The checkpoint to resume, or None to start from the beginning; UserError rather than mixing two runs."""
    from doatools.files import remove_leftovers
    from doatools.train import checkpoint
    from doatools.train.runs import to_resume
    remove_leftovers(run.folder)
    if resume and not run.last.is_file():
        run.refuse_finished()
        print(f"{run.folder} holds no finished epoch: the run starts from the beginning")
        return None
    if overwrite or not run.exists():
        return None
    if resume:
        return to_resume(run, config, "another job id")
    saved = checkpoint.load(run.last if run.last.is_file() else run.best)
    if not saved["quick_test"]:
        raise UserError(f"{run.folder} holds a run of {saved['epoch']} epochs; continue it by --resume, replace it by "
                        "--overwrite, or choose another job id")
    print(f"{run.folder} holds a quick test, which this run replaces")
    return None


def announce(config, run, training):
    fabric, weights = training.fabric, sum(p.numel() for p in training.localizer.model.parameters())
    print(f"task {config.task_id}: {config.model.model}, array {config.array.name}, loss {config.loss.loss}, "
          f"{'with' if config.predicts_activity else 'without'} activity branch, {weights:,} weights")
    amounts = [f"{role} {len(data.recordings)} recordings = {len(data)} sequences"
               for role, data in training.datasets.items()]
    print(f"data {config.data.dataset_dir} ({config.data.mode}): {', '.join(amounts)}")
    if training.mix and not training.mix.possible:
        print("no mixtures (mix_augment): no two training recordings have together at most "
              f"{config.data.max_sources} sources at once")
    if config.array.planar:
        print(f"array '{config.array.name}' is planar: elevations are folded into the upper half")
    processes = f" in {fabric.world_size} processes" if fabric.world_size > 1 else ""
    print(f"device {fabric.device}{processes}, precision {training.precision}, {config.epochs} epochs at most "
          f"-> {run.folder}/")
    if config.run.quick_test:
        print("quick test: 2 epochs of 2 batches, with meaningless scores; add --full to train in full")


def report(scores, config, run, best):
    """Print the test scores, and write ``scores`` of each role to scores.json; there are none for test recordings
    without labels."""
    from cls_metric import format_score
    from doatools.data.readers import reader_of, unlabelled_note
    write_json(run.folder / "scores.json", {
        "task": config.task_id, "run": run.folder.name, "epoch": best["epoch"], "precision": best["precision"],
        "quick_test": config.run.quick_test, "validation": scores["val"], "test": scores.get("test", {})})
    tested = scores.get("test")
    if tested:
        print(f"\ntest fold, weights of epoch {best['epoch']} (the best on validation):")
        widths = [max(10, len(name)) for name in tested]
        print("  ".join(f"{name:>{width}}" for name, width in zip(tested, widths)))
        print("  ".join(f"{format_score(name, tested[name]):>{width}}" for name, width in zip(tested, widths)))
    else:
        print(f"\nno test scores: {unlabelled_note(reader_of(config), config)} --checkpoint {run.best}")
    print(f"\ncheckpoint  {run.best}\nscores      {run.folder}/scores.json")
    print(f"curve       {run.folder}/training_curve.png")
    elsewhere = "" if config.run.results_dir == defaults()["results_dir"] else f" results_dir={config.run.results_dir}"
    if tested:
        print(f"next: python3 visualize_doanet_output.py {run.folder.name.replace('_', ' ', 1)}{elsewhere}")


if __name__ == "__main__":
    sys.exit(main())
