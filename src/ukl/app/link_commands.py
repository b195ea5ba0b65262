# SPDX-License-Identifier: GPL-2.0
"""Lists the commands of the links in linking.py, for `--dry-run`. Pure.

Separate from linking.py, which is part of the key of what the compiler wrapper makes.
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
    """Return the commands of Linking.run(), populated.join() and Linking.finish().

    Between them, ukl writes the parts of the linker script and the list of names to weaken,
    from the result of the first link.
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
    partial = [Command(tuple(argv)) for argv in argvs]
    tools = linking.ld, linking.objcopy
    return partial + finish(*tools, directory, syscall, linking.scripts, populate=populate)


def finish(
    ld: str,
    objcopy: str,
    directory: Path,
    syscall: Path,
    scripts: Path,
    *,
    populate: Sequence[Path],
) -> list[Command]:
    """Return the commands of populated.join() and linking.finish().

    Between them, ukl itself rewrites the system calls.
    """
    debug, application = directory / "app.debug.o", directory / "app.o"
    argvs = (
        *populated.argvs(ld, objcopy, directory, populate),
        link.user_argv(ld, debug, syscall, scripts / "user.lds", directory / "user"),
        link.strip_argv(objcopy, debug, application),
    )
    return [Command(tuple(argv)) for argv in argvs]
