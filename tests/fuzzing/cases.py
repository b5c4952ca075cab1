"""The cases: which script reads which input, and how it is damaged.

A kind is a generator function of (rng, world) that yields one Case; ``KINDS`` has the share of each.
"""

import functools
import json
import os
import shutil
import stat
from pathlib import Path

from fuzzing import mutations
from fuzzing.runner import ROOT, Case
from fuzzing.world import SIMULATED, SMALL, STEM, wav_header

KINDS = {}
DATA = "dataset_dir=data"
LOCALIZE = ["--no-plot", "--fast", "--checkpoint", "net.onnx", "--out", "out"]
ODD_NAMES = ["a$HOME.wav", "a b.wav", "ü中💥.wav", "x" * 240 + ".wav", "-a.wav", "a\nb.wav", "a'\".wav", "%d{0}.wav",
             os.fsdecode(b"\xff\xfe.wav"), "a\x1b[31m.wav", "CON.wav", "a.WAV", ".a.wav", "a..wav", "{}.wav"]


def kind(share):
    """Register a kind; ``share``: how many of a thousand inputs are of it."""
    def add(function):
        KINDS[function.__name__] = (function, share)
        return function
    return add


def make(name, rng, world):
    return KINDS[name][0](rng, Path(world))


# --- preparing ---------------------------------------------------------------------------------------------------

