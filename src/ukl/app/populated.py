# SPDX-License-Identifier: GPL-2.0
"""Gives an application with `populate` an entry point that locks its memory first.

It changes the finished object, so it works for what ukl compiles and for what a build
system linked. Separate from linking.py, which is part of the key of what the compiler
wrapper makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.app import link
from ukl.base.model import AppSpec
from ukl.host import exec as host_exec

ENTRY = "ukl_app_populated"
"""The entry point in populate.S."""

EMPTY = (".text", ".data", ".bss", ".note.GNU-stack")
"""Sections that the assembler and ld make even if they are empty."""


def sources(spec: AppSpec) -> list[Path]:
    """Return the sources to compile and link with `spec`: populate.S, or none."""
    return [Path(__file__).with_name("populate.S")] if spec.populate else []


def argvs(ld: str, objcopy: str, directory: Path, objects: Sequence[Path]) -> list[list[str]]:
    """Return the commands that link `objects` with app.debug.o; none without objects. Pure."""
    if not objects:
        return []
    joined, debug = str(directory / "joined.o"), str(directory / "app.debug.o")
    renamed = {link.ENTRY: "_start", ENTRY: link.ENTRY}
    return [
        [ld, "-r", "-o", joined, debug, *map(str, objects)],
        [
            objcopy,
            *(f"--redefine-sym={old}={new}" for old, new in renamed.items()),
            f"--keep-global-symbol={link.ENTRY}",
            *(f"--remove-section={name}" for name in EMPTY),
            joined,
            debug,
        ],
    ]


def join(ld: str, objcopy: str, directory: Path, objects: Sequence[Path]) -> None:
    """Link `objects` with app.debug.o, in place."""
    for argv in argvs(ld, objcopy, directory, objects):
        host_exec.run(argv, log=directory / "link.log")
    (directory / "joined.o").unlink(missing_ok=True)
