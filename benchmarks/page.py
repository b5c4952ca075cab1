"""Measurements → the tables of docs/benchmarks.md.

``taken``: {part: {side: [measurement of each turn]}}; a measurement is what ``measure`` of the part returned.
"""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from statistics import median

from benchmarks.parts import ALL, BARS, GROWTH, MACHINE, MEMORY_BAR, PARTS

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # CPU features that the times depend on
RATIO_HEAD = ("| part | side | threads | seconds (range) | speed-up (range) | peak memory |\n"
              "|---|---|---|---|---|---|")
GROWTH_HEAD = ("| part | sizes | seconds, peak memory | seconds, last / first | memory, last / first |\n"
               "|---|---|---|---|---|")
MACHINE_HEAD = "| | matrix product, float32 | bfloat16 | copy, read and written |\n|---|---|---|---|"
LEAST_HEAD = ("| part | side | operations | bytes | lower bound, s | measured, s | share of the limit |\n"
              "|---|---|---|---|---|---|---|")

INTRODUCTION = """\
This page is written by `make bench` (`benchmarks/run.py`). [performance.md](performance.md) explains the results and
lists the optimizations that were tried.

Each part is compared with a plain version: a vectorised, eager float32 implementation with the same number of threads
(`benchmarks/plain*.py`). Tests check that both give the same numbers. Each measurement runs in a separate process, and
the versions ("sides") take turns. The tables show medians and ranges; speed-ups compare the measurements of one turn.
The time of single-threaded parts is the CPU time of their thread, that of the others is elapsed time."""
OF_PARTS = """\
| part or side | what is measured |
|---|---|
| `auto`, and `ours` of networks | the precision that is fast on this machine (`precision=auto`) |
| features | a recording of one minute, with labels and normalisation |
| second_core | extraction after the start of its processes; memory of the first process only |
| batch_loading, training_step | 64 sequences of 5 s |
| inference | one minute; `localize`: as in `localize.py` (batch norms folded, float32), the others: as in \
validation and tests |
| adrenaline, seldnet, cnn | 16 chunks of 0.5 s |
| frame_scores | 60,000 frames of two slots |
| simulation | one minute of FOA and MIC of one scene, with perfect rooms and sensors and with `--realistic`; \
two sources at once, or three, or one array of four capsules |
| wav_to_tracks | one minute of FOA with task 1, without start-up and without test-time rotation (`--fast`) |"""
OF_GROWTH = """\
The sizes are 1, 2, 4 and 8 times two recordings of a minute, one recording of half a minute, 60,000 frames, or 8
sequences. Memory is measured for the extraction of 10 and of 100 recordings of 10 s, and for an epoch of training on 10
and on 100 recordings of 30 s."""
OF_LEAST = """\
The lower bound is the larger of two times: that of the operations at the rate of matrix products (in bfloat16 where
`auto` uses it), and that of the bytes at the rate of copies. [performance.md](performance.md) derives both."""


def ratio_rows(part, sides):
    """One line per side of a part."""
    base = next(iter(sides.values()))
    for side, turns in sides.items():
        seconds = [turn["seconds"] for turn in turns]
        ratio = [other["seconds"] / one for other, one in zip(base, seconds)]
        times = "" if turns is base else f"{median(ratio):.2f} ({min(ratio):.2f}-{max(ratio):.2f})"
        yield (f"| {part} | {side} | {ALL[part].threads} | {median(seconds):.4g} "
               f"({min(seconds):.4g}-{max(seconds):.4g}) | {times} | {peak(turns):.0f} MiB |")


def growth_row(part, sides):
    """Seconds and memory of each size, on one line."""
    first = next(iter(sides.values()))
    cells = [f"{median(t['seconds'] for t in turns):.3g} s, {peak(turns):.0f} MiB" for turns in sides.values()]
    last = list(sides.values())[-1]
    return (f"| {part} | {' / '.join(sides)} | {' / '.join(cells)} "
            f"| {last[0]['seconds'] / first[0]['seconds']:.2f} | {peak(last) / peak(first):.2f} |")


