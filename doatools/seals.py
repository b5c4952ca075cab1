"""A checksum within a file of any format that can hold a text, such as the metadata of an ONNX file.

The text is 'sha256:' and 64 hexadecimal digits: the SHA-256 of the whole file with zeros in place of these digits.
"""

import hashlib
import re

SEAL = "checksum"  # name of the text in the metadata
_START, _ZEROS = b"sha256:", b"0" * 64
UNSEALED = (_START + _ZEROS).decode()  # the text in a file that is still to be sealed
_SEALED = re.compile(_START + b"[0-9a-f]{64}")


def sealed(data):
    """The bytes of a file that holds UNSEALED once, with the checksum in its place."""
    before, after = data.split(UNSEALED.encode())
    return before + _START + _digest(before, after) + after


def is_intact(data):
    """Whether bytes fit the checksum in them: True or False; None if there is none."""
    found = _SEALED.findall(data)
    if len(found) != 1:
        return None
    before, after = data.split(found[0])
    return found[0] == _START + _digest(before, after)


def _digest(before, after):
    summed = hashlib.sha256(before + _START + _ZEROS)
    summed.update(after)
    return summed.hexdigest().encode()
