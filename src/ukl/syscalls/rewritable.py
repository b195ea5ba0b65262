# SPDX-License-Identifier: GPL-2.0
"""Decides how each `syscall` instruction can become a call.

Three ways. In place: `mov $number,%eax` (5 bytes) stands directly before it, so that a
5-byte call to the entry of that number fits. By stub: the instruction and whole
neighbours make room for 5 bytes, and a copy of them is out of line. Otherwise it
stays, and works as it is: the kernel takes `syscall` in ring 0.

A stub is called where the function has no red zone and only neighbours before the
instruction move, none of which knows the stack pointer: the way back is then behind the
instruction, as it always was. Other stubs are jumped to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukl.syscalls import flags
from ukl.syscalls.instruction import Instruction, immediate, is_branch

ROOM = 5
"""Bytes of a near call or jump."""

NEIGHBOURS = 4
"""Instructions on either side that may move into the stub."""

MUNMAP = 11
RT_SIGRETURN = 15
EXIT = 60
NEW_STACK = frozenset({56, 435})
"""clone and clone3: the child continues on another stack, without what a stub pushed."""

CANCELLATION = frozenset({"__syscall_cancel_arch", "__syscall_cp_asm"})
"""glibc since 2.41, musl: the handler of pthread_cancel() compares the program counter
with labels around the instruction, and a restarted call would be outside of them.
Older glibc makes cancellation asynchronous around the call, and looks at no address."""


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
    system call's, where it is loaded before in the same stretch; `certain` whether no
    other way leads to the instruction, which might bring another. `reason` says why it
    is kept, or needs a stub; `called` whether that stub is called and not jumped to.
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
    called: bool = False
    certain: bool = False


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
    if not doubtful and function in CANCELLATION:
        doubtful = "the C library's cancellation of threads knows it by its address"
    around = _Around(instructions, entries, relocated, instructions[0][0] if instructions else 0)
    for index, (address, size, mnemonic, _) in enumerate(instructions):
        if mnemonic != "syscall":
            continue
        number, mov = _number(around, index)
        reason = doubtful or _why_keep(around, index, number, red_zone=red_zone)
        way, start, end, called = Way.KEEP, address, address + size, False
        if not reason:
            if (
                mov
                and not red_zone
                and start - ROOM >= around.free
                and not _entered(start - ROOM, end, entries)
            ):
                way, start, called = Way.IN_PLACE, start - ROOM, True
            else:
                room = _room(around, index, called=True) if not red_zone else None
                called = room is not None
                room = room or _room(around, index, called=False)
                if room is None:
                    reason = "no 5 bytes of movable instructions around it"
                else:
                    way, (start, end) = Way.STUB, room
                    reason = _why_stub(mov=mov, red_zone=red_zone)
        around.free = end
        yield Site(
            function,
            section,
            address,
            number,
            way,
            start,
            end,
            reason,
            red_zone,
            called,
            certain=number is not None and address not in entries,
        )


@dataclass(slots=True)
class _Around:
    """What is known about the function around a site; nothing before `free` may move."""

    instructions: Sequence[Instruction]
    entries: Collection[int]
    relocated: Collection[int]
    free: int


def _why_keep(around: _Around, index: int, number: int | None, *, red_zone: bool) -> str:
    """Return why a site stays whatever is around it, "" if it does not have to."""
    if number == RT_SIGRETURN:
        return "unwinders know the return from a signal by its bytes"
    if number == EXIT or _behind_munmap(around, index, number):
        return "the thread's stack may be gone already"
    if _on_another_stack(around, index):
        return "the stack pointer was just loaded, perhaps with what is no stack"
    if red_zone and (number is None or number in NEW_STACK):
        return "the function uses its red zone, and the child may get another stack"
    if flags.live(around.instructions, index + 1):
        return "the flags may be used behind it"
    return ""


def _behind_munmap(around: _Around, index: int, number: int | None) -> bool:
    """Whether it is munmap() or straight behind it, and another call follows.

    That is how a thread frees its own stack and ends.
    """
    straight = around.instructions[index + 1 : index + 1 + 2 * NEIGHBOURS]
    if number == MUNMAP:
        for _, _, mnemonic, _ in straight:
            if mnemonic == "syscall":
                return True
            if is_branch(mnemonic):
                break
    for before in range(index - 1, max(-1, index - 1 - 2 * NEIGHBOURS), -1):
        mnemonic = around.instructions[before][2]
        if mnemonic == "syscall":
            return _number(around, before)[0] == MUNMAP
        if is_branch(mnemonic):
            break
    return False


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


def _on_another_stack(around: _Around, index: int) -> bool:
    """Whether RSP gets a value of its own in the stretch before; one of RBP's is a frame."""
    for before in range(index - 1, -1, -1):
        _, _, mnemonic, operands = around.instructions[before]
        if is_branch(mnemonic):
            return False
        loads = mnemonic in {"mov", "movabs", "xor", "pop", "xchg"} or mnemonic.startswith("cmov")
        target, _, source = operands.partition(", ")
        if loads and (target in _RSP or (mnemonic == "xchg" and source in _RSP)):
            return source != "rbp"
    return False


