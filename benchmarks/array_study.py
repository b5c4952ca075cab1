"""One network for all arrays, against one trained for each array and against classical baselines.

Per array, a dataset of simulated rooms: the same scenes for all arrays. A specialist (task 24 with this array) is
trained on it, and one generalist (task 24) on as many recordings of drawn arrays, which are like none of the tested
ones, in as many steps. All are scored on the array's test fold, which has its own rooms and sounds; so are SRP-PHAT and
MUSIC. --gradient adds a specialist on gradient vectors (features=vectors), --model another model that reads any array,
--faults the generalist (or --model) with fewer capsules, and with capsules that are not where the file says. What is
there already is not made again, so a study that was stopped continues.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.studies import run, scored, trained
from doatools.spatial.arrays import find_array
from doatools.spatial.drawn import write_array

ARRAYS = ("uma8", "matrix_creator", "mic", "cube8", "irregular5")
BASELINES = ("srp", "music")
GENERALIST, GRADIENT = "24", "22"
REDUCED, FEWEST = "cube8", 4  # capsules are removed from this array, one by one, down to this number
ORDER = (0, 6, 3, 5, 7, 1, 2, 4)  # the first four of the cube are a tetrahedron
DISPLACED, OFFSETS_MM = ("uma8", "cube8"), (2, 5)
FIGURES = {"LE": "{:.1f}°", "F20": "{:.1f}", "azimuth error": "{:.1f}°"}


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python3 benchmarks/array_study.py\n"
               "         python3 benchmarks/array_study.py --arrays respeaker_6mic --gradient --skip-generalist")
    parser.add_argument("--arrays", nargs="+", default=ARRAYS, metavar="ARRAY", help=f"(default: {' '.join(ARRAYS)})")
    parser.add_argument("--recordings", type=int, default=12, metavar="N", help="per fold, of 1 minute (default 12)")
    parser.add_argument("--epochs", type=int, default=25, metavar="N", help="of each training (default 25)")
    parser.add_argument("--gradient", action="store_true", help="specialists on gradient vectors as well")
    parser.add_argument("--skip-generalist", action="store_true", help="specialists and baselines alone")
    parser.add_argument("--model", type=Path, metavar="best.pt", help="another model that reads any array")
    parser.add_argument("--faults", action="store_true", help="also fewer capsules, and capsules at other places")
    parser.add_argument("--work", type=Path, default=Path("studies/arrays"), metavar="FOLDER",
                        help="datasets and results (default studies/arrays)")
    return parser


def main(argv=None):
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.faults and args.skip_generalist and not args.model:
        parser.error("--faults takes the generalist or --model")
    arrays = [find_array(name) for name in args.arrays]
    general = {} if args.skip_generalist else {"generalist": trained_on(args, GENERALIST, "drawn", extract(
        args, GENERALIST, "drawn", simulated(args, "drawn", "drawn")))}
    general |= {args.model.parent.name: args.model} if args.model else {}
    learned = {array.name: of_networks(args, array.name, general) for array in arrays}
    faulty = list(with_faults(args, *list(general.items())[-1])) if args.faults else []
    rows = [(name, of_baselines(args, name) | scores) for name, scores in learned.items()]
    for one in filter(None, (rows, faulty)):
        print("\n".join(table(one)) + "\n")
    return 0


def simulated(args, name, array, *words):
    """The dataset of an array's name or file."""
    folder = args.work / "data" / name
    run("simulate_dataset.py", f"dataset_dir={folder}", f"array={array}", f"sim_recordings_per_fold={args.recordings}",
        *words)
    return folder


def extract(args, task, array, dataset):
    """The same dataset, with the features of a task."""
    run("batch_feature_extraction.py", task, *of_dataset(task, array, dataset))
    return dataset


def of_dataset(task, array, dataset):
    return (f"array={array}", f"dataset_dir={dataset}", f"feat_label_dir={dataset / f'features_{task}'}",
            *["features=vectors"] * (task == GRADIENT))


def trained_on(args, task, array, dataset):
    """best.pt of a training of a task on the dataset of an array."""
    return trained(task, array, args.work / "results", *of_dataset(task, array, dataset), "quick_test=False",
                   f"nb_epochs={args.epochs}")


def of_baselines(args, array):
    """{baseline: figures} on the test fold of an array's dataset."""
    return {name: scored(args.work / "scores" / f"{name}_{array}", "--baseline", name, f"array={array}",
                         f"dataset_dir={args.work / 'data' / array}") for name in BASELINES}


def of_networks(args, array, general):
    """{network: figures} on the test fold of an array's dataset."""
    dataset, scores = simulated(args, array, array), {}
    for task in (GENERALIST, GRADIENT) if args.gradient else (GENERALIST,):
        checkpoint = trained_on(args, task, array, extract(args, task, array, dataset))
        title = "specialist" + " (gradient)" * (task == GRADIENT)
        scores[title] = scored(args.work / "scores" / f"{task}_{array}", checkpoint)
    return scores | {name: tested(args, name, model, array, dataset) for name, model in general.items()}


def tested(args, name, model, array, dataset):
    """Figures of a model that reads any array, on the test fold of an array's dataset."""
    return scored(args.work / "scores" / f"{name}_{Path(array).stem}_{dataset.name}", model,
                  *of_dataset(GENERALIST, array, dataset))


def with_faults(args, name, model):
    """(title, {name: figures}) of a model that reads any array, with fewer capsules, and with capsules that are not
    where the file says."""
    for count in range(len(ORDER) - 1, FEWEST - 1, -1):
        file = reduced(args, count)
        dataset = extract(args, GENERALIST, file, simulated(args, file.stem, file, "--fold", "1"))
        yield f"{REDUCED}, {count} capsules", {name: tested(args, name, model, str(file), dataset)}
    for array in DISPLACED:
        for offset in OFFSETS_MM:
            dataset = extract(args, GENERALIST, array, simulated(
                args, f"{array}_{offset}mm", array, "--fold", "1", f"sim_position_mm={offset}"))
            yield f"{array}, capsules off by {offset} mm", {name: tested(args, name, model, array, dataset)}


def reduced(args, count):
    """The file of the first ``count`` capsules, in ORDER, of the array REDUCED."""
    array, file = find_array(REDUCED), args.work / f"{REDUCED}_{count}.yaml"
    chosen = sorted(ORDER[:count])
    args.work.mkdir(parents=True, exist_ok=True)
    write_array(file, dataclasses.replace(array, name=file.stem, directivity=array.directivity[:count],
                                          positions_m=tuple(array.positions_m[number] for number in chosen)))
    return file


def table(rows):
    """Lines of Markdown: LE, F20 and azimuth error of each system, per row."""
    systems = list(rows[0][1])
    lines = ["| " + " | ".join(["array", *systems]) + " |", "|" + " --- |" * (1 + len(systems))]
    for title, scores in rows:
        cells = ["; ".join(form.format(scores[system][figure]) for figure, form in FIGURES.items())
                 for system in systems]
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
