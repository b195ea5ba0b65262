# SPDX-License-Identifier: GPL-2.0
"""How fast this machine's time-stamp counter runs, which is that of emulated guests, too."""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import time
from collections.abc import Callable

RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl $32, %rdx; or %rdx, %rax; ret"""

LOOKS = 9
"""Times that both clocks are looked at for one moment; the quickest look counts."""

DOUBT = 0.0005
"""Share of the frequency that may be wrong."""

PAUSE, PAUSES = 0.01, 50
"""Seconds between two moments, and how many there are at most: on a busy machine it takes more."""

Moment = tuple[float, int, int]
"""When it was (ns), what the counter said, and within which time (ns) both is true."""


@functools.cache
def khz() -> int | None:
    """Return the frequency in kHz; None where it cannot be known."""
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # there are systems where nothing is both writable and executable
        return None
    page.write(RDTSC)
    code = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return measure(ctypes.CFUNCTYPE(ctypes.c_uint64)(code))


def measure(counter: Callable[[], int]) -> int | None:
    """Return how fast `counter` counts, in kHz; None if there was no quiet moment."""
    first = _look(counter)
    for _ in range(PAUSES):
        time.sleep(PAUSE)
        last = _look(counter)
        elapsed = last[0] - first[0]
        if (first[2] + last[2]) / 2 <= DOUBT * elapsed:
            return round((last[1] - first[1]) / elapsed * 1e6)
    return None


def _look(counter: Callable[[], int]) -> Moment:
    looks: list[Moment] = []
    for _ in range(LOOKS):
        before = time.monotonic_ns()
        ticks = counter()
        after = time.monotonic_ns()
        looks.append(((before + after) / 2, ticks, after - before))
    return min(looks, key=lambda look: look[2])
