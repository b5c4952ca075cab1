"""Zip archives, also split ones (``name.z01, name.z02, …, name.zip``), unpacked safely.

A split archive (PKWARE's APPNOTE, sections 4.4 and 8) is one stream cut into pieces ("disks"). The first piece begins
with a marker of four bytes, a member can extend over several pieces, and the central directory is at the end; its
entries give the place of each member as (disk, offset in that disk). Concatenated, with places rewritten as offsets in
the whole, the pieces are a plain archive. ``SplitZip`` presents this to Python's zipfile, which does the rest. Nothing
is copied on disk, and only the central directory is held in memory.
"""

import contextlib
import io
import itertools
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from doatools.errors import UserError

CHUNK = 1 << 20
ENTRY = struct.Struct("<4s6H3I5H2I")  # central directory entry, up to the name
ENTRY_SIGNATURE = b"PK\x01\x02"
CSIZE, SIZE, NAME_LEN, EXTRA_LEN, COMMENT_LEN, DISK, OFFSET = 8, 9, 10, 11, 12, 13, 16  # fields of ENTRY
END = struct.Struct("<4s4H2IH")  # end of central directory, up to its comment
END_SIGNATURE = b"PK\x05\x06"
END64 = struct.Struct("<4sQ2H2I4Q")
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR = struct.Struct("<4sIQI")  # says where END64 is
LOCATOR_SIGNATURE = b"PK\x06\x07"
ZIP64_EXTRA = 1
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF  # "see the ZIP64 field"
LONGEST_COMMENT = 0xFFFF


@contextlib.contextmanager
def open_archive(paths):
    """Yield a zipfile.ZipFile of an archive, or of the pieces of a split one in order (.z01, .z02, …, .zip)."""
    if len(paths) == 1:
        with zipfile.ZipFile(paths[0]) as archive:
            yield archive
    else:
        with io.BufferedReader(SplitZip(paths), CHUNK) as whole, zipfile.ZipFile(whole) as archive:
            yield archive


def unpack(paths, folder, places, check_space=lambda size: None):
    """Unpack the given folders of a verified archive.

    Parameters
    ----------
    paths : the file of the archive, or its pieces in order
    folder : the target, an empty folder; the caller renames it afterwards
    places : {name of a folder in the archive, at any depth: name of the folder under ``folder``}
    check_space : called with the number of bytes before they are written

    Raises
    ------
    UserError
        The archive is broken, lacks one of the folders, or holds what must not be unpacked (a member outside of the
        folder, a link, a name twice). All members are checked before any is written.
    """
    name = Path(paths[-1]).name
    try:
        with open_archive(paths) as archive:
            chosen = _choose(archive, places, name)
            total = sum(member.file_size for member, _ in chosen)
            check_space(total)
            with tqdm(total=total, unit="B", unit_scale=True, desc=f"unpacking {name}") as bar:
                for member, place in chosen:
                    _extract(archive, member, Path(folder, place), bar)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as error:
        raise UserError(f"{paths[-1]}: cannot be unpacked ({error}), though it is what the record holds; try to unpack "
                        "it by hand into the layout in docs/data.md") from None


def _choose(archive, places, name):
    """[(member, path under the target folder)] of the files that lie in one of the ``places``."""
    members = archive.infolist()
    for member in members:
        _refuse_unsafe(member, name)
    # Archives made on macOS hold a second, hidden file for each file.
    files = [(member, PurePosixPath(member.filename)) for member in members if not member.is_dir()]
    files = [(member, path) for member, path in files if "__MACOSX" not in path.parts and path.name[0] != "."]
    chosen = [(member, place) for member, path in files if (place := _place(path, places))]
    if not chosen and len(places) == 1 and len({path.parent for _, path in files}) == 1:
        chosen = [(member, PurePosixPath(*places.values(), path.name)) for member, path in files]  # another name
    missing = set(places.values()) - {place.parts[0] for _, place in chosen}
    if missing:
        held = sorted({str(path.parent) for _, path in files})
        raise UserError(f"{name} holds no folder for {', '.join(sorted(missing))}, but {', '.join(held[:10])}; unpack "
                        "it by hand into the layout in docs/data.md")
    if len({place for _, place in chosen}) < len(chosen):
        raise UserError(f"{name} holds the same file twice; nothing of it was unpacked")
    return chosen


def _place(path, places):
    """'a/foa_dev/b.wav' → 'foa_dev/b.wav', where it lies in one of the ``places``, else None."""
    inside = [index for index, part in enumerate(path.parts[:-1]) if part in places]
    return PurePosixPath(places[path.parts[inside[-1]]], *path.parts[inside[-1] + 1:]) if inside else None


def _refuse_unsafe(member, name):
    """UserError for a member that could be written outside of the target folder, or is not a plain file."""
    path = member.orig_filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.startswith("/") or ".." in path.split("/") or re.search(r"[\\:\x00]", path):
        raise UserError(f"{name} holds {path!r}, which would be written outside of its folder; nothing of it was "
                        "unpacked. Do not use this archive")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UserError(f"{name} holds {path!r}, which is a link or a device; nothing of it was unpacked")
    if member.flag_bits & 1:
        raise UserError(f"{name} is encrypted; nothing of it was unpacked")


def _extract(archive, member, path, bar):
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(path, "xb") as target:
        while chunk := source.read(CHUNK):  # zipfile compares the CRC at the end
            target.write(chunk)
            bar.update(len(chunk))
    if path.stat().st_size != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename} is cut short")


