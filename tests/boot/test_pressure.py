# SPDX-License-Identifier: GPL-2.0
"""Swap, the OOM killer, huge pages, userfaultfd and bad memory, for the application's data."""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from tests.boot.matrix import Results

CHECKS = tuple(
    f"memory.{name}" for name in ("swap", "oom", "huge", "userfault", "poison", "own_data", "stack")
)

SETUP = """
mknod /dev/ram0 b 1 0 2>/dev/null
mkswap /dev/ram0 >/dev/null && swapon /dev/ram0
echo 8 > /proc/sys/vm/nr_hugepages
"""


@pytest.fixture(scope="module")
def results(lab: Lab) -> Results:
    return matrix.run(lab, matrix.full(lab), CHECKS, setup=SETUP, append=("ramdisk_size=98304",))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CHECKS)
def test_same_in_the_kernel(results: Results, name: str) -> None:
    matrix.same(results, name)
