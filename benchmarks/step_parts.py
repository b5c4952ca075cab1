"""Where the time of a training step goes, part by part: task 20 (DOAnet) and task 22 (BearingNet), 32 sequences of 5 s.

    OMP_NUM_THREADS=1 python3 -m benchmarks.step_parts

Each part runs forward and backward by itself, on inputs of its shape, in float32 and one thread; times are processor
time, so other work on the machine does not count. The share is that of the rate of matrix products of 2048 × 2048.
The last line is the step after torch.compile, and the time of the first such step, which compiles.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from bearing_model import BLOCKS, KEY_SIZE, POINTERS
from benchmarks.machine import SIZE
from benchmarks.measure import median_seconds
from benchmarks.training_step import make_target
from benchmarks.work import convolution, gru
from doanet_parameters import get_params
from doatools.train.loop import compiled
from doatools.train.losses import build_criterion
from doatools.train.optimizers import make_optimizer
from localizer import build_model

BATCH, FRAMES = 32, 50  # sequences, label frames of each


class Timed(NamedTuple):
    """A part: ``work()`` runs it, ``operations`` of a sequence's forward pass, ``passes`` of that size in a step."""

    work: Callable
    operations: float = 0
    passes: int = 3  # forward, gradient of the input, gradient of the weights; the first layer needs no second one


def main():
    torch.set_num_threads(1)
    a = torch.randn(SIZE, SIZE)
    peak = 2 * SIZE**3 / seconds_of(lambda: a @ a)
    print(f"rate of matrix products, one thread: {peak / 1e9:.0f} GFLOP/s")
    for task, parts_of in (("20", doanet_parts), ("22", bearing_parts)):
        torch.manual_seed(0)
        config = get_params(task, device="cpu", precision="32-true")
        model = build_model(config).to(memory_format=torch.channels_last)
        features, target = features_for(model), make_target((BATCH, FRAMES, config.data.max_sources), None)
        criterion, optimizer = build_criterion(config), make_optimizer(model, config.training)

        def step(model=model, criterion=criterion, optimizer=optimizer, features=features, target=target):
            criterion(model(features), target)["loss"].backward()
            optimizer.step()

        step()  # so that the optimizer has gradients and a state
        parts = parts_of(model, features) | {"optimizer": Timed(optimizer.step)}
        report(f"task {task}", parts, seconds_of(step), peak)
        compiled(model)
        first = median_seconds(step, 1, 0, time.perf_counter)["seconds"]
        print(f"| compiled | {1000 * seconds_of(step):.0f} ms, first {first:.0f} s | | |")


def report(title, parts, whole, peak):
    """Print a Markdown table of the parts of a step that takes ``whole`` s, on a machine of ``peak`` FLOP/s."""
    print(f"\n| {title} | time | GFLOP | share of peak |\n|---|---|---|---|")
    for name, part in parts.items():
        taken, operations = seconds_of(part.work), BATCH * part.passes * part.operations
        share = f"{operations / 1e9:.2f} | {100 * operations / taken / peak:.0f} %" if operations else "|"
        print(f"| {name} | {1000 * taken:.0f} ms | {share} |")
    operations = BATCH * sum(part.passes * part.operations for part in parts.values())
    print(f"| whole step | {1000 * whole:.0f} ms | {operations / 1e9:.2f} | {100 * operations / whole / peak:.0f} % |")


def seconds_of(work):
    return median_seconds(work, 5, 2, time.process_time)["seconds"]


def features_for(model):
    """Noise of the shape that a network reads, (B, C, T', F)."""
    channels = next(weights.shape[1] for weights in model.parameters() if weights.dim() == 4)
    return channels_last(BATCH, channels, 5 * FRAMES, 64).detach()


def both_ways(module, *inputs):
    """A part's forward and backward pass; gradients of the inputs too, unless they are features."""
    def run():
        output = module(*inputs)
        output = output[0] if isinstance(output, tuple) else output
        output.sum().backward()
    return run


def doanet_parts(model, features):
    """The parts of a DOAnet → {name: Timed}."""
    maps, sizes = model.blocks[0].conv.out_channels, [(250, 64), (50, 32), (50, 16)]
    inputs = [features, *(channels_last(BATCH, maps, *size) for size in sizes[1:])]
    blocks = {f"convolution block {number + 1}": Timed(
        both_ways(block, given), convolution(given.shape[1], maps, size[0] * size[1]), 3 if number else 2)
        for number, (block, given, size) in enumerate(zip(model.blocks, inputs, sizes))}
    return blocks | {"recurrent layers": recurrent(model.gru)}


def bearing_parts(model, features):
    """The parts of a BearingNet → {name: Timed}."""
    stem, maps = model.stem.conv, model.stem.conv.out_channels
    channels, frames, bands = features.shape[1:]  # C, T', F
    place, span = FRAMES * bands // stem.stride[1], frames // FRAMES * bands  # of maps; R·F
    given = channels_last(BATCH, maps, FRAMES, bands // stem.stride[1])
    states, pointers = learned(BATCH, FRAMES, model.gru.hidden_size), learned(BATCH, FRAMES, POINTERS, 3)
    masking = maps * model.pointers.masks.out_features * place + FRAMES * span * 3 * (channels + POINTERS)
    looking = (model.gather.query.weight.numel() + model.gather.key.weight.numel()
               + FRAMES * model.slots * POINTERS * (KEY_SIZE + 3))
    return {
        "stem": Timed(both_ways(model.stem, features), 2 * stem.weight.numel() * place, 2),
        "residual blocks": Timed(both_ways(torch.nn.Sequential(*model.blocks), given),
                                 2 * BLOCKS * convolution(maps, maps, place)),
        "pointers": Timed(both_ways(model.pointers, features, given), 2 * masking),
        "reduction": Timed(both_ways(model.reduce, learned(BATCH, FRAMES, model.reduce.in_features)),
                           2 * FRAMES * model.reduce.weight.numel()),
        "recurrent layers": recurrent(model.gru),
        "gathering": Timed(both_ways(model.gather, states, pointers, FRAMES), 2 * FRAMES * looking)}


def recurrent(layers):
    size, hidden = layers.input_size, layers.hidden_size
    return Timed(both_ways(layers, learned(BATCH, FRAMES, size)),
                 gru(size, hidden, FRAMES) + (layers.num_layers - 1) * gru(2 * hidden, hidden, FRAMES))


def learned(*shape):
    return torch.randn(*shape, requires_grad=True)


def channels_last(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last).requires_grad_()


if __name__ == "__main__":
    main()
