# SPDX-License-Identifier: GPL-2.0
"""`ukl top`: who uses a guest's processors and memory."""

from __future__ import annotations

import contextlib
import shutil
import sys
from typing import Annotated

import typer

from ukl.cli.arguments import Json
from ukl.cli.guests import Name, registry
from ukl.cli.state import print_json, verb


@verb
def top(
    name: Name,
    delay: Annotated[
        float,
        typer.Option("--delay", "-d", min=0.1, metavar="SECONDS", help="Between two looks."),
    ] = 2.0,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, metavar="N", help="Looks; then the end.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Show the threads of a running guest by their use of its processors.

    The application's are marked with *; kernel threads are shown when they have run. On a
    terminal until Ctrl-C, else once.
    """
    from ukl.observe import top as room  # noqa: PLC0415 - not needed for --help

    guests = registry()
    on_terminal = sys.stdout.isatty() and not as_json
    left = count or (None if on_terminal else 1)
    with contextlib.suppress(KeyboardInterrupt):  # how one ends it
        for shown in room.looks(guests, name, delay):
            if as_json:
                print_json(shown)
            else:
                lines = list(room.text(shown, guests.get(name).life.pid))
                if on_terminal and left is None:
                    lines = [
                        "\x1b[H\x1b[J" + lines[0],
                        *lines[1 : shutil.get_terminal_size().lines - 1],
                    ]
                typer.echo("\n".join(lines))
            if left is not None:
                left -= 1
                if not left:
                    return 0
    return 0
