# SPDX-License-Identifier: GPL-2.0
"""Memory of an application in the kernel is a process's memory."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = (
    "memory.stack",
    "memory.mappings",
    "memory.kernel_pointers",
    "memory.own_data",
    "memory.proc",
    "memory.accounting",
    "memory.huge",
)


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.plain(lab), CHECKS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)
