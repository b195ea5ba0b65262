# SPDX-License-Identifier: GPL-2.0
"""The kernel's log, read out of a guest's memory: nothing in the guest has to answer. Pure.

Source: kernel/printk/printk_ringbuffer.{h,c} of Linux 6.12, whose layout is that of x86-64.
Only records that are whole count (committed or finalized); what overwrites them is said by
their sequence numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from ukl.debug.unwind import Unreadable

SYMBOL = "prb"
"""The kernel's pointer to its ring buffer."""

Fetch = Callable[[int, int], bytes]
"""Returns the bytes (address, size) of the guest's memory; Unreadable where there are none."""

_RING = struct.Struct("<I4xQQQQQI4xQQQQ")  # struct printk_ringbuffer
_DESC = struct.Struct("<QQQ")  # state_var, text_blk_lpos.{begin,next}
_INFO = struct.Struct("<QQHBBI64x")  # seq, ts_nsec, text_len, facility, flags and level, caller

_STATE_SHIFT = 62
_COMMITTED, _FINALIZED = 1, 2
_ID = (1 << _STATE_SHIFT) - 1

_NO_DATA = 1
"""Bit of a logical position that stands for no data (FAILED_LPOS, EMPTY_LINE_LPOS)."""

_ID_SIZE = 8
"""Bytes before each text: the id of its descriptor."""

MAX_BITS = 28
"""Of a ring's size: what claims to be larger is none."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record of the log. `seconds` is the kernel's clock (local_clock(), from 0 on)."""

    number: int
    seconds: float
    level: int
    text: str


def messages(fetch: Fetch, pointer: int) -> list[Message]:
    """Return the log in its order; `pointer` is where SYMBOL is. Unreadable if it is none."""
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
    """Return the text of a block, empty where there is none (any more)."""
    if begin & _NO_DATA or after & _NO_DATA:
        return b""
    at = begin % size
    if begin // size != (after - 1) // size:  # it did not fit before the end: get_data()
        at = 0
    if int.from_bytes(ring[at : at + _ID_SIZE], "little") != identity:
        return b""
    return ring[at + _ID_SIZE : after % size or size]
