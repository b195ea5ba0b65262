# SPDX-License-Identifier: GPL-2.0
"""Calls without entry and exit work do what calls with it do, and what asks for it gets it."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results
from ukl.base.model import Level

CHECKS = (
    "entries",
    "threads",
    "signals",
    "sigreturn",
    "restart",
    "fork",
    "exec",
    "timers",
    "fpu",
    "ptrace",
)

MATRIX = (
    "threads.cancel",
    "threads.exceptions",
    "threads.pi",
    "threads.fork",
    "signals.context",
    "signals.realtime",
    "signals.restarts",
    "signals.jobs",
    "events.seccomp",
    "events.uring",
    "tracing.calls",
)
"""Of programs/matrix: what unwinds through system calls, interrupts them, or watches them."""


@pytest.fixture(scope="module")
def base(lab: Lab) -> Results:
    return matrix.checks(lab, lab.program("checks"), CHECKS)


@pytest.fixture(scope="module")
def quick(lab: Lab) -> Results:
    return matrix.checks(lab, matrix.as_calls(lab, "checks", Level.FAST), CHECKS)


@pytest.fixture(scope="module")
def more(lab: Lab) -> Results:
    return matrix.run(lab, matrix.as_calls(lab, "matrix", Level.FAST), MATRIX, cpus=2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_same_as_with_all_work(name: str, base: Results, quick: Results) -> None:
    matrix.same_as_before(base, quick, name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MATRIX)
def test_same_as_a_normal_process(name: str, more: Results) -> None:
    matrix.same(more, name)
