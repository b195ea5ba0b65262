# SPDX-License-Identifier: GPL-2.0
"""The documentation as a site: it can be built without a complaint, and has what code says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer

from tests.conftest import TOP
from ukl import site
from ukl.cli.app import app
from ukl.host import exec as host_exec
from ukl.settings import compose, manifest


@pytest.mark.process
def test_it_can_be_built(tmp_path: Path) -> None:
    """A link that leads nowhere, an anchor that is none, a page in no menu: each is an error."""
    done = host_exec.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=TOP,
        env={"PYTHONPATH": str(TOP / "src"), "MPLCONFIGDIR": str(tmp_path / "matplotlib")},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    for page in ("index", "tutorial/redis", "reference/commands", "reference/ukl-toml-keys"):
        assert (tmp_path / f"{page}.html").stat().st_size > 1000, page
    assert "--bootchart" in (tmp_path / "reference" / "commands.html").read_text()
    for file in (TOP / "docs" / "gallery").glob("*.json"):
        assert list((tmp_path / "gallery" / file.stem).glob("*.svg")), file
        assert not (tmp_path / "gallery" / file.name).exists()


def test_verbs_and_keys() -> None:
    page = site.commands(typer.main.get_command(app))
    for words in ("## `ukl run`", "## `ukl kernel build`", "`-e, --execute CODE`"):
        assert words in page, words
    assert "--icount" not in page  # hidden
    page = site.keys("ukl.toml", manifest.schema())
    assert "| `run.memory` | string or integer |" in page
    assert "| `build.source.debian` | string |" in page
    page = site.keys("compose.toml", compose.schema())
    assert "| `services.NAME.target` | string |" in page


def test_links_out_of_the_site_are_plain() -> None:
    text = "[a](b.md#c) [`k`](../../kernel/config/base.config) [w](https://example.org) [t](#x)"
    directory = Path("howto")
    assert site.within(text, directory) == ("[a](b.md#c) `k` [w](https://example.org) [t](#x)")
