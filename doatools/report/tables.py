"""Figures as text: what each means, which lead, how they are written, and the printed tables of an evaluation."""

import numpy as np

BROKEN_DOWN = ("LE", "LF", "F20", "recall@20", "MOTA@20", "IDF1", "HOTA")  # of breakdowns
RECALL_MEANING = "references with a prediction within 20°"  # of recall@20, which breakdowns by source have


def told(value, unit, sign=""):
    """'12.3°', '85.0%', '41' (a number of events, which has no unit) or 'n/a'; sign '+' for differences."""
    return "n/a" if np.isnan(value) else f"{value:{sign}.{1 if unit else 0}f}{unit}"


def told_interval(interval, unit):
    """'12.3° ± 0.4'; without '±' where there is no interval."""
    if np.isnan(interval.low):
        return told(interval.value, unit)
    return f"{told(interval.value, unit)} ± {interval.high - interval.value:.{1 if unit else 0}f}"


def print_scores(results, groups):
    """The results of an evaluation as text; ``groups`` are those of cls_metric."""
    about = {name: figure for figures in groups.values() for name, figure in figures.items()}
    units = {name: figure.unit for name, figure in about.items()}
    print(f"\n{results['system']}: {results['recordings']} recordings, {results['frames']} label frames; identities "
          f"{results['identities']}; ± reaches over the 95 % interval (jackknife over recordings)")
    for group, names in groups.items():
        line = "   ".join(f"{name} {told_interval(results['figures'][name], units[name])}" for name in names)
        print(f"\n{group}\n  {line}")
    for breakdown, parts in results["breakdowns"].items():
        _print_breakdown(breakdown, parts, units)
    if "comparison" in results:
        _print_comparison(results["against"], results["comparison"], about)


def _print_breakdown(breakdown, parts, units):
    names = [name for name in BROKEN_DOWN if name in next(iter(parts.values()))["figures"]]
    print(f"\n{breakdown:<16} {'recordings':>10} {'references':>10} {''.join(f'{name:>16}' for name in names)}")
    for group, part in parts.items():
        figures = (told_interval(part["figures"][name], units.get(name, "%")) for name in names)
        cells = "".join(f"{figure:>16}" for figure in figures)
        print(f"{group:<16} {part['recordings']:>10} {part['references']:>10} {cells}")


def _print_comparison(other, comparison, about):
    print(f"\n{'against ' + other:<28} {'this':>9} {'other':>9}   difference [95 %]")
    for name, figure in about.items():
        if not figure.main:
            continue
        c, unit = comparison[name], figure.unit
        print(f"{name:<28} {told(c.value, unit):>9} {told(c.other, unit):>9}   {told(c.difference, unit, '+')} "
              f"[{told(c.low, unit, '+')}, {told(c.high, unit, '+')}]: {c.verdict}")
