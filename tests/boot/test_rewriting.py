# SPDX-License-Identifier: GPL-2.0
"""Programs whose `syscall` instructions became calls do in the kernel what they did before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot import matrix
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.matrix import Results
from tests.conftest import TOP
from ukl import manifest
from ukl.model import AppSpec

CHECKS = ("entries", "threads", "signals", "sigreturn", "restart", "fork", "exec", "timers", "fpu")
"""Of programs/checks: what goes into the kernel and out of it in other ways than by return."""

MATRIX = ("threads.cancel", "threads.exceptions", "threads.endings")
"""Of programs/matrix: what unwinds through system calls."""

UNWINDING = TOP / "tests" / "tool" / "programs" / "unwind.cpp"


def as_calls(lab: Lab, name: str) -> Built:
    spec = manifest.load(PROGRAMS / name)
    return lab.build(replace(spec, name=f"{name}-calls", rewrite_syscalls=True))


def checks(lab: Lab, built: Built) -> Results:
    setup = "export CHECKS=$UKL\n"
    return matrix.run(lab, built, CHECKS, cpus=2, setup=setup, modes=("UKL",))


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Results:
    return checks(lab, lab.program("checks"))


@pytest.fixture(scope="module")
def rewritten(lab: Lab) -> Results:
    return checks(lab, as_calls(lab, "checks"))


@pytest.fixture(scope="module")
def more(lab: Lab) -> Results:
    return matrix.run(lab, as_calls(lab, "matrix"), MATRIX, cpus=2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_same_as_by_instruction(name: str, plain: Results, rewritten: Results) -> None:
    [before], [after] = plain[name], rewritten[name]
    assert before.status == 0, before.text
    assert after.status == 0, after.text
    assert after.lines == before.lines


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
