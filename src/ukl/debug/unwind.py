# SPDX-License-Identifier: GPL-2.0
"""Backtraces through kernel and application, without a debugger. Pure but for reading files.

The kernel's frames are unwound by its ORC tables (debug/orc.py), the application's by its call
frame information (debug/cfi.py); at the entry of the kernel a `struct pt_regs` leads from
one to the other. Only the guest's registers and stacks are needed.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from ukl.debug import cfi, orc
from ukl.debug.orc import MASK, Read
from ukl.elf.reader import SHN_UNDEF, STB_LOCAL, Elf, Symbol

KERNEL_HALF = 1 << 63
EH_FRAME = "__ukl_eh_frame_start"
"""A local symbol of each application, at the beginning of its table."""

TEXT = ("_stext", "_etext")
APPLICATIONS = ("__ukl_text_start", "__ukl_text_end")

MAX_FRAMES = 128
"""The most frames: a deeper stack is corrupt or no longer informative."""

STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC = 0, 2, 10


class Unreadable(Exception):
    """Memory that cannot be read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: the address in the guest, its function and the offset into it.

    `called` says that the address is a return address: the instruction before it is the one
    being executed. `kernel` is True in the kernel, False in the application; None: neither.
    """

    address: int
    called: bool
    function: str = ""
    offset: int = 0
    kernel: bool | None = None

    @property
    def place(self) -> int:
        """An address within the instruction being executed."""
        return self.address - self.called


class Code(Protocol):
    """What can be unwound: a program, or all files that a process has mapped."""

    def is_kernel(self, address: int) -> bool | None:
        """Tell whether an address is in the kernel's text; None: nor in the application's."""

    def name(self, address: int) -> tuple[str, int]:
        """Return the function's name and the offset of the address in it; "" if unknown."""

    def step(
        self, registers: Mapping[str, int], read: Read, *, called: bool
    ) -> tuple[dict[str, int], bool] | None:
        """Return the caller's registers, and whether it called (False: it was interrupted)."""


@dataclass
class Program:
    """A program in the guest: vmlinux, relocated by `offset`, or a normal executable."""

    elf: Elf
    offset: int = 0
    _orc: orc.Table | None = field(default=None, init=False)

    @cached_property
    def _bounds(self) -> dict[str, int]:
        return self.elf.addresses([*TEXT, *APPLICATIONS])

    def _within(self, names: tuple[str, str], linked: int) -> bool:
        begin, end = (self._bounds.get(name) for name in names)
        return begin is not None and end is not None and begin <= linked < end

    def linked(self, address: int) -> int:
        """Return the address as linked in the file."""
        return address - self.offset & MASK if address >= KERNEL_HALF else address

    def is_kernel(self, address: int) -> bool | None:
        """Tell whether an address is in the kernel's text; None: nor in the application's."""
        linked = self.linked(address)
        if self._within(APPLICATIONS, linked):
            return False
        if self._within(TEXT, linked):
            return True
        if TEXT[0] in self._bounds:
            return None
        executable = any(
            segment.flags & 1 and segment.address <= linked < segment.address + segment.memory_size
            for segment in self.elf.segments
        )
        return False if executable else None

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The functions' symbols."""
        return self.elf.symbols

    @cached_property
    def _names(self) -> tuple[list[int], list[tuple[str, int]]]:
        """Sorted addresses of functions, and (name, size) of each; global names are preferred."""
        found: dict[int, tuple[int, int, str]] = {}
        for symbol in self.symbols:
            if symbol.section == SHN_UNDEF or symbol.kind not in {
                STT_NOTYPE,
                STT_FUNC,
                STT_GNU_IFUNC,
            }:
                continue
            if symbol.value < 4096 or symbol.name.startswith((".L", "__pfx_")):
                continue
            # A linker script's names for a part are those of its first function, too.
            kind = 2 if symbol.kind != STT_NOTYPE else int(not symbol.name.startswith("__"))
            rank = (kind, symbol.size, symbol.name)
            known = found.get(symbol.value)
            if (
                known is None
                or rank[:1] > known[:1]
                or (rank[:1] == known[:1] and symbol.binding != STB_LOCAL)
            ):
                found[symbol.value] = rank
        addresses = sorted(found)
        return addresses, [(found[at][2], found[at][1]) for at in addresses]

    def name(self, address: int) -> tuple[str, int]:
        """Return the function's name and the offset of the address in it; "" if unknown."""
        if self.is_kernel(address) is None:
            return "", 0
        addresses, names = self._names
        linked = self.linked(address)
        at = bisect.bisect_right(addresses, linked) - 1
        if at < 0:
            return "", 0
        return names[at][0], linked - addresses[at]

    @cached_property
    def _tables(self) -> list[cfi.Table | cfi.DebugTable]:
        found: list[cfi.Table | cfi.DebugTable] = []
        for symbol in self.elf.symbols:
            if symbol.name != EH_FRAME or symbol.section >= len(self.elf.sections):
                continue
            section = self.elf.sections[symbol.section]
            content = self.elf.content(section)[symbol.value - section.address :]
            found.append(cfi.Table(content, symbol.value))
        if (own := self.elf.section(".debug_frame")) is not None and TEXT[0] not in self._bounds:
            found.append(cfi.DebugTable(self.elf.content(own)))
        return found

    def _kernel_table(self) -> orc.Table | None:
        if self._orc is None:
            ip, rules = (self.elf.section(name) for name in (".orc_unwind_ip", ".orc_unwind"))
            if ip is not None and rules is not None:
                self._orc = orc.Table(self.elf.content(ip), ip.address, self.elf.content(rules))
        return self._orc

    def step(
        self, registers: Mapping[str, int], read: Read, *, called: bool
    ) -> tuple[dict[str, int], bool] | None:
        """Return the caller's registers, and whether it called (False: it was interrupted)."""
        pc = registers["rip"] - called
        linked = self.linked(pc)
        kernel = self.is_kernel(pc)
        if kernel:
            table = self._kernel_table()
            rule = table.find(linked) if table else None
            if rule is None:
                return None
            complete = {"rbp": 0, **registers}
            caller = orc.step(rule, complete, read)
            interrupted = rule.kind in {orc.Kind.REGS, orc.Kind.REGS_PARTIAL}
            return (caller, not interrupted) if caller is not None else None
        if kernel is False:
            for frames in self._tables:
                if (own := frames.find(linked)) is not None:
                    caller = own.step(registers, read, self.offset)
                    return (caller, not own.signal) if caller is not None else None
        return None


