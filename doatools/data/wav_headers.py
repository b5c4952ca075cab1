"""Headers of WAV files and streams: what the samples are, where they begin, and how many bytes they have.

Read are RIFF, RIFX (big-endian), RF64 and BW64 (sizes of 64 bits in a chunk 'ds64'). The size of the samples in a
header is not always true:

- Programs that write to a pipe do not know it, and write the largest number of 32 or 31 bits, or a little less.
- A recorder that stops without closing the file (its battery is empty, its card full) leaves 0.
- Programs that do not know RF64 write the lowest 32 bits of a size beyond 4 GiB.

In these cases the samples extend to the end of the file, or nearly. Only a file that is shorter than a size that could
be true is truncated.
"""

import os
import struct
from typing import NamedTuple

from doatools.errors import UserError
from doatools.files import encodable, require_file

FORMS = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
_EXTENSIBLE = 0xFFFE
_FUMA = bytes.fromhex("0000 2107 d311 8644 c8c1 ca00 0000")  # end of the GUIDs of .amb files (R. Dobson, 2000)
_LARGE = 0xFFFFFFFF  # where the size is in ds64
_UNKNOWN_BELOW = 1 << 16  # sizes that are at most so much below 2^31 or 2^32 stand for 'not known'
_LONGEST_CHUNK = 1 << 26  # of those before the samples


class Header(NamedTuple):
    """What the header of a WAV says."""

    order: str  # of bytes, '<' or '>'
    kind: int  # of samples: 1 PCM, 3 floats
    channels: int
    rate: int  # Hz
    bits: int
    fuma: bool  # marked as ambisonics in FuMa order and gains
    layout: bytes  # content of the chunk 'fmt '
    form: bytes  # the first four bytes
    start: int  # byte that the samples begin with
    size: int | None  # bytes of samples; None: the program that wrote it did not know


def read_header(read, name):
    """The Header of a WAV. ``read(count)`` returns the next bytes, from the first on, fewer at the end; UserError that
    begins with ``name`` if the header is incomplete."""
    incomplete = UserError(f"{name}: the WAV header is incomplete")
    head = read(12)
    order, place, layout, large = FORMS.get(head[:4]), 12, None, None
    if order is None or head[8:] != b"WAVE":
        raise incomplete
    while len(head_of_chunk := read(8)) == 8:
        chunk, size = struct.unpack(f"{order}4sI", head_of_chunk)
        place += 8
        if chunk == b"data":
            if layout is None:
                break
            if large is not None and size in (0, _LARGE):
                size = large
            return Header(order, *layout, head[:4], place, _known(size))
        if size > _LONGEST_CHUNK:
            break
        content = read(size + size % 2)
        place += len(content)
        if chunk == b"ds64" and len(content) >= 16:
            large = struct.unpack(f"{order}Q", content[8:16])[0]
        if chunk == b"fmt " and len(content) >= 16:
            layout = _layout(content[:size], order)
    raise incomplete


def _layout(content, order):
    kind, channels, rate, _, _, bits = struct.unpack(f"{order}HHIIHH", content[:16])
    fuma = False
    if kind == _EXTENSIBLE and len(content) >= 40:
        kind = struct.unpack(f"{order}H", content[24:26])[0]
        fuma = content[26:40] == _FUMA
    return kind, channels, rate, bits, fuma, content


def _known(size):
    """A size in a header; None if it is one that stands for 'not known'."""
    near = any(limit - _UNKNOWN_BELOW <= size <= limit for limit in (1 << 31, 1 << 32))
    return None if near or size >= 1 << 62 else size


class Samples(NamedTuple):
    """Where the samples of a WAV file are, whatever its header says."""

    header: Header
    size: int  # bytes
    note: str  # a sentence for the user, or ''
    repaired: bool  # whether libsndfile reads another number of samples from the header, or none at all


def find_samples(path):
    """The Samples of a WAV file; None for a file in another format.

    Raises
    ------
    UserError
        The header is incomplete, or the file is shorter than its header says.
    """
    require_file(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] not in FORMS or head[8:] != b"WAVE":
            return None
        file.seek(0)
        header = read_header(file.read, path)
        held = os.fstat(file.fileno()).st_size - header.start
        other = header.form == b"BW64"
        if header.size is None:
            return Samples(header, held, "", other or held >= (1 << 31) - _UNKNOWN_BELOW)
        if header.size == 0 and held > 0 and not _are_chunks(file, header, held):
            return Samples(header, held, "its header was never closed (it says 0 bytes of samples): the samples up to "
                                         "the end of the file are read", True)
    if header.size > held:
        raise UserError(f"{path} is truncated: its header promises {header.size} bytes of samples, it holds {held}; "
                        "copy or download it again")
    wraps = (held - header.size) >> 32
    if wraps:
        return Samples(header, header.size + (wraps << 32), "it is longer than 4 GiB, which its header cannot state: "
                       "all of its samples are read", True)
    return Samples(header, header.size, "", other)


def _are_chunks(file, header, held):
    """Whether what follows an empty chunk of samples are other chunks, up to the end of the file."""
    place, end = header.start, header.start + held
    while place + 8 <= end:
        file.seek(place)
        name, size = struct.unpack(f"{header.order}4sI", file.read(8))
        if not is_chunk_name(name):
            return False
        place += 8 + size + size % 2
    return place == end


def is_chunk_name(name):
    """Whether four bytes can be the name of a chunk: printable characters."""
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def readable(path, samples):
    """What soundfile reads all Samples of a file from: its path, or a file with a header in which the size is true."""
    return _Repaired(path, samples) if samples and samples.repaired else encodable(path)


class _Repaired:
    """A WAV file of which the header is another one; a file object for reading."""

    _file = None

    def __init__(self, path, samples):
        header = samples.header
        self.name = str(path)
        self._file = open(path, "rb")  # noqa: SIM115 (closed by close)
        self._start, self._size, self._place = header.start, samples.size, 0
        sizes = struct.pack("<QQQI", samples.size + 100, samples.size, 0, 0)
        layout = header.layout + b"\0" * (len(header.layout) % 2)
        if header.order == "<":
            self._head = b"".join((b"RF64", struct.pack("<I", _LARGE), b"WAVE",
                                   b"ds64", struct.pack("<I", len(sizes)), sizes,
                                   b"fmt ", struct.pack("<I", len(header.layout)), layout,
                                   b"data", struct.pack("<I", _LARGE)))
        else:
            size = min(samples.size, _LARGE - 100)
            self._head = b"".join((b"RIFX", struct.pack(">I", size + 100), b"WAVEfmt ",
                                   struct.pack(">I", len(header.layout)), layout, b"data", struct.pack(">I", size)))

    def seek(self, offset, whence=0):
        self._place = offset + {0: 0, 1: self._place, 2: len(self._head) + self._size}[whence]
        return self._place

    def tell(self):
        return self._place

    def read(self, count=-1):
        end = len(self._head) + self._size
        count = end - self._place if count < 0 else min(count, end - self._place)
        data = self._head[self._place : self._place + max(count, 0)]
        if len(data) < count:
            self._file.seek(self._start + self._place + len(data) - len(self._head))
            data += self._file.read(count - len(data))
        self._place += len(data)
        return data

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        self._file.close()

    def __del__(self):
        if self._file:
            self.close()
