# SPDX-License-Identifier: GPL-2.0
"""What is taken from the console, and what people see of it."""

from __future__ import annotations

import pytest

from ukl.vm import console
from ukl.vm.console import InitFilter

END = b"[    1.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000700\r\n"
TRACE = b"[    1.235000] CPU: 0 UID: 0 PID: 1 Comm: hello\r\n[    1.236000] Call Trace:\r\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("00000000", (0, None)), ("00000700", (7, None)), ("0000000b", (None, 11)),
     ("00000086", (None, 6)), ("0000ff00", (255, None))],
)  # fmt: skip
def test_exit_of_init(code: str, expected: tuple[int | None, int | None]) -> None:
    data = b"out\r\n" + END.replace(b"00000700", code.encode()) + TRACE
    assert console.init_exit(data) == expected


def test_other_panics_are_no_exit_of_init() -> None:
    data = b"[    1.0] Kernel panic - not syncing: sysrq triggered crash\r\n"
    assert console.init_exit(data) is None
    assert console.panic_reason(data) == "sysrq triggered crash"
    assert console.panic_reason(b"all is well\n") is None


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_filter_takes_the_panic_off_however_it_is_split(size: int) -> None:
    data = b"one [a] [ 12\r\ntwo\r\nno newline" + END + TRACE
    shown = InitFilter()
    out = b"".join(shown.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert out + shown.flush() == b"one [a] [ 12\ntwo\nno newline"


def test_filter_keeps_what_only_begins_like_it() -> None:
    shown = InitFilter()
    out = shown.feed(b"[    1.0") + shown.feed(b"] usb: new device\r\nrest [  3") + shown.flush()
    assert out == b"[    1.0] usb: new device\nrest [  3"


def test_filter_does_not_hold_a_prompt_back() -> None:
    assert InitFilter().feed(b"really? [y/n] ") == b"really? [y/n] "


def test_last_lines() -> None:
    data = b"".join(b"%d\r\n" % number for number in range(30)) + b"\x1b[31mred\x1b[0m\x07\r\n\r\n"
    assert console.last_lines(data, 3) == "28\n29\nred"


def test_panic_lines_begin_before_the_panic() -> None:
    data = b"x\n" * 3000 + b"[ 1.0] BUG: bad\r\n" + END + TRACE * 50
    shown = console.panic_lines(data, 230)
    assert "BUG: bad" in shown
    assert "Attempted to kill init" in shown
