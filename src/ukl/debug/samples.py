# SPDX-License-Identifier: GPL-2.0
"""Samples of what a guest executes, and the stacks in them. Pure.

guest/tools/profile.c sends the kernel's records as they are; their format is the kernel's ABI:
perf_event_open(2), struct perf_event_header and PERF_RECORD_SAMPLE. Here the application's part
of each stack is unwound from its registers and the top of its stack (debug/cfi.py), and joined
with the kernel's part, which the kernel has unwound.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ukl.base.errors import UklError
from ukl.debug.unwind import Program, Unreadable, backtrace, words

MAGIC = b"ukl-profile 1 "

PERF_RECORD_LOST = 2
PERF_RECORD_SAMPLE = 9

_HEADER = struct.Struct("<IHH")
_BEGIN = struct.Struct("<QIIQ")
"""Of a sample: instruction pointer, process, thread, length of the call chain."""

_CONTEXT_MAX = (1 << 64) - 4095
"""PERF_CONTEXT_MAX: what is not below says to whom the addresses behind it belong."""

_REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""Those that profile.c asks for, in the order of asm/perf_regs.h."""

UNKNOWN = "[unknown]"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: addresses of the kernel's frames, the innermost first; what is known of the rest.

    `registers` are empty where there is no user half (a kernel thread).
    """

    address: int
    process: int
    thread: int
    chain: tuple[int, ...]
    registers: Mapping[str, int]
    stack: bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """What profile.c has sent. `text` is where _stext was, `lost` how many samples got lost."""

    text: int
    processors: int
    samples: tuple[Sample, ...]
    lost: int


def parse(data: bytes) -> Profile:
    """Return the profile in what profile.c wrote; UklError for what is none."""
    line, newline, records = data.partition(b"\n")
    numbers = line.removeprefix(MAGIC).split()
    if not line.startswith(MAGIC) or not newline or len(numbers) != 2:
        raise UklError("the guest did not send a profile")
    samples, lost = [], 0
    for kind, content in _records(records):
        if kind == PERF_RECORD_SAMPLE:
            samples.append(_sample(content))
        elif kind == PERF_RECORD_LOST and len(content) >= 16:
            lost += struct.unpack_from("<Q", content, 8)[0]
    return Profile(int(numbers[0], 16), int(numbers[1]), tuple(samples), lost)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        kind, _, size = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            return  # cut short: the guest ended
        yield kind, data[at + _HEADER.size : at + size]
        at += size


def _sample(content: bytes) -> Sample:
    try:
        address, process, thread, count = _BEGIN.unpack_from(content)
        at = _BEGIN.size
        chain = struct.unpack_from(f"<{count}Q", content, at)
        at += 8 * count
        (abi,) = struct.unpack_from("<Q", content, at)
        at += 8
        registers: dict[str, int] = {}
        if abi:
            values = struct.unpack_from(f"<{len(_REGISTERS)}Q", content, at)
            registers = dict(zip(_REGISTERS, values, strict=True))
            at += 8 * len(_REGISTERS)
        (size,) = struct.unpack_from("<Q", content, at)
        stack = b""
        if size:
            (valid,) = struct.unpack_from("<Q", content, at + 8 + size)
            stack = content[at + 8 : at + 8 + min(size, valid)]
    except struct.error as error:
        raise UklError("the guest sent a damaged sample") from error
    return Sample(
        address,
        process,
        thread,
        tuple(each for each in chain if each < _CONTEXT_MAX),
        registers,
        stack,
    )


# --- stacks -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Names:
    """Who is who: names of processes, and which of them run the application's code.

    `program` is that of the application and of the kernel, `own` the normal executable of the
    same (None: the application is in the kernel).
    """

    processes: Mapping[int, str]
    application: frozenset[int]
    program: Program
    own: Program | None = None


def stack(sample: Sample, names: Names) -> tuple[str, ...]:
    """Return a sample's frames, the outermost first, behind the process' name.

    A function of the kernel has `_[k]` behind its name, as tools for such files know it.
    """
    # All but the innermost are addresses that a call returns to.
    places = [each - (number > 0) for number, each in enumerate(sample.chain)]
    inner = [
        f"{names.program.name(place)[0] or UNKNOWN}_[k]"
        for place in places
        if names.program.is_kernel(place)
    ]
    outer: list[str] = []
    if sample.registers:
        outer = _application(sample, names)
    name = names.processes.get(sample.process) or f"process {sample.process}"
    return (name, *reversed([*inner, *outer]))


def _application(sample: Sample, names: Names) -> list[str]:
    program = names.own or names.program
    if sample.process not in names.application:
        return [UNKNOWN]
    begin = sample.registers["rsp"]

    def fetch(address: int, size: int) -> bytes:
        at = address - begin
        if at < -size or at >= len(sample.stack):
            raise Unreadable(hex(address))
        # Before the stack pointer nothing is known; nobody reads that either.
        data = bytes(max(0, -at)) + sample.stack[max(0, at) : max(0, at + size)]
        return data[:size]

    frames = backtrace(program, sample.registers, words(fetch))
    return [frame.function or UNKNOWN for frame in frames]


def folded(samples: Iterable[Sample], names: Names) -> Counter[tuple[str, ...]]:
    """Return how often each stack was seen."""
    return Counter(stack(sample, names) for sample in samples)


def written(stacks: Mapping[tuple[str, ...], int]) -> str:
    """Return stacks as a file's content: frames joined by semicolons, a blank, the number. Pure."""
    lines = (f"{';'.join(frames)} {count}\n" for frames, count in sorted(stacks.items()))
    return "".join(lines)


def read(text: str) -> Counter[tuple[str, ...]]:
    """Return the stacks of such a file; ValueError for what is none. Pure."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        frames, blank, count = line.rpartition(" ")
        if not blank:
            raise ValueError(f"not a stack and a number: {line!r}")
        found[tuple(frames.split(";"))] += int(count)
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """How many samples were in a function itself, and how many in it or below it."""

    function: str
    own: int
    total: int


def shares(stacks: Mapping[tuple[str, ...], int]) -> list[Share]:
    """Return the functions by the samples in themselves, the most first. Pure."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for frames, count in stacks.items():
        own[frames[-1]] += count
        for function in set(frames[1:]):
            total[function] += count
    found = [Share(name, own[name], total[name]) for name in total]
    return sorted(found, key=lambda each: (-each.own, -each.total, each.function))
