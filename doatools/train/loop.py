"""One loop to train, validate and test any model of the toolkit, on Lightning Fabric.

It contains no command line, no plots and no metrics: a model maps features (B, C, T', F) to a Localization, a criterion
maps (Localization, Target) to named terms, a ``score`` callable maps predicted sequences to a dict of figures, and
``selection`` maps these and the loss terms to the number whose minimum selects the best epoch.

Randomness follows from (seed, epoch, sample index) alone, and a checkpoint is written after each epoch. A run that is
stopped and resumed therefore ends with the same weights, bit for bit, as one that was never stopped.
"""

import collections
import contextlib
import ctypes
import datetime
import functools
import itertools
import logging
import math
import os
import sys
import time
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric, seed_everything
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from doatools.errors import UserError
from doatools.train import checkpoint
from doatools.train.optimizers import Muon, make_optimizer
from doatools.train.processes import count, gather, leave_at_exit, rank
from doatools.train.resident import ResidentBatches
from doatools.types import Predictions, Target

PRINTED = ("LE", "LR", "LP", "LF", "F20", "MOTA@20", "DOA error", "frame recall")  # figures in the line of an epoch
RISING = 0.05  # share of the steps in which the learning rate of lr_schedule=linear rises
CHECK_EVERY = 8  # steps between checks of the loss on the host, each of which makes a device wait


class Sequences(NamedTuple):
    """Predictions of sequences, in the order of ``index``: S sequences of T label frames."""

    index: np.ndarray  # (S,) of the dataset
    predictions: Predictions  # (S, T, N, ...)


# --- training ----------------------------------------------------------------------------------------------------

def fit(fabric, model, criterion, loaders, score, selection, training, epochs, seed, run, content, resume=False,
        mix=None, augment=None):
    """Train, keep the best epoch, stop early; returns (history, the best epoch's checkpoint dict).

    Parameters
    ----------
    loaders : dict
        'train' and 'val' data loaders whose datasets have ``describe(indices)``; the training sampler has
        ``set_epoch``.
    score : callable
        Sequences → dict of figures (validation).
    selection : callable
        (that dict, the loss terms of validation) → the number whose minimum selects the best epoch.
    training : TrainConfig
    epochs, seed : int
    run : Run
        Where checkpoints and logs go.
    content : dict
        What every checkpoint holds besides weights and scores (parameters, scaler, array, precision).
    resume : bool
        Continue after the run's last checkpoint.
    mix, augment : callable and Module, or None
        (batch, epoch) → the batch to train on, on its device; applied in this order.
    """
    # Fused Adam unscales the gradients of float16 itself, so they could not be clipped.
    fused = fabric.device.type == "cuda" and fabric._precision.precision != "16-mixed"
    model, optimizer = fabric.setup(model.to(memory_format=torch.channels_last), make_optimizer(model, training, fused))
    criterion = criterion.to(fabric.device)
    steps = [step for step in (mix, augment and augment.to(fabric.device)) if step]
    schedule = make_schedule(optimizer, training, epochs, len(loaders["train"]))
    state = {"epoch": 0, "best": math.inf, "best_epoch": 0}
    if resume and run.last.is_file():
        state = _restore(run, model, optimizer, schedule)
    history = [entry for entry in run.history() if entry["epoch"] <= state["epoch"]]
    spent = collections.deque(maxlen=5)  # s, of the last epochs
    train, val = (batches_of(fabric, loaders[role]) for role in ("train", "val"))
    with _writer(run, state["epoch"] + 1) as writer, \
            tqdm(total=len(train) + len(val), unit="batch", leave=False, disable=rank() > 0 or None) as bar:
        for epoch in range(state["epoch"] + 1, epochs + 1):
            if state["best_epoch"] and epoch > state["best_epoch"] + training.patience:
                bar.write(f"stopped early: no better validation score for {training.patience} epochs")
                break
            bar.reset()
            bar.set_description(f"epoch {epoch}/{epochs}")
            loaders["train"].batch_sampler.set_epoch(epoch)
            seed_everything(seed + epoch, verbose=False)  # dropout follows from (seed, epoch) as well
            began, cpu_began = time.perf_counter(), time.process_time()
            terms = train_epoch(fabric, model, criterion, optimizer, schedule, train, training.gradient_clip,
                                [functools.partial(step, epoch=epoch) for step in steps], bar)
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
            sequences, val_terms = evaluate(model, criterion, val, bar)
            scores = score(sequences)
            entry = {"epoch": epoch, "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3),
                     "lr": schedule.get_last_lr()[0], "selection": selection(scores, val_terms), "train": terms,
                     "val": val_terms, "scores": scores}
            history.append(entry)
            state = _keep(run, state, history, {**content, "model": plain_state(model)}, optimizer, schedule)
            if writer is not None:
                _log_tensorboard(writer, entry)
                spent.append(time.perf_counter() - began)
                left = (epochs - epoch) * sum(spent) / len(spent)
                bar.write(_summary(entry, epochs, state["best_epoch"] == epoch, left))
                sys.stdout.flush()  # one line per epoch, now, also without a terminal
    fabric.barrier()  # until the best checkpoint is on disk
    return history, checkpoint.load(run.best)


