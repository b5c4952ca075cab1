"""A user's mistake ends in one line on stderr and exit status 2; tracebacks are for mistakes of ours.

Interrupted (Ctrl-C) and terminated (SIGTERM) scripts also end in one line, with exit status 130 and 143.
"""

import contextlib
import difflib
import errno
import functools
import os
import signal
import sys
import threading
from pathlib import Path


class UserError(ValueError):
    """Bad input. The message names the file (and line) and says what to do."""


def nearest(name, known):
    """' Did you mean ...?' for a mistyped name, or '' where nothing is near."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def shown(value, longest=80):
    """A value for a message, cut to its first characters; repr() itself fails for numbers of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


# What the user can do about errors of the file system.
_REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space, or choose another folder")
_REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "get the permission, or choose another place")
_REMEDIES |= dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY), "choose another place")
_REMEDIES |= {errno.ENOENT: "create it, or correct the name", errno.ELOOP: "remove the links that point at each other",
              errno.ENAMETOOLONG: "choose a shorter name", errno.EMFILE: "raise the limit (ulimit -n)",
              errno.EIO: "check the disk"}

# Packages that training needs and localization does not; what each extra of pyproject.toml installs.
_TRAINING = {"torch", "lightning_fabric", "tensorboard", "sklearn", "pyroomacoustics", "pooch"}
AGAIN = "run the same command again"
# Functions that are called back where an exception is lost: by weak references, and by libsndfile for files in memory.
CALLBACKS = {"_remove", "__del__", "vio_get_filelen", "vio_seek", "vio_read", "vio_write", "vio_tell"}
END_S = 3.0  # within which an interrupted script must have ended by itself
_ending = []  # the timer of an interrupted script
UNFINISHED = set()  # temporary files that are being written, which a process that ends at once must remove


class Terminated(BaseException):
    """SIGTERM. Like KeyboardInterrupt it is no Exception, so that it passes through whatever handles errors."""


def explained(error):
    """What to tell the user about an exception that is not a mistake of ours, in one line; None if it may be one.

    Errors of the operating system are put into words here and nowhere else.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        if (error.name or "").partition(".")[0] in _TRAINING:
            return (f"this needs the package {error.name}: pip install 'doanet[train]', or in a clone: pip install -r "
                    "requirements.txt")
    elif isinstance(error, OSError):
        what = f"{error.filename!s:.300}: {error.strerror}" if error.filename is not None else str(error)
        remedy = _REMEDIES.get(error.errno)
        return f"{what}. What was finished before stays valid{f'; {remedy}' if remedy else ''}"
    elif isinstance(error, MemoryError) or _is_allocation(error):
        return f"not enough memory ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    elif type(error).__name__ == "TerminatedWorkerError":  # of joblib
        return "a process that worked for this one was killed, perhaps for lack of memory; try fewer --jobs"
    return None


def _is_allocation(error):
    """Whether PyTorch could not allocate what it needs."""
    return isinstance(error, RuntimeError) and (type(error).__name__ == "OutOfMemoryError"
                                                or "can't allocate memory" in str(error))


def exits_cleanly(main=None, *, again=AGAIN):
    """Decorate a script's ``main(argv=None) -> int``: what is not a mistake of ours becomes one line and a status.

    ``again``: how to go on after an interruption.
    """
    if main is None:
        return functools.partial(exits_cleanly, again=again)

    stopped, terminated = (f"{word}; what was finished stays valid, {again}" for word in ("stopped", "terminated"))

    @functools.wraps(main)
    def wrapped(argv=None):
        _make_streams_usable()
        alone = argv is None and _is_script()  # rather than a function of another program
        if alone:
            signal.signal(signal.SIGINT, _interrupt(KeyboardInterrupt, 130, stopped))
            signal.signal(signal.SIGTERM, _interrupt(Terminated, 128 + signal.SIGTERM, terminated))
        try:
            status = main(argv)
            sys.stdout.flush()  # an error at exit could not be explained any more
            return status
        except BrokenPipeError:  # of '| head', which has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
            return 1
        except KeyboardInterrupt:
            _say(stopped)
            return 130
        except Terminated:
            _say(terminated)
            return 128 + signal.SIGTERM
        except Exception as error:
            text = explained(error)
            if text is None:
                raise
            _say(f"error: {text}")
            return 2
        finally:
            while _ending:
                _ending.pop().cancel()
            if alone:
                signal.signal(signal.SIGINT, _leave)
                signal.signal(signal.SIGTERM, _leave)

    return wrapped


def _say(text):
    """Print a line to stderr, in place of the progress bars that are there."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def _make_streams_usable():
    """Characters that an output cannot show are written as escapes; a stream that the caller closed is an empty one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(kind, status, text):
    """A handler of a signal that raises ``kind``.

    Within an import, where an exception can be lost or reach C++, which aborts the process, the process ends at once.
    Callbacks, which print and forget exceptions, return first.
    """
    def end():
        for path in list(UNFINISHED):
            with contextlib.suppress(OSError):
                os.unlink(path)
        os.write(2, f"{text}\n".encode())
        os._exit(status)

    def handler(number, frame):
        codes = list(_codes(frame))
        if any(code.co_filename == "<frozen importlib._bootstrap>" for code in codes):
            end()
        if not _ending:
            _ending.append(_after(END_S, end))
        if any(code.co_name in CALLBACKS for code in codes):
            _after(0.02, os.kill, os.getpid(), number)
            return
        raise kind

    return handler


def _after(seconds, function, *words):
    """A running timer that does not keep the process alive."""
    timer = threading.Timer(seconds, function, words)
    timer.daemon = True
    timer.start()
    return timer


def _codes(frame):
    """The code of a frame and of those that called it."""
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _stop_importing(number, _):
    """Before ``main`` runs, there is nothing to clean up, and an exception could end anywhere in an import."""
    os.write(2, b"stopped\n" if number == signal.SIGINT else b"terminated\n")
    os._exit(128 + number)


def _leave(number, _):
    """A signal after ``main`` has run and said how it ended."""
    os._exit(128 + number)


def _is_script():
    """Whether the program is a script of ours, not one that imports these modules."""
    path = Path(getattr(sys.modules["__main__"], "__file__", None) or "nothing")
    return path.resolve().parent == Path(__file__).resolve().parents[1] or path.name.startswith("doanet-")


if _is_script():
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, _stop_importing)
