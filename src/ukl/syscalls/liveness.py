# SPDX-License-Identifier: GPL-2.0
"""Finds the registers that are read after a `syscall` and that a direct call may change.

The kernel's entry for a single system call (arch/x86/ukl/fast.S) preserves the registers that
a function has to preserve; the instruction preserves all but rax, rcx and r11. In doubt a
register counts as read: then the site calls an entry that preserves all.

Source: System V ABI, AMD64 supplement, 3.2; Intel SDM, volume 2, by way of capstone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import capstone

from ukl.syscalls.disassemble import Code, Function
from ukl.syscalls.instruction import JUMPS

LIMIT = 96
"""Number of instructions to follow, on all paths together."""

_FAMILIES = {
    "rdi": ("rdi", "edi", "di", "dil"),
    "rsi": ("rsi", "esi", "si", "sil"),
    "rdx": ("rdx", "edx", "dx", "dl", "dh"),
    "r8": ("r8", "r8d", "r8w", "r8b"),
    "r9": ("r9", "r9d", "r9w", "r9b"),
    "r10": ("r10", "r10d", "r10w", "r10b"),
}
_OF = {name: family for family, names in _FAMILIES.items() for name in names}
_WHOLE = {name: family for family, names in _FAMILIES.items() for name in names[:2]}
"""A write of 32 bits clears the upper half (Intel SDM, volume 1, 3.4.1.1)."""

CLOBBERED = frozenset(_FAMILIES)
"""Registers that the entry for a single number may change and the instruction does not."""

RETURNED = "rdx"
"""The second register of a function's result."""


@cache
def _decoder() -> Any:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return decoder


def needed(code: Code, function: Function, address: int, *, scalar: bool) -> frozenset[str]:
    """Return the registers of CLOBBERED that may be read from `address` of `function` on.

    `scalar`: the function returns at most one register.
    """
    live: set[str] = set()
    seen: dict[int, frozenset[str]] = {}
    paths = [(address, CLOBBERED)]
    budget = LIMIT
    while paths:
        at, unknown = paths.pop()
        unknown -= live | seen.get(at, frozenset())
        if not unknown:
            continue
        budget -= 1
        if not budget or not function.start <= at < function.end:
            return CLOBBERED
        seen[at] = seen.get(at, frozenset()) | unknown
        read, written, following = _step(code, at, scalar=scalar)
        live |= read & unknown
        paths += [(successor, unknown - read - written) for successor in following]
    return frozenset(live)


def _step(
    code: Code, address: int, *, scalar: bool
) -> tuple[frozenset[str], frozenset[str], tuple[int, ...]]:
    """Return the registers that an instruction reads and overwrites, and its successors."""
    everything = CLOBBERED, frozenset[str](), ()
    start = address - code.address
    found = list(_decoder().disasm(code.data[start : start + 15], address, count=1))
    if not found:
        return everything
    instruction = found[0]
    end = address + instruction.size
    mnemonic, operands = instruction.mnemonic, instruction.op_str
    if mnemonic in {"ret", "repz ret"}:
        return frozenset() if scalar else frozenset({RETURNED}), frozenset(), ()
    if mnemonic in {"ud2", "hlt"}:
        return frozenset(), frozenset(), ()
    if mnemonic[0] == "j" or mnemonic.startswith("loop"):
        # The linker fills in the displacement of a jump out of the section.
        if not operands[:1].isdigit() or any(b in code.relocated for b in range(address, end)):
            return everything
        target = int(operands, 0)
        return frozenset(), frozenset(), (target,) if mnemonic == "jmp" else (target, end)
    if mnemonic in JUMPS or mnemonic.startswith(("call", "sys", "int", "notrack", "bnd", "xbegin")):
        return everything
    reads, writes = instruction.regs_access()
    read = {_OF[name] for name in map(instruction.reg_name, reads) if name in _OF}
    written = {_WHOLE[name] for name in map(instruction.reg_name, writes) if name in _WHOLE}
    if mnemonic.startswith(("cmov", "bsf", "bsr")):
        written.clear()  # these may leave the target unchanged
    if mnemonic in {"xor", "sub"}:
        first, _, second = operands.partition(", ")
        if first == second and first in _WHOLE:  # the result is 0 for any value
            read.discard(_WHOLE[first])
    return frozenset(read), frozenset(written), (end,)
