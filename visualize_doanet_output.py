"""Draw features, and predicted and true azimuth, elevation and activity over time, for test recordings of a model.

For models with attention over time (ADRENALINE), the attention weights are drawn as well.
"""

import argparse
import sys

from doanet_parameters import add_override_argument
from doatools.config.commandline import add_threads_argument, set_threads
from doatools.errors import UserError, exits_cleanly


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id job-id | checkpoint.pt] [key=value ...] [--count N]",
        epilog="example: python3 visualize_doanet_output.py 22 first --count 3   (without arguments: the newest run)\n"
               "         python3 visualize_doanet_output.py experiments/ADRENALINE_ansim_fold1/best.pt",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add_override_argument(parser)
    parser.add_argument("--count", type=int, default=4, help="number of recordings to draw (default 4)")
    parser.add_argument("--plot-format", choices=("png", "svg", "pdf"), default="png",
                        help="format of the pictures (default png)")
    return add_threads_argument(parser)


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    set_threads(args.threads)
    if args.count < 1:
        raise UserError(f"--count is a number of recordings, 1 or more, not {args.count}")
    from doatools.train.runs import choose
    path, overrides = choose(args.overrides)
    from tqdm import tqdm

    from evaluation import linked, predict
    from localizer import open_checkpoint
    localizer, precision = open_checkpoint(path, overrides)
    results, dataset = predict(localizer, precision)
    folder = path.parent / "pictures"
    for number, result in enumerate(tqdm(results[: args.count], unit="picture", leave=False)):
        draw(folder / f"{result.stem}.{args.plot_format}", localizer, dataset, number,
             linked(result, localizer.config.tracker))
        draw_attention(folder / f"{result.stem}_attention.{args.plot_format}", localizer, dataset, number)
    print(f"{min(args.count, len(results))} of {len(results)} test recordings drawn -> {folder}/")
    return 0


def draw(path, localizer, dataset, number, result):
    """Draw one recording, with its scores in the title."""
    from cls_metric import format_score, summary_scores
    from doatools.report import plots
    scores = summary_scores([result])
    title = "   ".join(f"{name} {format_score(name, scores[name])}" for name in ("LE", "LF", "F20", "MOTA@20"))
    features = localizer.features.as_channels(localizer.scaler.invert(dataset.features(number)))  # (C, T', F)
    kind = localizer.features.kind
    plots.recording(path, f"{result.stem}\n{title}", kind.shown(features), kind.pictured, result,
                    localizer.config.features.hop_len_s, dataset.frame_s, localizer.features.frequencies)


def draw_attention(path, localizer, dataset, number):
    """Draw the attention weights of one recording, if the model has any, above the tracks at label frames."""
    import torch

    from doatools.report import plots
    from doatools.train.loop import Sequences
    from doatools.types import Predictions
    batch = dataset.__getitems__(list(dataset.sequences_of(number)))
    with torch.inference_mode():
        found = localizer.model(batch["features"].to(next(localizer.model.parameters()).device))
    maps = (found.extras or {}).get("attention")
    if maps is None:
        return
    (result,) = dataset.results(Sequences(batch["index"], Predictions.of(found)), pooled=False)
    plots.attention(path, result.stem, maps.cpu().numpy(), result, localizer.config.features.label_hop_len_s)


if __name__ == "__main__":
    sys.exit(main())
