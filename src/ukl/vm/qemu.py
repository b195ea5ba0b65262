# SPDX-License-Identifier: GPL-2.0
"""QEMU's argument vector. Pure: a Machine and the session's descriptors in, argv out.

The machine type was chosen by measurement (QEMU 7.2, TCG, from start to the first
line of the application): q35 without unused devices 0.75 s, plain q35 0.85 s, pc
1.1 s; microvm is faster still, but its virtio-serial port did not come up reliably.
vmlinux by its PVH note and bzImage take the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base.model import Accelerator, AppSpec, Counting, Machine, PortForward, Trace, Tune
from ukl.vm import network, storage

QEMU = "qemu-system-x86_64"

STATUS_PORT = "org.unikernel-linux.status"
"""Name of the virtio-serial port that guest/status.c looks for."""

AGENT_PORT = "org.unikernel-linux.agent"
"""Name of the port that guest/agent.c uses."""

CORE_PORT = "org.unikernel-linux.core"
"""Name of the port to which guest/core.c writes core files."""

STREAMS_PORT = "org.unikernel-linux.streams"
"""Name of the port with the application's standard streams (guest/agent.c)."""

RAM = "pc.ram"
"""QEMU's own name of the guest's memory, which migration keeps."""

MACHINE = "q35,sata=off,smbus=off,usb=off,vmport=off,i8042=off"

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

QBOOT = Path("/usr/share/qemu/qboot.rom")
"""A minimal firmware for kernels that QEMU loads itself; part of Debian's qemu-system-data."""

LAPIC_KHZ = 1_000_000
"""Frequency of the local APIC's timer that QEMU emulates, before its divider: it counts
nanoseconds of the virtual clock (QEMU's hw/intc/apic_common.c, apic_next_timer())."""

MULTITHREADED_SINCE = (8, 1)
"""QEMU's version from which each emulated processor may have its own thread. In older
versions one processor could translate code while another patched it (the kernel's jump
labels) and execute the old instruction later: a stale int3. About one boot in 60 died."""

OVERCOMMIT: Mapping[str, str] = {"vm.overcommit_memory": "2", "vm.overcommit_ratio": "200"}
"""Parameters of a guest whose program has `populate`, which makes the kernel fill what is mapped:
MAP_NORESERVE does not count, and a reservation of more than twice the memory fails with ENOMEM. The
second half is for children of fork(), whose copies count too."""

TUNED: Mapping[Tune, tuple[str, ...]] = {
    Tune.OFF: (),
    Tune.SERVER: ("held_kick.packets=32", "virtio_net.napi_tx=0"),
}
"""Kernel parameters. A server's device is notified once for what it sends between two waits
(net/core/held_kick.c), and makes no interrupt for what it has sent: the memory of sent packets is
taken back when the next ones are sent."""

QUIET = ("quiet", "loglevel=3")
"""Only critical messages reach the console; a panic raises the level by itself."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Descriptors that QEMU inherits: one end of a socket pair each."""

    console: int
    qmp: int
    status: int | None
    agent: int | None = None
    core: int | None = None
    streams: int | None = None
    tap: int | None = None
    memory: int | None = None
    """A snapshot's file: the guest's memory, which this machine does not change."""
    state: int | None = None
    """Where the state of the devices comes from; with `memory`."""


