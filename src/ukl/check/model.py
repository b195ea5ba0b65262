# SPDX-License-Identifier: GPL-2.0
"""Input and results of a check."""

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
    """What is checked."""

    APPLICATION = "application"
    """A program partially linked with all its libraries, as it goes into the kernel."""
    OBJECT = "object"
    ARCHIVE = "archive"
    EXECUTABLE = "executable"
    """A linked program without its partially linked object."""
    SCRIPT = "script"
    """A Python program without its interpreter, which is not built for a check."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One hazard or fact: the rule, the places, what happens, what to do.

    `places` are in the order of the files; `count` is the number of occurrences, which may
    exceed the number of places.
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
    """The input of the analysers.

    `runtime` are the names that the C library and the compiler's runtime define.
    `data_limit` is the size of data [bytes] that the kernel can take: a lower bound,
    unless a kernel in the cache gives the exact size (`limit_is_exact`). `userspace` says
    whether the guest has a normal userspace.
    """

    kind: Kind
    units: Sequence[Unit]
    runtime: frozenset[str]
    data_limit: int
    limit_is_exact: bool
    libraries: tuple[LinkedLibrary, ...] = ()
    userspace: bool = True


def finding(
    rule: str,
    places: Sequence[Place],
    what: str = "",
    *,
    severity: Severity | None = None,
    remedy: str | None = None,
    count: int | None = None,
) -> Finding:
    """Return the finding of a rule; its text is `what`, followed by that of the rule."""
    row = RULES[rule]
    return Finding(
        rule,
        severity or row.severity,
        tuple(places),
        f"{what}: {row.happens}" if what and row.happens else what or row.happens,
        row.remedy if remedy is None else remedy,
        len(places) if count is None else count,
    )
