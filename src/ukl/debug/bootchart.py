# SPDX-License-Identifier: GPL-2.0
"""Charts the time of a boot, from the marks of vm/bootwatch.py. Pure.

Two clocks are combined: the host's, from the start of QEMU on, and the kernel's, which its
log uses. Each message of the guest's init has the time of CLOCK_BOOTTIME in milliseconds,
which timekeeping_init() sets from the log's local_clock(). The message with the smallest delay
gives the difference of the two clocks. So times in the guest are exact to 1 ms, and durations
within the log to a microsecond.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ukl.debug.printk import Message
from ukl.elf.reader import Elf, Section

LEVELS = {
    "__initcall_start": "early",
    "__initcall0_start": "pure",
    "__initcall1_start": "core",
    "__initcall2_start": "postcore",
    "__initcall3_start": "arch",
    "__initcall4_start": "subsys",
    "__initcall5_start": "fs",
    "__initcallrootfs_start": "rootfs",
    "__initcall6_start": "device",
    "__initcall7_start": "late",
}
"""The symbol at the beginning of each level's initcalls -> the level (include/linux/init.h)."""

_END = "__initcall_end"

MESSAGE = 45
"""The most characters of a message in a span's name."""

_CALLING = re.compile(r"calling  ([^\s+]+)\S* @ (\d+)")
_RETURNED = re.compile(r"initcall ([^\s+]+)\S* returned (-?\d+) after")
_PROBE = re.compile(r"probe of (\S+) returned (-?\d+) after (\d+) usecs")
_RUN = re.compile(r"Run (\S+) as init process")


# --- observations -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """A message of the guest's init: guest time, and host time from QEMU's start (seconds)."""

    what: str
    guest: float
    host: float


@dataclass(frozen=True, slots=True)
class Marks:
    """The observations of a boot. Times are seconds from the start of QEMU; None: not observed.

    `resumed` is when the machine began to run, `long_mode` and `kernel` when its processor was
    first observed in long mode and in the kernel, `output` the time of the application's first
    output. `log` is the kernel's; if it is empty, `missing` says why.
    """

    resumed: float
    long_mode: float | None
    kernel: float | None
    events: tuple[Event, ...]
    output: float | None
    log: tuple[Message, ...]
    missing: str = ""


# --- the chart --------------------------------------------------------------------------


class Lane(StrEnum):
    """A row of the chart. Spans in BACKBONE follow each other; the others are within them."""

    MACHINE = "machine"
    KERNEL = "kernel"
    INIT = "init"
    APPLICATION = "application"
    INITCALL = "initcalls"
    PROBE = "probes"
    MESSAGE = "up to a message"
    """The kernel's work outside of initcalls before a message."""


BACKBONE = (Lane.MACHINE, Lane.KERNEL, Lane.INIT, Lane.APPLICATION)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time from `begin` to `end`, in seconds from the start of QEMU."""

    lane: Lane
    name: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Chart:
    """A boot's chart. `notes` tell what is missing; `clock` is when the kernel's clock was 0."""

    title: str
    seconds: float
    spans: tuple[Span, ...]
    notes: tuple[str, ...] = ()
    clock: float | None = None

    def of(self, *lanes: Lane) -> list[Span]:
        """Return the spans of the given lanes, in order."""
        return [each for each in self.spans if each.lane in lanes]


def clock_offset(events: Iterable[Event]) -> float | None:
    """Return the host time at which the guest's clock was 0; None without events."""
    return min((each.host - each.guest for each in events), default=None)


@dataclass(slots=True)
class _Backbone:
    """Builds consecutive spans: each begins at the end of the previous one."""

    at: float = 0.0
    spans: list[Span] = field(default_factory=list)

    def until(self, lane: Lane, name: str, end: float | None) -> None:
        """Add a span that ends at `end`, unless that is None or not later."""
        if end is not None and end > self.at:
            self.spans.append(Span(lane, name, self.at, end))
            self.at = end


def chart(title: str, marks: Marks, levels: Mapping[str, Sequence[str]]) -> Chart:
    """Return the chart of a boot; `levels` maps the kernel's initcalls to their levels."""
    zero = clock_offset(marks.events)
    when = {each.what: each.host for each in marks.events}
    line = _Backbone()
    line.until(Lane.MACHINE, "QEMU starts", marks.resumed)
    # A poll every millisecond may see the kernel later than its clock begins.
    kernel = _earliest(marks.kernel, zero)
    if marks.long_mode is not None:
        long_mode = _earliest(marks.long_mode, kernel)
        line.until(Lane.MACHINE, "firmware, kernel's setup code", long_mode)
        line.until(Lane.MACHINE, "decompression, relocation", kernel)
    else:
        line.until(Lane.MACHINE, "firmware, decompression", kernel)
    line.until(Lane.KERNEL, "before the kernel's clock runs", zero)
    inner: list[Span] = []
    if zero is not None:
        inner = [
            *_initcalls(marks.log, zero),
            *_probes(marks.log, zero),
            *_gaps(marks.log, zero),
        ]
        for name, end in _phases(marks.log, levels):
            line.until(Lane.KERNEL, name, zero + end)
        begun = next((zero + each.seconds for each in marks.log if _RUN.search(each.text)), None)
        line.until(Lane.KERNEL, "from the last initcall to init" if inner else "kernel", begun)
    inside = "init: mounts, status channel" if marks.log else "kernel; init: mounts, channel"
    line.until(Lane.INIT, inside, when.get("hello"))
    line.until(Lane.INIT, "init: network, clock, volumes", when.get("ready"))
    line.until(Lane.INIT, "init: execve of the application", when.get("started"))
    line.until(Lane.APPLICATION, "application until its first output", marks.output)
    return Chart(title, line.at, (*line.spans, *inner), tuple(_notes(marks, zero)), zero)


