"""download_dataset.py against a server on the loopback address that can break, lie and forget its ranges."""

import hashlib
import http.server
import io
import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pooch
import pytest

import download_dataset
from doatools.data import archives, downloads
from doatools.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
NOISE = np.random.default_rng(0).bytes(1_000_000)  # does not pack


# --- the server --------------------------------------------------------------------------------------------

class Zenodo(http.server.ThreadingHTTPServer):
    """Records as Zenodo's interface lists them. ``faults``: {file: list of faults of its next requests}.

    A fault is 'break' (the connection ends halfway), 'stall' (it sends half, then nothing), 'no range',
    'wrong range', 'other bytes', 'page' (that of a login), or a status. ``sent``: (file, first byte, number of
    bytes) of each answer.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.records, self.faults, self.sent, self.headers = {}, {}, [], []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def add(self, name, files):
        self.records[download_dataset.RECORDS[name]] = files

    def listing(self, number):
        files = [{"id": "1", "key": key, "size": len(data), "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                  "links": {"self": f"{self.url}/api/records/{number}/files/{key}/content"}}
                 for key, data in self.records[number].items()]
        return {"id": number, "files": files, "metadata": {"title": f"Sounds {number}", "license": {"id": "other-nc"}}}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.headers.append(dict(self.headers))
        listing, file = re.fullmatch(r"/api/records/(\d+)|/records/(\d+/files/[^/]+)\?download=1", self.path).groups()
        number, _, name = (listing or file).partition("/files/")
        if int(number) not in self.server.records:
            self.send_error(404)
        elif listing and self.server.faults.get("listing"):
            self.send_error(self.server.faults["listing"].pop(0))
        elif listing:
            found = self.server.listing(int(number))
            self.answer(200, found if isinstance(found, bytes) else json.dumps(found).encode())
        else:
            self.send_file(name, self.server.records[int(number)][name])

    def send_file(self, name, data):
        faults = self.server.faults.get(name)
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        if fault == "page":
            self.answer(200, b"<html>Welcome to our airport</html>")
            return
        if fault == "other bytes":
            data = bytes(len(data))
        first = int(self.headers["Range"][6:-1]) if "Range" in self.headers and fault != "no range" else 0
        body = data[first:]
        if first and not body:
            self.send_error(416)
            return
        told = first + (fault == "wrong range")
        cut = len(body) // 2 if fault in ("break", "stall") else len(body)
        self.server.sent.append((name, first, cut))
        headers = {"Content-Range": f"bytes {told}-{len(data) - 1}/{len(data)}"} if first else {}
        self.answer(206 if first else 200, body, cut, headers)
        if fault == "stall":
            self.wfile.flush()
            self.server.released.wait(30)

    def answer(self, status, body, cut=None, headers=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def zenodo(monkeypatch):
    monkeypatch.setattr(downloads, "PAUSES", (0, 0, 0))
    with Zenodo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


# --- archives ------------------------------------------------------------------------------------------------

def make_zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def make_split_zip(files, size, zip64=False):
    """A zip archive cut into pieces of ``size`` bytes, as APPNOTE 6.3.10 tells: marker, (disk, offset) places."""
    plain = make_zip(files)
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        members, body = archive.infolist(), b"PK\x07\x08" + plain[:archive.start_dir]
    directory = b""
    for member in members:
        disk, offset = divmod(member.header_offset + 4, size)
        name, extra = member.filename.encode(), b""
        numbers = member.compress_size, member.file_size
        if zip64:
            extra = struct.pack("<2H4s2H3QI", 0x5555, 4, b"abcd", 1, 28, *numbers[::-1], offset, disk)
            numbers, offset, disk = (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, 0xFFFF
        directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, 45, member.flag_bits, member.compress_type, 0, 33,
                                 member.CRC, *numbers, len(name), len(extra), 3, disk, 0, member.external_attr,
                                 offset) + name + extra + b"ha!"
    disk, offset = divmod(len(body), size)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 9, disk, 0, len(members), len(directory), offset)
    end_disk, end_offset = divmod(len(body) + len(directory), size)
    total = len(body) + len(directory) + 22 + (len(end64) + 20 if zip64 else 0)
    disks = -(-total // size)
    whole = body + directory
    if zip64:
        whole += end64 + struct.pack("<4sIQI", b"PK\x06\x07", end_disk, end_offset, disks)
        end = 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    else:
        end = disks - 1, disk, len(members), len(members), len(directory), offset
    whole += struct.pack("<4s4H2IH", b"PK\x05\x06", *end, 0)
    return [whole[at:at + size] for at in range(0, len(whole), size)]


def write_pieces(folder, pieces, stem="foa_dev"):
    names = [f"{stem}.z{number:02d}" for number in range(1, len(pieces))] + [f"{stem}.zip"]
    for name, piece in zip(names, pieces):
        (folder / name).write_bytes(piece)
    return [folder / name for name in names]


RECORDINGS = {"foa_dev/a.wav": NOISE[:5000], "foa_dev/b.wav": bytes(9000), "foa_dev/empty.wav": b"",
              "foa_dev/c.wav": NOISE[5000:12000], "foa_dev/é.wav": b"x" * 100}


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("size", [3000, 6100, 12_300, 40_000])  # 12 300: the central directory is cut as well
def test_split_archives_of_any_cut(size, zip64, tmp_path):
    pieces = make_split_zip(RECORDINGS, size, zip64)
    with archives.open_archive(write_pieces(tmp_path, pieces)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == RECORDINGS


@pytest.mark.skipif(not shutil.which("zip"), reason="needs Info-ZIP's zip")
@pytest.mark.parametrize("options", [[], ["-fz"], ["-0"], ["-z"]])
def test_split_archives_of_info_zip(options, tmp_path):
    (tmp_path / "foa_dev").mkdir()
    for number in range(4):
        (tmp_path / "foa_dev" / f"{number}.wav").write_bytes(NOISE[number * 70_000:(number + 1) * 70_000])
    subprocess.run(["zip", "-q", "-s", "64k", "-r", *options, "whole.zip", "foa_dev"], cwd=tmp_path, check=True,
                   input=b"a comment\n")
    paths = [*sorted(tmp_path.glob("whole.z[0-9]*")), tmp_path / "whole.zip"]
    assert len(paths) == 5
    archives.unpack(paths, tmp_path / "out", {"foa_dev": "foa_dev"})
    for number in range(4):
        assert (tmp_path / "out" / "foa_dev" / f"{number}.wav").read_bytes() == NOISE[number * 70_000:][:70_000]


def test_damaged_split_archives(tmp_path):
    paths = write_pieces(tmp_path, make_split_zip(RECORDINGS, 3000))
    places = {"foa_dev": "foa_dev"}
    for wrong in (paths[1:], [*paths[:1], *paths[2:]]):
        with pytest.raises(UserError, match="pieces"):
            archives.unpack(wrong, tmp_path / "out", places)
    piece = bytearray(paths[0].read_bytes())
    piece[2000] ^= 1
    paths[0].write_bytes(piece)
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(paths, tmp_path / "out", places)
    paths[-1].write_bytes(NOISE[:500])
    with pytest.raises(UserError, match="does not end as a zip"):
        archives.unpack(paths, tmp_path / "out", places)


@pytest.mark.parametrize("bad", ["foa_dev/../../evil.wav", "../foa_dev/evil.wav", "/foa_dev/evil.wav",
                                 "foa_dev\\..\\evil.wav", "C:/foa_dev/evil.wav", "link", "twice"])
def test_nothing_leaves_the_folder(bad, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("foa_dev/good.wav", b"good")
        if bad == "link":
            link = zipfile.ZipInfo("foa_dev/link.wav")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        elif bad == "twice":
            archive.writestr("data/foa_dev/good.wav", b"other")
        else:
            archive.writestr(zipfile.ZipInfo(bad), b"evil")
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"nothing of it was\s+unpacked"):
        archives.unpack([tmp_path / "a.zip"], tmp_path / "deep" / "out", {"foa_dev": "foa_dev"})
    assert not list(tmp_path.rglob("*.wav")) and not Path("/foa_dev").exists()


@pytest.mark.parametrize("folder", ["foa_dev/", "proj/data/foa_dev/", "foa_dev/foa_dev/", "", "foa/"])
def test_folders_are_found_at_any_depth(folder, tmp_path):
    held = {f"{folder}a.wav": b"a", "__MACOSX/foa_dev/._a.wav": b"shadow", f"{folder}.DS_Store": b"."}
    (tmp_path / "a.zip").write_bytes(make_zip(held))
    archives.unpack([tmp_path / "a.zip"], tmp_path / "out", {"foa_dev": "foa_dev"})
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out" / "foa_dev" / "a.wav"]


# --- whole datasets ------------------------------------------------------------------------------------------

@pytest.fixture
def tau(zenodo, monkeypatch):
    """TAU's record in small: foa_dev split as the real one, the others whole; → {path: content} to be there."""
    content = {"foa_dev": {f"foa_dev/fold1_room1_mix{n:03d}_ov1.wav": NOISE[n * 100_000:][:100_000] for n in range(4)},
               "metadata_dev": {f"metadata_dev/fold1_room1_mix{n:03d}_ov1.csv": b"0,1,0,5,5\n" for n in range(4)}}
    pieces = make_split_zip(content["foa_dev"], 150_000)
    assert len(pieces) == 3
    files = {**dict(zip(("foa_dev.z01", "foa_dev.z02", "foa_dev.zip"), pieces)),
             "metadata_dev.zip": make_zip(content["metadata_dev"]), "LICENSE": b"for research", "notes.txt": b"-"}
    zenodo.add("tau2020", files)
    monkeypatch.setattr(download_dataset, "TAU_RECORDING_BYTES", 0)
    sums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(download_dataset, "TAU", {
        part: {name: sums[name] for name in files if name.startswith(part)} for part in content})
    return {name: data for part in content.values() for name, data in part.items()} | {"LICENSE": b"for research"}


