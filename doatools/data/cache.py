"""What a made file was made from, so that a second run redoes only what changed.

Beside each made file lies a JSON of the same name: what it was made from (parameters that matter, size and
time of the source) and its size. It is removed before the file changes and written after, each by renaming;
so whatever moment a run is stopped at, a JSON never vouches for another file's content.
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
    """Yield a temporary path to write; ``path`` and its JSON appear once that succeeded."""
    _note(path).unlink(missing_ok=True)
    with replacing(path) as temporary:
        yield temporary
    with replacing(_note(path)) as temporary:
        temporary.write_text(json.dumps({"made_from": made_from, "bytes": os.stat(path).st_size}))


def forget(path):
    """Remove a made file and its JSON."""
    _note(path).unlink(missing_ok=True)
    Path(path).unlink(missing_ok=True)


def remove_leftovers(folder):
    """Remove temporary files of processes that were killed while writing in ``folder``."""
    for leftover in Path(folder).glob(".*.partial-*"):
        with contextlib.suppress(ValueError):
            process = int(leftover.stem.rpartition("-")[2])
            if not _alive(process):
                leftover.unlink(missing_ok=True)


def _note(path):
    return Path(path).with_suffix(".json")


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
