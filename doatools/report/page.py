"""The HTML report of an evaluation: one self-contained page without scripts or network access.

The template is ``page.html`` beside this module. Plots are drawn by matplotlib as SVG inside the page, in the text
colour of the page. Angles are in degrees.
"""

import html
import io
import re
import string
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from doatools.files import replacing
from doatools.report.breakdowns import paired_angles
from doatools.report.tables import RECALL_MEANING, formatted, with_interval, with_values
from doatools.spatial.geometry import azimuth_elevation

TEMPLATE = Path(__file__).with_name("page.html")
CARDS = ("LE", "F20", "LF", "MOTA@20", "IDF1", "HOTA")
RECORDED = ("LE", "LR", "LP", "F20", "MOTA@20", "IDF1", "HOTA", "ID switches")
PLOTTED = (("LE", "°"), ("F20", "%"), ("recall@20", "%"))  # in breakdowns that have them
WORST = 4  # recordings drawn over time
CELLS = (18, 12)  # cells of the map in azimuth and elevation
FEW_FRAMES = 10  # cells of the map with this many frames or fewer stay empty
INK = "#010203"  # replaced by the page's text colour
GREY = "#8c959f"
STYLE = {"svg.fonttype": "path", "svg.hashsalt": "report", "font.size": 10, "axes.spines.top": False,
         "axes.spines.right": False, "axes.axisbelow": True, **dict.fromkeys(
             ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)}


def write(path, results, recordings, hop_s, groups):
    """Write the report of an evaluation; ``recordings`` are its Results, with frames of hop_s, ``groups`` those of
    cls_metric."""
    page = _Page(groups)
    with pyplot.rc_context(STYLE):
        parts = {
            "system": html.escape(results["system"]), "command": html.escape(results["command"]),
            "summary": page.summary(results), "cards": page.cards(results["figures"]),
            "comparison": page.comparison(results), "breakdowns": page.breakdowns(results["breakdowns"]),
            "sphere": page.sphere(recordings), "few_frames": str(FEW_FRAMES),
            "confusion": page.confusion(results["confusion"]),
            "worst": page.worst(results, recordings, hop_s),
            "figures": page.figures(results["figures"]), "recordings": page.recordings(results, recordings),
            "parameters": page.parameters(results["parameters"]),
        }
    text = string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


