# SPDX-License-Identifier: GPL-2.0
"""Instructions per function and layer: from addresses to names, tables and flame graphs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from ukl.base.errors import ExitCode
from ukl.bench import functions, samples, table
from ukl.bench.counting import Counts
from ukl.bench.functions import APPLICATION, OTHER, REST, Profile
from ukl.bench.samples import Profiled, Report
from ukl.cli.app import app
from ukl.debug import flames
from ukl.debug.unwind import Program
from ukl.flow.counted import UNKNOWN, Places
from ukl.trim import linkmap

KERNEL = 0xFFFFFFFF82000000

MAP = f"""
 .text          {KERNEL:#x}      0x100 vmlinux.a(net/ipv4/tcp_input.o)
 .text          {KERNEL + 0x100:#x}      0x100 vmlinux.a(mm/slub.o)
 .entry.text    {KERNEL + 0x200:#x}       0x80 arch/x86/entry/entry_64.o
"""


@dataclass
class Names:
    """What Places asks a program: names from tables of (begin, end, name, kernel?)."""

    ranges: tuple[tuple[int, int, str, bool], ...]

    def _found(self, address: int) -> tuple[int, int, str, bool] | None:
        return next((each for each in self.ranges if each[0] <= address < each[1]), None)

    def is_kernel(self, address: int) -> bool | None:
        found = self._found(address)
        return None if found is None else found[3]

    def name(self, address: int) -> tuple[str, int]:
        found = self._found(address)
        return ("", 0) if found is None else (found[2], address - found[0])


def places(*, own: bool = True) -> Places:
    vmlinux = Names(
        (
            (KERNEL, KERNEL + 0x80, "tcp_ack", True),
            (KERNEL + 0x80, KERNEL + 0x100, "init_once", True),
            (KERNEL + 0x100, KERNEL + 0x180, "kfree", True),
            (KERNEL + 0x180, KERNEL + 0x200, "init_once", True),
            (KERNEL + 0x200, KERNEL + 0x280, "entry_SYSCALL_64", True),
            (KERNEL + 0x300, KERNEL + 0x400, "main", False),
        )
    )
    program = Names(((0x401000, 0x402000, "main", False),))
    return Places(
        cast(Program, vmlinux),
        linkmap.parse(MAP.splitlines()),
        cast(Program, program) if own else None,
    )


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (KERNEL, ("TCP/IP", "tcp_ack")),
        (KERNEL + 0x7F, ("TCP/IP", "tcp_ack")),
        # Two functions of one name are told apart by their objects.
        (KERNEL + 0x80, ("TCP/IP", "init_once")),
        (KERNEL + 0x180, ("memory", "init_once")),
        (KERNEL + 0x200, ("entry and exit", "entry_SYSCALL_64")),
        (KERNEL + 0x310, (APPLICATION, "main")),
        (0xFFFFFFFFC0000000, (REST, UNKNOWN)),
        (0x401800, (APPLICATION, "main")),
        (0x7FFFF7FC1000, (OTHER, UNKNOWN)),
    ],
)
def test_an_address_has_a_layer_and_a_function(address: int, place: functions.Place) -> None:
    assert places()(address) == place


def test_user_code_is_the_programs_only_if_it_is_where_it_was_linked() -> None:
    assert places(own=False)(0x401800) == (OTHER, UNKNOWN)


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("net/ipv4/tcp_input.o", "TCP/IP"),
        ("net/ipv6/af_inet6.o", "TCP/IP"),
        ("net/core/sock.o", "sockets"),
        ("net/core/skbuff.o", "packets"),
        ("net/sched/sch_generic.o", "packets"),
        ("drivers/virtio/virtio_ring.o", "virtio"),
        ("drivers/net/virtio_net.o", "virtio"),
        ("drivers/tty/tty_io.o", "drivers"),
        ("fs/eventpoll.o", "epoll"),
        ("fs/read_write.o", "files"),
        ("kernel/sched/fair.o", "scheduler and locks"),
        ("arch/x86/kernel/apic/apic.o", "timers"),
        ("arch/x86/kernel/apic/vector.o", "interrupts"),
        ("arch/x86/entry/entry_64.o", "entry and exit"),
        ("arch/x86/ukl/entry.o", "entry and exit"),
        ("arch/x86/lib/retpoline.o", "protections"),
        ("mm/usercopy.o", "protections"),
        ("mm/slub.o", "memory"),
        ("arch/x86/lib/memcpy_64.o", "copies"),
        ("lib/rbtree.o", "library"),
        ("kernel/fork.o", REST),
    ],
)
def test_an_object_of_the_kernel_is_in_a_layer(path: str, layer: str) -> None:
    assert functions.layer_of(path) == layer


def test_instructions_are_those_of_all_blocks_of_a_function() -> None:
    """A block that was translated in two lengths counts with both."""
    counts = Counts({(KERNEL, 5): 3, (KERNEL, 2): 1, (KERNEL + 0x10, 10): 3, (0x401000, 4): 2}, {})
    assert counts.instructions == {KERNEL: 17, KERNEL + 0x10: 30, 0x401000: 8}
    found = functions.profile(counts.instructions, places())
    assert found == {("TCP/IP", "tcp_ack"): 47, (APPLICATION, "main"): 8}
    assert sum(found.values()) == sum(counts.instructions.values())


def test_the_mean_of_boots() -> None:
    one: Profile = {("memory", "kfree"): 10.0, (APPLICATION, "main"): 4.0}
    assert functions.mean([one, {("memory", "kfree"): 20.0}]) == {
        ("memory", "kfree"): 15.0,
        (APPLICATION, "main"): 2.0,
    }


PROFILES: dict[str, Profile] = {
    "process": {
        ("TCP/IP", "tcp_ack"): 6000.0,
        ("TCP/IP", "tcp_rare"): 9.0,
        ("entry and exit", "entry_SYSCALL_64"): 300.0,
        (APPLICATION, "main"): 3000.0,
        ("timers", "nothing"): -0.2,
    },
    "fast": {("TCP/IP", "tcp_ack"): 6100.0, (APPLICATION, "main"): 3000.0},
}


def report() -> Report:
    keyed = {
        Profiled("redis", "GET 100 B, 10 clients × 16", name): each
        for name, each in PROFILES.items()
    }
    return Report({}, {}, keyed)


def test_the_table_has_layers_with_their_functions_the_largest_first() -> None:
    _, title, *found = table.profiles(report())
    assert title == "redis: GET 100 B, 10 clients × 16, by layer and function"
    assert [line.split() for line in found] == [
        ["instructions", "process", "fast"],
        ["all", "9,309", "9,100"],
        ["TCP/IP", "6,009", "6,100"],
        ["tcp_ack", "6,000", "6,100"],
        ["application", "3,000", "3,000"],
        ["main", "3,000", "3,000"],
        ["entry", "and", "exit", "300", "0"],
        ["entry_SYSCALL_64", "300", "0"],
    ]


def test_profiles_are_in_the_file_of_samples(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(samples.dump(report()))
    assert samples.load(file).functions == report().functions
    file.write_text(samples.dump(Report({}, {})))
    assert "functions" not in file.read_text()
    assert samples.load(file).functions == {}


def test_a_flame_graph_has_layers_below_their_functions() -> None:
    stacks = functions.stacks(PROFILES["process"])
    assert stacks["TCP/IP_[k]", "tcp_ack_[k]"] == 6000
    assert stacks[APPLICATION, "main"] == 3000
    assert not any("nothing" in names[1] for names in stacks)
    root = ElementTree.fromstring(flames.svg(stacks, "a request", "instructions"))
    titles = ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("title")]
    assert "TCP/IP (kernel): 6009 instructions, 64.6%" in titles
    name = functions.file_name("redis", "GET 100 B, 10 clients × 16", "fast")
    assert name == "redis-GET-100-B-10-clients-16-fast.svg"


@pytest.mark.parametrize("words", [("syscalls",), ("redis", "--meter", "time")])
def test_what_is_not_counted_from_outside_has_no_profile(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["bench", *words, "--profile-functions"])
    assert done.exit_code == ExitCode.USAGE
    assert "--meter exits --profile-functions" in done.stderr
