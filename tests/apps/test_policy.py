# SPDX-License-Identifier: GPL-2.0
"""A security module has a say in the start: to it, the marker file is a kernel module."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import PROGRAMS, Lab
from ukl.base.model import Outcome
from ukl.settings import manifest

OPTIONS = {"CONFIG_SECURITY": "y", "CONFIG_SECURITY_LOADPIN": "y"}

SCRIPT = """
$UKL exit 21; echo "where modules come from: $?"
mkdir /tmp/m; mount -t tmpfs none /tmp/m
cp $UKL /tmp/m/marker; chmod 755 /tmp/m/marker
/tmp/m/marker exit 21; echo "elsewhere: $?"
dmesg | grep LoadPin:
"""


@pytest.mark.timeout(1500)  # the kernel's build included
@pytest.mark.parametrize(("enforced", "status"), [(0, 21), (1, 126)])
def test_loadpin(lab: Lab, enforced: int, status: int) -> None:
    spec = manifest.load(PROGRAMS / "checks")
    built = lab.build(replace(spec, name="checks-pinned", kernel_options=OPTIONS))
    ran = lab.script(built, SCRIPT, append=("lsm=loadpin", f"loadpin.enforce={enforced}"))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "where modules come from: 21" in ran.lines
    assert f"elsewhere: {status}" in ran.lines, ran.text
    assert "kernel-module" in ran.text