def backtrace(program: Code, registers: Mapping[str, int], read: Read) -> list[Frame]:
    """Return the frames, the innermost first, as far as tables and memory allow."""
    return list(_frames(program, registers, read))


def _frames(program: Code, registers: Mapping[str, int], read: Read) -> Iterator[Frame]:
    known, called = dict(registers), False
    seen: set[tuple[int, int]] = set()
    for _ in range(MAX_FRAMES):
        address = known["rip"]
        here = (address, known.get("rsp", 0))
        # A return address of 0 is the end, but the innermost frame may be a call of address 0.
        if here in seen or (seen and not address):
            return
        seen.add(here)
        place = address - called
        name, offset = program.name(place)
        yield Frame(address, called, name, offset + called, program.is_kernel(place))
        try:
            caller = program.step(known, read, called=called)
            if caller is None:
                caller = _after_a_wild_jump(program, known, read) if not called else None
        except (Unreadable, KeyError):
            return
        if caller is None:
            return
        known, called = caller


def _after_a_wild_jump(
    program: Code, registers: Mapping[str, int], read: Read
) -> tuple[dict[str, int], bool] | None:
    """Return the caller of an address without code, after a call through a bad pointer.

    The return address is at the stack pointer, if it is in code.
    """
    if program.is_kernel(registers["rip"]) is not None:
        return None
    target = read(registers["rsp"])
    if program.is_kernel(target) is None:
        return None
    return {**registers, "rip": target, "rsp": registers["rsp"] + 8}, True


def words(fetch: Callable[[int, int], bytes], page: int = 1024) -> Read:
    """Return a function that reads 8 bytes, and fetches each page only once.

    `fetch` gets an address and a size, and raises Unreadable.
    """
    pages: dict[int, bytes] = {}

    def at(base: int) -> bytes:
        if base not in pages:
            pages[base] = fetch(base, page)
        return pages[base]

    def read(address: int) -> int:
        base, inside = address - address % page, address % page
        data = at(base)[inside : inside + 8]
        if len(data) < 8:
            data += at(base + page)[: 8 - len(data)]
        if len(data) < 8:
            raise Unreadable(hex(address))
        return int.from_bytes(data, "little")

    return read
