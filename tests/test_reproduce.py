"""reproduce_doanet.py on a tiny dataset of the layout of TAU-NIGENS 2020: every row, resumable."""

import importlib
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import make_dataset
from tut_helpers import make_tut

import reproduce_doanet
from doanet_parameters import get_params, split_words

ROOT = Path(__file__).resolve().parent.parent

SMALL = ["max_audio_len_s=3", "label_sequence_length=10", "batch_size=4", "nb_cnn2d_filt=8", "rnn_size=8", "fnn_size=8",
         "device=cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = make_dataset(tmp_path_factory.mktemp("tau") / "data", seconds=3.0)
    for path in [*folder.glob("*_dev/fold[3-6]*")]:  # a twin of each training recording, so that there are pairs to mix
        shutil.copy(path, path.with_name(path.name.replace("mix001", "mix002")))
    return folder


def run(data, results, *words):
    return reproduce_doanet.main([f"dataset_dir={data}", f"results_dir={results}", "--quick", *SMALL, *words])


def test_rows_are_trained_scored_and_tabulated(data, tmp_path, capfd):
    rows = ["--arrays", "foa", "--rows", "MSE", "dMOT + activity, augmented"]
    assert run(data, tmp_path, *rows) == 0
    out = capfd.readouterr().out
    assert "| FOA | MSE (quick test) |" in out and "| FOA | dMOT + activity, augmented (quick test) |" in out
    assert (tmp_path / "reproduction.md").read_text().count("\n") == 4
    # What is finished is not run again; a row that was lost is
    assert run(data, tmp_path, *rows) == 0
    out = capfd.readouterr().out
    assert "$ python3" not in out and "| FOA | MSE (quick test) |" in out
    shutil.rmtree(tmp_path / "6_paper")
    assert run(data, tmp_path, *rows, "--dry-run") == 0
    out = capfd.readouterr().out
    assert "train_doanet.py 6 paper" in out and "train_doanet.py 2 paper" not in out


def test_every_row_names_tasks_of_the_paper(data, tmp_path, capsys):
    for name, tasks in reproduce_doanet.ROWS.items():
        for task, array in zip(tasks, reproduce_doanet.ARRAYS, strict=True):
            config = get_params(task)
            assert config.array.name == array and config.data.augmented == ("augmented" in name)
            assert (config.loss.loss == "mse") == (name == "MSE") and config.predicts_activity == ("activity" in name)
            assert (config.loss.dmota_weight == 0) == ("dMOTp" in name)
    assert run(data, tmp_path / "none", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("train_doanet.py") == 14 and out.count("evaluate_doanet.py") == 14
    assert out.count("batch_feature_extraction.py") == 2 and not (tmp_path / "none").exists()


def test_a_step_that_fails_stops_the_rest(tmp_path, capfd):
    assert run(tmp_path / "nothing", tmp_path / "results") == 2
    err = capfd.readouterr().err
    assert "stopped in: python3 augment_files.py" in err and "goes on from there" in err
    assert run(tmp_path, tmp_path, "array=mic") == 2
    assert json.dumps("--arrays")[1:-1] in capfd.readouterr().err


# --- the page ------------------------------------------------------------------------------------------------------

def commands():
    """The commands of docs/reproduce.md as words: script, arguments."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / "docs" / "reproduce.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("python3 ") for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_page_names_every_row_and_its_commands_are_understood():
    named = set()
    for script, *words in commands():
        parser = importlib.import_module(script.removesuffix(".py")).build_parser()
        args = parser.parse_intermixed_args(words)
        if hasattr(args, "overrides"):
            plain, overrides = split_words(args.overrides, None, None)
            get_params(plain[0] or "1", **overrides)
        if script == "reproduce_doanet.py" and "--rows" in words:
            named |= {*args.rows}
    assert named == {*reproduce_doanet.ROWS}
    page = (ROOT / "docs" / "reproduce.md").read_text()
    for row, (foa, mic) in reproduce_doanet.ROWS.items():
        assert f"| {row} | {foa} / {mic} |" in page


QUICK = {"train_doanet.py": SMALL, "batch_feature_extraction.py": ["max_audio_len_s=3", "--jobs", "1"],
         "reproduce_doanet.py": ["--quick", *SMALL], "check_dataset.py": ["--jobs", "1"],
         "run.py": ["max_epochs=1", "sequence_duration=1", "hidden_dim=4", "num_fft_bins=2048", "device=cpu",
                    "--jobs", "1"]}


@pytest.mark.slow
def test_every_command_of_the_page_runs_on_folders_of_the_same_layout(data, tmp_path, monkeypatch, capsys):
    """In one process, with quick settings; a download is replaced by a tiny folder of its layout."""
    def run_script(words):
        script, *words = words
        if script == "download_dataset.py":
            for name in words[: words.index("--parts") if "--parts" in words else None]:
                shutil.copytree(data, "datasets/tau2020") if name == "tau2020" else make_tut(
                    Path("datasets", "tut2018", name), seconds=1.0)
            return 0
        words = [one for word in words for one in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
        return importlib.import_module(script.removesuffix(".py")).main(words)

    def in_process(command):
        return SimpleNamespace(returncode=run_script([Path(command[1]).name, *command[2:]]))

    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce_doanet, "subprocess", SimpleNamespace(run=in_process))
    for script, *words in commands():
        words = ["--quick" if word == "--full" else word for word in words]
        more = [word for word in QUICK.get(script, []) if "configs/cnn.yaml" not in words or "hidden_dim" not in word]
        if script == "train_doanet.py":  # the run exists, from reproduce_doanet.py: a stopped one would be continued
            words.remove("--resume")
        assert run_script([script, *words, *more]) == 0, (script, words)
        capsys.readouterr()
    assert (tmp_path / "results" / "reproduction.md").read_text().count("\n") == 2 + 14
    assert len(list((tmp_path / "experiments" / "results").glob("*.json"))) == 27
