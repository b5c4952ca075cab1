"""A few damaged inputs of each kind for each script; ``make fuzz`` runs 1500 of them."""

import json
import subprocess
import sys

import pytest
from fuzzing import cases, runner

FEW = ["--seed", "7", "--inputs", "30"]  # one or two of each kind
MANY = ["--seed", "0", "--inputs", "1500"]


def fuzz(*words):
    """Run the suite in a process that has started no threads → (status, what it printed)."""
    done = subprocess.run([sys.executable, "-m", "fuzzing", *words], cwd=runner.ROOT, env=runner.environment(),
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_damaged_input_is_reported_in_one_line():
    status, printed = fuzz(*FEW)
    assert status == 0, printed
    assert f"{sum(max(1, -(-share * 30 // 1000)) for _, share in cases.KINDS.values())} inputs" in printed


@pytest.mark.slow
def test_so_are_many():
    status, printed = fuzz(*MANY)
    assert status == 0, printed


WRONG = {
    "a traceback": ("raise IndexError('no such thing')", "traceback: IndexError"),
    "silence": ("raise SystemExit(2)", "without an error message"),
    "another file": ("import sys; print('error: b is damaged', file=sys.stderr); sys.exit(2)", "names none of a.wav"),
    "a hang": ("import time; time.sleep(60)", "runs for more than"),
    "memory": ("import numpy; numpy.ones(150 << 20, 'u1')", "emory"),
    "leftovers": ("open('.a.partial-x-1.csv', 'w')", "leaves in/.a.partial-x-1.csv"),
    "a signal": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    "a novel": ("import sys; print('error: a.wav', 'x' * 9999, file=sys.stderr); sys.exit(2)", "a message of"),
}


def test_the_suite_sees_what_is_wrong(tmp_path):
    """Each check finds a script that does wrong."""
    for number, (code, _) in enumerate(WRONG.values()):
        (tmp_path / f"wrong{number}.py").write_text(f"def main(argv):\n    {code}\n")
    script = ("import json, sys; from fuzzing import runner\n"
              "runner.LONGEST_S, runner.MOST_BYTES = 2, 100 << 20\n"
              f"sys.path.insert(0, {str(tmp_path)!r})\n"
              f"for number in range({len(WRONG)}):\n"
              "    case = runner.Case('', f'wrong{number}', [], lambda folder: None, ('a.wav',))\n"
              "    print(json.dumps(runner.faults(case, runner.run(case, None))))")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=runner.environment(), capture_output=True,
                          text=True)
    for line, (what, (_, says)) in zip(done.stdout.splitlines(), WRONG.items(), strict=True):
        assert any(says in fault for fault in json.loads(line)), (what, line, done.stderr)
