# SPDX-License-Identifier: GPL-2.0
"""What all verbs have in common: JSON where there is a result, colours on terminals only."""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.conftest import TOP, Cli
from ukl.cli.app import app

NO_JSON = {
    "bench report",
    "compose logs",
    "exec",
    "shell",
    "cp",
    "gdb",
    "drgn",
    "trace",
    "logs",
    "completion",
    "man",
    "schema",
}
"""Verbs whose output is another program's, or text or a file by nature."""


def verbs() -> Iterator[tuple[str, Any]]:
    """Yield the words of each verb, and its command."""

    def walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        if not inner:
            yield words, command
        for name, each in inner.items():
            yield from walk(each, f"{words} {name}".strip())

    yield from walk(typer.main.get_command(app), "")


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*each, id=each[0]) for each in verbs()]
)
def test_json(words: str, command: Any) -> None:
    names = {name for parameter in command.params for name in parameter.opts}
    assert ("--json" in names) == (words not in NO_JSON)


def test_json_of_what_takes_no_time(cli: Cli, tmp_path: Path) -> None:
    assert json.loads(cli("cache", "clean", "--json").stdout) == {"deleted": [], "left": 0}
    assert json.loads(cli("rm", "--ended", "--json").stdout) == {"removed": []}
    assert json.loads(cli("ps", "--json").stdout) == []
    assert "CC" in json.loads(cli("wrap", "--json").stdout)
    files = json.loads(cli("kernel", "export", "--json").stdout)["files"]
    assert [Path(tmp_path, name).is_file() for name in files] == [True] * len(files)
    assert cli("wrap", "--json", "--", "true").returncode == 2


def on_terminal(*argv: str, **env: str) -> bytes:
    """Return what `ukl` writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "PYTHONPATH": str(TOP / "src"), "TERM": "xterm", **env}
        os.execve(sys.executable, [sys.executable, "-m", "ukl", *argv], environment)
    seen = b""
    try:
        while True:
            seen += os.read(terminal, 4096)
    except OSError:  # its end
        os.close(terminal)
    os.waitpid(pid, 0)
    return seen


def test_colours(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = {"UKL_CACHE_DIR": str(tmp_path / "cache")}
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert b"\x1b[3" in on_terminal("doctor", **cache)
    assert b"\x1b[3" in on_terminal("doctor", NO_COLOR="", **cache)
    assert b"\x1b[3" not in on_terminal("doctor", NO_COLOR="1", **cache)
    assert "\x1b" not in cli("doctor").stdout