def copying(world, *names):
    """A function that copies files and folders of the world, 'from' or 'from:to', into a folder."""
    def prepare(folder):
        for name in names:
            source, _, target = name.partition(":")
            target = folder / (target or source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (world / source).is_dir():
                shutil.copytree(world / source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(world / source, target)
    return prepare


def then(prepare, *changes):
    def all_of_it(folder):
        prepare(folder)
        for change in changes:
            change(folder)
    return all_of_it


def damaging(name, change):
    """A function that rewrites a file of a folder by ``change`` (bytes → bytes)."""
    def damage(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))
    return damage


def in_bytes(rng, mutation):
    seed = rng.getrandbits(64)
    return lambda data: mutation(_random(seed), data)


def in_text(rng, mutation):
    seed = rng.getrandbits(64)
    return lambda data: mutation(_random(seed), data.decode()).encode(errors="surrogatepass")


def _random(seed):
    import random
    return random.Random(seed)


def placing(name, content):
    def place(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


def odd_thing(rng, name):
    """In place of a file: (what, a function that makes it)."""
    what = rng.choice(["a dangling link", "a circular link", "a folder", "a FIFO", "a socket", "/dev/null", "nothing",
                       "/dev/zero"])

    def replace(folder):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "a dangling link":
            path.symlink_to("nowhere")
        elif what == "a circular link":
            path.symlink_to(path.name)
        elif what == "a folder":
            path.mkdir()
        elif what == "a FIFO":
            os.mkfifo(path)
        elif what == "a socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        elif what != "nothing":
            path.symlink_to(what)
    return what, replace


def one(rng, name, script, words, prepare, target, mutations_, **more):
    """A case in which one file is damaged by one of the mutations, or replaced by an odd thing."""
    named = more.pop("named", (Path(target).name,))
    if rng.random() < 0.06:
        what, change = odd_thing(rng, target)
        named = (*named, Path(target).stem)
        return Case(name, script, words, then(prepare, change), named, about=f"{target}: {what}", **more)
    mutation = rng.choice(mutations_)
    text = mutation in (*mutations.TEXT, mutations.yaml_text, mutations.json_text, mutations.json_lines)
    change = damaging(target, (in_text if text else in_bytes)(rng, mutation))
    return Case(name, script, words, then(prepare, change), named, about=f"{target}: {mutation.__name__}", **more)


# --- sound -------------------------------------------------------------------------------------------------------

@kind(90)
def sound_file(rng, world):
    """localize.py on a damaged recording."""
    source = rng.choice([f"data/foa_dev/{STEM}.wav", "a24.wav", "afloat.wav", "aext.wav", "a.flac", "a.ogg", "a.w64",
                         "a.aiff", "a.caf", "a.rf64"])
    target = f"victim{Path(source).suffix}"
    words = [target, *LOCALIZE, *rng.choice([[], [], ["--html"], ["--format", "json"]])]
    prepare = copying(world, f"{source}:{target}", "net.onnx")
    return one(rng, "sound_file", "localize", words, prepare, target, mutations.BYTES)


@kind(60)
def sound_stream(rng, world):
    """The same from standard input."""
    path = world / rng.choice([f"data/foa_dev/{STEM}.wav", "afloat.wav", "aext.wav", "a.flac", "a.w64", "a.aiff"])
    data = path.read_bytes()
    if rng.random() < 0.3:
        data = wav_header(rng.choice([0, 0xFFFFFFFF, 10**6]), rng.choice([0, 1, 4, 65535]),
                          rng.choice([0, 1, 24000, 2**32 - 1]), rng.choice([0, 8, 16, 24, 17])) + data[44:]
    else:
        data = rng.choice(mutations.BYTES)(rng, data)
    rate = rng.choice([[], [], ["--rate", "24000"], ["--rate", rng.choice(["1", "0", "-5", "999999999"])]])
    how = rng.choice([["--stream"], ["--stream"], ["--stream"], ["--live", "-", "--port", "0"]])
    return Case("sound_stream", "localize", [*how, "--fast", "--checkpoint", "net.onnx", *rate],
                copying(world, "net.onnx"), stdin=data, about=f"{path.suffix} {how[0]} {rate}")


@kind(25)
def odd_names(rng, world):
    """Names of files that few people have thought of; others beside them must be localized."""
    name = rng.choice(ODD_NAMES)
    source = (world / f"data/foa_dev/{STEM}.wav").read_bytes()
    if rng.random() < 0.5:
        source = mutations.truncated(rng, source)
    words = [rng.choice(["sounds", "./" + name if rng.random() < 0.5 else "sounds"]), *LOCALIZE]

    def place(folder):
        for target in (folder / "sounds", folder):
            target.mkdir(exist_ok=True)
            (target / name).write_bytes(source)
        (folder / "sounds" / "z.wav").write_bytes((world / f"data/foa_dev/{STEM}.wav").read_bytes())
    return Case("odd_names", "localize", words, then(copying(world, "net.onnx"), place), about=repr(name))


@kind(60)
def dataset_sound(rng, world):
    """A damaged recording in a dataset."""
    target = f"data/foa_dev/{STEM}.wav"
    script, words = rng.choice([
        ("batch_feature_extraction", [DATA, "--jobs", "1"]), ("check_dataset", [DATA, "array=foa", "--jobs", "1"]),
        ("augment_files", [DATA, "array=foa"]), ("evaluate_doanet", ["--baseline", "intensity", DATA, "--out", "out"])])
    if script == "augment_files":
        target = target.replace("fold1", "fold3")
    prepare = copying(world, "data/foa_dev", "data/mic_dev", "data/metadata_dev")
    return one(rng, "dataset_sound", script, words, prepare, target, mutations.BYTES)


# --- tables ------------------------------------------------------------------------------------------------------

@kind(90)
def annotation(rng, world):
    """A damaged annotation, splits.csv or folder of CSVs."""
    target = f"data/metadata_dev/{STEM}.csv"
    script, words = rng.choice([
        ("batch_feature_extraction", [DATA, "--jobs", "1"]), ("check_dataset", [DATA, "array=foa", "--jobs", "1"]),
        ("augment_files", [DATA, "array=foa"]), ("evaluate_doanet", ["--baseline", "intensity", DATA, "--out", "out"])])
    if script == "augment_files":
        target = target.replace("fold1", "fold3")
    if rng.random() < 0.3 and script != "augment_files":
        target = "data/splits.csv"
    prepare = copying(world, "data/foa_dev", "data/mic_dev", "data/metadata_dev", "splits.csv:data/splits.csv"
                      if "splits" in target else f"data/metadata_dev/{STEM}.csv")
    return one(rng, "annotation", script, words, prepare, target, [*mutations.TEXT, mutations.foreign])


@kind(70)
def predictions(rng, world):
    """A damaged file of predictions or references."""
    side = rng.choice(["predictions", "references"])
    words = ["--predictions", "predictions", "--references", "references", "--out", "out",
             *rng.choice([[], ["tracker=kalman"], ["--frames", "20"]])]
    prepare = copying(world, "predictions", "data/metadata_dev:references")
    names = sorted(path.name for path in (world / "predictions").iterdir())

    def matched(folder):
        for path in (folder / "references").iterdir():
            if path.name not in names:
                path.unlink()
    return one(rng, "predictions", "evaluate_doanet", words, then(prepare, matched), f"{side}/{names[0]}",
               [*mutations.TEXT, mutations.foreign], named=(names[0], side))


@kind(20)
def reference_of_page(rng, world):
    """localize.py --html --reference."""
    words = ["a.wav", *LOCALIZE, "--html", "--reference", "truth.csv"]
    prepare = copying(world, f"data/foa_dev/{STEM}.wav:a.wav", "net.onnx", f"data/metadata_dev/{STEM}.csv:truth.csv")
    return one(rng, "reference_of_page", "localize", words, prepare, "truth.csv", [*mutations.TEXT, mutations.foreign])


@kind(40)
def tut(rng, world):
    """Annotations and recordings of TUT Sound Events 2018."""
    folder = world / "tut" / "ansim"
    path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file() and "features" not in p.parts))
    target = f"ansim/{path.relative_to(folder)}"
    words = ["format=tut2018", "dataset_dir=ansim", "fs=44100", "--jobs", "1"]
    mutated = [*mutations.TEXT, mutations.foreign] if path.suffix == ".csv" else mutations.BYTES
    return one(rng, "tut", rng.choice(["batch_feature_extraction", "check_dataset"]), words,
               copying(world, "tut/ansim:ansim"), target, mutated)


