# SPDX-License-Identifier: GPL-2.0
"""Decides how each `syscall` instruction can become a call.

Three ways. In place: `mov $number,%eax` (5 bytes) stands directly before it, so that a
5-byte call to the entry of that number fits. By stub: the instruction and whole
neighbours make room for a 5-byte jump to a copy of them out of line. Otherwise it
stays, and works as it is: the kernel takes `syscall` in ring 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukl.elf.instruction import Instruction, immediate, is_branch

ROOM = 5
"""Bytes of a near call or jump."""

NEIGHBOURS = 4
"""Instructions on either side that may move into the stub."""

RT_SIGRETURN = 15
NEW_STACK = frozenset({56, 435})
"""clone and clone3: the child continues on another stack, without what a stub pushed."""


class Way(StrEnum):
    """How a site will be handled."""

    IN_PLACE = "in-place"
    STUB = "stub"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Site:
    """A `syscall` instruction.

    `address` is its own, in its section; `start` and `end` bound the bytes that
    change (those of the instruction itself where it is kept). `number` is the
    system call's, where it is loaded directly before. `reason` says why it is kept,
    or needs a stub.
    """

    function: str
    section: str
    address: int
    number: int | None
    way: Way
    start: int
    end: int
    reason: str = ""
    red_zone: bool = False


def classify(
    instructions: Sequence[Instruction],
    *,
    function: str,
    section: str,
    entries: Collection[int],
    relocated: Collection[int],
    red_zone: bool,
) -> Iterator[Site]:
    """Yield the sites among the instructions of one function.

    `entries` are all addresses that anything may jump to; `relocated` those of bytes
    that the linker fills in; `red_zone` whether the function keeps data below its
    stack pointer.
    """
    doubtful = doubt(instructions, entries)
    for index, (address, size, mnemonic, _) in enumerate(instructions):
        if mnemonic != "syscall":
            continue
        number, mov = _number(instructions, index, relocated)
        way, start, end, reason = Way.KEEP, address, address + size, doubtful
        if not reason and number == RT_SIGRETURN:
            reason = "unwinders know the return from a signal by its bytes"
        if not reason and red_zone and number in NEW_STACK:
            reason = "the function uses its red zone, and the child gets another stack"
        if not reason:
            if mov and not red_zone and not _entered(start - ROOM, end, entries):
                way, start = Way.IN_PLACE, start - ROOM
            else:
                room = _room(instructions, index, entries, relocated)
                if room is None:
                    reason = "no 5 bytes of movable instructions around it"
                else:
                    way, (start, end) = Way.STUB, room
                    reason = _why_stub(mov=mov, red_zone=red_zone)
        yield Site(function, section, address, number, way, start, end, reason, red_zone)


def _why_stub(*, mov: bool, red_zone: bool) -> str:
    if red_zone:
        return "the function uses its red zone"
    return "something jumps between the number and it" if mov else "no `mov $number,%eax` before it"


def doubt(instructions: Sequence[Instruction], entries: Collection[int]) -> str:
    """Return why the decoding of a function is not to be trusted, "" if it is.

    `entries` are addresses that anything jumps to; the function's own jumps are seen here.
    """
    if any(mnemonic == ".byte" for _, _, mnemonic, _ in instructions):
        return "data among the code of the function"
    starts = {address for address, *_ in instructions}
    first, last = instructions[0][0], instructions[-1][0] + instructions[-1][1]
    own = {
        int(operands, 0)
        for _, _, mnemonic, operands in instructions
        if mnemonic[0] == "j" and operands[:1].isdigit()
    }
    for target in own:
        if first <= target < last and target not in starts:
            return "something jumps into the middle of an instruction of the function"
    for address, size, _, _ in instructions:
        if size > 1 and _entered(address, address + size, entries):
            return "something jumps into the middle of an instruction of the function"
    return ""


def _entered(start: int, end: int, entries: Collection[int]) -> bool:
    """Whether anything jumps behind `start` and before `end`."""
    return any(address in entries for address in range(start + 1, end))


def _number(
    instructions: Sequence[Instruction], index: int, relocated: Collection[int]
) -> tuple[int | None, bool]:
    """Return the system call's number, and whether `mov $number,%eax` is directly before."""
    if index == 0:
        return None, False
    address, size, mnemonic, operands = instructions[index - 1]
    target, _, source = operands.partition(", ")
    if mnemonic == "mov" and target in {"eax", "rax"}:
        if _entered(address - 1, address + size, relocated):
            return None, False
        return immediate(source), size == ROOM and immediate(source) is not None
    if mnemonic == "xor" and operands == "eax, eax":
        return 0, False
    return None, False


def _movable(instruction: Instruction, relocated: Collection[int]) -> bool:
    """Whether an instruction does the same elsewhere."""
    address, size, mnemonic, operands = instruction
    return not (
        is_branch(mnemonic)
        or "rip" in operands
        or any(place in relocated for place in range(address, address + size))
    )


def _room(
    instructions: Sequence[Instruction],
    index: int,
    entries: Collection[int],
    relocated: Collection[int],
) -> tuple[int, int] | None:
    """Return the bounds of whole instructions around a site that a 5-byte jump fits into.

    Those before it come first, since they most often prepare it.
    """
    for before in range(NEIGHBOURS + 1):
        first = index - before
        if first < 0 or (before and not _movable(instructions[first], relocated)):
            break
        # A wider window would contain the same inner entry.
        if before and instructions[first + 1][0] in entries:
            break
        start = instructions[first][0]
        end = instructions[index][0] + instructions[index][1]
        if end - start >= ROOM:
            return start, end
    return _room_behind(instructions, index, entries, relocated)


def _room_behind(
    instructions: Sequence[Instruction],
    index: int,
    entries: Collection[int],
    relocated: Collection[int],
) -> tuple[int, int] | None:
    """Return such bounds that reach behind the site, and before it as far as they can."""
    first = index
    while (
        first > 0
        and index - first < NEIGHBOURS
        and instructions[first][0] not in entries
        and _movable(instructions[first - 1], relocated)
    ):
        first -= 1
    start = instructions[first][0]
    end = instructions[index][0] + instructions[index][1]
    for following in instructions[index + 1 : index + 1 + NEIGHBOURS]:
        if following[0] != end or following[0] in entries or not _movable(following, relocated):
            return None
        end += following[1]
        if end - start >= ROOM:
            return start, end
    return None
