# SPDX-License-Identifier: GPL-2.0
"""Executables: the libraries that have to be static; the object is needed instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ukl.check.model import Finding, Kind, Subject, finding
from ukl.check.unit import Place

_NAME = re.compile(r"lib(.+?)(?:-\d[\d.]*)?\.so(?:\.[\d.]+)?\Z")
OF_THE_SYSTEM = ("ld-linux", "linux-vdso", "libgcc_s.")
"""The loader, the vDSO, and libgcc_s, whose code libgcc_eh.a has, too."""


@dataclass(frozen=True, slots=True)
class Static:
    """A library's static archive: its path and package, or the package to install."""

    path: str | None
    package: str | None


def needed(subject: Subject) -> list[str]:
    """Return the program's shared objects (DT_NEEDED) without those of OF_THE_SYSTEM."""
    return [
        name
        for unit in subject.units
        for name in unit.elf.dynamic().get("DT_NEEDED", [])
        if not name.startswith(OF_THE_SYSTEM)
    ]


def library_name(soname: str) -> str:
    """Return the -l name of a library: `ssl` for `libssl.so.3`."""
    match = _NAME.match(soname)
    return match[1] if match else soname


def findings(subject: Subject, statics: dict[str, Static]) -> Iterator[Finding]:
    """Yield the findings about an executable; `statics` maps sonames to archives."""
    if subject.kind is not Kind.EXECUTABLE:
        return
    unit = subject.units[0]
    if not unit.elf.dynamic().get("DT_NEEDED") and not any(
        segment.kind == "PT_INTERP" for segment in unit.elf.segments
    ):
        yield finding("linked", [unit.whole])
        return
    yield finding("dynamic", [unit.whole])
    for soname in needed(subject):
        static = statics.get(soname)
        if static is not None and static.path is not None:
            package = f" (package {static.package})" if static.package else ""
            yield finding("static-library", [Place(static.path)], f"{soname}{package}")
        else:
            remedy = None
            if static is not None and static.package:
                remedy = f"sudo apt-get install --no-install-recommends {static.package}"
            yield finding("no-static-library", [unit.whole], soname, remedy=remedy)
