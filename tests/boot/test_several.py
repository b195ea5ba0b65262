# SPDX-License-Identifier: GPL-2.0
"""Several applications in one kernel: each is started by its own marker file, with its own data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.boot.harness import Built, Lab
from ukl.base.model import Outcome
from ukl.settings import manifest


@pytest.fixture(scope="module")
def both(lab: Lab) -> Built:
    """Return the checks (C and C++ runtime state of many kinds), with two examples beside."""
    others = (manifest.resolve("hello"), manifest.resolve("ring0"))
    spec = replace(lab.program("checks").spec, with_=others)
    return lab.build(replace(spec, name="first"))


def test_each_has_its_marker_and_its_data(lab: Lab, both: Built) -> None:
    ran = lab.script(
        both,
        "ls /sys/kernel/ukl\n"
        "/ukl/hello one; echo hello $?\n"
        "/user/hello one; echo hello $?\n"
        "/ukl/ring0; echo ring0 $?\n"
        "$UKL threads; echo threads $?\n"
        "$UKL fork; echo fork $?\n"
        "/ukl/hello & $UKL exit 3; echo exit $?; wait; echo all\n",
    )
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    words = ran.text.split("\n")
    assert {"first", "hello", "ring0"} <= set(ran.text.split()), ran.text
    for line in ("hello 0", "ring0 0", "threads 0", "fork 0", "exit 3", "all"):
        assert line in [word.strip() for word in words], (line, ran.text)
    assert ran.text.count("hello 0") == 2


def test_one_starts_the_other(lab: Lab, both: Built) -> None:
    """By fork() and execve(), and by vfork() and execve(), of the other's marker file."""
    ran = lab.script(both, "CHECKS=/ukl/hello $UKL exec; echo exec $?; $UKL exit 4; echo exit $?")
    assert ran.text.count("argv[0]: /ukl/hello") == 2, ran.text
    assert ran.text.count("ourselves: 0") == 2, ran.text
    assert "exec 0" in ran.text, ran.text
    assert "exit 4" in ran.text, ran.text


def test_the_data_of_one_is_not_in_the_other(lab: Lab, both: Built) -> None:
    ran = lab.script(both, "$UKL hang & sleep 1; cat /proc/$!/maps; kill -9 $!")
    assert "ukl:first" in ran.text, ran.text
    assert "ukl:hello" not in ran.text, ran.text
