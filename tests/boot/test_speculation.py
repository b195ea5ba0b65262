# SPDX-License-Identifier: GPL-2.0
"""Others do not train the branch predictor for an application, and /sys says what is so.

QEMU's TCG announces no barrier, and ignores the register that it is made by: a parameter
of the kernels for tests (arch/x86/ukl/test.c) lets the kernel believe that there is one.
"""

from __future__ import annotations

import re

import pytest

from tests.boot import test_kselftest
from tests.boot.harness import Lab
from ukl.base.model import Outcome

SCRIPT = """
told() { sed -n "s/^SpeculationIndirectBranch:[[:space:]]*/$1: /p" /proc/$2/status; }
$UKL sleep 5 & sleep 1; told application $!; kill $!
sleep 5 & told process $!; kill $!
echo "spectre_v2: $(cat /sys/devices/system/cpu/vulnerabilities/spectre_v2)"
"""


def said(lab: Lab, *append: str) -> dict[str, str]:
    """Return what the kernel says of speculation: of an application, a process, the CPU."""
    ran = lab.script(test_kselftest.build(lab), SCRIPT, append=append)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    return dict(re.findall(r"^(application|process|spectre_v2): (.*)$", ran.text, re.MULTILINE))


@pytest.mark.timeout(1500)  # the kernel's build included
def test_with_a_barrier(lab: Lab) -> None:
    found = said(lab, "ukl_test_ibpb")
    assert found["application"] == "conditional disabled"
    assert found["process"] == "conditional enabled"
    assert "IBPB: conditional" in found["spectre_v2"]
    assert found["spectre_v2"].endswith("; UKL: IBPB")


@pytest.mark.timeout(1500)
def test_without_one(lab: Lab) -> None:
    assert said(lab)["spectre_v2"].endswith("; UKL: Vulnerable")
