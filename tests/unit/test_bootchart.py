# SPDX-License-Identifier: GPL-2.0
"""A boot's chart: the log out of memory, the stages by registers, and the phases."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import Cli
from ukl.base.errors import UklError, UsageError
from ukl.debug import bootchart, bootplot, printk
from ukl.debug.bootchart import BACKBONE, Chart, Event, Lane, Marks
from ukl.debug.printk import Message
from ukl.debug.unwind import Unreadable
from ukl.vm import bootwatch

# --- the ring buffer --------------------------------------------------------------------

POINTER, RING, DESCS, INFOS, TEXT = 0x1000, 0x2000, 0x3000, 0x4000, 0x8000
BITS, SIZE_BITS = 2, 7
COUNT, SIZE = 1 << BITS, 1 << SIZE_BITS


def memory(lines: list[str], *, states: dict[int, int] | None = None) -> dict[int, bytes]:
    """Return the memory in which a kernel has logged `lines`, one after the other."""
    descs, infos, text = bytearray(24 * COUNT), bytearray(88 * COUNT), bytearray(SIZE)
    at = 0
    for number, line in enumerate(lines):
        data, identity = line.encode(), COUNT + number  # ids do not begin at 0 there either
        size = -(-(8 + len(data)) // 8) * 8
        begin = at
        if at // SIZE != (at + size - 1) // SIZE:  # to the begin of the ring
            at = (at // SIZE + 1) * SIZE
        where, at = at % SIZE, at + size
        block = struct.pack("<Q", identity) + data.ljust(size - 8, b"\0")
        text[where : where + size] = block
        lpos = (begin, at) if data else (3, 3)
        state = (states or {}).get(number, 2)
        struct.pack_into("<QQQ", descs, identity % COUNT * 24, state << 62 | identity, *lpos)
        struct.pack_into(
            "<QQHBBI", infos, identity % COUNT * 88, number, 1000 * number, len(data), 0, 7 << 5, 0
        )
    ring = struct.pack("<I4xQQQQQ", BITS, DESCS, INFOS, 0, 0, 0)
    ring += struct.pack("<I4xQQQQ", SIZE_BITS, TEXT, 0, 0, 0)
    pointer = struct.pack("<Q", RING)
    return {
        POINTER: pointer,
        RING: ring,
        DESCS: bytes(descs),
        INFOS: bytes(infos),
        TEXT: bytes(text),
    }


def read(pieces: dict[int, bytes]) -> list[Message]:
    return printk.messages(lambda address, size: pieces[address][:size], POINTER)


def test_the_log_is_read() -> None:
    found = read(memory(["one", "two", ""]))
    assert [each.text for each in found] == ["one", "two", ""]
    assert [each.seconds for each in found] == [0, 1e-6, 2e-6]
    assert found[0].level == 7


def test_old_messages_are_overwritten() -> None:
    lines = [f"message {number:02}" for number in range(11)]
    assert [each.text for each in read(memory(lines))] == lines[-COUNT:]


def test_a_block_that_does_not_fit_before_the_end_begins_the_ring() -> None:
    lines = ["x" * 56, "y" * 40, "z" * 32]  # 64 and 48 of 128 bytes, then 40
    assert [each.text for each in read(memory(lines))][1:] == lines[1:]


def test_half_written_messages_do_not_count() -> None:
    found = read(memory(["one", "two", "three"], states={1: 0, 2: 3}))
    assert [each.text for each in found] == ["one"]


def test_what_is_no_ring_is_refused() -> None:
    pieces = memory(["one"])
    with pytest.raises(Unreadable):
        read({**pieces, RING: b"\xff" * 88})


# --- the stages ---------------------------------------------------------------------------

REGISTERS = """RIP=0000000001000200 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
GDT=     {gdt} 0000007f
IDT=     0000000000000000 00000000
EFER={efer:016x}
"""


@pytest.mark.parametrize(
    ("efer", "gdt", "expected"),
    [
        (0, "000f6180", (False, False)),
        (0x500, "00000000013d2e40", (True, False)),
        (0xD01, "fffffe0000001000", (True, True)),
        (0, "fffffe0000001000", (False, False)),
    ],
)
def test_stage(efer: int, gdt: str, expected: tuple[bool, bool]) -> None:
    assert bootwatch.stage(REGISTERS.format(efer=efer, gdt=gdt)) == expected


def test_stage_unknown() -> None:
    with pytest.raises(UklError, match="mode"):
        bootwatch.stage("no registers")


# --- the chart ------------------------------------------------------------------------------

LEVELS = {"a": ("early",), "b": ("subsys",), "c": ("device", "early"), "d": ("late",)}

TEXTS = [
    (0.000, "Linux version 6.12"),
    (0.050, "Memory: much"),
    (0.100, "calling  a+0x0/0x10 @ 1"),
    (0.101, "initcall a+0x0/0x10 returned 0 after 1000 usecs"),
    (0.110, "calling  b+0x0/0x10 @ 1"),
    (0.150, "calling  unknown+0x0/0x10 @ 1"),
    (0.155, "initcall unknown+0x0/0x10 returned -19 after 5000 usecs"),
    (0.160, "initcall b+0x0/0x10 returned 0 after 50000 usecs"),
    (0.170, "calling  c+0x0/0x10 @ 1"),
    (0.180, "probe of virtio0 returned 0 after 9000 usecs"),
    (0.190, "initcall c+0x0/0x10 returned 0 after 20000 usecs"),
    (0.200, "calling  d+0x0/0x10 @ 1"),
    (0.210, "initcall d+0x0/0x10 returned 0 after 10000 usecs"),
    (0.250, "Run /init as init process"),
    (0.400, "random: said later"),
]
LOG = tuple(Message(number, *each[:1], 7, each[1]) for number, each in enumerate(TEXTS))
MARKS = Marks(
    resumed=0.1,
    long_mode=0.2,
    kernel=0.3,
    events=(
        Event("hello", 0.300, 0.652),
        Event("ready", 0.320, 0.670),
        Event("started", 0.33, 0.683),
    ),
    output=0.7,
    log=LOG,
)
ZERO = 0.35
"""When the guest's clock was 0: `ready` came soonest."""