def rows(part, sides):
    """The lines of any part."""
    if part in GROWTH:
        return [growth_row(part, sides)]
    return machine_rows(sides) if part in MACHINE else list(ratio_rows(part, sides))


def machine_rows(sides):
    for side, turns in sides.items():
        rates = turns[0]["rates"]
        yield (f"| {side} | {rates['float32']:.0f} GFLOP/s | {rates['bfloat16']:.0f} GFLOP/s "
               f"| {rates['copy']:.1f} GB/s |")


def bars(taken):
    """Whether each target is met, one line per target."""
    seconds = {part: {side: median(t["seconds"] for t in turns) for side, turns in sides.items()}
               for part, sides in taken.items() if part not in MACHINE}
    lines = [line for bar in BARS if (line := bar.line(seconds))]
    for part in ("memory_of_extraction", "memory_of_training"):
        if part in taken:
            few, many = (peak(turns) for turns in taken[part].values())
            lines.append(f"{part.replace('_', ' ')}, 100 recordings / 10: {many / few:.3f} (at most {MEMORY_BAR:g}: "
                         f"{'met' if many <= MEMORY_BAR * few else '**not met**'})")
    return [f"- {line}" for line in lines]


def reading_multiples(taken):
    """Time of features in multiples of reading the WAV and taking its FFTs."""
    for part in ("features_foa", "features_mic"):
        if part in taken:
            pairs = zip(taken[part]["ours"], taken[part]["read + FFT"])
            ratio = [ours["seconds"] / read["seconds"] for ours, read in pairs]
            yield (f"- {part}: {median(ratio):.2f} ({min(ratio):.2f}-{max(ratio):.2f}) times the time of reading "
                   "the WAV and taking its FFTs")


def least_rows(taken):
    """The least time of each hot part at the rates of this machine, and the share of those rates that it reaches."""
    if "machine" not in taken:
        return
    rates = {int(side.split()[0]): turns[0]["rates"] for side, turns in taken["machine"].items()}
    for part in taken:
        for side, work in ALL[part].work.items():
            rate = rates[ALL[part].threads]
            least = max(work.operations / rate[work.dtype], work.bytes / rate["copy"]) / 1e9
            measured = median(turn["seconds"] for turn in taken[part][side])
            yield (f"| {part} | {side} | {work.operations / 1e9:.3g} G | {work.bytes / 1e6:.0f} MB | {least:.3g} "
                   f"| {measured:.3g} | {100 * least / measured:.0f} % |")


def peak(turns):
    return max(turn["peak_mib"] for turn in turns)


def machine():
    """The CPU, operating system and libraries, on one line."""
    name, flags = platform.processor() or platform.machine(), set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        values = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        values = {key.strip(): value.strip() for key, value in values.items()}
        name, flags = values.get("model name", name), set(values.get("flags", "").split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fast = " ".join(flag for flag in FLAGS if flag in flags) or "no AVX reported"
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("torch", "numpy", "scipy"))
    return (f"{name}, {cores} cores ({fast}), {platform.system()}, Python {platform.python_version()}, {versions}, "
            f"no GPU used; {datetime.date.today()}")


def page(taken):
    """The whole of docs/benchmarks.md."""
    sections = [
        "# Benchmarks", INTRODUCTION, machine(),
        "## Targets", "\n".join([*bars(taken), *reading_multiples(taken)]),
        "## Comparison with plain versions", table(RATIO_HEAD, taken, PARTS), OF_PARTS,
        "## Growth", table(GROWTH_HEAD, taken, GROWTH), OF_GROWTH,
        "## Limits of this machine", table(MACHINE_HEAD, taken, MACHINE),
        "\n".join([LEAST_HEAD, *least_rows(taken)]), OF_LEAST]
    return "\n\n".join(sections) + "\n"


def table(head, taken, parts):
    return "\n".join([head, *(row for part in parts if part in taken for row in rows(part, taken[part]))])
