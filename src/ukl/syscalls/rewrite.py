# SPDX-License-Identifier: GPL-2.0
"""Turns the `syscall` instructions of a partially linked application into calls.

The stubs are at the end of the same section, so jumps to and from them need no relocation.
Only the kernel's entries need one: `ukl_syscall`, or those of fast calls.
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
from ukl.syscalls import callers, cancellation, frames, halts, liveness
from ukl.syscalls.code import (
    R_X86_64_64,
    R_X86_64_PC32,
    R_X86_64_PLT32,
    STT_FUNC,
    STT_SECTION,
    codes,
)
from ukl.syscalls.disassemble import Code, covering, decode, sweep
from ukl.syscalls.rewritable import CALL_SIZE, Site, Way

TEXT = ".ukl.text"
FRAMES = ".ukl.eh_frame"
_ALIGN = 16

_CALL, _JMP = b"\xe8", b"\xe9"
_LOWER = bytes.fromhex("488d6424 80")  # lea -128(%rsp),%rsp
_RAISE = bytes.fromhex("488da424 80000000")  # lea 128(%rsp),%rsp
_INT3, _RET = b"\xcc", b"\xc3"
_SYSCALL = 2
"""Bytes of the `syscall` instruction."""

_PREFIX = b"\x2e"
"""CS segment override, which a near call ignores in 64-bit mode (Intel SDM, volume 2, 2.1.1)."""

_PREFIXES = 3
"""Some processors are slow with more than three prefixes."""
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
"""No-operations of 0 to 9 bytes (Intel SDM, volume 2, NOP)."""


@dataclass(slots=True)
class _Stubs:
    """The stubs' code, from offset `base` of the section on.

    `entry` is the default entry of the kernel. `calls` are the offsets in the section of
    displacements to an entry, with its name. `jumped` has start, frame and return address of
    each stub that is jumped to.
    """

    base: int
    entry: str
    code: bytearray = field(default_factory=bytearray)
    calls: list[tuple[int, str]] = field(default_factory=list)
    shared: dict[tuple[bytes, str], int] = field(default_factory=dict)
    jumped: list[tuple[int, frames.Frame, int]] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.base + len(self.code)

    def to_kernel(self, opcode: bytes, entry: str) -> None:
        self.code += opcode
        self.calls.append((self.end, entry))
        self.code += bytes(4)

    def add_called(self, before: bytes, entry: str) -> int:
        """Return the address of the stub with the code `before` and a jump to `entry`."""
        key = before, entry
        if key not in self.shared:
            self.shared[key] = self.end
            self.code += before
            self.to_kernel(_JMP, entry)
        return self.shared[key]

    def add_jumped(self, site: Site, before: bytes, after: bytes, entry: str) -> int:
        """Return the address of a new stub for `site`, which returns by a jump."""
        start = self.end
        self.code += before
        lowered = raised = 0
        if site.red_zone:
            self.code += _LOWER
            lowered = self.end - start
        self.to_kernel(_CALL, entry)
        if site.red_zone:
            self.code += _RAISE
            raised = self.end - start
        self.code += after + _JMP
        self.code += struct.pack("<i", site.end - (self.end + 4))
        rows = frames.jumped_to(lowered, raised)
        self.jumped.append((start, frames.Frame(self.end - start, rows), site.end))
        return start


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The object with its `syscall` instructions turned into calls, or None: nothing changes."""

    data: bytes | None
    counts: SyscallCounts


