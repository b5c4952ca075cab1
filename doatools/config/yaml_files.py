"""Reading YAML files of plain values; whatever else a file holds is refused in one line that says where."""

from doatools.errors import UserError
from doatools.files import read_text

LARGEST = 100_000  # bytes; a configuration has a few hundred
DEEPEST = 20  # lists and mappings within each other; an array has three


def read_yaml(path, what):
    """The 'key: value' lines of a YAML file → dict; ``what`` the file should hold, for messages.

    Raises
    ------
    UserError
        Names the file and, where there is one, the line: missing, not text, too large, not YAML, a key that is given
        twice, an anchor or alias (a few lines of them can stand for gigabytes), a list nested too deeply, a tag of a
        type that is not plain.
    """
    import yaml
    text = read_text(path, what, "a YAML file", LARGEST)
    try:
        _refuse_costly(yaml.scan(text, yaml.SafeLoader), path)
        _refuse_twice(yaml.compose(text, yaml.SafeLoader), path)
        content = yaml.safe_load(text)
    except UserError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
    except ValueError as error:  # such as a date of month 13
        raise UserError(f"{path}: not valid YAML ({type(error).__name__}: {error!s:.80})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no 'key: value' lines")
    return content


def _refuse_costly(tokens, path):
    """UserError for anchors, aliases and deep nesting, which small files can use to cost much time or memory."""
    import yaml
    depth = 0
    for token in tokens:
        line = f"{path}, line {token.start_mark.line + 1}"
        if isinstance(token, (yaml.AnchorToken, yaml.AliasToken)):
            raise UserError(f"{line}: anchors and aliases are not supported")
        if isinstance(token, (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken,
                              yaml.BlockMappingStartToken)):
            depth += 1
        elif isinstance(token, (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)):
            depth -= 1
        if depth > DEEPEST:
            raise UserError(f"{line}: lists and mappings are nested more than {DEEPEST} deep")


def _refuse_twice(node, path):
    """UserError for a key that is given twice in the mapping at the top: YAML readers keep the last one silently."""
    seen = {}
    for key, _ in node.value if node is not None and node.id == "mapping" else ():
        line = key.start_mark.line + 1
        if key.id == "scalar" and seen.setdefault(key.value, line) != line:
            raise UserError(f"{path}, line {line}: key '{key.value}' is given in line {seen[key.value]} already")
