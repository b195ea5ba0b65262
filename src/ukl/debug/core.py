# SPDX-License-Identifier: GPL-2.0
"""Core files: registers of the threads, the signal, and memory by address. Pure.

Source: struct elf_prstatus and siginfo_t of Linux for x86-64; core(5).
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ukl.debug.orc import PT_REGS
from ukl.debug.unwind import Unreadable
from ukl.elf.reader import Elf, notes_of

NT_PRSTATUS = 1
NT_SIGINFO = 0x53494749

_PID_AT, _REGISTERS_AT = 32, 112
"""Offsets in struct elf_prstatus."""

_ADDRESS_AT = 16
"""Offset of si_addr in siginfo_t."""

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}
_CODES = {
    (signal.SIGSEGV, 1): "nothing is mapped there",
    (signal.SIGSEGV, 2): "access is not permitted",
    (signal.SIGBUS, 1): "not aligned",
    (signal.SIGBUS, 2): "beyond the end of the mapped file",
    (signal.SIGILL, 2): "invalid instruction",
    (signal.SIGFPE, 1): "division by zero",
}
SI_KERNEL = 0x80


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread's id, and its registers by name."""

    number: int
    registers: dict[str, int]


class Core:
    """A core file. The first thread is the one that crashed."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._loads = [each for each in elf.segments if each.kind == "PT_LOAD"]

    def _notes(self) -> Iterator[tuple[int, bytes]]:
        for segment in self._elf.segments:
            if segment.kind == "PT_NOTE":
                data = bytes(self._elf.data[segment.offset : segment.offset + segment.file_size])
                for _, kind, content in notes_of(data):
                    yield kind, content

    def threads(self) -> list[Thread]:
        """Return the threads in the file's order."""
        found = []
        for kind, content in self._notes():
            if kind == NT_PRSTATUS and len(content) >= _REGISTERS_AT + 8 * len(PT_REGS):
                number = struct.unpack_from("<i", content, _PID_AT)[0]
                values = struct.unpack_from(f"<{len(PT_REGS)}Q", content, _REGISTERS_AT)
                found.append(Thread(number, dict(zip(PT_REGS, values, strict=True))))
        return found

    def reason(self, number: int) -> str:
        """Return a description of the signal that ended the process."""
        for kind, content in self._notes():
            if kind == NT_SIGINFO and len(content) >= _ADDRESS_AT + 8:
                found, _, code = struct.unpack_from("<iii", content)
                address = struct.unpack_from("<Q", content, _ADDRESS_AT)[0]
                return describe(found, code, address)
        return describe(number, 0, 0)

    def fetch(self, address: int, size: int) -> bytes:
        """Return memory, less than `size` at the end of a segment; raises Unreadable."""
        for each in self._loads:
            if each.address <= address < each.address + each.file_size:
                begin = each.offset + address - each.address
                end = min(begin + size, each.offset + each.file_size)
                if data := bytes(self._elf.data[begin:end]):
                    return data
        raise Unreadable(hex(address))


def describe(number: int, code: int, address: int) -> str:
    """Return a signal with its cause and address as text."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    if number not in _FAULTS or code <= 0:
        return name
    if code == SI_KERNEL:  # a general protection fault, which has no address
        return f"{name}: a non-canonical address or a privileged instruction"
    how = _CODES.get((signal.Signals(number), code))
    return f"{name} at address {address:#x}" + (f": {how}" if how else "")
