# SPDX-License-Identifier: GPL-2.0
"""`ukl crash`: shows reports of crashes."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ukl.cli import complete
from ukl.cli.arguments import Json
from ukl.cli.state import STATE, print_json, verb


@verb
def crash(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A guest's name; its newest crash is shown. NAME/crash-2: the second of a run.",
            show_default=False,
            autocompletion=complete.crashed,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show all crashes of the guest, with all threads.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show where a guest's kernel or program crashed; without NAME list all crashes.

    A report has a backtrace through kernel and application, and a dump: the memory of the machine
    if its kernel panicked, or the core of a program that a signal killed. `ukl gdb NAME --dump`
    opens the newest dump, `ukl gdb NAME/crash-1 --dump` that of the first crash of a run.
    """
    from ukl.debug import crash as reports  # noqa: PLC0415
    from ukl.observe import crashes  # noqa: PLC0415 - not needed for --help

    if name is None:
        found = crashes.everything(STATE.store)
        if as_json:
            print_json([each.report for each in found])
            return 0
        for each in found:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.report.time))
            name = f"{each.report.guest}/{each.directory.name}"
            typer.echo(f"{name:<20} {when}  {each.report.kind}  {each.report.reason}")
        return 0
    found = crashes.of(STATE.store, name)
    chosen = found if everything else found[:1]
    if as_json:
        print_json([each.report for each in chosen])
        return 0
    for number, each in enumerate(chosen):
        if number:
            typer.echo()
        for line in reports.lines_about(each.report, everything=everything):
            typer.echo(line)
    return 0
