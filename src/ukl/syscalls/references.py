# SPDX-License-Identifier: GPL-2.0
"""Finds what can refer to the code of an executable or a shared object.

No relocations name such references. In doubt there is one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping

from ukl.elf import segment
from ukl.elf.reader import Elf, Segment
from ukl.syscalls.disassemble import Code, Function, covering
from ukl.syscalls.instruction import Instruction

_LEA = re.compile(rb"[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]")
_JCC = re.compile(rb"\x0f[\x80-\x8f]")
_OPCODES = frozenset({0xE8, 0xE9, 0xF8})
"""CALL, JMP, XBEGIN's second byte."""

_SHORT = frozenset({0xEB, *range(0x70, 0x80), *range(0xE0, 0xE4)})
"""JMP, Jcc, LOOP and JRCXZ with a displacement of one byte."""

_TABLE_LIMIT = 4096
"""Entries of the longest jump table."""

_REACH = 128 + 64

References = Mapping[int, list[int]]
"""Target -> offsets in the code of the displacements that lead there."""


def content(elf: Elf, part: Segment) -> bytes:
    """Return the bytes of a segment."""
    return bytes(elf.data[part.offset : part.offset + part.file_size])


def bytes_at(elf: Elf, address: int, size: int) -> bytes:
    """Return up to `size` bytes of the file that are loaded at `address`."""
    for each in segment.loaded(elf):
        if each.address <= address < each.address + each.file_size:
            start = each.offset + address - each.address
            end = min(start + size, each.offset + each.file_size)
            return bytes(elf.data[start:end])
    return b""


def displacements(code: Code, wanted: set[int]) -> References:
    """Return target -> offsets of displacements of 4 bytes in the code that lead there.

    What is in front looks like the opcode of a call or a jump, or like ModRM for RIP.
    """
    found: dict[int, list[int]] = {}
    data = code.data
    for first in range(4):
        values = memoryview(data[first:][: _whole(data, first, 4)]).cast("i")
        base = code.address + first + 4
        for number, value in enumerate(values):
            target = base + 4 * number + value
            if target in wanted:
                at = first + 4 * number
                before = data[at - 1] if at else 0
                jump = before & 0xF0 == 0x80 and data[at - 2] == 0x0F
                if jump or before in _OPCODES or before & 0xC7 == 0x05:
                    found.setdefault(target, []).append(at)
    return found


def addresses(elf: Elf, wanted: set[int], *, wide: bool) -> Iterator[int]:
    """Yield the addresses among `wanted` that are somewhere in what is loaded.

    They have 8 bytes; unless `wide`, also 4 bytes, at any place.
    """
    for part in segment.loaded(elf):
        data = content(elf, part)
        first = -part.address % 8
        yield from wanted.intersection(memoryview(data[first:][: _whole(data, first, 8)]).cast("Q"))
        for first in () if wide else range(4):
            words = memoryview(data[first:][: _whole(data, first, 4)])
            yield from wanted.intersection(words.cast("I"))


def _whole(data: bytes, first: int, size: int) -> int:
    """Return the bytes of the whole words from offset `first` on."""
    return max(0, len(data) - first) // size * size


def labels(code: Code, references: References) -> frozenset[int]:
    """Return the targets whose address an instruction takes."""
    return frozenset(
        target
        for target, origins in references.items()
        if any(_LEA.fullmatch(code.data[at - 3 : at]) for at in origins)
    )


def short(code: Code, places: Iterable[int]) -> Iterator[int]:
    """Yield the targets of short jumps near `places`, in code that belongs to no function."""
    for place in places:
        for at in range(place - _REACH, place + _REACH):
            offset = at - code.address
            if not 0 <= offset < len(code.data) - 1 or code.data[offset] not in _SHORT:
                continue
            function = covering(code.functions, at)
            if function is None or not function.named:
                (distance,) = struct.unpack_from("b", code.data, offset + 1)
                yield at + 2 + distance


def parts(
    code: Code, function: Function, rows: Iterable[Instruction], references: References
) -> dict[int, Function]:
    """Return start -> function, of those that `function` jumps to, or that jump to it.

    The compiler splits off parts of a function, which have the same frame.
    """
    found: dict[int, Function] = {}
    places = [int(row[3], 0) for row in rows if row[2][0] == "j" and row[3][:1].isdigit()]
    for target in range(function.start, function.end):
        for at in references.get(target, ()):
            before = code.data[max(0, at - 2) : at]
            if before[-1:] == b"\xe9" or _JCC.fullmatch(before):
                places.append(code.address + at)
    for place in places:
        part = covering(code.functions, place)
        if part is not None and part != function:
            found[part.start] = part
    return found


def is_computed(row: Instruction) -> bool:
    """Whether it jumps to an address from a register or a table, not to another function."""
    return row[2].removeprefix("notrack ").removeprefix("bnd ") == "jmp" and (
        not row[3][:1].isdigit() and "rip" not in row[3]
    )


def tables(elf: Elf, code: Code, rows: Iterable[Instruction]) -> Iterator[int]:
    """Yield the targets of the jump tables that these instructions may use."""
    for row in rows:
        for base in _taken(row):
            yield from _targets(elf, code, base)


def _taken(row: Instruction) -> Iterator[int]:
    """Yield the address that a LEA takes relative to RIP."""
    address, size, mnemonic, operands = row
    if mnemonic == "lea" and "[rip" in operands:
        inside = operands[operands.index("[rip") + 4 : operands.index("]")].replace(" ", "")
        yield address + size + (int(inside, 16) if inside else 0)


def _targets(elf: Elf, code: Code, base: int) -> Iterator[int]:
    """Yield the targets of a table of distances from its own start."""
    table = bytes_at(elf, base, 4 * _TABLE_LIMIT)
    for (distance,) in struct.iter_unpack("<i", table[: _whole(table, 0, 4)]):
        target = base + distance
        if not code.address <= target < code.end:
            return
        yield target
