# SPDX-License-Identifier: GPL-2.0
"""The documentation as a site: it can be built without a complaint, and has what code says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import typer

from docs._hooks import pages
from tests.conftest import TOP
from ukl.cli.app import app
from ukl.host import exec as host_exec
from ukl.settings import compose, manifest

IMAGES = TOP / "docs" / "images"
GALLERY = TOP / "docs" / "gallery"


@pytest.mark.process
def test_it_can_be_built(tmp_path: Path) -> None:
    """A link that leads nowhere, an anchor that is none, a page in no menu: each is an error."""
    done = host_exec.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=TOP,
        env={
            "PYTHONPATH": str(TOP / "src"),
            "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
            "NO_MKDOCS_2_WARNING": "1",
        },
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    for page in ("index", "tutorial/redis", "reference/commands", "reference/ukl-toml-keys"):
        assert (tmp_path / f"{page}.html").stat().st_size > 1000, page
    assert "--bootchart" in (tmp_path / "reference" / "commands.html").read_text()
    front = (tmp_path / "index.html").read_text()
    assert "<!-- README" not in front
    assert "./ukl run tcp-echo" in re.sub(r"<[^>]+>", "", front)
    gallery = (tmp_path / "gallery.html").read_text()
    for file in GALLERY.glob("*.json"):
        assert list((tmp_path / "gallery" / file.stem).glob("*.svg")), file
        assert f'src="gallery/{file.stem}/' in gallery, f"gallery.md does not show {file.name}"
        assert not (tmp_path / "gallery" / file.name).exists()
    assert not (tmp_path / "_hooks").exists()


def test_pages_ask_no_other_host() -> None:
    """Neither for fonts nor for scripts: what a browser loads is in the site."""
    text = (TOP / "mkdocs.yml").read_text()
    assert "font: false" in text
    assert "http" not in text


def test_the_picture_is_the_same_in_the_dark() -> None:
    """Both files differ in their colours alone."""
    light, dark = (
        re.sub(r"#[0-9a-f]{6}", "", (IMAGES / f"ukl-{scheme}.svg").read_text())
        for scheme in ("light", "dark")
    )
    assert light == dark


@pytest.mark.parametrize("file", sorted(GALLERY.glob("*.json")), ids=lambda file: file.name)
def test_samples_are_of_a_commit(file: Path) -> None:
    """What is shown can be measured again: nothing was changed and not committed."""
    commit = json.loads(file.read_text())["environment"]["commit"]
    assert re.fullmatch(r"[0-9a-f]{12,40}", commit)


def test_verbs_and_keys() -> None:
    page = pages.commands(typer.main.get_command(app))
    for words in ("## `ukl run`", "## `ukl kernel build`", "`-e, --execute CODE`"):
        assert words in page, words
    assert "    ukl run [OPTIONS] [TARGET] [-- ARGS]\n" in page
    assert "| `TARGET` |" in page
    assert "--icount" not in page  # hidden
    assert "`--help`" not in page  # each has it
    page = pages.keys("ukl.toml", manifest.schema())
    assert "| `run.memory` | string or integer |" in page
    assert "| `build.source.debian` | string |" in page
    page = pages.keys("compose.toml", compose.schema())
    assert "| `services.NAME.target` | string |" in page


def test_options_that_verbs_share_are_shown_once() -> None:
    page = pages.commands(typer.main.get_command(app))
    assert page.count("| `--rounds N` |") == 1
    assert "Options: those of [`ukl bench syscalls`](#ukl-bench-syscalls)." in page


def test_links_out_of_the_site_are_plain() -> None:
    text = "[a](b.md#c) [`k`](../../kernel/config/base.config) [w](https://example.org) [t](#x)"
    directory = Path("howto")
    assert pages.within(text, directory) == ("[a](b.md#c) `k` [w](https://example.org) [t](#x)")


def test_parts_of_the_readme_have_the_links_of_a_page() -> None:
    for title in ("Is it for you?", "Try it", "In numbers", "What works", "Where to go next"):
        text = pages.section(title)
        assert len(text) > 100
        assert "](docs/" not in text
    assert "](why.md)" in pages.section("Is it for you?")
