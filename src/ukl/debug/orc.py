# SPDX-License-Identifier: GPL-2.0
"""Unwinds the kernel's frames by its ORC tables.

The kernel has no DWARF tables for its frames. Instead, it has a rule for each instruction
that tells where the caller's stack pointer, frame pointer and return address are, or where a
whole `struct pt_regs` lies, as at the entry from the application. The format is that of
arch/x86/include/asm/orc_types.h; Documentation/arch/x86/orc-unwinder.rst describes it.

Pure, and without imports of other modules of ukl: gdb's Python runs it (see debug/in_gdb.py).
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

_ENTRY = struct.Struct("<hhH")
_ADDRESS = struct.Struct("<i")

MASK = (1 << 64) - 1

PT_REGS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"),
    *("rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss"),
)
"""Members of struct pt_regs, 8 bytes each."""

IRET_FRAME = ("rip", "cs", "eflags", "rsp", "ss")

RESTORED = frozenset(PT_REGS) - {"orig_rax", "cs", "eflags", "ss"}
"""Registers to return to a debugger: the others have other sizes, and the kernel may set
additional bits in `cs`."""


class Base(IntEnum):
    """The base of an offset; the numbers are those of Linux 6.12."""

    UNDEFINED = 0
    PREVIOUS_SP = 1
    DX = 2
    DI = 3
    BP = 4
    SP = 5
    R10 = 6
    R13 = 7
    BP_INDIRECT = 8
    SP_INDIRECT = 9
    AX = 10


_NEWER = (
    *(Base.UNDEFINED, Base.AX, Base.DX, Base.SP, Base.BP, Base.DI, Base.R10, Base.R13),
    *(Base.PREVIOUS_SP, Base.SP_INDIRECT, Base.BP_INDIRECT),
)
"""What the numbers mean in the tables of newer kernels, such as 7.3."""

_REGISTERS = {
    Base.AX: "rax",
    Base.DX: "rdx",
    Base.DI: "rdi",
    Base.R10: "r10",
    Base.R13: "r13",
}


class Kind(IntEnum):
    """What lies at the caller's stack pointer."""

    UNDEFINED = 0
    END = 1
    CALL = 2
    REGS = 3
    REGS_PARTIAL = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """How to unwind the frame of one instruction."""

    sp_offset: int
    bp_offset: int
    sp_base: int
    bp_base: int
    kind: int


class Table:
    """The rules of a kernel. `ip` is the content of .orc_unwind_ip, which is at `address`."""

    def __init__(self, ip: bytes, address: int, rules: bytes) -> None:
        found = [
            (address + 4 * number + distance, number)
            for number, (distance,) in enumerate(_ADDRESS.iter_unpack(ip))
        ]
        found.sort()
        self._addresses = [at for at, _ in found]
        self._numbers = [number for _, number in found]
        self._rules = rules
        # Tables do not say which numbers they have. Nearly all rules count from the stack
        # pointer, hardly one from rdi, and these two have changed places.
        bases = [bits & 15 for _, _, bits in _ENTRY.iter_unpack(rules)]
        self._newer = bases.count(_NEWER.index(Base.SP)) > bases.count(Base.SP)

    def _base(self, number: int) -> int:
        if not self._newer:
            return number
        return _NEWER[number] if number < len(_NEWER) else Base.UNDEFINED

    def find(self, pc: int) -> Rule | None:
        """Return the rule for an address as linked; None without one."""
        at = bisect.bisect_right(self._addresses, pc) - 1
        if at < 0:
            return None
        sp, bp, bits = _ENTRY.unpack_from(self._rules, _ENTRY.size * self._numbers[at])
        rule = Rule(sp, bp, self._base(bits & 15), self._base(bits >> 4 & 15), bits >> 8 & 7)
        return None if rule.kind in {Kind.UNDEFINED, Kind.END} else rule


Read = Callable[[int], int]
"""Reads 8 bytes of the guest's memory."""


def step(rule: Rule, registers: Mapping[str, int], read: Read) -> dict[str, int] | None:
    """Return the caller's registers that the rule gives; None if it is not supported.

    For a called function these are rip, rsp and rbp; for an interrupted program all.
    """
    match rule.sp_base:
        case Base.SP:
            frame = registers["rsp"] + rule.sp_offset
        case Base.BP:
            frame = registers["rbp"] + rule.sp_offset
        case Base.SP_INDIRECT:
            frame = read(registers["rsp"]) + rule.sp_offset
        case Base.BP_INDIRECT:
            frame = read(registers["rbp"] + rule.sp_offset & MASK)
        case Base.AX | Base.DX | Base.DI | Base.R10 | Base.R13:
            frame = registers[_REGISTERS[Base(rule.sp_base)]]
        case _:
            return None
    frame &= MASK
    if rule.kind in {Kind.REGS, Kind.REGS_PARTIAL}:
        names = PT_REGS if rule.kind == Kind.REGS else IRET_FRAME
        saved = {
            name: read(frame + 8 * number) for number, name in enumerate(names) if name in RESTORED
        }
        return {"rbp": registers["rbp"], **saved}
    caller = {"rip": read(frame - 8), "rsp": frame, "rbp": registers["rbp"]}
    if rule.bp_base == Base.PREVIOUS_SP:
        caller["rbp"] = read(frame + rule.bp_offset & MASK)
    elif rule.bp_base == Base.BP:
        caller["rbp"] = read(registers["rbp"] + rule.bp_offset & MASK)
    return caller
