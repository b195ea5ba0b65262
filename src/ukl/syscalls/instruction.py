# SPDX-License-Identifier: GPL-2.0
"""Parses instructions and operands, for the modules that read machine code."""

from __future__ import annotations

import re
from typing import TypeAlias

Instruction: TypeAlias = tuple[int, int, str, str]
"""Address, size in bytes, mnemonic and operands, in capstone's Intel syntax."""

_INDIRECT = re.compile(r"\[([^\]]+)\]")
_TERM = re.compile(r"([+-]?)\s*([a-z][a-z0-9]*(?:\*\d)?|0x[0-9a-f]+|\d+)")

JUMPS = frozenset({"jmp", "ret", "repz ret", "retf", "ud2", "hlt", "iretq", "int3"})
"""Instructions after which execution does not continue with the next one."""


def is_branch(mnemonic: str) -> bool:
    """Whether execution may continue elsewhere than with the next instruction."""
    return (
        mnemonic[0] == "j"
        or mnemonic in {"call", "syscall", "xbegin"}
        or mnemonic in JUMPS
        or mnemonic.startswith(("loop", "int", "sys", "notrack", "bnd", "repz ret"))
    )


def memory(operands: str) -> tuple[str, int] | None:
    """Return base register and displacement of the memory operand; None without a base."""
    match = _INDIRECT.search(operands)
    if match is None:
        return None
    base, displacement = "", 0
    for sign, term in _TERM.findall(match[1]):
        if term[0].isdigit():
            value = int(term, 16) if term.startswith("0x") else int(term)
            displacement += -value if sign == "-" else value
        elif "*" not in term and not base:
            base = term
    return (base, displacement) if base else None


def immediate(text: str) -> int | None:
    """Return the signed 64-bit value of an operand that is a number, else None."""
    try:
        value = int(text.strip(), 0)
    except ValueError:
        return None
    return value - (1 << 64) if value >= 1 << 63 else value