@kind(40)
def locata(rng, world):
    """Files of a LOCATA corpus."""
    folder = world / "locata"
    path = rng.choice(sorted(p for p in folder.rglob("*.txt") if p.is_file()))
    target = f"locata/{path.relative_to(folder)}"
    script = rng.choice(["batch_feature_extraction", "check_dataset"])
    words = ["format=locata", "dataset_dir=locata", "array=mic", "mode=eval", "max_sources=3", "--jobs", "1"]
    mutated = [*mutations.BYTES, mutations.columns, mutations.rows, mutations.ends]
    return one(rng, "locata", script, words, copying(world, "locata"), target, mutated,
               named=(path.name, path.parent.name))


@kind(30)
def responses(rng, world):
    """Measured impulse responses."""
    if rng.random() < 0.4:
        words = [*SIMULATED[:2], "dataset_dir=new", "array=foa", "--responses", "sofa", "--fold", "1", "--jobs", "1"]
        return one(rng, "responses", "simulate_dataset", words, copying(world, "sofa"), "sofa/hall/room.sofa",
                   [*mutations.BYTES, *[_sofa_content] * 6], named=("room.sofa", "hall", "sofa"))
    target = f"responses/hall/{rng.choice(['directions.csv', 'directions.csv', '0.wav', '1.wav'])}"
    mutated = [*mutations.TEXT, mutations.foreign] if target.endswith("csv") else mutations.BYTES
    words = [*SIMULATED[:2], "dataset_dir=new", "array=foa", "--responses", "responses", "--fold", "1", "--jobs", "1"]
    return one(rng, "responses", "simulate_dataset", words, copying(world, "responses"), target, mutated,
               named=(Path(target).name, "hall"))


def _sofa_content(rng, data):
    """A SOFA file, one of whose variables has another content, or is missing."""
    import io

    import h5py
    import numpy as np
    values = [None, 0, -1.0, np.nan, np.inf, 1e30, "x", np.zeros(3), np.zeros((4, 4, 0)), np.zeros((2, 2, 2, 2)),
              np.full((4, 3), np.inf), np.full((4, 4, 2400), np.nan), np.ones((1, 4)), np.full((1, 4), 1e12),
              np.array([b"x"])]
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as sofa:
        name, value = rng.choice(sorted(sofa)), rng.choice(values)
        del sofa[name]
        if value is not None:
            sofa[name] = value
    return file.getvalue()


@kind(20)
def sounds(rng, world):
    """Folders of sounds of one's own; one that is unreadable is left out."""
    words = [*SIMULATED, "dataset_dir=new", "array=foa", "--sounds", "sounds", "--jobs", "1", "sim_moving=0"]
    return one(rng, "sounds", "simulate_dataset", words, copying(world, "sounds"), "sounds/bell/0.wav",
               mutations.BYTES, named=("0.wav", "sounds"))


