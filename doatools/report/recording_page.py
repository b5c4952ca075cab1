"""One self-contained HTML page per recording: hear it while its sources move on a sphere, a map and over time.

The page is ``recording_page.html`` with ``scene_view.js`` (all drawing) and ``scene_view.css`` inside; it works from
``file://`` and requests nothing, which its content security policy enforces: only the two scripts and the style of the
template, known by their hashes, are ever applied. Data are base64 columns in JSON, the sound is MP3: every browser
plays it, at a constant bit rate so that a position is found exactly in hours of it.

Frames count from 0 and last ``frame_s``; degrees throughout, azimuth counter-clockwise from the front. F bands.
"""

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from doatools.data.dcase import FRAME_S, read_dcase
from doatools.data.slots import pieces_of_rows, rows_at
from doatools.files import replacing
from doatools.match.assignment import assign_with_cost
from doatools.spatial.geometry import pairwise_angles, unit_vectors

TEMPLATE = Path(__file__).with_name("recording_page.html")
SCENE_VIEW = Path(__file__).with_name("scene_view.js")
SCENE_STYLE = Path(__file__).with_name("scene_view.css")

KBIT_S = 48  # of the sound: 22 MB per hour, 29 MB within the page
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MP3_DELAY = 1105  # samples by which LAME's output lags behind
MP3_TAG = b"Info"  # of LAME's own frame before the sound, where it fits in one
MP3_KBIT_S = {1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # by version and index from 1 on
              2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
COLUMNS = 6000  # of the spectrogram at most
SHOWN_PERCENTILES = 5, 99.8  # of the levels, first and last colour
NONE = 65535  # in a column of hundredths of a degree: no value
FOUND_DEG = 20.0  # a reference with a prediction this near counts as found


class Sound(NamedTuple):
    """Compressed sound, and how far it lags behind the recording."""

    data: bytes
    mime: str
    delay_s: float


@dataclass
class Page:
    """What a page shows.

    rows : frame, track, azimuth, elevation, probability and, where the model estimates it, radius (of the error, °;
        NaN for none), structured; in any order
    reference : frame, class, track, azimuth, elevation, structured, with the frames of ``rows``; a source is a pair of
        class and track
    spectrogram : (columns, F) dB over the whole recording
    """

    title: str
    audio: "np.ndarray | Sound | None"  # (samples,) float32, full scale ±1; None: the page plays without sound
    fs: int  # Hz, of samples
    frame_s: float
    rows: np.ndarray
    spectrogram: np.ndarray
    frequencies: np.ndarray  # (F,) Hz, of the bands
    seconds: float
    notes: list = field(default_factory=list)  # sentences for the user
    reference: np.ndarray | None = None


class Writer:
    """The page of a recording that is being localized: its first channel is compressed block by block meanwhile.

    Parameters
    ----------
    title : str
    fs : int, Hz, of the recording
    frame_s : float, of the rows of tracks and of the reference
    reference : as for Page
    """

    def __init__(self, title, fs, frame_s, reference=None):
        self._title, self._fs, self._frame_s, self._reference = title, fs, frame_s, reference
        self._sound = Compressor(fs)

    def listening(self, blocks):
        """The blocks (n, channels) of the recording themselves."""
        for block in blocks:
            self._sound.feed(block[:, 0])
            yield block

    def write(self, path, recorded, frequencies):
        """``recorded`` has rows, spectrogram (columns, F), seconds and notes; ``frequencies`` (F,) Hz."""
        write(path, Page(self._title, self._sound.finish(), self._fs, self._frame_s, recorded.rows,
                         recorded.spectrogram, frequencies, recorded.seconds, recorded.notes, self._reference))


def read_reference(path, config):
    """A DCASE CSV at the frames of a Config; elevations are folded as those of a planar array are."""
    rows = rows_at(pieces_of_rows(read_dcase(path), FRAME_S), config.features.label_hop_len_s)
    if config.array.planar:
        rows["elevation"] = np.abs(rows["elevation"])
    return rows


def write(path, page):
    """Write the page; a reader never sees half of it."""
    with replacing(path) as temporary:
        # Hashes are computed with \n alone.
        temporary.write_text(render(page), encoding="utf-8", errors="replace", newline="\n")


def render(page):
    """The page as text."""
    sound = page.audio
    if not isinstance(sound, Sound):
        sound = Sound(b"", "", 0.0) if sound is None else compress([sound], page.fs)
    text = template()
    return filled(text, {
        "policy": policy(text),
        "title": html.escape(page.title),
        "data": script_json(page_data(page, sound)),
        "sound": base64.b64encode(sound.data).decode(),
    })


# --- the template ----------------------------------------------------------------------------------------------

def template(path=TEMPLATE):
    """A template with the code and the style of drawing inside."""
    return filled(path.read_text(encoding="utf-8"), {"scene_view": SCENE_VIEW.read_text(encoding="utf-8"),
                                                     "scene_style": SCENE_STYLE.read_text(encoding="utf-8")})


def filled(text, parts):
    """``{{name}}`` replaced by ``parts[name]`` in one pass: what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts.get(match[1], match[0]), text)


def policy(text, connect=""):
    """The content security policy that lets a template's own scripts and style through, and nothing else.

    ``connect``: the addresses that the page may connect to, separated by spaces.
    """
    hashes = {tag: " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
                            for code in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL))
              for tag in ("script", "style")}
    rules = {"default-src": "'none'", "script-src": hashes["script"], "style-src": hashes["style"], "img-src": "data:",
             "media-src": "blob: data:", "connect-src": connect, "base-uri": "'none'", "form-action": "'none'"}
    return "; ".join(f"{name} {allowed}" for name, allowed in rules.items() if allowed)


def script_json(value):
    """JSON that may stand in a <script> element: nothing in it can end the element or begin another one."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# --- sound -----------------------------------------------------------------------------------------------------

class Compressor:
    """Mono sound, block by block, as MP3 (as Ogg Vorbis, which Safari may refuse, where libsndfile is before 1.1)."""

    def __init__(self, fs, kbit_s=KBIT_S):
        self._resample = None
        if fs not in MP3_RATES:  # to the next higher rate, or the highest one
            rate = min((rate for rate in MP3_RATES if rate > fs), default=MP3_RATES[-1])
            self._resample, fs = soxr.ResampleStream(fs, rate, 1, dtype="float32"), rate
        self._fs, self._buffer = fs, io.BytesIO()
        if "MP3" in soundfile.available_formats():
            self._mime = "audio/mpeg"
            how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT",
                   "compression_level": compression_level(fs, kbit_s)}
        else:
            self._mime = "audio/ogg"
            how = {"format": "OGG", "subtype": "VORBIS"}
        self._file = soundfile.SoundFile(self._buffer, "w", fs, 1, **how)

    def feed(self, samples):
        """The next samples (n,), full scale ±1."""
        self._write(np.asarray(samples, np.float32))

    def _write(self, samples, last=False):
        if self._resample:
            samples = self._resample.resample_chunk(np.ascontiguousarray(samples), last=last)
        self._file.write(np.clip(samples, -1, 1))

    def finish(self):
        """→ Sound"""
        self._write(np.zeros(0, np.float32), last=True)
        self._file.close()
        data = self._buffer.getvalue()
        if self._mime == "audio/mpeg":
            return Sound(without_tag(data, self._fs), self._mime, MP3_DELAY / self._fs)
        return Sound(data, self._mime, 0.0)