def add_tut(zenodo, name, splits):
    """A TUT record: 9 archives, whose CSVs hold the name of the archive they came in."""
    zenodo.add(name, {f"ov{ov}_split{split}.zip": make_zip({
        f"wav_ov{ov}_split{split}_30db/test_0_desc_30_300.wav": b"wav",
        f"desc_ov{ov}_split{split}/test_0_desc_30_300.csv": f"ov{ov}_split{split}".encode(),
    }) for ov, split in itertools.product((1, 2, 3), splits)})


def run(zenodo, folder, *words):
    return download_dataset.main([*(words or ["tau2020"]), "--to", str(folder), "--server", zenodo.url])


def fails(capsys, zenodo, folder, *words):
    assert run(zenodo, folder, *words) == 2
    progress, error, told = capsys.readouterr().err.partition("error: ")
    assert error and "Traceback" not in progress + told
    return told


def held(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tau_from_split_archives(zenodo, tau, tmp_path, capsys):
    assert run(zenodo, tmp_path / "tau") == 0
    assert held(tmp_path / "tau") == tau and not (tmp_path / "tau" / ".download").exists()
    told = capsys.readouterr().out
    assert "other-nc" in told and "0.40 MB" in told and "records/4064792" in told
    assert all("doanet" in headers["User-Agent"] for headers in zenodo.headers)
    zenodo.sent.clear()
    assert run(zenodo, tmp_path / "tau") == 0  # all is there
    assert not zenodo.sent and "exists, 4 files" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "tau" / "metadata_dev")
    assert run(zenodo, tmp_path / "tau") == 0
    assert [name for name, *_ in zenodo.sent] == ["metadata_dev.zip"] and held(tmp_path / "tau") == tau


