# SPDX-License-Identifier: GPL-2.0
"""Reads ELF files: sections, segments, symbols, the build id.

pyelftools provides the names of constants and reads the dynamic section. Headers and symbol
tables are unpacked in one step: archives have thousands of members, vmlinux has some 40,000
symbols, and one pyelftools object for each would cost a second.
Source for the formats: the System V ABI, gABI and AMD64 supplement; gnu/elf.h.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from elftools.common.exceptions import ELFError
from elftools.elf.enums import (
    ENUM_E_MACHINE,
    ENUM_E_TYPE,
    ENUM_P_TYPE_BASE,
    ENUM_SH_TYPE_AMD64,
)

from ukl.base.errors import InputError
from ukl.base.model import ObjectFacts

Buffer: TypeAlias = bytes | mmap.mmap

SHF_WRITE = 1 << 0
SHF_ALLOC = 1 << 1
SHF_EXECINSTR = 1 << 2
SHF_TLS = 1 << 10

SHT_NOBITS = "SHT_NOBITS"

STT_TLS = 6
STT_GNU_IFUNC = 10

STB_LOCAL = 0
STB_GLOBAL = 1
STB_WEAK = 2
STB_GNU_UNIQUE = 10

SHN_UNDEF = 0
SHN_ABS = 0xFFF1

_MAGIC = b"\177ELF"
_NATIVE = b"\2\1"  # EI_CLASS, EI_DATA: 64 bits, little endian
EHDR = struct.Struct("<HHIQQQIHHHHHH")
SHDR = struct.Struct("<IIQQQQIIQQ")
PHDR = struct.Struct("<IIQQQQQQ")
_SHN_XINDEX = 0xFFFF
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QIIq")
_NOTE = struct.Struct("<III")


def _named(table: Mapping[str, Any]) -> dict[int, str]:
    """Return number -> name for a table of pyelftools, without the bounds of ranges."""
    bounds = ("LOOS", "HIOS", "LOPROC", "HIPROC", "LOUSER", "HIUSER", "NUM")
    return {
        number: name
        for name, number in table.items()
        if isinstance(number, int) and not name.endswith(bounds)
    }


_KINDS = _named(ENUM_SH_TYPE_AMD64)
_SEGMENTS = _named(ENUM_P_TYPE_BASE)
_MACHINES = _named(ENUM_E_MACHINE)
_TYPES = _named(ENUM_E_TYPE)
_NT_GNU_BUILD_ID = 3


@dataclass(frozen=True, slots=True)
class Section:
    """A section header; `kind` is the name of the type as in elf.h (`SHT_PROGBITS`)."""

    name: str
    kind: str
    flags: int
    address: int
    offset: int
    size: int
    align: int

    @property
    def allocated(self) -> bool:
        """Whether it takes memory at run time."""
        return bool(self.flags & SHF_ALLOC)


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header; `kind` as in elf.h (`PT_LOAD`), `flags` the sum of R 4, W 2, X 1."""

    kind: str
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int


