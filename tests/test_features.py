"""Features on plane waves and against plain float64; files that are refused; what is redone when."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from helpers import CAPSULES, FS, RADIUS, SPEED_OF_SOUND, foa_wave, make_dataset, mic_wave

import batch_feature_extraction
from cls_feature_class import FeatureFiles, build_features, check_up_to_date
from doanet_parameters import get_params
from doatools.data.dcase import find_recordings
from doatools.errors import UserError
from doatools.spatial.geometry import angular_distance, unit_vectors
from doatools.types import EVENT_ROWS, Recording, Scaler

DIRECTIONS = [(0, 0), (60, 30), (-135, -40), (180, 10), (-90, 80)]


@pytest.fixture(scope="module")
def noise():
    return 0.1 * np.random.default_rng(1).standard_normal(FS)


def channels(array, audio):
    """(C, T, F) features of audio, float64."""
    made = build_features(get_params(array=array))
    return made.as_channels(made.extract(audio.astype(np.float32))).astype(float)


# --- what the features say ----------------------------------------------------------------------------------

@pytest.mark.parametrize("azimuth, elevation", DIRECTIONS)
def test_intensity_points_to_the_source(noise, azimuth, elevation):
    y, z, x = channels("foa", foa_wave(noise, azimuth, elevation))[4:].sum((1, 2))
    assert angular_distance(np.array([x, y, z]), unit_vectors(azimuth, elevation)) < 0.1


@pytest.mark.parametrize("azimuth, elevation", DIRECTIONS)
def test_gcc_peaks_at_the_delay_of_each_pair(noise, azimuth, elevation):
    gcc = channels("mic", mic_wave(noise, azimuth, elevation))[4:, 2:-2].mean(1)  # (6, 64)
    arrival = -(CAPSULES @ unit_vectors(azimuth, elevation)) * RADIUS / SPEED_OF_SOUND * FS  # samples, (4,)
    for pair, (m, n) in enumerate(itertools.combinations(range(4), 2)):
        assert abs(gcc[pair].argmax() - 32 - (arrival[n] - arrival[m])) <= 0.6


def plain_spectra(audio):
    """(4, 513, T) by librosa, float64, without the mean of each window; before the start there is the first mean."""
    audio, half = np.asarray(audio, dtype=np.float32).astype(float), librosa.filters.get_window("hann", 960)[480:]
    spectra = np.stack([spectra_of(np.concatenate([np.full(512, half @ channel[:480] / half.sum()), channel]))
                        for channel in audio.T])[..., : len(audio) // 480]
    constant = spectra_of(np.ones(1024))[:, :1]
    spectra += (1e-8 - spectra[:, :1] / constant[:1]) * constant
    spectra[:, 0] = 0
    return spectra


def spectra_of(channel):
    padded = np.concatenate([channel, np.zeros(512)])
    return librosa.stft(padded, n_fft=1024, hop_length=480, win_length=960, center=False, dtype=np.complex128)


def plain_features(dataset, audio):
    """The definition of method and paper, line by line, in float64 → (C, T, F)."""
    spectra = plain_spectra(audio)
    mel = librosa.filters.mel(sr=FS, n_fft=1024, n_mels=64, dtype=np.float64)
    features = [librosa.power_to_db(mel @ np.abs(s) ** 2).T for s in spectra]
    if dataset == "foa":
        w, yzx = spectra[0], spectra[1:]
        energy = 1e-8 + np.abs(w) ** 2 + (np.abs(yzx) ** 2).sum(0) / 3
        features += [(mel @ (np.real(np.conj(w) * v) / energy)).T for v in yzx]
    else:
        for m, n in itertools.combinations(range(4), 2):
            phase = np.exp(1j * np.angle(np.conj(spectra[m]) * spectra[n]))
            phase[0] = 0
            gcc = np.fft.irfft(phase, axis=0)  # (1024, T)
            features.append(np.concatenate([gcc[-32:], gcc[:32]]).T)
    return np.stack(features)


@pytest.mark.parametrize("dataset, wave", [("foa", foa_wave), ("mic", mic_wave)])
def test_against_plain_float64(noise, dataset, wave):
    loudness = np.repeat([1.0, 0.1, 1e-3, 1e-5], FS // 4)  # the last quarter is under the top_db floor
    audio = wave(noise * loudness, 60, 30) + 1e-7 * np.random.default_rng(2).standard_normal((FS, 4))
    ours, plain = channels(dataset, audio), plain_features(dataset, audio)
    assert ours.shape == plain.shape == (7 if dataset == "foa" else 10, 50, 64)
    np.testing.assert_allclose(ours[:4], plain[:4], atol=1e-3)  # dB
    assert np.isclose(ours[0].min(), ours[0].max() - 80)
    np.testing.assert_allclose(ours[4:], plain[4:], atol=1e-4)


def test_no_floor_below_the_maximum_if_told(noise):
    made = build_features(get_params(top_db=0))
    quiet = made.as_channels(made.extract(np.zeros((4800, 4), np.float32)))
    loud = made.as_channels(made.extract(foa_wave(noise * (np.arange(FS) < 4800), 0, 0)))
    np.testing.assert_allclose(quiet[0], -100)  # amin
    np.testing.assert_allclose(loud[0, 15:], -100)
    assert np.isfinite(loud).all()


@pytest.mark.parametrize("array, features", [("foa", "foa"), ("mic", "mic"), ("mic", "vectors"), ("mic", "steered")])
def test_a_constant_offset_changes_nothing(noise, array, features):
    made = build_features(get_params(array=array, features=features, top_db=0))
    audio = (foa_wave if array == "foa" else mic_wave)(noise * 0.01, 60, 30).astype(np.float32)
    shifted = audio + np.float32([0.1, -0.05, 0.02, 0.2])
    plain, found = made.extract(audio), made.extract(shifted)
    np.testing.assert_allclose(found, plain, atol=2e-2)
    silent = made.extract(np.zeros_like(audio) + np.float32([0.1, -0.05, 0.02, 0.2]))
    np.testing.assert_allclose(made.as_channels(silent)[: made.kind.log_mels], -100)


def test_any_length_gives_whole_frames():
    made = build_features(get_params())
    for samples, frames in ((0, 0), (479, 0), (480, 1), (481, 1), (480 * 129, 129)):
        assert made.extract(np.zeros((samples, 4), np.float32)).shape == (frames, 7 * 64)


def test_padding_and_cutting():
    config = get_params(max_audio_len_s=0.5, array="mic")
    files = FeatureFiles(config)
    # {samples: (those used, label frames)}; the last label frame may be partly beyond the end
    frames = {count: (files.samples_used(count), files.label_frames(count)) for count in (1, 5000, 12000, 20000)}
    assert frames == {1: (1, 1), 5000: (5000, 3), 12000: (12000, 5), 20000: (12000, 5)}
    made = files.feature_class
    short = np.full((5000, 4), 0.5, np.float32)
    padded = made.padded(short, 5)
    assert padded.shape == (12000, 4)
    np.testing.assert_array_equal(padded[:5000], short)
    np.testing.assert_array_equal(padded, made.padded(short, 5))  # the same noise each time
    assert 0 < np.abs(padded[5000:]).max() <= 1e-8
    assert made.padded(np.zeros((20000, 4), np.float32), 5).shape == (12000, 4)
    silence = made.as_channels(made.extract(padded))[4:, 14:]  # its phases point nowhere
    assert silence.max() < 0.5


def test_a_hop_of_broken_samples_would_drift_and_is_refused():
    with pytest.raises(UserError, match=r"hop_len_s=0\.02 is 220\.5 samples at fs=11025.*drift"):
        FeatureFiles(get_params(fs=11025))
    FeatureFiles(get_params(fs=22050))
    FeatureFiles(get_params(fs=44100, hop_len_s=0.01))
    with pytest.raises(UserError, match="less than a sample"):
        FeatureFiles(get_params(fs=1000, hop_len_s=0.0001))


def test_recordings_have_no_common_length():
    files = FeatureFiles(get_params())
    assert [files.label_frames(round(seconds * FS)) for seconds in (0.03, 1, 61.23, 3600)] == [1, 10, 613, 36_000]
    assert files.samples_used(3600 * FS) == 3600 * FS


def test_scaler(tmp_path):
    rows = np.random.default_rng(0).normal([3, -60, 7], [2, 10, 0], (5000, 3)).astype(np.float32)
    wide = rows.astype(float)
    scaler = Scaler.from_sums(len(rows), wide.sum(0), (wide**2).sum(0))
    normalised = scaler.apply(rows)
    np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(0), [1, 1, 0], atol=1e-5)
    assert normalised.dtype == np.float32 and scaler.scale[2] == 1
    np.testing.assert_allclose(scaler.invert(normalised), rows, atol=1e-4)
    scaler.save(tmp_path / "scaler.npz")
    np.testing.assert_array_equal(Scaler.load(tmp_path / "scaler.npz").scale, scaler.scale)


# --- files that are refused ---------------------------------------------------------------------------------

def write(path, fs=FS, channel_count=4, samples=4800, **options):
    soundfile.write(path, np.zeros((samples, channel_count)), fs, **options)


def truncate(path):
    write(path)
    path.write_bytes(path.read_bytes()[:-1000])


def with_nan(path):
    audio = np.zeros((4800, 4), np.float32)
    audio[2400, 2] = np.nan
    soundfile.write(path, audio, FS, subtype="FLOAT")


@pytest.mark.parametrize("make, says", [
    (lambda path: write(path, fs=44100), "44100 Hz, not 24000 Hz: resample"),
    (lambda path: write(path, channel_count=2), r"2 channel\(s\), not 4"),
    (lambda path: write(path, subtype="PCM_U8"), "PCM_U8 samples"),
    (lambda path: write(path, subtype="ULAW"), "ULAW samples"),
    (lambda path: write(path, samples=0), "no samples"),
    (with_nan, r"sample 2400 \(0.100 s\) of channel 3 is nan"),
    (truncate, "truncated: its header promises 38400 bytes of samples, it holds 37400"),
    (lambda path: path.write_bytes(b"RIFF"), "cannot be read as audio"),
    (lambda path: path.write_bytes(b""), "cannot be read as audio"),
    (lambda path: None, "does not exist"),
])
def test_unfit_audio(tmp_path, make, says):
    make(tmp_path / "bad.wav")
    with pytest.raises(UserError, match=rf"bad\.wav.*{says}"):
        build_features(get_params()).read_audio(tmp_path / "bad.wav")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_fit_audio(tmp_path, subtype):
    audio = np.random.default_rng(0).uniform(-0.9, 0.9, (1000, 4))
    soundfile.write(tmp_path / "good.wav", audio, FS, subtype=subtype, format="WAVEX")
    read = build_features(get_params()).read_audio(tmp_path / "good.wav")
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, audio, atol=2**-15)
    assert len(build_features(get_params()).read_audio(tmp_path / "good.wav", 300)) == 300


def test_large_wav_keeps_its_size_elsewhere(tmp_path):
    write(tmp_path / "good.wav", format="RF64")
    assert len(build_features(get_params()).read_audio(tmp_path / "good.wav")) == 4800
    (tmp_path / "good.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:-8])
    with pytest.raises(UserError, match="truncated"):
        build_features(get_params()).read_audio(tmp_path / "good.wav")


def test_labels_end_with_the_recording(tmp_path):
    write(tmp_path / "a.wav", samples=4801)  # 0.20004 s: a third label frame has begun
    (tmp_path / "a.csv").write_text("2,0,0,1,1\n")
    recording = Recording("a", tmp_path / "a.wav", tmp_path / "a.csv", "1")
    assert FeatureFiles(get_params()).read_labels(recording)["frame"].tolist() == [2]
    assert len(FeatureFiles(get_params(max_audio_len_s=0.2)).read_labels(recording)) == 0
    write(tmp_path / "a.wav", samples=4800)
    with pytest.raises(UserError, match="beyond the end"):
        FeatureFiles(get_params()).read_labels(recording)


# --- extraction to disk -------------------------------------------------------------------------------------

SETTINGS = {"max_audio_len_s": 2}


@pytest.fixture
def folder(tmp_path):
    return make_dataset(tmp_path / "data", seconds=2.0, formats=("foa",))


def extract(folder, capsys, *words):
    """Run the extraction in this process → what it printed; it succeeded."""
    command = ["--jobs", "1", f"dataset_dir={folder}", *(f"{k}={v}" for k, v in SETTINGS.items()), *words]
    assert batch_feature_extraction.main(command) == 0
    return capsys.readouterr().out


def contents(folder):
    return {path.relative_to(folder): path.read_bytes()
            for path in sorted((folder / "features").rglob("*")) if path.is_file()}


def test_files_and_their_content(folder, capsys):
    told = extract(folder, capsys)
    assert "6 recordings (0.2 minutes of audio)" in told and "6 extracted, 6 normalised, 0 up to date" in told
    assert "python3 train_doanet.py 1 first" in told
    files = FeatureFiles(get_params(dataset_dir=str(folder), **SETTINGS))
    found = find_recordings(folder, "foa")
    features = [np.load(files.features(r)) for r in found]
    assert all(f.shape == (100, 448) and f.dtype == np.float32 for f in features)
    training = np.concatenate(features[2:]).astype(float)  # folds 3-6
    scaler = Scaler.load(files.scaler)
    np.testing.assert_allclose(scaler.mean, training.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scaler.scale, training.std(0), rtol=1e-6)
    np.testing.assert_array_equal(np.load(files.normalised(found[0])), scaler.apply(features[0]))
    rows = np.load(files.labels(found[0]))
    assert rows.dtype == EVENT_ROWS and rows["frame"].tolist() == list(range(5, 15))
    check_up_to_date(files.config, found)


def test_only_what_changed_is_redone(folder, capsys):
    extract(folder, capsys)
    before = contents(folder)
    told = extract(folder, capsys, "nb_epochs=7", "label_slots=frame")
    assert "0 extracted, 0 normalised, 6 up to date" in told
    os.utime(folder / "foa_dev/fold2_room1_mix001_ov1.wav")  # a file of the validation fold
    assert "1 extracted, 1 normalised" in extract(folder, capsys)
    os.utime(folder / "foa_dev/fold3_room1_mix001_ov1.wav")  # of a training fold: all are normalised anew
    assert "1 extracted, 6 normalised" in extract(folder, capsys)
    assert {name: data for name, data in contents(folder).items() if name.suffix != ".json"} == {
        name: data for name, data in before.items() if name.suffix != ".json"}
    assert "6 extracted, 6 normalised" in extract(folder, capsys, "top_db=60")
    (folder / "metadata_dev/fold2_room1_mix001_ov1.csv").write_text("0,1,2,3,4\n")
    assert "0 extracted, 0 normalised" in extract(folder, capsys, "top_db=60")
    assert len(np.load(folder / "features/foa_dev_label/fold2_room1_mix001_ov1.npy")) == 1


def test_other_training_folds_only_normalise(folder, capsys):
    extract(folder, capsys)
    lines = [f"fold{n}_room1_mix001_ov1,{split}\n" for n, split in zip(range(1, 7), "123432")]
    (folder / "splits.csv").write_text("file,split\n" + "".join(lines))
    assert "0 extracted, 6 normalised" in extract(folder, capsys)
    assert "0 extracted, 6 normalised" in extract(folder, capsys, "mode=eval")
    assert (folder / "features/foa_eval_norm").is_dir()


def test_no_training_recordings_keeps_features_as_extracted(folder, capsys):
    for path in folder.glob("*_dev/fold[3-6]*"):
        path.unlink()
    assert "no training recordings" in extract(folder, capsys)
    config = get_params(dataset_dir=str(folder), **SETTINGS)
    found = find_recordings(folder, "foa")
    check_up_to_date(config, found, normalised=False)
    with pytest.raises(UserError, match=r"is for .train"):
        check_up_to_date(config, found)


def test_training_refuses_stale_features(folder, capsys):
    config = get_params("4", dataset_dir=str(folder), **SETTINGS)
    found = find_recordings(folder, "foa")
    with pytest.raises(UserError, match=r"run: python3 batch_feature_extraction.py 4 .*max_audio_len_s=2$"):
        check_up_to_date(config, found)
    extract(folder, capsys)
    check_up_to_date(config, found)
    for spoil in (lambda: os.utime(found[0].audio), lambda: os.utime(found[0].annotation),
                  lambda: FeatureFiles(config).normalised(found[0]).unlink(),
                  lambda: FeatureFiles(config).scaler.unlink()):
        spoil()
        with pytest.raises(UserError, match="out of date"):
            check_up_to_date(config, found)
        extract(folder, capsys)
        check_up_to_date(config, found)
    with pytest.raises(UserError, match="top_db=60"):
        check_up_to_date(config.replaced(top_db=60.0), found)


def test_what_vanished_recordings_left_is_removed(folder, capsys):
    extract(folder, capsys)
    for path in folder.glob("*_dev/fold4*"):
        path.unlink()
    (folder / "features/foa_dev/.fold4.partial-4194999.npy").write_bytes(b"of a killed process")
    assert "0 extracted, 5 normalised" in extract(folder, capsys)
    assert not list((folder / "features").rglob("*fold4*"))


def test_all_bad_files_are_told_before_work_starts(folder, capsys):
    truncate(folder / "foa_dev/fold1_room1_mix001_ov1.wav")
    (folder / "metadata_dev/fold2_room1_mix001_ov1.csv").write_text("0,0,0,0,0\n0,0,0,0\n")
    assert batch_feature_extraction.main([f"dataset_dir={folder}"]) == 2
    told = capsys.readouterr().err
    assert "2 recordings cannot be used" in told and "fold1_room1_mix001_ov1.wav is truncated" in told
    assert "fold2_room1_mix001_ov1.csv, line 2" in told
    assert not (folder / "features").exists()


def test_too_many_sources_are_told_before_work_starts(folder, capsys):
    (folder / "metadata_dev/fold2_room1_mix001_ov1.csv").write_text("3,0,0,0,0\n3,0,1,9,0\n3,0,2,8,0\n")
    assert batch_feature_extraction.main([f"dataset_dir={folder}"]) == 2
    assert "fold2_room1_mix001_ov1.csv: 3" in capsys.readouterr().err
    extract(folder, capsys, "overflow=drop")


def test_one_bad_file_leaves_the_others_valid(folder, capsys):
    good = (folder / "foa_dev/fold5_room1_mix001_ov1.wav").read_bytes()
    with_nan(folder / "foa_dev/fold5_room1_mix001_ov1.wav")
    (folder / "metadata_dev/fold5_room1_mix001_ov1.csv").write_text("")
    assert batch_feature_extraction.main([f"dataset_dir={folder}", "max_audio_len_s=2", "--jobs", "1"]) == 2
    told = capsys.readouterr().err
    assert "fold5_room1_mix001_ov1.wav: sample 2400" in told and "stay valid" in told
    (folder / "foa_dev/fold5_room1_mix001_ov1.wav").write_bytes(good)
    assert "1 extracted, 6 normalised" in extract(folder, capsys)


def test_samples_too_large_to_compute_with(folder, capsys):
    path = folder / "foa_dev/fold5_room1_mix001_ov1.wav"
    soundfile.write(path, np.full((FS * 2, 4), 1e30), FS, subtype="FLOAT")
    assert batch_feature_extraction.main([f"dataset_dir={folder}", "max_audio_len_s=2", "--jobs", "1"]) == 2
    assert f"{path}: sample 0 (0.000 s) of channel 1 is 1e+30" in capsys.readouterr().err


def test_a_shared_feature_folder_is_refused(tmp_path, capsys):
    one, two = (make_dataset(tmp_path / name, seconds=2.0, formats=("foa",), folds=(1, 3)) for name in "ab")
    elsewhere = tmp_path / "features"
    assert "2 extracted" in extract(one, capsys, f"feat_label_dir={elsewhere}")
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    words = ["--jobs", "1", "max_audio_len_s=2", f"feat_label_dir={elsewhere}"]
    assert batch_feature_extraction.main([*words, f"dataset_dir={two}"]) == 2
    told = capsys.readouterr().err
    assert f"{elsewhere} holds the features of {one}" in told and "another feat_label_dir" in told
    assert told.count("\n") == 1
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    one.rename(tmp_path / "moved")
    assert "0 extracted" in extract(tmp_path / "moved", capsys, f"feat_label_dir={elsewhere}")
    assert batch_feature_extraction.main([*words, f"dataset_dir={two}"]) == 2


def test_features_inside_the_dataset_go_with_a_copy(folder, tmp_path, capsys):
    extract(folder, capsys)
    shutil.copytree(folder, tmp_path / "copy")
    assert "0 extracted, 0 normalised" in extract(tmp_path / "copy", capsys)


def test_cut_recordings_are_told(folder, capsys):
    told = extract(folder, capsys, "max_audio_len_s=1")
    assert "6 recording(s) are longer than max_audio_len_s=1 and were cut" in told


def test_killed_runs_end_alike(tmp_path):
    """SIGKILL at a few moments, then a run to the end: the same bytes as of one undisturbed run."""
    folder = make_dataset(tmp_path / "data", recordings_per_fold=4, seconds=1.0, formats=("foa",))
    words = [f"dataset_dir={folder}", "max_audio_len_s=12", "--jobs", "1"]

    def made(name):
        return {path.relative_to(tmp_path / name): path.read_bytes()
                for path in (tmp_path / name).rglob("*") if path.is_file()}

    ends = []
    # Of 147 files: 24 recordings · (labels, features, normalised) · 2, the scaler · 2, whose features they are.
    for count in (55, 95):
        process = subprocess.Popen(
            [sys.executable, "batch_feature_extraction.py", *words, f"feat_label_dir={tmp_path / 'killed'}"],
            cwd=Path(batch_feature_extraction.__file__).parent, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "killed").rglob("*.*"))) < count:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        ends.append(process.wait())
    assert -signal.SIGKILL in ends
    for name in ("killed", "undisturbed"):
        assert batch_feature_extraction.main([*words, f"feat_label_dir={tmp_path / name}"]) == 0
    assert made("killed") == made("undisturbed") and len(made("killed")) == 147