def _earliest(*times: float | None) -> float | None:
    return min((each for each in times if each is not None), default=None)


def _notes(marks: Marks, zero: float | None) -> Iterator[str]:
    if marks.kernel is None:
        yield "the start of the kernel was not observed"
    if marks.long_mode is None:
        yield "firmware and decompression cannot be distinguished"
    if zero is None:
        yield "the guest's init sent no message: the phases after the firmware are unknown"
    if marks.missing:
        yield f"the kernel's phases are unknown: {marks.missing}"
    elif not any(_CALLING.match(each.text) for each in marks.log):
        yield "the kernel's log has no initcalls"
    elif marks.log[0].number:
        yield f"{marks.log[0].number} messages of the kernel's log were overwritten"
    if marks.output is None:
        yield "no output of the application was observed"


def _phases(
    log: Iterable[Message], levels: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, float]]:
    """Yield each phase of the kernel and its end, in the kernel's time.

    A level ends when a function of a later level is called, the last when its last function
    returns.
    """
    order = list(LEVELS.values())
    now, end, called = -1, 0.0, False
    for each in log:
        if match := _CALLING.match(each.text):
            known = [order.index(level) for level in levels.get(match[1], ())]
            later = [number for number in known if number >= now]
            if not later:
                continue
            called = True
            if (number := min(later)) > now:
                yield _phase(order, now), each.seconds
                now = number
        elif _RETURNED.match(each.text):
            end = each.seconds
    if called:
        yield _phase(order, now), end


def _phase(order: Sequence[str], number: int) -> str:
    if number < 0:
        return "start_kernel()"
    return "early initcalls, processors" if not number else f"{order[number]} initcalls"


def _initcalls(log: Iterable[Message], zero: float) -> Iterator[Span]:
    begun: dict[str, float] = {}
    for each in log:
        if match := _CALLING.match(each.text):
            begun[match[1]] = each.seconds
        elif (match := _RETURNED.match(each.text)) and match[1] in begun:
            yield Span(Lane.INITCALL, match[1], zero + begun.pop(match[1]), zero + each.seconds)


def _probes(log: Iterable[Message], zero: float) -> Iterator[Span]:
    for each in log:
        if match := _PROBE.match(each.text):
            end = zero + each.seconds
            yield Span(Lane.PROBE, match[1], end - int(match[3]) / 1e6, end)


def _gaps(log: Iterable[Message], zero: float) -> Iterator[Span]:
    """Yield the time up to each message while no initcall runs, until init begins."""
    before, inside = 0.0, False
    for each in log:
        if not inside and each.seconds > before:
            call = _CALLING.match(each.text)
            text = f"call of {call[1]}" if call else each.text.partition("\n")[0]
            name = f"… {text[:MESSAGE].strip()}"
            yield Span(Lane.MESSAGE, name, zero + before, zero + each.seconds)
        if _RUN.search(each.text):
            return
        before = each.seconds
        inside = bool(_CALLING.match(each.text)) or (inside and not _RETURNED.match(each.text))


# --- the levels of initcalls --------------------------------------------------------------


def levels(kernel: Elf) -> dict[str, tuple[str, ...]]:
    """Return initcall's function -> levels; several functions may have the same name.

    Each entry of the kernel's table is the distance of a function from the entry
    (HAVE_ARCH_PREL32_RELOCATIONS).
    """
    places = kernel.addresses([*LEVELS, _END])
    begins = [(places[symbol], name) for symbol, name in LEVELS.items() if symbol in places]
    if len(begins) < len(LEVELS) or _END not in places:
        return {}
    ends = [*(place for place, _ in begins[1:]), places[_END]]
    named: dict[int, str] = {}
    home = next((each for each in kernel.sections if _holds(each, places[_END] - 1)), None)
    if home is None:
        return {}
    content = kernel.content(home)
    for (begin, level), end in zip(begins, ends, strict=True):
        for place in range(begin, end, 4):
            distance = struct.unpack_from("<i", content, place - home.address)[0]
            named[place + distance] = level
    found: dict[str, tuple[str, ...]] = {}
    for symbol in kernel.symbols:
        if symbol.value in named:
            found[symbol.name] = (*found.get(symbol.name, ()), named[symbol.value])
    return found


def _holds(section: Section, address: int) -> bool:
    return section.allocated and section.address <= address < section.address + section.size


# --- as text ------------------------------------------------------------------------------

LONGEST = 10
"""The most initcalls that are listed."""

GAPS = 5
"""The most times before messages that are listed."""


def text(found: Chart) -> list[str]:
    """Return the chart as text, in milliseconds."""
    whole = max(found.seconds, 1e-9)
    lines = [f"{found.title}: {1000 * found.seconds:.0f} ms", "      AT      MS      %  WHAT"]
    for span in found.of(*BACKBONE):
        share = 100 * span.seconds / whole
        numbers = f"{1000 * span.begin:8.1f}{1000 * span.seconds:8.1f}{share:7.1f}"
        lines.append(f"{numbers}  {span.name}")
    calls = sorted(found.of(Lane.INITCALL), key=lambda each: -each.seconds)
    if calls:
        lines.append(f"      the longest of {len(calls)} initcalls:")
        lines += [f"{'':8}{1000 * each.seconds:8.1f}{'':9}{each.name}" for each in calls[:LONGEST]]
    gaps = sorted(found.of(Lane.MESSAGE), key=lambda each: -each.seconds)[:GAPS]
    if gaps:
        lines.append("      the longest times before a message, outside of initcalls:")
        lines += [f"{'':8}{1000 * each.seconds:8.1f}{'':9}{each.name}" for each in gaps]
    return [*lines, *(f"      {note}" for note in found.notes)]
