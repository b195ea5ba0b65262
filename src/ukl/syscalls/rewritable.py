# SPDX-License-Identifier: GPL-2.0
"""Decides how each `syscall` instruction can become a call.

In place: `mov $number,%eax` (5 bytes) directly precedes the instruction, and a 5-byte call
replaces both. By stub: the call or jump replaces the instruction and whole neighbours of at
least 5 bytes together, which are copied out of line. Otherwise the instruction stays, and
works: the kernel accepts `syscall` in ring 0.

The C library's functions that pthread_cancel() recognizes are copied (cancellation.py).

A stub is called if the function has no red zone, and only preceding neighbours move, none of
which uses the stack pointer. The return address is then after the instruction, as for
`syscall`. Other stubs are jumped to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukl.syscalls import flags
from ukl.syscalls.instruction import Instruction, immediate, is_branch

CALL_SIZE = 5
"""Bytes of a near call or jump."""

NEIGHBOURS = 4
"""Number of instructions on either side that may move into the stub."""

MUNMAP = 11
RT_SIGRETURN = 15
EXIT = 60
NEW_STACK = frozenset({56, 435})
"""clone and clone3: the child continues on another stack, which lacks what a stub pushed."""

CANCELLATION = frozenset({"__syscall_cancel_arch", "__syscall_cp_asm", "__cp_begin"})
"""glibc since 2.41, musl: the function that makes the cancellable calls. The handler of
pthread_cancel() compares the program counter with labels around its instruction.
Older glibc makes cancellation asynchronous around the call, and compares no addresses."""

LABELS = frozenset({"__syscall_cancel_arch_end", "__cp_end"})
"""The labels behind these instructions."""


class Way(StrEnum):
    """How to rewrite a site."""

    IN_PLACE = "in-place"
    STUB = "stub"
    COPY = "copy"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Site:
    """A `syscall` instruction.

    `address` is that of the instruction in its section; `start` and `end` bound the bytes
    that change (those of the instruction itself if it is kept). `number` is the system
    call's, if straight-line code in front loads it; `certain` is whether no jump leads to
    the instruction, possibly with another number. `reason` says why it is kept, or needs a
    stub; `called` whether that stub is called, not jumped to.
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
    finished: bool = False,
) -> Iterator[Site]:
    """Yield the sites among the instructions of one function.

    `entries` are the possible targets of jumps; `relocated` the addresses of bytes that the
    linker fills in; `red_zone` whether the function keeps data below its stack pointer;
    `finished` whether all stubs will be called, also those that instructions behind move to.
    """
    kept = problem(instructions, entries)
    context = _Context(instructions, entries, relocated, instructions[0][0] if instructions else 0)
    for index, (address, size, mnemonic, _) in enumerate(instructions):
        if mnemonic != "syscall":
            continue
        number, mov = _number(context, index)
        reason = kept or _why_keep(context, index, number, red_zone=red_zone)
        way, start, end, called = Way.KEEP, address, address + size, False
        if not reason and function in CANCELLATION:
            way = Way.COPY
        elif not reason:
            if (
                mov
                and not red_zone
                and start - CALL_SIZE >= context.free
                and not _entered(start - CALL_SIZE, end, entries)
            ):
                way, start, called = Way.IN_PLACE, start - CALL_SIZE, True
            else:
                window = _window(context, index, called=True) if not red_zone else None
                called = window is not None
                if window is None:
                    around = _window_after if finished else _window
                    window = around(context, index, called=finished)
                if window is None:
                    reason = "no 5 bytes of movable instructions around it"
                else:
                    way, (start, end) = Way.STUB, window
                    reason = _why_stub(mov=mov, red_zone=red_zone)
        context.free = end
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
class _Context:
    """The function around a site; instructions at addresses below `free` must not move."""

    instructions: Sequence[Instruction]
    entries: Collection[int]
    relocated: Collection[int]
    free: int


def _why_keep(context: _Context, index: int, number: int | None, *, red_zone: bool) -> str:
    """Return the reason to keep a site, regardless of space for a call; "": none."""
    if number == RT_SIGRETURN:
        return "unwinders recognize the return from a signal by its bytes"
    if number == EXIT or _frees_stack(context, index, number):
        return "the thread's stack may already be unmapped"
    if _stack_loaded(context, index):
        return "the stack pointer was just loaded, and may not point to a stack"
    if red_zone and (number is None or number in NEW_STACK):
        return "the function uses its red zone, and the child may get another stack"
    if flags.live(context.instructions, index + 1):
        return "the flags may be used after it"
    return ""


def _frees_stack(context: _Context, index: int, number: int | None) -> bool:
    """Whether the site is munmap() with another call right after it, or that other call.

    That is how a thread frees its own stack and ends.
    """
    straight = context.instructions[index + 1 : index + 1 + 2 * NEIGHBOURS]
    if number == MUNMAP:
        for _, _, mnemonic, _ in straight:
            if mnemonic == "syscall":
                return True
            if is_branch(mnemonic):
                break
    for before in range(index - 1, max(-1, index - 1 - 2 * NEIGHBOURS), -1):
        mnemonic = context.instructions[before][2]
        if mnemonic == "syscall":
            return _number(context, before)[0] == MUNMAP
        if is_branch(mnemonic):
            break
    return False


