# SPDX-License-Identifier: GPL-2.0
"""Programs whose `syscall` instructions became calls do in the kernel what they did before.

test_matrix.py has what they do as a normal process does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results
from tests.conftest import TOP
from ukl.base.model import AppSpec, Level

CHECKS = ("entries", "threads", "signals", "sigreturn", "restart", "fork", "exec", "timers", "fpu")
"""Of programs/checks: what goes into the kernel and out of it in other ways than by return."""

LEVELS = {Level.BASE: CHECKS, Level.FAST: (*CHECKS, "ptrace")}
"""With all work at entry and exit, and without what nobody has asked for."""

UNWINDING = TOP / "tests" / "tool" / "programs" / "unwind.cpp"


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Results:
    return matrix.checks(lab, lab.program("checks"), LEVELS[Level.FAST])


@pytest.fixture(scope="module")
def rewritten(lab: Lab) -> Callable[[Level], Results]:
    return functools.cache(
        lambda level: matrix.checks(lab, matrix.as_calls(lab, "checks", level), LEVELS[level])
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("level", "name"), [(level, name) for level, names in LEVELS.items() for name in names]
)
def test_same_as_by_instruction(
    plain: Results, rewritten: Callable[[Level], Results], level: Level, name: str
) -> None:
    [before], [after] = plain[name], rewritten(level)[name]
    assert before.status == 0, before.text
    assert after.status == 0, after.text
    assert after.lines == before.lines


def test_unwinding_from_a_call_in_the_kernel(lab: Lab) -> None:
    spec = AppSpec("unwind", UNWINDING, UNWINDING.parent, (UNWINDING,))
    ran = lab.run(lab.build(spec), cpus=2)
    assert ran.lines == [
        "cancelled 1, destroyed 2",
        "called: read 1, reached 1 1",
        "jumped to: read 1, reached 1 1",
    ]
    assert ran.result.status == 0
