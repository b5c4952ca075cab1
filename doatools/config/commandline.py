"""The words of a command line: positional ones, ``key=value`` parameters, and how each script describes them."""

import ast

from doatools.errors import UserError

LONGEST = 10_000  # characters of a value; Python itself refuses to read numbers of more than 4300 digits


def parse_overrides(words):
    """['nb_epochs=20', 'array=mic'] → {'nb_epochs': 20, 'array': 'mic'}; values as Python literals or words."""
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

    Words without '=' are a script's positional ones; those left out are taken from ``defaults``.
    """
    plain = [word for word in words if "=" not in word]
    if len(plain) > len(defaults):
        raise UserError(f"unexpected word '{plain[len(defaults)]}'; parameters are given as key=value")
    return plain + list(defaults[len(plain):]), parse_overrides(word for word in words if "=" in word)


def add_override_argument(parser):
    """Give a script's parser the ``key=value`` words, described the same everywhere."""
    parser.add_argument("overrides", nargs="*", metavar="key=value",
                        help="parameters to override (python3 doanet_parameters.py lists them all)")
    return parser
