# SPDX-License-Identifier: GPL-2.0
"""A boot chart as a picture: a row for each span of time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ukl.base import figures
from ukl.base.errors import UsageError
from ukl.debug.bootchart import BACKBONE, Chart, Lane, Span
from ukl.host.store import jsonable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATA = ".json"
ENDINGS = (*(f".{each}" for each in figures.FORMATS), DATA)
DEFAULT = ".svg"

COLOURS = {
    Lane.MACHINE: "#7f7f7f",
    Lane.KERNEL: "#1f77b4",
    Lane.INIT: "#2ca02c",
    Lane.APPLICATION: "#d62728",
    Lane.INITCALL: "#9ecae1",
    Lane.PROBE: "#c7b3e5",
    Lane.MESSAGE: "#fdd0a2",
}

SHOWN = 40
"""The most spans within the phases that have a row, the longest; the data has all."""

WIDTH, ROW = 10.0, 0.22
"""Width of the picture and height of a row, in inches."""


def check(file: Path) -> Path:
    """Return the file to write, with its suffix; raises UsageError for an unknown suffix.

    Raises MissingError if matplotlib is needed and not installed.
    """
    if not file.suffix:
        file = file.with_name(file.name + DEFAULT)
    if file.suffix not in ENDINGS:
        raise UsageError(
            f"a boot chart cannot be written as {file.suffix}: {file}",
            remedy=f"use one of {', '.join(ENDINGS)}",
        )
    if not file.parent.is_dir():
        raise UsageError(
            f"no such directory: {file.parent}", remedy="make it, or name another file"
        )
    if file.suffix != DATA:
        figures.require()
    return file


def write(chart: Chart, file: Path) -> None:
    """Write a chart as a picture or as data, depending on the file's suffix."""
    if file.suffix == DATA:
        file.write_text(json.dumps(jsonable(chart), indent=1) + "\n")
        return
    with figures.drawing():
        figure = figures.figure()
        rows = chosen(chart)
        figure.set_size_inches(WIDTH, 1.5 + ROW * len(rows) + 0.17 * len(chart.notes))
        figure.suptitle(f"{chart.title}: {1000 * chart.seconds:.0f} ms", fontsize=11)
        axes: Axes = figure.subplots()
        _bars(axes, rows, chart)
        axes.set_xlabel("\n".join(("ms from the start of QEMU", *chart.notes)))
        figures.save(figure, file)


def chosen(chart: Chart) -> list[Span]:
    """Return the spans with a row: the backbone, then the longest others by time. Pure."""
    inner = sorted(
        chart.of(Lane.INITCALL, Lane.PROBE, Lane.MESSAGE), key=lambda each: -each.seconds
    )[:SHOWN]
    return [*chart.of(*BACKBONE), *sorted(inner, key=lambda each: each.begin)]


def _bars(axes: Axes, rows: list[Span], chart: Chart) -> None:
    labelled: set[Lane] = set()
    for place, span in enumerate(rows):
        label = None if span.lane in labelled else span.lane.value
        labelled.add(span.lane)
        begin, length = 1000 * span.begin, 1000 * span.seconds
        axes.barh(place, length, left=begin, height=0.8, color=COLOURS[span.lane], label=label)
        late = span.begin > chart.seconds / 2  # the text is on the side with more space
        axes.text(
            begin if late else begin + length,
            place,
            f" {length:.1f} ",
            va="center",
            ha="right" if late else "left",
            fontsize=7,
        )
    axes.set_yticks(range(len(rows)), [each.name for each in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1000 * chart.seconds * 1.03)
    if chart.clock is not None:
        axes.axvline(1000 * chart.clock, color="black", linewidth=0.5, linestyle=":")
    axes.grid(axis="x", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", fontsize=7)
