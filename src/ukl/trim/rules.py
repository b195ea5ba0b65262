# SPDX-License-Identifier: GPL-2.0
"""What is not proposed though no workload may show that it is used, and why. Data, and pure.

Names are those of Kconfig without CONFIG_.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ukl.base.model import AppSpec
from ukl.kernel.build import is_series_option


class Kind(StrEnum):
    """Why an option is kept whatever was seen."""

    TOOL = "needed"
    """`ukl` and the guest's init do not work without it."""
    MACHINE = "machine"
    """An emulated machine cannot tell what it is good for elsewhere."""
    PROTECTION = "protection"
    DIAGNOSIS = "diagnosis"
    """It is for what goes wrong, which the workload does not."""


GIVEN_UP = (Kind.PROTECTION, Kind.DIAGNOSIS)
"""Those that a person may give up (`--without`)."""

_MITIGATIONS = "the processor's faults are kept from being used"

_RULES: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    Kind.TOOL: {
        "the unikernel": ("64BIT", "MMU"),
        "other options can be chosen only with it": ("EXPERT",),
        "the console": ("PRINTK", "TTY", "SERIAL_8250", "SERIAL_8250_CONSOLE"),
        "the channels between the guest and ukl": ("VIRTIO_CONSOLE",),
        "the bus of the devices": ("PCI", "PCI_MSI", "VIRTIO_MENU", "VIRTIO_PCI"),
        "where the machine's parts are, and switching it off": ("ACPI",),
        "the guest's init mounts it": (
            *("PROC_FS", "SYSFS", "TMPFS", "SHMEM", "DEVTMPFS", "UNIX98_PTYS"),
        ),
        "the guest's init sets the console's level by it": ("PROC_SYSCTL",),
        "the guest's init is in it": ("BLK_DEV_INITRD",),
        "the guest's init is such a program": ("BINFMT_ELF",),
        "a panic reaches QEMU by it": ("PVPANIC", "PVPANIC_PCI"),
    },
    Kind.MACHINE: {
        "KVM, if the guest has it": ("HYPERVISOR_GUEST", "PARAVIRT", "KVM_GUEST"),
        "virtual machine monitors that start vmlinux itself": ("PVH",),
        "processors of other makers than the emulated one": ("CPU_SUP_INTEL", "CPU_SUP_AMD"),
        "a clock to fall back to": ("X86_PM_TIMER",),
        "how fast memory is": ("MTRR", "X86_PAT"),
        "speed": ("JUMP_LABEL", "HIGH_RES_TIMERS"),
        # Else the random numbers' hash tests itself: 20 KiB and 3 M instructions.
        "no tests of itself at each boot": ("CRYPTO", "CRYPTO_MANAGER_DISABLE_TESTS"),
    },
    Kind.PROTECTION: {
        "nothing is both written and executed": ("STRICT_KERNEL_RWX",),
        "a stack that overflows is noticed": (
            *("STACKPROTECTOR", "STACKPROTECTOR_STRONG", "VMAP_STACK"),
        ),
        "a copy that overflows is noticed": ("HARDENED_USERCOPY", "FORTIFY_SOURCE"),
        "addresses cannot be guessed": (
            *("RELOCATABLE", "RANDOMIZE_BASE", "RANDOMIZE_MEMORY", "RANDOMIZE_KSTACK_OFFSET"),
        ),
        "a defect that is noticed stops the program": ("BUG",),
        "users of the guest are kept from each other": ("MULTIUSER",),
        "normal processes do not learn the kernel's addresses": ("X86_UMIP",),
        _MITIGATIONS: ("CPU_MITIGATIONS",),
        "random numbers are random from the begin": ("HW_RANDOM", "HW_RANDOM_VIRTIO"),
        "a flood of connections does not lock the others out": ("SYN_COOKIES",),
    },
    Kind.DIAGNOSIS: {
        "a crash is reported with names and places": ("KALLSYMS", "DEBUG_BUGVERBOSE"),
        "a program that crashes leaves a core": ("COREDUMP", "ELF_CORE"),
        "messages from before the console's driver": ("EARLY_PRINTK",),
        "messages have times": ("PRINTK_TIME",),
        "a guest that hangs can be made to say where": ("MAGIC_SYSRQ",),
    },
}

_BY_NAME = {
    name: (kind, text)
    for kind, rows in _RULES.items()
    for text, names in rows.items()
    for name in names
}

FOLLOWS = frozenset({"SYN_COOKIES"})
"""Protections of something: where that goes, they have nothing to protect."""

_PORTS = ("NET", "INET", "NETDEVICES", "NET_CORE", "VIRTIO_NET")
_VOLUMES = ("NETWORK_FILESYSTEMS", "NET_9P", "NET_9P_VIRTIO", "9P_FS")
_DISKS = ("BLOCK", "BLK_DEV", "VIRTIO_BLK", "EXT4_FS")


def rule(option: str, spec: AppSpec) -> tuple[Kind, str] | None:
    """Return why an option is kept for `spec`, None if nothing but its use is a reason."""
    if found := _BY_NAME.get(option):
        return found
    # Its functions that applications call are used, or not, as any others.
    if is_series_option(f"CONFIG_{option}") and option != "UKL_SHORTCUT":
        return Kind.TOOL, "the unikernel"
    if option.startswith("MITIGATION_"):
        return Kind.PROTECTION, _MITIGATIONS
    for wanted, names, text in (
        (bool(spec.ports), _PORTS, "ports are forwarded"),
        (bool(spec.volumes), _VOLUMES, "volumes"),
        (bool(spec.disks), _DISKS, "disks"),
        (spec.cpus > 1, ("SMP",), f"{spec.cpus} processors"),
    ):
        if wanted and option in names:
            return Kind.TOOL, text
    return None
