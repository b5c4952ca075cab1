"""Checkpoints: self-contained dicts of plain types and tensors, read with ``weights_only=True``.

Keys: ``format``, ``version``, ``params`` (of Config.stored), ``model`` (state dict), ``data`` (digest of the training
recordings), ``scaler`` (mean, scale), ``array`` (the microphone array as data), ``precision``, ``epoch``, ``scores``
(of validation), ``quick_test``; the last checkpoint of a run also has ``training``: the state of the optimizer, the
schedule and early stopping.

Version 1 is that of the first edition. Its models load, but its runs are not resumed: they were trained with parameters
that no longer exist, on recordings padded to one length.
"""

import pickle
from pathlib import Path

from doatools.config.schema import Config
from doatools.errors import UserError
from doatools.files import in_memory, replacing
from doatools.spatial.arrays import Array

FORMAT = "doa-toolkit"
VERSION = 2


def save(path, content):
    """Write a checkpoint dict; the file is replaced completely or not at all."""
    import torch  # not at the top: a mistyped parameter need not wait for it
    with replacing(path) as temporary:
        temporary.write_bytes(in_memory(lambda file: torch.save(
            {"format": FORMAT, "version": VERSION, **content}, file)))


def read(path):
    """Read a dict written by torch.save onto the CPU: a checkpoint of this toolkit or a bare state dict.

    Raises
    ------
    UserError
        The file is missing or damaged, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; train one with: python3 train_doanet.py <task-id> <job-id>")
    import torch
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no weights")
    return content


def is_ours(content):
    return content.get("format") == FORMAT


def load(path):
    """Read a checkpoint of this toolkit onto the CPU; UserError if it is not one or newer than this version."""
    content = read(path)
    if not is_ours(content):
        raise UserError(f"{path}: not a checkpoint of this toolkit")
    if content["version"] > VERSION:
        raise UserError(f"{path}: written by a newer version of the toolkit; update it to read this file")
    return content


def config_of(content):
    """The Config that a checkpoint was trained with."""
    return Config.from_stored(content["params"], Array.from_plain(content["array"]))


def load_weights(model, state, origin):
    """Load a state dict into a model; the UserError names what does not fit."""
    own = model.state_dict()
    wrong = [f"{name} has shape {tuple(state[name].shape)}, the model needs {tuple(value.shape)}"
             for name, value in own.items() if name in state and state[name].shape != value.shape]
    wrong += [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} does not belong to this model" for name in state if name not in own]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(f"{origin}: weights of another shape: {wrong[0]}{more}; "
                        "use the parameters that it was trained with")
    model.load_state_dict(state)
    return model
