# SPDX-License-Identifier: GPL-2.0
"""Unwinds the application's frames by its call frame information, parsed by pyelftools. Pure.

A table has tens of thousands of descriptions (FDEs), of which a backtrace needs a dozen. So
this module only skims the records for the one that covers an address, and pyelftools parses
that one and its common part (CIE).

Source: DWARF 5, 6.4; the Linux Standard Base on .eh_frame; System V ABI, AMD64
supplement, 3.6.2 for the numbers of registers.
"""

from __future__ import annotations

import bisect
import io
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.callframe import CallFrameInfo
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.structs import DWARFStructs

from ukl.debug.orc import MASK, Read

REGISTERS = (
    *("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
)
"""Names by DWARF number; 16 is the return address."""

PRESERVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
"""Registers that a function preserves unless its description says otherwise."""

_PCREL_SDATA4 = 0x1B
"""The encoding of addresses that gcc, clang and this tool's stubs use on x86-64."""

_STRUCTS = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)


@dataclass(frozen=True, slots=True)
class _Found:
    """Offsets of the record that covers an address, and of its common part."""

    description: int
    common: int


class Table:
    """One .eh_frame section: its bytes from the first record on, which is at `address`."""

    def __init__(self, data: bytes, address: int) -> None:
        self._data = data
        self._address = address
        self._descriptions = sorted(self._skim(), key=lambda each: each[0])
        self._begins = [begin for begin, _, _ in self._descriptions]
        self._known: dict[int, Rule | None] = {}

    def _skim(self) -> Iterator[tuple[int, int, _Found]]:
        """Yield begin, end and offset of each description, with addresses as linked."""
        data, at = self._data, 0
        while at + 8 <= len(data):
            length, back = struct.unpack_from("<II", data, at)
            if length in {0, 0xFFFFFFFF}:  # the end, or 64-bit DWARF, which is not supported
                return
            if back and at + 16 <= len(data):
                distance, size = struct.unpack_from("<iI", data, at + 8)
                begin = self._address + at + 8 + distance & MASK
                yield begin, begin + size, _Found(at, at + 4 - back)
            at += 4 + length

    def find(self, pc: int) -> Rule | None:
        """Return the rule for the instruction at `pc`, as linked; None without one."""
        if pc not in self._known:
            at = bisect.bisect_right(self._begins, pc) - 1
            begin, end, found = self._descriptions[at] if at >= 0 else (0, 0, _Found(0, 0))
            self._known[pc] = self._rule(found, pc - begin) if begin <= pc < end else None
        return self._known[pc]

    def _record(self, at: int) -> bytes:
        length = struct.unpack_from("<I", self._data, at)[0]
        return self._data[at : at + 4 + length]

    def _rule(self, found: _Found, offset: int) -> Rule | None:
        common, description = self._record(found.common), bytearray(self._record(found.description))
        # Put both together as if the code began at 0, so that the rows have offsets.
        where = len(common)
        struct.pack_into("<Ii", description, 4, where + 4, -(where + 8))
        try:
            info: Any = CallFrameInfo(
                io.BytesIO(common + description), where + len(description), 0, _STRUCTS, True
            )
            entry = info.get_entries()[1]
            augmentation = entry.cie.augmentation_dict
            if augmentation.get("FDE_encoding") != _PCREL_SDATA4:
                return None
            rows = [row for row in entry.get_decoded().table if row["pc"] <= offset]
        except (DWARFError, ELFError, AssertionError, IndexError, KeyError, ValueError):
            return None  # ignore a malformed description
        signal = b"S" in entry.cie.header["augmentation"]
        return Rule(rows[-1], signal) if rows else None