class SplitZip(io.RawIOBase):
    """The pieces of a split archive as one read-only file, a plain archive.

    Parameters
    ----------
    paths : the pieces in order, the last one holding the end of the central directory

    Raises
    ------
    zipfile.BadZipFile
        A piece is missing, or the pieces are not of a split archive.
    """

    def __init__(self, paths):
        super().__init__()
        with contextlib.ExitStack() as stack:
            self._pieces = [stack.enter_context(open(path, "rb")) for path in paths]
            lengths = [Path(path).stat().st_size for path in paths]
            self._starts = [0, *itertools.accumulate(lengths)]  # of each piece in the whole, and the whole length
            self._length, self._position = self._starts[-1], 0
            self._body, self._tail = self._length, b""  # the pieces up to _body, then _tail, then nothing
            count, size, begin = self._find_directory()
            entries = _absolute(self._read_at(begin, size), count, self._starts)
            self._body, self._tail = begin, entries + _end_records(count, len(entries), begin)
            self._length = begin + len(self._tail)
            self._closing = stack.pop_all()

    def close(self):
        if not self.closed:
            self._closing.close()
        super().close()

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer):
        chunk = self._piece_of(self._position, len(buffer))
        buffer[:len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)

    def _piece_of(self, position, size):
        """At most ``size`` bytes from ``position`` on, of one piece; b'' at the end."""
        if position >= self._body:
            return self._tail[position - self._body:][:size]
        index = next(i for i, end in enumerate(self._starts[1:]) if position < end)
        self._pieces[index].seek(position - self._starts[index])
        return self._pieces[index].read(min(size, self._starts[index + 1] - position, self._body - position))

    def _read_at(self, position, size):
        found = bytearray()
        while len(found) < size and (chunk := self._piece_of(position + len(found), size - len(found))):
            found += chunk
        if position < 0 or len(found) < size:
            raise zipfile.BadZipFile("a piece is missing or cut short")
        return bytes(found)

    def _find_directory(self):
        """(number of entries, bytes, offset in the whole) of the central directory."""
        size = min(self._length, END.size + LONGEST_COMMENT)
        tail = self._read_at(self._length - size, size)
        at = tail.rfind(END_SIGNATURE)
        if at < 0 or len(tail) - at < END.size:
            raise zipfile.BadZipFile("the last piece does not end as a zip archive does")
        _, disk, first_disk, _, count, size, offset, _ = END.unpack_from(tail, at)
        disks = disk + 1
        locator = tail[at - LOCATOR.size:at] if at >= LOCATOR.size else b""
        if locator.startswith(LOCATOR_SIGNATURE):
            _, end_disk, end_offset, disks = LOCATOR.unpack(locator)
            record = self._read_at(self._whole_offset(end_disk, end_offset), END64.size)
            signature, _, _, _, _, first_disk, _, count, size, offset = END64.unpack(record)
            if signature != END64_SIGNATURE:
                raise zipfile.BadZipFile("its ZIP64 record is not where it should be")
        if disks != len(self._pieces):
            raise zipfile.BadZipFile(f"it consists of {disks} pieces, {len(self._pieces)} are here")
        return count, size, self._whole_offset(first_disk, offset)

    def _whole_offset(self, disk, offset):
        if disk >= len(self._pieces):
            raise zipfile.BadZipFile(f"piece {disk + 1} is missing")
        return self._starts[disk] + offset


def _absolute(directory, count, starts):
    """The entries of a central directory with places counted from the start of the whole, in ZIP64 form."""
    entries, at = [], 0
    for _ in range(count):
        fields = list(ENTRY.unpack_from(directory, at))
        if fields[0] != ENTRY_SIGNATURE:
            raise zipfile.BadZipFile("its central directory is broken")
        at += ENTRY.size
        lengths = fields[NAME_LEN], fields[EXTRA_LEN], fields[COMMENT_LEN]
        ends = list(itertools.accumulate(lengths, initial=at))
        name, extra, comment = (directory[start:end] for start, end in itertools.pairwise(ends))
        at = ends[-1]
        others, size, csize, offset, disk = _zip64_values(fields, extra)
        if disk >= len(starts) - 1:
            raise zipfile.BadZipFile(f"piece {disk + 1} is missing")
        extra = others + struct.pack("<2H3Q", ZIP64_EXTRA, 24, size, csize, starts[disk] + offset)
        fields[SIZE] = fields[CSIZE] = fields[OFFSET] = FULL32
        fields[DISK], fields[EXTRA_LEN] = 0, len(extra)
        entries.append(ENTRY.pack(*fields) + name + extra + comment)
    return b"".join(entries)


def _zip64_values(fields, extra):
    """(extra fields but ZIP64's, size, compressed size, offset, disk) of an entry."""
    others, large, at = b"", b"", 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == ZIP64_EXTRA:
            large = extra[at + 4:at + 4 + length]
        else:
            others += extra[at:at + 4 + length]
        at += 4 + length
    values, at = [], 0
    # Only the values that do not fit their own field stand in the extra one, in this order.
    for value, full, form in ((fields[SIZE], FULL32, "<Q"), (fields[CSIZE], FULL32, "<Q"),
                              (fields[OFFSET], FULL32, "<Q"), (fields[DISK], FULL16, "<I")):
        if value == full:
            value, = struct.unpack_from(form, large, at)
            at += struct.calcsize(form)
        values.append(value)
    return others, *values


def _end_records(count, size, begin):
    """What stands after a central directory of ``count`` entries and ``size`` bytes at ``begin``."""
    end64 = END64.pack(END64_SIGNATURE, END64.size - 12, 45, 45, 0, 0, count, count, size, begin)
    locator = LOCATOR.pack(LOCATOR_SIGNATURE, 0, begin + size, 1)
    return end64 + locator + END.pack(END_SIGNATURE, 0, 0, FULL16, FULL16, FULL32, FULL32, 0)