def train_epoch(fabric, model, criterion, optimizer, schedule, loader, gradient_clip=0.0, augment=(), progress=None):
    """One pass over the training sequences → mean of each loss term; ``augment``: list of batch → batch."""
    model.train()
    watch = LossWatch(loader.dataset.describe)
    for batch in loader:
        for change in augment:
            batch = change(batch)
        terms = train_step(fabric, model, criterion, optimizer, batch, gradient_clip)
        schedule.step()
        watch.add(terms, batch["index"])
        if progress is not None:
            progress.update()
    return watch.means()


def train_step(fabric, model, criterion, optimizer, batch, gradient_clip=0.0):
    """One step of the optimizer → the terms of the loss. Nothing here, nor in a loss, makes the host wait for a device.
    """
    terms = criterion(model(_features(batch)), _to_target(batch))
    fabric.backward(terms["loss"])
    if gradient_clip > 0:
        fabric.clip_gradients(model, optimizer, max_norm=gradient_clip, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return terms


@torch.no_grad()
def evaluate(model, criterion, loader, progress=None):
    """Predictions of all sequences of a loader, from all processes, and the mean of each loss term (none without a
    criterion)."""
    model.eval()
    watch = LossWatch(loader.dataset.describe)
    index, localizations = [], []
    for batch in loader:
        localization = model(_features(batch))
        if criterion is not None:
            watch.add(criterion(localization, _to_target(batch)), batch["index"])
        index.append(batch["index"])
        localizations.append(localization._replace(extras=None))  # which may be large
        if progress is not None:
            progress.update()
    # Fetched at the end, so that a device need not wait for the host between batches.
    own = index, [Predictions.of(localization) for localization in localizations]
    index, predictions = (list(itertools.chain(*parts)) for parts in zip(*gather(own)))
    return Sequences(np.concatenate(index), Predictions.stack(predictions)), watch.means()


def _features(batch):
    return batch["features"].contiguous(memory_format=torch.channels_last)


def _to_target(batch):
    return Target(batch["doa"], batch["activity"])


class LossWatch:
    """Sums named terms on the device and reads the loss only every few steps; if it is NaN, the error names its
    batch."""

    def __init__(self, describe):
        self.describe = describe  # sample indices → readable names
        self.sums, self.samples, self.recent = {}, 0, []

    def add(self, terms, index):
        weight = count(len(index), terms["loss"])
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach() * weight
        self.samples += weight
        self.recent.append((terms["loss"].detach(), index))
        if len(self.recent) >= CHECK_EVERY:
            self.check()

    def check(self):
        """UserError if one of the latest losses is not finite."""
        losses = torch.stack([loss for loss, _ in self.recent]).tolist() if self.recent else []
        bad = [index for loss, (_, index) in zip(losses, self.recent) if not math.isfinite(loss)]
        self.recent = []
        if bad:
            raise UserError("the loss is no longer a finite number. It went wrong on: "
                            f"{'; '.join(self.describe(bad[0]))}. Check these recordings for unusual samples or "
                            "labels; or start another job with gradient_clip=1 or a lower learning_rate (and "
                            "init_weights=<this run>/last.pt, to continue from its last epoch)")

    def means(self):
        """The mean of each term over all samples so far."""
        self.check()
        return {name: float(value / self.samples) for name, value in self.sums.items()}


# --- device, optimizer, data -------------------------------------------------------------------------------------

def make_fabric(device, precision=None):
    """A launched Fabric of a DeviceConfig; 'auto' precision is resolved here, once.

    A plain ``python3`` uses one device, ``torchrun`` one per process.
    """
    accelerator = device.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    elif accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: this machine has no CUDA device (or a CPU build of PyTorch); use device=cpu")
    elif accelerator == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: this machine has no Apple GPU; use device=cpu")
    precision = precision or device.precision
    if precision == "auto":
        precision = "bf16-mixed" if fast_bf16(accelerator) else "32-true"
    if accelerator == "cpu":
        _keep_freed_memory()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # the caller prints device and precision
    environment = {name: int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    here, everywhere = environment["LOCAL_WORLD_SIZE"], environment["WORLD_SIZE"]
    fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=everywhere // here, precision=precision,
                    strategy="ddp" if everywhere > 1 else "auto")
    fabric.launch()
    leave_at_exit()
    return fabric


def fast_bf16(device):
    """Whether the hardware computes bfloat16 faster than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def _keep_freed_memory():
    """Ask glibc to keep freed blocks: each step allocates the same gigabytes, and it takes a third of a step's time on
    the CPU to have the kernel map and zero fresh pages for them. No effect without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap as well
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap is never given back


def make_schedule(optimizer, training, epochs, steps_per_epoch):
    """A schedule of the learning rate, stepped after each batch."""
    if training.lr_schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    if training.lr_schedule == "warmup":  # by epochs: the published rate is lr² · min((e+1)^-½, (e+1)·warmup^-1½)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: training.learning_rate * min(
            (step // steps_per_epoch + 1) ** -0.5,
            (step // steps_per_epoch + 1) * training.num_epochs_warmup ** -1.5))
    if training.lr_schedule == "linear":
        steps = max(1, epochs * steps_per_epoch)
        rising = max(1, round(RISING * steps))
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
            (step + 1) / rising, (steps - step) / max(1, steps - rising), 1.0))
    peaks = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=max(2, epochs * steps_per_epoch),
                                               cycle_momentum=not isinstance(optimizer, Muon))


