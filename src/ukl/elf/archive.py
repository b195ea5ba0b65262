# SPDX-License-Identifier: GPL-2.0
"""Reads static libraries (`ar` archives, System V format): the symbol index and the members."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from ukl.base.errors import InputError

MAGIC = b"!<arch>\n"
THIN_MAGIC = b"!<thin>\n"
_HEADER = 60
_END = b"`\n"
_GROUP = re.compile(r"(?:GROUP|INPUT)\s*\(([^)]*)\)")


def defined(path: Path) -> frozenset[str]:
    """Return the names that the archive defines, from its index.

    Thin archives have an index, too. The result is empty for a file without an index, such
    as a linker script named `.a`.
    """
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) not in {MAGIC, THIN_MAGIC}:
            return frozenset()
        header = stream.read(_HEADER)
        name = header[:16].rstrip()
        if name not in {b"/", b"/SYM64/"}:
            return frozenset()
        try:
            data = stream.read(int(header[48:58]))
        except ValueError:
            return frozenset()
    word = struct.Struct(">I" if name == b"/" else ">Q")
    if len(data) < word.size:
        return frozenset()
    (count,) = word.unpack_from(data)
    names = data[word.size * (count + 1) :].split(b"\0")[:count]
    return frozenset(item.decode("utf-8", "surrogateescape") for item in names)


def is_archive(path: Path) -> bool:
    """Whether the file is an archive, or a linker script that names archives."""
    with path.open("rb") as stream:
        head = stream.read(512)
    return head[: len(MAGIC)] in {MAGIC, THIN_MAGIC} or _script(head)


def _script(head: bytes) -> bool:
    return head.startswith((b"/*", b"GROUP", b"INPUT")) and bool(
        _GROUP.search(head.decode("latin-1"))
    )


def files(path: Path) -> tuple[Path, ...]:
    """Return `path` itself, or the archives that it names if it is a linker script.

    glibc's libm.a is such a script: "GROUP ( libm-2.36.a libmvec.a )".
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not _script(head):
        return (path,)
    names = " ".join(_GROUP.findall(head.decode("latin-1"))).replace("AS_NEEDED", " ")
    return tuple(
        path.parent / name for name in names.split() if name not in {"(", ")"} and name[0] != "-"
    )


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each member, in order. Raises InputError for a damaged file."""
    try:
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise InputError("the file is empty", where=path) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    thin = data[: len(MAGIC)] == THIN_MAGIC
    if not thin and data[: len(MAGIC)] != MAGIC:
        raise InputError("not an archive", where=path)
    position, names = len(MAGIC), b""
    while position + _HEADER <= len(data):
        header = data[position : position + _HEADER]
        try:
            size = int(header[48:58])
        except ValueError:
            size = -1
        if size < 0 or header[58:60] != _END:
            raise InputError(f"the archive is damaged at {position:#x}", where=path)
        position += _HEADER
        name = header[:16].rstrip()
        special = name in {b"/", b"/SYM64/", b"//"}
        content = b"" if thin and not special else data[position : position + size]
        if name == b"//":
            names = content
        elif not special:
            text = _member_name(name, names)
            yield text, (path.parent / text).read_bytes() if thin else content
        if not thin or special:
            position += size + (size & 1)


def _member_name(name: bytes, names: bytes) -> str:
    """Return a member's name; a long one is an offset ("/123") into the table `names`."""
    if name[:1] == b"/" and name[1:].isdigit():
        start = int(name[1:])
        name = names[start : names.find(b"\n", start)]
    return name.removesuffix(b"/").decode("utf-8", "surrogateescape")
