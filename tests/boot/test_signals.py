# SPDX-License-Identifier: GPL-2.0
"""Signals reach an application in the kernel as they reach any process."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = (
    "signals.defaults",
    "signals.context",
    "signals.codes",
    "signals.stacks",
    "signals.realtime",
    "signals.restarts",
    "signals.frames",
    "signals.bare",
    "signals.timers",
    "signals.jobs",
)


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.plain(lab), CHECKS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)


@pytest.mark.xfail(
    strict=True, reason="a non-canonical stack pointer is taken for the kernel's: the guest panics"
)
def test_wild_jump_with_a_wild_stack_pointer(lab: Lab) -> None:
    matrix.same(matrix.run(lab, matrix.plain(lab), ("signals.wild",)), "signals.wild")
