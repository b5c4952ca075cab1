"""The trained models that come with the toolkit: models/doanet_<array>.pt, one per array, and doanet_any.pt for all
other arrays; and .onnx for use without PyTorch."""

import importlib.util
from pathlib import Path

from doatools.errors import UserError
from doatools.spatial.arrays import find_array

FOLDER = Path(__file__).resolve().parents[1] / "models"
ARRAYS = ("foa", "mic")
ANY = "any"


def shipped_model(array):
    """Path of the model of an Array: the checkpoint if PyTorch is installed, else the exported network.

    Raises
    ------
    UserError
        The file is missing.
    """
    paths = _paths(next((name for name in ARRAYS if array == find_array(name)), ANY))
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"{paths[0]} is missing; give a model by --checkpoint: best.pt of a training, or an exported .onnx")


def _paths(name):
    suffixes = (".pt", ".onnx") if importlib.util.find_spec("torch") else (".onnx",)
    return [FOLDER / f"doanet_{name}{suffix}" for suffix in suffixes]
