"""Scores as text, and the printed tables of an evaluation."""

import numpy as np

BROKEN_DOWN = ("LE", "LF", "F20", "recall@20", "MOTA@20", "IDF1", "HOTA")  # columns of breakdowns
RECALL_MEANING = "references with a prediction within 20°"  # recall@20, a column of breakdowns by source


def formatted(value, unit, sign=""):
    """'12.3°', '85.0%', '0.25/s', '41' (a number of events has no unit) or 'n/a'; sign '+' for differences."""
    return "n/a" if np.isnan(value) else f"{value:{sign}.{decimals(unit)}f}{unit}"


def decimals(unit):
    """Digits after the point of a score."""
    return {"": 0, "/s": 2, " s": 2}.get(unit, 1)


def with_values(groups, figures):
    """The groups of scores that have a value at all: a system that does not classify has no scores by class."""
    return {group: names for group, names in groups.items() if any(np.isfinite(figures[name].value) for name in names)}


def with_interval(interval, unit):
    """'12.3° ± 0.4', or '12.3°' where there is no interval."""
    if np.isnan(interval.low):
        return formatted(interval.value, unit)
    return f"{formatted(interval.value, unit)} ± {interval.high - interval.value:.{decimals(unit)}f}"


def print_scores(results, groups):
    """Print the results of an evaluation; ``groups`` are those of cls_metric."""
    about = {name: figure for figures in groups.values() for name, figure in figures.items()}
    units = {name: figure.unit for name, figure in about.items()}
    print(f"\n{results['system']}: {results['recordings']} recordings, {results['frames']} frames; identities "
          f"{results['identities']}; ± is the 95 % interval (jackknife over recordings)")
    for group, names in with_values(groups, results["figures"]).items():
        line = "   ".join(f"{name} {with_interval(results['figures'][name], units[name])}" for name in names)
        print(f"\n{group}\n  {line}")
    for breakdown, parts in results["breakdowns"].items():
        _print_breakdown(breakdown, parts, units)
    if "comparison" in results:
        _print_comparison(results["against"], results["comparison"], about)


def _print_breakdown(breakdown, parts, units):
    names = [name for name in BROKEN_DOWN if name in next(iter(parts.values()))["figures"]]
    print(f"\n{breakdown:<16} {'recordings':>10} {'references':>10} {''.join(f'{name:>16}' for name in names)}")
    for group, part in parts.items():
        figures = (with_interval(part["figures"][name], units.get(name, "%")) for name in names)
        cells = "".join(f"{figure:>16}" for figure in figures)
        print(f"{group:<16} {part['recordings']:>10} {part['references']:>10} {cells}")


def _print_comparison(other, comparison, about):
    print(f"\n{'against ' + other:<28} {'this':>9} {'other':>9}   difference [95 %]")
    for name, figure in about.items():
        if not figure.main:
            continue
        c, unit = comparison[name], figure.unit
        print(f"{name:<28} {formatted(c.value, unit):>9} {formatted(c.other, unit):>9}   "
              f"{formatted(c.difference, unit, '+')} "
              f"[{formatted(c.low, unit, '+')}, {formatted(c.high, unit, '+')}]: {c.verdict}")
