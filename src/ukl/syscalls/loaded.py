# SPDX-License-Identifier: GPL-2.0
"""Finds the functions with a `syscall` in an executable or a shared object, and what leads there.

No relocations say where such a file refers to its own code, so everything counts that can be a
reference to code near a `syscall`: a displacement of 4 bytes at any place of the code, an
address at any place of the file, an entry of a jump table. In doubt there is a reference.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ukl.elf import segment, unwinding
from ukl.elf.reader import STT_GNU_IFUNC, SYMBOL, Elf, Segment
from ukl.elf.segment import Unsuitable
from ukl.elf.unwinding import Damaged, Index
from ukl.syscalls import red_zone, references
from ukl.syscalls.code import STT_FUNC
from ukl.syscalls.disassemble import Code, Function, covering, decode, ranges
from ukl.syscalls.instruction import Instruction

EXECUTE = 1
NEAR = 64
"""Bytes around a `syscall` in which references matter: more than the instructions that move."""

FAR = 16 << 10
"""Bytes beyond which a call of an exported function comes from another translation unit. In the
same one, gcc (-fipa-ra) uses the registers that the function does not change."""

_DT_TEXTREL, _DT_FLAGS, _DF_TEXTREL = 22, 30, 4
_SYSCALL = b"\x0f\x05"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The code of a file, with those functions that have a `syscall` and whose bounds are known.

    `local` are the starts of functions that may be called by code that knows which registers
    they change. `labels` are the addresses near a `syscall` that are taken relative to RIP.
    `handled` are the starts of functions that exceptions enter. `unknown` are those of functions
    with a jump whose targets are not known, or with a red zone that another part may use.
    """

    segment: Segment
    code: Code
    local: frozenset[int]
    labels: frozenset[int]
    handled: frozenset[int]
    unknown: frozenset[int]
    index: Index | None


def load(elf: Elf) -> Loaded | None:
    """Return the code of a file; None if it makes no system calls. Raises Unsuitable."""
    text = _text(elf)
    data = references.content(elf, text)
    if _SYSCALL not in data:
        return None
    code_end = text.address + len(data)
    try:
        index, described = _described(elf)
    except Damaged as error:
        raise Unsuitable(str(error)) from error
    if any(not text.address <= each.start <= each.end <= code_end for each in described):
        raise Unsuitable("the unwind information is about code that the file does not have")
    symbols = list(_symbols(elf))
    code = _code(text, data, symbols, described)
    signal = {each.start for each in described if each.signal}
    functions = []
    decoded: dict[int, list[Instruction]] = {}
    for function in _with_syscall(code):
        rows = list(decode(code, function.start, function.end))
        if function.start not in signal and any(row[2] == "syscall" for row in rows):
            functions.append(function)
            decoded[function.start] = rows
    if not functions:
        return None
    places = [row[0] for rows in decoded.values() for row in rows if row[2] == "syscall"]
    near = {at for place in places for at in range(place - NEAR, place + NEAR)}
    starts = {each.start for each in functions}
    found = references.displacements(code, near | starts)
    exported = {value for value, _, _, dynamic in symbols if dynamic}
    local = {
        start
        for start in starts & found.keys()
        if start not in exported or any(abs(code.address + at - start) < FAR for at in found[start])
    }
    # Those within these functions are found by disassembling them.
    outside = {
        target
        for target, origins in found.items()
        if any(covering(functions, code.address + at) is None for at in origins)
    }
    outside.update(references.addresses(elf, near, wide=elf.kind == "ET_DYN"))
    outside.update(references.short(code, places))
    entries = {value for value, _, _, _ in symbols} | {each.start for each in described}
    unknown: set[int] = set()
    known_parts: dict[int, tuple[set[int], bool]] = {}
    for function in functions:
        rows = decoded[function.start]
        # What only looks like a reference would lead into the middle of an instruction.
        entries.update(outside.intersection(address for address, *_ in rows))
        tables = set(references.tables(elf, code, rows))
        shared = False
        for part in references.parts(code, function, rows, found).values():
            if part.start not in known_parts:
                known_parts[part.start] = _part(elf, code, part)
            targets, uses_red_zone = known_parts[part.start]
            tables |= targets
            shared |= uses_red_zone
        entries |= tables
        inside = any(function.start < target < function.end for target in tables)
        computed = not inside and any(references.is_computed(row) for row in rows)
        if computed or shared:
            unknown.add(function.start)
    return Loaded(
        text,
        replace(code, functions=tuple(functions), entries=frozenset(entries)),
        frozenset(local),
        references.labels(code, found),
        frozenset(each.start for each in described if each.handled),
        frozenset(unknown),
        index,
    )


