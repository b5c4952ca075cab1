"""Files that are made from others, each with a note of what it was made from, so that only what changed is made again.

The note of ``a.npy`` is ``a.json``: the parameters that matter, size and time of the sources, and the size of a.npy.
It is removed before the file changes and written afterwards; both are renamed into place. A run can be stopped at any
moment, and a note never vouches for another file's content.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from doatools.files import replacing


def stamp(path):
    """[bytes, modification time in ns]: changes when the file does."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def digest(made_from):
    """A short name for a description made of plain types."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def is_fresh(path, made_from):
    """Whether ``path`` exists and was made from exactly this (a dict of plain types)."""
    try:
        note = json.loads(_note(path).read_text())
        return note == {"made_from": made_from, "bytes": os.stat(path).st_size}
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def making(path, made_from):
    """Yield a temporary path to write; ``path`` and its note appear once that succeeded."""
    # Not synced, which would take a tenth of the time of an extraction: a file that a loss of power has cut short does
    # not have the size in its note, and is made again.
    _note(path).unlink(missing_ok=True)
    with replacing(path, sync=False) as temporary:
        yield temporary
    with replacing(_note(path), sync=False) as temporary:
        temporary.write_text(json.dumps({"made_from": made_from, "bytes": os.stat(path).st_size}))


def forget(path):
    """Remove a made file and its note."""
    _note(path).unlink(missing_ok=True)
    Path(path).unlink(missing_ok=True)


def _note(path):
    return Path(path).with_suffix(".json")
