# SPDX-License-Identifier: GPL-2.0
"""Disassembles machine code: every instruction once, within the bounds of functions.

A linear sweep inside each function restarts at the next one, so that data between functions
cannot shift the decoding. Raw bytes are never searched for an instruction. Capstone decodes,
and gives the operands in Intel syntax.

Source for the encodings: Intel SDM, volume 2.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Any

import capstone

from ukl.syscalls import red_zone
from ukl.syscalls.instruction import JUMPS, Instruction
from ukl.syscalls.rewritable import Site, classify, problem

CHUNK = 1 << 15
"""Bytes decoded at a time: capstone takes 248 bytes of memory for each instruction."""

LONGEST = 15
"""Bytes of the longest x86 instruction."""

_SYSCALL = b"\x0f\x05"


class Kind(StrEnum):
    """Why `ukl check` reports an instruction."""

    FAR = "far"
    GS = "gs"
    GS_BASE = "gs-base"
    HALT = "hlt"
    INT80 = "int80"
    PRIVILEGED = "privileged"
    SYSENTER = "sysenter"
    VSYSCALL = "vsyscall"


_PRIVILEGED = """
    cli sti in out insb insw insd outsb outsw outsd wrmsr rdmsr iret iretd iretq sysret sysretq
    sysexit sysexitq lgdt lidt lldt ltr lmsw invlpg invpcid invd wbinvd wbnoinvd clts stac clac
    xsetbv monitor mwait vmcall vmlaunch vmresume vmxon vmxoff vmrun
"""

PRIVILEGED = frozenset(_PRIVILEGED.split())
"""Mnemonics that fault in a process but take effect in ring 0."""

_NOTABLE = {
    **dict.fromkeys(PRIVILEGED, Kind.PRIVILEGED),
    **dict.fromkeys(("ljmp", "lcall", "retf", "retfq"), Kind.FAR),
    "hlt": Kind.HALT,
    "sysenter": Kind.SYSENTER,
    "swapgs": Kind.GS_BASE,
    "wrgsbase": Kind.GS_BASE,
    "lgs": Kind.GS_BASE,
}

_BEGIN_WITH_V = """
    verr verw vmcall vmclear vmfunc vmlaunch vmload vmmcall vmptrld vmptrst vmread vmresume vmrun
    vmsave vmwrite vmxoff vmxon
