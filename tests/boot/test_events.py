# SPDX-License-Identifier: GPL-2.0
"""Time, and the calls by which a server waits, are the same in the kernel."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = (
    "events.clocks",
    "events.descriptors",
    "events.files",
    "events.passing",
    "events.futexes",
    "events.uring",
    "events.seccomp",
)


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.plain(lab), CHECKS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)
