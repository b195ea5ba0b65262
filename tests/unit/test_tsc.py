# SPDX-License-Identifier: GPL-2.0
"""How fast a counter is, on machines quiet and busy."""

from __future__ import annotations

import platform
import time

import pytest

from ukl.host import tsc


def test_the_machines_own_counter() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("this processor has no such counter")
    tsc.khz.cache_clear()
    one = tsc.khz()
    tsc.khz.cache_clear()
    other = tsc.khz()
    assert one is not None
    assert other is not None
    assert abs(one - other) <= 4 * tsc.TOLERANCE * one
    assert one > 100_000


def test_other_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    tsc.khz.cache_clear()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert tsc.khz() is None
    tsc.khz.cache_clear()


def test_a_counter_is_measured() -> None:
    found = tsc.measure(lambda: time.monotonic_ns() * 3)
    assert found is not None
    assert abs(found - 3_000_000) <= 2 * tsc.TOLERANCE * 3_000_000


def test_a_machine_that_is_always_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> int:
        now = time.monotonic_ns()
        time.sleep(0.005)
        return now

    monkeypatch.setattr(tsc, "SAMPLES", 3)
    monkeypatch.setattr(tsc, "INTERVAL", 0.0)
    assert tsc.measure(slow) is None