"""

_NOT_VECTOR = frozenset(_BEGIN_WITH_V.split())

_VSYSCALL_PAGE = "0xffffffffff600"


@dataclass(frozen=True, slots=True)
class Function:
    """A range of code with one name; addresses as in the section.

    A range without a symbol is not `named`: code with local labels, or data within code. The
    end of one that is not `sized` is a guess: the start of the next.
    """

    name: str
    start: int
    end: int
    named: bool = True
    sized: bool = True


@dataclass(frozen=True, slots=True)
class Code:
    """One section of machine code, with the symbols and references of its file.

    `address` is that of the first byte (0 in a relocatable object). `entries` are the
    addresses that symbols, relocations and jump tables refer to; the code's direct jumps are
    not included. `called` are the targets of calls and jumps with a relocation. `relocated`
    are the addresses of bytes that the linker fills in.
    """

    section: str
    address: int
    data: bytes
    functions: tuple[Function, ...]
    entries: frozenset[int] = frozenset()
    called: frozenset[int] = frozenset()
    relocated: frozenset[int] = frozenset()

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True)
class Note:
    """An instruction that `ukl check` reports."""

    kind: Kind
    function: str
    address: int
    text: str


@dataclass(slots=True)
class Sweep:
    """The result of one pass over a section.

    `branches` maps the target of each direct jump or call to the addresses of the jumps;
    `lea` does the same for addresses taken relative to RIP. `vex` has the number of
    instructions with VEX or EVEX encoding by function.
    """

    sites: list[Site] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    vex: dict[str, int] = field(default_factory=dict)
    branches: dict[int, list[int]] = field(default_factory=dict)
    lea: dict[int, list[int]] = field(default_factory=dict)
    undecoded: int = 0
    instructions: int = 0


@cache
def _decoder() -> Any:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.skipdata = True  # each byte that is not an instruction becomes ".byte"
    return decoder


def decode(code: Code, start: int, end: int) -> Iterator[Instruction]:
    """Yield the instructions from `start` to `end`; `.byte` stands for a byte that is not one."""
    decoder = _decoder()
    position, last = start - code.address, end - code.address
    while position < last:
        stop = min(last, position + CHUNK)
        # An instruction at the end of the chunk may be cut off: decode it with the next chunk.
        whole = stop if stop == last else stop - LONGEST
        for row in decoder.disasm_lite(code.data[position:stop], code.address + position):
            if row[0] - code.address >= whole:
                break
            yield row
            position = row[0] - code.address + row[1]


def ranges(
    address: int, size: int, section: str, symbols: Iterable[tuple[int, int, str, bool]]
) -> tuple[Function, ...]:
    """Return the functions that cover `size` bytes at `address`, without gaps or overlaps.

    `symbols` are (value, size, name, whether it is certainly code). A symbol inside a sized
    function is an entry and does not split the function. Code without a symbol is named by
    its section and offset.
    """
    end = address + size
    best: dict[int, tuple[int, bool, str]] = {}
    for value, length, name, is_function in symbols:
        if not (is_function or length):
            continue  # may be a table
        if address <= value < end and (length, is_function) > best.get(value, (-1, False))[:2]:
            best[value] = (length, is_function, name)
    found: list[Function] = []
    position = address
    starts = sorted(best)
    for number, start in enumerate(starts):
        if start < position:
            continue
        if start > position:
            found.append(_unnamed(section, address, position, start))
        length, _, name = best[start]
        following = starts[number + 1] if number + 1 < len(starts) else end
        position = min(end, start + length) if length else following
        found.append(Function(name, start, position, sized=length > 0))
    if position < end:
        found.append(_unnamed(section, address, position, end))
    return tuple(found)


def _unnamed(section: str, address: int, start: int, end: int) -> Function:
    return Function(f"{section}+{start - address:#x}", start, end, named=False)


def covering(functions: Sequence[Function], address: int) -> Function | None:
    """Return the function around `address`; `functions` are in order."""
    number = bisect_right(functions, address, key=lambda f: f.start) - 1
    if number >= 0 and address < functions[number].end:
        return functions[number]
    return None


def sweep(code: Code, *, finished: bool = False) -> Sweep:
    """Decode all of `code` once and return the findings; `finished` is for classify()."""
    result = Sweep()
    waiting: list[tuple[Function, list[Instruction]]] = []
    tails: list[Function] = []
    for function in _reached(code, result, tails):
        here = code.data[function.start - code.address : function.end - code.address]
        if function.end - function.start <= LONGEST and not here.strip(b"\x90\xcc\x00"):
            continue  # padding
        notes = len(result.notes)
        kept, end = _function(code, function, result, keep=_SYSCALL in here)
        if len(result.notes) > notes and problem(list(decode(code, function.start, end)), ()):
            del result.notes[notes:]  # a table within the code can look like any instruction
        if end < function.end:
            tails.append(_unnamed(code.section, code.address, end, function.end))
        if kept:
            waiting.append((function, kept))
    starts = (function.start for function in code.functions)
    entries = code.entries.union(result.branches, result.lea, starts)
    zones = {_parent(function.name) for function, rows in waiting if red_zone.used(rows)}
    for function, rows in waiting:
        result.sites += classify(
            rows,
            function=function.name,
            section=code.section,
            entries=entries,
            relocated=code.relocated,
            red_zone=_parent(function.name) in zones,
            finished=finished,
        )
    return result


def _reached(code: Code, result: Sweep, tails: list[Function]) -> Iterator[Function]:
    """Yield the named functions, and those unnamed ranges that jumps and calls lead to.

    Hand-written code has tables between instructions, without symbols. In a section without
    any symbol everything is code. `tails` are the rests of functions whose end turned out to
    be earlier.
    """
    named = [function for function in code.functions if function.named]
    if not named:
        yield from code.functions
        return
    yield from named
    others = [function for function in code.functions if not function.named] + tails
    tails.clear()
    while others:
        targets = sorted(code.called.union(result.branches))
        waiting = []
        for function in others:
            number = bisect_left(targets, function.start)
            if number < len(targets) and targets[number] < function.end:
                yield replace(function, start=targets[number], sized=False)
            else:
                waiting.append(function)
        waiting += tails
        tails.clear()
        if len(waiting) >= len(others):
            return
        others = waiting


def _parent(name: str) -> str:
    """Return the function that a part split off by the compiler (`f.cold`) belongs to."""
    return name.partition(".cold")[0]


def _function(
    code: Code, function: Function, result: Sweep, *, keep: bool
) -> tuple[list[Instruction], int]:
    """Add the findings in one function to `result`.

    Returns its instructions, if one is a syscall, and its end. A function without a size ends
    at the first jump beyond which no known target lies.
    """
    kept: list[Instruction] = []
    found, over = False, False
    farthest = function.start
    if not function.sized:
        inside = (a for a in code.entries if function.start < a < function.end)
        farthest = max(inside, default=farthest)
    for row in decode(code, function.start, function.end):
        if over and row[0] > farthest:
            return kept if found else [], row[0]
        over = not function.sized and row[2] in JUMPS
        result.instructions += 1
        if keep:
            kept.append(row)
        address, size, mnemonic, operands = row
        first = mnemonic[0]
        if first == "j" or mnemonic == "call" or mnemonic.startswith("loop"):
            if operands[:1].isdigit():  # capstone writes 0 to 9 without 0x
                # The linker fills in the displacement: a relocation names the target.
                if address + size - 1 not in code.relocated:
                    target = int(operands, 0)
                    result.branches.setdefault(target, []).append(address)
                    if farthest < target < function.end:
                        farthest = target
                continue
        elif mnemonic == "lea":
            if "[rip" in operands and address + size - 1 not in code.relocated:
                target = address + size + _displacement(operands)
                result.lea.setdefault(target, []).append(address)
            continue
        elif first == "v" and mnemonic not in _NOT_VECTOR:
            result.vex[function.name] = result.vex.get(function.name, 0) + 1
            continue
        elif mnemonic == "syscall":
            found = True
            continue
        elif mnemonic == ".byte":
            result.undecoded += 1
            continue
        kind = _kind(mnemonic, operands)
        if kind is not None:
            text = f"{mnemonic} {operands}".rstrip()
            result.notes.append(Note(kind, function.name, address, text))
    return kept if found else [], function.end


def _displacement(operands: str) -> int:
    inside = operands[operands.index("[rip") + 4 : operands.index("]")].replace(" ", "")
    return int(inside, 16) if inside else 0


def _kind(mnemonic: str, operands: str) -> Kind | None:
    """Return why to report an instruction, or None."""
    known = _NOTABLE.get(mnemonic)
    if known is not None:
        return known
    if "gs" in operands:
        if "gs:" in operands:
            return Kind.GS
        if (mnemonic == "mov" and operands.startswith("gs,")) or operands == "gs":
            return Kind.GS_BASE if mnemonic != "push" else None
    if mnemonic in {"jmp", "call"} and operands.startswith("ptr ["):  # others have their size
        return Kind.FAR
    if mnemonic == "int" and operands == "0x80":
        return Kind.INT80
    if mnemonic == "mov" and ("cr" in operands or "dr" in operands):
        words = [word.strip() for word in operands.split(",")]
        if any(word[:2] in {"cr", "dr"} and word[2:].isdigit() for word in words):
            return Kind.PRIVILEGED
    if _VSYSCALL_PAGE in operands:
        return Kind.VSYSCALL
    return None