def test_some_parts(zenodo, tau, tmp_path):
    assert run(zenodo, tmp_path, "tau2020", "--parts", "metadata_dev") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"metadata_dev", "LICENSE"}


STARSS = {"foa_dev": {"foa_dev/dev-train-sony/fold3_room21_mix001.wav": NOISE[:200_000],
                      "foa_dev/dev-test-tau/fold4_room2_mix001.wav": NOISE[200_000:400_000]},
          "metadata_dev": {"metadata_dev/dev-train-sony/fold3_room21_mix001.csv": b"0,1,0,5,5,230\n",
                           "metadata_dev/dev-test-tau/fold4_room2_mix001.csv": b""},
          "foa_eval": {"foa_eval/mix001.wav": NOISE[400_000:500_000]}}


def add_starss(zenodo, name="starss23"):
    files = {f"{part}.zip": make_zip(held) for part, held in STARSS.items()}
    zenodo.add(name, {**files, "video_dev.zip": make_zip({"video_dev/a.mp4": b"film"}), "LICENSE": b"MIT"})
    return {path: data for held in STARSS.values() for path, data in held.items()} | {"LICENSE": b"MIT"}


def test_sub_folders_of_later_years_without_videos(zenodo, tmp_path, capsys):
    content = add_starss(zenodo)
    assert run(zenodo, tmp_path / "starss", "starss23") == 0
    assert held(tmp_path / "starss") == content
    told = capsys.readouterr().out
    assert told.index("licence: other-nc") < told.index("to download to") < told.index("complete")
    assert "foa_dev" in told and "video_dev" not in told
    assert "next: python3 batch_feature_extraction.py 22 format=starss23 " in told
    zenodo.sent.clear()
    assert run(zenodo, tmp_path / "starss", "starss23") == 0 and not zenodo.sent
    assert "foa_dev       exists, 2 files" in capsys.readouterr().out


