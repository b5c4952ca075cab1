"""Score a model, CSVs of another program, or a classical baseline on the test recordings of a dataset.

The scores, with 95 % intervals, are printed and written to evaluation.json and report.html.
"""

import argparse
import shlex
import sys
from pathlib import Path

from doatools.config.commandline import add_override_argument, add_threads_argument, set_threads, split_words
from doatools.errors import UserError, exits_cleanly
from doatools.files import has_suffix, write_json
from doatools.registry import BASELINES

# The parameters that the scores of a baseline depend on, besides those of the tracker.
OF_BASELINES = ("dataset_dir", "array", "rotation", "mode", "fs", "max_audio_len_s", "max_sources")


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [task-id job-id | best.pt | best.onnx | --predictions FOLDER | --baseline NAME] "
              "[key=value ...]",
        epilog="examples: python3 evaluate_doanet.py 22 first --against 20_first\n"
               "          python3 evaluate_doanet.py --predictions theirs/ --references metadata_dev/\n"
               "          python3 evaluate_doanet.py --baseline music array=mic dataset_dir=datasets/simulated")
    add_override_argument(parser)
    parser.add_argument("--predictions", metavar="FOLDER", help="score these CSVs in DCASE format, one per recording; "
                        "class and track id together identify a source, unless tracker=kalman or nearest links the "
                        "predictions")
    parser.add_argument("--references", metavar="FOLDER", help="score --predictions against these CSVs instead of "
                        "the test fold of dataset_dir")
    parser.add_argument("--frames", type=int, metavar="N", help="number of frames of each recording in --references "
                        "(default: up to the last frame in its reference or prediction)")
    parser.add_argument("--baseline", choices=sorted(BASELINES), help="score a classical baseline: intensity for "
                        "ambisonics, srp (SRP-PHAT) or music for capsules (default array=mic); the default tracker is "
                        "kalman")
    parser.add_argument("--against", metavar="OTHER", help="compare with a run (20_first), checkpoint, folder of "
                        "CSVs or baseline on the same recordings")
    parser.add_argument("--write-csv", metavar="FOLDER", help="write the predictions as CSVs in DCASE format")
    parser.add_argument("--out", metavar="FOLDER", help="folder for evaluation.json and report.html (default: the "
                        "folder of the run, or one in results_dir named after the scored system)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="number of processes for a baseline (default 1)")
    return add_threads_argument(parser, "the network and of matrix products")


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    set_threads(args.threads)
    refuse_contradictions(args)
    overrides = split_words(args.overrides, None, None)[1]
    own_identities = args.predictions and overrides.get("tracker", "off") == "off"
    if "tracker" not in overrides and (args.baseline or args.against in BASELINES):
        args.overrides.append("tracker=kalman")  # peaks of a spectrum have no slots; both systems get the same tracker
    name, found, config, out = find_system(args, own_identities)
    from cls_metric import groups
    from doatools.report import page
    from doatools.report.tables import print_scores
    from evaluation import compare_results, evaluate_results, write_csvs
    hop_s, values = config.score_hop_s, config.flat()
    results = {"system": name, "command": shlex.join(["python3", "evaluate_doanet.py", *(argv or sys.argv[1:])]),
               "identities": "of the CSVs" if own_identities else f"by tracker={config.tracker.tracker}",
               "parameters": {key: values[key] for key in parameters_used(args, values)},
               **evaluate_results(found, hop_s)}
    if args.against:
        others = find_other(args, found, config, own_identities)
        results |= {"against": args.against, "comparison": compare_results(found, others, hop_s)}
    out = Path(args.out or out)
    write_json(out / "evaluation.json", results)
    page.write(out / "report.html", results, found, hop_s, groups())
    if args.write_csv:
        write_csvs(args.write_csv, found, hop_s)
    print_scores(results, groups())
    if config.array.planar:
        print(f"\narray '{config.array.name}' is planar: all elevations are folded into the upper half")
    print(f"\nall scores   {out}/evaluation.json\nreport       {out}/report.html")
    if args.write_csv:
        print(f"predictions  {args.write_csv}/ ({len(found)} CSVs)")
    return 0


def refuse_contradictions(args):
    if args.predictions and args.baseline:
        raise UserError("give --predictions or --baseline, not both")
    if args.references and not args.predictions:
        raise UserError("--references are for --predictions; a checkpoint or baseline is scored on its dataset_dir")
    if args.frames is not None and (args.frames < 1 or not args.references):
        raise UserError("--frames is the length of the recordings in --references (1 or more frames)")


def find_system(args, own_identities):
    """The system to score → (name, list of Result, Config, folder for the report)."""
    if not (args.predictions or args.baseline):
        from doatools.train.runs import choose
        path, overrides = choose(args.overrides, (".pt", ".onnx"))
        from evaluation import by_checkpoint, by_exported
        found, config = (by_exported if has_suffix(path, ".onnx") else by_checkpoint)(path, overrides)
        name, out = place_of(path, config)
        return name, found, config, out
    name = args.baseline or Path(args.predictions).resolve().name
    overrides = split_words(args.overrides)[1]
    from doanet_parameters import get_params
    config = get_params(**overrides)  # a mistyped parameter is refused before a baseline is imported
    if args.baseline and not {"array", "dataset"} & overrides.keys():
        config = config.replaced(array=array_for(args.baseline))
    out = Path(config.run.results_dir) / f"evaluation_{name}"
    from evaluation import by_baseline, by_csvs, by_folder, references_of_dataset, references_of_folder
    if args.baseline:
        return name, by_baseline(name, config, references_of_dataset(config), args.jobs), config, out
    tracker = None if own_identities else config.tracker
    if args.references:
        references = references_of_folder(args.references, args.predictions, args.frames, config.array)
        return name, by_csvs(args.predictions, references, tracker, config.array), config, out
    return name, by_folder(args.predictions, config, references_of_dataset(config), tracker), config, out


def place_of(path, config):
    """The name of a network, and the folder for its report: those of its run, or, of another file than the run's
    best.pt, an own folder, so that reports of several files do not replace each other."""
    run = path.resolve().parent
    if path.name == "best.pt":
        return run.name, path.parent
    name = f"{run.name}_{path.stem}" if path.stem in ("best", "last") else path.stem
    return name, Path(config.run.results_dir) / f"evaluation_{name}"


def array_for(baseline):
    """The array of TAU-NIGENS 2020 that a baseline reads."""
    from doatools.spatial.arrays import find_array
    return "foa" if BASELINES[baseline].reads(find_array("foa")) else "mic"


def parameters_used(args, values):
    """The names of the parameters that the scores depend on."""
    from doatools.config.schema import FLAT, defaults
    if args.baseline:
        return [*OF_BASELINES, *(name for name, (section, _) in FLAT.items() if section == "tracker")]
    if args.predictions:
        return [key for key, value in values.items() if value != defaults()[key]]
    return [key for key in values if FLAT[key][0] != "simulation"]


def find_other(args, found, config, own_identities):
    """The Results of the system --against, on the recordings of ``found``."""
    from doatools.config.schema import checked
    from doatools.train.runs import CHANGEABLE, check_changeable
    from evaluation import by_baseline, by_checkpoint, by_csvs, by_exported, by_folder
    other, (_, overrides) = Path(args.against), split_words(args.overrides, None, None)
    if args.against in BASELINES:
        if not BASELINES[args.against].reads(config.array):
            config = config.replaced(array=array_for(args.against))
        return by_baseline(args.against, config.replaced(tracker=checked("tracker", overrides["tracker"])), found,
                           args.jobs)
    for path in (other, other / "best.pt", Path(config.run.results_dir) / other / "best.pt"):
        if has_suffix(path, ".pt", ".onnx") and path.is_file():
            changed = check_changeable({key: value for key, value in overrides.items()
                                        if key in CHANGEABLE and key != "array"})
            return (by_checkpoint if has_suffix(path, ".pt") else by_exported)(path, changed, config.data.array)[0]
    if not other.is_dir():
        raise UserError(f"{other}: neither a run in {config.run.results_dir}, a checkpoint, a folder of CSVs nor one "
                        f"of {', '.join(BASELINES)}")
    tracker = config.tracker if "tracker" in overrides and not own_identities else None
    if args.references:
        return by_csvs(other, found, tracker, config.array)
    return by_folder(other, config, found, tracker)


if __name__ == "__main__":
    sys.exit(main())