def chart(marks: Marks = MARKS) -> Chart:
    return bootchart.chart("test", marks, LEVELS)


def test_no_time_is_lost() -> None:
    found = chart()
    spans = found.of(*BACKBONE)
    assert spans[0].begin == 0
    assert spans[-1].end == found.seconds == 0.7
    for before, after in pairwise(spans):
        assert before.end == after.begin, after.name
    assert found.notes == ()


def test_phases() -> None:
    found = {each.name: each for each in chart().of(*BACKBONE)}
    assert list(found) == [
        "QEMU starts",
        "firmware, kernel's setup code",
        "decompression, relocation",
        "before the kernel's clock runs",
        "start_kernel()",
        "early initcalls, processors",
        "subsys initcalls",
        "device initcalls",
        "late initcalls",
        "from the last initcall to init",
        "init: mounts, status channel",
        "init: network, clock, volumes",
        "init: execve of the application",
        "application until its first output",
    ]
    assert found["start_kernel()"].begin == pytest.approx(ZERO)
    assert found["start_kernel()"].seconds == pytest.approx(0.1)
    # The second `c` is early, and early is over: the level that is meant is the later one.
    assert found["device initcalls"].begin == pytest.approx(ZERO + 0.17)
    assert found["late initcalls"].end == pytest.approx(ZERO + 0.21)


def test_within() -> None:
    calls = {each.name: each for each in chart().of(Lane.INITCALL)}
    assert {name: round(1000 * each.seconds) for name, each in calls.items()} == {
        "a": 1,
        "b": 50,
        "unknown": 5,
        "c": 20,
        "d": 10,
    }
    [probe] = chart().of(Lane.PROBE)
    assert (probe.name, round(1000 * probe.seconds)) == ("virtio0", 9)
    assert probe.end == pytest.approx(ZERO + 0.18)
    gaps = {each.name: round(1000 * each.seconds) for each in chart().of(Lane.MESSAGE)}
    assert gaps["… Memory: much"] == gaps["… call of a"] == 50
    assert gaps["… Run /init as init process"] == 40
    assert not any("said later" in name or "probe" in name for name in gaps)


def test_what_was_not_seen_is_said() -> None:
    found = chart(replace(MARKS, log=(), missing="its log could not be read: why", output=None))
    names = [each.name for each in found.of(*BACKBONE)]
    assert "kernel; init: mounts, channel" in names
    assert names[-1] == "init: execve of the application"
    assert found.notes == (
        "the kernel's phases are unknown: its log could not be read: why",
        "no output of the application was observed",
    )
    nothing = chart(Marks(0.1, None, None, (), None, (), "the guest was gone"))
    assert [each.name for each in nothing.spans] == ["QEMU starts"]
    assert len(nothing.notes) == 5
    late = chart(replace(MARKS, log=LOG[3:]))
    assert "3 messages of the kernel's log were overwritten" in late.notes
    quiet = chart(replace(MARKS, log=LOG[:2]))
    assert "the kernel's log has no initcalls" in quiet.notes


def test_a_late_look_moves_nothing_behind_the_clock() -> None:
    spans = chart(replace(MARKS, kernel=0.36, long_mode=0.355)).of(*BACKBONE)
    assert [each.end for each in spans[:2]] == [0.1, pytest.approx(ZERO)]


def test_text() -> None:
    lines = bootchart.text(chart())
    assert lines[0] == "test: 700 ms"
    assert "   100.0   100.0   14.3  firmware, kernel's setup code" in lines
    assert any(line.split() == ["50.0", "b"] for line in lines)


# --- the file ---------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    assert bootplot.check(tmp_path / "boot") == tmp_path / "boot.svg"
    with pytest.raises(UsageError, match="pdf"):
        bootplot.check(tmp_path / "boot.pdf")
    with pytest.raises(UsageError, match="no such directory"):
        bootplot.check(tmp_path / "none" / "boot.svg")
    for name in ("a.svg", "b.svg", "c.png", "d.json"):
        bootplot.write(chart(), bootplot.check(tmp_path / name))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    words = {text.strip() for text in ElementTree.parse(tmp_path / "a.svg").getroot().itertext()}
    assert {"QEMU starts", "unknown", "virtio0", "subsys initcalls", "50.0"} <= words
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "d.json").read_text())["spans"]) == len(chart().spans)


def test_what_it_does_not_go_with(cli: Cli, tmp_path: Path) -> None:
    for words in (["-d"], ["--init", "app"]):
        ran = cli("run", "--bootchart", "boot.svg", *words, "hello")
        assert ran.returncode == 2, ran.stderr
        assert "boot chart" in ran.stderr
    assert not list(tmp_path.glob("boot*"))