def test_some_parts_of_later_years(zenodo, tmp_path, capsys):
    add_starss(zenodo, "starss22")
    assert run(zenodo, tmp_path, "starss22", "--parts", "metadata_dev") == 0
    assert set(held(tmp_path)) == {*STARSS["metadata_dev"], "LICENSE"}
    assert "does not list mic_dev.zip" in fails(capsys, zenodo, tmp_path, "starss22", "--parts", "mic_dev")
    assert "starss22 has no part eval" in fails(capsys, zenodo, tmp_path, "starss22", "--parts", "eval")


def test_later_years_are_compared_with_the_listing(zenodo, tmp_path, capsys):
    """Whose sums are not known beforehand: those of the listing are used."""
    content = add_starss(zenodo)
    zenodo.faults["foa_dev.zip"] = ["other bytes"]
    told = fails(capsys, zenodo, tmp_path, "starss23")
    assert "foa_dev.zip" in told and "does not have the checksum" in told and "foa_dev" not in os.listdir(tmp_path)
    zenodo.faults["foa_dev.zip"] = ["break"]
    assert run(zenodo, tmp_path, "starss23") == 0 and held(tmp_path) == content


def test_split_archives_of_2021_with_known_sums(zenodo, tmp_path, capsys, monkeypatch):
    content = {f"foa_dev/dev-train/fold1_room1_mix{n:03d}.wav": NOISE[n * 100_000:][:100_000] for n in range(4)}
    pieces = make_split_zip(content, 250_000)
    files = dict(zip(("foa_dev.z01", "foa_dev.zip"), pieces))
    zenodo.add("dcase2021", files)
    assert "the record has changed" in fails(capsys, zenodo, tmp_path, "dcase2021")
    monkeypatch.setitem(download_dataset.KNOWN, "dcase2021", {
        name: hashlib.md5(data).hexdigest() for name, data in files.items()})
    assert len(pieces) == 2 and run(zenodo, tmp_path, "dcase2021") == 0 and held(tmp_path) == content