# --- YAML and JSON -----------------------------------------------------------------------------------------------

@kind(70)
def yaml_file(rng, world):
    """A configuration, an array or a rotation in YAML."""
    what = rng.choice(["config", "array", "rotation", "bomb", "run"])
    if what in ("config", "run"):
        source = (ROOT / "configs" / rng.choice(["doanet.yaml", "cnn.yaml", "adrenaline.yaml"])).read_text()
        script, words = ("run", ["--config", "x.yaml", "--data_root", "tut", "--jobs", "1"]) if what == "run" else (
            "batch_feature_extraction", ["x.yaml", "dataset_dir=nowhere"])
    elif what == "rotation":
        source = (world / "rotation.yaml").read_text()
        script, words = "localize", ["a.wav", *LOCALIZE, "--rotation", "x.yaml"]
    else:
        source = (ROOT / "arrays" / rng.choice(["mic.yaml", "respeaker_6mic.yaml", "eigenmike.yaml"])).read_text()
        script, words = "simulate_dataset", ["dataset_dir=data", "array=x.yaml", "--jobs", "1", "sim_rooms_per_fold=0"]
    if what == "bomb":
        change, about = (lambda text: mutations.BOMB + text), "bomb"
    elif rng.random() < 0.3:
        import yaml
        content = mutations.replaced(rng, yaml.safe_load(source))
        change, about = (lambda text: yaml.safe_dump(content)), "replaced"
    else:
        mutation = rng.choice([mutations.yaml_text, mutations.yaml_text, mutations.rows, mutations.foreign])
        data = source.encode()
        changed = mutation(rng, data if mutation is mutations.foreign else source)
        changed = changed if isinstance(changed, bytes) else changed.encode(errors="surrogatepass")
        prepare = then(copying(world, f"data/foa_dev/{STEM}.wav:a.wav", "net.onnx"), placing("x.yaml", changed))
        return Case("yaml_file", script, words, prepare, ("x.yaml", "nowhere", "tut", "sim_rooms"),
                    about=f"{what}: {mutation.__name__}")
    prepare = then(copying(world, f"data/foa_dev/{STEM}.wav:a.wav", "net.onnx"),
                   placing("x.yaml", change(source).encode()))
    return Case("yaml_file", script, words, prepare, ("x.yaml", "nowhere", "tut", "sim_rooms"),
                about=f"{what}: {about}")


@kind(60)
def json_file(rng, world):
    """JSON files that scripts wrote, and read again."""
    run = "results/1_job"
    script, target, words, names = rng.choice([
        ("simulate_dataset", "simulated/simulation.json", ["dataset_dir=simulated", *SIMULATED, "--jobs", "1"],
         ["simulated"]),
        ("compare_runs", f"{run}/scores.json", [run], [run]),
        ("compare_runs", f"{run}/log.jsonl", [run], [run]),
        ("compare_runs", "e/evaluation.json", ["e"], [f"{run}/evaluation.json:e/evaluation.json"]),
        ("compare_runs", "results.json", ["results.json"], ["results.json"]),
        ("batch_feature_extraction", "f/features_of.json", [DATA, "feat_label_dir=f", "--jobs", "1"],
         ["data/foa_dev", "data/mic_dev", "data/metadata_dev"]),
        ("batch_feature_extraction", f"data/features/foa_dev/{STEM}.json", [DATA, "--jobs", "1"], ["data"]),
        ("train_doanet", f"{run}/log.jsonl", ["1", "job", "--resume", DATA, *SMALL], ["data", run]),
        ("reproduce_doanet", "r/runs/1_first/scores.json", ["--help"], [f"{run}:r/runs/1_first"]),
    ])
    prepare = copying(world, *names)
    if target.startswith("f/"):
        prepare = then(prepare, placing(target, b'{"dataset_dir": "/nowhere"}'))
    mutation = mutations.json_lines if target.endswith("jsonl") else mutations.json_text
    return one(rng, "json_file", script, words, prepare, target, [mutation, mutation, mutations.foreign,
                                                                  mutations.truncated],
               named=(Path(target).name, Path(target).parent.name))


# --- networks ----------------------------------------------------------------------------------------------------

