# SPDX-License-Identifier: GPL-2.0
"""A report as a page of HTML: tables, plots beside it, and the environment. Pure."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Sequence

from ukl.bench import stats, table
from ukl.bench.plots import Plot
from ukl.bench.samples import LOOP, Key, Meter, Report
from ukl.bench.variants import VARIANTS

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 }
th, td { border-bottom: 1px solid #ddd; padding: .25em .8em; text-align: right }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; margin: 1em 0 }
small { color: #555 }
"""

NOTES = {
    Meter.INSTRUCTIONS: "Counted, not timed: a count says how much work is done, not how long "
    "it takes. Caches, TLB and pipeline are no part of it, and syscall, iret or a write to CR3 "
    "is one instruction as any other. ± is how far boots are apart.",
    Meter.TIME: "± is the reach of an interval of 95 %, by bootstrap over boots. Time under TCG "
    "is the time of QEMU's translated code; it says nothing about a processor.",
}

PERCENTILES = (50, 90, 99)


def page(report: Report, plots: Sequence[Plot]) -> str:
    """Return the page; the plots' files are expected beside it."""
    sections = "".join(_section(report, suite, meter, plots) for suite, meter in report.parts())
    legend = _table(
        ("variant", ""),
        [(each.name, each.title) for each in VARIANTS if each.name in report.variants()],
    )
    environment = _table(
        ("environment", ""), [(name, str(value)) for name, value in report.environment.items()]
    )
    date = html.escape(str(report.environment.get("date", "")))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>ukl bench, {date}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>ukl bench</h1>\n{legend}{sections}{environment}</body></html>\n"
    )


def _section(report: Report, suite: str, meter: Meter, plots: Sequence[Plot]) -> str:
    found = stats.figures(report, suite, meter)
    variants = [name for name in report.variants() if any(key[1] == name for key in found)]
    rows = [
        (
            row,
            *(
                table.figure(found[row, name], meter) if (row, name) in found else ""
                for name in variants
            ),
        )
        for row in report.rows(suite, meter)
    ]
    parts = [
        f"<h2>{html.escape(table.title(suite, meter, report.environment))}</h2>\n",
        _table(("", *variants), rows),
        f"<p><small>{html.escape(NOTES[meter])}</small></p>\n",
    ]
    if meter is Meter.TIME:
        parts.append(_percentiles(report, suite, variants))
    for plot in plots:
        if plot.name.startswith(f"{suite}-{meter.value}-"):
            name = html.escape(plot.name, quote=True)
            alternative = html.escape(plot.title, quote=True)
            parts.append(
                f'<p><img src="{name}.svg" alt="{alternative}"><br>'
                f'<small><a href="{name}.svg">SVG</a> <a href="{name}.png">PNG</a></small></p>\n'
            )
    return "".join(parts)


def _percentiles(report: Report, suite: str, variants: Sequence[str]) -> str:
    """Return how the samples of all boots are distributed."""
    rows = []
    for row in report.rows(suite, Meter.TIME):
        for name in variants:
            key = Key(suite, row, name, Meter.TIME)
            if key not in report.series or row == LOOP:
                continue
            values = [sample for boot in stats.net(report, key) for sample in boot]
            if len(values) > 1:
                cuts = statistics.quantiles(values, n=100, method="inclusive")
                marks = (table.number(cuts[mark - 1], Meter.TIME) for mark in PERCENTILES)
                rows.append((row, name, str(len(values)), *marks))
    if not rows:
        return ""
    return _table(("", "variant", "samples", *(f"{mark} %" for mark in PERCENTILES)), rows)


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>\n"

    body = "".join(line(row, "td") for row in rows)
    return f"<table>\n{line(head, 'th')}{body}</table>\n"
