# SPDX-License-Identifier: GPL-2.0
"""Features of an ext4 file system that a kernel may lack. Pure.

Format: Documentation/filesystems/ext4/super.rst; what the kernel supports: the masks
EXT4_FEATURE_*_SUPP in fs/ext4/ext4.h and ext4_feature_set_ok() in fs/ext4/super.c, the same in all
our series.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

MAGIC = (0x38, b"\x53\xef")
"""Offset in the superblock, and value, of s_magic."""

SUPERBLOCK = 1024
"""Offset and size of the superblock."""

_FEATURES = 0x60
"""Offset of s_feature_incompat, which s_feature_ro_compat follows."""

_INCOMPATIBLE = 0x3E7D6
"""All but compression, journal_dev and dirdata, and unknown ones."""

_READ_ONLY = 0x1B77F
_NAMES: tuple[Mapping[int, str], Mapping[int, str]] = (
    {0x1: "compression", 0x8: "journal_dev", 0x1000: "dirdata", 0x20000: "casefold"},
    {0x100: "quota", 0x1000: "read-only", 0x2000: "project", 0x8000: "verity"},
)
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "casefold": ("UNICODE",),
    "quota": ("QUOTA", "QFMT_V2"),
    "project": ("QUOTA", "QFMT_V2"),
}
"""Features that need options of the kernel."""


def is_ext4(superblock: bytes) -> bool:
    """Tell whether this is the superblock of ext2, ext3 or ext4."""
    at, magic = MAGIC
    return superblock[at : at + len(magic)] == magic


def unsupported(superblock: bytes) -> list[str]:
    """Return the names of the features that no configuration of the kernel supports."""
    found = zip(_bits(superblock), (_INCOMPATIBLE, _READ_ONLY), _NAMES, strict=True)
    return [
        names.get(1 << bit, f"with number {1 << bit:#x}")
        for value, known, names in found
        for bit in range(32)
        if value & ~known & 1 << bit
    ]


def optional(superblock: bytes) -> list[str]:
    """Return the names of the features in OPTIONS that the file system has."""
    found = zip(_bits(superblock), _NAMES, strict=True)
    return [
        name
        for value, names in found
        for bit, name in names.items()
        if value & bit and name in OPTIONS
    ]


def _bits(superblock: bytes) -> tuple[int, int]:
    incompatible, read_only = struct.unpack_from("<II", superblock, _FEATURES)
    return incompatible, read_only
