# SPDX-License-Identifier: GPL-2.0
"""What is made of a guest's /proc."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ukl.base.errors import UklError
from ukl.observe import top

TAIL = "0 0 0 0 {flags} 10 0 0 0 {user} {system} 0 0 20 0 1 0 5 1000000 {pages} 184467 1 1 0 0"


def stat(process: int, thread: int, name: str, ticks: int, *, kernel: bool = False) -> str:
    tail = TAIL.format(flags=0x208040 if kernel else 4194304, user=ticks, system=1, pages=25)
    return f"/proc/{process}/task/{thread}/stat:{thread} ({name}) S 1 {tail}"


def said(uptime: float, ticks: int, *threads: str) -> str:
    return "\n".join(
        [
            f"{uptime} 3.00",
            f"cpu  {ticks} 0 10 900 20 0 0 0 0 0",
            f"cpu0 {ticks} 0 10 900 20 0 0 0 0 0",
            "cpu1 0 0 0 0 0 0 0 0 0 0",
            "intr 5",
            "MemTotal:         200000 kB",
            "MemFree:           10000 kB",
            "MemAvailable:     150000 kB",
            *threads,
        ]
    )


def test_a_look() -> None:
    sample = top.parse(said(12.5, 100, stat(34, 35, "a) (b", 7), stat(2, 2, "kthreadd", 0)))
    assert (sample.uptime, sample.processors) == (12.5, 2)
    assert (sample.busy, sample.total) == (110, 1030)
    assert (sample.memory, sample.available) == (200000 << 10, 150000 << 10)
    [thread, _] = sample.threads
    assert (thread.process, thread.number, thread.name, thread.ticks) == (34, 35, "a) (b", 8)
    assert thread.resident == 25 * 4096
    with pytest.raises(UklError):
        top.parse("cat: nothing\n")


def test_between_two_looks() -> None:
    kernel = stat(2, 2, "kthreadd", 0, kernel=True)
    busy = stat(9, 9, "ksoftirqd/0", 0, kernel=True)
    before = top.parse(said(10.0, 0, stat(34, 34, "web", 0), stat(1, 1, "init", 5), kernel, busy))
    busy = stat(9, 9, "ksoftirqd/0", 10, kernel=True)
    now = top.parse(said(12.0, 100, stat(34, 34, "web", 100), stat(1, 1, "init", 5), kernel, busy))
    shown = top.view("g", before, now, top.Host(99, 12.0, 5 << 20))
    assert [(row.thread.name, row.percent) for row in shown.rows] == [
        ("web", 50.0),
        ("ksoftirqd/0", 5.0),
        ("init", 0.0),
    ]
    lines = list(top.text(shown, 34))
    assert lines[0] == "g: up 12 s; 2 processors, 100% busy; 48 of 195 MiB used"
    assert lines[1] == "QEMU, process 99 here: 12% of a processor, 5 MiB"
    assert lines[4].split() == ["34", "34", "S", "50.0", "1.01", "100", "web", "*"]
    assert lines[5].split()[-1] == "[ksoftirqd/0]"
    assert "QEMU" not in "\n".join(top.text(replace(shown, host=None), None))
