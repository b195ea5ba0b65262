# SPDX-License-Identifier: GPL-2.0
"""What init mounts: the root, volumes, disks; and the names of their devices. Pure."""

from __future__ import annotations

from ukl.base.model import AppSpec
from ukl.guest.rundesc import Mount

MARKER_DIRECTORY = "/ukl"

ROOT = "/root.image"
"""Directory of the initrd with the root file system, if that is not on a disk (guest/root.c)."""


def mounts(spec: AppSpec) -> tuple[Mount, ...]:
    """Return what init mounts, outer directories before inner ones.

    Last, what concerns single files: a program in ring 0 that is not the first one gets a second
    name, and its marker file takes the first.
    """
    directories = [
        *(
            Mount("9p", volume_tag(number), volume.target, volume.read_only)
            for number, volume in enumerate(spec.volumes)
        ),
        *(
            Mount("squashfs", disk_serial(number), "/", read_only=True)
            if disk.is_root
            else Mount("ext4", disk_serial(number), disk.target)
            for number, disk in enumerate(spec.disks)
        ),
    ]
    if spec.root is not None and not any(disk.is_root for disk in spec.disks):
        directories.append(Mount("initrd", ROOT, "/"))
    found = sorted(directories, key=lambda mount: mount.target.rstrip("/").count("/"))
    if spec.start is not None and spec.start.aside:
        found.append(Mount("bind", spec.start.program, spec.start.aside))
        found.append(Mount("bind", marker_path(spec.name), spec.start.program))
    return tuple(found)


def marker_path(name: str) -> str:
    """Return the path of an application's marker file in the guest."""
    return f"{MARKER_DIRECTORY}/{name}"


def volume_tag(number: int) -> str:
    """Return the mount tag of a volume."""
    return f"ukl-volume{number}"


def disk_serial(number: int) -> str:
    """Return the serial number of a disk."""
    return f"ukl-disk{number}"