def _code(
    text: Segment,
    data: bytes,
    symbols: Sequence[tuple[int, int, str, bool]],
    described: Sequence[unwinding.Description],
) -> Code:
    """Return the code with the functions that symbols and descriptions name."""
    name = f"{text.address:x}"
    named = {value for value, size, _, _ in symbols if size}
    known = [(value, size, title, True) for value, size, title, _ in symbols]
    known += [
        (each.start, each.end - each.start, f"f_{each.start:x}", True)
        for each in described
        if each.start not in named and each.end > each.start
    ]
    return Code(name, text.address, data, ranges(text.address, len(data), name, known))


def _part(elf: Elf, code: Code, part: Function) -> tuple[set[int], bool]:
    """Return the targets of the jump tables of a part, and whether it uses the red zone."""
    rows = list(decode(code, part.start, part.end))
    return set(references.tables(elf, code, rows)), red_zone.used(rows)


def _with_syscall(code: Code) -> list[Function]:
    """Return the functions whose bounds are known, with the bytes of the instruction."""
    places = (code.address + match.start() for match in re.finditer(_SYSCALL, code.data))
    found = {covering(code.functions, place) for place in places}
    known = (each for each in found if each is not None and each.named and each.sized)
    return sorted(known, key=lambda each: each.start)


def _text(elf: Elf) -> Segment:
    """Return the segment with the code."""
    segments = segment.loaded(elf)
    for tag, value in _dynamic(elf):
        if tag == _DT_TEXTREL or (tag == _DT_FLAGS and value & _DF_TEXTREL):
            raise Unsuitable("its code has relocations")
    found = [each for each in segments if each.flags & EXECUTE]
    if len(found) != 1:
        raise Unsuitable("its code is not in one segment")
    return found[0]


def _dynamic(elf: Elf) -> Iterator[tuple[int, int]]:
    """Yield tag and value of the dynamic section."""
    for each in elf.segments:
        if each.kind == "PT_DYNAMIC":
            data = references.content(elf, each)
            yield from struct.iter_unpack("<QQ", data[: len(data) // 16 * 16])


def _described(elf: Elf) -> tuple[Index | None, list[unwinding.Description]]:
    """Return what the unwind information says of the functions."""
    header = next((each for each in elf.segments if each.kind == "PT_GNU_EH_FRAME"), None)
    if header is not None:
        data = references.bytes_at(elf, header.address, header.file_size)
        index = unwinding.index(data, header.address)
        table = references.bytes_at(elf, index.table, len(elf.data))
        found = list(unwinding.descriptions(table, index.table))
        if not set(index.rows) <= {(each.start, each.record) for each in found}:
            raise Damaged("the unwind information contradicts itself")
        return index, found
    section = elf.section(".eh_frame")
    if section is None:
        return None, []
    found = list(unwinding.descriptions(elf.content(section), section.address))
    rows = tuple((each.start, each.record) for each in found)
    return Index(section.address, rows, listed=False), found


def _symbols(elf: Elf) -> Iterator[tuple[int, int, str, bool]]:
    """Yield value, size and name of the functions, and whether the table is the dynamic one."""
    for symbol in elf.symbols:
        if symbol.kind in {STT_FUNC, STT_GNU_IFUNC} and not symbol.undefined:
            yield symbol.value, symbol.size, symbol.name, False
    names, table = elf.section(".dynstr"), elf.section(".dynsym")
    if names is None or table is None:
        return
    strings, rows = elf.content(names), elf.content(table)
    for name, info, _, place, value, size in SYMBOL.iter_unpack(
        rows[: len(rows) // SYMBOL.size * SYMBOL.size]
    ):
        if place and info & 15 in {STT_FUNC, STT_GNU_IFUNC}:
            end = strings.find(b"\0", name)
            yield value, size, strings[name:end].decode("utf-8", "replace"), True
