"""Runs a case in a process of its own, in a folder of its own, under limits, and checks what it did."""

import contextlib
import importlib
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 10.0
MOST_BYTES = 2 << 30
LONGEST_MESSAGE = 3000  # characters of the longest line of a message
PRELOADED = ("torch", "lightning_fabric", "torch.utils.tensorboard", "matplotlib.pyplot", "onnxruntime", "soundfile",
             "scipy.signal", "scipy.optimize", "joblib", "pydantic", "yaml", "requests", "pooch", "h5py", "soxr",
             "sklearn.preprocessing", "pyroomacoustics", "onnx", "aiohttp")
IMPORTED = ("localize", "inference", "localizer", "trainer", "evaluation", "train_doanet", "batch_feature_extraction",
            "evaluate_doanet", "simulate_dataset", "check_dataset", "augment_files", "compare_runs", "run",
            "export_doanet", "train_hnet", "generate_hnet_training_data", "visualize_hnet_results", "download_dataset",
            "visualize_doanet_output", "doanet_parameters", "reproduce_doanet", "doatools.report.plots")


class Case(NamedTuple):
    """A script, its words, and the input that is wrong."""

    name: str  # of the kind
    script: str  # without .py
    words: list
    prepare: object  # function of the folder that writes the input there; the script runs in it
    named: tuple = ()  # words of which a message must contain one, such as the name of the damaged file
    stdin: bytes = b""
    about: str = ""  # what was done, for reports
    setup: object = None  # called in the process, before the script


class Outcome(NamedTuple):
    status: int | None  # exit status; negative: a signal; None: still running after LONGEST_S
    seconds: float
    bytes: int  # of memory beyond what the process had at its start
    text: str  # standard error
    leftovers: list  # temporary files that stayed


def preload():
    """Import what scripts import, once for all cases, in the process that they are forked from."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "MALLOC_ARENA_MAX": "2"}
    for name in (*PRELOADED, *IMPORTED):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def run(case, world):
    """Run a case → Outcome. ``world`` is the folder of valid input."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        case.prepare(folder / "in")
        return _run(case, folder)
    finally:
        _make_removable(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _run(case, folder):
    (folder / "in").mkdir(exist_ok=True)
    (folder / "stdin").write_bytes(case.stdin)
    read, write = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read)
        _child(case, folder, write)
    os.close(write)
    status, seconds = _wait(child, started)
    with open(read, "rb") as pipe:
        used = int(pipe.read() or 0) if status is not None and status >= 0 else 0
    names = ("err", "out") if case.script == "check_dataset" else ("err",)  # whose findings are its output
    text = "".join((folder / name).read_bytes().decode(errors="replace") for name in names if (folder / name).exists())
    leftovers = [str(path.relative_to(folder)) for path in folder.rglob("*.partial-*")]
    return Outcome(status, seconds, used, text, leftovers)


def _wait(child, started):
    """(exit status, or None if it was ended here; seconds).

    A process may run for LONGEST_S. On a busy machine it gets more time, as long as it computes and has not used as
    many seconds of processor time.
    """
    pause, seen, seen_at = 0.002, 0.0, started
    while True:
        done, code = os.waitpid(child, os.WNOHANG)
        now = time.monotonic()
        if done:
            return os.waitstatus_to_exitcode(code), now - started
        used, waiting = _processor_time(child)
        if used > seen or not waiting:
            seen, seen_at = used, now
        idle = now - seen_at > min(3.0, LONGEST_S)
        if now - started > LONGEST_S and (idle or used > LONGEST_S or now - started > 10 * LONGEST_S):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, now - started
        time.sleep(pause)
        pause = min(pause * 1.2, 0.05)


def _processor_time(process):
    """(seconds that a process has computed, whether it waits for something other than a processor)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] == "S"


def _child(case, folder, report):
    """Never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "out", os.O_WRONLY | os.O_CREAT),
                                    (2, "err", os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(folder / name, flags, 0o600), number)
        sys.stdin = io.TextIOWrapper(os.fdopen(0, "rb", closefd=False))
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8", "strict")
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), "utf-8", "backslashreplace",
                                      write_through=True)
        os.chdir(folder / "in")
        before, size = _memory()
        # Twice the limit beyond what is there: address space is reserved more freely than memory is used.
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MOST_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30,) * 2)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        status = _status_of(case)
        os.write(report, str(max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _status_of(case):
    """The exit status that ``python3 script.py words`` would have."""
    try:
        sys.argv = [f"{case.script}.py", *case.words]
        if case.setup:
            case.setup()
        return importlib.import_module(case.script).main(list(case.words)) or 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
        return 1


def _memory():
    """(largest resident size so far, size of the address space) of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, pages * resource.getpagesize()


def _make_removable(folder):
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


def faults(case, outcome):
    """What a case did wrong, in words; [] if nothing."""
    found = []
    status, text = outcome.status, outcome.text
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    if status is None:
        found.append(f"runs for more than {LONGEST_S:g} s")
    elif status < 0:
        found.append(f"ended by {signal.Signals(-status).name}")
    elif status not in (0, 1, 2):
        found.append(f"exit status {status}")
    if "Traceback (most recent call last)" in text or "Exception ignored" in text:
        found.append(f"traceback: {[line for line in lines if not line.startswith(' ')][-1][:200]}")
    elif status and status > 0:
        if not any("error:" in line for line in lines) and case.script != "check_dataset":
            found.append(f"exit status {status} without an error message")
        elif case.named and not any(name in text for name in case.named):
            found.append(f"the message names none of {', '.join(case.named)}")
    if "Warning: " in text:
        found.append(f"warning: {next(line for line in lines if 'Warning: ' in line)[:200]}")
    if "not enough memory" in text:
        found.append("needs more memory than there is")
    if outcome.bytes > MOST_BYTES:
        found.append(f"{outcome.bytes / 2**30:.1f} GiB of memory")
    given = 2 * max(map(len, case.words), default=0)  # argparse and others repeat a word as a whole
    if max(map(len, lines), default=0) > LONGEST_MESSAGE + given:
        found.append(f"a message of {max(map(len, lines))} characters")
    if outcome.leftovers:
        found.append(f"leaves {', '.join(outcome.leftovers[:3])}")
    return found


def environment():
    """That of programs which the fuzz starts."""
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
