# SPDX-License-Identifier: GPL-2.0
"""Programs whose `syscall` instructions became calls do in the kernel what they did before."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results
from tests.conftest import TOP
from ukl.base.model import AppSpec

CHECKS = ("entries", "threads", "signals", "sigreturn", "restart", "fork", "exec", "timers", "fpu")
"""Of programs/checks: what goes into the kernel and out of it in other ways than by return."""

MATRIX = ("threads.cancel", "threads.exceptions", "threads.endings")
"""Of programs/matrix: what unwinds through system calls."""

UNWINDING = TOP / "tests" / "tool" / "programs" / "unwind.cpp"


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Results:
    return matrix.checks(lab, lab.program("checks"), CHECKS)


@pytest.fixture(scope="module")
def rewritten(lab: Lab) -> Results:
    return matrix.checks(lab, matrix.as_calls(lab, "checks"), CHECKS)


@pytest.fixture(scope="module")
def more(lab: Lab) -> Results:
    return matrix.run(lab, matrix.as_calls(lab, "matrix"), MATRIX, cpus=2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_same_as_by_instruction(name: str, plain: Results, rewritten: Results) -> None:
    matrix.same_as_before(plain, rewritten, name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MATRIX)
def test_same_in_the_kernel(name: str, more: Results) -> None:
    matrix.same(more, name)


def test_unwinding_from_a_call_in_the_kernel(lab: Lab) -> None:
    spec = AppSpec("unwind", UNWINDING, UNWINDING.parent, (UNWINDING,))
    ran = lab.run(lab.build(spec), cpus=2)
    assert ran.lines == [
        "cancelled 1, destroyed 2",
        "called: read 1, reached 1 1",
        "jumped to: read 1, reached 1 1",
    ]
    assert ran.result.status == 0
