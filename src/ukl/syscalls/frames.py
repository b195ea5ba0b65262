# SPDX-License-Identifier: GPL-2.0
"""Call frame information for the stubs, and for the kernel's side of a call.

The unwinder of a cancelled thread starts where the signal arrived: in a stub, or at the
first instruction of ukl_syscall_restart, where an interrupted call continues.

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
"""Bytes. System V ABI, AMD64 supplement, 3.2.2."""

Rows = bytes
"""The call frame instructions of an FDE."""

CALLED: Rows = b""
"""No instruction: the CIE's rules hold at a function's entry, and throughout a called stub."""

RESTART: Rows = (
    # The return address is in rcx; the first instruction pushes it, the second pops it.
    bytes([_CFA_OFFSET, 0, _REGISTER, _RETURN, _RCX])
    + bytes([_ADVANCE | 1, _CFA_OFFSET, 8, _OFFSET | _RETURN, 1])
    + bytes([_ADVANCE | 1, _CFA_OFFSET, 0, _REGISTER, _RETURN, _RCX])
)
"""ukl_syscall_restart of the kernel: push %rcx; (ukl_syscall) pop %rcx; mov; cli."""

RESTART_SIZE = 6
"""Bytes of these four instructions."""

FAST_RETURN_SIZE = 2
"""Bytes of ukl_fast_ret and one byte in front of it, because it can be a return address."""

FAST_RETURN_AT = -1
"""Start of that range, relative to ukl_fast_ret."""


def jumped_to(lowered: int, raised: int) -> Rows:
    """Return the rows of a stub that is jumped to: a frame that takes no space on the stack.

    Its "caller" is the code after the site, with all registers unchanged. The address of
    that code has 8 bytes, at `ADDRESS_AT`, which a relocation fills in. `lowered` and
    `raised` are the offsets [bytes] in the stub after which the stack pointer is lowered
    below the red zone and raised again, both 0 if it is not.
    """
    rows = bytes([_CFA_OFFSET, 0, _VAL_EXPRESSION, _RETURN, 9, _OP_ADDR]) + bytes(8)
    if lowered or raised:
        rows += _advance(lowered) + bytes([_CFA_OFFSET]) + _uleb(RED_ZONE)
        rows += _advance(raised - lowered) + bytes([_CFA_OFFSET, 0])
    return rows


def popped(skip: int, size: int) -> Rows:
    """Return the rows for `size` bytes of code after `skip` others, with a called stub's frame.

    In them the stack pointer is above the return address, which is still there.
    """
    rows = _advance(skip) + bytes([_CFA_OFFSET, 0])
    return rows + _advance(size) + bytes([_CFA_OFFSET, 8])


ADDRESS_AT = 6
"""Offset of the address in the rows of jumped_to()."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The description of `size` bytes of code."""

    size: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Table:
    """Encoded descriptions, and the offsets for relocations.

    `starts` are the offsets of each frame's start address (4 bytes, relative to
    themselves), `rows` those of each frame's first call frame instruction.
    """

    data: bytes
    starts: tuple[int, ...]
    rows: tuple[int, ...]


def encode(frames: Sequence[Frame]) -> Table:
    """Return a CIE and an FDE for each frame, without the terminator of the table."""
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
    """Return the offset of the table's terminator, len(data) if it has none."""
    at = 0
    while at + 4 <= len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if length == 0:
            return at
        if length == 0xFFFFFFFF:  # 64-bit DWARF, which gcc, clang and ld do not write here
            length = 8 + struct.unpack_from("<Q", data, at + 4)[0]
        at += 4 + length
    return len(data)


def _record(body: bytes) -> bytes:
    padded = body + bytes([_NOP]) * (-(len(body) + 4) % 8)
    return struct.pack("<I", len(padded)) + padded


def _advance(size: int) -> bytes:
    """Return the instruction that advances the location by `size` bytes."""
    if size < 0x40:
        return bytes([_ADVANCE | size])
    return bytes([0x02, size]) if size < 0x100 else b"\x04" + struct.pack("<I", size)


def _uleb(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