def compiled(module, backend="inductor"):
    """The same module, compiled at its first call; what cannot be compiled runs as it is."""
    import torch._dynamo  # takes a second
    torch._dynamo.config.suppress_errors = True
    module.compile(backend=backend)
    return module


def batches_of(fabric, loader):
    """The loader's batches on the device; they stay in its memory if all features fit into half of what is free."""
    if fabric.device.type == "cuda" and loader.dataset.nbytes <= torch.cuda.mem_get_info(fabric.device)[0] / 2:
        return ResidentBatches(loader, fabric.device)
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)


# --- checkpoints and logs ----------------------------------------------------------------------------------------

def _keep(run, state, history, content, optimizer, schedule):
    """Write the last epoch's checkpoints and log; returns the state of early stopping and resumption.

    The last checkpoint is written at the end, so whatever a kill leaves undone is repeated on resumption.
    """
    entry = history[-1]
    content = {**content, "epoch": entry["epoch"], "scores": entry["scores"]}
    state = {**state, "epoch": entry["epoch"]}
    better = entry["selection"] < state["best"]
    if better:
        state |= {"best": entry["selection"], "best_epoch": entry["epoch"]}
    if rank() > 0:
        return state
    if better:
        checkpoint.save(run.best, content)
    run.write_log(history)
    resumable = {**state, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    checkpoint.save(run.last, {**content, "training": resumable})
    return state


def _restore(run, model, optimizer, schedule):
    """Continue from the last checkpoint; returns the state that ``_keep`` wrote."""
    saved = checkpoint.resumable(run.last)
    checkpoint.load_weights(model, saved["model"], run.last)
    state = saved["training"]
    try:
        optimizer.load_state_dict(state.pop("optimizer"))
        schedule.load_state_dict(state.pop("schedule"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run.last}: the state of its optimizer is that of another network ({error!s:.80}); start "
                        "another job, or this one anew by --overwrite") from None
    return state


def plain_state(model):
    """A model's state dict on the CPU, in default memory layout."""
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def _writer(run, epoch):
    """TensorBoard events from an epoch on; only the first process writes them."""
    if rank() > 0:
        return contextlib.nullcontext()
    return SummaryWriter(run.folder / "tensorboard", purge_step=epoch)


def _log_tensorboard(writer, entry):
    for split in ("train", "val"):
        for name, value in entry[split].items():
            writer.add_scalar(f"{split}/{name}", value, entry["epoch"])
    for name, value in entry["scores"].items():
        writer.add_scalar(f"scores/{name}", value, entry["epoch"])
    writer.add_scalar("selection", entry["selection"], entry["epoch"])
    writer.add_scalar("lr", entry["lr"], entry["epoch"])
    writer.flush()


def _summary(entry, epochs, better, left_s):
    """The line of an epoch; early stopping may leave less than ``left_s``."""
    scores = entry["scores"]
    figures = "  ".join(f"{name} n/a" if math.isnan(scores[name]) else f"{name} {scores[name]:.1f}"
                        for name in PRINTED if name in scores)
    return (f"epoch {entry['epoch']:3d}/{epochs}  {entry['seconds']:5.1f} s  loss {entry['train']['loss']:.3f} "
            f"/ {entry['val']['loss']:.3f}  {figures}{'  best' if better else ''}"
            f"{f'  ({datetime.timedelta(seconds=round(left_s))} left)' if left_s else ''}")