def rewrite(elf: Elf, plain_size: int, level: Level) -> Rewritten:
    """Turn the `syscall` instructions of an object into calls.

    `level` chooses the kernel's entries. `plain_size` is the number of bytes of a normal
    program's ukl_syscall in which the return address is on top of the stack.
    """
    symbols = elf.raw_symbols()
    numbers = {section.name: number for number, section in enumerate(elf.sections)}
    text = numbers.get(TEXT)
    code = codes(elf, symbols, elf.relocations()).get(text) if text is not None else None
    if code is None or text is None:
        return Rewritten(None, SyscallCounts(0, 0, 0))
    found = sweep(code)
    copies = [
        cancellation.plan(elf, code, found, site) for site in found.sites if site.way is Way.COPY
    ]
    copied = [copy for copy in copies if copy is not None]
    ways = Counter(site.way for site in found.sites)
    kept = ways[Way.KEEP] + len(copies) - len(copied)
    counts = SyscallCounts(ways[Way.IN_PLACE], ways[Way.STUB] + len(copied), kept)
    if counts.in_place + counts.stub == 0:
        return Rewritten(None, counts)
    writer = Writer(elf)
    content = writer.content(text)
    # Execution does not reach it: the padding is between functions.
    content += _INT3 * (-len(content) % _ALIGN)
    stubs = _Stubs(len(content), SYSCALL if level is Level.BASE else FAST)
    entries = (
        _direct_entries(elf, code, found.sites, text, numbers.get(FRAMES))
        if level is not Level.BASE
        else {}
    )
    direct = 0
    for site in found.sites:
        if site.way in {Way.KEEP, Way.COPY}:
            continue
        entry = entries.get(site.address)
        direct += entry is not None
        if entry is None or site.way is not Way.IN_PLACE:
            start, data = _patch(site, code.data, stubs, entry)
        else:
            start = site.start
            rest = site.end - start - CALL_SIZE
            if code.data[site.end : site.end + 1] == _RET:
                # A tail call: the stack holds only this function's return address, which the
                # entry uses. The RET stays, as other code may lead to it.
                data = _JMP + bytes(4) + _nops(rest)
                stubs.calls.append((start + 1, entry))
            else:
                data = _padding(rest) + _CALL + bytes(4)
                stubs.calls.append((site.end - 4, entry))
        content[start : start + len(data)] = data
    for place in halts.places(found):
        content[place : place + 1] = halts.INVALID
    for copy in copied:
        _copy(writer, text, stubs, copy)
    content += stubs.code
    called = {name: writer.undefined(name) for name in sorted({name for _, name in stubs.calls})}
    for offset, name in stubs.calls:
        writer.add_relocation(text, offset, R_X86_64_PLT32, called[name], -4)
    counts = replace(counts, direct=direct)
    writer.set_symbol(STUBS, STT_FUNC, stubs.base, len(stubs.code))
    if FRAMES in numbers:
        kernel = [(RESTART, frames.Frame(frames.RESTART_SIZE, frames.RESTART))]
        kernel.append((PLAIN, frames.Frame(plain_size, frames.CALLED)))
        if level is not Level.BASE:
            kernel.append((FAST_RETURN, frames.Frame(frames.FAST_RETURN_SIZE, frames.CALLED)))
        _describe(writer, text, numbers[FRAMES], stubs, kernel)
    return Rewritten(writer.bytes(), counts)


def _copy(writer: Writer, text: int, stubs: _Stubs, copy: cancellation.Copy) -> None:
    """Add the copy of a function to the stubs, and let its symbols follow."""
    stubs.code += _INT3 * (-stubs.end % _ALIGN)
    base = stubs.end
    stubs.code += copy.data
    stubs.calls.append((base + copy.call, stubs.entry))
    for relocation in copy.relocations:
        offset = base + relocation.offset
        writer.add_relocation(text, offset, relocation.kind, relocation.symbol, relocation.addend)
    symbols = writer.elf.raw_symbols()
    for number in copy.symbols:
        symbol = symbols[number]
        start = copy.place(symbol.value)
        size = copy.place(symbol.value + symbol.size) - start
        writer.move_symbol(number, base + start, size)


def _direct_entries(
    elf: Elf, code: Code, sites: Sequence[Site], text: int, table: int | None
) -> dict[int, str]:
    """Return site -> the kernel's entry for its number, where that preserves enough registers."""
    found: dict[int, tuple[int, str]] = {}
    for site in sites:
        entry, function = _direct_entry(code, site), covering(code.functions, site.address)
        if entry is not None and function is not None:
            found[site.address] = function.start, entry
    known = callers.known(elf, code, text, table, {start for start, _ in found.values()})
    return {site: entry for site, (start, entry) in found.items() if start not in known}


