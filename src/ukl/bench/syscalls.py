# SPDX-License-Identifier: GPL-2.0
"""What getppid() costs, from what examples/getppid-bench prints. Pure.

Under QEMU's `-icount shift=0` the time-stamp counter counts guest instructions,
so the numbers are exact and do not depend on the machine they were counted on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ukl.errors import UklError

EXAMPLE = "getppid-bench"

COUNT = 20_000
"""Calls per sample; under icount each sample gives the same, but for interrupts."""

MODES = {False: "supervisor", True: "user"}
"""What the program says it runs in -> with `--user` or without."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to call: `instructions` per call, that of the call itself included."""

    name: str
    mode: str
    way: str
    instructions: float


WAYS: Sequence[tuple[str, str, str]] = (
    ("unikernel, by call", "supervisor", "call"),
    ("unikernel, by syscall in ring 0", "supervisor", "syscall"),
    ("normal process, by syscall", "user", "syscall"),
)
"""Name, mode and way of each row."""


def parse(console: str, mode: str) -> Mapping[str, float]:
    """Return the instructions per call of each way, from the console of one run.

    Raises UklError when the line is not there or the program ran in another mode.
    """
    for line in console.splitlines():
        if line.startswith('{"benchmark": "getppid"'):
            try:
                found = json.loads(line)
                # The empty loop has one instruction, a nop, where the call is.
                around = float(found["loop"]) - 1
                ways = {way: float(ticks) - around for way, ticks in found["ticks"].items()}
                actual = found["mode"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UklError(f"{EXAMPLE} printed something else: {line}") from error
            if actual != mode:
                raise UklError(f"{EXAMPLE} ran in {actual} mode, not in {mode} mode")
            return ways
    raise UklError(f"{EXAMPLE} printed no result")


def rows(consoles: Mapping[str, str]) -> list[Row]:
    """Return the table from the consoles of both modes."""
    parsed = {mode: parse(text, mode) for mode, text in consoles.items()}
    return [Row(name, mode, way, parsed[mode][way]) for name, mode, way in WAYS]
