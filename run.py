"""Cross-validate ADRENALINE, SELDnet or CNN on TUT Sound Events 2018: train and test on each dataset and fold.

The epoch with the lowest validation loss is tested on the unseen split. In --log_dir, the script writes a folder for
each model, dataset and fold (best.pt, last.pt, log.jsonl, TensorBoard events), and
results/<model>_<dataset>_fold<k>.json with one row per test recording. The same command continues a stopped fold and
skips folds with results.
"""

import argparse
import os
import sys
from pathlib import Path

from doanet_parameters import add_override_argument, get_params, parse_overrides
from doatools.config import experiments
from doatools.data.tut import SPLITS
from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 run.py --config configs/cnn.yaml --data_root datasets/tut 'dataset=[ansim]' "
               "max_epochs=20 fold=1\nto see the training: tensorboard --logdir experiments")
    parser.add_argument("--config", required=True, metavar="YAML", help="configuration, such as configs/cnn.yaml")
    parser.add_argument("--data_root", required=True, metavar="DIR",
                        help="folder of the datasets ansim/, resim/, real/")
    parser.add_argument("--tmp_dir", metavar="DIR", help="folder for features (default: <dataset>/features)")
    parser.add_argument("--log_dir", default="experiments", metavar="DIR",
                        help="folder for results (default experiments)")
    parser.add_argument("--batch_size", type=int, metavar="N", help="chunks per batch (default 16)")
    parser.add_argument("--num_workers", type=int, metavar="N", help="data-loading processes (default 0)")
    parser.add_argument("--jobs", type=int, default=-1, metavar="N",
                        help="processes for extraction (default: one per core)")
    return add_override_argument(parser)


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("run.py trains in one process; run folds in parallel instead: fold=1, fold=2 and fold=3, each "
                        "with plain python3")
    overrides = parse_overrides(args.overrides)
    name, names = experiments.name_of(args.config), choose(args, overrides.pop("dataset", None))
    folds = [overrides.pop("fold")] if "fold" in overrides else SPLITS
    plan = [(dataset, params_of(args, dataset, fold, overrides)) for dataset in names for fold in folds]
    from cls_feature_class import FeatureFiles
    from doatools.data.extraction import make_features
    from doatools.data.readers import recordings_to_extract
    from doatools.report.cross_validation import read_rows, table
    from doatools.train.runs import Run
    results = Path(args.log_dir) / "results"
    for dataset, config in plan:
        run = Run(f"{args.log_dir}/{name}_{dataset}_fold{config.data.fold}")
        path = results / f"{run.folder.name}.json"
        if path.is_file():
            print(f"{run.folder.name}: finished before{differing(run, config)}")
            continue
        print(f"\n{run.folder.name}:")
        files = FeatureFiles(config)
        make_features(files, recordings_to_extract(files.reader, config), args.jobs or 1)
        found, subsets = run_fold(run, config)
        write_json(path, [row(result, name, dataset, config, subset) for result, subset in zip(found, subsets)])
        print(table(read_rows([path])))
    print(f"\nall results in {results}:\n{table(read_rows(sorted(results.glob('*.json'))))}")
    return 0


def choose(args, asked):
    """The datasets to run: those asked for, otherwise those of the configuration that exist."""
    root = Path(args.data_root)
    if asked is not None:
        words = asked if isinstance(asked, (list, tuple)) else str(asked).strip("[]").replace(",", " ").split()
        names = experiments.datasets_of("command line", {"dataset": list(words)})
    else:
        wanted = experiments.datasets_of(args.config)
        names = [name for name in wanted if (root / name).is_dir()]
        missing = [name for name in wanted if name not in names]
        if missing and names:
            print(f"{root} holds no {' or '.join(missing)}: skipped")
        names = names or wanted
    for name in names:
        if not (root / name).is_dir():
            raise UserError(f"{root / name} does not exist: download it with 'python3 download_dataset.py {name}', or "
                            "simulate small sets with 'python3 simulate_dataset.py --format tut2018 "
                            f"dataset_dir={root}'")
    return names


def params_of(args, dataset, fold, overrides):
    """The parameters of one fold."""
    settings = {"format": "tut2018", "quick_test": False, "fold": fold, "dataset_dir": f"{args.data_root}/{dataset}",
                "results_dir": args.log_dir, "feat_label_dir": f"{args.tmp_dir}/{dataset}" if args.tmp_dir else ""}
    settings |= {key: value for key in ("batch_size", "num_workers") if (value := getattr(args, key)) is not None}
    taken = settings.keys() & overrides.keys() - {"quick_test", "batch_size", "num_workers"}
    if taken:
        raise UserError(f"{min(taken)} cannot be set here: --data_root, --tmp_dir, --log_dir and the fold determine it")
    return get_params(args.config, **{**settings, **overrides})


def differing(run, config):
    """The settings of a finished fold that differ from now, for a message; UserError if it had other data."""
    from doatools.train import checkpoint
    from doatools.train.runs import changed_settings
    before = checkpoint.config_of(checkpoint.load(run.best), run.best) if run.best.is_file() else config
    if Path(before.data.dataset_dir).resolve() != Path(config.data.dataset_dir).resolve():
        raise UserError(f"{run.folder} holds a finished fold of {before.data.dataset_dir}, not of "
                        f"{config.data.dataset_dir}; choose another --log_dir for other data")
    changed = ", ".join(f"{key}={value}" for key, value in changed_settings(before, config).items())
    return f", with {changed} (choose another --log_dir for other settings)" if changed else ""


def run_fold(run, config):
    """Train and test one fold → (a Result and the index of the subset, ov1 to ov3, of each test recording)."""
    from cls_data_generator import make_loader
    from cls_metric import frame_figures
    from trainer import Training
    saved = find_run(run, config)
    training = Training(config, run, saved)
    print(f"{sum(p.numel() for p in training.localizer.model.parameters()):,} weights; " + ", ".join(
        f"{role} {len(data.recordings)} recordings = {len(data)} chunks" for role, data in training.datasets.items())
        + f"; device {training.fabric.device}, precision {training.precision} -> {run.folder}/")
    _, best = training.fit(frame_figures, lambda scores, terms: terms["loss"])
    data = training.datasets["test"]
    whole = make_loader(data, config.replaced(batch_size=len(data.sequences_of(0))), train=False)
    return training.results(best, whole), [recording.overlap - 1 for recording in data.recordings]


def find_run(run, config):
    """The last checkpoint of a fold that was stopped, or None to start it."""
    from doatools.files import remove_leftovers
    from doatools.train.runs import to_resume
    remove_leftovers(run.folder)
    if not run.last.is_file():
        run.refuse_finished()
        return None
    saved = to_resume(run, config, "another --log_dir")
    print(f"continues after epoch {saved['epoch']}")
    return saved


def row(result, name, dataset, config, subset):
    from cls_metric import frame_figures
    figures = frame_figures([result])
    return {"model": name, "dataset": dataset, "fold_idx": config.data.fold - 1, "subset_idx": subset,
            "recording": result.stem, "frame_recall": figures["frame recall"] / 100, "doa_error": figures["DOA error"]}


if __name__ == "__main__":
    sys.exit(main())
