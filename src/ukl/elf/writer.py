# SPDX-License-Identifier: GPL-2.0
"""Changes a relocatable ELF file in memory: changes and extends sections.

Sections that grow move to the end of the file. The section headers stay in place and nothing
is renumbered, so references to sections and symbols by number remain valid.
Source for the formats: the System V ABI, gABI; elf.h.
"""

from __future__ import annotations

import struct

from ukl.elf.reader import RELA, SHDR, SHN_UNDEF, STB_GLOBAL, STB_LOCAL, SYMBOL, Elf

_HEADERS_AT = 40  # e_shoff
_OFFSET, _SIZE, _LINK, _INFO = 4, 5, 6, 7
_VALUE_AT = 8  # st_value


class Writer:
    """A changeable copy of the file `elf`; `bytes()` returns the result."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self._data = bytearray(elf.data[:])
        self._headers_at = struct.unpack_from("<Q", self._data, _HEADERS_AT)[0]
        self._table = next(n for n, s in enumerate(elf.sections) if s.kind == "SHT_SYMTAB")
        self._relocations = {
            self._header(n)[_INFO]: n for n, s in enumerate(elf.sections) if s.kind == "SHT_RELA"
        }
        self._symbols = list(elf.raw_symbols())
        self._grown: dict[int, bytearray] = {}

    def content(self, number: int) -> bytearray:
        """Return the section's bytes, for the caller to change and extend in place."""
        if number not in self._grown:
            self._grown[number] = bytearray(self.elf.content(self.elf.sections[number]))
        return self._grown[number]

    def add_relocation(self, number: int, offset: int, kind: int, symbol: int, addend: int) -> None:
        """Add a relocation of section `number`, which must have relocations already."""
        self.content(self._relocations[number]).extend(RELA.pack(offset, kind, symbol, addend))

    def undefined(self, name: str, binding: int = STB_GLOBAL) -> int:
        """Return the number of the global symbol `name`; add it, undefined, if it is missing."""
        for number, symbol in enumerate(self._symbols):
            if symbol.name == name and symbol.binding != STB_LOCAL:
                return number
        table = self.content(self._table)
        names = self.content(self._header(self._table)[_LINK])
        # Global symbols are last in the table, so nothing is renumbered.
        table.extend(SYMBOL.pack(len(names), binding << 4, 0, SHN_UNDEF, 0, 0))
        names.extend(name.encode() + b"\0")
        return len(table) // SYMBOL.size - 1

    def set_symbol(self, name: str, kind: int, value: int, size: int) -> None:
        """Set type, value and size of the symbol `name`, if it exists."""
        for number, symbol in enumerate(self._symbols):
            if symbol.name == name:
                table, at = self.content(self._table), number * SYMBOL.size
                table[at + 4] = symbol.binding << 4 | kind
                self.move_symbol(number, value, size)
                return

    def move_symbol(self, number: int, value: int, size: int) -> None:
        """Set value and size of the symbol `number`."""
        struct.pack_into(
            "<QQ", self.content(self._table), number * SYMBOL.size + _VALUE_AT, value, size
        )

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
            SHDR.pack_into(result, self._headers_at + number * SHDR.size, *header)
        return bytes(result)

    def _header(self, number: int) -> tuple[int, ...]:
        return SHDR.unpack_from(self._data, self._headers_at + number * SHDR.size)
