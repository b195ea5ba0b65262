# SPDX-License-Identifier: GPL-2.0
"""Signals reach an application in the kernel as they reach any process."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = (
    "signals.defaults",
    "signals.context",
    "signals.codes",
    "signals.wild",
    "signals.stacks",
    "signals.realtime",
    "signals.restarts",
    "signals.frames",
    "signals.bare",
    "signals.timers",
    "signals.jobs",
)


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.plain(lab), CHECKS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)
