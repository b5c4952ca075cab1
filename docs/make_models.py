"""The scores of the shipped models: prints the commands that make the test sets, scores what localize.py finds in them,
and writes docs/models.md and, if the models estimate their errors, docs/models.png.

    python3 docs/make_models.py --commands | sh     # simulate the sets
    python3 docs/make_models.py                     # localize and score (kept in results/models/), then write the page

Every set is localized as `python3 localize.py RECORDING [--array mic]` does it: default threshold, test-time rotation,
tracker, angles rounded to whole degrees. Measured rooms are added by --responses FOLDER ..., one set per folder.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import study  # which makes the modules of the toolkit, one folder up, importable
from study import ROOT

from doatools.errors import UserError, exits_cleanly
from doatools.files import write_json

DOCS, KEPT, SETS_IN = ROOT / "docs", ROOT / "results" / "models", "datasets/models"
SOUNDS = "--sounds sounds --sounds more"
COMMON = "seed=11 sim_rooms_per_fold=12 sim_recordings_per_fold=16 sim_moving=0.5"
# name → (title, what its simulation differs by)
SETS = {
    "first": ("up to two sources, ±45°, RT60 0.3-0.8 s, SNR 6-30 dB", ""),
    "three": ("three sources in half of the recordings", "max_sources=3"),
    "high": ("elevations up to ±85°", "sim_elevation_deg=85"),
    "live": ("RT60 0.9-1.5 s", "sim_rt60_s=0.9,1.5"),
    "noise": ("SNR -5 to 6 dB", "sim_snr_db=-5,6"),
}
EMPTY = "empty"  # noise, hum, babble, wind and offsets, without any source
MODELS = {"doanet_foa": "FOA", "doanet_mic": "MIC", "doanet_foa_live": "FOA, live"}
FIGURES = ("LE", "LF", "F20", "MOTA@20", "HOTA")
QUANTILES = np.linspace(0.05, 0.95, 19)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", action="store_true", help="print the commands that make the sets, and exit")
    parser.add_argument("--responses", nargs="*", default=[], metavar="FOLDER", help="measured rooms to add")
    parser.add_argument("--fold", type=int, default=1, help="2: the validation fold, only printed (default 1: test)")
    parser.add_argument("--models", nargs="*", default=list(MODELS), metavar="NAME", help="of models/, without .pt")
    parser.add_argument("--sets", type=Path, default=ROOT / SETS_IN, help=f"folder of the sets (default {SETS_IN})")
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    if args.commands:
        print("\n".join(commands(args.responses, args.fold)))
        return 0
    rooms = [Path(folder).name for folder in args.responses]
    scores = {}
    for model in args.models:
        for name in (*SETS, *(rooms if "foa" in model else []), EMPTY):
            scores[model, name] = scored(model, args.sets / name, args.fold)
    print("\n".join(table(scores, args.models, rooms)))
    if args.fold == 1 and args.models == list(MODELS):
        study.write_page(DOCS, "models", {"SCORES": "\n".join(table(scores, args.models, rooms)),
                                          "QUIET": quiet_minutes(scores, args.models),
                                          "PARTS": "\n".join(parts_table(scores, args.models))})
        if any(own["calibration"] for own in scores.values()):
            draw(scores, DOCS / "models.png")
    return 0


def commands(responses=(), fold=1):
    """Shell commands that simulate the sets."""
    for name, (_, words) in SETS.items():
        yield simulation(name, f"--generated --fold {fold} {COMMON} {words}")
    yield simulation(EMPTY, f"--generated --fold {fold} {COMMON} --realistic sim_empty=1")
    for folder in responses:
        yield simulation(Path(folder).name, f"--fold {fold} --responses {folder} seed=11 sim_recordings_per_fold=16 "
                         "sim_snr_db=25,25")


def simulation(name, words):
    return f"python3 simulate_dataset.py dataset_dir={SETS_IN}/{name} {SOUNDS} {words}".rstrip()


# --- scores ------------------------------------------------------------------------------------------------------

def scored(model, folder, fold):
    """Scores of a model on the recordings of a folder; kept until the model or the folder changes."""
    path, kept = ROOT / "models" / f"{model}.pt", KEPT / f"{model}_{folder.name}_fold{fold}.json"
    for one in (path, folder):
        if not one.exists():
            raise UserError(f"{one} is missing; the sets are made by python3 docs/make_models.py --commands | sh")
    if not kept.is_file() or kept.stat().st_mtime < max(path.stat().st_mtime, folder.stat().st_mtime):
        write_json(kept, _scored(path, folder, fold))
    return study.load(kept)


def _scored(path, folder, fold):
    from calibrate_doanet import errors_and_radii
    from cls_metric import Scores
    from doatools.report.breakdowns import moving_events
    from doatools.track.identities import identified
    from evaluation import evaluate_results
    from inference import load_localizer
    localizer = load_localizer(path)
    role = {1: "test", 2: "val"}[fold]
    localizer.config = localizer.config.replaced(dataset_dir=str(folder), max_audio_len_s=0.0)
    results = list(tracked_results(localizer, role))
    found = evaluate_results(results)
    moving = Scores()
    for result in (identified(result, 0.1) for result in results):
        frames = moving_events(result).any(1)
        moving.update(result.doa, result.active & frames[:, None], result.ref_doa,
                      np.where(frames[:, None], result.ref_id, -1), result.pred_id)
    errors, radii = errors_and_radii(results)
    ratios, radii = (values[np.isfinite(radii)] for values in (errors / np.maximum(radii, 1e-6), radii))
    return {
        "figures": {name: list(interval) for name, interval in found["figures"].items()},
        "parts": {f"{name}: {part}": {key: list(interval) for key, interval in values["figures"].items()}
                  for name, parts in found["breakdowns"].items() if name in ("sources at once", "distance")
                  for part, values in parts.items()},
        "HOTA of moving sources": moving.compute()["HOTA"],
        "recordings": len(results), "without a track": float(np.mean([not result.active.any() for result in results])),
        "covered": float(np.mean(ratios <= 1)) if len(ratios) else None,
        "radius": float(np.median(radii)) if len(ratios) else None,
        # The share of errors below each radius, scaled as if errors were Rayleigh distributed.
        "calibration": [float(np.mean(ratios <= np.sqrt(np.log(1 - q) / np.log(0.1)))) for q in QUANTILES]
        if len(ratios) else None,
    }


def tracked_results(localizer, role):
    """Results of the tracks that localize.py writes for the recordings of a role."""
    from tqdm import tqdm

    from doatools.data.dcase import FRAME_S
    from doatools.data.readers import recordings_for
    from doatools.track.rows import at_frames
    from evaluation import references_of_dataset
    from inference import track_file
    config = localizer.config
    references = {one.stem: one for one in references_of_dataset(config, role)}
    for recording in tqdm(recordings_for(config, role), unit="file", leave=False):
        found = track_file(localizer, recording.audio)
        rows = at_frames(found.rows, config.features.label_hop_len_s, FRAME_S, found.seconds)
        yield as_result(references[recording.stem], rows)


def as_result(reference, rows):
    """A reference with the rows of tracks as predictions; angles are whole degrees, as in the CSV."""
    from doatools.spatial.geometry import unit_vectors
    from doatools.types import Predictions
    frames = len(reference.ref_id)
    rows = rows[rows["frame"] < frames]
    first = np.searchsorted(rows["frame"], rows["frame"])
    slot = np.arange(len(rows)) - first
    shape = frames, 1 + slot.max(initial=0)
    doa, identity, radius = np.zeros((*shape, 3)), np.full(shape, -1), np.full(shape, np.nan)
    place = rows["frame"], slot
    doa[place] = unit_vectors(np.rint(rows["azimuth"]), np.rint(rows["elevation"]))
    identity[place] = rows["track"]
    if "radius" in rows.dtype.names:
        radius[place] = rows["radius"]
    active = (identity >= 0).astype(float)
    return reference.replaced(predictions=Predictions(doa, active, {"radius": radius}), pred_id=identity)


# --- tables and plot ---------------------------------------------------------------------------------------------

def table(scores, models, rooms):
    from cls_metric import format_score
    estimated = any(own["radius"] is not None for own in scores.values())
    rows = study.header("model", "set", *FIGURES, "HOTA, moving", *(["radius holds", "median radius"] * estimated))
    for model in models:
        for name in (*SETS, *(rooms if "foa" in model else [])):
            own = scores[model, name]
            title = SETS[name][0] if name in SETS else f"measured room {name}, SNR 25 dB"
            intervals = [own["figures"][key] for key in FIGURES]  # value, lower and upper end
            cells = [f"{format_score(key, value)} ± {(high - low) / 2:.1f}"
                     for key, (value, low, high) in zip(FIGURES, intervals)]
            moving = own["HOTA of moving sources"]
            cells.append("–" if moving is None else f"{moving:.1f}%")
            if estimated:
                known = own["radius"] is not None
                cells += [f"{100 * own['covered']:.0f}%", f"{own['radius']:.1f}°"] if known else ["–", "–"]
            rows.append(f"| {MODELS[model]} | {title} | {' | '.join(cells)} |")
    return rows


def quiet_minutes(scores, models):
    """A sentence on recordings without any source."""
    own = {model: scores[model, EMPTY] for model in models}
    shares = ", ".join(f"{100 * one['without a track']:.0f} % ({MODELS[model]})" for model, one in own.items())
    return (f"Recordings without a track, of {own[models[0]]['recordings']} minutes without any source (diffuse noise, "
            f"hum, babble, wind, DC offsets): {shares}.")


def parts_table(scores, models, name="three"):
    """Scores by the number of sources at once and by their distance, in the set with three sources."""
    from cls_metric import format_score
    keys = ("LE", "LR", "LP", "F20")
    rows = study.header("model", "frames with", *keys)
    for model in models:
        for part, figures in scores[model, name]["parts"].items():
            kind, which = part.split(": ")
            text = f"{which} source(s)" if kind == "sources at once" else f"closest sources {which} apart"
            rows.append(f"| {MODELS[model]} | {text} | " + " | ".join(
                format_score(key, figures[key][0]) for key in keys) + " |")
    return rows


def draw(scores, path):
    """How many true directions lie within the radius, scaled to other shares than 90 %."""
    from doatools.report.plots import figure
    models = list(dict.fromkeys(model for model, _ in scores))
    with figure(path, 1, len(models), figsize=(5 * len(models), 5.5), sharey=True, squeeze=False) as (_, (axes,)):
        for model, ax in zip(models, axes):
            ax.plot([0, 1], [0, 1], color="gray", lw=1)
            for number, name in enumerate(dict.fromkeys(name for _, name in scores)):
                own = scores.get((model, name))
                if own and own["calibration"]:
                    title = SETS[name][0] if name in SETS else f"measured room {name}"
                    ax.plot(QUANTILES, own["calibration"], color=f"C{number}", label=title)
            ax.set(title=MODELS[model], xlabel="share that a scaled radius should hold", xlim=(0, 1), ylim=(0, 1))
            ax.grid(alpha=0.3)
        axes[0].set_ylabel("share that it holds")
        axes[0].legend(fontsize=7)


if __name__ == "__main__":
    sys.exit(main())
