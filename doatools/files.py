"""Files are written under a temporary name and renamed, so that a reader never sees half of one."""

import contextlib
import io
import json
import math
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside ``path``; rename it on success, remove it on any failure.

    The temporary name keeps the suffix (libraries choose a format by it) and the process id
    (two processes never write the same one).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def in_memory(write):
    """The bytes that ``write(file)`` writes.

    Libraries that write arrays and weights hide a full disk behind errors of their own; plain bytes, written
    by Python, are refused with an OSError that says so.
    """
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getbuffer()


def plain_json(value):
    """Nested dicts and lists for JSON: NaN and infinities, which JSON lacks, become null, named tuples dicts."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path, value, indent=1):
    """Write one JSON value, readably (or in one line, ``indent=None``)."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain_json(value), indent=indent) + "\n")
