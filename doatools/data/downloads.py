"""Files of Zenodo records: listed, downloaded with pooch, verified, unpacked.

If a download stops (broken connection, Ctrl-C, kill), the same call continues it. Folders are either complete or
missing: archives are compared with their MD5 sums before they are unpacked, and folders are unpacked in ``.download/``
and renamed.
"""

import contextlib
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pooch
import requests
from tqdm import tqdm

from doatools.data import archives
from doatools.errors import UserError

ZENODO = "https://zenodo.org"
AGENT = f"doanet-toolkit pooch/{pooch.__version__}"  # Zenodo asks clients to say who they are
TIMEOUT = (20, 60)  # s to connect, s without a byte
PAUSES = (1, 2, 4, 8, 16, 32)  # s between attempts that give no new byte; then it is an error
LONGEST_PAUSE = 120  # s, even if the server asks for more
CHUNK = 1 << 16
BUSY = (429, 500, 502, 503, 504)  # status codes after which to try again
WORK = ".download"  # folder for archives and for unpacking
DOCUMENT = re.compile(r"(LICEN[SC]E|README)(\.(md|txt|pdf))?", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteFile:
    name: str
    size: int
    checksum: str  # 'md5:…'
    url: str


@dataclass(frozen=True)
class Record:
    title: str
    licence: str
    page: str
    files: dict  # name → RemoteFile

    def file(self, name, checksum=None):
        """A file of the record; UserError if it does not exist or has another than the known checksum."""
        if name not in self.files:
            raise UserError(f"{self.page} does not list {name}, but {', '.join(self.files)}; look in a browser whether "
                            "the record has changed")
        if checksum not in (None, self.files[name].checksum):
            raise UserError(f"{self.page} lists {name} with the checksum {self.files[name].checksum}, not {checksum}: "
                            "the record has changed; look for a newer version of this toolkit")
        return self.files[name]


@dataclass(frozen=True)
class Part:
    """A part of a dataset: an archive (or the pieces of a split one) and the folders that are unpacked from it."""

    name: str
    root: Path
    files: tuple  # RemoteFiles, the pieces in order
    places: dict  # folder in the archive → folder under root
    unpacked: int = 0  # bytes on disk, if known before the download

    @property
    def size(self):
        return sum(file.size for file in self.files)

    def missing(self):
        """The folders that do not exist yet."""
        return [name for name in self.places.values() if not _filled(self.root / name)]

    def count_files(self):
        return sum(path.is_file() for name in self.places.values() for path in (self.root / name).rglob("*"))

    def fetched(self):
        """Bytes of the archive that an earlier run has downloaded."""
        work = self.root / WORK
        return sum(max(_size(work / file.name), _size(work / f"{file.name}.part")) for file in self.files)


# --- the listing -----------------------------------------------------------------------------------------

def read_record(number, server=ZENODO):
    """Title, licence and files of a Zenodo record.

    Raises
    ------
    UserError
        The server cannot be reached, has no such record, or sends something else.
    """
    page = f"{server}/records/{number}"
    with _ask(f"{server}/api/records/{number}") as response:
        try:
            told = response.json()
            files = [_remote_file(entry, page) for entry in told["files"]]
            about = told["metadata"]
            licence = about.get("license") or {}
            licence = licence if isinstance(licence, str) else licence.get("id")
            return Record(about["title"], licence or "not named", page, {file.name: file for file in files})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{response.url}: this is not the listing of a Zenodo record; try again later, or download "
                            f"the files by hand from {page}") from None


def _remote_file(entry, page):
    """A file of the listing, in either of the two forms that Zenodo has used.

    The URL is the one that a browser uses: the link in the listing, under /api, is said not to serve ranges.
    """
    name = entry.get("key") or entry["filename"]
    checksum = entry["checksum"]
    return RemoteFile(name, int(entry["size"] if "size" in entry else entry["filesize"]),
                      checksum if ":" in checksum else f"md5:{checksum}", f"{page}/files/{quote(name)}?download=1")


def _ask(url):
    """GET, repeated while the server is busy; an unreachable network is an error at once."""
    for pause in (*PAUSES, None):
        try:
            response = requests.get(url, headers={"User-Agent": AGENT}, timeout=TIMEOUT)
            if response.status_code not in BUSY or pause is None:
                return _checked(response)
        except requests.ConnectionError as error:
            raise UserError(f"{url} cannot be reached ({_reason(error)}); is this machine online?") from None
        except requests.RequestException as error:
            if pause is None:
                raise UserError(f"{url}: {_reason(error)}; try again later") from None
        print(f"{url}: no answer; trying again in {pause} s", file=sys.stderr)
        time.sleep(pause)


def _checked(response):
    """The response; UserError if its status is an error."""
    if response.status_code >= 400:
        raise UserError(f"{response.url}: the server answers {response.status_code} ({response.reason}); "
                        + ("try again later" if response.status_code in BUSY
                           else "look in a browser whether the record has moved"))
    return response


def _reason(error):
    """The cause of an error that requests has wrapped several times, in words."""
    while inner := next((cause for cause in (*error.args, getattr(error, "reason", None))
                         if isinstance(cause, Exception) and cause is not error), None):
        error = inner
    return str(error).rpartition(">: ")[-1].rpartition(": ")[-1] or type(error).__name__


# --- one file ----------------------------------------------------------------------------------------------

