# SPDX-License-Identifier: GPL-2.0
"""Samples as the kernel writes them, folded stacks, flame graphs; and how strace is called."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ukl.base.errors import UklError
from ukl.debug import flames, samples
from ukl.debug.samples import Share
from ukl.observe import perf, trace
from ukl.vm import install

KERNEL_CONTEXT = (1 << 64) - 128


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<IHH", kind, 1, 8 + len(content)) + content


def sample(chain: list[int], stack: bytes = b"", valid: int | None = None) -> bytes:
    content = struct.pack("<QIIQ", chain[-1], 34, 35, len(chain))
    content += struct.pack(f"<{len(chain)}Q", *chain)
    content += struct.pack("<Q", 2) + struct.pack("<17Q", *range(17)) if stack else bytes(8)
    content += struct.pack("<Q", len(stack)) + stack
    if stack:
        content += struct.pack("<Q", len(stack) if valid is None else valid)
    return record(9, content)


HEAD = b"ukl-profile 1 ffffffff82000000 2\n"


def test_records() -> None:
    lost = record(2, struct.pack("<QQ", 1, 7))
    data = HEAD + sample([KERNEL_CONTEXT, 0xFFFFFFFF82000010], b"s" * 16, 8) + lost + sample([5])
    found = samples.parse(data)
    assert (found.text, found.processors, found.lost) == (0xFFFFFFFF82000000, 2, 7)
    first, second = found.samples
    assert (first.process, first.thread, first.chain) == (34, 35, (0xFFFFFFFF82000010,))
    assert (first.registers["rsp"], first.registers["rip"], first.registers["r15"]) == (7, 8, 16)
    assert first.stack == b"s" * 8
    assert (second.registers, second.stack) == ({}, b"")
    # The guest ended in the middle of one.
    assert len(samples.parse(data[:-4]).samples) == 1


@pytest.mark.parametrize("data", [b"", b"hello\n", HEAD[:-1], HEAD + record(9, b"short")])
def test_what_is_no_profile(data: bytes) -> None:
    with pytest.raises(UklError):
        samples.parse(data)


STACKS = Counter(
    {
        ("web", "main", "send", "tcp_sendmsg_[k]"): 6,
        ("web", "main"): 3,
        ("web", "main", "main"): 1,
        ("kworker/0", "kthread_[k]"): 2,
    }
)


def test_stacks_are_read_as_they_were_written() -> None:
    text = samples.render(STACKS)
    assert "web;main;send;tcp_sendmsg_[k] 6\n" in text
    assert samples.read(text) == STACKS
    with pytest.raises(ValueError, match="not a stack"):
        samples.read("hello\n")


def test_shares() -> None:
    assert samples.shares(STACKS) == [
        Share("tcp_sendmsg_[k]", 6, 6),
        Share("main", 4, 10),
        Share("kthread_[k]", 2, 2),
        Share("send", 0, 6),
    ]
    taken = perf.Recording("web", STACKS, 12, 3)
    lines = perf.table(taken, 2)
    assert lines[0] == "web: 12 samples, 3 more were lost"
    assert [line.split() for line in lines[2:]] == [
        ["50.0%", "50.0%", "k", "tcp_sendmsg"],
        ["33.3%", "83.3%", "a", "main"],
    ]


def test_a_flame_graph() -> None:
    root = ElementTree.fromstring(flames.svg(STACKS, "a <b>"))
    space = {"s": "http://www.w3.org/2000/svg"}
    titles = [each.text for each in root.findall(".//s:title", space)]
    assert titles[0] == "all: 12 samples, 100.0%"
    assert "tcp_sendmsg (kernel): 6 samples, 50.0%" in titles
    widths = {
        str(group.findtext("s:title", "", space)).split(":")[0]: float(
            group.find("s:rect", space).get("width", "")  # type: ignore[union-attr]
        )
        for group in root.findall(".//s:g", space)
    }
    assert widths["all"] == pytest.approx(2 * widths["tcp_sendmsg (kernel)"], rel=0.01)
    ElementTree.fromstring(flames.svg({}, "nothing"))


def test_processes_and_whose_they_are() -> None:
    names, parents = perf.parse_processes(
        "/proc/34/comm:postgres\n/proc/35/comm:a b\n"
        "/proc/34/stat:34 (postgres) S 1 34 34 0\n/proc/35/stat:35 (a) b) S 34 34\n"
        "/proc/36/stat:36 (sh) S 1 36\n"
    )
    assert names == {34: "postgres", 35: "a b"}
    assert perf.family(34, parents) == {34, 35}
    assert perf.family(None, parents) == frozenset()


def test_words_of_strace() -> None:
    options = trace.Options(summary=True, expression="read", more=("-y",))
    assert trace.words((34, 40), options) == (
        *("-q", "-f", "-c", "-e", "read", "-p", "34", "-p", "40", "-y"),
    )


def test_libraries_of_a_program() -> None:
    listing = (
        "\tlinux-vdso.so.1 (0x00007f8637716000)\n"
        "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f863721e000)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f8637718000)\n"
    )
    assert install.libraries(listing) == [
        Path("/lib/x86_64-linux-gnu/libc.so.6"),
        Path("/lib64/ld-linux-x86-64.so.2"),
    ]
    assert install.libraries("\tstatically linked\n") == []
