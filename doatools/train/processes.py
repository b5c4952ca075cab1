"""What the processes of a ``torchrun`` share: sums over all of them. In a plain ``python3`` there is one process."""

import torch
from torch import distributed


def world():
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank():
    """This process's number, from 0; the one of number 0 writes files and prints."""
    return distributed.get_rank() if world() > 1 else 0


def total(values):
    """The sum of a tensor's values over all processes, for the numerators and denominators of a loss.

    Each process gets the same value, and a gradient of its own values only, times the number of processes: the
    mean over processes that DistributedDataParallel takes is then the gradient of the whole batch's loss.
    """
    own = values.sum()
    if world() == 1:
        return own
    everywhere = own.detach().clone()
    distributed.all_reduce(everywhere)
    return everywhere + world() * (own - own.detach())


def gather(values):
    """The list of what each process holds (anything that pickles, between our own processes)."""
    if world() == 1:
        return [values]
    everywhere = [None] * world()
    distributed.all_gather_object(everywhere, values)
    return everywhere


def count(number, like):
    """A number of items summed over all processes; ``like`` is a tensor on the device at work."""
    return number if world() == 1 else total(like.new_full((), number, dtype=torch.float32))
