# SPDX-License-Identifier: GPL-2.0
"""Samples of a guest's execution, and their stacks. Pure.

guest/tools/profile.c sends the kernel's records unchanged; their format is the kernel's ABI:
perf_event_open(2), struct perf_event_header and PERF_RECORD_SAMPLE. This module unwinds the
application's part of each stack from its registers and the top of its stack (debug/cfi.py), and
joins it with the kernel's part, which the kernel has unwound.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ukl.base.errors import UklError
from ukl.debug.unwind import Code, Program, Unreadable, backtrace, words
from ukl.elf.names import FAST_RETURN

MAGIC = b"ukl-profile 1 "

PERF_RECORD_LOST = 2
PERF_RECORD_SAMPLE = 9

_HEADER = struct.Struct("<IHH")
_BEGIN = struct.Struct("<QIIQ")
"""Start of a sample: instruction pointer, process, thread, length of the call chain."""

_CONTEXT_MAX = (1 << 64) - 4095
"""PERF_CONTEXT_MAX: values from here on mark the context of the addresses after them."""

_REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""The registers that profile.c requests, in the order of asm/perf_regs.h."""

UNKNOWN = "[unknown]"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample. `chain` has the addresses of the kernel's frames, the innermost first.

    `registers` and `stack` are the application's; both are empty for a kernel thread.
    """

    address: int
    process: int
    thread: int
    chain: tuple[int, ...]
    registers: Mapping[str, int]
    stack: bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """The data from profile.c. `text` is the address of _stext, `lost` the lost samples."""

    text: int
    processors: int
    samples: tuple[Sample, ...]
    lost: int


def parse(data: bytes) -> Profile:
    """Parse the output of profile.c; raises UklError if it is malformed."""
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
    """The names of processes, and the processes that run the application's code.

    `program` is vmlinux, `own` the application's normal executable, or the files that it has mapped
    (None: the application is linked into the kernel).
    """

    processes: Mapping[int, str]
    application: frozenset[int]
    program: Program
    own: Code | None = None


def stack(sample: Sample, names: Names) -> tuple[str, ...]:
    """Return the process's name, and the sample's frames, the outermost first.

    A kernel function has `_[k]` after its name, as other tools for such files expect.
    """
    # All but the innermost are return addresses.
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
        # Memory below the stack pointer is unknown, and not used.
        data = bytes(max(0, -at)) + sample.stack[max(0, at) : max(0, at + size)]
        return data[:size]

    registers = sample.registers
    if names.own and names.program.name(registers["rip"])[0] == FAST_RETURN:
        # A RET in the kernel's text, for which a program as it is has no unwind information.
        try:
            caller = int.from_bytes(fetch(begin, 8), "little")
        except Unreadable:
            return [UNKNOWN]
        registers = {**registers, "rip": caller, "rsp": begin + 8}
    frames = backtrace(program, registers, words(fetch))
    return [frame.function or UNKNOWN for frame in frames]


def folded(samples: Iterable[Sample], names: Names) -> Counter[tuple[str, ...]]:
    """Return the number of samples of each stack."""
    return Counter(stack(sample, names) for sample in samples)


def render(stacks: Mapping[tuple[str, ...], int]) -> str:
    """Return the content of a file of folded stacks: `frame;frame… count` per line. Pure."""
    lines = (f"{';'.join(frames)} {count}\n" for frames, count in sorted(stacks.items()))
    return "".join(lines)


def read(text: str) -> Counter[tuple[str, ...]]:
    """Parse a file of folded stacks; raises ValueError if it is malformed. Pure."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        frames, blank, count = line.rpartition(" ")
        if not blank:
            raise ValueError(f"not a stack and a number: {line!r}")
        found[tuple(frames.split(";"))] += int(count)
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """The number of samples in a function itself, and in it or its callees."""

    function: str
    own: int
    total: int


def shares(stacks: Mapping[tuple[str, ...], int]) -> list[Share]:
    """Return the functions, sorted by their own samples, the most first. Pure."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for frames, count in stacks.items():
        own[frames[-1]] += count
        for function in set(frames[1:]):
            total[function] += count
    found = [Share(name, own[name], total[name]) for name in total]
    return sorted(found, key=lambda each: (-each.own, -each.total, each.function))
