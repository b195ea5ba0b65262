# SPDX-License-Identifier: GPL-2.0
"""Virtual machines beside an application: KVM and it load the same registers of the processor.

TCG emulates AMD's extension, so Intel's part (arch/x86/kvm/vmx) is compiled and not run.
"""

from __future__ import annotations

import pytest

from tests.boot import matrix
from tests.boot.harness import Lab
from ukl.base.model import Outcome

SCRIPT = f"""
$UKL machine; echo "as application: $?"
$USER guest 3000 & guest=$!
$UKL work 8 & first=$!
$UKL work 8 & second=$!
wait $guest; echo "guest: $?"
wait $first; echo "first: $?"
wait $second; echo "second: $?"
dmesg | grep -E '{matrix.COMPLAINTS}' | sed 's/^/!!!/'
true
"""


@pytest.mark.timeout(1500)  # the kernel's build included
@pytest.mark.parametrize("cpus", [1, 2])
def test_machines_beside_applications(lab: Lab, cpus: int) -> None:
    ran = lab.script(lab.program("kvm"), SCRIPT, cpus=cpus, timeout=300)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    # EOPNOTSUPP
    assert "no machine: errno 95" in ran.lines
    assert "as application: 0" in ran.lines
    assert "exits: 3000" in ran.lines
    assert ran.lines.count("worked") == 2, ran.text
    for who in ("guest", "first", "second"):
        assert f"{who}: 0" in ran.lines, ran.text
    assert "!!!" not in ran.text
