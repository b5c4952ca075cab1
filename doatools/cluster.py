"""Parallel work of joblib on the machines of a Dask cluster."""

import contextlib

from doatools.errors import UserError

TIMEOUT_S = 10  # for a scheduler to answer


def add_argument(parser):
    """Add ``--dask ADDRESS`` to a script's parser."""
    parser.add_argument("--dask", metavar="ADDRESS", help="work on the Dask cluster of this scheduler, such as "
                        "tcp://host:8786; its workers need the same files at the same paths")


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
        with joblib.parallel_config(backend="dask"):
            yield