def argv(
    machine: Machine,
    channels: Channels,
    *,
    qemu: str = QEMU,
    version: tuple[int, ...] | None = None,
) -> list[str]:
    """Return the command that runs `machine` with a QEMU of `version` (None: unknown). Pure."""
    words = [
        qemu,
        *("-name", "ukl,debug-threads=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        # Otherwise QEMU exits on a panic or reset, and the memory is lost.
        *(("-action", "panic=pause,shutdown=pause") if machine.stop_on_crash else ()),
        *(("-S",) if machine.paused else ()),
        *(_trace(machine.trace) if machine.trace is not None else ()),
        *("-sandbox", SANDBOX),
        *("-machine", MACHINE if channels.memory is None else f"{MACHINE},memory-backend={RAM}"),
        *(("-bios", str(machine.firmware)) if machine.firmware is not None else ()),
        *_processor(machine, version),
        *("-m", f"{machine.memory >> 10}k"),
        *_beginning(machine, channels),
        *("-chardev", f"socket,id=qmp,fd={channels.qmp}"),
        *("-mon", "chardev=qmp,mode=control"),
        # Without QEMU's logfile=: it logs bytes twice that the socket does not accept at once.
        *("-chardev", f"socket,id=console,fd={channels.console}"),
        *("-serial", "chardev:console"),
        *("-device", "virtio-rng-pci"),
        *("-device", "pvpanic-pci"),
        *("-netdev", _network(machine.ports if channels.memory is None else ())),
        *("-device", "virtio-net-pci,netdev=net0,romfile="),
        *network.qemu_words(machine.network, channels.tap),
        *storage.qemu_words(machine.volumes, machine.disks),
    ]
    if channels.status is not None:
        words += [
            *("-chardev", f"socket,id=status,fd={channels.status}"),
            *("-device", "virtio-serial-pci"),
            *("-device", f"virtserialport,chardev=status,name={STATUS_PORT}"),
        ]
        ports = (
            ("agent", channels.agent, AGENT_PORT),
            ("core", channels.core, CORE_PORT),
            ("streams", channels.streams, STREAMS_PORT),
        )
        for name, descriptor, port in ports:
            if descriptor is not None:
                words += [
                    *("-chardev", f"socket,id={name},fd={descriptor}"),
                    *("-device", f"virtserialport,chardev={name},name={port}"),
                ]
    return words


def _beginning(machine: Machine, channels: Channels) -> list[str]:
    """Return the arguments for a kernel that boots, or for one that goes on."""
    if channels.memory is None:
        return [
            *("-kernel", str(machine.kernel)),
            *("-initrd", str(machine.initrd)),
            *("-append", machine.cmdline),
        ]
    # Not shared: what the guest writes is in pages of its own.
    backend = f"memory-backend-file,id={RAM},mem-path=/dev/fd/{channels.memory},share=off"
    return [
        *("-object", f"{backend},size={machine.memory}"),
        *("-incoming", f"fd:{channels.state}"),
    ]


def firmware(accelerator: Accelerator) -> Path | None:
    """Return the firmware that starts a guest's kernel; None for QEMU's default, SeaBIOS.

    SeaBIOS looks for option ROMs and disks, which takes 40 ms of an emulated guest's boot.
    With KVM it takes a few, so the default stays.
    """
    return QBOOT if accelerator is Accelerator.TCG and QBOOT.is_file() else None


def _processor(machine: Machine, version: tuple[int, ...] | None) -> list[str]:
    accelerator = machine.accelerator.value
    emulated = machine.accelerator is Accelerator.TCG
    if emulated and machine.cpus > 1 and (version is None or version < MULTITHREADED_SINCE):
        accelerator += ",thread=single"
    # Unlike QEMU's default model, "max" has SMEP and SMAP under TCG too.
    words = ["-accel", accelerator, "-cpu", "max", "-smp", str(machine.cpus)]
    if machine.icount and emulated:
        words += ["-icount", "shift=0,sleep=off"]
    return words


def _trace(trace: Trace | Counting) -> list[str]:
    if isinstance(trace, Counting):
        file = storage.escaped(trace.file)
        return ["-plugin", f"{storage.escaped(trace.plugin)},counts={file}"]
    ranges = ",".join(f"{first:#x}..{last:#x}" for first, last in trace.ranges)
    # Commas are not doubled: -D takes its argument literally.
    return ["-d", "in_asm", "-D", str(trace.file), "-dfilter", ranges]


def _network(ports: Sequence[PortForward]) -> str:
    # Without IPv6 the addresses are known, and nothing waits for router advertisements.
    forwards = "".join(
        f",hostfwd={port.protocol}:{port.address}:{port.host}-:{port.guest}" for port in ports
    )
    return f"user,id=net0,ipv6=off{forwards}"


def kernel_words(spec: AppSpec, *, verbose: bool) -> list[str]:
    """Return the kernel parameters of a guest for `spec`, under this QEMU or elsewhere.

    A panic or an oops ends the machine: panic=-1 resets at once, and QEMU exits on a reset
    because of -no-reboot. no_timer_check skips a test at boot that counts timer interrupts
    for a short time: on a busy host it may see none and panic without a fault.
    thp_anon= sets the preferred size of pages of anonymous memory, see
    admin-guide/mm/transhuge.rst. The kernel sets sysctl.* before it starts the first process;
    `populate` adds OVERCOMMIT.
    """
    levels = ["loglevel=7"] if verbose else list(QUIET)
    own = [f"thp_anon={spec.page_size >> 10}K:always"] if spec.page_size else []
    own += ["ukl.programs=1"] if spec.executable else []
    own += TUNED[spec.tune]
    chosen = {**(OVERCOMMIT if spec.populate else {}), **spec.sysctl}
    own += [quoted(f"sysctl.{key}={value}") for key, value in sorted(chosen.items())]
    return ["console=ttyS0", "panic=-1", "oops=panic", "no_timer_check", *levels, *own]


def quoted(word: str) -> str:
    """Return a word of the kernel's command line, in double quotes if it needs them. Pure."""
    plain = word and not any(char.isspace() for char in word)
    return word if plain else f'"{word}"'
