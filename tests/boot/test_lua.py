# SPDX-License-Identifier: GPL-2.0
"""The recipe of Lua: its scripts, with files and with other processes, pass in the kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import Lab
from ukl.base.model import Outcome, Volume
from ukl.recipe import debian
from ukl.settings import manifest


def test_its_scripts(lab: Lab) -> None:
    spec = manifest.resolve("lua")
    assert spec.suite is not None
    scripts = spec.suite.files["/test"]
    try:
        built = lab.build(spec)
    except debian.Unavailable as error:
        pytest.skip(str(error))
    seen = replace(built.spec, volumes=(Volume(scripts, "/test", read_only=True),))
    ran = lab.run(replace(built, spec=seen), *spec.suite.runs["system"])
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "ok popen" in ran.lines, ran.text
    assert not [line for line in ran.lines if line.startswith("not ok")], ran.text
    ran = lab.run(replace(built, spec=seen), "-e", "print(2 ^ 10, _VERSION)", "-")
    assert "1024.0\tLua 5.4" in ran.lines, ran.text
