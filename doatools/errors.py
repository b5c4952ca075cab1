"""A user's mistake is told in one line and exit code 2; a traceback is kept for our own mistakes."""

import difflib
import errno
import functools
import sys


class UserError(ValueError):
    """Bad input. The message names the file (and line) and says what to do."""


def nearest(name, known):
    """' Did you mean ...?' for a mistyped name, or '' where nothing is near."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


# What to do about errors of the file system that are a user's to mend.
_TOLD = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space (or choose another folder)")
_TOLD |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "get the right to use it (or choose another place)")
_TOLD |= dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), "choose another place")


def exits_cleanly(main):
    """Decorate a script's ``main(argv=None) -> int``: user errors become one line on stderr and status 2."""

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            if error.errno not in _TOLD:
                raise
            print(f"error: {error.filename or 'a file'}: {error.strerror}. What was finished before stays valid; "
                  f"{_TOLD[error.errno]} and run the same command again.", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("stopped; what was finished stays valid, run the same command again to go on",
                  file=sys.stderr)
            return 130

    return wrapped
