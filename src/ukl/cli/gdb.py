# SPDX-License-Identifier: GPL-2.0
"""`ukl gdb`: debugs kernel and application of a running guest together."""

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

    The symbols are relocated for KASLR, and breakpoints work in both. The guest is stopped until
    `continue`; Ctrl-C stops it again, and it resumes when gdb ends. The exit status is gdb's.

    With --dump, gdb opens the dump of the newest crash instead.
    """
    if dump:
        from ukl.observe import crashes  # noqa: PLC0415

        return crashes.debug(STATE.store, name, args or ())
    from ukl.observe import gdb as debugger  # noqa: PLC0415 - not needed for --help

    return debugger.debug(registry(), name, args or ())
