# SPDX-License-Identifier: GPL-2.0
"""Who uses a guest's processors and memory, thread by thread, and what that costs here.

The guest's /proc is read by one process a time, in it; what its QEMU uses is read here. Format of
the files: proc(5).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import ExitCode, UklError
from ukl.vm import execute
from ukl.vm.registry import PROC, Identity, Registry

TICKS = 100
"""USER_HZ of Linux: ticks of /proc in a second."""

PAGE = 4096

KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of include/linux/sched.h, in the flags of /proc/PID/stat."""

COMMAND = (
    "sh",
    "-c",
    "cat /proc/uptime /proc/stat /proc/meminfo; grep -H '' /proc/[0-9]*/task/[0-9]*/stat",
)

_THREAD = re.compile(r"/proc/(\d+)/task/(\d+)/stat:\d+ \((.*)\) (\S) (.*)")
_UPTIME = re.compile(r"\d+\.\d+ \d+\.\d+")


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as /proc shows it. `ticks` is its time on processors, `resident` bytes."""

    process: int
    number: int
    name: str
    state: str
    kernel: bool
    ticks: int
    resident: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: `uptime` in seconds, `busy` and `total` ticks of all processors, bytes."""

    uptime: float
    busy: int
    total: int
    processors: int
    memory: int
    available: int
    threads: tuple[Thread, ...]


def parse(text: str) -> Sample:
    """Return the sample in what the command prints; UklError for what is none. Pure."""
    uptime, cpus, threads = 0.0, 0, []
    busy = total = 0
    memory: dict[str, int] = {}
    for line in text.splitlines():
        if match := _THREAD.fullmatch(line):
            threads.append(_thread(match))
        elif line.startswith("cpu "):
            times = [int(word) for word in line.split()[1:9]]
            total = sum(times)
            busy = total - times[3] - times[4]  # idle, iowait
        elif line.startswith("cpu"):
            cpus += 1
        elif line.startswith(("MemTotal:", "MemAvailable:")):
            name, value, *_ = line.split()
            memory[name] = int(value) << 10
        elif not uptime and _UPTIME.fullmatch(line):
            uptime = float(line.split()[0])
    if not uptime or not threads:
        raise UklError("the guest's /proc cannot be read")
    return Sample(
        uptime,
        busy,
        total,
        cpus,
        memory.get("MemTotal:", 0),
        memory.get("MemAvailable:", 0),
        tuple(threads),
    )


def _thread(match: re.Match[str]) -> Thread:
    fields = match[5].split()  # from the parent's id, the fourth of the line
    return Thread(
        process=int(match[1]),
        number=int(match[2]),
        name=match[3],
        state=match[4],
        kernel=bool(int(fields[5]) & KERNEL_THREAD),
        ticks=int(fields[10]) + int(fields[11]),
        resident=int(fields[20]) * PAGE,
    )


# --- between two looks ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A thread, and its share of one processor in percent."""

    thread: Thread
    percent: float


@dataclass(frozen=True, slots=True)
class Host:
    """What QEMU uses on this machine: percent of one processor, resident bytes."""

    pid: int
    percent: float
    resident: int


@dataclass(frozen=True, slots=True)
class View:
    """What is shown. `busy` is percent of all processors of the guest."""

    guest: str
    uptime: float
    processors: int
    busy: float
    memory: int
    used: int
    host: Host | None
    rows: tuple[Row, ...]


def rows(before: Sample, now: Sample) -> tuple[Row, ...]:
    """Return the threads of processes, and the kernel's that have run, by share. Pure."""
    earlier = {(each.process, each.number): each.ticks for each in before.threads}
    span = max(now.uptime - before.uptime, 1 / TICKS)
    found = []
    for thread in now.threads:
        ticks = thread.ticks - earlier.get((thread.process, thread.number), 0)
        if ticks > 0 or not thread.kernel:
            found.append(Row(thread, 100 * max(0, ticks) / TICKS / span))
    return tuple(
        sorted(found, key=lambda row: (-row.percent, row.thread.process, row.thread.number))
    )


def view(guest: str, before: Sample, now: Sample, host: Host | None) -> View:
    """Return what is shown of two looks. Pure."""
    total = max(1, now.total - before.total)
    return View(
        guest=guest,
        uptime=now.uptime,
        processors=now.processors,
        busy=100 * (now.busy - before.busy) / total,
        memory=now.memory,
        used=now.memory - now.available,
        host=host,
        rows=rows(before, now),
    )


def text(shown: View, application: int | None) -> Iterator[str]:
    """Yield the lines that people see; `application` is a process id. Pure."""
    plural = "processor" if shown.processors == 1 else "processors"
    yield (
        f"{shown.guest}: up {shown.uptime:.0f} s; {shown.processors} {plural}, "
        f"{shown.busy:.0f}% busy; {shown.used >> 20} of {shown.memory >> 20} MiB used"
    )
    if shown.host is not None:
        yield (
            f"QEMU, process {shown.host.pid} here: {shown.host.percent:.0f}% of a processor, "
            f"{shown.host.resident >> 20} MiB"
        )
    yield ""
    yield "    PID    TID  S   CPU%      TIME      RSS  NAME"
    for row in shown.rows:
        thread = row.thread
        mark = " *" if thread.process == application else ""
        name = f"[{thread.name}]" if thread.kernel else thread.name
        yield (
            f"{thread.process:>7}{thread.number:>7}  {thread.state}  {row.percent:>5.1f}"
            f"{thread.ticks / TICKS:>10.2f}{thread.resident >> 10:>9}  {name}{mark}"
        )


# --- looking ----------------------------------------------------------------------------------


def _host(process: Identity | None, proc: Path = PROC) -> tuple[float, int, int] | None:
    """Return time, ticks and resident bytes of a process of this machine, None if it is gone."""
    if process is None or not process.alive:
        return None
    try:
        fields = (proc / str(process.pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return time.monotonic(), int(fields[11]) + int(fields[12]), int(fields[21]) * PAGE


def looks(guests: Registry, name: str, delay: float) -> Iterator[View]:
    """Yield a view every `delay` seconds, until Ctrl-C. UklError when the guest ends."""
    here = os.sysconf("SC_CLK_TCK")
    before: tuple[Sample, tuple[float, int, int] | None] | None = None
    while True:
        process = guests.get(name).life.qemu
        usage = _host(process)
        code, said = execute.captured(guests, name, COMMAND)
        if code == ExitCode.INTERRUPTED:  # Ctrl-C was passed on to it
            raise KeyboardInterrupt
        if code not in {0, 1, 2}:  # threads that ended meanwhile are no failure
            raise UklError(f"{name}: /proc cannot be read: status {code}")
        now = parse(said.decode("utf-8", "replace"))
        if before is not None:
            host = None
            if process is not None and usage is not None and before[1] is not None:
                span = max(usage[0] - before[1][0], 0.01)
                percent = 100 * (usage[1] - before[1][1]) / here / span
                host = Host(process.pid, percent, usage[2])
            yield view(name, before[0], now, host)
        before = (now, usage)
        time.sleep(delay)
