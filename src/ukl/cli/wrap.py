# SPDX-License-Identifier: GPL-2.0
"""`ukl wrap`: run a build in the environment in which it uses the compiler wrapper."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ukl.cli.state import print_json, verb


@verb
def wrap(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="What builds the program; without it, print the variables for a shell's eval.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Without COMMAND: print the variables as JSON.")
    ] = False,
) -> None:
    """Run COMMAND so that the compiler it calls is ours.

    Each program that it links is as ever, and has its unikernel form beside it:
    PROG.ukl.o, for `ukl run PROG`.
    """
    from ukl.base.errors import MissingError, UsageError  # noqa: PLC0415 - not needed for --help
    from ukl.wrap import settings  # noqa: PLC0415

    variables = settings.environment()
    if command and as_json:
        raise UsageError("--json prints the variables", remedy="leave the command out")
    if as_json:
        print_json(variables)
        return
    if not command:
        typer.echo(settings.shell_text(variables), nl=False)
        return
    environment = {**os.environ, **variables}
    try:
        # The command takes our place: its terminal, signals and status are its own.
        os.execvpe(command[0], command, environment)
    except FileNotFoundError as error:
        raise MissingError(
            "there is no such command",
            where=command[0],
            remedy="check its name, or install the package that has it",
        ) from error
