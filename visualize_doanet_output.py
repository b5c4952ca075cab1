"""Draw what a trained model finds in test recordings: features, azimuth, elevation and activity over time.

Of a model with attention over time (ADRENALINE), a picture of that as well.
"""

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from cls_data_generator import SequenceDataset, make_loader
from cls_metric import format_score
from doanet_parameters import add_override_argument, get_params, split_words
from doatools import checkpoint, plots
from doatools.errors import UserError, exits_cleanly
from doatools.training import Predictions, evaluate, make_fabric
from localizer import Localizer, find_checkpoint, recordings_of, score

CHANGEABLE = ("dataset_dir", "feat_label_dir", "results_dir", "device", "num_workers")


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
    content = checkpoint.load(path)
    localizer = Localizer.from_content({**content, "params": content["params"] | overrides}, path)
    tracks, dataset, model = predict(localizer, content["precision"])
    folder = path.parent / "pictures"
    for number, track in enumerate(tqdm(tracks[: args.count], unit="picture", leave=False)):
        draw(folder / f"{track.stem}.png", localizer, dataset, number, track)
        draw_attention(folder / f"{track.stem}_attention.png", model, dataset, number, localizer.params)
    print(f"{min(args.count, len(tracks))} of {len(tracks)} test recordings drawn -> {folder}/")
    return 0


def choose(words):
    """The words of the command line → (path of a checkpoint, overrides)."""
    plain, overrides = split_words(words, None, None)
    unknown = [key for key in overrides if key not in CHANGEABLE]
    if unknown:
        raise UserError(f"'{unknown[0]}' cannot be changed after training; here one can set {', '.join(CHANGEABLE)}")
    params = get_params(**overrides)
    overrides = {key: params[key] for key in overrides}  # as checked, each of its own type
    if "dataset_dir" in overrides:
        overrides["feat_label_dir"] = params["feat_label_dir"]
    results_dir = params["results_dir"]
    if plain[0] and plain[0].endswith(".pt"):
        return Path(plain[0]), overrides
    if plain[0] and not plain[1]:
        raise UserError("give a task id and a job id (1 first), a checkpoint's path, or nothing for the newest run")
    path, quick = find_checkpoint(results_dir, f"{Path(plain[0]).stem}_{plain[1]}" if plain[0] else None)
    print(f"checkpoint {path}" + (" (of a quick test: two epochs of two batches, do not expect much)" if quick else ""))
    return path, overrides


def predict(localizer, precision):
    """Predictions of every test recording → (list of Track, the data set, the model on its device)."""
    params = localizer.params
    dataset = SequenceDataset(params, "test", scaler=localizer.scaler)
    fabric = make_fabric(params, precision if params["device"] == "auto" else None)
    loader = fabric.setup_dataloaders(make_loader(dataset, params, train=False), use_distributed_sampler=False)
    model = fabric.setup_module(localizer.model)
    predictions, _ = evaluate(model, None, loader)
    return recordings_of(predictions, dataset), dataset, model


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
    (track,) = recordings_of(Predictions(batch["index"].numpy(), answer.doa.cpu().numpy(), activity), dataset,
                             pooled=False)
    plots.attention(path, track.stem, maps.cpu().numpy(), track, params["label_hop_len_s"])


if __name__ == "__main__":
    sys.exit(main())
