# SPDX-License-Identifier: GPL-2.0
"""The forms that a packaged application can take, and what each asks of kernel and machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ukl.base.errors import InputError
from ukl.base.model import AppSpec


class Format(StrEnum):
    """What `ukl package --format` takes."""

    OCI = "oci"
    """An OCI image, and a machine for KubeVirt that boots what is in it."""
    RAW = "raw"
    """A disk that boots by BIOS and by UEFI."""
    QCOW2 = "qcow2"
    """The same in QEMU's format."""
    EFI = "efi"
    """One file that UEFI starts: a unified kernel image."""
    FIRECRACKER = "firecracker"
    """Kernel, initrd and configuration for Firecracker."""
    CLOUD_HYPERVISOR = "cloud-hypervisor"
    """The same for Cloud Hypervisor."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a format needs: options of the kernel, files and programs with their Debian packages.

    `resets`: where it boots, a reset is the machine's only end.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    resets: bool = False


GRUB_BIOS = "/usr/lib/grub/i386-pc"
GRUB_EFI = "/usr/lib/grub/x86_64-efi"
SBIN = "/usr/sbin:/sbin"
"""Not in everybody's PATH, and some of the programs are there."""
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

# The kernel's own entry for UEFI, which also learns from there where ACPI's tables are; GRUB
# of Debian 12 goes in by the handover protocol.
# EFI_STUB selects RELOCATABLE, which a profile may have turned off.
_EFI = {"EFI": "y", "EFI_STUB": "y", "EFI_HANDOVER_PROTOCOL": "y", "RELOCATABLE": "y"}

_DISK = Needs(
    options=_EFI,
    files={f"{GRUB_BIOS}/boot.img": "grub-pc-bin", f"{GRUB_EFI}/linux.mod": "grub-efi-amd64-bin"},
    programs={
        "grub-mkimage": "grub-common",
        "sfdisk": "fdisk",
        "mkfs.fat": "dosfstools",
        "mcopy": "mtools",
    },
)

NEEDS: Mapping[Format, Needs] = {
    Format.OCI: Needs(),
    Format.RAW: _DISK,
    Format.QCOW2: replace(_DISK, programs={**_DISK.programs, "qemu-img": "qemu-utils"}),
    Format.EFI: Needs(options=_EFI, files={STUB: "systemd-boot-efi"}),
    # Its devices are at addresses that the command line names (in later versions: ACPI's tables).
    Format.FIRECRACKER: Needs(
        options={"VIRTIO_MMIO": "y", "VIRTIO_MMIO_CMDLINE_DEVICES": "y"}, resets=True
    ),
    Format.CLOUD_HYPERVISOR: Needs(),
}


def asked(spec: AppSpec, kind: Format) -> AppSpec:
    """Return `spec` with the options that the format needs; InputError if it has others. Pure."""
    options = dict(spec.kernel_options)
    for name, value in NEEDS[kind].options.items():
        given = options.get(name, options.pop(f"CONFIG_{name}", value))
        if given != value:
            raise InputError(
                f"a kernel with {name}={given} does not boot from the format {kind}, "
                f"which needs {name}={value}",
                where=spec.origin,
                remedy="leave that option out, or choose another --format",
            )
        options[name] = value
    return replace(spec, kernel_options=options)