class DebugTable:
    """A .debug_frame section, which this tool's executables have for their stubs."""

    def __init__(self, data: bytes) -> None:
        try:
            info: Any = CallFrameInfo(io.BytesIO(data), len(data), 0, _STRUCTS, False)
            self._entries = [each for each in info.get_entries() if hasattr(each, "cie")]
        except (DWARFError, ELFError, AssertionError, ValueError):
            self._entries = []

    def find(self, pc: int) -> Rule | None:
        """Return the rule for the instruction at `pc`, as linked; None without one."""
        for entry in self._entries:
            begin = entry.header["initial_location"]
            if entry.cie is not None and begin <= pc < begin + entry.header["address_range"]:
                rows = [row for row in entry.get_decoded().table if row["pc"] <= pc]
                return Rule(rows[-1], False) if rows else None
        return None


@dataclass(frozen=True, slots=True)
class Rule:
    """How to unwind the frame of one instruction. `signal`: it is a signal frame."""

    row: Mapping[Any, Any]
    signal: bool

    def step(
        self, registers: Mapping[str, int], read: Read, moved: int = 0
    ) -> dict[str, int] | None:
        """Return the known registers of the caller; None if there is no caller.

        `moved` is the distance of the program from where it was linked.
        """
        cfa = self.row["cfa"]
        machine = _Machine(registers, read, moved)
        try:
            if cfa.expr is not None:
                frame = _evaluate(cfa.expr, machine, [])
            else:
                frame = registers[REGISTERS[cfa.reg]] + cfa.offset & MASK
            caller = {name: registers[name] for name in PRESERVED if name in registers}
            caller["rsp"] = frame
            for number, name in enumerate(REGISTERS):
                rule = self.row.get(number)
                if rule is not None:
                    value = _value(rule, frame, machine, name)
                    if value is None:
                        caller.pop(name, None)
                    else:
                        caller[name] = value & MASK
        except (KeyError, IndexError, NotImplementedError):
            return None
        return caller if "rip" in caller else None


@dataclass(frozen=True, slots=True)
class _Machine:
    """What expressions are about: see Rule.step()."""

    registers: Mapping[str, int]
    read: Read
    moved: int


def _value(rule: Any, frame: int, machine: _Machine, name: str) -> int | None:
    registers, read = machine.registers, machine.read
    match rule.type:
        case "UNDEFINED":
            return None
        case "SAME_VALUE":
            return registers[name]
        case "OFFSET":
            return read(frame + rule.arg & MASK)
        case "VAL_OFFSET":
            return frame + int(rule.arg)
        case "REGISTER":
            return registers[REGISTERS[rule.arg]]
        case "EXPRESSION":
            return read(_evaluate(rule.arg, machine, [frame]))
        case "VAL_EXPRESSION":
            return _evaluate(rule.arg, machine, [frame])
    raise NotImplementedError(rule.type)


def _evaluate(expression: Any, machine: _Machine, stack: list[int]) -> int:
    """Return the value of a DWARF expression; supports the operations that such tables use."""
    registers = machine.registers
    parser: Any = DWARFExprParser(_STRUCTS)
    for operation in parser.parse_expr(list(expression)):
        name, args = operation.op_name, operation.args
        if name == "DW_OP_addr":  # of code: a stub that is jumped to returns there
            stack.append(args[0] + machine.moved)
        elif name.startswith("DW_OP_const"):
            stack.append(args[0])
        elif name.startswith("DW_OP_lit"):
            stack.append(int(name[len("DW_OP_lit") :]))
        elif name.startswith("DW_OP_breg"):
            stack.append(registers[REGISTERS[int(name[len("DW_OP_breg") :])]] + args[0] & MASK)
        elif name == "DW_OP_plus_uconst":
            stack[-1] += args[0]
        elif name == "DW_OP_deref":
            stack[-1] = machine.read(stack[-1] & MASK)
        elif name in _BINARY:
            right = stack.pop()
            stack[-1] = _BINARY[name](stack[-1], right)
        else:
            raise NotImplementedError(name)
    return stack[-1] & MASK


_BINARY: Mapping[str, Callable[[int, int], int]] = {
    "DW_OP_plus": lambda left, right: left + right,
    "DW_OP_minus": lambda left, right: left - right,
    "DW_OP_and": lambda left, right: left & right,
    "DW_OP_shl": lambda left, right: left << right,
    "DW_OP_ge": lambda left, right: int(left >= right),
}
