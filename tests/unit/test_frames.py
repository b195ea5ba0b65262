# SPDX-License-Identifier: GPL-2.0
"""Call frame information of stubs, byte by byte."""

from __future__ import annotations

import struct

from ukl.syscalls import frames
from ukl.syscalls.frames import CALLED, RESTART, RESTART_SIZE, Frame


def test_a_table_is_records_to_its_end() -> None:
    made = frames.encode([Frame(10, CALLED), Frame(RESTART_SIZE, RESTART)])
    assert frames.end(made.data) == len(made.data)
    assert frames.end(made.data + bytes(8)) == len(made.data)
    assert len(made.data) % 4 == 0


def test_offsets_are_those_of_starts_and_rows() -> None:
    wanted = [Frame(10, CALLED), Frame(30, frames.jumped_to(5, 10)), Frame(6, RESTART)]
    made = frames.encode(wanted)
    for frame, start, rows in zip(wanted, made.starts, made.rows, strict=True):
        to_common, at, size = struct.unpack_from("<IiI", made.data, start - 4)
        assert to_common == start - 4  # the CIE is at 0
        assert (at, size) == (0, frame.size)
        assert made.data[rows : rows + len(frame.rows)] == frame.rows


def test_a_stub_without_a_red_zone_stays_where_it_is() -> None:
    # def_cfa_offset 0; val_expression of the return address, 9 bytes: DW_OP_addr.
    rows = frames.jumped_to(0, 0)
    assert rows == bytes.fromhex("0e00 16 10 09 03") + bytes(8)
    assert rows[frames.ADDRESS_AT :] == bytes(8)


def test_a_stub_with_a_red_zone_moves_the_stack_pointer() -> None:
    # Behind 5 bytes 128 lower, behind 70 more as before; the last advance is of two bytes.
    moved = frames.jumped_to(5, 75)[14:]
    assert moved == bytes.fromhex("45 0e8001 0246 0e00")
