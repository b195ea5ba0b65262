# SPDX-License-Identifier: GPL-2.0
"""Turns the `syscall` instructions of a partially linked application into calls.

The stubs lie at the end of the same section, so what reaches them, and the way back,
are plain distances; relocations are needed for the kernel's entries alone: `ukl_syscall`, or
those of fast calls.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ukl.base.errors import UklError
from ukl.base.model import Level, SyscallCounts
from ukl.elf.names import (
    FAST,
    FAST_NUMBERS,
    FAST_RETURN,
    PLAIN,
    RESTART,
    SHORT,
    STUBS,
    SYSCALL,
    fast_entry,
)
from ukl.elf.reader import STB_LOCAL, STB_WEAK, STT_GNU_IFUNC, Elf
from ukl.elf.writer import Writer
from ukl.syscalls import frames, liveness
from ukl.syscalls.code import (
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    STT_FUNC,
    STT_SECTION,
    codes,
)
from ukl.syscalls.disassemble import Code, covering, decode, sweep
from ukl.syscalls.rewritable import ROOM, Site, Way

TEXT = ".ukl.text"
FRAMES = ".ukl.eh_frame"
_ALIGN = 16

_CALL, _JMP = b"\xe8", b"\xe9"
_LOWER = bytes.fromhex("488d6424 80")  # lea -128(%rsp),%rsp
_RAISE = bytes.fromhex("488da424 80000000")  # lea 128(%rsp),%rsp
_INT3, _RET = b"\xcc", b"\xc3"
_SYSCALL = 2
"""Bytes of the instruction."""

_PREFIX = b"\x2e"
"""CS segment override, which a near call ignores in 64-bit mode (Intel SDM, volume 2, 2.1.1)."""

_PREFIXES = 3
"""Processors that count prefixes are slow from the fourth on."""
_NOPS = tuple(
    bytes.fromhex(text)
    for text in (
        "",
        "90",
        "6690",
        "0f1f00",
        "0f1f4000",
        "0f1f440000",
        "660f1f440000",
        "0f1f8000000000",
        "0f1f840000000000",
        "660f1f840000000000",
    )
)
"""The instructions of 1 to 9 bytes that do nothing (Intel SDM, volume 2, NOP)."""


@dataclass(slots=True)
class _Stubs:
    """The code that is made, beginning at `base` of the section.

    `calls` are the offsets in the section of displacements to an entry of the kernel, with
    its name: `entry`, if nothing else is said. `jumped` are, for each stub that is jumped
    to: start, frame, and the address behind the site.
    """

    base: int
    entry: str
    code: bytearray = field(default_factory=bytearray)
    calls: list[tuple[int, str]] = field(default_factory=list)
    shared: dict[tuple[bytes, str], int] = field(default_factory=dict)
    jumped: list[tuple[int, frames.Frame, int]] = field(default_factory=list)

    @property
    def here(self) -> int:
        return self.base + len(self.code)

    def to_kernel(self, opcode: bytes, entry: str) -> None:
        self.code += opcode
        self.calls.append((self.here, entry))
        self.code += bytes(4)

    def called(self, moved: bytes, entry: str) -> int:
        """Return the address of the stub that does `moved`, then the call of `entry`."""
        key = moved, entry
        if key not in self.shared:
            self.shared[key] = self.here
            self.code += moved
            self.to_kernel(_JMP, entry)
        return self.shared[key]

    def jump(self, site: Site, before: bytes, behind: bytes, entry: str) -> int:
        """Return the address of a new stub for `site`, which goes back by a jump."""
        start = self.here
        self.code += before
        lowered = raised = 0
        if site.red_zone:
            self.code += _LOWER
            lowered = self.here - start
        self.to_kernel(_CALL, entry)
        if site.red_zone:
            self.code += _RAISE
            raised = self.here - start
        self.code += behind + _JMP
        self.code += struct.pack("<i", site.end - (self.here + 4))
        rows = frames.jumped_to(lowered, raised)
        self.jumped.append((start, frames.Frame(self.here - start, rows), site.end))
        return start


def rewrite(elf: Elf, plain_size: int, level: Level) -> tuple[bytes | None, SyscallCounts]:
    """Return the object with its `syscall` instructions turned into calls, and the counts.

    None where there is nothing to change. `level` chooses the kernel's entries.
    `plain_size` is how much of a normal program's ukl_syscall, in bytes, has its return
    address on top of the stack.
    """
    symbols = elf.raw_symbols()
    numbers = {section.name: number for number, section in enumerate(elf.sections)}
    text = numbers.get(TEXT)
    code = codes(elf, symbols, elf.relocations()).get(text) if text is not None else None
    if code is None or text is None:
        return None, SyscallCounts(0, 0, 0)
    sites = sweep(code).sites
    ways = Counter(site.way for site in sites)
    counts = SyscallCounts(ways[Way.IN_PLACE], ways[Way.STUB], ways[Way.KEEP])
    if counts.in_place + counts.stub == 0:
        return None, counts
    writer = Writer(elf)
    content = writer.content(text)
    # Between functions: nothing falls into it.
    content += _INT3 * (-len(content) % _ALIGN)
    stubs = _Stubs(len(content), SYSCALL if level is Level.BASE else FAST)
    direct = 0
    for site in sites:
        if site.way is Way.KEEP:
            continue
        own = _own_entry(code, site) if level is not Level.BASE else None
        direct += own is not None
        if own is None or site.way is not Way.IN_PLACE:
            start, data = _patch(site, code.data, stubs, own)
        else:
            start = site.start
            room = site.end - start - ROOM
            if code.data[site.end : site.end + 1] == _RET:
                # Nothing of this function's is on the stack but its return address: that of
                # the entry, then. The RET stays, for what else leads to it.
                data = _JMP + bytes(4) + _nops(room)
                stubs.calls.append((start + 1, own))
            else:
                data = _ahead(room) + _CALL + bytes(4)
                stubs.calls.append((site.end - 4, own))
        content[start : start + len(data)] = data
    content += stubs.code
    entries = {name: writer.undefined(name) for name in sorted({name for _, name in stubs.calls})}
    for offset, name in stubs.calls:
        writer.add_relocation(text, offset, R_X86_64_PLT32, entries[name], -4)
    counts = replace(counts, direct=direct)
    writer.place(STUBS, STT_FUNC, stubs.base, len(stubs.code))
    if FRAMES in numbers:
        kernel = [(RESTART, frames.Frame(frames.RESTART_SIZE, frames.RESTART))]
        kernel.append((PLAIN, frames.Frame(plain_size, frames.CALLED)))
        if level is not Level.BASE:
            kernel.append((FAST_RETURN, frames.Frame(frames.FAST_RETURN_SIZE, frames.CALLED)))
        _describe(writer, text, numbers[FRAMES], stubs, kernel)
    return writer.bytes(), counts


def _own_entry(code: Code, site: Site) -> str | None:
    """Return the kernel's entry for the number of `site`, if that keeps enough."""
    number, function = site.number, covering(code.functions, site.address)
    if number is None or not site.certain or function is None:
        return None
    if number not in FAST_NUMBERS:
        return None
    names = SHORT.get(number)
    # Of two names for one address the table of symbols has the last: __dup2, dup2.
    scalar = names is not None and function.name.strip("_") in names
    needed = liveness.needed(code, function, site.address + _SYSCALL, scalar=scalar)
    if names is None:
        needed -= {liveness.RETURNED}  # the entry keeps it
    return None if needed else fast_entry(number)


