# SPDX-License-Identifier: GPL-2.0
"""`ukl check`: reports problems of a program before anything is built."""

from __future__ import annotations

from typing import Annotated

import typer

from ukl.base.errors import ExitCode
from ukl.cli import complete
from ukl.cli.arguments import Json
from ukl.cli.state import STATE, print_json, verb


@verb
def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A program, an object, a static archive, or a TARGET of `ukl run`.",
            show_default=False,
            autocompletion=complete.targets,
        ),
    ],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="RULE",
            help="Only findings of this rule (repeatable).",
            autocompletion=complete.rules,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Report what would not work in TARGET, where, and the remedies.

    The exit code is 1 if something certainly does not work.
    """
    from ukl.check import target as checker  # noqa: PLC0415 - not needed for --help
    from ukl.check import text  # noqa: PLC0415

    report = checker.check(target, STATE.store, STATE.progress, rule or ())
    if as_json:
        print_json(text.as_json(report))
    else:
        colors = {
            "error": typer.colors.RED,
            "warning": typer.colors.YELLOW,
            "info": typer.colors.GREEN,
        }
        for severity, line in text.lines(report):
            if severity is None:
                typer.echo(f"{'':<9}{line}")
            else:
                typer.echo(typer.style(f"{severity:<9}", fg=colors[severity]) + line)
        typer.echo(text.summary(report))
    return ExitCode.FAILED if report.failed else ExitCode.OK
