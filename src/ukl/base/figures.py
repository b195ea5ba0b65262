# SPDX-License-Identifier: GPL-2.0
"""The door to matplotlib, which is optional: figures, and the same file for the same data."""

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

SETTINGS: Any = {  # whose type has a name for each of matplotlib's settings
    "svg.hashsalt": "ukl",  # the same samples give the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def require() -> None:
    """Raise MissingError without matplotlib."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - an optional dependency, and slow
    except ImportError:
        raise MissingError(
            "the plots need matplotlib, which is not in this Python environment",
            remedy=f"{sys.executable} -m pip install 'matplotlib>=3.8,<4'",
        ) from None


@contextmanager
def drawing() -> Iterator[None]:
    """Have what is drawn in the block look as ours does; MissingError without matplotlib."""
    require()
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context(SETTINGS):
        yield


def figure() -> Figure:
    """Return an empty figure, to be filled within `drawing()`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    made = Figure(layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(made: Figure, file: Path) -> None:
    """Write a figure as its file's ending says, without the time or the program's version."""
    metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
    made.savefig(file, dpi=150, metadata=metadata)
