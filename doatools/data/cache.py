"""Files that are made from others, each with a note of what it was made from, so that only what changed is made again.

The note of ``a.npy`` is ``a.json``: the parameters that matter, size, time and content of the sources, and size and
content of a.npy. Content means a hash of a few pieces of a file, its head and tail among them: it differs for files
that were exchanged, zeroed or not written to their end, and takes no time. The note is removed before the file changes
and written afterwards; both are renamed into place. A run can be stopped at any moment, and a note never vouches for
another file's content.
"""

import contextlib
import functools
import hashlib
import json
import os
import stat
from pathlib import Path

from doatools.files import read_text, replacing

PIECES, PIECE = 4, 4096  # how many, and bytes of each


def stamp(path):
    """[bytes, modification time in ns, hash of pieces]: changes when the file does."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, _content(path, status)]


def _content(path, status):
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for its writer
        return None
    return _hash_of_pieces(os.path.abspath(path), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(100_000)
def _hash_of_pieces(path, size, *_):
    """Hash of pieces of a file that are evenly spaced over it, the first and the last bytes among them."""
    summed = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        if size <= PIECES * PIECE:
            summed.update(file.read(size))
        else:
            for number in range(PIECES):
                file.seek(number * (size - PIECE) // (PIECES - 1))
                summed.update(file.read(PIECE))
    return summed.hexdigest()[:16]


def digest(made_from):
    """A short name for a description made of plain types."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def is_fresh(path, made_from):
    """Whether ``path`` exists and was made from exactly this (a dict of plain types)."""
    try:
        return json.loads(read_text(_note(path), "a note", "a JSON file")) == _description(path, made_from)
    except (OSError, ValueError, RecursionError):
        return False


@contextlib.contextmanager
def making(path, made_from):
    """Yield a temporary path to write; ``path`` and its note appear once that succeeded."""
    # Not synced, which would take a tenth of the time of an extraction: a file that a loss of power has cut short or
    # left unwritten does not have the size and content in its note, and is made again.
    _note(path).unlink(missing_ok=True)
    with replacing(path, sync=False) as temporary:
        yield temporary
    with replacing(_note(path), sync=False) as temporary:
        temporary.write_text(json.dumps(_description(path, made_from)))


def _description(path, made_from):
    """What a note says."""
    status = os.stat(path)
    return {"made_from": made_from, "bytes": status.st_size, "content": _content(path, status)}


def forget(path):
    """Remove a made file and its note."""
    _note(path).unlink(missing_ok=True)
    Path(path).unlink(missing_ok=True)


def _note(path):
    return Path(path).with_suffix(".json")
