# SPDX-License-Identifier: GPL-2.0
"""Undefined names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ukl.app.sections import IMPORTS
from ukl.check.model import Finding, Kind, Subject, finding
from ukl.check.rules import Severity
from ukl.check.unit import Place, Unit
from ukl.elf.reader import STB_WEAK

_BY_SCRIPT = """
    main _start _DYNAMIC _init _fini __dso_handle __preinit_array_start __preinit_array_end
    __init_array_start __init_array_end __fini_array_start __fini_array_end __bss_start
    __executable_start _end end _edata edata _etext etext __etext
"""

_OF_THE_LINKER = frozenset(_BY_SCRIPT.split())
"""Names that crt files and linker scripts define, and `main`, which a library lacks."""

SHOWN = 8


def findings(subject: Subject, library: Callable[[list[str]], str | None]) -> Iterator[Finding]:
    """Yield the names that neither the files nor the runtime define.

    `library` returns the name of the installed library that defines most of the names, or None.
    """
    if subject.kind is Kind.EXECUTABLE:
        return
    defined = subject.runtime | IMPORTS | _OF_THE_LINKER
    for unit in subject.units:
        defined |= unit.defined
    missing: dict[str, Place] = {}
    for unit in subject.units:
        for name in _used(unit) - defined:
            if not name.startswith(("__start_", "__stop_")):
                missing.setdefault(name, unit.whole)
    if not missing:
        return
    names = sorted(missing)
    found = library(names)
    text = ", ".join(f"`{name}`" for name in names[:SHOWN])
    if len(names) > SHOWN:
        text += f" and {len(names) - SHOWN} more"
    yield finding(
        "undefined",
        list(dict.fromkeys(missing.values())),
        text,
        severity=Severity.ERROR if subject.kind is Kind.APPLICATION else None,
        remedy=f'add "{found}" to `libraries` of [link]' if found else None,
        count=len(names),
    )


def _used(unit: Unit) -> set[str]:
    """Return the undefined names that a relocation uses; ld does not ask for the others."""
    undefined = {
        number: symbol.name
        for number, symbol in enumerate(unit.symbols)
        if symbol.name and symbol.undefined and symbol.binding != STB_WEAK
    }
    return {undefined[item.symbol] for item in unit.relocations if item.symbol in undefined}
