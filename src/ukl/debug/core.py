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
from ukl.elf.reader import Elf, Segment, notes_of

NT_PRSTATUS = 1
NT_SIGINFO = 0x53494749
NT_FILE = 0x46494C45

_PID_AT, _REGISTERS_AT = 32, 112
"""Offsets in struct elf_prstatus."""

_ADDRESS_AT = 16
"""Offset of si_addr in siginfo_t."""

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}
_NOT_PERMITTED = 2
"""SEGV_ACCERR."""

_CODES = {
    (signal.SIGSEGV, 1): "nothing is mapped there",
    (signal.SIGSEGV, _NOT_PERMITTED): "access is not permitted",
    (signal.SIGBUS, 1): "not aligned",
    (signal.SIGBUS, 2): "beyond the end of the mapped file",
    (signal.SIGILL, 2): "invalid instruction",
    (signal.SIGFPE, 1): "division by zero",
}
SI_KERNEL = 0x80
_PF_X, _PAGE = 1, 4096

NOT_EXECUTABLE = "the program went to memory that is not executable"
NO_CODE = (
    "ring 0 does not execute code in the program's own memory: rules `jit` and `dlopen` of "
    "`ukl check`; --code allows it"
)
NO_STACK = (
    "the program went to code on its stack, which ring 0 does not execute: rule `exec-stack` of "
    "`ukl check`"
)


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

    def reason(self, number: int, *, ring0: bool) -> str:
        """Return a description of the signal that ended the process.

        `ring0` says that the program is linked into the kernel.
        """
        code = address = 0
        for kind, content in self._notes():
            if kind == NT_SIGINFO and len(content) >= _ADDRESS_AT + 8:
                number, _, code = struct.unpack_from("<iii", content)
                address = struct.unpack_from("<Q", content, _ADDRESS_AT)[0]
                break
        why = self._no_code(code, address, ring0=ring0) if number == signal.SIGSEGV else ""
        return describe(number, code, address, why)

    def files(self) -> list[tuple[int, int, int, str]]:
        """Return begin, end, offset in the file, and path of each mapping of a file."""
        for kind, content in self._notes():
            if kind == NT_FILE and len(content) >= 16:
                count, page = struct.unpack_from("<2Q", content)
                rows = [*struct.iter_unpack("<3Q", content[16 : 16 + 24 * count])]
                paths = content[16 + 24 * count :].decode("utf-8", "replace").split("\0")
                return [
                    (begin, end, number * page, path)
                    for (begin, end, number), path in zip(rows, paths, strict=False)
                ]
        return []

    def maps(self) -> str:
        """Return the executable mappings of files, as /proc/PID/maps has them."""
        return "\n".join(
            f"{begin:x}-{end:x} r-xp {offset:x} 00:00 0 {path}"
            for begin, end, offset, path in self.files()
            if (memory := self._segment(begin)) is not None and memory.flags & _PF_X
        )

    def has(self, file: Elf, path: str) -> bool:
        """Tell whether what was mapped from `path` can be this file: its code is at the same place.

        The pages with a file's notes are not in a core.
        """
        there = {(offset, end - begin) for begin, end, offset, name in self.files() if name == path}
        code = [each for each in file.segments if each.kind == "PT_LOAD" and each.flags & _PF_X]
        begins = [each.offset & -_PAGE for each in code]
        ends = [each.offset + each.file_size + _PAGE - 1 & -_PAGE for each in code]
        wanted = {(begin, end - begin) for begin, end in zip(begins, ends, strict=True)}
        return bool(wanted) and wanted <= there

    def _no_code(self, code: int, address: int, *, ring0: bool) -> str:
        """Return why the instruction could not be executed; empty if another thing failed.

        A handler may have raised the signal again: then only what is never executed is a reason.
        """
        [first, *_] = self.threads() or [Thread(0, {})]
        ip, sp = first.registers.get("rip", 0), first.registers.get("rsp", 0)
        memory = self._segment(ip)
        refused = code == _NOT_PERMITTED and address == ip
        if memory is None or not (refused or code <= 0):
            return ""
        if memory.flags & _PF_X:
            return NO_CODE if refused and ring0 else ""
        return NO_STACK if ring0 and memory is self._segment(sp) else NOT_EXECUTABLE

    def _segment(self, address: int) -> Segment | None:
        for each in self._loads:
            if each.address <= address < each.address + each.memory_size:
                return each
        return None

    def fetch(self, address: int, size: int) -> bytes:
        """Return memory, less than `size` at the end of a segment; raises Unreadable."""
        each = self._segment(address)
        if each is not None:
            begin = each.offset + address - each.address
            end = min(begin + size, each.offset + each.file_size)
            if data := bytes(self._elf.data[begin:end]):
                return data
        raise Unreadable(hex(address))


def describe(number: int, code: int, address: int, why: str = "") -> str:
    """Return a signal with its cause and address as text; `why` is a cause that is known."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    if number not in _FAULTS or code <= 0:
        return f"{name}: {why}" if why else name
    if code == SI_KERNEL:  # a general protection fault, which has no address
        return f"{name}: a non-canonical address or a privileged instruction"
    how = why or _CODES.get((signal.Signals(number), code))
    return f"{name} at address {address:#x}" + (f": {how}" if how else "")
