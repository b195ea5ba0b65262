# SPDX-License-Identifier: GPL-2.0
"""Keys that end an interactive guest, and the terminal's mode."""

from __future__ import annotations

import os
import pty
import termios

import pytest

from ukl.vm import terminal
from ukl.vm.terminal import Keys


@pytest.mark.parametrize(
    ("typed", "passed", "ends"),
    [
        (b"ls\r", b"ls\r", False),
        (b"\x03\x04\x1a", b"\x03\x04\x1a", False),
        (b"ab\x1dcd", b"ab", True),
        (b"a\x01xb", b"a", True),
        (b"\x01X", b"", True),
        (b"\x01\x01x", b"\x01x", False),
        (b"\x01e", b"\x01e", False),
    ],
)
def test_keys(typed: bytes, passed: bytes, *, ends: bool) -> None:
    whole = Keys()
    assert whole.feed(typed) == passed
    assert whole.quit is ends
    single = Keys()
    assert b"".join(single.feed(bytes([byte])) for byte in typed if not single.quit) == passed
    assert single.quit is ends


def test_mode_is_restored_even_after_an_error() -> None:
    leader, follower = pty.openpty()
    try:
        before = termios.tcgetattr(follower)

        def fail() -> None:
            with terminal.raw(follower):
                assert not termios.tcgetattr(follower)[3] & termios.ECHO
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert termios.tcgetattr(follower) == before
    finally:
        os.close(leader)
        os.close(follower)


def test_what_is_no_terminal_is_left_alone() -> None:
    reader, writer = os.pipe()
    try:
        with terminal.raw(reader):
            pass
        assert terminal.size(reader) == (0, 0)
    finally:
        os.close(reader)
        os.close(writer)
