# SPDX-License-Identifier: GPL-2.0
"""Messages of the guest's init: only those with this run's nonce count."""

from __future__ import annotations

import json

import pytest

from ukl.vm import status
from ukl.vm.status import Reader, Type


def line(**members: object) -> bytes:
    return json.dumps({"nonce": "n1", "type": "exited", "ms": 1500, **members}).encode() + b"\n"


def test_message_is_read() -> None:
    message = status.parse(line(who="application", status=7), "n1")
    assert message is not None
    assert message.type is Type.EXITED
    assert message.seconds == 1.5
    assert message.who == "application"
    assert message.number("status") == 7
    assert message.number("signal") is None


def test_the_time_is_told_in_two_numbers() -> None:
    assert status.clock(1_700_000_000_000_000_007) == b"time 1700000000 7\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello world",
        b"[]",
        b"\xff\xfe",
        b"{",
        b'{"type":"exited","ms":1,"status":0}',
        line(nonce="n2"),
        line(nonce=None),
        line(type="great"),
        line(type=["exited"]),
        line(ms="1"),
        line(ms=True),
    ],
)
def test_everything_else_is_not_a_message(data: bytes) -> None:
    assert status.parse(data, "n1") is None


def test_reader_cuts_lines_wherever_they_were_split() -> None:
    data = b"noise\n" + line(status=1) + b"\n" + line(status=2)
    for size in (1, 7, 64, len(data)):
        reader = Reader("n1")
        found = []
        for at in range(0, len(data), size):
            found += reader.feed(data[at : at + size])
        assert [message.number("status") for message in found] == [1, 2]
        assert reader.foreign == 2


def test_reader_does_not_keep_an_endless_line() -> None:
    reader = Reader("n1")
    for _ in range(100):
        assert reader.feed(b"x" * 4096) == []
    assert reader.feed(b"\n" + line(status=3))[0].number("status") == 3
    assert reader.foreign == 1


def test_nonces_differ() -> None:
    assert len({status.make_nonce() for _ in range(100)}) == 100
