"""Damage: to bytes of any file, to lines and numbers of text, to values within JSON, YAML and checkpoints.

A mutation is a function of (rng, value) that returns the damaged value; ``rng`` is a random.Random.
"""

import json
import struct

HUGE = 10**400
WORDS = ["", " ", "nan", "inf", "-inf", "1e999", "-1", "0", "1e9", "4294967296", "9" * 40, "0x10", "1,2", "abc",
         "true", "\u00e9\u4e2d", "\x00", "-0.0", "1e-320", "1_000", "٣", "💥", "$HOME", "%s", "{x}", "..", "/", "'"]
VALUES = [None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"),
          "", "x", "a" * 10_000, "é💥", "\x00", [], {}, [None], [[]], {"x": 1}, [1, 2, 3], ["x"], [0] * 1000]


# --- bytes -------------------------------------------------------------------------------------------------------

def truncated(rng, data):
    return data[: rng.choice([0, 1, 3, 4, 12, rng.randrange(len(data) + 1), rng.randrange(min(len(data), 100) + 1)])]


def flipped(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 30])):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def head_flipped(rng, data):
    """The same in the first 200 bytes, where headers are."""
    return flipped(rng, data[:200]) + data[200:]


def zeroed(rng, data):
    start = rng.randrange(len(data) + 1)
    count = rng.choice([1, 16, 512, len(data)])
    return data[:start] + bytes(len(data[start : start + count])) + data[start + count :]


def spliced(rng, data):
    """A piece is left out, doubled, or made of noise."""
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    piece = rng.choice([b"", data[start:stop] * 2, rng.randbytes(min(stop - start, 5000)), b"\xff" * 7])
    return data[:start] + piece + data[stop:]


def fields(rng, data):
    """An aligned field of the first 128 bytes gets a value at the edge of its type."""
    at = 2 * rng.randrange(64)
    number = rng.choice([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFF0, 3])
    form = rng.choice(["<H", "<I", ">I"])
    piece = struct.pack(form, number & (0xFFFF if form == "<H" else 0xFFFFFFFF))
    return data[:at] + piece + data[at + len(piece) :]


def foreign(rng, data):
    """Something else under this name."""
    return rng.choice([b"", b"\n", b"{}", b"[]", b"null", b"<html><body>Sign in</body></html>", b"\x00" * 1000,
                       b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
                       b"\xff\xfe" + b"a\x00" * 50,
                       b"PK\x03\x04" + rng.randbytes(200), b"RIFF\x00\x00\x00\x00WAVE", b"fLaC" + bytes(60),
                       b"OggS" + bytes(60), rng.randbytes(3000), b"\x80\x04K\x01.", b"\x93NUMPY\x01\x00v\x00{",
                       b"\x08\x08" + rng.randbytes(100)])


BYTES = [truncated, flipped, head_flipped, zeroed, spliced, fields, foreign]


# --- text --------------------------------------------------------------------------------------------------------

def cells(rng, text):
    """A cell of a table gets another word."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    row = lines[at].split(",")
    row[rng.randrange(len(row))] = rng.choice(WORDS)
    lines[at] = ",".join(row)
    return "\n".join(lines)


def columns(rng, text):
    """Lines lose or gain cells, or another separator."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    lines[at] = rng.choice([lines[at] + ",1", lines[at].rpartition(",")[0], lines[at].replace(",", ";"),
                            lines[at].replace(",", "\t"), '"' + lines[at], lines[at] * 50])
    return "\n".join(lines)


def rows(rng, text):
    """Lines are doubled, left out, exchanged or made of one cell repeated."""
    lines = text.split("\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        lines.insert(at, lines[other])
    elif change == 1:
        del lines[at:]
    elif change == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = rng.choice(["", ",,,,", "#", "x" * 100_000, "\x00", "0,0,0,0,0", "1000000000,1,0,10,20",
                                "2147483647,1,0,10,20", "0,2147483647,2147483647,0,0",
                                "0,1,1073741823,0,0", "nan,nan,nan,nan,nan"])
    return "\n".join(lines)


def ends(rng, text):
    return rng.choice([text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\ufeff" + text, text + "\x1a",
                       text.replace(",", "\u2028", 1)])


TEXT = [cells, columns, rows, ends, cells]


def yaml_text(rng, text):
    """Lines of YAML that parse as something unexpected, or not at all."""
    lines = text.rstrip("\n").split("\n")
    at = rng.randrange(len(lines) + 1)
    key = rng.choice([line.partition(":")[0] for line in lines])
    lines.insert(at, rng.choice([
        f"{key}: 2024-13-45", f"{key}: 2024-01-02", f"{key}: !!python/object:os.system x", f"{key}: &a [1]",
        f"{key}: *a",
        f"{key}: " + "[" * rng.choice([5, 50, 5000]), f"{key}: {'{a: ' * 30}1{'}' * 30}", "? [1, 2]\n: 3", "1: 2",
        f"{key}: !!binary aGVsbG8=", f"{key}: .nan", f"{key}: {'9' * 500}", f"{key}: 1e999", f"{key}: [.inf, x, null]",
        "\t", "key", "- 1", f"{key}: '", f"{key}: 0o777", f"{key}: !!set {{a, b}}", "null: null", "~: ~", "<<: {a: 1}",
        f"{key}: 12:30:45", f"{key}: |\n  a\n b", "%YAML 9.9", "--- \n---", f"{key}: " + "a" * 90_000,
        f"{key}: [" + "1, " * 20_000 + "1]", "\x07", f"{key}: yes", "!!float x: 1"]))
    return "\n".join(lines) + "\n"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi"))


# --- values ------------------------------------------------------------------------------------------------------

def replaced(rng, value, values=VALUES):
    """A copy of nested dicts and lists, where one value is another, missing, or wrapped."""
    places = list(_places(value, ()))
    path = rng.choice(places)
    return _changed(rng, value, path, values)


def _places(value, path):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for count, (key, item) in enumerate(inner):
        if count < 60:
            yield from _places(item, (*path, key))


def _changed(rng, value, path, values):
    if not path:
        return rng.choice([rng.choice(values), [value], {"x": value}])
    copy = dict(value) if isinstance(value, dict) else list(value)
    key, *rest = path
    change = rng.random()
    if rest or change < 0.7:
        copy[key] = _changed(rng, copy[key], rest, values)
    elif change < 0.9:
        del copy[key]
    elif isinstance(copy, dict):
        copy[str(rng.choice(WORDS))] = copy.pop(key)
    else:
        copy.insert(key, copy[key])
    return copy


def json_text(rng, text):
    """A JSON text with a value replaced; or JSON that no writer writes."""
    if rng.random() < 0.2:
        return rng.choice(["", "{", "null", "[" * 100_000, '{"a":' * 3000, "{}", "[]", "1", '"x"', "NaN", "\ufeff{}",
                           "{'a': 1}", text[: len(text) // 2], text + text, "1" * 5000, '{"a": 1e999}'])
    return json.dumps(replaced(rng, json.loads(text)))


def json_lines(rng, text):
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = json_text(rng, lines[at])
    return "\n".join(lines) + "\n"