def _number(around: _Around, index: int) -> tuple[int | None, bool]:
    """Return the system call's number, and whether `mov $number,%eax` is directly before."""
    end = around.instructions[index][0]
    for before in range(index - 1, -1, -1):
        address, size, mnemonic, operands = around.instructions[before]
        if address + size != end or is_branch(mnemonic):
            break
        # Other paths may bring another number; one to the pair itself is looked at later.
        if before != index - 1 and end in around.entries:
            break
        end = address
        target, _, source = operands.partition(", ")
        if target not in _RAX:
            if mnemonic in _WRITE_RAX:
                break
            continue
        if mnemonic in _READ_ONLY:
            continue
        if mnemonic == "xor" and operands == "eax, eax":
            return 0, False
        if mnemonic != "mov" or target not in {"eax", "rax"}:
            break
        if _entered(address - 1, address + size, around.relocated):
            break
        number = immediate(source)
        return number, number is not None and size == ROOM and before == index - 1
    return None, False


_RSP = frozenset({"rsp", "esp"})
_RAX = frozenset({"rax", "eax", "ax", "al", "ah"})
_READ_ONLY = frozenset({"cmp", "test", "push", "bt"})
_RAX_WRITERS = """
    cpuid rdtsc rdtscp xgetbv rdpmc lahf cwde cdqe cbw mul imul div idiv cmpxchg cmpxchg8b
    cmpxchg16b xchg xadd xlatb lodsb lodsw lodsd lodsq leave
"""

_WRITE_RAX = frozenset(_RAX_WRITERS.split())
"""What writes RAX, or may, without naming it first."""

_STACK = frozenset({"leave", "enter"})


def _movable(instruction: Instruction, relocated: Collection[int], *, called: bool) -> bool:
    """Whether an instruction does the same elsewhere; if `called`, 8 bytes lower on the stack.

    What changes the frame stays: the unwinder knows by the address what is on the stack.
    A `nop` of one byte may be a probe, which a debugger overwrites.
    """
    address, size, mnemonic, operands = instruction
    target = operands.partition(",")[0]
    return not (
        is_branch(mnemonic)
        or mnemonic.startswith(("push", "pop", "endbr"))
        or mnemonic in _STACK
        or (mnemonic == "nop" and size == 1)
        or target in {"rsp", "esp", "sp", "spl"}
        or operands == "rbp, rsp"
        or "rip" in operands
        or (called and "sp" in operands)
        or any(place in relocated for place in range(address, address + size))
    )


def _room(around: _Around, index: int, *, called: bool) -> tuple[int, int] | None:
    """Return the bounds of whole instructions around a site that 5 bytes fit into.

    Those before it come first, since they most often prepare it; if `called`, no others.
    """
    instructions = around.instructions
    for before in range(NEIGHBOURS + 1):
        first = index - before
        if first < 0 or instructions[first][0] < around.free:
            break
        if before and not _movable(instructions[first], around.relocated, called=called):
            break
        # A wider window would contain the same inner entry.
        if before and instructions[first + 1][0] in around.entries:
            break
        start = instructions[first][0]
        end = instructions[index][0] + instructions[index][1]
        if end - start >= ROOM:
            return start, end
    return None if called else _room_behind(around, index)


def _room_behind(around: _Around, index: int) -> tuple[int, int] | None:
    """Return such bounds that reach behind the site, and before it as far as they can."""
    instructions, entries = around.instructions, around.entries
    first = index
    while (
        first > 0
        and index - first < NEIGHBOURS
        and instructions[first][0] not in entries
        and instructions[first - 1][0] >= around.free
        and _movable(instructions[first - 1], around.relocated, called=False)
    ):
        first -= 1
    start = instructions[first][0]
    end = instructions[index][0] + instructions[index][1]
    for following in instructions[index + 1 : index + 1 + NEIGHBOURS]:
        if following[0] != end or following[0] in entries:
            return None
        if not _movable(following, around.relocated, called=False):
            return None
        end += following[1]
        if end - start >= ROOM:
            return start, end
    return None