def _patch(site: Site, data: bytes, stubs: _Stubs, own: str | None) -> tuple[int, bytes]:
    """Return where bytes of the section change, and to what; the stub is made.

    `own` is the kernel's entry for the number, if the site is to go there.
    """
    before = data[site.start : site.address]
    behind = data[site.address + _SYSCALL : site.end]
    rest = site.end - site.start - ROOM
    entry = own or stubs.entry
    if site.called:
        # The return address is behind the instruction, as it was.
        target = stubs.called(before, entry)
        return site.start, _ahead(rest) + _CALL + struct.pack("<i", target - site.end)
    target = stubs.jump(site, before, behind, entry)
    return site.start, _JMP + struct.pack("<i", target - (site.start + ROOM)) + _nops(rest)


def _ahead(size: int) -> bytes:
    """Return what makes a call that many bytes longer, without another instruction if it can."""
    return _PREFIX * size if size <= _PREFIXES else _nops(size)


def _nops(size: int) -> bytes:
    longest = len(_NOPS) - 1
    return _NOPS[longest] * (size // longest) + _NOPS[size % longest]


def _describe(
    writer: Writer,
    text: int,
    table: int,
    stubs: _Stubs,
    kernel: Sequence[tuple[str, frames.Frame]],
) -> None:
    """Add the call frame information of the stubs, and of what they call in the kernel."""
    # The stubs that are called have one description: they are all of it but the others.
    pieces: list[tuple[int, frames.Frame, int | None]] = []
    at = stubs.base
    back: int | None
    for start, frame, back in stubs.jumped:
        if start > at:
            pieces.append((at, frames.Frame(start - at, frames.CALLED), None))
        pieces.append((start, frame, back))
        at = start + frame.size
    if stubs.here > at:
        pieces.append((at, frames.Frame(stubs.here - at, frames.CALLED), None))
    made = frames.encode([frame for _, frame, _ in pieces] + [frame for _, frame in kernel])

    content = writer.content(table)
    begin = frames.end(content)
    content[begin:] = made.data + bytes(4)
    symbol, value = _in_text(writer.elf, text)
    for (start, _, back), place, rows in zip(pieces, made.starts, made.rows, strict=False):
        writer.add_relocation(table, begin + place, R_X86_64_PC32, symbol, start - value)
        if back is not None:
            offset = begin + rows + frames.ADDRESS_AT
            writer.add_relocation(table, offset, R_X86_64_64, symbol, back - value)
    for place, (name, _) in zip(made.starts[len(pieces) :], kernel, strict=True):
        addend = frames.FAST_RETURN_AT if name == FAST_RETURN else 0
        # Of a name that is not there the description is of address 0: nobody's.
        number = writer.undefined(name, STB_WEAK)
        writer.add_relocation(table, begin + place, R_X86_64_PC32, number, addend)


def _in_text(elf: Elf, text: int) -> tuple[int, int]:
    """Return number and value of a local symbol in the text to relocate against."""
    found = [
        (number, symbol)
        for number, symbol in enumerate(elf.raw_symbols())
        if symbol.section == text and symbol.binding == STB_LOCAL and symbol.kind != STT_GNU_IFUNC
    ]
    for number, symbol in found:
        if symbol.kind == STT_SECTION:
            return number, symbol.value
    if not found:
        raise UklError("the text has no local symbol to relocate against")
    return found[0][0], found[0][1].value


def plain_size(syscall: Elf) -> int:
    """Return the bytes from ukl_syscall of a normal program to its first return, with it.

    `syscall` is the compiled syscall.S.
    """
    for code in codes(syscall, syscall.raw_symbols(), ()).values():
        start = syscall.addresses([SYSCALL])[SYSCALL]
        at = start
        for address, size, mnemonic, _ in decode(code, start, code.end):
            at = address + size
            if mnemonic == "ret":
                return at - start
    raise UklError("syscall.S has no ukl_syscall that returns")
