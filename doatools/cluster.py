"""Parallel work of joblib on the machines of a Dask cluster, for scripts that are given a scheduler's address."""

import contextlib

import joblib

from doatools.errors import UserError

PATIENCE_S = 10  # for a scheduler to answer


def add_argument(parser):
    """Give a script's parser ``--dask ADDRESS``."""
    parser.add_argument("--dask", metavar="ADDRESS", help="work on the Dask cluster of this scheduler, such as "
                        "tcp://host:8786, whose workers see the same files at the same places")


@contextlib.contextmanager
def on(address):
    """Within, joblib works on the cluster of a scheduler's address; where that is None, on this machine as ever.

    Raises
    ------
    UserError
        Dask is not installed, or no scheduler with workers is there.
    """
    if address is None:
        yield
        return
    try:
        import distributed
    except ImportError:
        raise UserError("--dask takes one more package: pip install distributed (here and at each worker)") from None
    try:
        client = distributed.Client(address, timeout=PATIENCE_S)
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {address} ({error}); start one with: python3 -m dask scheduler"
                        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise UserError(f"the Dask scheduler at {address} has no workers; start some in this folder with: "
                            f"python3 -m dask worker {address}")
        with joblib.parallel_config(backend="dask"):
            yield
