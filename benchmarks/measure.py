"""Timing, and peak memory."""

import resource
import statistics
import time


def median_seconds(work, turns, warm_up=1, clock=time.perf_counter, before=lambda: None):
    """Median seconds of ``work()`` after some warm-up turns, and the peak memory of the process.

    ``clock=time.process_time`` counts only this process's computation, whatever else the machine does; for
    single-threaded work. ``before`` is called before each turn and not timed.
    """
    taken = []
    for _ in range(warm_up + turns):
        before()
        started = clock()
        work()
        taken.append(clock() - started)
    return {"seconds": statistics.median(taken[warm_up:]), "peak_mib": peak_mib()}


def peak_mib():
    """The most memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
