# SPDX-License-Identifier: GPL-2.0
"""What runs elsewhere calls what is here: the workflow, and the hooks of pre-commit."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

import yaml

from tests.conftest import TOP
from tests.typed import unknown
from ukl.flow.selftest import LINTERS

TOOLS = {"apt-get", "git"}
"""Of the image, or installed by the workflow itself."""


def read(name: str) -> Any:
    return yaml.safe_load((TOP / name).read_text())


def steps() -> list[dict[str, Any]]:
    jobs = read(".github/workflows/test.yml")["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_commands_of_the_workflow_exist() -> None:
    lines = [line for step in steps() for line in step.get("run", "").splitlines()]
    called = [part.strip() for line in lines for part in line.split("&&")]
    assert "./ukl selftest --lint --unit" in called
    assert ".ci/run" in called
    for command in called:
        first = shlex.split(command)[0]
        if first == "./ukl":
            assert unknown(command) == [], command
        else:
            assert first in TOOLS or os.access(TOP / first, os.X_OK), command


def test_actions_are_pinned() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


def test_the_workflow_may_read_and_nothing_else() -> None:
    found = read(".github/workflows/test.yml")
    assert found["permissions"] == {"contents": "read"}
    for job in found["jobs"].values():
        assert "permissions" not in job
        assert job["container"] == "debian:12"


def test_hooks_are_the_linters_of_the_selftest() -> None:
    [local] = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    found = {}
    for hook in local["hooks"]:
        words = shlex.split(hook["entry"])
        assert words[:3] == ["uv", "run", "--frozen"]
        # pre-commit names files that the configuration leaves out.
        rest = [word for word in words[3:] if word != "--force-exclude"]
        found[hook["name"].replace(" ", "-")] = " ".join(rest)
    assert found == LINTERS
