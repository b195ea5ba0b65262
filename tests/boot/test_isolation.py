# SPDX-License-Identifier: GPL-2.0
"""Namespaces and control groups hold an application in the kernel as any process."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = ("processes.namespaces", "processes.cgroups", "events.seccomp", "processes.credentials")

SETUP = ""


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.full(lab), CHECKS, setup=SETUP)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)
