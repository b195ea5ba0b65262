# SPDX-License-Identifier: GPL-2.0
"""Changes a relocatable ELF file in memory: bytes of sections, and their ends.

Sections that grow move behind all others; the table of headers stays where it is, and
nothing is renumbered: what refers to sections and symbols by number remains right.
Source of the formats: the System V ABI, gABI; elf.h.
"""

from __future__ import annotations

import struct

from ukl.elf.reader import SHN_UNDEF, STB_GLOBAL, Elf

_HEADERS_AT = 40  # e_shoff
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QIIq")
_OFFSET, _SIZE, _LINK, _INFO = 4, 5, 6, 7
_VALUE_AT = 8  # st_value


class Writer:
    """A copy of the file `elf` that can be changed; `bytes()` is the result."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self._data = bytearray(elf.data[:])
        self._headers_at = struct.unpack_from("<Q", self._data, _HEADERS_AT)[0]
        self._numbers = {section.name: n for n, section in enumerate(elf.sections)}
        self._table = next(n for n, s in enumerate(elf.sections) if s.kind == "SHT_SYMTAB")
        self._symbols = list(elf.raw_symbols())
        self._grown: dict[int, bytearray] = {}

    def number(self, name: str) -> int:
        """Return the number of the section `name`."""
        return self._numbers[name]

    def content(self, number: int) -> bytearray:
        """Return the section's bytes, to be changed in place and lengthened."""
        if number not in self._grown:
            self._grown[number] = bytearray(self.elf.content(self.elf.sections[number]))
        return self._grown[number]

    def add_relocation(self, number: int, offset: int, kind: int, symbol: int, addend: int) -> None:
        """Add a relocation of section `number`, which has some already."""
        for place, section in enumerate(self.elf.sections):
            if section.kind == "SHT_RELA" and self._header(place)[_INFO] == number:
                self.content(place).extend(_RELA.pack(offset, kind, symbol, addend))
                return
        raise LookupError(f"{self.elf.sections[number].name} has no relocations")

    def shift_relocations(self, number: int, start: int, by: int) -> None:
        """Move the relocations of section `number` at `start` and behind by `by` bytes."""
        for place, section in enumerate(self.elf.sections):
            if section.kind == "SHT_RELA" and self._header(place)[_INFO] == number:
                rows = self.content(place)
                for at in range(0, len(rows), _RELA.size):
                    offset = struct.unpack_from("<Q", rows, at)[0]
                    if offset >= start:
                        struct.pack_into("<Q", rows, at, offset + by)

    def undefined(self, name: str, binding: int = STB_GLOBAL) -> int:
        """Return the number of the undefined symbol `name`, which is added if need be."""
        for number, symbol in enumerate(self._symbols):
            if symbol.name == name and symbol.binding != 0:
                return number
        table = self.content(self._table)
        names = self.content(self._header(self._table)[_LINK])
        # Global symbols are last in the table, so nothing is renumbered.
        table.extend(_SYMBOL.pack(len(names), binding << 4, 0, SHN_UNDEF, 0, 0))
        names.extend(name.encode() + b"\0")
        return len(table) // _SYMBOL.size - 1

    def place(self, name: str, kind: int, value: int, size: int) -> bool:
        """Give the symbol `name` that the table has another type, value and size."""
        for number, symbol in enumerate(self._symbols):
            if symbol.name == name:
                table, at = self.content(self._table), number * _SYMBOL.size
                table[at + 4] = symbol.binding << 4 | kind
                struct.pack_into("<QQ", table, at + _VALUE_AT, value, size)
                return True
        return False

    def bytes(self) -> bytes:
        """Return the file with all changes."""
        result = bytearray(self._data)
        for number, content in sorted(self._grown.items()):
            section = self.elf.sections[number]
            offset = section.offset
            if len(content) > section.size:
                result.extend(bytes(-len(result) % section.align))
                offset = len(result)
                result.extend(content)
            else:
                result[offset : offset + len(content)] = content
            header = list(self._header(number))
            header[_OFFSET], header[_SIZE] = offset, len(content)
            _SHDR.pack_into(result, self._headers_at + number * _SHDR.size, *header)
        return bytes(result)

    def _header(self, number: int) -> tuple[int, ...]:
        return _SHDR.unpack_from(self._data, self._headers_at + number * _SHDR.size)
