# SPDX-License-Identifier: GPL-2.0
"""Call frame information for the stubs, and for the kernel's side of a call.

A thread that is cancelled is unwound from where the signal found it: in a stub, or at
the first instruction of ukl_syscall_restart, where an interrupted call goes on.

Source: System V ABI, AMD64 supplement, 3.7; DWARF 5, 6.4 and 7.24; the Linux
Standard Base on .eh_frame.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_RCX, _RETURN = 2, 16  # DWARF's numbers of rcx and of the return address
_ADVANCE, _OFFSET = 0x40, 0x80
_NOP, _REGISTER, _CFA_OFFSET, _DEF_CFA, _VAL_EXPRESSION = 0x00, 0x09, 0x0E, 0x0C, 0x16
_OP_ADDR = 0x03
_RSP = 7
_PCREL_SDATA4 = 0x1B

RED_ZONE = 128
"""Bytes, System V ABI, AMD64 supplement, 3.2.2."""

Rows = bytes
"""The instructions of a description."""

CALLED: Rows = b""
"""What is true of all functions at their entry, and of stubs that are called throughout."""

RESTART: Rows = (
    # The return address is in rcx; pushed by the first instruction, popped by the second.
    bytes([_CFA_OFFSET, 0, _REGISTER, _RETURN, _RCX])
    + bytes([_ADVANCE | 1, _CFA_OFFSET, 8, _OFFSET | _RETURN, 1])
    + bytes([_ADVANCE | 1, _CFA_OFFSET, 0, _REGISTER, _RETURN, _RCX])
)
"""ukl_syscall_restart of the kernel: push %rcx; (ukl_syscall) pop %rcx; mov; cli."""

RESTART_SIZE = 6
"""Bytes of these four instructions."""

FAST_RETURN_SIZE = 2
"""Bytes of ukl_fast_ret, with one before it: it can be a return address, too."""

FAST_RETURN_AT = -1
"""Where that begins."""


def jumped_to(lowered: int, raised: int) -> Rows:
    """Return the rows of a stub that is jumped to: a frame of its own, without a place.

    Its "caller" is the code behind the site, with all registers as they are. Where it
    stands is an address: 8 bytes, at `ADDRESS_AT`, that a relocation fills in.
    `lowered` and `raised` are the bytes before the stack pointer is lowered below the
    red zone and raised again, both 0 if it is not.
    """
    rows = bytes([_CFA_OFFSET, 0, _VAL_EXPRESSION, _RETURN, 9, _OP_ADDR]) + bytes(8)
    if lowered or raised:
        rows += _advance(lowered) + bytes([_CFA_OFFSET]) + _uleb(RED_ZONE)
        rows += _advance(raised - lowered) + bytes([_CFA_OFFSET, 0])
    return rows


ADDRESS_AT = 6
"""Where in the rows of jumped_to() the address is."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The description of one stretch of code of `size` bytes."""

    size: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Table:
    """Encoded descriptions, and where in them relocations go.

    `starts` are the offsets of the begin of each frame (4 bytes, relative to
    themselves), `rows` those of each frame's first instruction.
    """

    data: bytes
    starts: tuple[int, ...]
    rows: tuple[int, ...]


def encode(frames: Sequence[Frame]) -> Table:
    """Return a CIE and an FDE for each frame, without the end of the table."""
    common = struct.pack("<IB", 0, 1) + b"zR\0" + bytes([1, 0x78, _RETURN, 1, _PCREL_SDATA4])
    common += bytes([_DEF_CFA, _RSP, 8, _OFFSET | _RETURN, 1])
    data = bytearray(_record(common))
    starts, rows = [], []
    for frame in frames:
        at = len(data)
        starts.append(at + 8)
        rows.append(at + 17)
        body = struct.pack("<IiI", at + 4, 0, frame.size) + b"\0" + frame.rows
        data += _record(body)
    return Table(bytes(data), tuple(starts), tuple(rows))


def end(data: bytes | bytearray) -> int:
    """Return the offset of the word that ends a table, len(data) without one."""
    at = 0
    while at + 4 <= len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if length == 0:
            return at
        if length == 0xFFFFFFFF:  # 64-bit DWARF: none of our tools writes it here
            length = 8 + struct.unpack_from("<Q", data, at + 4)[0]
        at += 4 + length
    return len(data)


def _record(body: bytes) -> bytes:
    padded = body + bytes([_NOP]) * (-(len(body) + 4) % 8)
    return struct.pack("<I", len(padded)) + padded


def _advance(size: int) -> bytes:
    """Return the instruction that goes on by `size` bytes, below 256."""
    return bytes([_ADVANCE | size]) if size < 0x40 else bytes([0x02, size])


def _uleb(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
