"""Score a checkpoint, another program's CSVs or a classical yardstick on the recordings of the test fold."""

import argparse
import shlex
import sys
from pathlib import Path

from doatools.report.page.tables import print_scores

from cls_metric import GROUPS, UNITS
from doanet_parameters import add_override_argument, get_params, split_words
from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json
from doatools.report import page as report
from doatools.track import baselines as yardsticks
from evaluation import (
    by_checkpoint,
    by_csvs,
    by_yardstick,
    compare_tracks,
    evaluate_tracks,
    references_of_dataset,
    references_of_folder,
    write_csvs,
)
from localizer import CHANGEABLE, check_changeable, choose

# The parameters that a yardstick reads.
OF_YARDSTICKS = ("dataset_dir", "dataset", "mode", "fs", "label_hop_len_s", "max_audio_len_s", "max_sources", "tracker",
                 "tracker_gate_deg", "tracker_max_gap", "tracker_process_deg", "tracker_measurement_deg")


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [task-id job-id | checkpoint.pt | --predictions FOLDER | --yardstick KIND] [key=value ...]",
        epilog="examples: python3 evaluate_doanet.py 1 first --against 2_first\n"
               "          python3 evaluate_doanet.py --predictions theirs/ --references metadata_dev/\n"
               "          python3 evaluate_doanet.py --yardstick music dataset_dir=datasets/simulated")
    add_override_argument(parser)
    parser.add_argument("--predictions", metavar="FOLDER", help="CSVs in DCASE format, one a recording; their class "
                        "and track id name a source (tracker=kalman links them anew)")
    parser.add_argument("--references", metavar="FOLDER", help="score --predictions against these CSVs rather than "
                        "the test fold of dataset_dir")
    parser.add_argument("--frames", type=int, metavar="N", help="label frames of each recording in --references "
                        "(default: up to the last one that a reference or prediction names)")
    parser.add_argument("--yardstick", choices=sorted(yardsticks.RULES), help="a classical localizer: intensity reads "
                        "FOA, srp (SRP-PHAT) and music read MIC; tracker=kalman unless told")
    parser.add_argument("--against", metavar="OTHER", help="compare with a run (2_first), checkpoint, folder of CSVs "
                        "or yardstick on the same recordings")
    parser.add_argument("--write-csv", metavar="FOLDER", help="write the predictions as DCASE CSVs")
    parser.add_argument("--out", metavar="FOLDER", help="where evaluation.json and report.html go (default: the "
                        "folder of the run, or one in results_dir named as what is scored)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes of a yardstick (default 1)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    refuse_contradictions(args)
    own_identities = args.predictions and not tracker_asked(args)
    if not tracker_asked(args) and (args.yardstick or args.against in yardsticks.RULES):
        args.overrides.append("tracker=kalman")  # peaks of a spectrum have no slots; who is compared has the same
    name, tracks, params, out = find_system(args, own_identities)
    hop_s = params["annotation_hop_len_s"]
    results = {"system": name, "command": shlex.join(["python3", "evaluate_doanet.py", *(argv or sys.argv[1:])]),
               "identities": "of the CSVs" if own_identities else f"by tracker={params['tracker']}",
               "parameters": {key: params[key] for key in parameters_used(args, params)},
               **evaluate_tracks(tracks, hop_s)}
    if args.against:
        others = find_other(args, tracks, params, own_identities)
        results |= {"against": args.against, "comparison": compare_tracks(tracks, others, hop_s)}
    out = Path(args.out or out)
    print_scores(results, GROUPS, UNITS)
    write_json(out / "evaluation.json", results)
    report.write(out / "report.html", results, tracks, hop_s, GROUPS, UNITS)
    print(f"\nall figures  {out}/evaluation.json\nreport       {out}/report.html")
    if args.write_csv:
        write_csvs(args.write_csv, tracks, hop_s)
        print(f"predictions  {args.write_csv}/ ({len(tracks)} CSVs)")
    return 0


def refuse_contradictions(args):
    if args.predictions and args.yardstick:
        raise UserError("give --predictions or --yardstick, not both")
    if args.references and not args.predictions:
        raise UserError("--references are for --predictions; a checkpoint or yardstick is scored on its dataset_dir")
    if args.frames is not None and (args.frames < 1 or not args.references):
        raise UserError("--frames is the length (1 or more label frames) of recordings in --references")


def tracker_asked(args):
    return any(word.startswith("tracker=") for word in args.overrides)


def find_system(args, own_identities):
    """What the command line asks to score → (name, tracks, parameters, folder for what is told of it)."""
    if not (args.predictions or args.yardstick):
        path, overrides = choose(args.overrides)
        tracks, params = by_checkpoint(path, overrides)
        return path.parent.name, tracks, params, path.parent
    name = args.yardstick or Path(args.predictions).resolve().name
    params = get_params(**split_words(args.overrides)[1])
    out = Path(params["results_dir"]) / f"evaluation_{name}"
    if args.yardstick:
        params |= {"dataset": yardsticks.DATASETS[name]}
        return name, by_yardstick(name, params, references_of_dataset(params), args.jobs), params, out
    references = (references_of_folder(args.references, args.predictions, args.frames) if args.references
                  else references_of_dataset(params))
    return name, by_csvs(args.predictions, references, None if own_identities else params), params, out


def parameters_used(args, params):
    """Names of the parameters that the scores depend on."""
    if args.yardstick:
        return OF_YARDSTICKS
    return split_words(args.overrides)[1] if args.predictions else params


def find_other(args, tracks, params, own_identities):
    """Tracks of what --against names, on the recordings of ``tracks``."""
    other, (_, overrides) = Path(args.against), split_words(args.overrides, None, None)
    if args.against in yardsticks.RULES:
        return by_yardstick(args.against, params | {"tracker": overrides["tracker"]}, tracks, args.jobs)
    for path in (other, other / "best.pt", Path(params["results_dir"]) / other / "best.pt"):
        if path.suffix == ".pt" and path.is_file():
            changed = {key: value for key, value in overrides.items() if key in CHANGEABLE}
            return by_checkpoint(path, check_changeable(changed))[0]
    if not other.is_dir():
        raise UserError(f"{other}: neither a run in {params['results_dir']}, a checkpoint, a folder of CSVs nor one "
                        f"of {', '.join(yardsticks.RULES)}")
    return by_csvs(other, tracks, params if "tracker" in overrides and not own_identities else None)


if __name__ == "__main__":
    sys.exit(main())
