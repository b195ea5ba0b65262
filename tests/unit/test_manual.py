# SPDX-License-Identifier: GPL-2.0
"""Manual pages: every verb and option has its place, and man(1) finds nothing wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from tests.conftest import OPTIONAL, Cli
from tests.unit.test_docs import options
from ukl.base.errors import ExitCode
from ukl.cli import manual
from ukl.cli.app import app

PAGES = manual.pages(typer.main.get_command(app))


def test_every_option_is_somewhere() -> None:
    text = "\n".join(PAGES.values()).replace("\\-", "-")
    assert {name for name in options() if name not in text} == set()
    assert {"ukl", "ukl-run", "ukl-kernel", "ukl-kernel-build", "ukl-cp"} <= set(PAGES)


def test_help_has_both_names() -> None:
    assert all("\\-h, \\-\\-help" in text for text in PAGES.values())


def test_hidden_options_stay_hidden() -> None:
    assert "icount" not in PAGES["ukl-run"]


def test_exit_codes() -> None:
    assert set(manual.EXITS) == set(ExitCode)


@pytest.mark.process
def test_man_reads_them(tmp_path: Path) -> None:
    """All in one process: what it complains of has the name of the page."""
    if shutil.which("groff") is None:
        pytest.skip(f"{OPTIONAL} no groff on this machine")
    for name, text in PAGES.items():
        (tmp_path / f"{name}.1").write_text(text)
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-P-cbou", *(f"{name}.1" for name in PAGES)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    heads = re.findall(
        r"^(\S+)\(1\) .*\n+NAME\n(?: .*\n+)+SYNOPSIS\n(?: .*\n+)+DESCRIPTION\n",
        done.stdout,
        re.MULTILINE,
    )
    assert heads == [name.upper() for name in PAGES]


def test_what_roff_would_read_otherwise_is_text() -> None:
    assert manual._line(".x -- 'y' \\z") == "\\&.x \\-\\- \\(aqy\\(aq \\ez"


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    assert cli("man", "kernel", "build").stdout == PAGES["ukl-kernel-build"]
    assert cli("man", "nothing").returncode == 4
    done = cli("man", "--output", "share")
    assert done.stdout.split() == [f"share/man1/{name}.1" for name in PAGES]
    assert (tmp_path / "share/man1/ukl-run.1").read_text() == PAGES["ukl-run"]
