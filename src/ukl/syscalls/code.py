# SPDX-License-Identifier: GPL-2.0
"""Extracts the machine code of an ELF file, and the references to it.

Source for the relocation types: System V ABI, AMD64 supplement, table 4.9.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ukl.elf.reader import (
    SHF_EXECINSTR,
    SHT_NOBITS,
    STB_LOCAL,
    STT_GNU_IFUNC,
    Elf,
    Relocation,
    Symbol,
)
from ukl.syscalls.disassemble import Code, ranges

STT_NOTYPE = 0
STT_FUNC = 2
STT_SECTION = 3
STT_FILE = 4

R_X86_64_64 = 1
R_X86_64_PC32 = 2
R_X86_64_PLT32 = 4
R_X86_64_32 = 10
R_X86_64_32S = 11
R_X86_64_16 = 12
R_X86_64_8 = 14
R_X86_64_PC64 = 24

_ABSOLUTE = {R_X86_64_64, R_X86_64_32, R_X86_64_32S}
_RELATIVE = {R_X86_64_PC32, R_X86_64_PLT32, R_X86_64_PC64}
_EIGHT_BYTES = {R_X86_64_64, 17, 18, R_X86_64_PC64, 25, 27, 28, 29, 30, 31}  # DTPOFF64, TPOFF64, …


def is_text(elf: Elf, number: int) -> bool:
    """Whether section `number` holds machine code."""
    if not 0 < number < len(elf.sections):
        return False
    section = elf.sections[number]
    return bool(section.allocated and section.flags & SHF_EXECINSTR and section.kind != SHT_NOBITS)


def codes(
    elf: Elf, symbols: Sequence[Symbol], relocations: Iterable[Relocation]
) -> dict[int, Code]:
    """Return section number -> machine code, with its functions and the references to it.

    `symbols` is the whole symbol table, in order.
    """
    texts = {number for number in range(len(elf.sections)) if is_text(elf, number)}
    named: dict[int, list[tuple[int, int, str, bool]]] = defaultdict(list)
    entries: dict[int, set[int]] = defaultdict(set)
    for symbol in symbols:
        if symbol.section not in texts or symbol.kind not in {
            STT_NOTYPE,
            STT_FUNC,
            STT_GNU_IFUNC,
        }:
            continue
        entries[symbol.section].add(symbol.value)
        if symbol.name:
            is_code = symbol.kind != STT_NOTYPE or symbol.binding != STB_LOCAL
            named[symbol.section].append((symbol.value, symbol.size, symbol.name, is_code))
    called: dict[int, set[int]] = defaultdict(set)
    relocated = _add_references(elf, symbols, relocations, entries, called)
    found = {}
    for number in sorted(texts):
        section = elf.sections[number]
        data = elf.content(section)
        found[number] = Code(
            section=section.name,
            address=section.address,
            data=data,
            functions=ranges(section.address, len(data), section.name, named[number]),
            entries=frozenset(entries[number]),
            called=frozenset(called[number]),
            relocated=frozenset(relocated[number]),
        )
    return found


def _add_references(
    elf: Elf,
    symbols: Sequence[Symbol],
    relocations: Iterable[Relocation],
    entries: dict[int, set[int]],
    called: dict[int, set[int]],
) -> dict[int, set[int]]:
    """Return the addresses of relocated bytes of code.

    Adds the targets of relocations to `entries`, and those of calls and jumps to `called`.
    """
    relocated: dict[int, set[int]] = defaultdict(set)
    tables: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    starts: dict[int, set[int]] = defaultdict(set)
    texts = {number for number in range(len(elf.sections)) if is_text(elf, number)}
    skipped = {n for n, s in enumerate(elf.sections) if s.name.endswith("eh_frame")}
    for relocation in relocations:
        place = relocation.section
        if place in skipped or relocation.symbol >= len(symbols):
            continue
        symbol = symbols[relocation.symbol]
        target = symbol.value + relocation.addend
        if place in texts:
            width = 8 if relocation.kind in _EIGHT_BYTES else 4
            relocated[place].update(range(relocation.offset, relocation.offset + width))
            if relocation.kind in _RELATIVE:
                target += 4  # relative to the end of the displacement
                if symbol.section not in texts:
                    starts[symbol.section].add(target)
        if symbol.section not in texts:
            continue
        if relocation.kind in _ABSOLUTE or place in texts:
            entries[symbol.section].add(target)
            if relocation.kind == R_X86_64_PLT32:
                called[symbol.section].add(target)
        elif relocation.kind in _RELATIVE:
            tables[place].append((relocation.offset, symbol.section, target))
    for place, rows in tables.items():
        begins = sorted(starts[place])
        for offset, section, target in rows:
            # A position-independent jump table holds distances from its own start.
            number = bisect_right(begins, offset) - 1
            begin = begins[number] if number >= 0 else 0
            entries[section].add(target - (offset - begin))
    return relocated
