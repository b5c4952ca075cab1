"""Draw what a trained model finds in test recordings: features, azimuth, elevation and activity over time.

Of a model with attention over time (ADRENALINE), a picture of that as well.
"""

import argparse
import sys

import torch
from tqdm import tqdm

from cls_metric import format_score
from doanet_parameters import add_override_argument
from doatools.errors import exits_cleanly
from doatools.report import plots
from doatools.train.loop import Predictions
from evaluation import predict
from localizer import choose, open_checkpoint, recordings_of, score


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, usage="%(prog)s [task-id job-id | checkpoint.pt] [key=value ...] [--count N]",
        epilog="example: python3 visualize_doanet_output.py 1 first --count 3   (without words: the newest run)\n"
               "         python3 visualize_doanet_output.py experiments/ADRENALINE_ansim_fold1/best.pt",
        formatter_class=argparse.RawDescriptionHelpFormatter)
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
        draw_attention(folder / f"{track.stem}_attention.png", localizer.model, dataset, number, localizer.params)
    print(f"{min(args.count, len(tracks))} of {len(tracks)} test recordings drawn -> {folder}/")
    return 0


def draw(path, localizer, dataset, number, track):
    """The picture of one recording, its own scores in the title."""
    scores = score([track])
    told = "   ".join(f"{name} {format_score(name, scores[name])}" for name in ("LE", "LF", "F20", "MOTA@20"))
    features = localizer.features.as_channels(localizer.scaler.invert(dataset.features(number)))  # (C, T', F)
    kind = localizer.features.kind
    plots.recording(path, f"{track.stem}\n{told}", kind.shown(features), kind.pictured, track, localizer.params)


@torch.inference_mode()
def draw_attention(path, model, dataset, number, params):
    """The attention of each chunk of one recording, if the model has any, above its tracks at label frames."""
    chunks = dataset.sequences_per_recording
    batch = dataset.__getitems__(list(range(number * chunks, (number + 1) * chunks)))
    answer = model(batch["features"].to(next(model.parameters()).device))
    maps = (answer.extras or {}).get("attention")
    if maps is None:
        return
    activity = None if answer.activity_logits is None else answer.activity_logits.sigmoid().cpu().numpy()
    (track,) = recordings_of(Predictions(batch["index"], answer.doa.cpu().numpy(), activity), dataset,
                             pooled=False)
    plots.attention(path, track.stem, maps.cpu().numpy(), track, params["label_hop_len_s"])


if __name__ == "__main__":
    sys.exit(main())
