# SPDX-License-Identifier: GPL-2.0
"""The kernel's unit tests (arch/x86/ukl/kunit.c), which run at boot if the command line says so."""

from __future__ import annotations

import re

import pytest

from tests.boot import test_kselftest
from tests.boot.harness import Lab
from ukl.base.model import Outcome

FILE = "arch/x86/ukl/kunit.c"


@pytest.mark.timeout(1500)  # the kernel's build included
def test_unit_tests_of_the_kernel(lab: Lab) -> None:
    built = test_kselftest.build(lab)
    wanted = re.findall(r"KUNIT_CASE\((\w+)\)", (built.spec.directory / _up(FILE)).read_text())
    ran = lab.script(
        built,
        "mount -t debugfs none /sys/kernel/debug\ncat /sys/kernel/debug/kunit/ukl/results\n",
        append=("kunit.enable=1", "kunit.autorun=1"),
    )
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    passed = re.findall(r"^\s+ok \d+ (\w+)$", ran.text, re.MULTILINE)
    assert passed == wanted, ran.text
    assert len(wanted) > 10
    assert re.search(r"^\s*ok \d+ ukl$", ran.text, re.MULTILINE), ran.text
    assert "not ok" not in ran.text


def _up(path: str) -> str:
    """Return a path of the kernel's tree, from the selftest's directory."""
    return f"../../../../{path}"
