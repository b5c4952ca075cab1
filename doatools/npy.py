"""Reading .npy and .npz files; one that is damaged is refused before memory is allocated for what its header promises.

Only format version 1.0 without pickled objects is read, which is what NumPy writes for plain arrays.
"""

import io
import math
import os
import zipfile

import numpy as np

from doatools.errors import UserError
from doatools.files import require_file


def read_npy(path, remedy, dtype=None, width=None):
    """The array of a .npy file.

    Parameters
    ----------
    remedy : what to do about a damaged file
    dtype, width : what the array must have, if given; ``width``: the length of its second axis

    Raises
    ------
    UserError
        Naming the file: no array, one that is cut short, or another one than it must be.
    """
    require_file(path)
    with open(path, "rb") as file:
        return _read(file, os.fstat(file.fileno()).st_size, path, remedy, dtype, width)


def inspect_npy(path, remedy, dtype=None, width=None):
    """(shape, offset of the data in bytes) of a .npy file; UserError as ``read_npy``."""
    require_file(path)
    with open(path, "rb") as file:
        shape = _header(file, os.fstat(file.fileno()).st_size, path, remedy, dtype, width)
        return shape, file.tell()


def read_npz(path, names, remedy):
    """The arrays ``names`` of an uncompressed .npz file, as a list; UserError as ``read_npy``."""
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            found = []
            for name in names:
                size = archive.getinfo(f"{name}.npy").file_size
                if size > os.stat(path).st_size:
                    raise ValueError("an array is larger than the file")
                found.append(io.BytesIO(archive.read(f"{name}.npy")))
    except Exception as error:  # damaged archives raise nearly anything
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise _damaged(path, error, remedy) from None
    return [_read(one, one.getbuffer().nbytes, path, remedy) for one in found]


def _read(file, size, path, remedy, dtype=None, width=None):
    _header(file, size, path, remedy, dtype, width)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _header(file, size, path, remedy, dtype, width):
    """The shape that the header of a file of ``size`` bytes states, once it is known to hold such an array."""
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"format version {version}")
        shape, _, found = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # so do damaged headers
        raise _damaged(path, error, remedy) from None
    promised, held = math.prod(shape) * found.itemsize, size - file.tell()
    if found.hasobject or promised != held:
        raise UserError(f"{path} is damaged: its header promises {promised} bytes, it holds {held}; {remedy}")
    if (dtype is not None and found != dtype) or (width is not None and (len(shape) != 2 or shape[1] != width)):
        raise UserError(f"{path} holds an array of {shape} {found}, which is not what belongs there; {remedy}")
    return shape


def _damaged(path, error, remedy):
    return UserError(f"{path} is damaged ({type(error).__name__}: {error!s:.80}); {remedy}")
