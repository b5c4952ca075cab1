"""The trained models that come with the toolkit, one per array: models/doanet_<array>.pt, and .onnx for use without
PyTorch."""

import importlib.util
from pathlib import Path

from doatools.errors import UserError
from doatools.spatial.arrays import find_array

FOLDER = Path(__file__).resolve().parents[1] / "models"
ARRAYS = ("foa", "mic")


def shipped_model(array):
    """Path of the model of an Array: the checkpoint if PyTorch is installed, else the exported network.

    Raises
    ------
    UserError
        There is no model for this array, or its file is missing.
    """
    for name in ARRAYS:
        if array != find_array(name):
            continue
        suffixes = (".pt", ".onnx") if importlib.util.find_spec("torch") else (".onnx",)
        paths = [FOLDER / f"doanet_{name}{suffix}" for suffix in suffixes]
        for path in paths:
            if path.is_file():
                return path
        raise UserError(f"{paths[0]} is missing; give a model by --checkpoint: best.pt of a training, or an exported "
                        ".onnx")
    raise UserError(f"no model is shipped for the array '{array.name}' (only for {' and '.join(ARRAYS)}); train one "
                    "(README, 'Train your own') and give it by --checkpoint")
