"""Figures as text: what each means, which lead, how they are written, and the printed tables of an evaluation."""

import numpy as np

MAIN = ("LE", "LR", "LP", "LF", "F20", "MOTA@20", "MOTP@20", "mismatches", "IDF1", "HOTA", "DetA", "AssA",
        "frame recall", "count accuracy", "F20 2020", "F20 2022")  # of a comparison
BROKEN_DOWN = ("LE", "LF", "F20", "recall@20", "MOTA@20", "IDF1", "HOTA")  # of breakdowns
MEANINGS = {
    "LE": "mean angle between paired predictions and references",
    "LR": "recall of the number of sources", "LP": "precision of the number of sources",
    "LF": "F-score of the number of sources, whatever their directions",
    "MOTA'": "tracking accuracy as published with DOAnet: counts sources and onsets, not directions",
    "F20": "F-score of predictions within 20° of their reference",
    "MOTA@20": "1 - (misses + false positives + mismatches) / references, gate 20°; may be negative",
    "MOTP@20": "mean angle of the matches behind MOTA@20", "mismatches": "changes of identity along a reference",
    "misses": "references without a prediction within 20°",
    "false positives": "predictions without a reference within 20°",
    "fragmentations": "references lost and found again",
    "MT": "mostly tracked: references matched in more than 80 % of their frames",
    "ML": "mostly lost: references matched in less than 20 % of their frames",
    "IDF1": "F-score of frames whose prediction has the identity that fits the reference best over the recording",
    "IDP": "precision of the same", "IDR": "recall of the same",
    "HOTA": "tracking: geometric mean of detection and association, averaged over localization thresholds",
    "DetA": "detection accuracy of HOTA", "AssA": "association (identity) accuracy of HOTA",
    "frame recall": "frames with the right number of sources",
    "count accuracy": "frames with the right number of sources, each number weighted alike",
    "DOA error 2019": "DCASE 2019: sum of paired angles over the number of predictions",
    "DOA error": "mean over frames of the mean paired angle",
    "LE 2020": "mean angle of one-second segments with references and predictions",
    "LR 2020": "segments with references that have predictions",
    "F20 2020": "F-score of segments localized within 20°",
    "ER20 2020": "error rate of segments at 20°; lower is better",
    "LE 2022": "mean angle of sources paired in one-second segments",
    "LR 2022": "sources of one-second segments that are paired",
    "F20 2022": "F-score of sources of one-second segments within 20°",
    "ER20 2022": "error rate of sources of one-second segments at 20°; lower is better",
    "recall@20": "references with a prediction within 20°",
}
LOWER_IS_BETTER = {"LE", "MOTP@20", "mismatches", "misses", "false positives", "fragmentations", "ML", "DOA error 2019",
                   "DOA error", "LE 2020", "ER20 2020", "LE 2022", "ER20 2022"}


def told(value, unit, sign=""):
    """'12.3°', '85.0%', '41' (a number of events, which has no unit) or 'n/a'; sign '+' for differences."""
    return "n/a" if np.isnan(value) else f"{value:{sign}.{1 if unit else 0}f}{unit}"


def told_interval(interval, unit):
    """'12.3° ± 0.4'; without '±' where there is no interval."""
    if np.isnan(interval.low):
        return told(interval.value, unit)
    return f"{told(interval.value, unit)} ± {interval.high - interval.value:.{1 if unit else 0}f}"


def print_scores(results, groups, units):
    """The results of an evaluation as text; ``groups`` and ``units`` are cls_metric's."""
    print(f"\n{results['system']}: {results['recordings']} recordings, {results['frames']} label frames; identities "
          f"{results['identities']}; ± reaches over the 95 % interval (jackknife over recordings)")
    for group, names in groups.items():
        line = "   ".join(f"{name} {told_interval(results['figures'][name], units[name])}" for name in names)
        print(f"\n{group}\n  {line}")
    for breakdown, parts in results["breakdowns"].items():
        _print_breakdown(breakdown, parts, units)
    if "comparison" in results:
        _print_comparison(results["against"], results["comparison"], units)


def _print_breakdown(breakdown, parts, units):
    names = [name for name in BROKEN_DOWN if name in next(iter(parts.values()))["figures"]]
    print(f"\n{breakdown:<16} {'recordings':>10} {'references':>10} {''.join(f'{name:>16}' for name in names)}")
    for group, part in parts.items():
        figures = (told_interval(part["figures"][name], units.get(name, "%")) for name in names)
        cells = "".join(f"{figure:>16}" for figure in figures)
        print(f"{group:<16} {part['recordings']:>10} {part['references']:>10} {cells}")


def _print_comparison(other, comparison, units):
    print(f"\n{'against ' + other:<28} {'this':>9} {'other':>9}   difference [95 %]")
    for name in MAIN:
        c, unit = comparison[name], units[name]
        print(f"{name:<28} {told(c.value, unit):>9} {told(c.other, unit):>9}   {told(c.difference, unit, '+')} "
              f"[{told(c.low, unit, '+')}, {told(c.high, unit, '+')}]: {c.verdict}")
