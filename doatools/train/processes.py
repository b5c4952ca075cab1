"""Sums and lists over the processes of ``torchrun``; in a plain ``python3`` there is one process."""

import atexit
import signal

import torch
from torch import distributed


def begin_loading(_=None):
    """At the start of a process that loads data: stops are for the process that trains, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def world():
    """The number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank():
    """The number of this process, from 0; process 0 writes files and prints."""
    return distributed.get_rank() if world() > 1 else 0


def leave_at_exit():
    """Take leave of the other processes while Python still runs: gloo's threads abort a process that ends without."""
    if distributed.is_available() and distributed.is_initialized():
        atexit.register(_leave)


def _leave():
    if distributed.is_initialized():
        distributed.destroy_process_group()


def total(values):
    """The sum of a tensor's values over all processes, for the numerators and denominators of a loss.

    Each process gets the same value, and the gradient of its own values multiplied by the number of processes. The mean
    over processes, which DistributedDataParallel takes, is then the gradient of the loss of the whole batch.
    """
    own = values.sum()
    if world() == 1:
        return own
    everywhere = own.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere + world() * (own - own.detach())


def gather(values):
    """The list of the values of all processes (anything that can be pickled; the processes trust each other)."""
    if world() == 1:
        return [values]
    everywhere = [None] * world()
    distributed.all_gather_object(everywhere, values)
    return everywhere


def count(number, like):
    """A number of items, summed over all processes; ``like`` is a tensor on the device in use."""
    return number if world() == 1 else total(like.new_full((), number, dtype=torch.float32))
