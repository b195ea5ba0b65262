# SPDX-License-Identifier: GPL-2.0
"""`ukl trace`: traces system calls of a guest's application or of its other processes."""

from __future__ import annotations

from typing import Annotated

import typer

from ukl.cli.guests import Name, registry
from ukl.cli.state import verb


@verb
def trace(
    name: Name,
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- ARGS]...", help="Further arguments of strace.", show_default=False
        ),
    ] = None,
    summary: Annotated[
        bool,
        typer.Option("--summary", "-c", help="Only count calls, errors and time."),
    ] = False,
    expression: Annotated[
        str | None,
        typer.Option(
            "--expression", "-e", metavar="EXPR", help="Calls to trace: openat,read or %network, …"
        ),
    ] = None,
    pids: Annotated[
        list[int] | None,
        typer.Option(
            "--pid",
            "-p",
            metavar="PID",
            help="A process of the guest (repeatable; default: the application).",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--time", "-t", min=0, metavar="SECONDS", help="Stop after this time."),
    ] = None,
) -> int:
    """Trace system calls of a running guest's application, with all its threads and children.

    The host's strace is copied into the guest. It shows system calls that are function calls like
    those that trap. Ctrl-C ends tracing; the application goes on. Tracing is slow, and makes
    applications of --level fast use the kernel's full entry code.
    """
    from ukl.observe import trace  # noqa: PLC0415 - not needed for --help

    options = trace.Options(
        pids=tuple(pids or ()),
        summary=summary,
        expression=expression,
        seconds=seconds,
        more=tuple(args or ()),
    )
    return trace.trace(registry(), name, options)
