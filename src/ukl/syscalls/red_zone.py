# SPDX-License-Identifier: GPL-2.0
"""Finds out whether a function keeps data below its stack pointer.

The System V ABI gives leaf functions 128 bytes there (AMD64 supplement, 3.2.2). A `call` in
place of `syscall` overwrites them. Each pass follows the stack pointer, and registers copied
from it, through the function. Where paths meet or a value is unknown, it assumes what makes a
use of the red zone more likely.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ukl.syscalls.instruction import JUMPS, Instruction, immediate, memory

PASSES = 6
"""Maximum number of passes through a function; the state is stable after two or three."""

_READS_ONLY = frozenset({"cmp", "test", "push", "jmp", "nop", "bt"})
_CALLER_SAVED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
_LOW_HALF = re.compile(r"e([a-ds][xpi])\Z|(r\d+)[dwb]\Z")


@dataclass(slots=True)
class _State:
    """Bytes that the stack has grown since the entry, and registers that point into it.

    `pointers` are positions relative to the stack pointer at the entry.
    """

    depth: int = 0
    pointers: dict[str, int] = field(default_factory=dict)

    def copy(self) -> _State:
        return _State(self.depth, dict(self.pointers))

    def merge(self, other: _State) -> None:
        """Take the smaller depth, and the pointers that both paths have."""
        self.depth = min(self.depth, other.depth)
        self.pointers = {
            name: min(position, other.pointers[name])
            for name, position in self.pointers.items()
            if name in other.pointers
        }


def used(instructions: Sequence[Instruction]) -> bool:
    """Whether any instruction refers to memory below the stack pointer."""
    known: dict[int, _State] = {}
    for number in range(PASSES):
        before = {address: state.copy() for address, state in known.items()}
        last = number == PASSES - 1
        if _walk(instructions, known, judge=last):
            return True
        if known == before and not last:
            return _walk(instructions, known, judge=True)
    return False


def _walk(instructions: Sequence[Instruction], known: dict[int, _State], *, judge: bool) -> bool:
    """Follow the stack pointer once; store the state at each jump's target in `known`.

    With `judge`, return whether the red zone is used.
    """
    state: _State | None = _State()
    body = _State()
    """State at the last call or computed jump, for code that no direct jump reaches."""
    for address, _, mnemonic, operands in instructions:
        joined = known.get(address)
        if joined is not None:
            if state is not None:
                joined.merge(state)
            state = joined.copy()
        if state is None:
            if not judge:
                continue
            state = body.copy()
        if judge and "[" in operands and mnemonic != "nop" and _below(state, operands):
            return True
        _step(state, mnemonic, operands)
        if mnemonic[0] == "j" and operands[:1].isdigit():
            target = int(operands, 0)
            if target in known:
                known[target].merge(state)
            else:
                known[target] = state.copy()
        elif mnemonic == "call" or (_is_jump(mnemonic) and not operands[:1].isdigit()):
            body = state.copy()
        if mnemonic in JUMPS or _is_jump(mnemonic):
            state = None
    return False


def _is_jump(mnemonic: str) -> bool:
    return mnemonic.removeprefix("notrack ").removeprefix("bnd ") == "jmp"


def _below(state: _State, operands: str) -> bool:
    found = memory(operands)
    if found is None:
        return False
    base, displacement = found
    if base == "rsp":
        return displacement < 0
    position = state.pointers.get(base)
    return position is not None and position + displacement < -state.depth


def _step(state: _State, mnemonic: str, operands: str) -> None:
    """Follow the stack pointer and its copies over one instruction."""
    target, _, source = (part.strip() for part in operands.partition(","))
    if mnemonic in {"call", "syscall"}:
        for name in _CALLER_SAVED:
            state.pointers.pop(name, None)
        return
    if mnemonic.startswith("push"):
        state.depth += 8
        return
    if mnemonic.startswith("pop"):
        state.depth -= 8
        state.pointers.pop(target, None)
        return
    if mnemonic == "leave":
        state.depth = -state.pointers.pop("rbp", -8) - 8
        return
    if target == "rsp":
        _stack_pointer(state, mnemonic, source)
        return
    if mnemonic in {"mov", "lea"} and target.startswith("r"):
        if mnemonic == "mov" and source == "rsp":
            state.pointers[target] = -state.depth
            return
        if mnemonic == "mov" and source in state.pointers:
            state.pointers[target] = state.pointers[source]
            return
        found = memory(source) if mnemonic == "lea" else None
        if found is not None and found[0] == "rsp":
            state.pointers[target] = -state.depth + found[1]
            return
    if mnemonic not in _READS_ONLY and target:
        state.pointers.pop(_LOW_HALF.sub(_full, target), None)


def _full(match: re.Match[str]) -> str:
    return match[2] or f"r{match[1]}"


def _stack_pointer(state: _State, mnemonic: str, source: str) -> None:
    """Follow an instruction that writes RSP; an unknown amount counts as 0."""
    amount = immediate(source)
    if mnemonic == "sub" and amount is not None:
        state.depth += amount
    elif mnemonic == "add" and amount is not None:
        state.depth -= amount
    elif mnemonic == "mov" and source in state.pointers:
        state.depth = -state.pointers[source]
    elif mnemonic == "lea":
        found = memory(source)
        if found is not None and found[0] == "rsp":
            state.depth -= found[1]
        elif found is not None and found[0] in state.pointers:
            state.depth = -(state.pointers[found[0]] + found[1])
