# SPDX-License-Identifier: GPL-2.0
"""What an application in the kernel does differently, as docs/reference/differences.md says."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

EXPECTED: dict[str, tuple[list[str], list[str]]] = {
    # The test of the test of the attacks: where they want to be.
    "differences.ring": (["exited 7"], ["exited 99"]),
    # An alarm would end it if the fault came again and again.
    "differences.made_text": (["exited 7"], ["killed SEGV"]),
    "differences.selector": (["killed SEGV"], ["exited 3"]),
    "differences.breakpoint": (
        ["read text: errno 0", "write text: errno 0", "hardware breakpoint: 0"],
        # EIO, EINVAL
        ["read text: errno 0", "write text: errno 5", "hardware breakpoint: 22"],
    ),
    "differences.start": (
        ["vDSO: 1", "dumpable: 1", "ARCH_SET_GS: 0"],
        ["vDSO: 1", "dumpable: 0", "ARCH_SET_GS: -1"],
    ),
    "differences.privileged": (
        [
            "cli; sti: killed SEGV",
            "hlt: killed SEGV",
            "read cr0: killed SEGV",
            "int $0x80: killed SEGV",
            "into: killed SEGV",
            "rdmsr: killed SEGV",
            "in: killed SEGV",
        ],
        [
            "cli; sti: exited 0",
            "hlt: exited 0",
            "read cr0: exited 0",
            "int $0x80: exited 0",
            "into: killed SEGV",
            "rdmsr: exited 0",
            "in: exited 0",
        ],
    ),
    "differences.own_text": (
        [f"{call}: 0" for call in ("write", "mprotect", "mlock", "madvise", "mincore", "all")],
        # EFAULT, ENOMEM
        ["write: 14", "mprotect: 12", "mlock: 12", "madvise: 12", "mincore: 12", "all: 0"],
    ),
    # EINVAL, so that nobody believes to have denied it.
    "differences.time": (["killed SEGV"], ["exited 22"]),
}
"""What each check says of a normal process, and of the application in the kernel."""


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.plain(lab), tuple(EXPECTED))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", EXPECTED)
def test_difference(results: Results, name: str) -> None:
    normal, kernel = results[name]
    assert normal.status == kernel.status == 0, normal.text + kernel.text
    assert (normal.details, kernel.details) == EXPECTED[name]
