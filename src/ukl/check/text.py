# SPDX-License-Identifier: GPL-2.0
"""The report as text and as JSON. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ukl.check.model import Finding, Kind, Report
from ukl.check.rules import Severity

PLACES = 4
"""Number of places of a finding in the text; the JSON has all."""


def lines(report: Report) -> list[tuple[Severity | None, str]]:
    """Return the report's lines, each with the severity if a finding begins there."""
    shown: list[tuple[Severity | None, str]] = []
    for item in report.findings:
        shown.append((item.severity, f"{item.rule}: {item.happens}"))
        shown += [(None, f"at {place}") for place in item.places[:PLACES]]
        if len(item.places) > PLACES:
            shown.append((None, f"and at {len(item.places) - PLACES} more places (--json)"))
        if item.remedy:
            shown.append((None, f"→ {item.remedy}"))
    return shown


def summary(report: Report) -> str:
    """Return the last line: the numbers of sites and of findings."""
    calls = report.syscalls
    count = dict.fromkeys(Severity, 0)
    for item in report.findings:
        count[item.severity] += 1
    what = (
        "the script and its packages, without the interpreter (ukl check python)"
        if report.kind is Kind.SCRIPT
        else f"syscall sites: {calls.in_place} in place, {calls.stub} by stub, {calls.kept} kept"
    )
    numbers = f"{count[Severity.ERROR]} errors, {count[Severity.WARNING]} warnings"
    return f"{report.target}: {what}; {numbers}"


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for `--json`."""
    return {
        "target": report.target,
        "kind": report.kind.value,
        "failed": report.failed,
        "syscalls": asdict(report.syscalls),
        "findings": [_finding(item) for item in report.findings],
    }


def _finding(item: Finding) -> dict[str, Any]:
    return {
        "rule": item.rule,
        "severity": item.severity.value,
        "count": item.count,
        "happens": item.happens,
        "remedy": item.remedy,
        "places": [asdict(place) for place in item.places],
    }
