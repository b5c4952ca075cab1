"""Plots as PNG, SVG or PDF files; no display is needed. Times in seconds, angles in degrees, frequencies in kHz."""

import contextlib

import matplotlib
import numpy as np

from doatools.files import replacing
from doatools.spatial.geometry import azimuth_elevation
from doatools.track.identities import periods
from doatools.track.rows import by_track

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = pyplot.get_cmap("tab10").colors
# Of tracks: each as far as possible from those before it, also for colour-blind eyes; as in scene_view.js.
TRACK_COLOURS = (
    "#242bb6", "#b02d1f", "#4896b6", "#7a0969", "#b67f0c", "#6361b6", "#047465",
    "#23a372", "#70303b", "#a9558c", "#005195", "#b05e1c", "#558554", "#940590",
    "#4e7aab", "#904e4a", "#853975", "#374db8", "#8a914f", "#266006",
)
FREQUENCIES_KHZ = (0.25, 0.5, 1, 2, 4, 8, 16)  # ticks on axes of mel bands


@contextlib.contextmanager
def figure(path, *args, **kwargs):
    """Yield ``pyplot.subplots(*args, **kwargs)``, then save the figure to ``path`` and close it."""
    fig, axes = pyplot.subplots(*args, layout="constrained", **kwargs)
    try:
        yield fig, axes
        with replacing(path) as temporary:
            fig.savefig(temporary, dpi=110)
    finally:
        pyplot.close(fig)


def _set_title(fig, text):
    """A title that can be the name of a file: $ begins no formula, and what is no character is drawn as �."""
    fig.suptitle("".join(one if one.isprintable() or one == "\n" else "�" for one in text), parse_math=False)


def training_curve(history, path, title):
    """Loss, validation angles and rates over epochs; a vertical line marks the epoch that was kept."""
    epochs = [entry["epoch"] for entry in history]
    best = epochs[np.nanargmin([*_column(history, lambda entry: entry["selection"]), np.inf])]
    mark = "o" if len(epochs) < 3 else None
    with figure(path, 1, 3, figsize=(15, 4.2)) as (fig, axes):
        _set_title(fig, f"{title}: epoch {best} kept")
        for split, style in (("train", "-"), ("val", "--")):
            losses = _column(history, lambda entry, split=split: entry[split].get("loss"))
            axes[0].plot(epochs, losses, style, color="k", marker=mark, label=split)
        axes[0].set(ylabel="loss")
        axes[1].plot(epochs, _figures(history, "LE"), color=COLOURS[0], marker=mark, label="LE")
        axes[1].set(ylabel="localization error (°)", ylim=(0, None))
        for name, colour in zip(("LR", "LP", "LF", "F20", "MOTA@20"), COLOURS):
            axes[2].plot(epochs, _figures(history, name), color=colour, marker=mark, label=name)
        axes[2].set(ylabel="validation rate (%)", ylim=(None, 102))
        for ax in axes:
            ax.xaxis.set_major_locator(pyplot.MaxNLocator(integer=True))
            ax.axvline(best, color="0.7", lw=1, zorder=0)
            ax.set(xlabel="epoch")
            ax.legend()


def _figures(history, name):
    return _column(history, lambda entry: entry["scores"].get(name))


def _column(history, value):
    """A value of each epoch; null in the log becomes NaN, a gap in the curve."""
    return np.array([value(entry) for entry in history], float)


def recording(path, title, features, pictured, result, hop_len_s, hop, frequencies):
    """One recording: log-mel and spatial feature, azimuth, elevation and activity over time.

    Parameters
    ----------
    features : (C, T', F) unscaled features
    pictured : two of (feature channel, label of its vertical axis, label of its values, colour map)
    result : Result
    hop_len_s, hop : s, length of a feature frame and of a frame of the result
    frequencies : (F,) Hz, of the bands of those that have any
    """
    seconds = np.arange(len(result.doa)) * hop
    colour = _slot_colours(result)
    with figure(path, 5, 1, figsize=(13, 13), sharex=True,
                height_ratios=[1.1, 1.1, 1.5, 1.2, 0.9]) as (fig, axes):
        _set_title(fig, title)
        _draw_features(fig, axes, features, pictured, hop_len_s, frequencies)
        _draw_tracks(axes[2:4], seconds, result, colour)
        _draw_activity(axes[4], seconds, result)
        axes[4].set(xlabel="time (s)", xlim=(0, len(result.doa) * hop))