class ResumingDownloader:
    """A downloader for pooch that appends to a partial file, so that no byte is downloaded twice.

    Parameters
    ----------
    part : path of the partial file, which interruptions leave in place
    size : bytes of the complete file
    """

    def __init__(self, part, size):
        self.part, self.size = Path(part), size

    def __call__(self, url, output_file, shelf, check_only=False):
        if _size(self.part) > self.size:
            self.part.unlink()
        best, failures = _size(self.part), 0
        with tqdm(total=self.size, initial=best, unit="B", unit_scale=True, desc=self.part.stem) as bar:
            while _size(self.part) < self.size:
                pause, reason = self._append(url, bar)
                if _size(self.part) > best:
                    best, failures = _size(self.part), 0
                elif failures == len(PAUSES):
                    raise UserError(f"{url}: {reason}; the {readable(best)} that were downloaded stay. Run the same "
                                    "command again to continue")
                else:
                    bar.set_postfix_str(f"{reason}; waiting to try again")
                    time.sleep(min(pause or PAUSES[failures], LONGEST_PAUSE))
                    failures += 1
        self._hand_over(Path(output_file))

    def _append(self, url, bar):
        """Download until the connection ends → (seconds that the server asks to wait, why it ended)."""
        have = _size(self.part)
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                if response.status_code in BUSY:
                    wait = response.headers.get("Retry-After", "")
                    return int(wait) if wait.isdecimal() else 0, f"the server answers {response.status_code}"
                if response.status_code == 416:  # the file on the server is shorter than the part here
                    self.part.unlink()
                    return 0, "the server has no such range"
                resumed = _checked(response).status_code == 206
                if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                    return 0, "the server sends another range than asked for"
                if not resumed and self._is_something_else(response):
                    return 0, "the server sends something else than the file"
                self._write(response, bar, have if resumed else 0)
        except requests.RequestException as error:
            return 0, _reason(error)
        return 0, "the connection ended early"

    def _is_something_else(self, response):
        """Whether a complete answer is not the file but a page of a proxy or a login; the partial file is then kept."""
        return ("text/html" in response.headers.get("Content-Type", "")
                or response.headers.get("Content-Length", str(self.size)) != str(self.size))

    def _write(self, response, bar, have):
        """Write to the partial file after its first ``have`` bytes (0 for a server that does not support ranges)."""
        bar.n = have
        bar.set_postfix_str("")
        with open(self.part, "ab" if have else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if (have := have + len(chunk)) > self.size:
                    return  # not the file of the listing, which its checksum will show

    def _hand_over(self, output):
        """Give pooch its file: a hard link to the part if possible, so that the part survives Ctrl-C."""
        output.unlink(missing_ok=True)
        try:
            os.link(self.part, output)
        except OSError:
            os.replace(self.part, output)


def fetch(file, folder):
    """Download a RemoteFile to ``folder`` and verify its checksum → its path; an existing file is only verified.

    Raises
    ------
    UserError
        It cannot be downloaded, or has another checksum (and is then deleted).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.name}.part"
    pooch.get_logger().setLevel("WARNING")
    shelf = pooch.create(folder, base_url="", registry={file.name: file.checksum}, urls={file.name: file.url})
    try:
        path = shelf.fetch(file.name, downloader=ResumingDownloader(part, file.size))
    except UserError:
        raise
    except ValueError:  # raised by pooch for a wrong checksum
        part.unlink(missing_ok=True)
        raise UserError(f"{file.name}: what {file.url} sent does not have the checksum {file.checksum}; it is deleted. "
                        "Run the same command again; if that does not help, the file is altered on its way, or the "
                        "record has changed") from None
    part.unlink(missing_ok=True)
    return Path(path)


# --- parts of a dataset --------------------------------------------------------------------------------------

def fetch_part(part):
    """Download, verify and unpack a part, if it is missing; then delete its archives."""
    if part.missing():
        work = part.root / WORK
        for orphan in work.glob("tmp*"):  # temporary files of pooch in a run that was killed
            orphan.unlink()
        paths = [fetch(file, work) for file in part.files]
        unpacked = work / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        archives.unpack(paths, unpacked, part.places, lambda size: refuse_full_disk(part.root, size))
        # Folders that an earlier run renamed before it was killed stay as they are.
        for name in part.missing():
            os.replace(unpacked / name, part.root / name)
        shutil.rmtree(unpacked)
    clear(part)


def clear(part):
    """Delete the archives of a part, complete or partial."""
    work = part.root / WORK
    for file in part.files:
        (work / file.name).unlink(missing_ok=True)
        (work / f"{file.name}.part").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # does not exist, or holds archives of other parts
        work.rmdir()


def fetch_documents(record, root):
    """Download the licence and the description to ``root``, if the record has them as files."""
    for file in record.files.values():
        if DOCUMENT.fullmatch(file.name) and not (Path(root) / file.name).exists():
            fetch(file, root)


def space_needed(parts):
    """Bytes needed to download and unpack parts one after another, as far as they are known in advance."""
    todo = [part for part in parts if part.missing()]
    unpacked = sum(max(part.unpacked, part.size) for part in todo)  # at least as large as the archive
    return max(0, unpacked + max((part.size for part in todo), default=0) - sum(part.fetched() for part in todo))


def refuse_full_disk(folder, needed):
    """UserError where fewer bytes than needed are free."""
    free = free_space(folder)
    if free < needed:
        raise UserError(f"{folder}: {readable(needed)} are needed, {readable(free)} are free; free some space, choose "
                        "another folder with --to, or download fewer parts. What was downloaded stays")


def free_space(folder):
    """Free bytes on the disk of a folder, which need not exist yet."""
    folder = Path(folder).absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def readable(size):
    """12345678 → '12.35 MB'."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"


def _filled(folder):
    return folder.is_dir() and any(folder.iterdir())


def _size(path):
    return path.stat().st_size if path.exists() else 0
