"""Time this, tell peak memory: what every measurement here comes down to."""

import resource
import statistics
import time


def median_seconds(work, turns, warm_up=1, clock=time.perf_counter, before=lambda: None):
    """Median seconds of ``work()`` after some turns that do not count, and the process's peak of memory.

    ``clock=time.process_time`` counts what one core computes, whoever else is at work; for work of one thread.
    ``before`` is called before each turn, untimed.
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
