"""What the scripts share; imports nothing of the top level."""

from doatools import errors  # noqa: F401  first, so that Ctrl-C during the imports that follow is no traceback
