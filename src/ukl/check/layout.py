# SPDX-License-Identifier: GPL-2.0
"""Sections and relocations: can the kernel's link place all code and data?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ukl.check.model import Finding, Kind, Subject, finding
from ukl.check.rules import Severity
from ukl.check.unit import Place, Unit
from ukl.elf.audit import STT_SECTION
from ukl.elf.reader import SHF_EXECINSTR, SHF_WRITE
from ukl.syscalls.code import R_X86_64_8, R_X86_64_16, R_X86_64_32, is_text

_NARROW = {R_X86_64_8, R_X86_64_16, R_X86_64_32}
_TLS = {
    **dict.fromkeys((19,), "general-dynamic"),
    **dict.fromkeys((20,), "local-dynamic"),
    **dict.fromkeys((22,), "initial-exec"),
    **dict.fromkeys((18, 23), "local-exec"),
    **dict.fromkeys((34,), "descriptor"),
}
"""Relocation type -> TLS access model (R_X86_64_TLSGD, TLSLD, GOTTPOFF, TPOFF64, TPOFF32, …)."""


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield the findings about sections, segments and relocations."""
    machines = [unit for unit in subject.units if unit.elf.machine != "EM_X86_64"]
    for unit in machines:
        yield finding("machine", [unit.whole], unit.elf.machine.removeprefix("EM_"))
    units = [unit for unit in subject.units if unit not in machines]
    yield from _optional("lto-only", [unit.whole for unit in units if _only_lto(unit)])
    yield from _data_size(subject, units)
    writable = [place for unit in units for place in _writable_code(unit)]
    yield from _optional("writable-code", writable)
    stacks = [unit.whole for unit in units if executable_stack(unit)]
    yield from _optional("exec-stack", stacks)
    known = frozenset(
        symbol.name
        for unit in units
        for symbol in unit.symbols
        if symbol.name and not symbol.undefined and is_text(unit.elf, symbol.section)
    )
    places = [place for unit in units for place in _narrow(unit, known)]
    yield from _optional("narrow-address", list(dict.fromkeys(places)))
    models = Counter(
        _TLS[item.kind] for unit in units for item in unit.relocations if item.kind in _TLS
    )
    if models:
        text = ", ".join(f"{count} {model}" for model, count in sorted(models.items()))
        yield finding("tls", (), text, count=models.total())


def _optional(rule: str, places: list[Place]) -> Iterator[Finding]:
    if places:
        yield finding(rule, places)


def _only_lto(unit: Unit) -> bool:
    sections = unit.elf.sections
    return any(section.name.startswith(".gnu.lto_") for section in sections) and not any(
        section.size for section in sections if section.flags & SHF_EXECINSTR
    )


def _writable_code(unit: Unit) -> Iterator[Place]:
    both = SHF_WRITE | SHF_EXECINSTR
    for section in unit.elf.sections:
        if section.allocated and section.flags & both == both:
            yield Place(unit.file, unit.member, section.name)
    yield from writable_segments(unit)


def writable_segments(unit: Unit) -> Iterator[Place]:
    """Yield the segments that are both writable and executable."""
    for segment in unit.elf.segments:
        if segment.kind == "PT_LOAD" and segment.flags & 3 == 3:
            yield Place(unit.file, unit.member, f"segment at {segment.address:#x}")


def executable_stack(unit: Unit) -> bool:
    """Whether the program or object asks for an executable stack."""
    return any(
        s.name == ".note.GNU-stack" and s.flags & SHF_EXECINSTR for s in unit.elf.sections
    ) or any(segment.kind == "PT_GNU_STACK" and segment.flags & 1 for segment in unit.elf.segments)


def _data_size(subject: Subject, units: list[Unit]) -> Iterator[Finding]:
    if subject.kind is Kind.ARCHIVE:
        return  # the link takes only the members that it needs
    size, largest = 0, ("", 0)
    for unit in units:
        for section in unit.elf.sections:
            if section.allocated and not section.flags & SHF_EXECINSTR:
                size = -(-size // section.align) * section.align + section.size
                largest = max(largest, (section.name, section.size), key=lambda pair: pair[1])
    text = f"{size:,} bytes of data, {largest[1]:,} of them in {largest[0]}"
    if size <= subject.data_limit:
        return
    place = units[0].whole
    if subject.limit_is_exact:
        yield finding("data-room", [place], f"{text}; the limit is {subject.data_limit:,}")
    else:
        yield finding(
            "data-room",
            [place],
            f"{text}; the limit is {subject.data_limit:,} plus the size of the kernel's text",
            severity=Severity.WARNING,
        )


def _narrow(unit: Unit, known: frozenset[str]) -> Iterator[Place]:
    """Yield the places that hold an address of text in 32 or fewer zero-extended bits."""
    for item in unit.relocations:
        if item.kind not in _NARROW or item.symbol >= len(unit.symbols):
            continue
        symbol = unit.symbols[item.symbol]
        if symbol.undefined:
            is_code = symbol.name in known
        else:
            is_code = is_text(unit.elf, symbol.section) and (
                symbol.kind == STT_SECTION or bool(symbol.name)
            )
        if is_code:
            yield unit.place(item.section, item.offset)
