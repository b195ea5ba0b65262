# SPDX-License-Identifier: GPL-2.0
"""Threads in the kernel keep what Linux and the C++ runtime promise."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = (
    "threads.many",
    "threads.cancel",
    "threads.robust",
    "threads.pi",
    "threads.tls",
    "threads.exceptions",
    "threads.fork",
    "threads.endings",
    "threads.limits",
)


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.plain(lab), CHECKS, cpus=2)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)
