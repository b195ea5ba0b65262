# SPDX-License-Identifier: GPL-2.0
"""Files of counts as gcc has them. Pure.

Source: gcc/gcov-io.h of GCC (a header of words; records with a tag, a length and words), and
kernel/gcov/gcc_4_7.c of the kernel, convert_to_gcda().
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC = 0x67636461
COUNTERS = 0x01A10000
"""GCOV_TAG_COUNTER_BASE: how often each arc was taken, 64 bits each."""

SUMMARY = 0xA1000000
"""GCOV_TAG_OBJECT_SUMMARY: number of runs, and the highest count of the program."""

BYTES_SINCE = 12
"""The release of GCC since which lengths are in bytes, and the header has a checksum."""

_HIGHEST = (1 << 32) - 1
_WORD = 4


def _release(data: bytes) -> int:
    """Return the major release of the GCC that a file is for; ValueError if it is none."""
    magic: int
    version: int
    magic, version = struct.unpack_from("<II", data)
    if magic != MAGIC:
        raise ValueError("not a file of gcc's counts")
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
        # Counters that are all 0 have a negative length, and are not there.
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


def summarised(data: bytes, most: int) -> bytes:
    """Return a file with a summary: one run, and `most` as the highest count of the program.

    The kernel writes none, and without one gcc does not look at the counts at all
    (compute_branch_probabilities() of gcc/profile.cc).
    """
    if any(tag == SUMMARY for tag, _ in _records(data)):
        return data
    length = 2 * (_WORD if _release(data) >= BYTES_SINCE else 1)
    summary = struct.pack("<IIII", SUMMARY, length, 1, min(most, _HIGHEST))
    begin = _header(data)
    return data[:begin] + summary + data[begin:]
