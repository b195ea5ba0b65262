# SPDX-License-Identifier: GPL-2.0
"""`ukl drgn`: shows the data structures of a guest's kernel."""

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
            help="A script, which uses the kernel as `prog`, and its arguments.",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--execute", "-e", metavar="CODE", help="Execute this instead of a script."),
    ] = None,
    dump: Annotated[
        bool,
        typer.Option("--dump", help="Examine the newest dump of a guest whose kernel crashed."),
    ] = False,
) -> int:
    """Examine the kernel's data of a running guest in Python, with drgn.

    The code is a script, -e CODE, or read from a terminal or standard input. `prog` is the kernel,
    and drgn's helpers for Linux are imported. The guest is stopped until the code ends. Its kernel
    needs type information: `ukl run --profile dwarf`. The exit status is 1 if an exception ended
    the script.
    """
    from ukl.observe import drgn  # noqa: PLC0415 - not needed for --help

    drgn.module()
    opened = drgn.crashed(STATE.store, name) if dump else drgn.running(registry(), name)
    with opened as target:
        return drgn.inspect(target, args or (), code)
