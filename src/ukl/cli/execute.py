# SPDX-License-Identifier: GPL-2.0
"""`ukl exec`, `shell`, `top`, `cp`: programs and files in a running guest's normal userspace."""

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
            help="The program, by path or by name (found in the guest's PATH), and its arguments.",
            show_default=False,
        ),
    ],
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="Connect this terminal to it. Ctrl-] disconnects.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="KEY=VALUE", help="Set a variable (repeatable)."),
    ] = None,
    workdir: Annotated[
        str, typer.Option("--workdir", "-w", metavar="DIR", help="Its working directory.")
    ] = "/",
) -> int:
    """Execute COMMAND in a running guest, as a normal process of root.

    It uses the standard input, output and error of `ukl`. The exit status is the command's own,
    128 + N if signal N killed it, 127 if it was not found, 126 if it cannot be executed, 125 if
    the guest was lost. Ctrl-C goes to the command; a second Ctrl-C ends `ukl exec`.
    """
    from ukl.settings.values import parse_env  # noqa: PLC0415 - not needed for --help

    variables = dict(parsed(parse_env, text, "--env") for text in env or [])
    return _run(name, tuple(command), variables, tty=tty, directory=workdir)


@verb
def shell(name: Name) -> int:
    """Start a shell in a running guest. Ctrl-] disconnects from it; the guest goes on running."""
    from ukl.vm.launch import SHELL  # noqa: PLC0415

    return _run(name, SHELL, {}, tty=os.isatty(0), directory="/root")


@verb
def top(name: Name) -> int:
    """Run busybox' top in a guest: show its threads, sorted by processor use.

    On a terminal, the view is updated until q or Ctrl-C; otherwise it is printed once. Kernel
    threads have names in brackets.
    """
    tty = os.isatty(0) and os.isatty(1)
    command = ("top", "-H") if tty else ("top", "-H", "-b", "-n", "1")
    return _run(name, command, {}, tty=tty, directory="/")


def _run(
    name: str, command: tuple[str, ...], env: Mapping[str, str], *, tty: bool, directory: str
) -> int:
    from ukl.base.errors import UsageError  # noqa: PLC0415
    from ukl.cli import failures  # noqa: PLC0415
    from ukl.vm import execute as guest_exec  # noqa: PLC0415

    if tty and not os.isatty(0):
        raise UsageError(
            "--tty needs a terminal, and standard input is not one", remedy="leave --tty out"
        )
    try:
        return guest_exec.in_guest(
            registry(),
            name,
            command,
            streams=guest_exec.Streams(guest_exec.standard_input()),
            env=env,
            tty=tty,
            directory=directory,
        )
    except guest_exec.NotStarted as error:
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

    If the target is a directory, the source is copied into it. Files in the guest belong to root,
    files on the host to you. Write a host path that contains a colon with a leading ./
    """
    from ukl.vm import copy as guest_copy  # noqa: PLC0415 - not needed for --help

    guest_copy.copy(registry(), guest_copy.parse(source), guest_copy.parse(target))
    return 0
