"""A user's mistake ends in one line on stderr and exit status 2; tracebacks are for mistakes of ours."""

import difflib
import errno
import functools
import os
import sys


class UserError(ValueError):
    """Bad input. The message names the file (and line) and says what to do."""


def nearest(name, known):
    """' Did you mean ...?' for a mistyped name, or '' where nothing is near."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


# What the user can do about errors of the file system.
_REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space (or choose another folder)")
_REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "get the permission (or choose another place)")
_REMEDIES |= dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), "choose another place")


# Packages that training needs and localization does not; what each extra of pyproject.toml installs.
_TRAINING = {"torch", "lightning_fabric", "tensorboard", "sklearn", "pyroomacoustics", "pooch"}


def exits_cleanly(main):
    """Decorate a script's ``main(argv=None) -> int``: errors of users become one line on stderr and status 2."""

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _TRAINING:
                raise
            print(f"error: this needs the package {error.name}: pip install 'doanet[train]', or in a clone: "
                  "pip install -r requirements.txt", file=sys.stderr)
            return 2
        except BrokenPipeError:  # of '| head', which has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
            return 1
        except OSError as error:
            if error.errno not in _REMEDIES:
                raise
            print(f"error: {error.filename or 'a file'}: {error.strerror}. What was finished before stays valid; "
                  f"{_REMEDIES[error.errno]} and run the same command again.", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped; what was finished stays valid, run the same command again to go on",
                  file=sys.stderr)
            return 130

    return wrapped
