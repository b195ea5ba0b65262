# SPDX-License-Identifier: GPL-2.0
"""New projects: a program that runs at once, and a `ukl.toml` that editors understand.

Each language is a directory beside this file. In names and contents of its files `@NAME@`
stands for the project's name; the licence line is this repository's and stays behind.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ukl.base.errors import InputError
from ukl.settings import manifest, models
from ukl.settings.values import NAME_LIMIT

LANGUAGES: Mapping[str, str] = {
    "c": "c",
    "c++": "cxx",
    "go": "go",
    "python": "python",
    "rust": "rust",
}
"""What a person calls a language, and the directory of its files."""

PLACEHOLDER = "@NAME@"
HERE = Path(__file__).resolve().parent

_LICENCE = re.compile(r"\A\S+ SPDX-License-Identifier: \S+\n\n?")
# What a crate, a Go module and a C file may all be called.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def contents(name: str, language: str) -> dict[str, str]:
    """Return path -> text of a new project's files, the schema among them.

    InputError for a name that not every tool takes.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise InputError(
            f"{name!r} cannot be a project's name",
            remedy=f"use letters, digits, _ and -, a letter first, at most {NAME_LIMIT} of them",
        )
    top = HERE / LANGUAGES[language]
    files = {
        path.relative_to(top).as_posix().replace(PLACEHOLDER, name): _text(path, name)
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.parent.name != "__pycache__"
    }
    return {**files, models.PLACE: models.text(manifest.schema())}


def _text(path: Path, name: str) -> str:
    return _LICENCE.sub("", path.read_text()).replace(PLACEHOLDER, name)


def create(directory: Path, language: str) -> list[Path]:
    """Make a project that is called as its directory; return its files.

    InputError if the directory is there already, or its name cannot be a project's.
    """
    files = contents(directory.absolute().name, language)
    if directory.exists() or directory.is_symlink():
        raise InputError(
            "this is there already", where=directory, remedy="name a directory that is not"
        )
    made = []
    try:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            made.append(path)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return made
