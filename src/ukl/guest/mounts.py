# SPDX-License-Identifier: GPL-2.0
"""Where init mounts volumes and disks, and the names of their devices. Pure."""

from __future__ import annotations

from ukl.base.model import AppSpec
from ukl.guest.rundesc import Mount


def mounts(spec: AppSpec) -> tuple[Mount, ...]:
    """Return what init mounts, outer directories before inner ones."""
    found = [
        *(
            Mount("9p", volume_tag(number), volume.target, volume.read_only)
            for number, volume in enumerate(spec.volumes)
        ),
        *(
            Mount("ext4", disk_serial(number), disk.target)
            for number, disk in enumerate(spec.disks)
        ),
    ]
    return tuple(sorted(found, key=lambda mount: mount.target.count("/")))


def volume_tag(number: int) -> str:
    """Return the mount tag of a volume."""
    return f"ukl-volume{number}"


def disk_serial(number: int) -> str:
    """Return the serial number of a disk."""
    return f"ukl-disk{number}"
