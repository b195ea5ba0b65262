# SPDX-License-Identifier: GPL-2.0
"""Adds a segment to an executable or a shared object, whose content keeps its offsets.

The segment is behind all others, in the file and in memory. Its program header takes the place
of one that says nothing that others do not: PT_NULL, or the PT_NOTE of the properties that
PT_GNU_PROPERTY names as well. Otherwise the program headers move to the segment. Then its
distance from the first segment is the same in memory as in the file, because loaders find
their own headers so.

Source: System V ABI, gABI, program loading; Linux' fs/binfmt_elf.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ukl.elf.reader import SHDR, Elf, Segment

PAGE = 4096
PADDING = 4 << 20
"""Bytes by which a file may grow so that both distances are the same."""

_PHDR = struct.Struct("<IIQQQQQQ")
_LOAD, _PHDR_TABLE, _EH_FRAME = 1, 6, 0x6474E550
_READ, _READ_EXECUTE = 4, 5
_HIGHEST = 1 << 46
_E_PHOFF, _E_SHOFF, _E_PHNUM, _E_SHNUM = 32, 40, 56, 60
_MOST_HEADERS = 64


class Unsuitable(Exception):
    """The file stays as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the segment will be. `headers` is how many bytes of it the program headers take.

    `replaced` is the number of the program header that it replaces, None if all of them move.
    """

    offset: int
    address: int
    headers: int
    replaced: int | None


def loaded(elf: Elf) -> tuple[Segment, ...]:
    """Return the segments that are loaded, in order. Raises Unsuitable if they are damaged."""
    found = tuple(each for each in elf.segments if each.kind == "PT_LOAD")
    end = 0
    for each in found:
        if each.address < end or each.file_size > each.memory_size:
            raise Unsuitable("its segments overlap")
        if each.offset + each.file_size > len(elf.data):
            raise Unsuitable("it is cut off")
        if (each.address - each.offset) % PAGE:
            raise Unsuitable("its segments are not aligned")
        end = each.address + each.memory_size
    if not found or end > _HIGHEST:
        raise Unsuitable("it has no segments that can be loaded")
    return found


def place(elf: Elf, more: int = 1) -> Place:
    """Return where a further segment can be, with `more` program headers. Raises Unsuitable."""
    segments = loaded(elf)
    if _end(elf) < len(elf.data):
        raise Unsuitable("data that only the program knows follows its end")
    end = _page(max(each.address + each.memory_size for each in segments))
    offset = _page(len(elf.data))
    replaced = _spare(elf)
    if replaced is not None and more == 1:
        return Place(offset, end, 0, replaced)
    first = segments[0]
    if first.offset or len(elf.segments) >= _MOST_HEADERS:
        raise Unsuitable("its program headers cannot be extended")
    distance = max(offset, end - first.address)
    if distance - offset > PADDING:
        raise Unsuitable("its program headers cannot be extended without much padding")
    headers = (len(elf.segments) + more) * _PHDR.size
    return Place(distance, first.address + distance, -(-headers // 64) * 64, None)


def add(elf: Elf, where: Place, content: bytes, index: tuple[int, int] | None) -> bytearray:
    """Return the file with a segment of code: `content`, after the room for program headers.

    `index` are address and size of a table in it for PT_GNU_EH_FRAME.
    """
    data = bytearray(elf.data[:])
    start = struct.unpack_from("<Q", data, _E_PHOFF)[0]
    table = data[start : start + len(elf.segments) * _PHDR.size]
    rows = [list(row) for row in _PHDR.iter_unpack(table)]
    if where.replaced is not None:
        del rows[where.replaced]
    last = max(number for number, row in enumerate(rows) if row[0] == _LOAD)
    size = where.headers + len(content)
    rows.insert(last + 1, [_LOAD, _READ_EXECUTE, *_range(where, where.address, size), PAGE])
    if index is not None and not any(row[0] == _EH_FRAME for row in rows):
        rows.append([_EH_FRAME, _READ, *_range(where, *index), 4])
    if where.replaced is None:
        start = where.offset
        struct.pack_into("<Q", data, _E_PHOFF, start)
        struct.pack_into("<H", data, _E_PHNUM, len(rows))
    data += bytes(where.offset + where.headers - len(data)) + content
    for number, row in enumerate(rows):
        if row[0] == _EH_FRAME and index is not None:
            row[2:7] = _range(where, *index)
        elif row[0] == _PHDR_TABLE and where.replaced is None:
            row[2:7] = _range(where, where.address, len(rows) * _PHDR.size)
        _PHDR.pack_into(data, start + number * _PHDR.size, *row)
    return data


def name(elf: Elf, data: bytearray, sections: list[tuple[str, int, int, int, int]]) -> None:
    """Add section headers, if the file has any: name, flags, address, offset and size."""
    count, names = struct.unpack_from("<HH", data, _E_SHNUM)
    start = struct.unpack_from("<Q", data, _E_SHOFF)[0]
    if not elf.sections or not 0 < names < count or count != len(elf.sections):
        return
    rows = [list(row) for row in SHDR.iter_unpack(data[start : start + count * SHDR.size])]
    strings = bytearray(data[rows[names][4] : rows[names][4] + rows[names][5]])
    for title, flags, address, offset, size in sections:
        rows.append([len(strings), 1, flags, address, offset, size, 0, 0, 16, 0])
        strings += title.encode() + b"\0"
    rows[names][4:6] = [len(data), len(strings)]
    data += strings
    data += bytes(-len(data) % 8)
    struct.pack_into("<Q", data, _E_SHOFF, len(data))
    struct.pack_into("<H", data, _E_SHNUM, len(rows))
    for row in rows:
        data += SHDR.pack(*row)


def _range(where: Place, address: int, size: int) -> tuple[int, ...]:
    """Return p_offset, p_vaddr, p_paddr, p_filesz and p_memsz of a part of the segment."""
    return where.offset + address - where.address, address, address, size, size


def _spare(elf: Elf) -> int | None:
    """Return the number of a program header that says nothing that others do not."""
    properties = {
        (each.offset, each.file_size) for each in elf.segments if each.kind == "PT_GNU_PROPERTY"
    }
    for number, each in enumerate(elf.segments):
        if each.kind == "PT_NULL":
            return number
        if each.kind == "PT_NOTE" and (each.offset, each.file_size) in properties:
            return number
    return None


def _end(elf: Elf) -> int:
    """Return the end of all that the headers name, with padding."""
    ends = [each.offset + each.file_size for each in elf.segments]
    ends += [each.offset + each.size for each in elf.sections if each.kind != "SHT_NOBITS"]
    start = struct.unpack_from("<Q", elf.data, _E_SHOFF)[0]
    ends.append(start + len(elf.sections) * SHDR.size)
    return -(-max(ends) // 16) * 16


def _page(value: int) -> int:
    return -(-value // PAGE) * PAGE
