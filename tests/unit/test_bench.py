# SPDX-License-Identifier: GPL-2.0
"""bench/syscalls.py: from consoles to numbers."""

from __future__ import annotations

import pytest

from ukl.bench import syscalls
from ukl.errors import UklError


def console(mode: str, call: float, syscall: float) -> str:
    return (
        "some line\r\n"
        f'{{"benchmark": "getppid", "mode": "{mode}", "count": 10, "loop": 4.00, '
        f'"ticks": {{"syscall": {syscall}, "call": {call}}}}}\r\n'
    )


def test_the_loop_is_subtracted_but_not_the_call() -> None:
    rows = syscalls.rows(
        {"supervisor": console("supervisor", 53, 103), "user": console("user", 203, 203)}
    )
    assert [(row.mode, row.way, row.instructions) for row in rows] == [
        ("supervisor", "call", 50),
        ("supervisor", "syscall", 100),
        ("user", "syscall", 200),
    ]


@pytest.mark.parametrize(
    "text", ["", "hello\n", '{"benchmark": "getppid", "loop": 4}\n', '{"benchmark": "getppid"\n']
)
def test_a_run_without_a_result_is_an_error(text: str) -> None:
    with pytest.raises(UklError, match="printed"):
        syscalls.parse(text, "user")


def test_the_wrong_mode_is_an_error() -> None:
    with pytest.raises(UklError, match="ran in user mode"):
        syscalls.parse(console("user", 1, 1), "supervisor")
