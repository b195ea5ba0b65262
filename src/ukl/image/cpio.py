# SPDX-License-Identifier: GPL-2.0
"""Archives in the `newc` cpio format, the one the kernel unpacks as initramfs.

The format is described in the kernel's Documentation/driver-api/early-userspace/
buffer-format.rst: a 110 byte ASCII header of 8-digit hexadecimal fields, the name
with its NUL, the content, each padded to 4 bytes. Unlike the cpio program, this module needs
no root for device nodes, and gives the same bytes for the same tree everywhere: names sorted,
inode numbers by order.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukl.base.errors import InputError

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
MAX_SIZE = 0xFFFFFFFF
"""The most bytes of a member: the header's field has 8 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: `mode` with the file type, content, and a device node's numbers.

    `same_as` is the path of another member, which comes first: this is a hard link to it.
    """

    mode: int
    data: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    same_as: str = ""


def directory(mode: int = 0o755) -> Entry:
    """Return a directory."""
    return Entry(stat.S_IFDIR | mode)


def regular(data: bytes, mode: int = 0o644) -> Entry:
    """Return a regular file."""
    return Entry(stat.S_IFREG | mode, data)


def symlink(target: str) -> Entry:
    """Return a symbolic link to `target`."""
    return Entry(stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))


def character_device(major: int, minor: int, mode: int = 0o600) -> Entry:
    """Return a character device node."""
    return Entry(stat.S_IFCHR | mode, rdev=(major, minor))


def normalise(name: str) -> str:
    """Return a guest path without its leading slash; raises InputError if it is not normal."""
    parts = name.strip("/").split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise InputError(
            f"not a valid path in the guest: {name!r}",
            remedy="use an absolute path without `.`, `..` and doubled slashes",
        )
    return "/".join(parts)


def archive(entries: Mapping[str, Entry]) -> bytes:
    """Return the archive of `entries` (path in the guest -> member).

    Missing parents become directories of mode 0755, as the kernel does not make them.
    Raises InputError for a path that is not normal, is given twice in two spellings, or lies
    below something other than a directory.
    """
    tree: dict[str, Entry] = {}
    for name, entry in entries.items():
        path = normalise(name)
        if path in tree:
            raise InputError(f"two files have the path /{path} in the guest")
        tree[path] = entry
    for path in list(tree):
        for parent in _parents(path):
            tree.setdefault(parent, directory())
            if not stat.S_ISDIR(tree[parent].mode):
                raise InputError(f"/{path} cannot be in the guest: /{parent} is not a directory")
    return b"".join(_members(sorted(tree.items(), key=lambda item: order(item[0]))))


def order(path: str) -> list[str]:
    """Return the key of a path by which members are sorted: "a" and its content precede "a-b"."""
    return path.strip("/").split("/")


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    for depth in range(1, len(parts)):
        yield "/".join(parts[:depth])


def _members(members: Sequence[tuple[str, Entry]]) -> Iterator[bytes]:
    names = Counter(normalise(entry.same_as) for _, entry in members if entry.same_as)
    inodes: dict[str, int] = {}
    for number, (path, entry) in enumerate(members, start=1):
        first = normalise(entry.same_as) if entry.same_as else path
        inodes[path] = number if first == path else inodes[first]
        links = 2 if stat.S_ISDIR(entry.mode) else 1 + names[first]
        yield _member(path, entry, inodes[path], links)
    yield _member(TRAILER, Entry(0), 0, 1)


def _member(path: str, entry: Entry, inode: int, links: int) -> bytes:
    if len(entry.data) > MAX_SIZE:
        raise InputError(f"/{path} is too large for an initrd: {len(entry.data)} bytes")
    name = path.encode("utf-8", "surrogateescape") + b"\0"
    fields = (
        *(inode, entry.mode, entry.uid, entry.gid, links, entry.mtime, len(entry.data)),
        *(0, 0, *entry.rdev, len(name), 0),
    )
    head = MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(head + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
