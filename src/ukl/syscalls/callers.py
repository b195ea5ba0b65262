# SPDX-License-Identifier: GPL-2.0
"""Finds the functions whose callers may know which registers they change.

gcc's -fipa-ra, part of -O2, lets a caller keep values in registers that a function of the same
source file does not change, though the ABI allows it to. `syscall` changes rax, rcx and r11
only, the kernel's entry for a single system call others, too: where such a caller may exist,
the site needs the entry that preserves all.

Source: gcc's documentation of -fipa-ra; the Linux Standard Base on .eh_frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ukl.elf.reader import Elf, Relocation, Symbol
from ukl.syscalls import frames, references
from ukl.syscalls.code import R_X86_64_PC32, R_X86_64_PLT32
from ukl.syscalls.disassemble import Code, covering

NEAR = 1 << 14
"""Bytes between functions that may be of one source file, if neither has unwind information."""

_DISPLACEMENT = 4


def known(
    elf: Elf,
    code: Code,
    text: int,
    table: int | None,
    wanted: Iterable[int],
) -> frozenset[int]:
    """Return those of the functions at `wanted` that code of their source file may call.

    `elf` is a partially linked object, `code` its section number `text`; `table` is the number
    of its unwind information, None if it has none.
    """
    symbols, relocations = elf.raw_symbols(), tuple(elf.relocations())
    starts = set(wanted)
    files = _files(elf, text, table, symbols, relocations) if table is not None else {}
    # The assembler has resolved what refers to a function of the same section and file.
    found = {
        target
        for target, places in references.displacements(code, starts).items()
        if any(place + code.address not in code.relocated for place in places)
    }
    for place, target in _calls(text, symbols, relocations):
        if target in starts and target not in found and _same_file(code, files, place, target):
            found.add(target)
    return frozenset(found)


def _calls(
    text: int, symbols: Sequence[Symbol], relocations: Sequence[Relocation]
) -> Iterator[tuple[int, int]]:
    """Yield the places in the text that refer to code there, with the address they refer to."""
    for each in relocations:
        if each.section != text or each.kind not in {R_X86_64_PC32, R_X86_64_PLT32}:
            continue
        symbol = symbols[each.symbol]
        if symbol.section == text:
            yield each.offset, symbol.value + each.addend + _DISPLACEMENT


def _same_file(code: Code, files: Mapping[int, int], place: int, target: int) -> bool:
    """Whether a compiler may have seen both: a file has unwind information for all it compiled."""
    caller = covering(code.functions, place)
    first = files.get(caller.start) if caller is not None else None
    second = files.get(target)
    return first == second and (first is not None or abs(place - target) < NEAR)


def _files(
    elf: Elf,
    text: int,
    table: int,
    symbols: Sequence[Symbol],
    relocations: Sequence[Relocation],
) -> dict[int, int]:
    """Return function -> a number for its source file.

    A partial link keeps the unwind information of the files one after the other. The assembler
    writes a common record (CIE) of each form once per file, so that one whose form was seen
    since the file began is the first of another file.
    """
    data = bytes(elf.content(elf.sections[table]))
    functions = {
        each.offset: symbols[each.symbol].value + each.addend
        for each in relocations
        if each.section == table and symbols[each.symbol].section == text
    }
    common: dict[int, int] = {}
    seen: set[bytes] = set()
    file, files = 0, {}
    at, end = 0, frames.end(data)
    while at + 8 <= end:
        length, back = struct.unpack_from("<II", data, at)
        if back == 0:
            form = data[at + 8 : at + 4 + length].partition(b"\0")[0]
            if form in seen:
                file += 1
                seen.clear()
            seen.add(form)
            common[at] = file
        elif at + 8 in functions and at + 4 - back in common:
            files[functions[at + 8]] = common[at + 4 - back]
        at += 4 + length
    return files
