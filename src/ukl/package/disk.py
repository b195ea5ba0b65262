# SPDX-License-Identifier: GPL-2.0
"""A disk that boots a kernel with its initrd, by BIOS and by UEFI.

    sector 0      GRUB's first sector, in the boot code of the protective MBR
    sector 1      the partition table (GPT)
    1 MiB         BIOS boot partition: GRUB for BIOS
    2 MiB         EFI system partition (FAT32): /EFI/BOOT/BOOTX64.EFI is GRUB for UEFI,
                  /boot/bzImage and /boot/initrd are for both

Neither GRUB reads a configuration from the disk: it is part of GRUB's image. Identifiers are
derived from the content and all times are the start of 1980, so the same inputs give the same
bytes. Standard tools do all the work on a file, without root.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import UklError
from ukl.host import exec as host_exec
from ukl.host.programs import Arg, clean_environment
from ukl.host.store import digest
from ukl.package.formats import GRUB_BIOS, GRUB_EFI, SBIN

SECTOR = 512
MIB = 1 << 20

KERNEL, INITRD, LOADER = "/boot/bzImage", "/boot/initrd", "/EFI/BOOT/BOOTX64.EFI"

CORE_START, CORE_SIZE = MIB, MIB
ESP_START = CORE_START + CORE_SIZE

ESP_MINIMUM = 40 * MIB
"""UEFI requires FAT32 on a hard disk, and FAT32 has at least 65525 clusters."""

_SLACK = 2 * MIB
"""plan() adds more for the tables of a file system with 512-byte clusters (1/64 of it)."""

# Sources: GRUB's manual, "BIOS installation", and
# https://uapi-group.org/specifications/specs/discoverable_partitions_specification.
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

_NAMESPACE = uuid.UUID("dbd0c9a0-8d92-4dd1-8a2b-a1f3b1b7cf5e")
"""ukl's UUID namespace: identifiers are derived from it and the content."""

_BOOT_CODE = 440
"""Bytes of the first sector that precede the disk's signature and partition table."""
_KERNEL_SECTOR = 0x5C
"""Offset, in GRUB's first sector, of the next sector's 64-bit number (see
include/grub/i386/pc/boot.h)."""
_BLOCKS = SECTOR - 12
"""Offset, in that next sector, of the block list at its end, which begins with the number of
the following sector."""

_BIOS_MODULES = ("biosdisk", "part_gpt", "fat", "search_fs_uuid", "linux")
_EFI_MODULES = _BIOS_MODULES[1:]


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes [bytes] and identifiers of a disk. `serial` is the FAT's volume serial number."""

    esp_size: int
    total: int
    disk_id: str
    core_id: str
    esp_id: str
    serial: str

    @property
    def table(self) -> str:
        """The partition table as input of sfdisk."""
        return (
            f"label: gpt\nlabel-id: {self.disk_id}\nfirst-lba: 34\n"
            f"start={CORE_START // SECTOR}, size={CORE_SIZE // SECTOR}, type={_BIOS_BOOT}, "
            f"uuid={self.core_id}, name=bios\n"
            f"start={ESP_START // SECTOR}, size={self.esp_size // SECTOR}, type={_ESP}, "
            f"uuid={self.esp_id}, name=esp\n"
        )

    def grub(self, arguments: str) -> str:
        """Return GRUB's configuration: find the file system, load kernel and initrd, boot."""
        name = f"{self.serial[:4]}-{self.serial[4:]}"
        return f"search.fs_uuid {name} root\nlinux {KERNEL} {arguments}\ninitrd {INITRD}\nboot\n"


