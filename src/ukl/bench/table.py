# SPDX-License-Identifier: GPL-2.0
"""Formats figures as tables for a terminal. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ukl.bench import functions, stats
from ukl.bench.samples import LOOP, Key, Meter, Report
from ukl.bench.stats import Change, Estimate
from ukl.bench.variants import NAMES as VARIANT_NAMES
from ukl.bench.variants import VARIANTS

PERCENTILES = (50, 90, 99, 99.9)

_TITLES = {variant.name: variant.title for variant in VARIANTS}


def title(suite: str, meter: Meter, environment: Mapping[str, object]) -> str:
    """Return a table's title: what is measured, and how the guest ran."""
    if meter is Meter.INSTRUCTIONS:
        return f"{suite}: guest instructions (QEMU TCG, -icount shift=0)"
    if meter is Meter.EXITS:
        network = environment.get("clients' network", "")
        return f"{suite}: per request from outside (QEMU TCG, {network} network), intervals of 95 %"
    if suite == "build":
        return f"{suite}: time on this machine"
    accelerator = str(environment.get("accelerator", "")).upper()
    emulated = ", which is emulation" if accelerator == "TCG" else ""
    return f"{suite}: time (QEMU {accelerator}{emulated}), intervals of 95 %"


def number(value: float, meter: Meter) -> str:
    """Return a figure with its unit, if it has one."""
    if meter is Meter.EXITS:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
    if meter is Meter.INSTRUCTIONS:
        return f"{value:,.1f}" if value < 1e5 else f"{value:,.0f}"
    units = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0))
    unit, size = next((each for each in units if abs(value) >= each[1]), units[-1])
    scaled = value / size
    # .3g would write 1e+03.
    return f"{scaled:.3g} {unit}" if abs(scaled) < 999 else f"{scaled:.0f} {unit}"


def figure(estimate: Estimate, meter: Meter) -> str:
    """Return a figure with the half-width of its interval, unless that rounds to 0."""
    text = number(estimate.value, meter)
    width = max(estimate.high - estimate.value, estimate.value - estimate.low)
    share = width / abs(estimate.value) if estimate.value else 0.0
    if meter is Meter.EXITS:
        return text if share < 0.01 else f"{text} ±{number(width, meter)}"
    if meter is Meter.TIME:
        return f"{text} ±{share:.0%}"
    return f"{text} ±{width:,.1f}" if width >= 0.05 else text


def tables(report: Report) -> list[str]:
    """Return the lines of all tables, one for each suite and meter."""
    lines: list[str] = []
    for suite, meter in report.parts():
        found = stats.figures(report, suite, meter)
        variants = [name for name in report.variants() if any(name == key[1] for key in found)]
        rows = [("", *variants)]
        for row in report.rows(suite, meter):
            cells = [found.get((row, name)) for name in variants]
            if meter is Meter.EXITS and not any(cell and cell.value for cell in cells):
                continue  # an event that does not happen
            rows.append((row, *(figure(cell, meter) if cell else "" for cell in cells)))
        lines += [*([""] if lines else []), title(suite, meter, report.environment)]
        lines += aligned(rows)
    legend = [f"  {name}: {_TITLES[name]}" for name in report.variants() if name in _TITLES]
    return [*lines, "", *legend]


def profiles(report: Report) -> list[str]:
    """Return the lines of the tables of functions, one for each kind of request."""
    lines: list[str] = []
    for suite, row in dict.fromkeys((key.suite, key.row) for key in report.functions):
        found = {
            key.variant: profile
            for key, profile in report.functions.items()
            if (key.suite, key.row) == (suite, row)
        }
        ordered = {name: found[name] for name in VARIANT_NAMES if name in found}
        lines += ["", f"{suite}: {row}, by layer and function", *aligned(functions.rows(ordered))]
    return lines


def percentiles(report: Report) -> list[str]:
    """Return the lines of how times are distributed, the samples of all boots together."""
    lines: list[str] = []
    for suite, meter in report.parts():
        rows: list[tuple[str, ...]] = []
        for row in report.rows(suite, meter):
            for name in report.variants():
                key = Key(suite, row, name, meter)
                if meter is not Meter.TIME or row == LOOP or key not in report.series:
                    continue
                values = [sample for boot in stats.net(report, key) for sample in boot]
                if len(values) > 1:
                    cuts = statistics.quantiles(values, n=1000, method="inclusive")
                    marks = (number(cuts[round(10 * mark) - 1], meter) for mark in PERCENTILES)
                    rows.append((row, name, str(len(values)), *marks))
        if rows:
            head = ("", "variant", "samples", *(f"{mark} %" for mark in PERCENTILES))
            lines += ["", f"{suite}: distribution of the times", *aligned([head, *rows])]
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def changes(found: Sequence[Change], differing: Sequence[str]) -> list[str]:
    """Return the lines of a comparison: each figure with its verdict, and their counts."""
    lines = []
    for suite, meter in dict.fromkeys((each.key.suite, each.key.meter) for each in found):
        rows: list[tuple[str, ...]] = [("", "variant", "before", "after", "difference", "")]
        rows += [
            _change(each) for each in found if (each.key.suite, each.key.meter) == (suite, meter)
        ]
        lines += [f"{suite}: {meter.value}", *aligned(rows), ""]
    lines += [f"the environment differs: {name}" for name in differing]
    counts = [
        f"{sum(each.verdict is verdict for each in found)} {verdict.value}"
        for verdict in stats.Verdict
    ]
    return [*lines, ", ".join(counts)]


def _change(each: Change) -> tuple[str, ...]:
    key: Key = each.key
    return (
        key.row,
        key.variant,
        number(each.before.value, key.meter),
        number(each.after.value, key.meter),
        f"{each.change:+.1%} ({each.low:+.1%} to {each.high:+.1%})",
        each.verdict.value,
    )