def _checkpoint_content(rng, data):
    """A checkpoint whose content is damaged, not its bytes."""
    import io

    import torch
    content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    content.pop("checksum", None)  # which would reveal any change
    tensors = [torch.tensor(float("nan")), torch.zeros(3), torch.zeros(0), torch.zeros(2, 2, dtype=torch.int64),
               torch.full((4,), float("inf")), torch.tensor([True]), torch.zeros(1).to_sparse()]
    changed = mutations.replaced(rng, content, [*mutations.VALUES, *tensors, mutations.HUGE])
    file = io.BytesIO()
    torch.save(changed, file)
    return file.getvalue()


def _nan_weights(rng, data):
    import io

    import torch
    content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    content.pop("checksum", None)
    where = content["scaler"] if rng.random() < 0.5 else content["model"]
    name = rng.choice([key for key, value in where.items() if value.is_floating_point() and value.numel()])
    where[name].view(-1)[rng.randrange(where[name].numel())] = rng.choice([float("nan"), float("inf"), -float("inf")])
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _onnx_content(rng, data):
    """An ONNX file whose metadata are damaged."""
    import onnx
    model = _unsealed(onnx.load_from_string(data))
    for entry in model.metadata_props:
        if entry.key == "doanet":
            entry.value = mutations.json_text(rng, entry.value)
    return model.SerializeToString()


