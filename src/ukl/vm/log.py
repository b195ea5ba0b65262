# SPDX-License-Identifier: GPL-2.0
"""The file of a guest's console, which begins anew before it gets too large.

    console.log.3   what was said before, older
    console.log.4   what was said before
    console.log     what is said now

A file that is full is renamed, once, to a number that no other had: a reader can tell by
it which one comes next, whatever happened meanwhile, and needs no lock. Only a line that
came in pieces, or is longer than a file, begins in one file and ends in the next; read one
after the other they are what the guest has said.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ukl.base.model import LogLimits

TAIL = 1 << 16
"""Bytes from the end of what was said that are looked at, for how the guest ended."""

_CHUNK = 1 << 16


class Log:
    """Writes the console's file. Raises the OSErrors of its files.

    Without `limits` it grows as long as something is written.
    """

    def __init__(self, path: Path, limits: LogLimits | None = None) -> None:
        self._path = path
        self._limits = limits
        # Behind what was said in the life before, if the guest is started again.
        self._stream = path.open("ab", buffering=0)
        self._size = self._stream.tell()
        self._tail = bytearray()

    def write(self, data: bytes) -> None:
        """Append to the file, and begin it anew where it would get too large."""
        self._tail += data
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]
        while self._limits is not None and self._size + len(data) > self._limits.size:
            room = max(0, self._limits.size - self._size)
            cut = data.rfind(b"\n", 0, room) + 1
            # A line that does not fit any more begins in the next file, if it fits there.
            if not cut and not 0 <= data.find(b"\n") < self._limits.size:
                cut = room
            self._append(data[:cut])
            data = data[cut:]
            self._rotate(self._limits.files - 1)
        self._append(data)

    def tail(self) -> bytes:
        """Return the last TAIL bytes that were written: not those of a life before."""
        return bytes(self._tail[-TAIL:])

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _append(self, data: bytes) -> None:
        while data:
            written = self._stream.write(data)
            self._size += written
            data = data[written:]

    def _rotate(self, kept: int) -> None:
        numbered = _numbered(self._path)
        # The oldest go first, so that at no time there is more than was allowed.
        for _, path in numbered[: max(0, len(numbered) - kept + 1)]:
            path.unlink(missing_ok=True)
        self._stream.close()
        if kept:
            number = numbered[-1][0] + 1 if numbered else 1
            self._path.rename(self._path.with_name(f"{self._path.name}.{number}"))
        else:
            self._path.unlink()
        self._stream = self._path.open("ab", buffering=0)
        self._size = 0


def _numbered(path: Path) -> list[tuple[int, Path]]:
    """Return the files that were full, the oldest first."""
    found = []
    for each in path.parent.glob(f"{path.name}.*"):
        number = each.name.removeprefix(f"{path.name}.")
        if number.isdecimal():
            found.append((int(number), each))
    return sorted(found)


# --- reading ----------------------------------------------------------------------------------


def _identity(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino


def _opened(path: Path) -> list[BinaryIO]:
    """Open what there is, the oldest first, the file that is written last.

    In this order: whoever has the newest sees all that were there before it by their
    numbers, unless they were deleted. What came after it by then does not belong to it.
    """
    streams: list[BinaryIO] = []
    newest: BinaryIO | None = None
    with contextlib.suppress(FileNotFoundError):  # just renamed, or never there
        newest = path.open("rb")
    for _, each in _numbered(path):
        try:
            stream = each.open("rb")
        except FileNotFoundError:
            continue
        if newest is not None and _identity(stream) == _identity(newest):
            stream.close()
            break
        streams.append(stream)
    if newest is not None:
        streams.append(newest)
    return streams


class Reader:
    """Reads what a guest has said, from the oldest that there is, and goes on as it comes.

    As a context manager it closes its files. `missed` says that files were deleted which
    had not been read: half a line before them is ended then. FileNotFoundError if there is
    nothing at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams = _opened(path)
        self.missed = False
        self._is_half = False
        """Whether what was read last has no end of line."""
        self._is_behind = False
        """Whether what comes next is not what was said next."""
        if not self._streams:
            raise FileNotFoundError(path)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()

    def read(self) -> bytes:
        """Return what comes next, empty if there is nothing more by now."""
        data = self._read()
        if data:
            if self._is_behind and self._is_half:
                data = b"\n" + data
            self._is_behind = False
            self._is_half = not data.endswith(b"\n")
        return data

    def _read(self) -> bytes:
        while True:
            if data := self._streams[0].read(_CHUNK):
                return data
            if len(self._streams) == 1:
                after = self._after()
                # Asked again: it was written to until it was renamed.
                if data := self._streams[0].read(_CHUNK):
                    for stream in after:
                        stream.close()
                    return data
                if not after:
                    return b""
                self._streams += after
            self._streams.pop(0).close()

    def _after(self) -> list[BinaryIO]:
        """Return the files after the one we are in."""
        # As long as we have it open no other file gets its number.
        own = _identity(self._streams[0])
        found = _opened(self._path)
        for position, stream in enumerate(found):
            if _identity(stream) == own:
                for each in found[: position + 1]:
                    each.close()
                return found[position + 1 :]
        self.missed = self.missed or bool(found)
        self._is_behind = bool(found)
        return found

    def to_last_lines(self, count: int) -> None:
        """Go to where the last `count` lines begin."""
        if count == 0:
            last = len(self._streams) - 1
            self._go(last, self._streams[last].seek(0, os.SEEK_END))
            return
        needed = count + 1  # the newline before them
        end = True
        for number in reversed(range(len(self._streams))):
            stream = self._streams[number]
            for at, data in _backwards(stream):
                if end and not data.endswith(b"\n"):
                    needed -= 1  # the last line has no end yet
                end = False
                found = len(data)
                while (found := data.rfind(b"\n", 0, found)) >= 0:
                    needed -= 1
                    if needed == 0:
                        self._go(number, at + found + 1)
                        return
        self._go(0, 0)

    def _go(self, number: int, offset: int) -> None:
        for stream in self._streams[:number]:
            stream.close()
        del self._streams[:number]
        self._streams[0].seek(offset)
        for stream in self._streams[1:]:
            stream.seek(0)


def _backwards(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a file and where they begin, from its end on."""
    at = stream.seek(0, os.SEEK_END)
    while at > 0:
        begin = max(0, at - _CHUNK)
        stream.seek(begin)
        yield begin, stream.read(at - begin)
        at = begin


def tail(path: Path, size: int = TAIL) -> bytes:
    """Return the last `size` bytes of the files, empty if there is none."""
    parts: list[bytes] = []
    left = size
    streams = _opened(path)
    for stream in reversed(streams):
        for _, data in _backwards(stream):
            if left > 0:
                parts.append(data[-left:])
                left -= len(parts[-1])
        stream.close()
    return b"".join(reversed(parts))
