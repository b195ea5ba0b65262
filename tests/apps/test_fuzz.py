# SPDX-License-Identifier: GPL-2.0
"""The attacks of the boot tests for ten minutes, and in the kernel that checks itself."""

from __future__ import annotations

import pytest

from tests.boot import fuzz
from tests.boot.harness import Lab
from tests.boot.kernels import FULL

LONG = 600
"""Seconds of attacks."""


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("profile", ["", "debug"])
def test_attackers_find_nothing(lab: Lab, profile: str) -> None:
    built = fuzz.build(lab, f"fuzz-{profile}" if profile else "fuzz", FULL, profile)
    print(fuzz.judge(fuzz.run(lab, built, LONG, seed=fuzz.new_seed())))
