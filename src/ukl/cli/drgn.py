# SPDX-License-Identifier: GPL-2.0
"""`ukl drgn`: the data structures of a guest's kernel."""

from __future__ import annotations

from typing import Annotated

import typer

from ukl.cli.arguments import Debuggable
from ukl.cli.guests import registry
from ukl.cli.state import STATE, verb


@verb
def drgn(
    name: Debuggable,
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- SCRIPT [ARGS]]...",
            help="A script that finds the program in `prog`, and its arguments.",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--execute", "-e", metavar="CODE", help="Execute this instead of a script."),
    ] = None,
    dump: Annotated[
        bool,
        typer.Option("--dump", help="Look at the newest dump of a guest whose kernel crashed."),
    ] = False,
) -> int:
    """Look at the kernel's data of a running guest in Python, by drgn.

    A script, -e CODE, a terminal or standard input: `prog` is the kernel, and drgn's helpers for
    Linux are there. The guest stands still until it ends. Its kernel must have its types:
    `ukl run --profile dwarf`. Exit status: 1 if an exception ended the script.
    """
    from ukl.observe import drgn  # noqa: PLC0415 - not needed for --help

    drgn.module()
    opened = drgn.crashed(STATE.store, name) if dump else drgn.running(registry(), name)
    with opened as target:
        return drgn.inspect(target, args or (), code)
