"""Valid input of all formats, small: what the cases copy and damage. ``python3 -m fuzzing.world FOLDER`` makes it."""

import io
import json
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile

SMALL = ["label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8", "device=cpu"]
SECONDS = 2.0
STEM = "fold1_room1_mix001_ov1"  # the recording that is damaged
HNET = ["--max-doas", "2", "--seed", "1"]


def make(folder):
    """Write all of it under ``folder``."""
    from helpers import FS, make_dataset
    from tut_helpers import make_tut
    folder = Path(folder)
    data = make_dataset(folder / "data", seconds=SECONDS)
    for kind in ("foa", "mic", "metadata"):  # two recordings of a room, which augment_files.py mixes
        suffix = ".csv" if kind == "metadata" else ".wav"
        one = data / f"{kind}_dev" / f"fold3_room1_mix001_ov1{suffix}"
        shutil.copy(one, one.with_name(f"fold3_room1_mix002_ov1{suffix}"))
    make_tut(folder / "tut" / "ansim", seconds=1.0, overlaps=(1,))
    _run("batch_feature_extraction", f"dataset_dir={data}", "--jobs", "1")
    _run("train_doanet", "1", "job", f"dataset_dir={data}", f"results_dir={folder / 'results'}", *SMALL)
    # What is copied elsewhere must not point here: all of it is found by relative paths.
    _relative(folder / "results" / "1_job")
    _run("evaluate_doanet", str(folder / "results/1_job/best.pt"), f"dataset_dir={data}", "--write-csv",
         str(folder / "predictions"))
    _run("export_doanet", str(folder / "results/1_job/best.pt"), "--out", str(folder / "net.onnx"))
    _run("simulate_dataset", f"dataset_dir={folder / 'simulated'}", *SIMULATED, "--jobs", "1")
    _run("generate_hnet_training_data", *HNET, "--examples", "200", "--out", str(folder / "pairs.npz"))
    shutil.copy(_root() / "models" / "hnet_2.pt", folder / "hnet.pt")
    audio, _ = soundfile.read(data / "foa_dev" / f"{STEM}.wav")
    for name, kind, subtype in (("a.flac", "FLAC", "PCM_16"), ("a.ogg", "OGG", "VORBIS"), ("a.w64", "W64", "PCM_16"),
                                ("a.aiff", "AIFF", "PCM_16"), ("a.caf", "CAF", "PCM_16"), ("a.rf64", "RF64", "PCM_16"),
                                ("a24.wav", "WAV", "PCM_24"), ("afloat.wav", "WAV", "FLOAT"), ("aext.wav", "WAVEX",
                                                                                             "PCM_16")):
        soundfile.write(folder / name, audio, FS, format=kind, subtype=subtype)
    _responses(folder / "responses" / "hall", FS)
    _sofa(folder / "sofa" / "hall" / "room.sofa", FS)
    _sounds(folder / "sounds", FS)
    _locata(folder)
    _archive(folder / "part.zip")
    (folder / "results.json").write_text(json.dumps([
        {"model": "cnn", "dataset": "ansim", "fold_idx": fold, "subset_idx": 0, "recording": f"r{fold}",
         "frame_recall": 0.5, "doa_error": 20.0} for fold in range(3)]))
    (folder / "rotation.yaml").write_text("matrix:\n  - [0, -1, 0]\n  - [1, 0, 0]\n  - [0, 0, 1]\n")
    stems = sorted(path.stem for path in (data / "foa_dev").glob("*.wav"))
    (folder / "splits.csv").write_text("file,split,room,overlap\n" + "".join(
        f"{stem}.wav,{stem[4]},1,1\n" for stem in stems))


SIMULATED = ["sim_recordings_per_fold=1", "sim_recording_len_s=2", "sim_rt60_s=[0.1,0.1]"]


def _root():
    return Path(__file__).resolve().parents[2]


def _run(script, *words):
    import importlib
    if importlib.import_module(script).main(list(words)):
        raise SystemExit(f"{script} {' '.join(words)} failed")


def _relative(run):
    from doatools.train import checkpoint
    for name in ("best.pt", "last.pt"):
        content = checkpoint.load(run / name)
        content["params"] |= {"dataset_dir": "data", "results_dir": "results"}
        checkpoint.save(run / name, content)


def _responses(folder, fs):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["file,azimuth,elevation,distance_m"]
    for number in range(4):
        decay = np.exp(-np.arange(2400) / 400)[:, None]
        soundfile.write(folder / f"{number}.wav", 0.1 * decay * rng.standard_normal((2400, 4)), fs, subtype="FLOAT")
        lines.append(f"{number}.wav,{number * 90 - 180},10,1.5")
    (folder / "directions.csv").write_text("\n".join(lines) + "\n")


def _sofa(path, fs):
    import h5py
    path.parent.mkdir(parents=True)
    decay = np.exp(-np.arange(2400) / 400)
    with h5py.File(path, "w") as file:
        file["Data.IR"] = 0.1 * decay * np.random.default_rng(0).standard_normal((4, 4, 2400))
        file["Data.SamplingRate"] = np.array([float(fs)])
        file["Data.Delay"] = np.zeros((1, 4))
        file["SourcePosition"] = np.array([(number * 90.0, 10.0, 1.5) for number in range(4)])
        file["SourcePosition"].attrs["Type"] = np.bytes_("spherical")
        file["ListenerPosition"] = np.zeros((1, 3))
        file["ListenerView"], file["ListenerUp"] = np.array([[1.0, 0, 0]]), np.array([[0, 0, 1.0]])


def _sounds(folder, fs):
    rng = np.random.default_rng(1)
    for kind in ("bell", "voice"):
        (folder / kind).mkdir(parents=True)
        for number in range(6):
            soundfile.write(folder / kind / f"{number}.wav", 0.1 * rng.standard_normal(fs), fs)


def _locata(folder):
    from doatools.simulate.later_writers import Locata
    before, Locata.tasks = Locata.tasks, (1,)
    try:
        _run("simulate_dataset", "--format", "locata", f"dataset_dir={folder / 'locata'}", "sim_recordings_per_fold=1",
             "sim_recording_len_s=2", "--jobs", "1")
    finally:
        Locata.tasks = before


def _archive(path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata_dev/fold1_room1_mix001_ov1.csv", "0,1,0,10,20\n" * 40)
        archive.writestr("metadata_dev/fold1_room1_mix002_ov1.csv", "0,1,0,10,20\n" * 40)
    path.write_bytes(content.getvalue())


def wav_header(size, channels=4, rate=24000, bits=16):
    """44 bytes before ``size`` bytes of PCM."""
    width = channels * bits // 8
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size & 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, channels, rate,
                       rate * width & 0xFFFFFFFF, width & 0xFFFF, bits, b"data", size)


if __name__ == "__main__":
    make(sys.argv[1])
