"""Reading YAML files of plain values; what is not such a file is refused with its line."""

from pathlib import Path

from doatools.errors import UserError

LARGEST = 100_000  # characters; a configuration has a few hundred


def read_yaml(path, what):
    """The 'key: value' lines of a YAML file → dict; ``what`` it should hold, in messages.

    Raises
    ------
    UserError
        Naming the file, and the line of what is not YAML: missing, not text, too large, aliases (a few lines of them can
        stand for gigabytes), anything but numbers, words, lists and mappings of them.
    """
    import yaml
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; {what} is a YAML file") from None
    if len(text) > LARGEST:
        raise UserError(f"{path} has {len(text)} characters; {what} has no more than {LARGEST}")
    try:
        for token in yaml.scan(text):
            if isinstance(token, (yaml.AnchorToken, yaml.AliasToken)):
                raise UserError(f"{path}, line {token.start_mark.line + 1}: anchors and aliases are not supported")
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
    except (ValueError, RecursionError) as error:  # such as a date of month 13, or a thousand brackets
        raise UserError(f"{path}: not valid YAML ({type(error).__name__}: {str(error)[:80]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no 'key: value' lines")
    return content