def _direct_entry(code: Code, site: Site) -> str | None:
    """Return the kernel's entry for the number of `site`, if that preserves enough registers."""
    number, function = site.number, covering(code.functions, site.address)
    if number is None or not site.certain or function is None:
        return None
    if number not in FAST_NUMBERS:
        return None
    names = SHORT.get(number)
    # If an address has two names (__dup2, dup2), the symbol table yields the last.
    scalar = names is not None and function.name.strip("_") in names
    needed = liveness.needed(code, function, site.address + _SYSCALL, scalar=scalar)
    if names is None:
        needed -= {liveness.RETURNED}  # the entry preserves it
    return None if needed else fast_entry(number)


def _patch(site: Site, data: bytes, stubs: _Stubs, direct: str | None) -> tuple[int, bytes]:
    """Add the stub for `site`; return the address of the patch in the section, and its bytes.

    `direct` is the kernel's entry for the number, if the site calls that.
    """
    before = data[site.start : site.address]
    after = data[site.address + _SYSCALL : site.end]
    rest = site.end - site.start - CALL_SIZE
    entry = direct or stubs.entry
    if site.called:
        # The return address is after the instruction, as for `syscall`.
        target = stubs.add_called(before, entry)
        return site.start, _padding(rest) + _CALL + struct.pack("<i", target - site.end)
    target = stubs.add_jumped(site, before, after, entry)
    return site.start, _JMP + struct.pack("<i", target - (site.start + CALL_SIZE)) + _nops(rest)


def _padding(size: int) -> bytes:
    """Return `size` bytes that lengthen the call after them: prefixes if possible, else nops."""
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
    """Add the call frame information of the stubs, and of the kernel's code that they call."""
    # All code outside the stubs that are jumped to belongs to stubs that are called.
    pieces: list[tuple[int, frames.Frame, int | None]] = []
    at = stubs.base
    back: int | None
    for start, frame, back in stubs.jumped:
        if start > at:
            pieces.append((at, frames.Frame(start - at, frames.CALLED), None))
        pieces.append((start, frame, back))
        at = start + frame.size
    if stubs.end > at:
        pieces.append((at, frames.Frame(stubs.end - at, frames.CALLED), None))
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
        # Weak: an undefined name becomes address 0, where no code is.
        number = writer.undefined(name, STB_WEAK)
        writer.add_relocation(table, begin + place, R_X86_64_PC32, number, addend)


def _in_text(elf: Elf, text: int) -> tuple[int, int]:
    """Return number and value of a local symbol in the text, for relocations."""
    found = [
        (number, symbol)
        for number, symbol in enumerate(elf.raw_symbols())
        if symbol.section == text and symbol.binding == STB_LOCAL and symbol.kind != STT_GNU_IFUNC
    ]
    for number, symbol in found:
        if symbol.kind == STT_SECTION:
            return number, symbol.value
    if not found:
        raise UklError("the text has no local symbol for relocations")
    return found[0][0], found[0][1].value


def without_halts(elf: Elf) -> Rewritten:
    """Replace only the C library's `hlt` instructions (halts.py)."""
    symbols = elf.raw_symbols()
    text = next((n for n, section in enumerate(elf.sections) if section.name == TEXT), None)
    code = codes(elf, symbols, elf.relocations()).get(text) if text is not None else None
    halted = halts.places(sweep(code)) if code is not None else ()
    if text is None or not halted:
        return Rewritten(None, SyscallCounts(0, 0, 0))
    writer = Writer(elf)
    content = writer.content(text)
    for place in halted:
        content[place : place + 1] = halts.INVALID
    return Rewritten(writer.bytes(), SyscallCounts(0, 0, 0))


def plain_size(syscall: Elf) -> int:
    """Return the size of a normal program's ukl_syscall up to and with its first return [bytes].

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
