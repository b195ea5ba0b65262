# SPDX-License-Identifier: GPL-2.0
"""Parsers of volumes and disks: `DIR:/path[:ro|:shared]`, `FILE[:/path][,size=1G]`. Pure.

Host paths in a manifest are relative to its directory, those on the command line to the current
directory. vm/storage.py checks the files on the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ukl.base.model import DISK_SIZE, Disk, Volume
from ukl.settings.values import expanded, write_size

DISK_TARGET = "/data"
"""The default mount point of a disk."""

DISK_MIN = 16 << 20
"""Bytes below which ext4 has no space for a journal and files."""

DISK_MAX = 16 << 40
"""Maximum bytes of ext4 with blocks of 4 KiB and without its 64-bit feature."""

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_RESERVED = ("/bin", "/dev", "/proc", "/sys", "/ukl", "/user")
"""Directories of the guest that init and the kernel need; nothing is mounted over them."""


class _Mounted(Protocol):
    @property
    def target(self) -> str: ...


Mount = TypeVar("Mount", bound=_Mounted)


def parse_volume(text: str, directory: Path | None = None) -> Volume:
    """Return the volume for `DIR:/path`, `DIR:/path:ro` or `DIR:/path:shared`; else ValueError.

    DIR is relative to `directory` (None: the current one).
    """
    rest, _, access = text.rpartition(":")
    if access not in {"ro", "rw", "shared"}:
        rest, access = text, "rw"
    source, colon, target = rest.rpartition(":")
    if not colon or not source:
        raise ValueError(f"{text!r} is not a volume; write it like ./data:/data or ./data:/data:ro")
    return Volume(
        _host(source, directory),
        _target(target, text),
        read_only=access == "ro",
        shared=access == "shared",
    )


def parse_disk(text: str, directory: Path | None = None) -> Disk:
    """Return the disk for `FILE[:/path][,size=SIZE]`; else ValueError."""
    rest, size = text, DISK_SIZE
    if match := re.fullmatch(r"(.*),size=([^,:/]*)", rest, re.DOTALL):
        rest, size = match[1], _size(match[2], text)
    source, colon, target = rest.rpartition(":")
    if not colon:
        source, target = rest, DISK_TARGET
    if not source:
        raise ValueError(f"{text!r} is not a disk; write it like data.img:/data,size=1G")
    return Disk(_host(source, directory), _target(target, text), size)


def write_volume(volume: Volume) -> str:
    """Return a volume in the form that parse_volume() parses."""
    access = ":ro" * volume.read_only + ":shared" * volume.shared
    return f"{volume.source}:{volume.target}{access}"


def write_disk(disk: Disk) -> str:
    """Return a disk in the form that parse_disk() parses."""
    return f"{disk.file}:{disk.target},size={write_size(disk.size)}"


def merged(before: Sequence[Mount], added: Sequence[Mount]) -> tuple[Mount, ...]:
    """Return both; an added mount replaces one with the same target."""
    replaced = {mount.target for mount in added}
    return (*(mount for mount in before if mount.target not in replaced), *added)


def _host(text: str, directory: Path | None) -> Path:
    path = Path(directory or Path.cwd(), expanded(text))
    return Path(os.path.normpath(path.absolute()))


def _target(target: str, text: str) -> str:
    if not target.startswith("/") or ".." in target.split("/") or "\0" in target:
        raise ValueError(f"{text!r}: {target!r} is not an absolute path in the guest, like /data")
    path = os.path.normpath("/" + target.lstrip("/"))
    if path == "/" or any(path == each or path.startswith(f"{each}/") for each in _RESERVED):
        raise ValueError(f"{text!r}: {path} of the guest is reserved; use a path like /data")
    return path


def _size(word: str, text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT])(?:i?B)?", word, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r}: {word!r} is not a size; write it like size=512M or size=1G")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if not DISK_MIN <= size <= DISK_MAX:
        raise ValueError(f"{text!r}: the size of a disk is {DISK_MIN >> 20}M to {DISK_MAX >> 40}T")
    return size
