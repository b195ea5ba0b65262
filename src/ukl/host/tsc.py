# SPDX-License-Identifier: GPL-2.0
"""The frequency of the host's time-stamp counter, which emulated guests also see."""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import time
from collections.abc import Callable

RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")
"""rdtsc; shl $32, %rdx; or %rdx, %rax; ret"""

READS = 9
"""Reads of both clocks per sample; the fastest counts."""

TOLERANCE = 0.0005
"""Relative error of the frequency that is accepted."""

INTERVAL, SAMPLES = 0.01, 50
"""Seconds between two samples, and their maximum number: a busy machine needs more."""

Sample = tuple[float, int, int]
"""Time (ns), the counter's value, and the duration of the read (ns)."""


@functools.cache
def khz() -> int | None:
    """Return the frequency in kHz; None if it cannot be measured."""
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # some systems forbid memory that is both writable and executable
        return None
    page.write(RDTSC)
    code = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return measure(ctypes.CFUNCTYPE(ctypes.c_uint64)(code))


def measure(counter: Callable[[], int]) -> int | None:
    """Return the frequency of `counter` in kHz; None if no sample was exact enough."""
    first = _sample(counter)
    for _ in range(SAMPLES):
        time.sleep(INTERVAL)
        last = _sample(counter)
        elapsed = last[0] - first[0]
        if (first[2] + last[2]) / 2 <= TOLERANCE * elapsed:
            return round((last[1] - first[1]) / elapsed * 1e6)
    return None


def _sample(counter: Callable[[], int]) -> Sample:
    samples: list[Sample] = []
    for _ in range(READS):
        before = time.monotonic_ns()
        ticks = counter()
        after = time.monotonic_ns()
        samples.append(((before + after) / 2, ticks, after - before))
    return min(samples, key=lambda each: each[2])
