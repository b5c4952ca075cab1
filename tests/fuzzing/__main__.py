"""``python3 -m fuzzing``: run many cases, print each fault once with an example, and how to repeat it."""

import argparse
import collections
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzzing import cases, runner


def main(argv=None):
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the inputs follow from it (default 0)")
    parser.add_argument("--inputs", type=int, default=1500, help="how many at least (default 1500)")
    parser.add_argument("--only", nargs="*", metavar="KIND", help="kinds to run, or one input: KIND:NUMBER")
    parser.add_argument("--world", type=Path, help="folder of valid input (made if it is missing; default: temporary)")
    parser.add_argument("--show", action="store_true", help="print all messages")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        world = args.world or Path(folder) / "world"
        make_world(world)
        started = time.monotonic()
        runner.preload()
        return report(run_all(chosen(args), world, args), time.monotonic() - started)


def make_world(world):
    if not world.exists():
        print("making valid input", flush=True)
        done = subprocess.run([sys.executable, "-m", "fuzzing.world", str(world)], capture_output=True, text=True,
                              env=runner.environment())
        if done.returncode:
            sys.exit(done.stdout + done.stderr)


def chosen(args):
    """[(kind, number)] of all inputs, in turns, so that any part of the list has some of each kind."""
    shares = {name: max(1, -(-share * args.inputs // 1000)) for name, (_, share) in cases.KINDS.items()}
    if args.only:
        single = [(kind, int(number)) for kind, _, number in (word.partition(":") for word in args.only) if number]
        return single + [(name, number) for name in args.only if name in shares for number in range(shares[name])]
    inputs = [(number / share, name, number) for name, share in shares.items() for number in range(share)]
    return [(name, number) for _, name, number in sorted(inputs)]


def case_of(kind, number, seed, world):
    """The input of a number: the same each time."""
    return cases.make(kind, random.Random(f"{seed}:{kind}:{number}"), world)


def run_all(inputs, world, args):
    """(number of inputs, {fault: [(kind, number, Case, Outcome)]})."""
    found = collections.defaultdict(list)
    for done, (kind, number) in enumerate(inputs, 1):
        case = case_of(kind, number, args.seed, world)
        outcome = runner.run(case, world)
        wrong = runner.faults(case, outcome)
        for fault in wrong:
            found[fault].append((kind, number, case, outcome))
        if args.show or wrong:
            words = shlex.join([f"{case.script}.py", *case.words])
            print(f"{kind}:{number} {case.about} | {words:.200} -> {outcome.status} in {outcome.seconds:.1f} s"
                  f"{''.join(f'; {fault}' for fault in wrong)}", flush=True)
        if args.show:
            print(outcome.text[-3000:])
        if done % 100 == 0:
            print(f"{done} of {len(inputs)}", flush=True)
    return len(inputs), found


def report(results, seconds):
    count, found = results
    print(f"\n{count} inputs in {seconds:.0f} s, {sum(map(len, found.values()))} faults of {len(found)} kinds")
    for fault, examples in sorted(found.items(), key=lambda item: -len(item[1])):
        kind, number, case, _ = examples[0]
        print(f"{len(examples):4} {fault}\n     first: --only {kind}:{number} ({case.script}.py, {case.about})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
