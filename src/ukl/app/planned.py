# SPDX-License-Identifier: GPL-2.0
"""The commands of the links in linking.py, for people to see (`--dry-run`). Pure.

Not there: linking.py is part of the key of what the compiler wrapper makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ukl.app import link, populated
from ukl.app.linking import Linking
from ukl.host.store import Command


def links(
    linking: Linking, directory: Path, syscall: Path, populate: Sequence[Path]
) -> list[Command]:
    """Return the commands of `run`, populated.join and `finish`.

    The parts of the linker script, and the names that become weak, are written between them,
    by what the first link has found.
    """
    first, second = directory / "first.o", directory / "second.o"
    argvs = [
        link.partial_argv(
            linking.ld,
            linking.inputs,
            script=linking.scripts / "app.lds",
            parts=directory / "parts",
            output=output,
            extra=linking.extra,
        )
        for output in (first, second)
    ]
    debug = directory / "app.debug.o"
    argvs += [
        link.weaken_argv(linking.objcopy, directory / "unique", second),
        link.localise_argv(linking.objcopy, second, debug),
    ]
    found = [Command(tuple(argv)) for argv in argvs]
    tools = linking.ld, linking.objcopy
    return found + ending(*tools, directory, syscall, linking.scripts, populate=populate)


def ending(
    ld: str,
    objcopy: str,
    directory: Path,
    syscall: Path,
    scripts: Path,
    *,
    populate: Sequence[Path],
) -> list[Command]:
    """Return the commands of populated.join and `finish`.

    Calls are rewritten between them, by ourselves.
    """
    debug, application = directory / "app.debug.o", directory / "app.o"
    argvs = (
        *populated.argvs(ld, objcopy, directory, populate),
        link.strip_argv(objcopy, debug, application),
        link.user_argv(ld, application, syscall, scripts / "user.lds", directory / "user"),
    )
    return [Command(tuple(argv)) for argv in argvs]
