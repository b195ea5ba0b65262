# SPDX-License-Identifier: GPL-2.0
"""`ukl exec`, `shell`, `cp`: programs and files in a running guest's normal userspace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ukl.cli import complete
from ukl.cli.arguments import parsed
from ukl.cli.guests import Name, registry
from ukl.cli.state import verb

if TYPE_CHECKING:
    from collections.abc import Mapping


@verb
def execute(
    name: Name,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND...",
            help="The program, by path or by name (PATH of the guest), and its arguments.",
            show_default=False,
        ),
    ],
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="Give it a terminal: ours. Ctrl-] leaves it.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="KEY=VALUE", help="Set a variable (repeatable)."),
    ] = None,
    workdir: Annotated[
        str, typer.Option("--workdir", "-w", metavar="DIR", help="Directory it starts in.")
    ] = "/",
) -> int:
    """Execute COMMAND in a running guest, beside its application, as a normal process of root.

    Standard input, output and error are ours, and so is the exit status: the command's own,
    128 + N when signal N killed it, 127 if it is not there, 126 if it cannot be executed,
    125 if the guest was lost. Ctrl-C goes to the command; a second one leaves it.
    """
    from ukl.settings.values import parse_env  # noqa: PLC0415 - not needed for --help

    variables = dict(parsed(parse_env, text, "--env") for text in env or [])
    return _run(name, tuple(command), variables, tty=tty, directory=workdir)


@verb
def shell(name: Name) -> int:
    """Give a shell in a running guest; its end leaves the guest running. Ctrl-] leaves it."""
    from ukl.vm.launch import SHELL  # noqa: PLC0415

    return _run(name, SHELL, {}, tty=os.isatty(0), directory="/root")


@verb
def top(name: Name) -> int:
    """Show the threads of a running guest by their use of its processors: busybox' top.

    On a terminal until q or Ctrl-C, else once. The kernel's threads have names in brackets.
    """
    tty = os.isatty(0) and os.isatty(1)
    command = ("top", "-H") if tty else ("top", "-H", "-b", "-n", "1")
    return _run(name, command, {}, tty=tty, directory="/")


def _run(
    name: str, command: tuple[str, ...], env: Mapping[str, str], *, tty: bool, directory: str
) -> int:
    from ukl.base.errors import UsageError  # noqa: PLC0415
    from ukl.cli import failures  # noqa: PLC0415
    from ukl.vm import execute as room  # noqa: PLC0415

    if tty and not os.isatty(0):
        raise UsageError(
            "a terminal was asked for, and standard input is none", remedy="leave --tty out"
        )
    try:
        return room.in_guest(
            registry(),
            name,
            command,
            streams=room.Streams(room.standard_input()),
            env=env,
            tty=tty,
            directory=directory,
        )
    except room.NotStarted as error:
        failures.report(error, None)
        return error.exit_code


@verb
def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="NAME:/PATH or PATH.",
            show_default=False,
            autocompletion=complete.guest_paths,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="PATH or NAME:/PATH.",
            show_default=False,
            autocompletion=complete.guest_paths,
        ),
    ],
) -> int:
    """Copy a file or directory into a running guest, or out of it.

    Onto a directory means into it. Files in the guest become root's, here they become
    yours. A path of this machine with a colon in it is written with ./ before it.
    """
    from ukl.vm import copy as room  # noqa: PLC0415 - not needed for --help

    room.copy(registry(), room.parse(source), room.parse(target))
    return 0
