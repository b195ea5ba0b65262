# SPDX-License-Identifier: GPL-2.0
"""Counts of an emulated guest, from the records that the plugin writes."""

from __future__ import annotations

import struct

import pytest

from ukl.base.errors import UklError
from ukl.bench import counting
from ukl.bench.counting import ENTRIES, EXITS, INSTRUCTIONS, KINDS, NAMES, Counts

SYMBOLS = {"vp_notify": (0x1000, "T"), "asm_exc_page_fault": (0x2000, "T"), "main": (0x3000, "T")}


def content(*records: tuple[int, int, int], lost: int = 0) -> bytes:
    rows = (struct.pack("<QIIQ", address, what, 0, count) for address, what, count in records)
    return struct.pack("<4Q", 1, 1, len(records), lost) + b"".join(rows) + bytes(24)


def kind(name: str) -> int:
    return 1 << 31 | KINDS[name]


def test_records_become_counts_of_blocks_and_of_events() -> None:
    counts = counting.parse(
        content((0x1000, 5, 3), (0x1010, kind("HLT"), 2), (0x5000, kind("HLT"), 4), (0x7000, 9, 0))
    )
    assert counts == Counts({(0x1000, 5): 3}, {KINDS["HLT"]: 6})


def test_a_plugin_without_space_is_an_error() -> None:
    with pytest.raises(UklError, match="blocks of code"):
        counting.parse(content(lost=1))


def test_what_was_executed_between_two_copies() -> None:
    before = Counts({(1, 2): 3, (4, 5): 6}, {7: 8})
    after = Counts({(1, 2): 13, (4, 5): 6, (9, 1): 1}, {7: 9})
    assert after - before == Counts({(1, 2): 10, (9, 1): 1}, {7: 1})


def test_events_have_names() -> None:
    """A function that was translated in two ways is one; what the kernel lacks is not executed."""
    counts = Counts(
        {(0x1000, 5): 3, (0x1000, 2): 1, (0x1005, 10): 3, (0x2000, 1): 7},
        {KINDS["HLT"]: 2, KINDS["MSR writes"]: 5},
    )
    named = counts.named(SYMBOLS)
    assert tuple(named) == NAMES
    assert set(NAMES) == {INSTRUCTIONS, EXITS, *ENTRIES, *KINDS}
    assert named["kicks"] == 4
    assert named["page faults"] == 7
    assert named[INSTRUCTIONS] == 3 * 5 + 1 * 2 + 3 * 10 + 7
    assert named["timer writes"] == 0
    assert named[EXITS] == 4 + 2
