# SPDX-License-Identifier: GPL-2.0
"""Reads and extends the unwind information of an executable or shared object.

PT_GNU_EH_FRAME has a table for binary search, sorted by address, of all descriptions (FDEs).
They also say where functions begin and end, in stripped files as well.

Source: the Linux Standard Base on .eh_frame and .eh_frame_hdr; DWARF 5, 6.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HEADER = struct.Struct("<BBBBiI")
_ROW = struct.Struct("<ii")
_ENCODINGS = (1, 0x1B, 0x03, 0x3B)
"""Version, and the encodings that ld writes: relative to the place, unsigned, relative to the
header; the addresses have 4 bytes."""

_PCREL_SDATA4 = 0x1B
_EXTENDED = 0xFFFFFFF0
"""Lengths from here on mean 64-bit DWARF."""


class Damaged(Exception):
    """The information is not understood."""


@dataclass(frozen=True, slots=True)
class Description:
    """The code from `start` to `end`, and the address of the record that describes it.

    `handled`: exceptions lead to other code in it. `signal`: it returns from signals.
    """

    start: int
    end: int
    record: int
    handled: bool
    signal: bool


@dataclass(frozen=True, slots=True)
class Index:
    """The rows (code, record) of the header, for the records at `table`.

    `listed`: PT_GNU_EH_FRAME names the header. Static executables have none: their startup
    code registers the records.
    """

    table: int
    rows: tuple[tuple[int, int], ...]
    listed: bool


def index(data: bytes, address: int) -> Index:
    """Read the content of PT_GNU_EH_FRAME. Raises Damaged."""
    if len(data) < _HEADER.size:
        raise Damaged("the header of the unwind information is cut off")
    *encodings, distance, count = _HEADER.unpack_from(data)
    end = _HEADER.size + count * _ROW.size
    if tuple(encodings) != _ENCODINGS or end > len(data):
        raise Damaged("the header of the unwind information has another form")
    rows = tuple(
        (address + code, address + description)
        for code, description in _ROW.iter_unpack(data[_HEADER.size : end])
    )
    return Index(address + 4 + distance, rows, listed=True)


def descriptions(data: bytes, address: int) -> Iterator[Description]:
    """Yield the descriptions in .eh_frame, whose content is `data`. Raises Damaged."""
    common: dict[int, str] = {}
    at = 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if length == 0:
            return
        end = at + 4 + length
        if length >= _EXTENDED or length < 4 or end > len(data):
            raise Damaged(f"a record of the unwind information is damaged, at {at:#x}")
        (back,) = struct.unpack_from("<I", data, at + 4)
        if back == 0:
            common[at] = _letters(data[at + 8 : end])
        else:
            if at + 4 - back not in common or length < 12:
                raise Damaged(f"a record of the unwind information is damaged, at {at:#x}")
            distance, size = struct.unpack_from("<iI", data, at + 8)
            start = address + at + 8 + distance
            # The length of the augmentation, then the address of the handlers' table.
            letters = common[at + 4 - back]
            handled = "L" in letters and any(data[at + 17 : min(end, at + 21)])
            yield Description(start, start + size, address + at, handled, "S" in letters)
        at = end


def _letters(body: bytes) -> str:
    """Return what the augmentation of a common record says of its descriptions."""
    name, zero, rest = body[1:].partition(b"\0")
    if body[:1] not in {b"\1", b"\3"} or not zero or not name.startswith(b"z"):
        raise Damaged("a common record of the unwind information has another form")
    values = _after_numbers(rest)
    letters = name[1:].decode("ascii", "replace")
    for letter in letters:
        if letter == "R":
            if values[:1] != bytes([_PCREL_SDATA4]):
                raise Damaged("the unwind information has another encoding of addresses")
            values = values[1:]
        elif letter == "L":
            values = values[1:]
        elif letter == "P":
            values = values[1 + (8 if values[:1] in {b"\0", b"\4", b"\x0c"} else 4) :]
        elif letter != "S":
            raise Damaged("a common record of the unwind information has another form")
    return letters


def _after_numbers(rest: bytes) -> bytes:
    """Return what follows alignments, return register and length: four LEB128 numbers."""
    at = 0
    for _ in range(4):
        while at < len(rest) and rest[at] & 0x80:
            at += 1
        at += 1
    return rest[at:]


def extended(old: Index, address: int, more: Sequence[tuple[int, int]]) -> bytes:
    """Return the header to be at `address`, with the rows of `old` and `more`."""
    rows = sorted((*old.rows, *more))
    data = bytearray(_HEADER.pack(*_ENCODINGS, old.table - address - 4, len(rows)))
    for code, description in rows:
        data += _ROW.pack(code - address, description - address)
    return bytes(data)