def test_locata(zenodo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download_dataset, "KNOWN", {})
    content = {f"{part}/task1/recording1/eigenmike/{name}": name.encode() for part in ("dev", "eval")
               for name in ("audio_array_eigenmike.wav", "required_time.txt")}
    zenodo.add("locata", {f"{part}.zip": make_zip({path: data for path, data in content.items()
                                                   if path.startswith(part)}) for part in ("dev", "eval")})
    assert run(zenodo, tmp_path, "locata") == 0 and held(tmp_path) == content
    assert "batch_feature_extraction.py 23 format=locata" in capsys.readouterr().out
    zenodo.add("locata", {"other.zip": b""})
    assert "lists none of dev.zip, eval.zip but other.zip" in fails(capsys, zenodo, tmp_path / "new", "locata")


def test_tut_splits_of_real_are_renumbered(zenodo, tmp_path, capsys):
    add_tut(zenodo, "real", (1, 8, 9))
    add_tut(zenodo, "ansim", (1, 2, 3))
    assert run(zenodo, tmp_path, "ansim", "real") == 0
    for name, splits in (("ansim", (1, 2, 3)), ("real", (1, 8, 9))):
        folders = {path.name for path in (tmp_path / name).iterdir()}
        assert folders == {folder for ov, k in itertools.product((1, 2, 3), (1, 2, 3))
                           for folder in (f"wav_ov{ov}_split{k}_30db", f"desc_ov{ov}_split{k}")}
        for ov, (k, split) in itertools.product((1, 2, 3), enumerate(splits, 1)):
            csv = tmp_path / name / f"desc_ov{ov}_split{k}" / "test_0_desc_30_300.csv"
            assert csv.read_text() == f"ov{ov}_split{split}"
    assert "run.py" in capsys.readouterr().out


def test_a_broken_connection_goes_on_where_it_was(zenodo, tau, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 1000)
    zenodo.faults["foa_dev.z01"] = ["break", "break", 503, 429, "break"]
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau
    answers = [(first, size) for name, first, size in zenodo.sent if name == "foa_dev.z01"]
    assert len(answers) == 4
    for (first, size), (after, _) in itertools.pairwise(answers):
        assert 0 <= first + size - after < 1000  # nothing again but what had not left the socket
    assert sum(size for _, size in answers) < 150_000 + 3 * 1000


def test_a_connection_that_stays_broken_is_reported_and_the_rest_fetched_later(zenodo, tau, tmp_path, capsys):
    zenodo.faults["foa_dev.z02"] = ["break", 503, 503, 503, 503]
    assert "run the same command again" in fails(capsys, zenodo, tmp_path).lower()
    assert not (tmp_path / "foa_dev").exists()
    zenodo.sent.clear()
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau
    first = {name: first for name, first, _ in zenodo.sent}
    assert "foa_dev.z01" not in first and first["foa_dev.z02"] > 60_000
    assert "are there" in capsys.readouterr().out


def test_server_without_ranges_starts_over(zenodo, tau, tmp_path):
    zenodo.faults["foa_dev.z01"] = ["break", "no range"]
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau
    assert [entry for entry in zenodo.sent if entry[0] == "foa_dev.z01"][1] == ("foa_dev.z01", 0, 150_000)


def test_a_wrong_range_is_not_used(zenodo, tau, tmp_path):
    zenodo.faults["foa_dev.z01"] = ["break", "wrong range"]
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau


def test_a_busy_server_is_asked_again(zenodo, tau, tmp_path, capsys):
    zenodo.faults["listing"] = [503, 429]
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau and "trying again" in capsys.readouterr().err
    zenodo.faults["listing"] = [503] * 4
    assert "try again later" in fails(capsys, zenodo, tmp_path)


def test_the_page_of_a_login_does_not_end_a_download(zenodo, tau, tmp_path):
    zenodo.faults["foa_dev.z01"] = ["break", "page", "page"]
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau
    assert [first for name, first, _ in zenodo.sent if name == "foa_dev.z01"][1] > 60_000


def test_a_wrong_checksum_is_told_and_not_kept(zenodo, tau, tmp_path, capsys):
    zenodo.faults["foa_dev.z02"] = ["other bytes"]
    told = fails(capsys, zenodo, tmp_path)
    assert "foa_dev.z02" in told and "does not have the checksum" in told and "again" in told
    assert {path.name for path in (tmp_path / ".download").iterdir()} == {"foa_dev.z01"}
    assert not (tmp_path / "foa_dev").exists()
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau


