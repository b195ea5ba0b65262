# SPDX-License-Identifier: GPL-2.0
"""Turns the `syscall` instruction that pthread_cancel() recognizes by its address into a call.

glibc since 2.41 and musl make each cancellable call with one function. Their signal handler
cancels the thread if it was interrupted between that function's start and a label behind its
`syscall`. The label has to be directly behind the call, but there are no 5 bytes to replace.
So the function is copied to the end of the section with space for a call, and its symbols
follow. The kernel takes an interrupted call back (arch/x86/ukl/frame.c, ukl_leave_stub()): the
handler sees the address of the call instruction, as it would see that of `syscall`.

Source: glibc, nptl/cancellation.c and sysdeps/unix/sysv/linux/x86_64/syscall_cancel.S; musl,
src/thread/pthread_cancel.c and src/thread/x86_64/syscall_cp.s.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ukl.elf.reader import Elf, Relocation, Symbol
from ukl.syscalls.code import R_X86_64_PC32, R_X86_64_PLT32, STT_SECTION, is_text
from ukl.syscalls.disassemble import Code, Sweep, covering, decode
from ukl.syscalls.instruction import JUMPS, Instruction
from ukl.syscalls.rewritable import CALL_SIZE, LABELS, Site

_SYSCALL = bytes.fromhex("0f05")
_CALL = b"\xe8"
_RELATIVE = {R_X86_64_PC32, R_X86_64_PLT32}
_GROWTH = CALL_SIZE - len(_SYSCALL)
_LONGEST = 128
"""Bytes of the longest such function; those of glibc 2.41 and musl 1.2 have 47."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A function to copy: its start in the section, its new code, and what goes with it.

    `call` is the offset in `data` of the call's displacement; `relocations` are those of the
    code, with offsets in `data`; `symbols` the numbers of the symbols in the range.
    """

    start: int
    data: bytes
    call: int
    relocations: tuple[Relocation, ...]
    symbols: tuple[int, ...]

    def place(self, address: int) -> int:
        """Return the offset in `data` of what was at `address`."""
        offset = address - self.start
        return offset + _GROWTH if offset > self.call - 1 else offset


def plan(elf: Elf, code: Code, found: Sweep, site: Site) -> Copy | None:
    """Return how to copy the function around `site`; None if its code is not understood.

    `code` is the section that the site is in, `found` its disassembly.
    """
    function = covering(code.functions, site.address)
    if function is None:
        return None
    rows = _rows(code, function.start)
    start, end = rows[0][0], rows[-1][0] + rows[-1][1]
    after = site.address + len(_SYSCALL)
    section = next(n for n, s in enumerate(elf.sections) if s.name == code.section)
    symbols = elf.raw_symbols()
    moved = {
        number: symbol
        for number, symbol in enumerate(symbols)
        if symbol.section == section and start <= symbol.value < end and symbol.kind != STT_SECTION
    }
    labelled = any(s.name in LABELS and s.value == after for s in moved.values())
    if not labelled or [row[2] for row in rows].count("syscall") != 1:
        return None
    relocations = tuple(elf.relocations())
    outside = [
        relocation
        for relocation in relocations
        if relocation.symbol not in moved
        and symbols[relocation.symbol].section == section
        # Frames describe the code that stays.
        and not elf.sections[relocation.section].name.endswith("eh_frame")
    ]
    if _entered(found, start, end) or any(
        start <= _target_of(elf, symbols, relocation) < end for relocation in outside
    ):
        return None
    own = tuple(r for r in relocations if r.section == section and start <= r.offset < end)
    if any(r.kind not in _RELATIVE for r in own):
        return None
    data = bytearray(code.data[start - code.address : end - code.address])
    for row in rows:
        if not _adjust(data, row, code.relocated, (start, end), after):
            return None
    at = site.address - start
    data[at : at + len(_SYSCALL)] = _CALL + bytes(CALL_SIZE - 1)
    copy = Copy(start, bytes(data), at + 1, own, tuple(moved))
    return replace(copy, relocations=tuple(replace(r, offset=copy.place(r.offset)) for r in own))


def _rows(code: Code, start: int) -> list[Instruction]:
    """Return the instructions from `start` to the jump beyond which no branch of theirs leads."""
    rows: list[Instruction] = []
    farthest = start
    for row in decode(code, start, min(code.end, start + _LONGEST)):
        rows.append(row)
        target = _target(row, code.relocated)
        if target is not None:
            farthest = max(farthest, target)
        if row[2] in JUMPS and row[0] + row[1] > farthest:
            break
    return rows


def _target(row: Instruction, relocated: Collection[int]) -> int | None:
    """Return where a branch leads that the linker does not fill in."""
    address, size, mnemonic, operands = row
    if mnemonic[0] != "j" and mnemonic != "call":
        return None
    if address + size - 1 in relocated or not operands[:1].isdigit():
        return None
    return int(operands, 0)


def _adjust(
    data: bytearray,
    row: Instruction,
    relocated: Collection[int],
    within: tuple[int, int],
    after: int,
) -> bool:
    """Adjust a branch over the call in `data`; return whether the instruction can be moved."""
    address, size, mnemonic, operands = row
    start, end = within
    if mnemonic == ".byte" or ("rip" in operands and address + size - 1 not in relocated):
        return False
    target = _target(row, relocated)
    if target is None:
        return True
    if not start <= target < end:
        return False
    change = _GROWTH * ((target >= after) - (address >= after))
    kind = "<b" if size == 2 else "<i"
    at = address - start + size - struct.calcsize(kind)
    struct.pack_into(kind, data, at, struct.unpack_from(kind, data, at)[0] + change)
    return True


def _entered(found: Sweep, start: int, end: int) -> bool:
    """Whether other code of the section leads into the function without a relocation."""
    return any(
        start <= target < end and any(not start <= place < end for place in places)
        for references in (found.branches, found.lea)
        for target, places in references.items()
    )


def _target_of(elf: Elf, symbols: Sequence[Symbol], relocation: Relocation) -> int:
    """Return the address that a relocation refers to; in code it counts from its own end."""
    in_code = is_text(elf, relocation.section) and relocation.kind in _RELATIVE
    return symbols[relocation.symbol].value + relocation.addend + (4 if in_code else 0)
