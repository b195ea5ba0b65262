# SPDX-License-Identifier: GPL-2.0
"""Files shipped with the package that are not Python.

A checkout has them at its top (`kernel/`, `examples/`, `guest/`), an installed wheel in
`ukl/_data/`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ukl.base.errors import UklError

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def checkout() -> Path | None:
    """Return the top of the source tree that this package runs from; None if it is installed."""
    top = _PACKAGE.parents[1]
    if (top / "pyproject.toml").is_file() and (top / "kernel").is_dir():
        return top
    return None


@cache
def root() -> Path:
    """Return the directory that holds `kernel/`, `examples/` and `guest/`."""
    return checkout() or _PACKAGE / "_data"


def path(relative: str) -> Path:
    """Return the absolute path of a shipped file or directory, e.g. `kernel/6.12/series`.

    Raises UklError if it does not exist: the installation is incomplete.
    """
    found = root() / relative
    if not found.exists():
        raise UklError(
            f"a file of this package is missing: {relative}",
            where=root(),
            remedy="install the package again, or run `git status` in the checkout",
        )
    return found
