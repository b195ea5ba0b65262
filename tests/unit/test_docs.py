# SPDX-License-Identifier: GPL-2.0
"""The reference says what is so: every exit code, option and key is in it, and no other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests import tables
from tests.conftest import TOP
from tests.typed import commands, root, unknown
from ukl.base.errors import ExitCode
from ukl.settings import manifest

REFERENCE = TOP / "docs" / "reference"

PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]

OTHERS = {"--disable-shared"}
"""Options of other programs that the reference of the command line names."""


def options() -> set[str]:
    """Return the long options of all verbs that are shown."""
    found: set[str] = set()

    def walk(command: object) -> None:
        for parameter in getattr(command, "params", []):
            if not getattr(parameter, "hidden", False):
                names = [*parameter.opts, *parameter.secondary_opts]
                found.update(name for name in names if name.startswith("--"))
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    walk(root())
    return found


def test_options() -> None:
    """All are in the page that is made; the page by hand names none that is not there."""
    text = (REFERENCE / "cli.md").read_text()
    documented = set(re.findall(r"`[^`\n]*`", text))
    named = {
        name for words in documented for name in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", words)
    }
    assert named - options() <= {"--version", "--help"} | OTHERS


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_commands_exist(file: Path) -> None:
    """What a page tells to type is there: each verb, and each of its options."""
    wrong = {line: found for line in commands(file.read_text()) if (found := unknown(line))}
    assert wrong == {}


def test_a_command_that_is_wrong_is_found() -> None:
    assert unknown("./ukl runn hello") == ["runn"]
    assert unknown("ukl run --levle fast hello -- --own") == ["--levle"]
    assert unknown("ukl kernel try --json x") == []
    assert unknown("ukl kernel try --full x") == ["--full"]
    text = "    ./ukl run --lto a   # --no\n$ ukl ps\nukl: error\n    ukl [X]\n"
    assert list(commands(text)) == ["./ukl run --lto a", "ukl ps"]


def test_exit_codes() -> None:
    text = (REFERENCE / "exit-codes.md").read_text()
    codes = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", text)}
    assert codes == {int(code) for code in ExitCode}


def test_tables_of_keys() -> None:
    """If this fails: python -m tests.tables."""
    for page, content in tables.pages().items():
        assert page.read_text() == content


def test_the_example_is_right(tmp_path: Path) -> None:
    text = (REFERENCE / "ukl-toml.md").read_text()
    [example] = re.findall(r"(?s)```toml\n(.*?)```", text)
    for name in ("main.c", "http.c", "server.conf"):
        (tmp_path / name).touch()
    (tmp_path / "ukl.toml").write_text(example)
    spec = manifest.load(tmp_path)
    assert spec.name == "server"
    assert set(tomllib.loads(example)) == {"app", "compile", "link", "run", "kernel"}


@pytest.mark.parametrize("file", sorted({*PAGES, *TOP.glob("*.md")}), ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    """In the repository as it is; the site's links are tested with the site."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
        assert (file.parent / target).exists(), target
