# SPDX-License-Identifier: GPL-2.0
"""`--dry-run` of a whole build with an empty cache: commands, and nothing done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli

pytestmark = pytest.mark.tool


def entries(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("*/*") if path.parent.name != "locks"]


@pytest.mark.parametrize("verb", ["run", "build"])
def test_nothing_is_done(cli: Cli, need: Callable[..., None], tmp_path: Path, verb: str) -> None:
    need("gcc", "ld")
    (tmp_path / "server.c").write_text("int main(void) { return 0; }\n")
    cache = tmp_path / "a-cache"
    argv = ("--cache-dir", str(cache), verb, "--dry-run", str(tmp_path / "server.c"))
    done = cli(*argv, "--json")
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    [unit] = [step for step in steps if step["title"] == "compile server.c"]
    assert unit["commands"][0]["argv"][-4:-2] == ["-c", "server.c"]
    assert unit["commands"][0]["directory"] == str(tmp_path)
    assert steps[-1]["title"] == "the rest"
    assert entries(cache) == []
    assert "gcc" in cli(*argv).stdout
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_said(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--dry-run", str(tmp_path / "nothing.c"))
    assert done.returncode == 4
    assert "no such file" in done.stderr
