"""Checkpoints: self-contained dicts of plain types and tensors, read with ``weights_only=True``.

Keys: ``format``, ``version``, ``params`` (of Config.stored), ``model`` (state dict), ``data`` (digest of the training
recordings), ``scaler`` (mean, scale), ``array`` (the microphone array as data), ``precision``, ``epoch``, ``scores``
(of validation), ``quick_test``, ``checksum`` (of all the rest); the last checkpoint of a run also has ``training``: the
state of the optimizer, the schedule and early stopping.

A file whose content does not fit its checksum is refused, and so are weights that are not finite numbers, which would
localize nothing without any error. Files of earlier editions have no checksum.

Version 1 is that of the first edition. Its models load, but its runs are not resumed: they were trained with parameters
that no longer exist, on recordings padded to one length.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from doatools.config.schema import Config
from doatools.config.stored import Stored, conforming
from doatools.errors import UserError
from doatools.files import in_memory, replacing
from doatools.spatial.arrays import Array, find_array

FORMAT = "doa-toolkit"
VERSION = 2
CHECKSUM = "checksum"
REMEDY = "take another checkpoint, or train again"


def save(path, content):
    """Write a checkpoint dict; the file is replaced completely or not at all."""
    write(path, {"format": FORMAT, "version": VERSION, **content})


def write(path, content):
    """Write a dict of plain types and tensors, with the checksum that ``read`` compares."""
    import torch  # not at the top: a mistyped parameter need not wait for it
    content = {**content, CHECKSUM: _digest(content)}
    with replacing(path) as temporary:
        temporary.write_bytes(in_memory(lambda file: torch.save(content, file)))


def _digest(content):
    """SHA-256 of nested dicts, lists and tuples of tensors and plain values."""
    import torch
    summed = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous()
            summed.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            summed.update(value.reshape(-1).view(torch.uint8).numpy())
        elif isinstance(value, dict):
            summed.update(f"dict {len(value)} ".encode())
            for key, item in value.items():
                add(key)
                add(item)
        elif isinstance(value, (list, tuple)):
            summed.update(f"{type(value).__name__} {len(value)} ".encode())
            for item in value:
                add(item)
        else:
            word = repr(value)
            summed.update(f"{type(value).__name__} {len(word)} {word} ".encode())

    add(content)
    return summed.hexdigest()


def read(path):
    """Read a dict written by torch.save onto the CPU: a checkpoint of this toolkit or a bare state dict.

    Raises
    ------
    UserError
        The file is missing or damaged, holds something else, or weights that are not finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train one with: python3 train_doanet.py <task-id> <job-id>")
    import torch
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise nearly anything, among it OSErrors without a name
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise UserError(f"{path}: not a readable checkpoint; the file is damaged or something else") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no weights")
    expected = content.pop(CHECKSUM, None)
    if expected is not None and expected != _digest(content):
        raise UserError(f"{path} is damaged: its content does not fit its checksum; copy it again from where it came "
                        "from, or take another checkpoint")
    _refuse_not_finite(content, path)
    return content


def _refuse_not_finite(content, path):
    """UserError if a weight in a dict, or in dicts in it, is NaN or infinite; the training state is no weight."""
    import torch
    for name, value in content.items():
        if isinstance(value, dict) and name != "training":
            _refuse_not_finite(value, path)
        elif isinstance(value, torch.Tensor) and not torch.isfinite(value).all():
            raise UserError(f"{path}: '{name}' holds values that are not finite numbers, so that nothing can be "
                            "localized; take another checkpoint or train again")


def _tensor(value):
    """A dense tensor of PyTorch, which this module does not import at its top."""
    if type(value).__name__ != "Tensor" or str(value.layout) != "torch.strided":
        raise ValueError("should be a tensor")
    return value


Tensor = Annotated[Any, AfterValidator(_tensor)]


class TensorScaling(Stored):
    mean: Tensor
    scale: Tensor


class ListScaling(Stored):
    mean: list[float]
    scale: list[float]


class Description(Stored):
    """What the metadata of an exported network hold: how to make the features that it reads."""

    params: dict[str, Any]
    array: dict[str, Any]
    scaler: ListScaling
    scores: dict[str, float | None] = Field(default_factory=dict)  # of the validation; older exports lack them


class Content(Stored):
    """What ``load`` requires of a checkpoint."""

    version: int
    params: dict[str, Any]
    array: dict[str, Any]
    scaler: TensorScaling
    model: dict[str, Tensor]
    precision: str
    quick_test: bool


class Training(Stored):
    """The state of a stopped training."""

    epoch: int
    best: Annotated[float, Field(allow_inf_nan=True)]
    best_epoch: int
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


class Resumable(Stored):
    """What a checkpoint holds besides, where a training is to go on."""

    epoch: int
    data: str
    scores: dict[str, Any]
    training: Training


def is_ours(content):
    return content.get("format") == FORMAT


def load(path):
    """Read a checkpoint of this toolkit onto the CPU; UserError if it is not one or newer than this version."""
    content = read(path)
    if not is_ours(content):
        raise UserError(f"{path}: not a checkpoint of this toolkit")
    conforming(content, Content, path, REMEDY)
    if content["version"] > VERSION:
        raise UserError(f"{path}: written by a newer version of the toolkit; update it to read this file")
    return content


def config_of(content, origin):
    """The Config that a checkpoint was trained with; ``origin`` names it in errors."""
    return described(content["params"], content["array"], origin)


def changed(config, overrides, origin, any_array=None):
    """The Config of a trained model with other parameters; UserError for an array that it does not read.

    ``any_array``: the array of a model that reads any, unless ``overrides`` state it.
    """
    if any_array and config.array.drawn:
        overrides = {"array": any_array, **overrides}
    if "array" in overrides and not config.array.drawn:
        array = find_array(overrides["array"])
        if array != config.array:
            raise UserError(f"{origin} was not trained for the array '{array.name}': it reads "
                            f"{config.array.describe()}")
        overrides = {key: value for key, value in overrides.items() if key != "array"}
    return config.replaced(**overrides)


def described(params, array, origin):
    """The Config of stored parameters and a stored array (dicts); UserError that names ``origin``."""
    try:
        return Config.from_stored(params, Array.from_plain(array))
    except UserError as error:
        raise UserError(f"{origin}: {error}") from None


def resumable(path):
    """Read the last checkpoint of a training of this version; UserError if it cannot go on."""
    content = load(path)
    if content["version"] == VERSION:
        conforming(content, Resumable, path, REMEDY)
    return content


def load_weights(model, state, origin):
    """Load a state dict into a model; the UserError names what does not fit."""
    compare_weights(model, state, origin)
    model.load_state_dict(state)
    return model


def compare_weights(model, state, origin):
    """UserError unless a state dict fits a model in names and shapes."""
    conforming(state, dict[str, Tensor], origin, REMEDY)
    own = model.state_dict()
    wrong = [f"{name} has shape {tuple(state[name].shape)}, the model needs {tuple(value.shape)}"
             for name, value in own.items() if name in state and state[name].shape != value.shape]
    wrong += [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} does not belong to this model" for name in state if name not in own]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(f"{origin}: weights of another shape: {wrong[0]}{more}; "
                        "use the parameters that it was trained with")
