"""Draw what a trained DOAnet finds in test recordings: features, azimuth, elevation and activity over time."""

import argparse
import sys

from tqdm import tqdm

from cls_metric import format_score
from doanet_parameters import add_override_argument
from doatools import plots
from doatools.errors import exits_cleanly
from localizer import choose, open_checkpoint, predict, score


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id job-id | checkpoint.pt] [key=value ...] [--count N]",
        epilog="example: python3 visualize_doanet_output.py 1 first --count 3   (without words: the newest run)")
    add_override_argument(parser)
    parser.add_argument("--count", type=int, default=4, help="recordings to draw, from the first on (default 4)")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_intermixed_args(argv)
    path, overrides = choose(args.overrides)
    localizer, precision = open_checkpoint(path, overrides)
    tracks, dataset = predict(localizer, precision)
    folder = path.parent / "pictures"
    for number, track in enumerate(tqdm(tracks[: args.count], unit="picture", leave=False)):
        draw(folder / f"{track.stem}.png", localizer, dataset, number, track)
    print(f"{min(args.count, len(tracks))} of {len(tracks)} test recordings drawn -> {folder}/")
    return 0


def draw(path, localizer, dataset, number, track):
    """The picture of one recording, its own scores in the title."""
    scores = score([track])
    told = "   ".join(f"{name} {format_score(name, scores[name])}" for name in ("LE", "LF", "F20", "MOTA@20"))
    features = localizer.features.as_channels(localizer.scaler.invert(dataset.features(number)))  # (C, T', F)
    plots.recording(path, f"{track.stem}\n{told}", features, localizer.features.extractor.pictured, track,
                    localizer.params)


if __name__ == "__main__":
    sys.exit(main())
