"""Files: found by suffix, and written under a temporary name and renamed, so that a reader never sees half of one."""

import contextlib
import functools
import io
import json
import math
import os
import platform
import stat
import time
from pathlib import Path

from doatools.errors import UNFINISHED, UserError

LARGEST_TEXT = 500_000_000  # bytes
LONGEST_NAME = 255  # bytes of a file name that file systems permit
STALE_S = 24 * 3600  # no process writes one file for so long


# --- finding -----------------------------------------------------------------------------------------------------

def has_suffix(path, *suffixes):
    """Whether a path ends with one of ``suffixes`` (lower case, such as '.wav'); recorders write .WAV as well."""
    return Path(path).suffix.lower() in suffixes


def list_files(folder, *suffixes):
    """{stem: path} of the files in ``folder`` that end with one of ``suffixes``, sorted; hidden files are left out.

    UserError for two files of one name, such as a.wav and a.WAV.
    """
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if has_suffix(path, *suffixes) and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(f"{found[path.stem]} and {path.name} have the same name; rename one of them")
            found[path.stem] = path
    return found


# --- reading -----------------------------------------------------------------------------------------------------

def require_file(path, what="a file", largest=None):
    """UserError unless ``path`` is a regular file of at most ``largest`` bytes; ``what`` it should be, for messages.

    A pipe could wait for its writer for ever, and a device such as /dev/zero has no end.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        what = "is a link to nothing" if os.path.islink(path) else "does not exist"
        raise UserError(f"{path} {what}") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is {'a folder' if stat.S_ISDIR(status.st_mode) else 'not a regular file'}")
    if largest is not None and status.st_size > largest:
        raise UserError(f"{path} has more than {largest} bytes, too many for {what}")


def read_text(path, what, kind, largest=LARGEST_TEXT):
    """The text (UTF-8) of a file; UserError as ``require_file``, and if it is no text.

    ``what`` and ``kind`` are for messages, such as 'an annotation', 'a CSV'.
    """
    require_file(path, what, largest)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; {what} is {kind}") from None


def encodable(path):
    """``path`` for libraries that encode names themselves: as bytes where it is no valid text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


# --- writing -----------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def replacing(path, sync=True):
    """Yield a temporary path beside ``path``. On success it is renamed, on failure it is removed.

    With ``sync``, its content is on the disk before it gets its name, so that it survives a loss of power.

    The temporary name keeps the suffix (libraries choose a format by it) and contains machine and process (two
    processes never write the same file, and ``remove_leftovers`` knows whose it is). Temporary files of killed
    processes in the same folder are removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path.parent)
    temporary = path.with_name(_temporary_name(path))
    UNFINISHED.add(temporary)
    try:
        yield temporary
        if sync:
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)) == temporary:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        UNFINISHED.discard(temporary)


def _temporary_name(path):
    """The name of the file that ``path`` is written to first; of a long name, the beginning is in it."""
    ending = f".partial-{platform.node()}-{os.getpid()}{path.suffix}"
    room = max(0, LONGEST_NAME - 1 - len(os.fsencode(ending)))
    return f".{os.fsdecode(os.fsencode(path.stem)[:room])}{ending}"


@functools.cache
def _tidy(folder):
    """Remove leftovers once per folder and process."""
    remove_leftovers(folder)


def remove_leftovers(folder):
    """Remove the temporary files in ``folder`` of processes that were killed while they wrote.

    Those of other machines, whose processes cannot be seen from here, are removed when they are a day old.
    """
    for leftover in Path(folder).glob(".*.partial-*"):
        machine, _, process = leftover.stem.rpartition(".partial-")[2].rpartition("-")
        with contextlib.suppress(OSError, ValueError):
            stale = time.time() - leftover.stat().st_mtime > STALE_S
            own = machine in (platform.node(), "")  # the first edition did not note the machine
            if stale or (own and not _is_alive(int(process))):
                leftover.unlink()


@contextlib.contextmanager
def alone_in(folder):
    """UserError if another process, or another place in this one, is within this context for the same folder.

    The folder itself is locked: no file is left behind, and the lock ends with the process. Windows has no such locks.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is at work in {folder}; wait until it ends, or choose another folder"
                            ) from None
        yield
    finally:
        os.close(held)


def in_memory(write):
    """The bytes that ``write(file)`` writes.

    Libraries that write arrays and weights hide a full disk behind errors of their own. Python itself, writing plain
    bytes, raises an OSError that names the cause.
    """
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getbuffer()


def plain_json(value):
    """Nested dicts and lists for JSON: NaN and infinities, which JSON lacks, become null; named tuples become dicts."""
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


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
