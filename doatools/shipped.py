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
        There is no model for this array, or its file is missing.
    """
    for name in ARRAYS:
        if array == find_array(name):
            paths = _paths(name)
            for path in paths:
                if path.is_file():
                    return path
            raise UserError(f"{paths[0]} is missing; give a model by --checkpoint: best.pt of a training, or an "
                            "exported .onnx")
    for path in _paths(ANY):
        if path.is_file():
            return path
    raise UserError(f"no model is shipped for the array '{array.name}' (only for {' and '.join(ARRAYS)}); train one "
                    "(docs/arrays.md) and give it by --checkpoint")


def _paths(name):
    suffixes = (".pt", ".onnx") if importlib.util.find_spec("torch") else (".onnx",)
    return [FOLDER / f"doanet_{name}{suffix}" for suffix in suffixes]
