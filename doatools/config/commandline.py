"""Command lines of the scripts: positional words, and parameters as ``key=value``."""

import argparse
import ast
import os
import sys

from doatools.errors import UserError

LARGEST_SEED = 2**32 - 1000
LONGEST = 10_000  # characters of a value that is read as a Python literal; longer ones are words


def parse_overrides(words):
    """['nb_epochs=20', 'array=mic'] → {'nb_epochs': 20, 'array': 'mic'}: values are Python literals, or else words."""
    overrides = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not of the form key=value (for example nb_epochs=20)")
        try:
            overrides[key] = ast.literal_eval(text) if len(text) < LONGEST else text
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            overrides[key] = text
    return overrides


def split_words(words, *defaults):
    """['4', 'myrun', 'nb_epochs=20'] → (['4', 'myrun'], {'nb_epochs': 20}).

    Words without '=' are positional; ``defaults`` stand for those that are left out.
    """
    plain = [word for word in words if "=" not in word]
    if len(plain) > len(defaults):
        raise UserError(f"unexpected word '{plain[len(defaults)]}'; parameters are given as key=value")
    return plain + list(defaults[len(plain):]), parse_overrides(word for word in words if "=" in word)


def add_override_argument(parser):
    """Add the ``key=value`` words to a script's parser, with the same help everywhere."""
    parser.add_argument("overrides", nargs="*", metavar="key=value",
                        help="parameters to override (python3 doanet_parameters.py lists them all)")
    return parser


def seed(text):
    """A seed of a command line → int; an ArgumentTypeError, which argparse reports, outside of the range of seeds."""
    if not text.isdecimal() or len(text) > 10 or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to {LARGEST_SEED}, not '{text:.40}'")
    return int(text)


def add_threads_argument(parser, of="the network"):
    """Add ``--threads`` to a script's parser; the script calls ``set_threads`` before it imports what computes."""
    parser.add_argument("--threads", type=int, metavar="N", help=f"threads of {of} (default: one per core)")
    return parser


def set_threads(count):
    """Threads of PyTorch, ONNX Runtime and BLAS, which are not imported yet when a command starts; None: as usual."""
    if count is None:
        return
    if count < 1:
        raise UserError(f"--threads is a number from 1 on, not {count}")
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
