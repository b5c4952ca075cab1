"""A small page to test with: six seconds, three tracks, of which the second one moves past ±180°."""

import numpy as np

from doatools.report import recording_page

ROWS = np.dtype([("frame", "i4"), ("class", "i4"), ("track", "i4"), ("azimuth", "f4"), ("elevation", "f4"),
                 ("probability", "f4"), ("radius", "f4")])
REFERENCE = ROWS[["frame", "class", "track", "azimuth", "elevation"]]
FS, FRAME_S, SECONDS = 24000, 0.1, 6.0
EVIL = "</title></script><script>window.injected = true</script><img src=x onerror='window.injected = true'>&{{data}}"


def small_rows():
    """Track 1: 0 to 3 s at (30, -5). Track 2: 1 to 5 s from 150 past 180 to -171. Track 7: 5 to 6 s at (-90, 60)."""
    rows = [(frame, 0, 1, 30, -5, 0.9, 5) for frame in range(30)]
    rows += [(frame, 0, 2, 180 - (180 - (150 + frame - 10)) % 360, 10, 0.8, 20) for frame in range(10, 50)]
    rows += [(frame, 0, 7, -90, 60, 0.7, np.nan) for frame in range(50, 60)]
    return np.array(sorted(rows), ROWS)


def without(rows, name):
    """Rows without one of their fields."""
    names = [other for other in rows.dtype.names if other != name]
    plain = np.empty(len(rows), [(other, rows.dtype[other]) for other in names])
    for other in names:
        plain[other] = rows[other]
    return plain


def small_reference():
    """Track 1 is 10° beside it, track 2 has none, and the last second has two where one is predicted."""
    rows = [(frame, 4, 1, 30, 5) for frame in range(30)]
    rows += [(frame, 4, 1, -90, 60) for frame in range(50, 60)] + [(frame, 6, 1, 0, 0) for frame in range(50, 60)]
    return np.array(sorted(rows), REFERENCE)


def small_page(**changed):
    seconds = np.arange(int(SECONDS * FS)) / FS
    fields = {
        "title": "recording.wav", "audio": np.float32(0.3) * np.sin(2 * np.pi * 440 * seconds).astype(np.float32),
        "fs": FS, "frame_s": FRAME_S, "rows": small_rows(),
        "spectrogram": np.random.default_rng(0).normal(-40, 10, (60, 64)),
        "frequencies": np.geomspace(60, 11000, 64), "seconds": SECONDS,
    }
    return recording_page.Page(**fields | changed)
