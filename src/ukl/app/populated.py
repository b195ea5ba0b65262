# SPDX-License-Identifier: GPL-2.0
"""Gives an application with `populate` an entry point that locks its memory first.

It changes the finished object, so it works for what ukl compiles and for what a build
system linked. Separate from linking.py, which is part of the key of what the compiler
wrapper makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.app import link, sections
from ukl.base.model import AppSpec
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec

ENTRY = "ukl_app_populated"
"""The entry point in populate.S."""

EMPTY = (".text", ".data", ".bss")
"""Sections that the assembler and ld make even if they are empty."""


def sources(spec: AppSpec) -> list[Path]:
    """Return the sources to compile and link with `spec`: populate.S, or none."""
    return [Path(__file__).with_name("populate.S")] if spec.populate else []


def argvs(
    ld: str,
    objcopy: str,
    directory: Path,
    objects: Sequence[Path],
    *,
    executable_stack: bool = False,
) -> list[list[str]]:
    """Return the commands that link `objects` with app.debug.o; none without objects. Pure.

    ld makes a note that asks for an `executable_stack` where app.debug.o has none.
    """
    if not objects:
        return []
    joined, debug = str(directory / "joined.o"), str(directory / "app.debug.o")
    dropped = EMPTY if executable_stack else (*EMPTY, sections.STACK)
    renamed = {link.ENTRY: "_start", ENTRY: link.ENTRY}
    return [
        [ld, "-r", "-o", joined, debug, *map(str, objects)],
        [
            objcopy,
            *(f"--redefine-sym={old}={new}" for old, new in renamed.items()),
            f"--keep-global-symbol={link.ENTRY}",
            *(f"--remove-section={name}" for name in dropped),
            joined,
            debug,
        ],
    ]


def join(ld: str, objcopy: str, directory: Path, objects: Sequence[Path]) -> None:
    """Link `objects` with app.debug.o, in place."""
    if not objects:
        return
    needed = sections.needs_executable_stack(Elf.open(directory / "app.debug.o"))
    for argv in argvs(ld, objcopy, directory, objects, executable_stack=needed):
        host_exec.run(argv, log=directory / "link.log")
    (directory / "joined.o").unlink(missing_ok=True)