def test_a_leftover_that_is_too_long(zenodo, tau, tmp_path):
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download" / "foa_dev.z01.part").write_bytes(bytes(400_000))
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau


def test_a_record_that_has_changed(zenodo, tau, tmp_path, capsys):
    files = zenodo.records[4064792]
    files["metadata_dev.zip"] += b"."
    assert "the record has changed" in fails(capsys, zenodo, tmp_path)
    del files["metadata_dev.zip"]
    assert "does not list metadata_dev.zip" in fails(capsys, zenodo, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_archive_that_climbs_out(zenodo, tmp_path, capsys):
    add_tut(zenodo, "ansim", (1, 2, 3))
    zenodo.records[1237703]["ov1_split1.zip"] = make_zip({
        "wav_ov1_split1_30db/a.wav": b"a", "desc_ov1_split1/../../../../evil.csv": b"b"})
    assert "outside of its folder" in fails(capsys, zenodo, tmp_path / "deep" / "in", "ansim")
    assert not list(tmp_path.rglob("*.wav")) + list(tmp_path.rglob("*.csv"))


def test_an_archive_without_its_folders(zenodo, tmp_path, capsys):
    add_tut(zenodo, "ansim", (1, 2, 3))
    zenodo.records[1237703]["ov1_split1.zip"] = make_zip({"sounds/a.wav": b"a"})
    told = fails(capsys, zenodo, tmp_path, "ansim")
    assert "ov1_split1.zip" in told and "sounds" in told and "by hand" in told


def test_no_such_record_no_server_no_listing(zenodo, tau, tmp_path, capsys, monkeypatch):
    assert "404" in fails(capsys, zenodo, tmp_path, "resim")
    zenodo.faults["foa_dev.z01"] = [404]
    assert "404" in fails(capsys, zenodo, tmp_path)
    for other in (b'["something else"]', b"[" * 100_000, b"{"):
        monkeypatch.setattr(zenodo, "listing", lambda number, other=other: other)
        assert f"{zenodo.url}/api/records/" in (message := fails(capsys, zenodo, tmp_path))
        assert "not the listing" in message
    monkeypatch.setattr(zenodo, "url", "http://127.0.0.1:1")
    assert "cannot be reached" in fails(capsys, zenodo, tmp_path)


def test_both_forms_of_the_listing(zenodo, tau, tmp_path, monkeypatch):
    listing = zenodo.listing(4064792)
    for entry in listing["files"]:
        entry |= {"filename": entry.pop("key"), "filesize": entry.pop("size"), "checksum": entry["checksum"][4:],
                  "links": {}}
    monkeypatch.setattr(zenodo, "listing", lambda number: listing)
    record = downloads.read_record(4064792, zenodo.url)
    file = record.file("foa_dev.zip", f"md5:{download_dataset.TAU['foa_dev']['foa_dev.zip']}")
    assert file.url == f"{zenodo.url}/records/4064792/files/foa_dev.zip?download=1"
    assert file.size == len(zenodo.records[4064792]["foa_dev.zip"])


def test_a_full_disk_is_told_before_and_between(zenodo, tau, tmp_path, capsys, monkeypatch):
    def free(size):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, size))
    free(790_000)  # archive and folder of foa_dev take 0.80 MB
    told = fails(capsys, zenodo, tmp_path)
    assert "0.81 MB are needed" in told or "0.80 MB are needed" in told
    assert not zenodo.sent and not list(tmp_path.iterdir())
    free(10**9)
    real = downloads.fetch

    def fetch_and_fill(file, folder):
        free(1000)
        return real(file, folder)
    monkeypatch.setattr(downloads, "fetch", fetch_and_fill)
    assert "are needed" in fails(capsys, zenodo, tmp_path)
    assert not (tmp_path / "foa_dev").exists()
    free(10**9)
    monkeypatch.setattr(downloads, "fetch", real)
    zenodo.sent.clear()
    assert run(zenodo, tmp_path) == 0
    assert held(tmp_path) == tau and "foa_dev.z01" not in {name for name, *_ in zenodo.sent}


