"""The trained models that come with the toolkit: models/doanet_<array>.pt, one per array, doanet_<array>_live.pt for
live sound, and doanet_any.pt for all other arrays; and .onnx for use without PyTorch."""

import importlib.util
from pathlib import Path

from doatools.errors import UserError
from doatools.spatial.arrays import find_array

FOLDER = Path(__file__).resolve().parents[1] / "models"
ARRAYS = ("foa", "mic")
LIVE = ("foa",)  # of these, those with a causal model; it needs PyTorch, without which the other one is used
ANY = "any"


def shipped_model(array, live=False):
    """Path of the model of an Array, causal for ``live`` sound if there is one: the checkpoint if PyTorch is installed,
    else the exported network.

    Raises
    ------
    UserError
        The file is missing.
    """
    name = next((name for name in ARRAYS if array == find_array(name)), ANY)
    paths = [*_paths(f"{name}_live"), *_paths(name)] if live and name in LIVE else _paths(name)
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"{paths[0]} is missing; give a model by --checkpoint: best.pt of a training, or an exported .onnx")


def _paths(name):
    suffixes = (".pt", ".onnx") if importlib.util.find_spec("torch") else (".onnx",)
    return [FOLDER / f"doanet_{name}{suffix}" for suffix in suffixes]
