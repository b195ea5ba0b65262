# SPDX-License-Identifier: GPL-2.0
"""`ukl gdb`: kernel and application of a running guest in one debugger."""

from __future__ import annotations

from typing import Annotated

import typer

from ukl.cli.arguments import Debuggable
from ukl.cli.guests import registry
from ukl.cli.state import STATE, verb


@verb
def gdb(
    name: Debuggable,
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- ARGS]...",
            help="Arguments of gdb, such as -batch -ex bt.",
            show_default=False,
        ),
    ] = None,
    dump: Annotated[
        bool,
        typer.Option("--dump", help="Open the newest dump of a guest that crashed (ukl crash)."),
    ] = False,
) -> int:
    """Attach gdb to a running guest, with the symbols of kernel and application.

    They are where this boot has put them (KASLR). The guest stands still until `continue`;
    Ctrl-C stops it again, and it goes on when gdb ends. Breakpoints may be in either. Exit
    status is gdb's.

    With --dump gdb gets what is kept of the newest crash instead.
    """
    if dump:
        from ukl.observe import crashes  # noqa: PLC0415

        return crashes.debug(STATE.store, name, args or ())
    from ukl.observe import gdb as room  # noqa: PLC0415 - not needed for --help

    return room.debug(registry(), name, args or ())