def plan(kernel: bytes, initrd: bytes, arguments: str) -> Plan:
    """Return the layout of a disk with this content. Pure."""
    content = digest(kernel, initrd, arguments)
    needed = len(kernel) + len(initrd) + _SLACK
    esp = max(-(-(needed + needed // 32) // MIB) * MIB, ESP_MINIMUM)

    def name(what: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{content} {what}")).upper()

    return Plan(
        esp_size=esp,
        total=ESP_START + esp + MIB,  # with space for the backup table at the end
        disk_id=name("disk"),
        core_id=name("core"),
        esp_id=name("esp"),
        serial=content[:8].upper(),
    )


def boot_code(first: bytes, core: bytes) -> tuple[bytes, bytes]:
    """Return GRUB's first sector and its image, patched with the image's place on disk. Pure.

    Raises UklError if they do not have the format of GRUB 2.
    """
    start = CORE_START // SECTOR
    head, image = bytearray(first), bytearray(core)
    is_grub2 = (
        len(head) == SECTOR
        and head[510:] == b"\x55\xaa"
        and struct.unpack_from("<Q", head, _KERNEL_SECTOR) == (1,)
        and SECTOR < len(image) <= CORE_SIZE
        and struct.unpack_from("<Q", image, _BLOCKS) == (2,)
    )
    if not is_grub2:
        raise UklError("GRUB's images for BIOS have an unknown format", where=GRUB_BIOS)
    struct.pack_into("<Q", head, _KERNEL_SECTOR, start)
    struct.pack_into("<Q", image, _BLOCKS, start + 1)
    return bytes(head[:_BOOT_CODE]), bytes(image)


def write(file: Path, kernel: bytes, initrd: bytes, arguments: str, scratch: Path) -> None:
    """Write the disk as a sparse file. `scratch` is a directory for temporary files."""
    layout = plan(kernel, initrd, arguments)
    with file.open("wb") as out:
        out.truncate(layout.total)
    _run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", file], stdin=layout.table)
    config = scratch / "grub.cfg"
    config.write_text(layout.grub(arguments))
    core, loader = scratch / "core.img", scratch / "loader.efi"
    _mkimage("i386-pc", GRUB_BIOS, config, core, _BIOS_MODULES)
    _mkimage("x86_64-efi", GRUB_EFI, config, loader, _EFI_MODULES)
    head, image = boot_code(Path(GRUB_BIOS, "boot.img").read_bytes(), core.read_bytes())
    with file.open("r+b") as out:
        out.write(head)
        out.seek(CORE_START)
        out.write(image)
    contents = {KERNEL: kernel, INITRD: initrd, LOADER: loader.read_bytes()}
    _fill(file, layout, contents, scratch)


def _mkimage(target: str, where: str, config: Path, out: Path, modules: tuple[str, ...]) -> None:
    argv: list[Arg] = [
        "grub-mkimage",
        "-O",
        target,
        "-d",
        where,
        "-p",
        "/boot/grub",
        "-c",
        config,
        "-o",
        out,
    ]
    _run([*argv, *modules])


def _fill(file: Path, layout: Plan, contents: Mapping[str, bytes], scratch: Path) -> None:
    """Make the file system of the second partition, with the files `contents`."""
    _run(
        [
            *("mkfs.fat", "-F", "32", "-s", "1", "--invariant", "-i", layout.serial),
            *("-h", str(ESP_START // SECTOR), "--offset", str(ESP_START // SECTOR)),
            *(file, str(layout.esp_size >> 10)),
        ]
    )
    image = f"{file}@@{ESP_START}"
    above = sorted(
        {str(parent) for name in contents for parent in Path(name).parents} - {"/"},
    )
    for directory in above:
        _run(["mmd", "-i", image, f"::{directory}"])
    for number, (name, data) in enumerate(sorted(contents.items())):
        source = scratch / f"content-{number}"
        source.write_bytes(data)
        _run(["mcopy", "-i", image, source, f"::{name}"])


def _run(argv: Sequence[Arg], stdin: str | None = None) -> None:
    path = clean_environment()["PATH"]
    host_exec.run(
        argv,
        stdin=stdin.encode() if stdin is not None else None,
        # The earliest time that FAT can represent.
        env={"PATH": f"{path}:{SBIN}", "SOURCE_DATE_EPOCH": "315532800", "TZ": "UTC"},
        timeout=300,
    )


def qcow2(raw: Path, file: Path) -> None:
    """Write the disk `raw` in QEMU's qcow2 format."""
    _run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, file])
