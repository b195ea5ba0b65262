# SPDX-License-Identifier: GPL-2.0
"""Tests of Go's own packages, those that ask most of the kernel, as unikernel and as process."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot import wrapped
from tests.boot.harness import Lab, mode_of
from tests.conftest import OPTIONAL
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

TIMEOUT = 600
PATIENCE = "-test.timeout=500s"
"""Without it some tests think that what takes 2 s has been lost, which a busy machine does."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("package", ["context", "os/signal", "sync"])
def test_package(lab: Lab, tmp_path: Path, package: str) -> None:
    if not shutil.which("go"):
        pytest.skip(f"{OPTIONAL} no go on this machine")
    name = f"go-{package.replace('/', '-')}"
    built = wrapped.build(lab, tmp_path, name, "go", "test", "-c", "-o", name, package)
    built = replace(built, spec=replace(built.spec, memory=512 << 20))
    found = []
    for user in (False, True):
        options = Options(Guest(mode=mode_of(user), timeout=TIMEOUT))
        ran = lab.run(built, "-test.short", "-test.v", PATIENCE, cpus=2, options=options)
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
        ends = re.findall(r"^--- (\w+): (\S+) ", ran.text, re.MULTILINE)
        assert any(how == "PASS" for how, _ in ends), ran.text
        found.append(sorted(ends))
    assert found[0] == found[1]
