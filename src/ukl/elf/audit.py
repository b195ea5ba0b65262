# SPDX-License-Identifier: GPL-2.0
"""Finds code in a partially linked application that the kernel's link cannot relocate.

Source of the relocation types: System V ABI, AMD64 supplement, table 4.9.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ukl.elf.reader import RELA, SHF_ALLOC, Elf, Symbol

R_X86_64_32 = 10
R_X86_64_16 = 12
R_X86_64_8 = 14
_NARROW = {R_X86_64_32, R_X86_64_16, R_X86_64_8}

STT_FUNC = 2
STT_SECTION = 3

_TEXT = ".ukl.text"


@dataclass(frozen=True, slots=True)
class Narrow:
    """A place with too few bits for the address of text, which is in the top 2 GiB.

    `place` is the function or variable that contains it, `target` the symbol it refers to;
    without a symbol, these are a section's name and offset.
    """

    place: str
    target: str


class _Names:
    """Finds the function or variable that covers an offset of a section."""

    def __init__(self, elf: Elf, sections: set[int]) -> None:
        named = (
            s
            for s in elf.symbols
            if s.section in sections and s.kind not in {STT_SECTION, 4}  # STT_FILE
        )
        self._by_section: dict[int, list[Symbol]] = {number: [] for number in sections}
        for symbol in sorted(named, key=lambda s: (s.value, s.size)):
            self._by_section[symbol.section].append(symbol)
        self._elf = elf

    def at(self, section: int, offset: int) -> str:
        candidates = self._by_section.get(section, [])
        position = bisect_right(candidates, offset, key=lambda s: s.value)
        if position:
            found = candidates[position - 1]
            if offset < found.value + max(found.size, 1):
                return found.name
        return f"{self._elf.sections[section].name}+{offset:#x}"


def narrow_addresses(elf: Elf) -> tuple[Narrow, ...]:
    """Return the places that hold an address of text in 32 or fewer zero-extended bits."""
    numbers = {section.name: number for number, section in enumerate(elf.sections)}
    text = numbers.get(_TEXT)
    if text is None:
        return ()
    raw = elf.raw_symbols()
    found = [
        (place, offset, symbol, addend)
        for place, offset, kind, symbol, addend in _relocations(elf, numbers)
        if kind in _NARROW and raw[symbol].section == text
    ]
    if not found:
        return ()
    names = _Names(elf, {text, *(place for place, *_ in found)})
    return tuple(
        dict.fromkeys(
            Narrow(
                names.at(place, offset),
                names.at(text, addend) if raw[symbol].kind == STT_SECTION else raw[symbol].name,
            )
            for place, offset, symbol, addend in found
        )
    )


def _relocations(elf: Elf, numbers: dict[str, int]) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield section number, offset, type, symbol number and addend, for allocated sections."""
    for section in elf.sections:
        if section.kind != "SHT_RELA":
            continue
        place = numbers.get(section.name.removeprefix(".rela"))
        if place is None or not elf.sections[place].flags & SHF_ALLOC:
            continue
        for offset, kind, symbol, addend in RELA.iter_unpack(elf.content(section)):
            yield place, offset, kind, symbol, addend
