# SPDX-License-Identifier: GPL-2.0
"""Plots of a report, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ukl.base import figures
from ukl.bench import stats, table
from ukl.bench.samples import LOOP, Key, Meter, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 0.8
"""Height of a row's bars, as a share of the distance between rows."""

COLUMNS = 3
"""Number of distributions side by side."""

MIN_SAMPLES = 5
"""A distribution is drawn from this number of samples on."""

UNITS = (("seconds", 1e9), ("milliseconds", 1e6), ("microseconds", 1e3), ("nanoseconds", 1.0))


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot in a directory: the files `name` with the suffixes of figures.FORMATS."""

    name: str
    title: str


def draw(report: Report, directory: Path) -> list[Plot]:
    """Write the plots of all suites into `directory`; MissingError without matplotlib."""
    plots = []
    with figures.drawing():
        for suite, meter in report.parts():
            for kind, fill in _KINDS.items():
                figure = figures.figure()
                heading = table.title(suite, meter, report.environment)
                if not fill(figure, report, suite, meter):
                    continue
                plot = Plot(f"{suite}-{meter.value}-{kind}", f"{heading}; {kind}")
                figure.suptitle(heading, fontsize=10)
                for ending in figures.FORMATS:
                    figures.save(figure, directory / f"{plot.name}.{ending}")
                plots.append(plot)
    return plots


def relative(
    report: Report, suite: str, meter: Meter
) -> tuple[list[str], list[str], dict[tuple[str, str], stats.Estimate]]:
    """Return rows, variants, and each figure as a share of the row's first variant. Pure.

    Rows without such a share are left out: the empty loop, and those where the first variant
    has no figure, or none above 0.
    """
    found = stats.figures(report, suite, meter)
    variants = [name for name in report.variants() if any(key[1] == name for key in found)]
    rows, shares = [], {}
    for row in report.rows(suite, meter):
        base = found.get((row, variants[0]))
        if row == LOOP or base is None or base.value <= 0:
            continue
        rows.append(row)
        for name in variants:
            if (each := found.get((row, name))) is not None:
                values = (each.value, each.low, each.high)
                shares[row, name] = stats.Estimate(*(value / base.value for value in values))
    return rows, variants, shares


def _bars(figure: Figure, report: Report, suite: str, meter: Meter) -> bool:
    """Draw the variants side by side, as shares of the first."""
    rows, variants, shares = relative(report, suite, meter)
    if not rows:
        return False
    absolute = stats.figures(report, suite, meter)
    figure.set_size_inches(8, 1.4 + 0.16 * len(rows) * (len(variants) + 1))
    axes: Axes = figure.subplots()
    height = BAR / len(variants)
    for number, name in enumerate(variants):
        bars = [
            (place, shares[row, name]) for place, row in enumerate(rows) if (row, name) in shares
        ]
        values = [each.value for _, each in bars]
        axes.barh(
            [place - BAR / 2 + (number + 0.5) * height for place, _ in bars],
            values,
            height,
            xerr=[
                [each.value - each.low for _, each in bars],
                [each.high - each.value for _, each in bars],
            ],
            label=name,
            error_kw={"elinewidth": 0.8},
        )
    labels = [f"{row} ({table.number(absolute[row, variants[0]].value, meter)})" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top, nothing above it
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_xlabel(f"relative to {variants[0]}, whose figure is beside the row; less is better")
    figure.legend(loc="outside lower center", ncols=len(variants))
    return True


def _distributions(figure: Figure, report: Report, suite: str, meter: Meter) -> bool:
    """Draw the cumulative distribution of the samples of all boots; times only."""
    if meter is not Meter.TIME:
        return False
    variants = report.variants()
    samples = {
        (row, name): [sample for boot in stats.net(report, key) for sample in boot]
        for row in report.rows(suite, meter)
        for name in variants
        if (key := Key(suite, row, name, meter)) in report.series and row != LOOP
    }
    samples = {each: values for each, values in samples.items() if len(values) >= MIN_SAMPLES}
    rows = list(dict.fromkeys(row for row, _ in samples))
    if not rows:
        return False
    height = -(-len(rows) // COLUMNS)
    figure.set_size_inches(3.2 * COLUMNS, 0.8 + 2.2 * height)
    grid = figure.subplots(height, COLUMNS, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(rows):
            axes.set_axis_off()
            continue
        row = rows[place]
        largest = max(max(samples.get((row, name), [0])) for name in variants)
        unit, size = next((each for each in UNITS if largest >= each[1]), UNITS[-1])
        for number, name in enumerate(variants):
            values = [sample / size for sample in samples.get((row, name), [])]
            if values:
                axes.ecdf(values, label=name if place == 0 else None, color=f"C{number}")
        axes.set_title(row, fontsize=9)
        axes.set_xlabel(unit)
    figure.legend(loc="outside lower center", ncols=len(variants))
    return True


_KINDS: dict[str, Callable[[Figure, Report, str, Meter], bool]] = {
    "bars": _bars,
    "distributions": _distributions,
}
