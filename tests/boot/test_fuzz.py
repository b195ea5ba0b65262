# SPDX-License-Identifier: GPL-2.0
"""Whatever processes of an ordinary user do, they neither harm nor enter the application.

One minute of what tests/apps does for ten, and in the debug kernel. A failure names its
seed; UKL_FUZZ_SEED has the same things tried again.
"""

from __future__ import annotations

import re

import pytest

from tests.boot import fuzz
from tests.boot.harness import Lab
from tests.boot.kernels import FULL

SECONDS = 60


@pytest.mark.timeout(2400)
def test_attackers_find_nothing(lab: Lab) -> None:
    built = fuzz.build(lab, "fuzz", FULL)
    fuzzed = fuzz.run(lab, built, SECONDS, seed=fuzz.new_seed())
    actions = fuzz.judge(fuzzed)
    # All of them were there, and so was the application, to start and to attack.
    assert len(actions) > 30, fuzzed.text
    assert all(actions.values()), fuzzed.text
    for what in (r"victims: [1-9]\d* started", r"attackers' starts: [1-9]"):
        assert re.search(f"^{what}", fuzzed.ran.text, re.MULTILINE), fuzzed.text
