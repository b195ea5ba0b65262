# SPDX-License-Identifier: GPL-2.0
"""Calls without entry and exit work do what calls with it do, and what asks for it gets it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot import matrix
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.matrix import Results
from ukl import manifest
from ukl.model import Level

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


def fast(lab: Lab, name: str) -> Built:
    spec = manifest.load(PROGRAMS / name)
    spec = replace(spec, name=f"{name}-fast", rewrite_syscalls=True, level=Level.FAST)
    return lab.build(spec)


def checks(lab: Lab, built: Built) -> Results:
    setup = "export CHECKS=$UKL\n"
    return matrix.run(lab, built, CHECKS, cpus=2, setup=setup, modes=("UKL",))


@pytest.fixture(scope="module")
def base(lab: Lab) -> Results:
    return checks(lab, lab.program("checks"))


@pytest.fixture(scope="module")
def quick(lab: Lab) -> Results:
    return checks(lab, fast(lab, "checks"))


@pytest.fixture(scope="module")
def more(lab: Lab) -> Results:
    return matrix.run(lab, fast(lab, "matrix"), MATRIX, cpus=2)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_same_as_with_all_work(name: str, base: Results, quick: Results) -> None:
    [before], [after] = base[name], quick[name]
    assert before.status == 0, before.text
    assert after.status == 0, after.text
    assert after.lines == before.lines


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MATRIX)
def test_same_as_a_normal_process(name: str, more: Results) -> None:
    matrix.same(more, name)
