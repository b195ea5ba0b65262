# SPDX-License-Identifier: GPL-2.0
"""What Linux promises to a process holds in the kernel too: the same program, run both ways.

One boot runs all checks both ways, from a script in the guest's normal userspace; each has its
own test here.
"""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Built, Lab
from tests.boot.matrix import Results

CHECKS = (
    "entries",
    "threads",
    "signals",
    "sigreturn",
    "restart",
    "fork",
    "exec",
    "instances",
    "stack",
    "timers",
    "fpu",
    "ptrace",
    "protections",
    "processors",
)

EXPECTED = {
    "entries": ["by instruction: fine", "by call: fine"],
    "ptrace": ["stops: 100 by instruction, 100 by call; exited 17"],
    "protections": [
        "write to text: SEGV",
        "at the address: 1",
        "write to constants: SEGV",
        "execute data: SEGV",
        "at the address: 1",
        "execute constants: SEGV",
        "execute stack: SEGV",
        "execute heap: SEGV",
        "write to a page made read-only: SEGV",
        "execute it: SEGV",
        "read at 0: SEGV",
        "jump to 0: SEGV",
        "jump to a hole: SEGV",
        "read a non-canonical address: SEGV",
    ],
    "restart": [
        line
        for way in ("instruction", "call")
        for line in (
            f"by {way}, without SA_RESTART: -4, handled 1",
            f"by {way}, with SA_RESTART: 1, byte x, handled 1",
            f"by {way}, stopped in nanosleep: status 0",
        )
    ],
}
"""What a check must say beyond being the same in both modes."""

SECONDS = 60
"""A check may take, in the guest."""


@pytest.fixture(scope="module", params=[1, 2], ids=["1cpu", "2cpus"])
def results(lab: Lab, checks: Built, request: pytest.FixtureRequest) -> Results:
    return matrix.run(lab, checks, CHECKS, cpus=request.param, seconds=SECONDS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    normal, kernel = results[name]
    assert normal.status == 0, normal.text
    assert kernel.status == 0, kernel.text
    assert kernel.lines == normal.lines
    if name in EXPECTED:
        assert list(kernel.lines) == EXPECTED[name]


def test_supervisor_mode_keeps_its_protections(lab: Lab, checks: Built) -> None:
    ran = lab.run(checks, "registers")
    assert ran.lines == ["privilege 0", "WP 1 SMEP 1 SMAP 1"]
    assert ran.result.status == 0
