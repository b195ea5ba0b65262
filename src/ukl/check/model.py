# SPDX-License-Identifier: GPL-2.0
"""What a check finds, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukl.base.model import SyscallCounts
from ukl.check.rules import RULES, Severity
from ukl.check.unit import Place, Unit


@dataclass(frozen=True, slots=True)
class LinkedLibrary:
    """An archive that is linked into the program, and the Debian package it came with."""

    path: str
    package: str | None


class Kind(StrEnum):
    """What was given to be checked."""

    APPLICATION = "application"
    """A partially linked program, with all its libraries: what goes into the kernel."""
    OBJECT = "object"
    ARCHIVE = "archive"
    EXECUTABLE = "executable"
    """Linked already, and without the object it was made of."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One hazard or fact: which rule, where, what happens, what to do.

    `places` are in the order of the files; `count` is how often it occurs, which may
    be more than there are places.
    """

    rule: str
    severity: Severity
    places: tuple[Place, ...]
    happens: str
    remedy: str
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `ukl check`."""

    target: str
    kind: Kind
    syscalls: SyscallCounts
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether anything is certain not to work."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Subject:
    """What the analysers look at.

    `runtime` are the names that the C library and the compiler's runtime define.
    `room` is how many bytes of data the kernel has room for: at least, unless a kernel
    is in the cache (`room_exact`).
    """

    kind: Kind
    units: Sequence[Unit]
    runtime: frozenset[str]
    room: int
    room_exact: bool
    libraries: tuple[LinkedLibrary, ...] = ()


def finding(
    rule: str,
    places: Sequence[Place],
    what: str = "",
    *,
    severity: Severity | None = None,
    remedy: str | None = None,
    count: int | None = None,
) -> Finding:
    """Return the finding of a rule; `what` goes before the rule's own words."""
    row = RULES[rule]
    return Finding(
        rule,
        severity or row.severity,
        tuple(places),
        f"{what}: {row.happens}" if what and row.happens else what or row.happens,
        row.remedy if remedy is None else remedy,
        len(places) if count is None else count,
    )
