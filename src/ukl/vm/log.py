# SPDX-License-Identifier: GPL-2.0
"""The log of a guest's console, rotated before it gets too large.

    console.log.3   older output
    console.log.4   old output
    console.log     current output

A full file is renamed once, to a number that was never used before: the number tells a
reader which file comes next, whatever happened meanwhile, so it needs no lock. Only a line
that arrived in pieces, or is longer than a file, begins in one file and ends in the next;
the files in order hold the guest's output.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ukl.base.model import LogLimits

TAIL = 1 << 16
"""Bytes at the end of the output that are searched for how the guest ended."""

_CHUNK = 1 << 16


class Log:
    """Writes the console's log. Raises the OSErrors of its files.

    Without `limits` the file grows without bound.
    """

    def __init__(self, path: Path, limits: LogLimits | None = None) -> None:
        self._path = path
        self._limits = limits
        # Append: a restarted guest has output from before.
        self._stream = path.open("ab", buffering=0)
        self._size = self._stream.tell()
        self._tail = bytearray()

    def write(self, data: bytes) -> None:
        """Append to the file, and rotate it before it gets too large."""
        self._tail += data
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]
        while self._limits is not None and self._size + len(data) > self._limits.size:
            left = max(0, self._limits.size - self._size)
            cut = data.rfind(b"\n", 0, left) + 1
            # A line that no longer fits begins in the next file, if it fits there.
            if not cut and not 0 <= data.find(b"\n") < self._limits.size:
                cut = left
            self._append(data[:cut])
            data = data[cut:]
            self._rotate(self._limits.files - 1)
        self._append(data)

    def tail(self) -> bytes:
        """Return the last TAIL bytes that this object wrote, none from before a restart."""
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
        # Delete the oldest before the rename, so that the limit holds at any time.
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
    """Return the rotated files and their numbers, the oldest first."""
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
    """Open all files, the oldest first, the current file last.

    The writer may rotate and delete files meanwhile. What is returned is in order, and no
    file is missing between two others. Files that are rotated after the current one was
    opened are not included.
    """
    while True:
        newest: BinaryIO | None = None
        with contextlib.suppress(FileNotFoundError):  # just renamed, or never written
            newest = path.open("rb")
        older = _older(path, newest)
        if older is not None:
            return older if newest is None else [*older, newest]
        if newest is not None:
            newest.close()


def _older(path: Path, newest: BinaryIO | None) -> list[BinaryIO] | None:
    """Open the files before `newest`, the file that was the current one when it was opened.

    Returns None if that cannot be told any more, since the writer went on too far.
    """
    while True:
        listed = _numbered(path)
        streams: list[BinaryIO] = []
        for _, each in listed:
            try:
                stream = each.open("rb")
            except FileNotFoundError:
                # The oldest are deleted first: those before this one are deleted, too.
                _close(streams)
                streams = []
                continue
            if newest is not None and _identity(stream) == _identity(newest):
                stream.close()
                return streams
            streams.append(stream)
        # A listing may show a file that was renamed while it was made, and not the one before
        # it (readdir(3p)). It shows all that come before a file which is the current one still.
        if newest is None:
            is_complete = not path.exists() and _numbered(path) == listed
        else:
            is_complete = _is_at(newest, path)
        if is_complete:
            return streams
        _close(streams)
        if newest is None or os.fstat(newest.fileno()).st_nlink == 0:
            return None
        # It has a number now, which the next listing shows.


def _is_at(stream: BinaryIO, path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return _identity(stream) == (status.st_dev, status.st_ino)


def _close(streams: list[BinaryIO]) -> None:
    for stream in streams:
        stream.close()


class Reader:
    """Reads a guest's output from the oldest file on, and follows it as it is written.

    As a context manager it closes its files. `missed` says that unread files were deleted; a
    line cut short by that gets a newline. Raises FileNotFoundError if no file exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams = _opened(path)
        self.missed = False
        self._is_half = False
        """Whether the last bytes read do not end a line."""
        self._has_gap = False
        """Whether output is missing between the last bytes read and the next."""
        if not self._streams:
            raise FileNotFoundError(path)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        _close(self._streams)

    def read(self) -> bytes:
        """Return the next bytes, empty if there are none yet."""
        data = self._read()
        if data:
            if self._has_gap and self._is_half:
                data = b"\n" + data
            self._has_gap = False
            self._is_half = not data.endswith(b"\n")
        return data

    def _read(self) -> bytes:
        while True:
            if data := self._streams[0].read(_CHUNK):
                return data
            if len(self._streams) == 1:
                after = self._after()
                # Read again: it was written until it was renamed.
                if data := self._streams[0].read(_CHUNK):
                    _close(after)
                    return data
                if not after:
                    return b""
                self._streams += after
            self._streams.pop(0).close()

    def _after(self) -> list[BinaryIO]:
        """Return the files after the current one."""
        # As long as it is open here, no other file gets its inode number.
        own = _identity(self._streams[0])
        found = _opened(self._path)
        for position, stream in enumerate(found):
            if _identity(stream) == own:
                _close(found[: position + 1])
                return found[position + 1 :]
        self.missed = self.missed or bool(found)
        self._has_gap = bool(found)
        return found

    def to_last_lines(self, count: int) -> None:
        """Seek to the beginning of the last `count` lines."""
        if count == 0:
            last = len(self._streams) - 1
            self._seek(last, self._streams[last].seek(0, os.SEEK_END))
            return
        needed = count + 1  # plus the newline before them
        end = True
        for number in reversed(range(len(self._streams))):
            stream = self._streams[number]
            for at, data in _backwards(stream):
                if end and not data.endswith(b"\n"):
                    needed -= 1  # the last line has no newline yet
                end = False
                found = len(data)
                while (found := data.rfind(b"\n", 0, found)) >= 0:
                    needed -= 1
                    if needed == 0:
                        self._seek(number, at + found + 1)
                        return
        self._seek(0, 0)

    def _seek(self, number: int, offset: int) -> None:
        _close(self._streams[:number])
        del self._streams[:number]
        self._streams[0].seek(offset)
        for stream in self._streams[1:]:
            stream.seek(0)


def _backwards(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a file and their offsets, from its end on."""
    at = stream.seek(0, os.SEEK_END)
    while at > 0:
        begin = max(0, at - _CHUNK)
        stream.seek(begin)
        yield begin, stream.read(at - begin)
        at = begin


def tail(path: Path, size: int = TAIL) -> bytes:
    """Return the last `size` bytes of the files, empty if no file exists."""
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