def _why_stub(*, mov: bool, red_zone: bool) -> str:
    if red_zone:
        return "the function uses its red zone"
    if mov:
        return "a jump leads between `mov $number,%eax` and it"
    return "no `mov $number,%eax` directly in front of it"


def problem(instructions: Sequence[Instruction], entries: Collection[int]) -> str:
    """Return the reason to distrust the disassembly of a function; "": none.

    `entries` are the possible targets of jumps from elsewhere.
    """
    if any(mnemonic == ".byte" for _, _, mnemonic, _ in instructions):
        return "data within the code of the function"
    starts = {address for address, *_ in instructions}
    first, last = instructions[0][0], instructions[-1][0] + instructions[-1][1]
    targets = {
        int(operands, 0)
        for _, _, mnemonic, operands in instructions
        if mnemonic[0] == "j" and operands[:1].isdigit()
    }
    for target in targets:
        if first <= target < last and target not in starts:
            return "a jump leads into the middle of an instruction of the function"
    for address, size, _, _ in instructions:
        if size > 1 and _entered(address, address + size, entries):
            return "a jump leads into the middle of an instruction of the function"
    return ""


def _entered(start: int, end: int, entries: Collection[int]) -> bool:
    """Whether a jump leads to an address above `start` and below `end`."""
    return any(address in entries for address in range(start + 1, end))


def _stack_loaded(context: _Context, index: int) -> bool:
    """Whether the straight-line code in front loads RSP, other than from RBP (a frame)."""
    for before in range(index - 1, -1, -1):
        _, _, mnemonic, operands = context.instructions[before]
        if is_branch(mnemonic):
            return False
        loads = mnemonic in {"mov", "movabs", "xor", "pop", "xchg"} or mnemonic.startswith("cmov")
        target, _, source = operands.partition(", ")
        if loads and (target in _RSP or (mnemonic == "xchg" and source in _RSP)):
            return source != "rbp"
    return False


def _number(context: _Context, index: int) -> tuple[int | None, bool]:
    """Return the system call's number, and whether `mov $number,%eax` directly precedes it."""
    end = context.instructions[index][0]
    for before in range(index - 1, -1, -1):
        address, size, mnemonic, operands = context.instructions[before]
        if address + size != end or is_branch(mnemonic):
            break
        # Another path may load another number. classify() checks for jumps into the pair itself.
        if before != index - 1 and end in context.entries:
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
        if _entered(address - 1, address + size, context.relocated):
            break
        number = immediate(source)
        return number, number is not None and size == CALL_SIZE and before == index - 1
    return None, False


_RSP = frozenset({"rsp", "esp"})
_RAX = frozenset({"rax", "eax", "ax", "al", "ah"})
_READ_ONLY = frozenset({"cmp", "test", "push", "bt"})
_RAX_WRITERS = """
    cpuid rdtsc rdtscp xgetbv rdpmc lahf cwde cdqe cbw mul imul div idiv cmpxchg cmpxchg8b
    cmpxchg16b xchg xadd xlatb lodsb lodsw lodsd lodsq leave
"""

_WRITE_RAX = frozenset(_RAX_WRITERS.split())
"""Instructions that may write RAX without naming it as the first operand."""

_STACK = frozenset({"leave", "enter"})


def _movable(instruction: Instruction, relocated: Collection[int], *, called: bool) -> bool:
    """Whether an instruction has the same effect elsewhere (`called`: 8 bytes lower on the stack).

    Instructions that change the frame stay: the unwinder describes the stack by address. A
    `nop` of one byte may be a probe, which a debugger overwrites.
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


def _window(context: _Context, index: int, *, called: bool) -> tuple[int, int] | None:
    """Return the bounds of at least 5 bytes of whole instructions around a site, or None.

    Preceding instructions are tried first, as they most often prepare the call; if `called`,
    only these.
    """
    instructions = context.instructions
    for before in range(NEIGHBOURS + 1):
        first = index - before
        if first < 0 or instructions[first][0] < context.free:
            break
        if before and not _movable(instructions[first], context.relocated, called=called):
            break
        # A wider window would contain the same inner entry.
        if before and instructions[first + 1][0] in context.entries:
            break
        start = instructions[first][0]
        end = instructions[index][0] + instructions[index][1]
        if end - start >= CALL_SIZE:
            return start, end
    return None if called else _window_after(context, index, called=False)


def _window_after(context: _Context, index: int, *, called: bool) -> tuple[int, int] | None:
    """Return such bounds that extend after the site, and as far as possible in front of it."""
    instructions, entries = context.instructions, context.entries
    first = index
    while (
        first > 0
        and index - first < NEIGHBOURS
        and instructions[first][0] not in entries
        and instructions[first - 1][0] >= context.free
        and _movable(instructions[first - 1], context.relocated, called=called)
    ):
        first -= 1
    start = instructions[first][0]
    end = instructions[index][0] + instructions[index][1]
    for following in instructions[index + 1 : index + 1 + NEIGHBOURS]:
        if following[0] != end or following[0] in entries:
            return None
        if not _movable(following, context.relocated, called=called):
            return None
        end += following[1]
        if end - start >= CALL_SIZE:
            return start, end
    return None
