# SPDX-License-Identifier: GPL-2.0
"""What `ukl drgn` is made of: packets, a dump's memory, and VMCOREINFO."""

from __future__ import annotations

import builtins
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.conftest import Cli
from ukl.base.errors import MissingError, UklError
from ukl.debug import vmcoreinfo
from ukl.debug.unwind import Unreadable
from ukl.elf.reader import Elf, Segment
from ukl.observe import drgn, stub


def load(address: int, physical: int, offset: int, size: int) -> Segment:
    return Segment("PT_LOAD", 4, offset, address, physical, size, size, 0)


DATA = b"....aaaabbbbcccc"
SEGMENTS = [load(0x1000, 0x100, 4, 4), load(0x2000, 0x104, 8, 4), load(0x3000, 0x200, 12, 4)]


def test_memory_of_a_dump() -> None:
    physical = drgn.reader(SEGMENTS, DATA, physical=True)
    assert physical(0x102, 4) == b"aabb"  # through both, which are apart by their other address
    virtual = drgn.reader(SEGMENTS, DATA, physical=False)
    assert virtual(0x2001, 2) == b"bb"
    overlapping = [*SEGMENTS, load(0x4000, 0x102, 12, 4), load(0x5000, 0x201, 0, 1)]
    assert drgn.reader(overlapping, DATA, physical=True)(0x100, 8) == b"aaaaccbb"
    for read, address in ((physical, 0x106), (virtual, 0x1002), (virtual, 0x100)):
        with pytest.raises(Unreadable):
            read(address, 4)


# --- the stub -----------------------------------------------------------------------------


def test_packet() -> None:
    assert stub.packet("m10,2") == b"$m10,2#2c"


def answer(theirs: socket.socket, answers: dict[str, str], asked: list[str]) -> None:
    """Be QEMU's stub: tell of a stop first, as it does at times."""
    with theirs, theirs.makefile("rb") as stream:
        theirs.sendall(b"+$T05thread:01;#07")
        while byte := stream.read(1):
            if byte != b"$":
                continue
            payload = bytearray()
            while (each := stream.read(1)) != b"#":
                payload += each
            stream.read(2)
            asked.append(payload.decode())
            theirs.sendall(b"+" + stub.packet(answers.get(payload.decode(), "")))


def connected(answers: dict[str, str]) -> tuple[stub.Stub, list[str], threading.Thread]:
    ours, theirs = socket.socketpair()
    asked: list[str] = []
    thread = threading.Thread(target=answer, args=(theirs, {"qAttached": "1"} | answers, asked))
    thread.start()
    return stub.Stub(ours), asked, thread


def test_the_stub_reads_in_pieces() -> None:
    size = stub.PIECE + 2
    answers = {
        "Qqemu.PhyMemMode:1": "OK",
        "Qqemu.PhyMemMode:0": "OK",
        f"m1000,{stub.PIECE:x}": "aa" * stub.PIECE,
        f"m{0x1000 + stub.PIECE:x},2": "bbbb",
        "m2000,1": "cc",
        "m3000,4": "E14",
        "m4000,2": "dd",
    }
    connection, asked, thread = connected(answers)
    with connection:
        assert connection.read(0x1000, size, physical=True) == b"\xaa" * stub.PIECE + b"\xbb\xbb"
        assert connection.read(0x2000, 1, physical=False) == b"\xcc"
        assert connection.read(0x2000, 1, physical=False) == b"\xcc"
        with pytest.raises(Unreadable, match="0x3000"):
            connection.read(0x3000, 4, physical=False)
        with pytest.raises(Unreadable, match="0x4000"):  # less than was asked for
            connection.read(0x4000, 2, physical=False)
    thread.join(10)
    assert [each for each in asked if each.startswith("Q")] == [
        "Qqemu.PhyMemMode:1",
        "Qqemu.PhyMemMode:0",
    ]


def test_a_stub_that_cannot_or_goes_away() -> None:
    connection, _, thread = connected({})
    with connection, pytest.raises(Unreadable, match="physical"):
        connection.read(0, 1, physical=True)
    thread.join(10)
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises((Unreadable, OSError)):
        stub.Stub(ours)


# --- VMCOREINFO ---------------------------------------------------------------------------


def kernel(**symbols: int) -> Elf:
    """Return what stands for a vmlinux with these symbols."""
    banner = b"Linux version 6.12.117-ukl (somebody)\n"
    section = SimpleNamespace(allocated=True, address=0x1000, size=len(banner))
    places = {"linux_banner": 0x1000, "init_top_pgt": 0x5000, **symbols}
    return cast(
        Elf,
        SimpleNamespace(
            sections=[section],
            content=lambda _: banner,
            addresses=lambda names: {each: places[each] for each in names if each in places},
            notes=lambda: iter([("GNU", 3, b"\xab\xcd"), ("Xen", 3, b"")]),
        ),
    )


def test_vmcoreinfo() -> None:
    memory = {0x7000: (0x1200000).to_bytes(8, "little"), 0x8000: b"\1\0\0\0"}
    found = vmcoreinfo.text(
        kernel(phys_base=0x6000, mem_section=0x4000, __pgtable_l5_enabled=0x7000),
        0x1000,
        lambda address, size: memory[address][:size],
    )
    assert found.splitlines() == [
        "OSRELEASE=6.12.117-ukl",
        "BUILD-ID=abcd",
        "PAGESIZE=4096",
        "SYMBOL(swapper_pg_dir)=6000",
        "KERNELOFFSET=1000",
        "NUMBER(phys_base)=18874368",
        "NUMBER(pgtable_l5_enabled)=1",
        "SYMBOL(mem_section)=5000",
    ]
    plain = vmcoreinfo.text(kernel(), 0, lambda address, size: b"")
    assert "NUMBER(pgtable_l5_enabled)=0" in plain
    assert "mem_section" not in plain


# --- what is said ---------------------------------------------------------------------------


def test_without_drgn_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "drgn":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingError) as caught:
        drgn.module()
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith(f"{sys.executable} -m pip install 'drgn")


def test_a_kernel_without_types() -> None:
    elf = cast(Elf, SimpleNamespace(section=lambda name: None))
    with pytest.raises(UklError) as caught:
        drgn.check(elf, Path("/k/vmlinux"))
    assert "--profile dwarf" in str(caught.value.remedy)


def test_no_such_guest(cli: Cli) -> None:
    for words in ([], ["--dump"]):
        ran = cli("drgn", "nobody", *words, "-e", "1")
        assert ran.returncode == 4, ran.stderr
        assert "nobody" in ran.stderr
