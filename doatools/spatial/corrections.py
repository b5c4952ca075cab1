"""The file that states how an array stood: a matrix from the axes of the array to those of the labels (or of the room).

check_dataset.py --rotation FILE writes it. Extraction and evaluation (rotation=FILE) bring labels into the axes of the
array; localize.py (--rotation FILE) brings what it finds into the axes of the room.
"""

import numpy as np

from doatools.config.yaml_files import read_yaml
from doatools.errors import UserError
from doatools.files import replacing
from doatools.spatial.geometry import azimuth_elevation, unit_vectors


def write_correction(path, matrix, about):
    """Write the (3, 3) ``matrix``; ``about``: one line on what it corrects."""
    rows = "\n".join(f"  - [{', '.join(f'{value:.6f}' for value in row)}]" for row in matrix)
    with replacing(path) as temporary:
        temporary.write_text(f"# {about}\n"
                             "# From the axes of the array (x front, y left, z up) to those of the labels.\n"
                             f"matrix:\n{rows}\n", encoding="utf-8")


def read_correction(path):
    """The (3, 3) matrix of a file; UserError where it is none, or no rotation or reflection."""
    content = read_yaml(path, "a rotation")
    try:
        matrix = np.array(content["matrix"], float)
    except (KeyError, TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3):
        raise UserError(f"{path}: key 'matrix' takes three rows of three numbers, a rotation or reflection; "
                        "check_dataset.py --rotation FILE writes such a file")
    return matrix


def into_room(path):
    """A callable: rows → the same in the axes of the room, by the correction of a file, which is read now; without a
    file they stay as they are."""
    if not path:
        return lambda rows: rows
    matrix = read_correction(path)
    return lambda rows: rotated(rows, matrix)


def rotated(rows, matrix):
    """``rows`` (with fields azimuth and elevation, degrees) with their directions multiplied by ``matrix`` (3, 3)."""
    rows = rows.copy()
    rows["azimuth"], rows["elevation"] = azimuth_elevation(unit_vectors(rows["azimuth"], rows["elevation"]) @ matrix.T)
    return rows
