# SPDX-License-Identifier: GPL-2.0
"""Receives core files from the guest: guest/core.c is the other side.

The guest is not trusted: a malformed stream ends the reception, and its content is only
written to a file. Cores are compressed at once: a core is as large as the memory that the
program has touched, and compresses well.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 64 << 30
"""Bytes of a core that are kept, before compression; the rest is discarded."""

LEVEL = 1
"""Level of zlib: ten times as fast as the default, and the result is a fifth larger."""

MAX_PIECE = 1 << 20
MAX_LINE = 4096

_BEGIN = b"ukl-"
_HEADER = re.compile(rb"ukl-core 1 (\d{1,9}) (\d{1,3}) ([0-9a-f]{1,16}) ([^\0-\x1f]*)")


@dataclass(frozen=True, slots=True)
class Header:
    """What a core was made of. `text` is the address of the kernel's text, 0 if unknown."""

    pid: int
    signal: int
    text: int
    executable: str


class Malformed(ValueError):
    """The received bytes are not a core."""


@dataclass(slots=True)
class Decoder:
    """Splits the port's bytes into headers, pieces and ends (empty pieces), in order."""

    _rest: bytearray = field(default_factory=bytearray)
    _within: bool = False

    def feed(self, data: bytes) -> list[Header | bytes]:
        """Take received bytes and return the items that are now complete."""
        self._rest += data
        found: list[Header | bytes] = []
        while (each := self._next()) is not None:
            found.append(each)
        return found

    def _next(self) -> Header | bytes | None:
        if not self._within:
            end = self._rest.find(b"\n")
            if end < 0 and len(self._rest) <= MAX_LINE:
                return None
            match = _HEADER.fullmatch(bytes(self._rest[: max(0, end)]))
            if match is None:
                raise Malformed("not the beginning of a core")
            del self._rest[: end + 1]
            self._within = True
            executable = match[4].decode("utf-8", "replace").replace("!", "/")
            return Header(int(match[1]), int(match[2]), int(match[3], 16), executable)
        if len(self._rest) < 4:
            return None
        if self._rest.startswith(_BEGIN):  # the sender was killed; no piece has this as its size
            self._within = False
            return self._next()
        size = int.from_bytes(self._rest[:4], "little")
        if size > MAX_PIECE:
            raise Malformed("a piece is too large")
        if len(self._rest) < 4 + size:
            return None
        piece = bytes(self._rest[4 : 4 + size])
        del self._rest[: 4 + size]
        self._within = bool(piece)
        return piece


class Writer:
    """Writes a core's pieces into a compressed file, which gets its name when complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.tmp")
        self._stream = gzip.GzipFile(self._beside, "wb", LEVEL)
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Write a piece, unless the core is larger than LIMIT."""
        self._size += len(piece)
        if self._size <= LIMIT:
            self._stream.write(piece)

    def done(self) -> None:
        """Finish the file and give it its name."""
        self._stream.close()
        self._beside.replace(self._path)

    def drop(self) -> None:
        """Delete what was written."""
        self._stream.close()
        self._beside.unlink(missing_ok=True)