def _unsealed(model):
    """The model without its checksum, which would reveal any change."""
    kept = [entry for entry in model.metadata_props if entry.key != "checksum"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def _onnx_graph(rng, data):
    """An ONNX file of another network."""
    import onnx
    model = _unsealed(onnx.load_from_string(data))
    change = rng.randrange(5)
    if change == 0:
        model.graph.input[0].name = "x"
    elif change == 1:
        del model.graph.output[rng.randrange(len(model.graph.output))]
    elif change == 2:
        del model.metadata_props[:]
    elif change == 3:
        model.graph.input[0].type.tensor_type.shape.dim[rng.randrange(4)].dim_value = rng.choice([1, 3])
    else:
        del model.graph.node[rng.randrange(len(model.graph.node))]
    return model.SerializeToString()


@kind(110)
def checkpoint(rng, world):
    """A damaged checkpoint, in each script that reads one."""
    run = "results/1_job"
    script, target, words, names = rng.choice([
        ("localize", f"{run}/best.pt", ["a.wav", "--checkpoint", f"{run}/best.pt", "--no-plot", "--out", "out"],
         [f"data/foa_dev/{STEM}.wav:a.wav", f"{run}/best.pt"]),
        ("export_doanet", f"{run}/best.pt", [f"{run}/best.pt"], [f"{run}/best.pt"]),
        ("compare_runs", f"{run}/best.pt", [run], [run]),
        ("evaluate_doanet", f"{run}/best.pt", ["1", "job", "--out", "out"], ["data", run]),
        ("evaluate_doanet", f"{run}/best.pt", [f"{run}/best.pt", "--out", "out"], ["data", run]),
        ("visualize_doanet_output", f"{run}/best.pt", ["--count", "1"], ["data", run]),
        ("train_doanet", f"{run}/last.pt", ["1", "job", "--resume", DATA, *SMALL], ["data", run]),
        ("train_doanet", f"{run}/last.pt", ["1", "job", DATA, *SMALL], ["data", run]),
        ("train_doanet", "w.pt", ["1", "new", DATA, *SMALL, "init_weights=w.pt"], ["data", f"{run}/best.pt:w.pt"]),
    ])
    mutated = [*mutations.BYTES, *[_checkpoint_content] * 8, _nan_weights]
    # A parameter that is missing has its default: datasets/simulated is then the dataset.
    return one(rng, "checkpoint", script, words, copying(world, *names), target, mutated,
               named=(Path(target).name, "1_job", "results", "datasets/simulated"))


@kind(60)
def onnx_file(rng, world):
    """A damaged ONNX file."""
    script, words, names = rng.choice([
        ("localize", ["a.wav", *LOCALIZE[:-4], "--checkpoint", "net.onnx", "--out", "out"],
         [f"data/foa_dev/{STEM}.wav:a.wav"]),
        ("evaluate_doanet", ["net.onnx", DATA, "--out", "out"], ["data/foa_dev", "data/metadata_dev"])])
    mutated = [*mutations.BYTES, *[_onnx_content] * 6, *[_onnx_graph] * 2]
    # A parameter that is missing has its default: the dataset, which is given here, may then lack what it reads.
    return one(rng, "onnx_file", script, words, copying(world, *names, "net.onnx"), "net.onnx", mutated,
               named=("net.onnx", "data"))


@kind(40)
def hnet(rng, world):
    """Weights and pairs of the Hungarian network."""
    script, target, words, names = rng.choice([
        ("train_hnet", "pairs.npz", ["--data", "pairs.npz", "--steps", "2", "--held-out", "20", "--out", "o.pt",
                                     "--results", "r"], ["pairs.npz"]),
        ("visualize_hnet_results", "hnet.pt", ["hnet.pt"], ["hnet.pt"]),
        ("train_doanet", "hnet.pt", ["1", "new", DATA, *SMALL, "hnet_weights=hnet.pt"], ["data", "hnet.pt"])])
    mutated = [*mutations.BYTES, *([_hnet_content] * 5 if target == "hnet.pt" else [])]
    return one(rng, "hnet", script, words, copying(world, *names), target, mutated)


def _hnet_content(rng, data):
    import io

    import torch
    content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    content.pop("checksum", None)
    file = io.BytesIO()
    torch.save(mutations.replaced(rng, content, [*mutations.VALUES, torch.zeros(3), torch.zeros(0)]), file)
    return file.getvalue()


@kind(50)
def features(rng, world):
    """Extracted features, labels and scalers."""
    target = rng.choice([f"data/features/foa_dev/{STEM}.npy", f"data/features/foa_dev_label/{STEM}.npy",
                         f"data/features/foa_dev_norm/{STEM}.npy", "data/features/foa_dev_scaler.npz",
                         "data/features/foa_dev_norm/fold3_room1_mix001_ov1.npy"])
    script, words = rng.choice([
        ("batch_feature_extraction", [DATA, "--jobs", "1"]), ("train_doanet", ["1", "new", DATA, *SMALL]),
        ("evaluate_doanet", ["1", "job", "--out", "out"])])
    return one(rng, "features", script, words, copying(world, "data", "results/1_job"), target, mutations.BYTES,
               named=(Path(target).name, STEM, "batch_feature_extraction.py"))


# --- the command line --------------------------------------------------------------------------------------------

@functools.cache
def _parameters():
    from doatools.config.schema import FLAT
    return sorted(FLAT)


ODD_VALUES = ["", "None", "nan", "inf", "-1", "0", "1e400", "9" * 400, "-" + "9" * 400, "{[]:1}", "[]", "{}", "()",
              "[" * 500, "(" * 5000, "'", "True", "b'x'", "0x7fffffff", "1e6", "1000000", "[1,2,3]", "[nan]", "{1,2}",
              "1j", "...", "\x00", "💥", "a" * 50_000, "-1e308", "1_0", "lambda: 0", "[[1]]", "1e-300", "../..", "/",
              "~", "$HOME", "5" * 4400, "[" + "1," * 3000 + "]", "9999999999999999999999"]
BROAD = {
    "train_doanet": ["1", "new", DATA, *SMALL], "batch_feature_extraction": [DATA, "--jobs", "1"],
    "simulate_dataset": [*SIMULATED, "dataset_dir=new", "--jobs", "1"],
    "check_dataset": [DATA, "array=foa", "--jobs", "1"],
    "augment_files": [DATA, "array=foa"], "evaluate_doanet": ["--predictions", "predictions", DATA, "--out", "out"],
    "visualize_doanet_output": ["1", "job", "--count", "1"], "doanet_parameters": [],
    "run": ["--config", str(ROOT / "configs/cnn.yaml"), "--data_root", "tut", "--jobs", "1"],
}


@kind(110)
def parameter(rng, world):
    """A parameter with a value that it does not take, or that makes no sense."""
    script = rng.choice(sorted(BROAD))
    name = rng.choice(_parameters())
    if script == "simulate_dataset" and rng.random() < 0.7:
        name = rng.choice([one for one in _parameters() if one.startswith("sim_")])
    value = rng.choice(ODD_VALUES)
    wide = {"sim_recording_len_s", "sim_recordings_per_fold", "sim_rooms_per_fold", "nb_epochs", "fs", "num_workers",
            "batch_size", "label_sequence_length"}
    if script == "simulate_dataset" and name in wide and value in ("1000000", "1e6", "0x7fffffff"):
        value = "-1"  # a large dataset may be wanted
    names = {"doanet_parameters": [], "simulate_dataset": [], "run": []}.get(script, ["data", "results/1_job",
                                                                                   "predictions"])
    words = [*BROAD[script], f"{name}={value}"]
    named = name, name.replace("_dir", ""), "data", value[:100], "tut"
    return Case("parameter", script, words, copying(world, *names), named, about=f"{name}={value:.40}")


OPTIONS = {
    "localize": (["a.wav", *LOCALIZE, "--overwrite"], ["--threshold", "--latency", "--threads", "--array", "--rotation",
                                                       "--reference", "--out", "--checkpoint", "--plot-format",
                                                       "--format", "--foa-order"]),
    "evaluate_doanet": (["--predictions", "predictions", DATA, "--jobs", "1"],
                        ["--out", "--frames", "--references", "--against", "--write-csv", "--jobs", "--predictions"]),
    "simulate_dataset": ([*SIMULATED, "dataset_dir=new", "--jobs", "1"],
                         ["--jobs", "--format", "--sounds", "--responses", "--fold"]),
    "train_hnet": (["--steps", "1", "--held-out", "10", "--batch-size", "4", "--out", "o.pt", "--results", "r"],
                   ["--max-doas", "--steps", "--epochs", "--batch-size", "--learning-rate", "--temperature",
                    "--patience", "--held-out", "--seed", "--data", "--out", "--results"]),
    "generate_hnet_training_data": (["--examples", "20", "--out", "o.npz"], ["--max-doas", "--examples", "--seed",
                                                                            "--out", "--case", "--directions"]),
    "visualize_hnet_results": (["hnet.pt"], ["--seed", "--max-doas", "--out", "--pairs", "--results"]),
    "visualize_doanet_output": (["1", "job"], ["--count", "--plot-format"]),
    "export_doanet": (["results/1_job/best.pt"], ["--out"]),
    "check_dataset": ([DATA, "array=foa", "--jobs", "1"], ["--jobs", "--rotation", "--out"]),
    "compare_runs": (["results/1_job"], ["--seeds", ""]),
    "batch_feature_extraction": ([DATA, "--jobs", "1"], ["--jobs", "--dask"]),
    "reproduce_doanet": ([], ["--out", "--data", "--epochs", "--to", "--quick"]),
    "run": (BROAD["run"], ["--tmp_dir", "--log_dir", "--batch_size", "--num_workers", "--jobs"]),
}
ODD_WORDS = [*ODD_VALUES[:31], "-5", "1.5", "2147483648", "nowhere", "data", "a.wav", "/dev/null", "net.onnx",
             "/dev/full", "/proc/x", "x" * 300, "x/" * 3000, "data/metadata_dev", "\udcff"]


@kind(80)
def option(rng, world):
    """An option with a value that it does not take."""
    script = rng.choice(sorted(OPTIONS))
    words, options = OPTIONS[script]
    name, value = rng.choice(options), rng.choice(ODD_WORDS)
    names = ["data", "results/1_job", "predictions", "hnet.pt", "net.onnx", f"data/foa_dev/{STEM}.wav:a.wav"]
    if script in ("simulate_dataset", "batch_feature_extraction") and name == "--jobs":
        value = rng.choice(["x", "1.5", "", "nan"])  # a thousand processes may be wanted
    return Case("option", script, [*words, name, value], copying(world, *names), about=f"{name} {value[:40]!r}")


@kind(50)
def odd_outputs(rng, world):
    """Where output should go, there is something else."""
    script, target, words, names = rng.choice([
        ("localize", "out", ["a.wav", *LOCALIZE], [f"data/foa_dev/{STEM}.wav:a.wav", "net.onnx"]),
        ("localize", "out/a.csv", ["a.wav", *LOCALIZE, "--overwrite"], [f"data/foa_dev/{STEM}.wav:a.wav", "net.onnx"]),
        ("batch_feature_extraction", "data/features", [DATA, "--jobs", "1"], ["data/foa_dev", "data/metadata_dev"]),
        ("batch_feature_extraction", f"data/features/foa_dev/{STEM}.npy", [DATA, "--jobs", "1"],
         ["data/foa_dev", "data/metadata_dev"]),
        ("train_doanet", "results", ["1", "new", DATA, *SMALL], ["data"]),
        ("train_doanet", "results/1_new/best.pt", ["1", "new", DATA, *SMALL], ["data"]),
        ("train_doanet", "results/1_new/log.jsonl", ["1", "new", DATA, *SMALL], ["data"]),
        ("train_doanet", "results/1_new/tensorboard", ["1", "new", DATA, *SMALL], ["data"]),
        ("export_doanet", "o.onnx", ["results/1_job/best.pt", "--out", "o.onnx"], ["results/1_job"]),
        ("evaluate_doanet", "out", ["1", "job", "--out", "out"], ["data", "results/1_job"]),
        ("evaluate_doanet", "out/evaluation.json", ["1", "job", "--out", "out"], ["data", "results/1_job"]),
        ("evaluate_doanet", "c", ["1", "job", "--out", "out", "--write-csv", "c"], ["data", "results/1_job"]),
        ("visualize_doanet_output", "results/1_job/pictures", ["1", "job", "--count", "1"], ["data", "results/1_job"]),
        ("simulate_dataset", "new", [*SIMULATED, "dataset_dir=new", "--jobs", "1"], []),
        ("simulate_dataset", "new/simulation.json", [*SIMULATED, "dataset_dir=new", "--jobs", "1"], []),
        ("simulate_dataset", "new/foa_dev", [*SIMULATED, "dataset_dir=new", "--jobs", "1"], []),
        ("generate_hnet_training_data", "o.npz", ["--examples", "20", "--out", "o.npz"], []),
        ("generate_hnet_training_data", "o", ["--examples", "20", "--out", "o/pairs"], []),
        ("augment_files", "data/foa_dev/fold3_room1_aug001_ov1.wav", [DATA, "array=foa"],
         ["data/foa_dev", "data/metadata_dev"]),
        ("check_dataset", "r.yaml", [DATA, "array=foa", "--jobs", "1", "--rotation", "r.yaml"],
         ["data/foa_dev", "data/metadata_dev"]),
        ("compare_runs", "results/1_job", ["results/1_job"], []),
    ])
    what = rng.choice(["a file", "a folder", "a dangling link", "a circular link", "/dev/full", "a FIFO"])

    def place(folder):
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if what == "a file":
            path.write_text("x")
        elif what == "a folder":
            (path / "x").mkdir(parents=True)
        elif what == "a FIFO":
            os.mkfifo(path)
        else:
            path.symlink_to({"a dangling link": "/nowhere/x", "a circular link": path.name}.get(what, what))
    named = *Path(target).parts, "no correction written"
    return Case("odd_outputs", script, words, then(copying(world, *names), place), named,
                about=f"{target}: {what}")


# --- downloads ---------------------------------------------------------------------------------------------------

@kind(35)
def download(rng, world):
    """A server that lists and sends other things than it should."""
    data = (world / "part.zip").read_bytes()
    listing = {"id": 5476980, "metadata": {"title": "Sounds", "license": {"id": "x"}}, "files": [
        {"key": "metadata_dev.zip", "size": len(data), "checksum": "md5:?",
         "links": {"self": "http://127.0.0.1/x"}}]}
    if rng.random() < 0.5:
        data, about = rng.choice(mutations.BYTES)(rng, data), "archive"
        listing["files"][0]["size"] = len(data)
        text = json.dumps(listing)
    else:
        text, about = mutations.json_text(rng, json.dumps(listing)), "listing"
    words = ["starss23", "--to", "to", "--parts", "metadata_dev", "--server"]

    def setup():
        server = _server(text.encode(errors="surrogatepass"), data)
        words.append(server)
    return Case("download", "download_dataset", words, lambda folder: None, (), about=about, setup=setup)


def _server(listing, data):
    """A web server in a thread → its address."""
    import hashlib
    import http.server
    import threading

    from doatools.data import downloads
    downloads.PAUSES = (0, 0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = listing.replace(b"md5:?", b"md5:" + hashlib.md5(data).hexdigest().encode())
            if "/api/" not in self.path:
                body = data
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
