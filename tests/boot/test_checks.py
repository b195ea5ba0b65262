# SPDX-License-Identifier: GPL-2.0
"""What Linux promises to a process holds in the kernel too: the same program, run both ways.

One boot runs all checks one after the other, from a script in the guest's normal
userspace; each has its own test here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.boot.harness import Built, Lab, Ran

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


@dataclass(frozen=True)
class Check:
    """What one check printed, and its exit status; None if the guest did not come to it."""

    lines: list[str]
    status: int | None


def run_all(lab: Lab, checks: Built, mode: str, cpus: int) -> dict[str, Check]:
    """Run all checks in one guest as `UKL` or `USER`."""
    script = f"export CHECKS=${mode}; cd /tmp\n" + "".join(
        f"echo '<<<{name}'; timeout -s KILL {SECONDS} ${mode} {name}; echo '>>>'$?\n"
        for name in CHECKS
    )
    ran = lab.script(checks, script, cpus=cpus, timeout=400.0)
    return {name: _cut(ran, name) for name in CHECKS}


def _cut(ran: Ran, name: str) -> Check:
    found = re.search(rf"<<<{name}\n(.*?)>>>(\d+)\n", ran.text, re.DOTALL)
    if found is None:
        lines = ran.text.partition(f"<<<{name}\n")[2].splitlines()
        return Check([*lines[-60:], f"({ran.result.outcome}: {ran.result.detail})"], None)
    return Check(found[1].splitlines(), int(found[2]))


@pytest.fixture(scope="module", params=[1, 2], ids=["1cpu", "2cpus"])
def processors(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture(scope="module")
def as_process(lab: Lab, checks: Built, processors: int) -> dict[str, Check]:
    return run_all(lab, checks, "USER", processors)


@pytest.fixture(scope="module")
def in_kernel(lab: Lab, checks: Built, processors: int) -> dict[str, Check]:
    return run_all(lab, checks, "UKL", processors)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(
    name: str, as_process: dict[str, Check], in_kernel: dict[str, Check]
) -> None:
    normal, kernel = as_process[name], in_kernel[name]
    assert normal.status == 0, "\n".join(normal.lines)
    assert kernel.status == 0, "\n".join(kernel.lines)
    assert kernel.lines == normal.lines
    if name in EXPECTED:
        assert kernel.lines == EXPECTED[name]


def test_supervisor_mode_keeps_its_protections(lab: Lab, checks: Built) -> None:
    ran = lab.run(checks, "registers")
    assert ran.lines == ["privilege 0", "WP 1 SMEP 1 SMAP 1"]
    assert ran.result.status == 0
