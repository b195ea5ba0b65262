# SPDX-License-Identifier: GPL-2.0
"""`ukl selftest`: every test, and one line at the end that counts them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ukl.base.errors import ExitCode
from ukl.cli.arguments import Json
from ukl.cli.state import STATE, print_json, verb


@verb
def selftest(
    lint: Annotated[bool, typer.Option("--lint", help="Only these: ruff and mypy.")] = False,
    unit: Annotated[bool, typer.Option("--unit", help="Only these: seconds, no tools.")] = False,
    tool: Annotated[bool, typer.Option("--tool", help="Only these: compiler and linker.")] = False,
    boot: Annotated[bool, typer.Option("--boot", help="Only these: guests are booted.")] = False,
    apps: Annotated[
        bool, typer.Option("--apps", help="Only these, and only if asked for: recipes' suites.")
    ] = False,
    distributions: Annotated[
        bool,
        typer.Option("--distributions", help="Only these: on minimal systems. Needs root."),
    ] = False,
    expression: Annotated[
        str | None,
        typer.Option("-k", metavar="EXPRESSION", help="Only tests whose names match (pytest -k)."),
    ] = None,
    no_skip: Annotated[
        bool,
        typer.Option("--no-skip", help="A test skipped for a missing tool has failed."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Run the tests.

    In this order: ruff, mypy, tests/unit, tests/tool and tests/boot; --apps adds the test
    suites of the recipes, which take hours. --distributions runs the README's commands in
    minimal roots of several suites of Debian, which takes hours, too.
    """
    from ukl.flow import selftest as room  # noqa: PLC0415 - not needed for --help

    chosen = {"lint": lint, "unit": unit, "tool": tool, "boot": boot}
    groups = [name for name, wanted in chosen.items() if wanted] + ["apps"] * apps
    groups += ["distributions"] * distributions
    if not groups:
        groups = [name for name in chosen if name != "lint" or expression is None]
    strict = no_skip or os.environ.get("CI") == "true"
    tally = room.run(groups, STATE.store, STATE.progress, expression=expression, no_skip=strict)
    if as_json:
        print_json({end: tally[end] for end in ("passed", "failed", "skipped")})
    else:
        typer.echo(room.line(tally))
    return ExitCode.FAILED if tally["failed"] else ExitCode.OK
