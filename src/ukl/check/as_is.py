# SPDX-License-Identifier: GPL-2.0
"""Programs that run as they are: what they may not find, and what they have to be allowed."""

from __future__ import annotations

from collections.abc import Iterator

from ukl.base.errors import InputError
from ukl.check import instructions, layout, loading, processor
from ukl.check.model import Finding, Subject, finding
from ukl.check.unit import Place

_OF_LINKED = {"syscalls", "syscall-kept", "vsyscall"}
"""Rules about what the link of an application does, and what only that excludes."""


def findings(subject: Subject, missing: InputError | None) -> Iterator[Finding]:
    """Yield the findings about a program; `missing` says which of its files is not found."""
    unit = subject.units[0]
    yield finding("as-is", [unit.whole])
    if missing is not None:
        place = Place(missing.where or unit.file)
        yield finding("missing-file", [place], missing.message, remedy=missing.remedy)
    if layout.executable_stack(unit) or (writable := [*layout.writable_segments(unit)]):
        yield finding("code-wx", [unit.whole] if layout.executable_stack(unit) else writable)
    if places := [*loading.made_code(unit, subject)]:
        yield finding("code-jit", list(dict.fromkeys(places)))
    for found in (*instructions.findings(subject), *processor.findings(subject)):
        if found.rule not in _OF_LINKED:
            yield found
