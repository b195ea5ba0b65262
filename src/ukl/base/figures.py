# SPDX-License-Identifier: GPL-2.0
"""Figures by matplotlib, which is optional. The same data gives the same file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukl.base.errors import MissingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")

SETTINGS: Any = {  # matplotlib's type lists all its settings by name
    "svg.hashsalt": "ukl",  # fixed, for identical files
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def require() -> None:
    """Raise MissingError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - an optional dependency, and slow
    except ImportError:
        raise MissingError(
            "the plots need matplotlib, which is not in this Python environment",
            remedy=f"{sys.executable} -m pip install 'matplotlib>=3.8,<4'",
        ) from None


@contextmanager
def drawing() -> Iterator[None]:
    """Apply SETTINGS to what is drawn in the block; MissingError without matplotlib."""
    require()
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context(SETTINGS):
        yield


def figure() -> Figure:
    """Return an empty figure; draw into it within `drawing()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    empty = Figure(layout="constrained")
    FigureCanvasAgg(empty)
    return empty


def save(drawn: Figure, file: Path) -> None:
    """Write a figure in the format of the file's suffix, without time or program version."""
    metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
    drawn.savefig(file, dpi=150, metadata=metadata)