def attention(path, title, maps, result, hop):
    """Attention weights of consecutive chunks (ADRENALINE) over time, above the tracks.

    Parameters
    ----------
    maps : (chunks, T, T) attention of each decoder step (rows) to the encoder frames of its chunk (columns)
    result : Result; the last chunk may extend beyond its end
    hop : s, length of a label frame
    """
    length, chunk = len(result.doa), maps.shape[1]
    seconds = np.arange(length) * hop
    colour = _slot_colours(result)
    with figure(path, 4, 1, figsize=(13, 11), sharex=True, height_ratios=[1.3, 1.5, 1.2, 0.9]) as (fig, axes):
        _set_title(fig, title)
        columns = np.concatenate(maps)[:length].T  # (T, length): an encoder frame of the chunk, a decoder step
        extent = (0, length * hop, 0, maps.shape[2] * hop)
        image = axes[0].imshow(columns, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=0,
                               vmax=np.percentile(columns, 99.5), interpolation="nearest")
        fig.colorbar(image, ax=axes[0], label="attention weight", pad=0.01, extend="max")
        for border in np.arange(chunk, length, chunk) * hop:
            axes[0].axvline(border, color="w", lw=0.6)
        axes[0].set(ylabel="attended frame,\ntime in its chunk (s)")
        _draw_tracks(axes[1:3], seconds, result, colour)
        _draw_activity(axes[3], seconds, result)
        axes[3].set(xlabel="time (s)", xlim=(0, length * hop))


def _draw_tracks(axes, seconds, result, colour):
    """Azimuth and elevation of references and predictions."""
    for part, (ax, name, limit) in enumerate(zip(axes, ("azimuth", "elevation"), (180, 90))):
        _draw_references(ax, seconds, result, part, colour)
        _draw_predictions(ax, seconds, result, part)
        ax.set(ylim=(-limit, limit), yticks=np.arange(-limit, limit + 1, limit // 3), ylabel=f"{name} (°)")
        ax.grid(alpha=0.3)
    _legend(axes[0], result)


def _draw_features(fig, axes, features, pictured, hop_len_s, frequencies):
    seconds, bands = features.shape[1] * hop_len_s, features.shape[2]
    for ax, (channel, vertical, label, colours) in zip(axes, pictured):
        values = features[channel].T
        bottom = -bands // 2 if vertical.startswith("lag") else 0
        extent = (0, seconds, bottom, bottom + bands)
        low, high = np.percentile(values, (1, 99.5))
        if colours == "RdBu_r":  # signed values, white at zero
            low, high = -max(-low, high), max(-low, high)
        image = ax.imshow(values, origin="lower", aspect="auto", extent=extent, cmap=colours, vmin=low, vmax=high,
                          interpolation="nearest")
        fig.colorbar(image, ax=ax, label=label, pad=0.01)
        if vertical.startswith("lag"):
            ax.set(ylabel=vertical)
        else:
            _show_kilohertz(ax, frequencies)


def _slot_colours(result):
    """{event: colour} of the references: the colour of the slot that is closest to the event in most frames."""
    slots, events = result.doa.shape[1], periods(result.ref_id)
    colours = {}
    for event in range(events.max(initial=-1) + 1):
        frames, columns = np.nonzero(events == event)
        closeness = np.einsum("tnx,tx->tn", result.doa[frames], result.ref_doa[frames, columns])
        votes = np.bincount(np.argmax(np.where(result.active[frames], closeness, -2), axis=1), minlength=slots)
        colours[event] = COLOURS[int(votes.argmax()) % len(COLOURS)]
    return colours


def _draw_references(ax, seconds, result, part, colour):
    """Wide translucent bands, broken at ±180° and where an event ends."""
    events = periods(result.ref_id)
    for event, own in colour.items():
        frames, columns = np.nonzero(events == event)
        angle = azimuth_elevation(result.ref_doa[frames, columns])[part]
        cut = np.abs(np.diff(angle)) > 180
        for piece in np.split(np.arange(len(frames)), np.flatnonzero(cut) + 1):
            ax.plot(seconds[frames[piece]], angle[piece], color=own, lw=7, alpha=0.3, solid_capstyle="butt")


def _draw_predictions(ax, seconds, result, part):
    for slot in range(result.doa.shape[1]):
        shown = result.active[:, slot]
        angle = azimuth_elevation(result.doa[shown, slot])[part]
        ax.plot(seconds[shown], angle, ".", ms=3, color=COLOURS[slot % len(COLOURS)])


def _draw_activity(ax, seconds, result):
    """Number of sources, and the activity probability of each slot where the model predicts it."""
    references = (result.ref_id >= 0).sum(1)
    ax.step(seconds, references, where="post", color="0.6", lw=4, alpha=0.5, label="sources, reference")
    ax.step(seconds, result.active.sum(1), where="post", color="k", lw=0.9, label="sources, predicted")
    if result.probability is not None:
        for slot in range(result.doa.shape[1]):
            ax.plot(seconds, result.probability[:, slot], color=COLOURS[slot % len(COLOURS)], lw=1, alpha=0.8,
                    label=f"activity of slot {slot + 1}")
    ax.set(ylabel="count, probability", ylim=(-0.1, max(2, result.doa.shape[1]) + 0.2))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)


def _legend(ax, result):
    handles = [pyplot.Line2D([], [], color="0.5", lw=7, alpha=0.35, label="reference (in the colour of its slot)")]
    handles += [pyplot.Line2D([], [], ls="", marker=".", color=COLOURS[slot % len(COLOURS)], label=f"slot {slot + 1}")
                for slot in range(result.doa.shape[1])]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)