@pytest.mark.parametrize("module, name, nth",
                         [(archives, "_extract", 2), (os, "replace", 0), (pooch.core, "hash_matches", 1)])
def test_ctrl_c_loses_nothing(module, name, nth, zenodo, tau, tmp_path, capsys, monkeypatch):
    """In the middle of unpacking, before the folder is renamed, while the checksum is computed."""
    real, calls = getattr(module, name), itertools.count()

    def interrupted(*args, **kwargs):
        if next(calls) == nth:
            raise KeyboardInterrupt
        return real(*args, **kwargs)
    monkeypatch.setattr(module, name, interrupted)
    assert run(zenodo, tmp_path, "tau2020", "--parts", "foa_dev") == 130
    assert "again" in capsys.readouterr().err and not (tmp_path / "foa_dev").exists()
    assert run(zenodo, tmp_path, "tau2020", "--parts", "foa_dev") == 0
    assert len(held(tmp_path)) == 5 and not (tmp_path / ".download").exists()
    assert len([entry for entry in zenodo.sent if entry[0] != "LICENSE"]) == 3  # nothing was fetched twice


def test_stopped_between_the_two_folders_of_a_split(zenodo, tmp_path, monkeypatch):
    add_tut(zenodo, "ansim", (1, 2, 3))
    real = os.replace

    def replace(source, target):
        if Path(target).name == "wav_ov1_split1_30db":
            raise KeyboardInterrupt
        real(source, target)
    monkeypatch.setattr(os, "replace", replace)
    assert run(zenodo, tmp_path, "ansim") == 130
    assert (tmp_path / "ansim" / "desc_ov1_split1").exists()
    monkeypatch.setattr(os, "replace", real)
    assert run(zenodo, tmp_path, "ansim") == 0
    assert len(held(tmp_path)) == 18


def test_killed_in_the_middle_of_a_download(zenodo, tau, tmp_path):
    add_tut(zenodo, "ansim", (1, 2, 3))
    whole = make_zip({"wav_ov1_split1_30db/a.wav": NOISE, "desc_ov1_split1/a.csv": b"b"})
    zenodo.records[1237703]["ov1_split1.zip"] = whole
    zenodo.faults["ov1_split1.zip"] = ["stall"]
    words = ["download_dataset.py", "ansim", "--to", tmp_path, "--server", zenodo.url]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part, deadline = tmp_path / "ansim" / ".download" / "ov1_split1.zip.part", time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 400_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    have = part.stat().st_size
    zenodo.sent.clear()
    assert run(zenodo, tmp_path, "ansim") == 0
    assert zenodo.sent[0] == ("ov1_split1.zip", have, len(whole) - have)
    assert (tmp_path / "ansim" / "wav_ov1_split1_30db" / "a.wav").read_bytes() == NOISE
    assert not (tmp_path / "ansim" / ".download").exists()


def test_mistakes_on_the_command_line(zenodo, tmp_path, capsys):
    assert "two commands" in fails(capsys, zenodo, tmp_path, "tau2020", "ansim")
    assert "of tau2020" in fails(capsys, zenodo, tmp_path, "ansim", "--parts", "foa_dev")


def test_the_real_records_are_asked_for():
    assert downloads.ZENODO == "https://zenodo.org"
    assert sorted(download_dataset.TAU) == sorted(f"{kind}_{split}" for kind in ("foa", "mic", "metadata")
                                                  for split in ("dev", "eval"))
    sums = [md5 for files in download_dataset.TAU.values() for md5 in files.values()]
    assert len(set(sums)) == 10 and all(len(md5) == 32 for md5 in sums)
    assert list(download_dataset.TAU["foa_dev"]) == ["foa_dev.z01", "foa_dev.z02", "foa_dev.zip"]
