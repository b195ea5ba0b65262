# SPDX-License-Identifier: GPL-2.0
"""The formats of a packaged application, and what each requires of kernel and host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ukl.base.errors import InputError
from ukl.base.model import AppSpec


class Format(StrEnum):
    """Values of `ukl package --format`."""

    OCI = "oci"
    """An OCI image, and a KubeVirt machine that boots from it."""
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
    """Requirements of a format: kernel options; files and programs with their Debian packages.

    `resets`: the machine can be ended only by a reset.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    resets: bool = False


GRUB_BIOS = "/usr/lib/grub/i386-pc"
GRUB_EFI = "/usr/lib/grub/x86_64-efi"
SBIN = "/usr/sbin:/sbin"
"""Directories with some of the programs, which PATH often lacks."""
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

# EFI_STUB is the kernel's entry point for UEFI, which also gets the place of ACPI's tables.
# Debian 12's GRUB uses the handover protocol. EFI_STUB selects RELOCATABLE, which a profile
# may have turned off.
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
    # The command line names the addresses of its devices (later versions: ACPI's tables).
    Format.FIRECRACKER: Needs(
        options={"VIRTIO_MMIO": "y", "VIRTIO_MMIO_CMDLINE_DEVICES": "y"}, resets=True
    ),
    Format.CLOUD_HYPERVISOR: Needs(),
}


def with_options(spec: AppSpec, kind: Format) -> AppSpec:
    """Return `spec` with the format's kernel options; InputError if it sets others. Pure."""
    options = dict(spec.kernel_options)
    for name, value in NEEDS[kind].options.items():
        given = options.get(name, options.pop(f"CONFIG_{name}", value))
        if given != value:
            raise InputError(
                f"the format {kind} needs a kernel with {name}={value}, not {name}={given}",
                where=spec.origin,
                remedy="leave that option out, or choose another --format",
            )
        options[name] = value
    return replace(spec, kernel_options=options)
