# SPDX-License-Identifier: GPL-2.0
"""QEMU's argument vector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ukl.base.model import (
    Accelerator,
    AppSpec,
    Counting,
    Machine,
    PortForward,
    Protocol,
    Trace,
    Tune,
)
from ukl.vm import qemu
from ukl.vm.qemu import Channels

MACHINE = Machine(
    kernel=Path("/k/vmlinux"),
    initrd=Path("/i/initrd"),
    cmdline="console=ttyS0 quiet",
    memory=256 << 20,
    cpus=2,
    accelerator=Accelerator.TCG,
)
CHANNELS = Channels(console=10, qmp=11, status=12)


def values(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


def test_machine_is_translated() -> None:
    argv = qemu.argv(MACHINE, CHANNELS)
    assert values(argv, "-kernel") == ["/k/vmlinux"]
    assert values(argv, "-initrd") == ["/i/initrd"]
    assert values(argv, "-append") == ["console=ttyS0 quiet"]
    assert values(argv, "-m") == ["262144k"]
    assert values(argv, "-smp") == ["2"]
    assert values(argv, "-cpu") == ["max"]
    assert "-icount" not in argv


def test_an_emulated_guest_has_the_firmware_that_only_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rom = tmp_path / "qboot.rom"
    monkeypatch.setattr(qemu, "QBOOT", rom)
    assert qemu.firmware(Accelerator.TCG) is None  # another QEMU than Debian's
    rom.touch()
    assert qemu.firmware(Accelerator.TCG) == rom
    assert qemu.firmware(Accelerator.KVM) is None
    assert values(qemu.argv(replace(MACHINE, firmware=rom), CHANNELS), "-bios") == [str(rom)]
    assert "-bios" not in qemu.argv(MACHINE, CHANNELS)


def test_nothing_of_the_caller_and_no_way_out() -> None:
    argv = qemu.argv(MACHINE, CHANNELS)
    for option in ("-nodefaults", "-no-user-config", "-no-reboot"):
        assert option in argv
    assert values(argv, "-sandbox")[0].startswith("on")


def test_channels_are_descriptors() -> None:
    devices = values(qemu.argv(MACHINE, CHANNELS), "-chardev")
    assert "socket,id=qmp,fd=11" in devices
    assert "socket,id=status,fd=12" in devices
    assert "socket,id=console,fd=10" in devices


def test_the_streams_have_a_port() -> None:
    argv = qemu.argv(MACHINE, replace(CHANNELS, streams=15))
    assert f"virtserialport,chardev=streams,name={qemu.STREAMS_PORT}" in values(argv, "-device")
    assert "socket,id=streams,fd=15" in values(argv, "-chardev")
    assert qemu.STREAMS_PORT not in " ".join(qemu.argv(MACHINE, CHANNELS))


def test_without_status_channel_there_is_no_port() -> None:
    argv = qemu.argv(MACHINE, replace(CHANNELS, status=None))
    assert not any("virtserialport" in word for word in argv)


def test_a_machine_is_held_only_where_somebody_looks() -> None:
    assert "-action" not in qemu.argv(MACHINE, CHANNELS)
    held = qemu.argv(replace(MACHINE, stop_on_crash=True), replace(CHANNELS, core=14))
    assert values(held, "-action") == ["panic=pause,shutdown=pause"]
    assert f"virtserialport,chardev=core,name={qemu.CORE_PORT}" in values(held, "-device")
    assert "socket,id=core,fd=14" in values(held, "-chardev")


def test_what_is_translated_can_be_written_down() -> None:
    assert "-d" not in qemu.argv(MACHINE, CHANNELS)
    trace = Trace(Path("/r/a,b"), ((0xFFFFFFFF82000000, 0xFFFFFFFF82FFFFFF), (0x10, 0x1F)))
    traced = qemu.argv(replace(MACHINE, trace=trace), CHANNELS)
    assert values(traced, "-d") == ["in_asm"]
    assert values(traced, "-D") == ["/r/a,b"]
    assert values(traced, "-dfilter") == ["0xffffffff82000000..0xffffffff82ffffff,0x10..0x1f"]


def test_a_plugin_counts() -> None:
    counting = Counting(Path("/c/counter.so"), Path("/r/a,b"))
    counted = qemu.argv(replace(MACHINE, trace=counting), CHANNELS)
    assert values(counted, "-plugin") == ["/c/counter.so,counts=/r/a,,b"]


def test_ports_are_forwarded() -> None:
    ports = (
        PortForward(5555, 5556),
        PortForward(80, 8080, "0.0.0.0"),
        PortForward(53, 5353, protocol=Protocol.UDP),
    )
    network = values(qemu.argv(replace(MACHINE, ports=ports), CHANNELS), "-netdev")[0]
    assert "hostfwd=tcp:127.0.0.1:5555-:5556" in network
    assert "hostfwd=tcp:0.0.0.0:80-:8080" in network
    assert "hostfwd=udp:127.0.0.1:53-:5353" in network


@pytest.mark.parametrize("accelerator", list(Accelerator))
def test_instruction_counting_needs_emulation(accelerator: Accelerator) -> None:
    argv = qemu.argv(replace(MACHINE, icount=True, accelerator=accelerator), CHANNELS)
    assert ("-icount" in argv) == (accelerator is Accelerator.TCG)


def test_kernel_is_quiet_unless_asked() -> None:
    spec = AppSpec("app", Path("app"), Path())
    assert "quiet" in qemu.kernel_words(spec, verbose=False)
    assert "quiet" not in qemu.kernel_words(spec, verbose=True)
    for verbose in (False, True):
        assert {"console=ttyS0", "panic=-1", "no_timer_check"} <= set(
            qemu.kernel_words(spec, verbose=verbose)
        )


def test_kernel_has_the_settings_of_the_application() -> None:
    def words(**settings: Any) -> list[str]:
        return qemu.kernel_words(AppSpec("app", Path("app"), Path(), **settings), verbose=False)

    assert not any("thp" in word or "ukl." in word or "sysctl" in word for word in words())
    assert "sysctl.vm.overcommit_memory=2" in words(populate=True)
    assert "thp_anon=64K:always" in words(page_size=64 << 10)
    assert "ukl.programs=1" in words(executable="/bin/app")
    assert not any("held_kick" in word for word in words())
    assert "held_kick.packets=32" in words(tune=Tune.SERVER)
    assert words(sysctl={"vm.overcommit_memory": "1", "net.x": "1 2"})[-2:] == [
        '"sysctl.net.x=1 2"',
        "sysctl.vm.overcommit_memory=1",
    ]


@pytest.mark.parametrize(
    ("accelerator", "cpus", "version", "expected"),
    [
        (Accelerator.TCG, 1, None, "tcg"),
        (Accelerator.TCG, 2, None, "tcg,thread=single"),
        (Accelerator.TCG, 2, (7, 2, 22), "tcg,thread=single"),
        (Accelerator.TCG, 2, (8, 1), "tcg"),
        (Accelerator.TCG, 2, (10, 0, 2), "tcg"),
        (Accelerator.KVM, 2, (7, 2), "kvm"),
    ],
)
def test_emulated_processors_share_a_thread_where_they_must(
    accelerator: Accelerator, cpus: int, version: tuple[int, ...] | None, expected: str
) -> None:
    machine = replace(MACHINE, accelerator=accelerator, cpus=cpus)
    argv = qemu.argv(machine, CHANNELS, version=version)
    assert values(argv, "-accel") == [expected]
