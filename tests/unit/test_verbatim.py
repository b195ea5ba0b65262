# SPDX-License-Identifier: GPL-2.0
"""Where our options end and somebody else's command line begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli
from ukl.cli.verbatim import separated

FLAGS, VALUED = {"--tty", "-t"}, {"--env", "-e", "-w"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("web ls -l", "web -- ls -l"),
        ("web -- ls -l", "web -- ls -l"),
        ("-t web ls -t", "-t web -- ls -t"),
        ("web -t -e A=1 --env=B=2 -eC=3 ls -e x", "web -t -e A=1 --env=B=2 -eC=3 -- ls -e x"),
        ("web -batch -ex bt", "web -- -batch -ex bt"),
        ("web ls -- x", "web -- ls -- x"),
        ("-x web ls", "-x web ls"),
        ("web", "web"),
        ("-e", "-e"),
        ("", ""),
    ],
)
def test_separated(line: str, expected: str) -> None:
    assert separated(line.split(), FLAGS, VALUED) == expected.split()


def test_verbs(cli: Cli, tmp_path: Path) -> None:
    """What is not ours is no unknown option: the guest is what is missing."""
    for tool in ("gdb", "strace"):
        (tmp_path / tool).touch(0o755)
    for words in (
        ["exec", "nobody", "ls", "-l"],
        ["exec", "nobody", "-t", "-e", "A=1", "ls", "--long"],
        ["gdb", "nobody", "-batch", "-ex", "bt"],
        ["drgn", "nobody", "script.py", "--option"],
        ["trace", "nobody", "-y", "-s", "100"],
    ):
        ran = cli(*words, PATH=str(tmp_path))
        expected = 2 if "-t" in words else 4  # no terminal here
        assert ran.returncode == expected, (words, ran.stderr)
        assert "No such option" not in ran.stderr
    assert cli("exec", "--none", "nobody", "ls").returncode == 2
