# SPDX-License-Identifier: GPL-2.0
"""Threads, signals, page faults, timers, fork, NMIs and CPU hotplug, all at once and counted.

Twenty seconds of what tests/apps does for minutes, and in the debug kernel.
"""

from __future__ import annotations

import pytest

from tests.boot import stress
from tests.boot.harness import Lab
from tests.boot.kernels import FULL

SECONDS = 20


@pytest.mark.timeout(900)
def test_all_counters_agree(lab: Lab) -> None:
    built = stress.build(lab, "stress", FULL)
    stress.judge(stress.run(lab, built, SECONDS))