@dataclass(frozen=True, slots=True)
class Relocation:
    """A relocation: `kind` is R_X86_64_*, `section` the number of the section it changes.

    `symbol` is the number of the symbol in `Elf.raw_symbols()`.
    """

    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol table entry; numbers as in elf.h (STT_*, STB_*, SHN_*)."""

    name: str
    value: int
    size: int
    kind: int
    binding: int
    section: int

    @property
    def undefined(self) -> bool:
        """Whether another file must define it."""
        return self.section == SHN_UNDEF


class Elf:
    """A 64-bit, little-endian ELF file in memory.

    Raises InputError, with the place `where`, for other data.
    """

    def __init__(self, data: Buffer, where: str | Path | None = None) -> None:
        self.data = data
        if data[:4] == _MAGIC and len(data) > 5 and data[4:6] != _NATIVE:
            raise InputError(
                "a file for another architecture: it is not 64-bit, little-endian",
                where=where,
                remedy="name one for x86-64",
            )
        try:
            self._header = _Header.read(data)
            headers = _headers(self._header, data)
            self.segments: tuple[Segment, ...] = _segments(self._header, data)
        except (ELFError, struct.error, ValueError) as error:
            raise InputError(f"not an ELF file that can be read: {error}", where=where) from error
        self.sections: tuple[Section, ...] = tuple(section for section, _, _ in headers)
        self._links = tuple(link for _, link, _ in headers)
        self._infos = tuple(info for _, _, info in headers)

    @classmethod
    def open(cls, path: Path) -> Elf:
        """Map the file at `path`, so that only the parts that are used are read."""
        try:
            with path.open("rb") as stream:
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file cannot be mapped
            raise InputError("the file is empty", where=path) from error
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=path) from error
        return cls(data, path)

    @property
    def machine(self) -> str:
        """The architecture, as in elf.h (`EM_X86_64`)."""
        return _MACHINES.get(self._header.machine, str(self._header.machine))

    @property
    def kind(self) -> str:
        """The kind of file, as in elf.h (`ET_REL`, `ET_EXEC`, `ET_DYN`)."""
        return _TYPES.get(self._header.type, str(self._header.type))

    @property
    def entry(self) -> int:
        """The address where execution starts."""
        return self._header.entry

    @property
    def section_headers(self) -> tuple[int, int, int]:
        """Offset, number and size of the section headers in the file."""
        return self._header.sections, len(self.sections), self._header.section_size

    def raw_sections(self) -> list[tuple[int, ...]]:
        """Return the section headers as in elf.h."""
        first, count, size = self.section_headers
        return list(SHDR.iter_unpack(self.data[first : first + count * size])) if first else []

    def segment_at(self, kind: str) -> int:
        """Return the offset in the file of the first program header of a kind."""
        number = next(n for n, each in enumerate(self.segments) if each.kind == kind)
        return self._header.segments + number * PHDR.size

    def section(self, name: str) -> Section | None:
        """Return the first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, section: Section) -> bytes:
        """Return the bytes of a section; none for SHT_NOBITS."""
        if section.kind == SHT_NOBITS:
            return b""
        return bytes(self.data[section.offset : section.offset + section.size])

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """All symbols with a name, in the order of the table."""
        return tuple(symbol for symbol in self.raw_symbols() if symbol.name)

    @cached_property
    def exported(self) -> tuple[Symbol, ...]:
        """The symbols for the dynamic linker, which a stripped file has, too."""
        return tuple(symbol for symbol in self.raw_symbols("SHT_DYNSYM") if symbol.name)

    def raw_symbols(self, kind: str = "SHT_SYMTAB") -> tuple[Symbol, ...]:
        """Return the whole table, with nameless entries: relocations refer to it by number."""
        table = self._symbol_table(kind)
        if table is None:
            return ()
        entries, names = table
        return tuple(
            Symbol(_name(names, name), value, size, info & 15, info >> 4, section)
            for name, info, _, section, value, size in SYMBOL.iter_unpack(entries)
        )

    def relocations(self) -> Iterator[Relocation]:
        """Yield the relocations of a relocatable file's allocated sections, in order."""
        for section, target in zip(self.sections, self._infos, strict=True):
            if section.kind != "SHT_RELA" or not 0 < target < len(self.sections):
                continue
            if self.sections[target].allocated:
                content = self.content(section)
                whole = len(content) // RELA.size * RELA.size
                for offset, kind, symbol, addend in RELA.iter_unpack(content[:whole]):
                    yield Relocation(target, offset, kind, symbol, addend)

    def dynamic(self) -> dict[str, list[str]]:
        """Return the dynamic section: tag (`DT_NEEDED`, …) -> strings, or values in hexadecimal."""
        from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - takes 40 ms, rarely needed

        found: dict[str, list[str]] = {}
        # pyelftools reads a stream; a memory map is one, without copying.
        stream: Any = self.data if isinstance(self.data, mmap.mmap) else io.BytesIO(self.data)
        strings = {
            "DT_NEEDED": "needed",
            "DT_SONAME": "soname",
            "DT_RPATH": "rpath",
            "DT_RUNPATH": "runpath",
        }
        try:
            file: Any = ELFFile(stream)
            for segment in file.iter_segments("PT_DYNAMIC"):
                for tag in segment.iter_tags():
                    name = str(tag.entry.d_tag)
                    value = getattr(tag, strings[name]) if name in strings else hex(tag["d_val"])
                    found.setdefault(name, []).append(str(value))
        except (ELFError, ValueError, OverflowError, AttributeError) as error:
            raise InputError(f"the dynamic section cannot be read: {error}") from error
        return found

    def addresses(self, wanted: Iterable[str]) -> dict[str, int]:
        """Return name -> value of the `wanted` symbols that are defined; global ones win.

        Much faster than `symbols` on a large file: it searches only these names, in the
        string table.
        """
        table = self._symbol_table()
        if table is None:
            return {}
        entries, names = table
        offsets: dict[int, str] = {}
        for word in wanted:
            offsets.update((offset, word) for offset in _offsets_of(names, word.encode()))
        found: dict[str, int] = {}
        is_global: set[str] = set()
        for name, info, _, section, value, _ in SYMBOL.iter_unpack(entries):
            if name not in offsets or section == SHN_UNDEF:
                continue
            word = offsets[name]
            if word not in is_global:
                found[word] = value
                if info >> 4 != STB_LOCAL:
                    is_global.add(word)
        return found

    def notes(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield owner, type and content of each note."""
        for section in self.sections:
            if section.kind == "SHT_NOTE":
                yield from notes_of(self.content(section))

    def _symbol_table(self, kind: str = "SHT_SYMTAB") -> tuple[bytes, bytes] | None:
        for section, link in zip(self.sections, self._links, strict=True):
            if section.kind == kind and link < len(self.sections):
                entries = self.content(section)
                whole = len(entries) // SYMBOL.size * SYMBOL.size
                return entries[:whole], self.content(self.sections[link])
        return None


class _Header(NamedTuple):
    """The ELF header after e_ident, as in elf.h."""

    type: int
    machine: int
    version: int
    entry: int
    segments: int
    sections: int
    flags: int
    size: int
    segment_size: int
    segment_count: int
    section_size: int
    section_count: int
    names: int

    @classmethod
    def read(cls, data: Buffer) -> _Header:
        """Return the header; ELFError for a file that is not ELF."""
        if data[:4] != _MAGIC:
            raise ELFError("it does not begin with the ELF magic number")
        return cls._make(EHDR.unpack_from(data, 16))


def _headers(header: _Header, data: Buffer) -> tuple[tuple[Section, int, int], ...]:
    """Return each section header with its sh_link and sh_info.

    pyelftools would take 4 ms for each file, and an archive has thousands of members.
    """
    if not header.sections:
        return ()
    if header.sections + SHDR.size > len(data):
        raise ELFError("the file ends before its section headers")
    count, names = header.section_count, header.names
    first = SHDR.unpack_from(data, header.sections)
    count = count or first[5]  # extended numbering: see e_shnum in the gABI
    names = first[6] if names == _SHN_XINDEX else names
    rows = list(SHDR.iter_unpack(data[header.sections : header.sections + count * SHDR.size]))
    if len(rows) != count or names >= count or header.section_size != SHDR.size:
        raise ELFError("the section headers are damaged")
    strings = bytes(data[rows[names][4] : rows[names][4] + rows[names][5]])
    return tuple(
        (
            Section(
                _name(strings, name),
                _KINDS.get(kind, str(kind)),
                flags,
                address,
                offset,
                size,
                max(1, align),
            ),
            link,
            info,
        )
        for name, kind, flags, address, offset, size, link, info, align, _ in rows
    )


def _segments(header: _Header, data: Buffer) -> tuple[Segment, ...]:
    start, count = header.segments, header.segment_count
    table = data[start : start + count * PHDR.size] if start else b""
    rows = list(PHDR.iter_unpack(table[: len(table) // PHDR.size * PHDR.size]))
    if start and (len(rows) != count or header.segment_size != PHDR.size):
        raise ELFError("the program headers are damaged")
    return tuple(
        Segment(
            _SEGMENTS.get(kind, str(kind)), flags, offset, address, physical, size, memory, align
        )
        for kind, flags, offset, address, physical, size, memory, align in rows
    )


def _name(names: bytes, offset: int) -> str:
    end = names.find(b"\0", offset)
    return names[offset : end if end >= 0 else None].decode("utf-8", "surrogateescape")


def _offsets_of(names: bytes, word: bytes) -> Iterator[int]:
    """Yield the offsets of `word` in a string table, also as the tail of a longer name."""
    position = names.find(word + b"\0")
    while position >= 0:
        yield position
        position = names.find(word + b"\0", position + 1)


def notes_of(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Yield owner, type and content of each note in the bytes of a section or segment."""
    position = 0
    while position + _NOTE.size <= len(data):
        owner_size, size, kind = _NOTE.unpack_from(data, position)
        start = position + _NOTE.size
        owner = data[start : start + owner_size].rstrip(b"\0").decode("ascii", "replace")
        start += (owner_size + 3) & ~3
        yield owner, kind, data[start : start + size]
        position = start + ((size + 3) & ~3)


def build_id(path: Path) -> bytes:
    """Return the file's GNU build id (20 bytes by ld's default), b"" without one."""
    return next(
        (
            content
            for owner, kind, content in Elf.open(path).notes()
            if owner == "GNU" and kind == _NT_GNU_BUILD_ID
        ),
        b"",
    )


def symbols(path: Path, names: Iterable[str]) -> dict[str, int]:
    """Return name -> value of the symbols among `names` that the file defines."""
    return Elf.open(path).addresses(names)


def segments(path: Path) -> tuple[Segment, ...]:
    """Return the program headers of the file."""
    return Elf.open(path).segments


def facts(path: Path) -> ObjectFacts:
    """Return the facts about a partially linked application."""
    elf = Elf.open(path)

    def size(*names: str) -> int:
        return sum(section.size for section in elf.sections if section.name in names)

    tls = [section for section in elf.sections if section.name in {".ukl.tdata", ".ukl.tbss"}]
    align = max((section.align for section in tls), default=1)
    end = 0
    for section in tls:  # .ukl.tbss follows .ukl.tdata, at its own alignment
        end = -(-end // section.align) * section.align + section.size
    undefined = [symbol for symbol in elf.symbols if symbol.undefined]
    return ObjectFacts(
        text_size=size(".ukl.text"),
        rodata_size=size(".ukl.rodata", ".ukl.eh_frame"),
        data_size=size(".ukl.tdata", ".ukl.relro", ".ukl.data"),
        bss_size=size(".ukl.bss"),
        tls_size=end,
        tls_align=align,
        imports=tuple(sorted(s.name for s in undefined if s.binding != STB_WEAK)),
        weak_undefined=tuple(sorted(s.name for s in undefined if s.binding == STB_WEAK)),
        ifuncs=len(
            {
                (s.section, s.value)
                for s in elf.symbols
                if s.kind == STT_GNU_IFUNC and not s.undefined
            }
        ),
    )