def _show_kilohertz(ax, frequencies):
    """Ticks in kHz on an axis of bands (0 to F) of ``frequencies`` (F,) Hz."""
    shown = [khz for khz in FREQUENCIES_KHZ if frequencies[0] <= 1000 * khz < frequencies[-1]]
    places = np.interp(shown, np.asarray(frequencies) / 1000, np.arange(len(frequencies)) + 0.5)
    apart = [k for k, place in enumerate(places) if k == 0 or place - places[k - 1] > len(frequencies) / 25]
    ax.set(ylabel="frequency (kHz)", yticks=places[apart], yticklabels=[f"{shown[k]:g}" for k in apart])


def tracks(path, title, rows, spectrogram, frequencies, seconds, hop_s):
    """The tracks of a recording: azimuth above and elevation below its spectrogram.

    Parameters
    ----------
    rows : TRACK_ROWS (see inference) at frames of hop_s; a radius is drawn as a band
    spectrogram : (columns, F) dB, columns over the whole recording
    frequencies : (F,) Hz
    """
    with figure(path, 3, 1, figsize=(13, 10), sharex=True, height_ratios=[1.5, 1, 1.2]) as (fig, axes):
        _set_title(fig, title)
        for ax, part, limit, step in ((axes[0], "azimuth", 180, 45), (axes[2], "elevation", 90, 30)):
            _draw_track_rows(ax, rows, part, hop_s, seconds, limit)
            ax.set(ylabel=f"{part} (°)", ylim=(-limit, limit), yticks=np.arange(-limit, limit + 1, step))
            ax.grid(alpha=0.3)
        sounding = spectrogram[spectrogram > spectrogram.min()]  # without digital silence
        low, high = np.percentile(sounding, (5, 99.8)) if sounding.size else (-100, 0)
        image = axes[1].imshow(spectrogram.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
                               extent=(0, seconds, 0, spectrogram.shape[1]), interpolation="nearest")
        fig.colorbar(image, ax=axes[1], label="level (dB)", pad=0.01)
        _show_kilohertz(axes[1], frequencies)
        axes[2].set(xlabel="time (s)", xlim=(0, seconds))


