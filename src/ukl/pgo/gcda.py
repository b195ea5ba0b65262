# SPDX-License-Identifier: GPL-2.0
"""gcc's files of branch counts (.gcda). Pure.

Sources: gcc/gcov-io.h of GCC (a header of words; records of a tag, a length and words), and
kernel/gcov/gcc_4_7.c of the kernel, convert_to_gcda().
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC = 0x67636461
COUNTERS = 0x01A10000
"""GCOV_TAG_COUNTER_BASE: the count of each arc, 64 bits each."""

SUMMARY = 0xA1000000
"""GCOV_TAG_OBJECT_SUMMARY: number of runs, and the highest count of the program."""

BYTES_SINCE = 12
"""From this release of GCC on, lengths are in bytes and the header has a checksum."""

_MAX_COUNT = (1 << 32) - 1
_WORD = 4


def _release(data: bytes) -> int:
    """Return the major release of the GCC that a file is for; ValueError for other files."""
    magic: int
    version: int
    magic, version = struct.unpack_from("<II", data)
    if magic != MAGIC:
        raise ValueError("not a .gcda file")
    # `B22*`: a letter for the tens, see gcc/gcov-iov.cc.
    return ((version >> 24) - ord("A")) * 10 + (version >> 16 & 0xFF) - ord("0")


def _header(data: bytes) -> int:
    """Return the length of the header."""
    return (4 if _release(data) >= BYTES_SINCE else 3) * _WORD


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    unit = 1 if _release(data) >= BYTES_SINCE else _WORD
    position = _header(data)
    while position + 2 * _WORD <= len(data):
        tag, length = struct.unpack_from("<Ii", data, position)
        if not tag:
            return
        position += 2 * _WORD
        # If all counters are 0, the length is negative and the counters are omitted.
        size = max(length, 0) * unit
        yield tag, data[position : position + size]
        position += size


def highest(data: bytes) -> int:
    """Return the highest count in a file."""
    found = 0
    for tag, payload in _records(data):
        if tag == COUNTERS:
            found = max(found, *struct.unpack(f"<{len(payload) // 8}Q", payload), 0)
    return found


def with_summary(data: bytes, maximum: int) -> bytes:
    """Return the file with a summary: one run, `maximum` as the program's highest count.

    The kernel writes no summary, and without it gcc ignores the counts
    (compute_branch_probabilities() of gcc/profile.cc).
    """
    if any(tag == SUMMARY for tag, _ in _records(data)):
        return data
    length = 2 * (_WORD if _release(data) >= BYTES_SINCE else 1)
    summary = struct.pack("<IIII", SUMMARY, length, 1, min(maximum, _MAX_COUNT))
    begin = _header(data)
    return data[:begin] + summary + data[begin:]
