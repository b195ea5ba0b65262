# SPDX-License-Identifier: GPL-2.0
"""The symbol index of a static library (`ar` archive, System V format)."""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = b"!<arch>\n"
_HEADER = 60


def defined(path: Path) -> frozenset[str]:
    """Return the names that the archive defines, as its index says.

    Empty for anything that has no index in front: a linker script named `.a`, a
    thin archive's index is read like any other.
    """
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) not in {MAGIC, b"!<thin>\n"}:
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