def compress(blocks, fs, kbit_s=KBIT_S):
    """Blocks of samples (n,) at ``fs`` Hz → Sound."""
    compressor = Compressor(fs, kbit_s)
    for block in blocks:
        compressor.feed(block)
    return compressor.finish()


def without_tag(data, fs):
    """MP3 of a constant bit rate without the frame in which LAME tells its delay.

    Players make up for that delay or not (Chromium: depending on where it plays), and some seek by the table in that
    frame. Without it all of them play the delay, which the page knows, and find a position by arithmetic.
    """
    if MP3_TAG not in data[:64]:
        return data
    version = 1 if fs >= 32000 else 2  # 2 and 2.5 alike
    kbit_s, padding = MP3_KBIT_S[version][(data[2] >> 4) - 1], data[2] >> 1 & 1
    return data[144000 // version * kbit_s // fs + padding:]


def compression_level(fs, kbit_s):
    """libsndfile's level for a constant bit rate: from 0, the highest of the MPEG version, to 1, its lowest."""
    highest, lowest = (320, 32) if fs >= 32000 else (160, 8) if fs >= 16000 else (64, 8)
    return min(max((highest - kbit_s) / (highest - lowest), 0.0), 0.99)


# --- data ------------------------------------------------------------------------------------------------------

def page_data(page, sound):
    """What the page's script reads, as plain values."""
    rows = page.rows[np.lexsort((page.rows["frame"], page.rows["track"]))]
    levels, low, high = shown_levels(page.spectrogram)
    data = {
        "title": page.title, "seconds": float(page.seconds), "frame_s": float(page.frame_s),
        "notes": [str(note) for note in page.notes],
        "sound": {"mime": sound.mime, "delay_s": sound.delay_s},
        "spectrogram": {"bands_hz": [round(float(hertz), 2) for hertz in page.frequencies],
                        "column_s": page.seconds / max(len(levels), 1), "low_db": low, "high_db": high,
                        "levels": packed(levels, "u1")},
    }
    errors = None
    if page.reference is not None:
        reference = page.reference[np.lexsort((page.reference["frame"], page.reference["track"],
                                               page.reference["class"]))]
        errors, found = paired_errors(rows, reference)
        data["reference"] = reference_data(reference, found)
        data["comparison"] = comparison(errors, found)
    data["tracks"] = track_data(rows, errors)
    return data


def track_data(rows, errors=None):
    """Columns of rows sorted by track and frame; errors (rows,) degrees, NaN for none."""
    columns = {"track": packed(rows["track"], "<i4"), "probability": packed(np.rint(255 * rows["probability"]), "u1"),
               **direction_data(rows)}
    if "radius" in rows.dtype.names:
        columns["radius"] = packed(hundredths(rows["radius"]), "<u2")
    if errors is not None:
        columns["error"] = packed(hundredths(errors), "<u2")
    return columns


def reference_data(reference, errors):
    """Columns of references sorted by class, track and frame, and a name for each source."""
    sources, source = np.unique(reference[["class", "track"]], return_inverse=True)
    one_class = len(np.unique(sources["class"])) < 2
    names = [f"reference {track}" if one_class else f"reference {track} of class {kind}"
             for kind, track in sources.tolist()]
    return {"names": names, "track": packed(source, "<i4"), "error": packed(hundredths(errors), "<u2"),
            **direction_data(reference)}


def direction_data(rows):
    """Columns that tracks and references share; directions in hundredths of a degree."""
    azimuth = 180 - (180 - rows["azimuth"].astype(float)) % 360  # (-180, 180]
    return {"frame": packed(rows["frame"], "<i4"), "azimuth": packed(np.rint(100 * azimuth), "<i2"),
            "elevation": packed(np.rint(100 * rows["elevation"].astype(float)), "<i2")}


def hundredths(degrees):
    """Degrees from 0 to 180, NaN for none → integers."""
    degrees = np.asarray(degrees, float)
    return np.where(np.isnan(degrees), NONE, np.rint(100 * np.nan_to_num(degrees)))


def packed(values, kind):
    """Numbers → base64 of their bytes, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode()


def shown_levels(spectrogram):
    """dB (columns, F) → levels (at most COLUMNS, F) from 0 to 255, and what these two are in dB."""
    spectrogram = np.asarray(spectrogram, float)
    parts = np.array_split(spectrogram, COLUMNS) if len(spectrogram) > COLUMNS else None
    if parts:
        spectrogram = np.stack([part.mean(0) for part in parts])
    finite = spectrogram[np.isfinite(spectrogram)]
    sounding = finite[finite > finite.min()] if finite.size else finite  # digital silence says nothing of the range
    low, high = map(float, np.percentile(sounding, SHOWN_PERCENTILES)) if sounding.size else (-100.0, 0.0)
    shares = (np.nan_to_num(spectrogram, nan=low, neginf=low, posinf=high) - low) / max(high - low, 1e-3)
    return np.rint(255 * np.clip(shares, 0, 1)), low, high


# --- reference -------------------------------------------------------------------------------------------------

def paired_errors(rows, reference):
    """Angle in degrees between each prediction and its reference, (rows,), and the other way round, (references,).

    In each frame as many as possible are paired, with the least sum of angles; NaN where one is left over.
    """
    frames = np.union1d(rows["frame"], reference["frame"])
    (ours, own), (theirs, other) = (_at_frames(part, frames) for part in (rows, reference))
    angles = pairwise_angles(ours, theirs)
    angles[~(np.abs(ours).sum(-1) > 0)] = np.inf
    angles.swapaxes(1, 2)[~(np.abs(theirs).sum(-1) > 0)] = np.inf
    columns, paid = assign_with_cost(angles)
    errors = np.where(columns < 0, np.nan, paid)[own]
    found = np.full(theirs.shape[:2], np.nan)
    frame, row = np.nonzero(columns >= 0)
    found[frame, columns[frame, row]] = paid[frame, row]
    return errors, found[other]


def _at_frames(rows, frames):
    """Rows → unit vectors (T, N, 3) at ``frames`` (T,), zeros where there is none, and (frame, slot) of each row."""
    order = np.argsort(rows["frame"], kind="stable")
    sorted_frames = rows["frame"][order]
    slot = np.empty(len(rows), int)
    slot[order] = np.arange(len(rows)) - np.searchsorted(sorted_frames, sorted_frames)
    place = np.searchsorted(frames, rows["frame"])
    vectors = np.zeros((len(frames), slot.max(initial=0) + 1, 3))
    vectors[place, slot] = unit_vectors(rows["azimuth"].astype(float), rows["elevation"].astype(float))
    return vectors, (place, slot)


def comparison(errors, found):
    """What the errors of predictions and references come to, in one sentence."""
    paired = found[np.isfinite(found)]
    if not len(found):
        return "The reference is empty."
    mean = f"mean error {paired.mean():.1f}°" if len(paired) else "no prediction to compare"
    near, missed = (100 * share.mean() for share in (found <= FOUND_DEG, np.isnan(found)))
    return (f"Compared with the reference: {mean}; {near:.0f}% of the reference positions have a prediction within "
            f"{FOUND_DEG:.0f}°, {missed:.0f}% have none; "
            f"{np.isnan(errors).sum()} of {len(errors)} predictions have no reference.")
