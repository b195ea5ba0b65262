# SPDX-License-Identifier: GPL-2.0
"""`ukl doctor`: checks the host, and names remedies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukl.base.errors import ExitCode
from ukl.cli.arguments import Json
from ukl.cli.state import STATE, print_json, verb

if TYPE_CHECKING:
    from ukl.host.doctor import Finding


@verb
def doctor(
    install: Annotated[
        bool, typer.Option("--install", help="Install missing packages (with sudo if needed).")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Boot guests, run their tests and measure them; write all results to FILE.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show the capabilities of the host, and what is missing.

    --report is for machines that the developers do not have, such as those with KVM: `ukl bench`
    and `ukl selftest --boot` in one call, which takes about an hour. Look through the file before
    you send it: it has paths. The exit code is 3 if something is missing.
    """
    from ukl.host import doctor as checks  # noqa: PLC0415 - not needed for --help
    from ukl.host import packages  # noqa: PLC0415

    findings = checks.examine(STATE.store)
    wanted = [finding.package for finding in findings if finding.package]
    if install and wanted:
        packages.install(wanted)
        findings = checks.examine(STATE.store)
    if as_json:
        print_json(findings)
    else:
        _print(findings)
    if report is not None:
        from ukl.flow import report as whole  # noqa: PLC0415

        with report.open("w") as file:
            json.dump(whole.gather(findings, STATE.context()), file, indent=1)
    missing = any(finding.level is checks.Level.MISSING for finding in findings)
    return ExitCode.MISSING if missing else ExitCode.OK


def _print(findings: list[Finding]) -> None:
    marks = {"ok": ("ok", typer.colors.GREEN), "note": ("note", typer.colors.YELLOW)}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        text, color = marks.get(finding.level, ("MISSING", typer.colors.RED))
        mark = typer.style(f"{text:<7}", fg=color)
        typer.echo(f"{mark}  {finding.name:<{width}}  {finding.detail}")
        if finding.remedy:
            typer.echo(f"{'':<7}  {'':<{width}}  → {finding.remedy}")
