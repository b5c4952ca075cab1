"""Parallel work of joblib: in processes of this machine, or on the machines of a Dask cluster."""

import contextlib
import os
import signal
import threading
import time
import warnings

from doatools.errors import UserError

TIMEOUT_S = 10  # for a scheduler to answer
MOST_JOBS = 1024  # processes of one script
WATCH_S = 0.5  # between looks of a worker at its parent
_active = []  # addresses of ``on``


def add_argument(parser):
    """Add ``--dask ADDRESS`` to a script's parser."""
    parser.add_argument("--dask", metavar="ADDRESS", help="run on the Dask cluster with this scheduler, such as "
                        "tcp://host:8786; all workers need the same files at the same paths")


@contextlib.contextmanager
def on(address):
    """Within this context, joblib works on the cluster of the scheduler at ``address``; on this machine for None.

    Raises
    ------
    UserError
        Dask is not installed, or there is no scheduler with workers.
    """
    if address is None:
        yield
        return
    import joblib
    try:
        import distributed
    except ImportError:
        raise UserError("--dask needs one more package: pip install distributed (here and on each worker)") from None
    try:
        client = distributed.Client(address, timeout=TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {address} ({error}); start one with: python3 -m dask scheduler"
                        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise UserError(f"the Dask scheduler at {address} has no workers; start some in this folder with: "
                            f"python3 -m dask worker {address}")
        _active.append(address)
        try:
            with joblib.parallel_config(backend="dask"):
                yield
        finally:
            _active.pop()


def results_of(tasks, jobs, **options):
    """An iterator over the results of joblib's ``tasks``, in ``jobs`` processes; ``options`` of joblib.Parallel.

    Processes of this machine leave Ctrl-C to this process, and end when it has ended in any way.
    """
    if not -MOST_JOBS <= jobs <= MOST_JOBS:
        raise UserError(f"--jobs takes a number of processes up to {MOST_JOBS}, or -1 for one per core, not {jobs}")
    import joblib
    if not _active:
        options |= {"backend": "loky", "initializer": _follow, "initargs": (os.getpid(),)}
    warnings.filterwarnings("ignore", message=".*limit unnecessary computation", category=UserWarning)  # after a stop
    with _holding_interrupts():
        return joblib.Parallel(n_jobs=jobs, **{"return_as": "generator", **options})(tasks)


@contextlib.contextmanager
def _holding_interrupts():
    """Ctrl-C waits until the end of this context; processes that are started within it never see one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    _start_trackers()  # now, as their start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_trackers():
    """Start the processes that remove what a killed script leaves in shared memory; they do so without a word."""
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as tracker_of_joblib
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker")))
    try:
        for tracker in (resource_tracker, tracker_of_joblib):
            tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def _follow(parent):
    """In a worker: end soon after the process ``parent``."""
    def watch():
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
