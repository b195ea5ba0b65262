# SPDX-License-Identifier: GPL-2.0
"""`ukl man`: manual pages, generated from the command-line parser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukl.cli.arguments import filled
from ukl.cli.state import verb


@verb
def man(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VERB]...", help="The verb, as in `kernel build`.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            parser=filled,
            help="Write all pages into DIR/man1; DIR is, for example, ~/.local/share/man.",
        ),
    ] = None,
) -> int:
    """Show a manual page, or write all pages into a directory.

    If standard output is not a terminal, or man(1) is not installed, print the page's source.
    """
    from ukl.base.errors import InputError, UsageError  # noqa: PLC0415
    from ukl.cli import manual  # noqa: PLC0415 - not needed for --help

    root = ctx.find_root().command
    if output is not None:
        if words:
            raise UsageError("--output writes all pages", remedy="leave the verb out")
        for file in manual.write(root, output):
            typer.echo(str(file))
        return 0
    name = "-".join(["ukl", *(words or [])])
    pages = manual.pages(root)
    if name not in pages:
        raise InputError(
            f"there is no verb `{' '.join(words or [])}`", remedy="ukl --help lists the verbs"
        )
    return manual.show(pages[name])
