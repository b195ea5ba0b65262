# SPDX-License-Identifier: GPL-2.0
"""`ukl wrap`: runs a build with the compiler wrapper."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ukl.cli.state import STATE, print_json, verb


@verb
def wrap(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND...]",
            help="The build command; without it, print the variables for a shell's eval.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Without COMMAND: print the variables as JSON.")
    ] = False,
) -> None:
    """Run COMMAND with the compiler wrapper as its compiler.

    For each program PROG that it links, the wrapper also makes the unikernel's object
    PROG.ukl.o, for `ukl run PROG`.
    """
    from ukl.base.errors import MissingError, UsageError  # noqa: PLC0415 - not needed for --help
    from ukl.wrap import settings  # noqa: PLC0415

    variables = settings.environment(store=STATE.store)
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
        # The command replaces this process, with its terminal, signals and exit status.
        os.execvpe(command[0], command, environment)
    except FileNotFoundError as error:
        raise MissingError(
            "there is no such command",
            where=command[0],
            remedy="check its name, or install its package",
        ) from error
