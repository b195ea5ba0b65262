# SPDX-License-Identifier: GPL-2.0
"""A mistake of the kernel's on behalf of an application is an oops, and no signal of its own."""

from __future__ import annotations

import pytest

from tests.boot import test_kselftest
from tests.boot.harness import Lab
from ukl.base.model import Outcome

SCRIPT = """
echo 0 > /proc/sys/kernel/panic_on_oops
mount -t debugfs none /sys/kernel/debug
$UKL null; echo "ended: $?"
dmesg | grep -E 'BUG:|Oops|segfault' | sed 's/^/log: /'
"""


@pytest.mark.timeout(1500)  # the kernel's build included
def test_a_jump_of_the_kernel_to_null(lab: Lab) -> None:
    ran = lab.script(test_kselftest.build(lab), SCRIPT)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "log: " in ran.text
    assert "BUG: kernel NULL pointer dereference" in ran.text
    assert "segfault" not in ran.text
    # Nothing of the application has run since: SIGKILL, not its handler of SIGSEGV.
    assert "ended: 137" in ran.text, ran.text


@pytest.mark.timeout(1500)
def test_panic_on_oops(lab: Lab) -> None:
    ran = lab.script(test_kselftest.build(lab), SCRIPT.replace("echo 0", "echo 1"))
    assert ran.result.outcome is Outcome.PANICKED, ran.text
