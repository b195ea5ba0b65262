# SPDX-License-Identifier: GPL-2.0
"""Options that are kept even if no workload shows their use, and the reasons. Pure.

Names are those of Kconfig without CONFIG_.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ukl.base.model import AppSpec, Tune
from ukl.kernel.build import is_series_option


class Kind(StrEnum):
    """Why an option is kept regardless of the evidence."""

    TOOL = "needed"
    """`ukl` and the guest's init do not work without it."""
    MACHINE = "machine"
    """An emulated machine cannot show its use on other machines."""
    PROTECTION = "protection"
    DIAGNOSIS = "diagnosis"
    """It is for failures, which the workload does not have."""


GIVEN_UP = (Kind.PROTECTION, Kind.DIAGNOSIS)
"""The kinds that the user may give up (`--without`)."""

_MITIGATIONS = "mitigates vulnerabilities of processors"

_RULES: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    Kind.TOOL: {
        "the unikernel": ("64BIT", "MMU"),
        "other options depend on it": ("EXPERT",),
        "the console": ("PRINTK", "TTY", "SERIAL_8250", "SERIAL_8250_CONSOLE"),
        "the channels between the guest and ukl": ("VIRTIO_CONSOLE",),
        "the bus of the devices": ("PCI", "PCI_MSI", "VIRTIO_MENU", "VIRTIO_PCI"),
        "finding the devices, and power-off": ("ACPI",),
        "the guest's init mounts it": (
            *("PROC_FS", "SYSFS", "TMPFS", "SHMEM", "DEVTMPFS", "UNIX98_PTYS"),
        ),
        "the guest's init sets the console's log level with it": ("PROC_SYSCTL",),
        "loads the guest's init": ("BLK_DEV_INITRD",),
        "executes the guest's init": ("BINFMT_ELF",),
        "reports a panic to QEMU": ("PVPANIC", "PVPANIC_PCI"),
    },
    Kind.MACHINE: {
        "KVM, if the guest has it": ("HYPERVISOR_GUEST", "PARAVIRT", "KVM_GUEST"),
        "virtual machine monitors that start vmlinux directly": ("PVH",),
        "processors of other vendors than the emulated one": ("CPU_SUP_INTEL", "CPU_SUP_AMD"),
        "a fallback clock": ("X86_PM_TIMER",),
        "speed of memory": ("MTRR", "X86_PAT"),
        "speed": ("JUMP_LABEL", "HIGH_RES_TIMERS"),
        # Without it, the random number generator's hash tests itself: 20 KiB and 3 M instructions.
        "no self-tests at each boot": ("CRYPTO", "CRYPTO_MANAGER_DISABLE_TESTS"),
    },
    Kind.PROTECTION: {
        "no memory is both writable and executable": ("STRICT_KERNEL_RWX",),
        "detects stack overflows": (*("STACKPROTECTOR", "STACKPROTECTOR_STRONG", "VMAP_STACK"),),
        "detects copies that overflow": ("HARDENED_USERCOPY", "FORTIFY_SOURCE"),
        "randomises addresses": (
            *("RELOCATABLE", "RANDOMIZE_BASE", "RANDOMIZE_MEMORY", "RANDOMIZE_KSTACK_OFFSET"),
        ),
        "stops the program on a detected bug": ("BUG",),
        "isolates the guest's users from each other": ("MULTIUSER",),
        "hides the kernel's addresses from normal processes": ("X86_UMIP",),
        _MITIGATIONS: ("CPU_MITIGATIONS",),
        "random numbers from the start": ("HW_RANDOM", "HW_RANDOM_VIRTIO"),
        "keeps a flood of connections from blocking others": ("SYN_COOKIES",),
    },
    Kind.DIAGNOSIS: {
        "reports crashes with names and places": ("KALLSYMS", "DEBUG_BUGVERBOSE"),
        "core dumps of crashed programs": ("COREDUMP", "ELF_CORE"),
        "messages before the console's driver starts": ("EARLY_PRINTK",),
        "messages have times": ("PRINTK_TIME",),
        "shows where a guest hangs": ("MAGIC_SYSRQ",),
    },
}

_BY_NAME = {
    name: (kind, text)
    for kind, rows in _RULES.items()
    for text, names in rows.items()
    for name in names
}

FOLLOWS = frozenset({"SYN_COOKIES"})
"""Protections of a feature, which go with the feature."""

_PORTS = ("NET", "INET", "NETDEVICES", "NET_CORE", "VIRTIO_NET")
_VOLUMES = ("NETWORK_FILESYSTEMS", "NET_9P", "NET_9P_VIRTIO", "9P_FS")
_DISKS = ("BLOCK", "BLK_DEV", "VIRTIO_BLK", "EXT4_FS")


def rule(option: str, spec: AppSpec) -> tuple[Kind, str] | None:
    """Return why an option is kept for `spec`, None if only its use decides."""
    if found := _BY_NAME.get(option):
        return found
    # Kernel functions for applications, and what a network needs: the workload shows their use.
    if is_series_option(f"CONFIG_{option}") and option not in {"UKL_SHORTCUT", "UKL_HELD_KICKS"}:
        return Kind.TOOL, "the unikernel"
    if option.startswith("MITIGATION_"):
        return Kind.PROTECTION, _MITIGATIONS
    for wanted, names, text in (
        (bool(spec.ports), _PORTS, "ports are forwarded"),
        (bool(spec.volumes), _VOLUMES, "volumes"),
        (bool(spec.disks), _DISKS, "disks"),
        (spec.cpus > 1, ("SMP",), f"{spec.cpus} processors"),
        (spec.tune is Tune.SERVER, ("UKL_HELD_KICKS",), 'tune = "server"'),
    ):
        if wanted and option in names:
            return Kind.TOOL, text
    return None
