# SPDX-License-Identifier: GPL-2.0
"""Reads the kernel's log from a guest's memory, without help from the guest. Pure.

Source: kernel/printk/printk_ringbuffer.{h,c} of Linux 6.12, in the layout of x86-64. Only
complete records (committed or finalized) are read; gaps in their sequence numbers show
overwritten ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ukl.debug.unwind import Unreadable

SYMBOL = "prb"
"""The kernel's pointer to its ring buffer."""

Fetch = Callable[[int, int], bytes]
"""Returns bytes (address, size) of the guest's memory; raises Unreadable."""

_RING = struct.Struct("<I4xQQQQQI4xQQQQ")  # struct printk_ringbuffer
_DESC = struct.Struct("<QQQ")  # state_var, text_blk_lpos.{begin,next}
_INFO = struct.Struct("<QQHBBI64x")  # seq, ts_nsec, text_len, facility, flags and level, caller

_STATE_SHIFT = 62
_COMMITTED, _FINALIZED = 1, 2
_ID = (1 << _STATE_SHIFT) - 1

_NO_DATA = 1
"""Bit of a logical position that marks a block without data (FAILED_LPOS, EMPTY_LINE_LPOS)."""

_ID_SIZE = 8
"""Bytes in front of each text: the id of its descriptor."""

MAX_BITS = 28
"""The most bits of a ring's size; a larger value is not that of a ring."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record of the log. `seconds` is the time of local_clock(), which starts at 0."""

    number: int
    seconds: float
    level: int
    text: str


def messages(fetch: Fetch, pointer: int) -> list[Message]:
    """Return the log in order; `pointer` is the address of SYMBOL. Raises Unreadable."""
    address = int.from_bytes(fetch(pointer, 8), "little")
    ring = _RING.unpack(fetch(address, _RING.size))
    desc_bits, descs_at, infos_at, text_bits, text_at = (ring[i] for i in (0, 1, 2, 6, 7))
    if not 0 < desc_bits <= MAX_BITS or not 0 < text_bits <= MAX_BITS:
        raise Unreadable("not a ring buffer of printk")
    count, size = 1 << desc_bits, 1 << text_bits
    descs = fetch(descs_at, count * _DESC.size)
    infos = fetch(infos_at, count * _INFO.size)
    text = fetch(text_at, size)
    found = []
    for place in range(count):
        state, begin, after = _DESC.unpack_from(descs, place * _DESC.size)
        if (
            state >> _STATE_SHIFT not in {_COMMITTED, _FINALIZED}
            or state & _ID & count - 1 != place
        ):
            continue
        number, stamp, length, _, flags, _ = _INFO.unpack_from(infos, place * _INFO.size)
        data = _text(text, size, begin, after, state & _ID)[:length]
        line = data.decode("utf-8", "replace")
        found.append(Message(number, stamp / 1e9, flags >> 5, line))
    return sorted(found, key=lambda each: each.number)


def _text(ring: bytes, size: int, begin: int, after: int, identity: int) -> bytes:
    """Return the text of a block, empty if it has none or was overwritten."""
    if begin & _NO_DATA or after & _NO_DATA:
        return b""
    at = begin % size
    if begin // size != (after - 1) // size:  # the block wraps to the start: get_data()
        at = 0
    if int.from_bytes(ring[at : at + _ID_SIZE], "little") != identity:
        return b""
    return ring[at + _ID_SIZE : after % size or size]
