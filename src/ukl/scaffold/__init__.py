# SPDX-License-Identifier: GPL-2.0
"""Creates new projects: a program that runs, a `ukl.toml`, and its schema for editors.

Each language has a directory with templates next to this file. The project's name replaces
`@NAME@` in the names and contents of its files. The licence line is not copied.
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
"""Name of a language -> directory of its templates."""

KERNEL_SIDE = "kernel-side"
"""A program in C with kernel code, in the place of a language."""

_DIRECTORIES = {**LANGUAGES, KERNEL_SIDE: "kernel_side"}

PLACEHOLDER = "@NAME@"
HERE = Path(__file__).resolve().parent

_LICENCE = re.compile(r"\A\S+ SPDX-License-Identifier: \S+\n\n?")
# A valid name of a crate, a Go module and a C file.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def contents(name: str, language: str) -> dict[str, str]:
    """Return path -> text of a new project's files, including the schema.

    InputError if the name is not valid for all languages.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise InputError(
            f"{name!r} is not a valid project name",
            remedy=f"use at most {NAME_LIMIT} letters, digits, _ and -, beginning with a letter",
        )
    top = HERE / _DIRECTORIES[language]
    files = {
        path.relative_to(top).as_posix().replace(PLACEHOLDER, name): _text(path, name)
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.parent.name != "__pycache__"
    }
    return {**files, models.SCHEMA_FILE: models.text(manifest.schema())}


def _text(path: Path, name: str) -> str:
    return _LICENCE.sub("", path.read_text()).replace(PLACEHOLDER, name)


def create(directory: Path, language: str) -> list[Path]:
    """Create a project named after its directory; return its files.

    InputError if the directory exists, or its name is not a valid project name.
    """
    files = contents(directory.absolute().name, language)
    if directory.exists() or directory.is_symlink():
        raise InputError(
            "the directory already exists", where=directory, remedy="name a new directory"
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
