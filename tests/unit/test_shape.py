# SPDX-License-Identifier: GPL-2.0
"""What all code has in common, and all verbs.

Files, functions and values have a size that one can take in, and who imports whom goes one way.
Verbs have JSON where there is a result, and colours on terminals only.
"""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from tests import layout
from tests.conftest import TOP, Cli
from ukl.cli.app import app

# --- sizes ----------------------------------------------------------------------------

LINES_OF_A_FILE = 600
LINES_OF_A_FUNCTION = 80
PARAMETERS = 8
FIELDS = 16

_VERB = "typer makes the options of a verb of its parameters"

MANY_PARAMETERS: Mapping[str, str] = {
    "cli.bench._verb.measure": _VERB,
    "cli.compose.up": _VERB,
    "cli.kernel.trim": _VERB,
    "cli.package.package": _VERB,
    "cli.run.run": _VERB,
    "cli.selftest.selftest": _VERB,
}
MANY_FIELDS: Mapping[str, str] = {
    "base.model.AppSpec": "all that ukl.toml says; who takes it over names what it reads",
}
"""What is larger, and why. An entry that is not needed fails as one does that is missing."""


@cache
def definitions() -> list[tuple[str, ast.AST]]:
    """Return name and node of each function and class."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield f"{name}.{inner.name}", inner
                yield from walk(inner, f"{name}.{inner.name}")
            else:
                yield from walk(inner, name)

    return [each for module, tree in layout.trees().items() for each in walk(tree, module)]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many values a call can give."""
    given = function.args
    named = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    more = (given.vararg, given.kwarg)
    return len(set(named) - {"self", "cls"}) + sum(1 for each in more if each is not None)


def is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.dump(each) for each in node.decorator_list)


def test_files_are_short() -> None:
    texts = [each for each in layout.SOURCE.rglob("*") if each.suffix in {".py", ".c", ".h", ".S"}]
    texts += (TOP / "guest").rglob("*.[ch]")
    long = {
        str(file.relative_to(TOP))
        for file in texts
        if len(file.read_text().splitlines()) > LINES_OF_A_FILE
    }
    assert long == set()


def test_functions_are_short_and_take_few_values() -> None:
    found = [
        (name, node)
        for name, node in definitions()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    lines = {name: (node.end_lineno or node.lineno) - node.lineno + 1 for name, node in found}
    assert {name for name, count in lines.items() if count > LINES_OF_A_FUNCTION} == set()
    assert {name for name, node in found if parameters(node) > PARAMETERS} == set(MANY_PARAMETERS)


def test_values_have_few_fields() -> None:
    fields = {
        name: sum(1 for each in node.body if isinstance(each, ast.AnnAssign))
        for name, node in definitions()
        if isinstance(node, ast.ClassDef) and is_dataclass(node)
    }
    assert {name for name, count in fields.items() if count > FIELDS} == set(MANY_FIELDS)


# --- who imports whom ---------------------------------------------------------------------


def test_nothing_imports_itself_in_a_circle() -> None:
    assert layout.circle(layout.modules()) == []
    assert layout.circle(layout.packages()) == []


def test_imports_lead_down() -> None:
    rows = layout.rows()
    assert {each.parent.name for each in layout.SOURCE.glob("*/__init__.py")} == set(rows)
    up = [
        f"{name} -> {other}"
        for name, others in layout.packages().items()
        for other in others
        if name in rows and other in rows and rows[name] >= rows[other]
    ]
    assert up == [], "move what both need down, or the package in tests/layout.py"


def test_values_and_descriptions_are_below_what_does_things() -> None:
    """What is said in CONTRIBUTING.md and in docs/design/toolchain.md of some packages."""
    packages = layout.packages()
    assert packages["base"] <= {"ukl"}
    assert packages["elf"] <= {"base"}
    assert packages["syscalls"] <= {"base", "elf"}
    assert packages["debug"] <= {"base", "elf", "host"}
    assert packages["settings"] <= {"base", "guest", "host"}


def test_the_picture_is_that_of_the_imports() -> None:
    assert layout.PICTURE.read_text() == layout.picture(), "python -m tests.layout"


def test_the_guests_files_call_each_other_one_way() -> None:
    header = (TOP / "guest/init.h").read_text()
    owner: dict[str, str] = {}
    for part in re.split(r"^/\* (?=\w+\.c \*/$)", header, flags=re.MULTILINE)[1:]:
        file = part.partition(" ")[0]
        owner |= dict.fromkeys(re.findall(r"^\w[^(\n]*?(\w+)\(", part, re.MULTILINE), file)
    calls: dict[str, frozenset[str]] = {}
    for source in sorted((TOP / "guest").glob("*.c")):
        words = set(re.findall(r"\b(\w+)\(", source.read_text()))
        calls[source.name] = frozenset(owner[word] for word in words & owner.keys()) - {source.name}
    assert calls["init.c"] >= {"agent.c", "child.c", "run.c", "status.c"}
    assert layout.circle(calls) == []


# --- verbs ------------------------------------------------------------------------------

NO_JSON = {
    "bench report",
    "compose logs",
    "exec",
    "shell",
    "top",
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


def test_json_of_what_takes_no_time(cli: Cli) -> None:
    assert json.loads(cli("cache", "clean", "--json").stdout) == {"deleted": [], "left": 0}
    assert json.loads(cli("rm", "--ended", "--json").stdout) == {"removed": []}
    assert json.loads(cli("ps", "--json").stdout) == []
    assert "CC" in json.loads(cli("wrap", "--json").stdout)
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


@pytest.mark.process
def test_colours(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With nothing in PATH, so that no accelerator is tried.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UKL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert b"\x1b[3" in on_terminal("doctor")
    assert b"\x1b[3" in on_terminal("doctor", NO_COLOR="")
    assert b"\x1b[3" not in on_terminal("doctor", NO_COLOR="1")
    assert "\x1b" not in cli("doctor").stdout