class _Page:
    """The parts of the page, as HTML."""

    def __init__(self, groups):
        self.groups = groups
        self.about = {name: figure for figures in groups.values() for name, figure in figures.items()}
        self.units = {name: figure.unit for name, figure in self.about.items()} | {"recall@20": "%"}
        self.drawn = 0

    # --- text and tables -------------------------------------------------------------------------------

    def name(self, name):
        return f'<abbr title="{html.escape(self.meaning(name))}">{html.escape(name)}</abbr>'

    def summary(self, results):
        against = f"; compared with {html.escape(results['against'])}" if "against" in results else ""
        return (f"{results['recordings']} recordings, {results['frames']:,} frames, identities "
                f"{html.escape(results['identities'])}{against}. "
                "Hover over the name of a score for its meaning, or see the table of all scores.")

    def cards(self, figures):
        cards = []
        for name in CARDS:
            value, plus_minus, reach = with_interval(figures[name], self.units[name]).partition(" ± ")
            cards.append(f'<div class="card">{self.name(name)}<b>{value}</b><span>{plus_minus}{reach}</span></div>')
        return "".join(cards)

    def comparison(self, results):
        if "comparison" not in results:
            return ""
        head = ["score", "this", html.escape(Path(results["against"]).name), "difference", "95 % interval", "verdict"]
        rows = {name: self.compared(name, c) for name, c in results["comparison"].items()}
        main = _table(head, [row for name, row in rows.items() if self.about[name].main])
        rest = _table(head, [row for name, row in rows.items() if not self.about[name].main])
        return (f"<h2>Against {html.escape(results['against'])}</h2><p class='note'>Paired jackknife over the same "
                "recordings at the 5 % level: of twenty scores that do not differ, one is expected to appear "
                "significant.</p>"
                f'<div class="wide">{main}</div><details><summary>All other scores</summary>'
                f'<div class="wide">{rest}</div></details>')

    def compared(self, name, c):
        """A row of the comparison."""
        unit, mark = self.units[name], ""
        if c.verdict == "significant":
            mark = "better" if (c.difference < 0) == self.about[name].lower else "worse"
        ends = "" if np.isnan(c.low) else f"{formatted(c.low, unit, '+')} … {formatted(c.high, unit, '+')}"
        verdict = f'<span class="{mark}">{mark}, {c.verdict}</span>' if mark else c.verdict
        return [self.name(name), formatted(c.value, unit), formatted(c.other, unit), formatted(c.difference, unit, "+"),
                ends, verdict]

    def confusion(self, frames):
        frames = np.array(frames)
        share = frames / np.maximum(frames.sum(1, keepdims=True), 1)
        rows = "".join(
            f"<tr><th>{row}</th>" + "".join(
                f'<td class="heat" style="background: rgba(var(--heat), {0.75 * share[row, column]:.2f})">'
                f"{frames[row, column]:,}<br>{100 * share[row, column]:.0f}%</td>" for column in range(len(frames)))
            + "</tr>" for row in range(len(frames)) if frames[row].any())
        head = "".join(f'<th style="text-align: center">{column}</th>' for column in range(len(frames)))
        return f"<table><tr><th>references ↓ predictions →</th>{head}</tr>{rows}</table>"

    def meaning(self, name):
        return self.about[name].meaning if name in self.about else RECALL_MEANING

    def figures(self, figures):
        rows = []
        for group, names in with_values(self.groups, figures).items():
            rows.append(f'<tr class="group"><th colspan="4">{html.escape(group)}</th></tr>')
            for name in names:
                f, unit = figures[name], self.units[name]
                ends = "" if np.isnan(f.low) else f"{formatted(f.low, unit)} … {formatted(f.high, unit)}"
                rows.append(f"<tr><td>{html.escape(name)}</td><td>{formatted(f.value, unit)}</td><td>{ends}</td>"
                            f'<td class="text">{html.escape(self.meaning(name))}</td></tr>')
        head = "<tr><th>score</th><th>value</th><th>95 % interval</th><th class='text'>meaning</th></tr>"
        return f"<table>{head}{''.join(rows)}</table>"

    def recordings(self, results, recordings):
        rows = []
        for one in recordings:
            own = results["per_recording"][one.stem]
            rows.append([html.escape(one.stem), html.escape(str(one.room or "")),
                         *(formatted(own[name], self.units[name]) for name in RECORDED)])
        return _table(["recording", "room", *map(self.name, RECORDED)], rows)

    def parameters(self, params):
        if not params:
            return ""
        text = "\n".join(f"{key} = {value!r}" for key, value in params.items())
        return f"<details><summary>Parameters</summary><pre>{html.escape(text)}</pre></details>"

    # --- plots -------------------------------------------------------------------------------------------

    def svg(self, fig, caption, kind=""):
        """A matplotlib figure → a <figure>, with ids that are unique within the page."""
        buffer = io.BytesIO()
        fig.savefig(buffer, format="svg", transparent=True,
                    metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        pyplot.close(fig)
        text = buffer.getvalue().decode()
        text = text[text.index("<svg"):].replace(INK, "currentColor")
        self.drawn += 1
        text = re.sub(r'\bid="', f'id="f{self.drawn}-', text)
        text = re.sub(r'(href="#|url\(#)', rf"\1f{self.drawn}-", text)
        text = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>',
                      rf'<svg viewBox="\1" role="img" aria-label="{html.escape(caption)}">', text)
        return f'<figure class="{kind}"><figcaption>{html.escape(caption)}</figcaption>{text}</figure>'

    def breakdowns(self, breakdowns):
        """A plot of each breakdown, all on the same axes."""
        angles = [value for groups in breakdowns.values() for part in groups.values()
                  for value in part["figures"]["LE"] if np.isfinite(value)]
        limits = {"°": (0, min(180, 1.05 * max([1, *angles]))), "%": (-3, 103)}
        return "".join(self.breakdown(name, groups, limits) for name, groups in breakdowns.items())

    def breakdown(self, name, groups, limits):
        """Scores of the parts as points with their intervals, one panel per score."""
        own = next(iter(groups.values()))["figures"]
        plotted = [(figure, unit) for figure, unit in PLOTTED if figure in own]
        fig, axes = pyplot.subplots(1, len(plotted), figsize=(4.2, 0.8 + 0.32 * len(groups)), sharey=True,
                                    layout="constrained")
        labels = [f"{group} [{part['recordings']}]" for group, part in groups.items()]
        for ax, (figure, unit) in zip(axes, plotted):
            for row, part in enumerate(groups.values()):
                value, low, high = part["figures"][figure]
                ax.plot([low, high], [row, row], color="#4c8ed9", lw=5, alpha=0.45, solid_capstyle="butt")
                ax.plot(value, row, "o", ms=5, color="#4c8ed9")
            ax.set(xlabel=f"{figure} ({unit})", xlim=limits[unit], ylim=(len(groups) - 0.4, -0.6))
            ax.set_yticks(range(len(groups)), labels)
            ax.grid(axis="x", color=GREY, alpha=0.3)
        return self.svg(fig, f"{name} [recordings]")

    def sphere(self, recordings):
        """Maps of the mean angle of pairs and of the share of references with a prediction within 20°."""
        azimuth, elevation, angle = _reference_errors(recordings)
        edges = np.linspace(-180, 180, CELLS[0] + 1), np.linspace(-90, 90, CELLS[1] + 1)
        paired = np.isfinite(angle)

        def count(chosen, weights=None):
            return np.histogram2d(-azimuth[chosen], elevation[chosen], edges, weights=weights)[0]

        pairs, references = count(paired), count(slice(None))
        mean = count(paired, angle[paired]) / np.where(pairs > FEW_FRAMES, pairs, np.nan)
        found = 100 * count(angle <= 20) / np.where(references > FEW_FRAMES, references, np.nan)
        return (self._map(edges, mean, "mean angle of paired predictions (°)", "magma_r", (0, None))
                + self._map(edges, found, "references with a prediction within 20° (%)", "viridis", (0, 100)))

    def _map(self, edges, values, label, colours, limits):
        fig, ax = pyplot.subplots(figsize=(5.6, 3.4), subplot_kw={"projection": "mollweide"}, layout="constrained")
        x, y = (np.deg2rad(edge) for edge in edges)
        shown = np.ma.masked_invalid(values.T)
        ax.pcolormesh(x, y, np.ma.masked_array(np.zeros(shown.shape), ~shown.mask), facecolor="none", edgecolors=GREY,
                      linewidth=0.3, cmap=matplotlib.colors.ListedColormap([(0, 0, 0, 0)]))
        image = ax.pcolormesh(x, y, shown, cmap=colours, vmin=limits[0], vmax=limits[1])
        ax.set_xticks([])
        for place, name in ((0.02, "back"), (0.25, "left"), (0.5, "front"), (0.75, "right"), (0.98, "back")):
            ax.text(place, 1.03, name, transform=ax.transAxes, ha="center")
        ax.set_yticks(np.deg2rad([-60, -30, 0, 30, 60]), ["-60°", "-30°", "0°", "30°", "60°"])
        ax.grid(False)
        fig.colorbar(image, ax=ax, orientation="horizontal", shrink=0.7, aspect=30, pad=0.04)
        return self.svg(fig, label)

    def worst(self, results, recordings, hop_s):
        scores = {stem: own["F20"] for stem, own in results["per_recording"].items()}
        known = [result for result in recordings if np.isfinite(scores[result.stem])]
        worst = sorted(known, key=lambda result: scores[result.stem])[:WORST]
        return "".join(self._over_time(result, results["per_recording"][result.stem], hop_s) for result in worst)

    def _over_time(self, result, figures, hop_s):
        fig, axes = pyplot.subplots(2, 1, figsize=(11, 4.4), sharex=True, height_ratios=[1.6, 1], layout="constrained")
        identity = np.arange(result.active.shape[1]) if result.pred_id is None else result.pred_id
        identity = np.where(result.active, identity, -1)
        for ax, part, limit in zip(axes, (0, 1), (180, 90)):
            for name in np.unique(result.ref_id[result.ref_id >= 0]):
                _draw_track(ax, result.ref_id == name, result.ref_doa, part, hop_s, color=GREY, lw=8, alpha=0.45,
                            solid_capstyle="butt")
            for name in np.unique(identity[identity >= 0]):
                _draw_track(ax, identity == name, result.doa, part, hop_s, color=f"C{name % 10}", lw=2,
                            solid_capstyle="round")
            ax.set(ylim=(-limit, limit), yticks=np.arange(-limit, limit + 1, limit // 2))
            ax.grid(color=GREY, alpha=0.25)
        axes[0].set(ylabel="azimuth (°)")
        axes[1].set(ylabel="elevation (°)", xlabel="time (s)", xlim=(0, len(result.ref_id) * hop_s))
        scores = ", ".join(f"{name} {formatted(figures[name], self.units[name])}"
                           for name in ("LE", "F20", "LF", "IDF1"))
        return f"<h3>{html.escape(result.stem)}: {scores}</h3>" + self.svg(
            fig, f"azimuth and elevation over time, {result.stem}", "wide long")


def _draw_track(ax, cells, doa, part, hop_s, **how):
    """The frames and slots ``cells`` (T, N) as a line, broken at gaps and at ±180°; a frame is hop_s long."""
    frames, slots = np.nonzero(cells)
    angle = azimuth_elevation(doa[frames, slots])[part]
    cut = (np.diff(frames) > 1) | (np.abs(np.diff(angle)) > 180)
    pieces = np.split(np.arange(len(frames)), np.flatnonzero(cut) + 1)
    x, y = [], []
    for piece in pieces:  # one path for all, broken by NaN
        x += [frames[piece[0]] * hop_s, *((frames[piece] + 0.5) * hop_s), (frames[piece[-1]] + 1) * hop_s, np.nan]
        y += [angle[piece[0]], *angle[piece], angle[piece[-1]], np.nan]
    ax.plot(x, y, **how)


def _reference_errors(recordings):
    """Azimuth, elevation and angle to the paired prediction (NaN for none) of all active references, each (P,)."""
    parts = []
    for result in recordings:
        there = result.ref_id >= 0
        parts.append((*azimuth_elevation(result.ref_doa[there]), paired_angles(result)[there]))
    return tuple(np.concatenate(part) for part in zip(*parts))


def _table(head, rows):
    """Rows of HTML cells → a table."""
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"