def _draw_track_rows(ax, rows, part, hop_s, seconds, limit):
    """Lines, broken at gaps and at ±180°; each track is numbered near its start, where there is room."""
    tracks = by_track(rows)
    colours = _colours_of([(own["frame"][0], own["frame"][-1]) for own in tracks])
    labels = Labels(seconds, limit)
    for own, colour in zip(tracks, colours):
        middle = (own["frame"] + 0.5) * hop_s
        labels.avoid(middle, own[part])
        cut = (np.diff(own["frame"]) > 1) | (np.abs(np.diff(own[part])) > 180)
        for piece in np.split(np.arange(len(own)), np.flatnonzero(cut) + 1):
            ax.plot(middle[piece], own[part][piece], color=colour, lw=2, marker=".", ms=3)
            if "radius" in own.dtype.names:
                _draw_band(ax, middle[piece], own[piece], part, colour)
    order = sorted(range(len(tracks)), key=lambda k: -len(tracks[k]))  # long tracks first, if there is no room for all
    for k in order[: Labels.MOST]:
        place = labels.place(str(tracks[k]["track"][0]), (tracks[k]["frame"][0] + 0.5) * hop_s, tracks[k][part][0])
        if place:
            ax.text(*place, str(tracks[k]["track"][0]), color=colours[k], ha="center", va="center", fontsize=9,
                    fontweight="bold", clip_on=True)


def _draw_band(ax, times, rows, part, colour):
    """The error radius on both sides of a line; a circle around a higher direction spans more azimuths."""
    radius = rows["radius"]
    if part == "azimuth":
        radius, height = np.deg2rad(radius), np.deg2rad(np.abs(rows["elevation"]))
        beside = np.rad2deg(np.arcsin(np.minimum(np.sin(radius) / np.maximum(np.cos(height), 1e-6), 1)))
        radius = np.where(height + radius >= np.pi / 2, 180, beside)
    ax.fill_between(times, rows[part] - radius, rows[part] + radius, color=colour, alpha=0.2, lw=0)


def _colours_of(spans):
    """A colour for each (first, last frame), in the order of their starts: the one that is out of use for the longest
    time, as on the page (scene_view.js), so that tracks near each other differ."""
    free, chosen = [-np.inf] * len(TRACK_COLOURS), [None] * len(spans)
    for k in sorted(range(len(spans)), key=lambda k: spans[k][0]):
        best = min(range(len(free)), key=free.__getitem__)
        chosen[k], free[best] = TRACK_COLOURS[best], spans[k][1]
    return chosen


class Labels:
    """Places for short texts in a panel ``seconds`` wide and from -limit to limit high: none covers another one, and as
    few as possible cover lines."""

    CELLS = 220, 60  # of the panel, each about as wide as a digit and half as high
    MOST = 150  # labels in a panel
    AROUND = tuple((dx * reach, dy * reach) for reach in (1, 1.8)
                   for dx, dy in ((0, 2), (0, -2), (-2.5, 0), (2, 2), (2, -2), (-2, 2), (-2, -2)))

    def __init__(self, seconds, limit):
        self._scale = self.CELLS[0] / max(seconds, 1e-6), self.CELLS[1] / (2 * limit)
        self._limit = limit
        self._lines, self._texts = np.zeros(self.CELLS, bool), np.zeros(self.CELLS, bool)

    def avoid(self, x, y):
        """A line passes there."""
        column, row = (np.clip(values.astype(int), 0, size - 1) for values, size in zip(self._cells(x, y), self.CELLS))
        self._lines[column, row] = True

    def _cells(self, x, y):
        return np.asarray(x) * self._scale[0], (np.asarray(y) + self._limit) * self._scale[1]

    def place(self, text, x, y):
        """Where a text that belongs to (x, y) is best, its centre, or None if there is no room; that place is taken."""
        column, row = self._cells(x, y)
        best = None
        for dx, dy in self.AROUND:
            half = 0.5 + 0.6 * len(text)
            box = [column + dx - half, column + dx + half, row + dy - 1, row + dy + 1]
            if box[0] < 0 or box[1] > self.CELLS[0] or box[2] < 0 or box[3] > self.CELLS[1]:
                continue
            cells = slice(int(box[0]), int(np.ceil(box[1]))), slice(int(box[2]), int(np.ceil(box[3])))
            crossed = self._lines[cells].sum()
            if not self._texts[cells].any() and (best is None or crossed < best[0]):
                best = crossed, cells, (column + dx, row + dy)
        if best is None:
            return None
        self._texts[best[1]] = True
        return best[2][0] / self._scale[0], best[2][1] / self._scale[1] - self._limit
