# SPDX-License-Identifier: GPL-2.0
"""Explains a failed link: names the libraries that are installed as shared objects only."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ukl.app.link import PACKAGES, missing_library
from ukl.base.errors import InputError
from ukl.host import packages
from ukl.wrap import ld_arguments

DEFAULT_DIRECTORIES = (
    "/usr/local/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/lib",
    "/usr/lib",
)
"""Where Debian's ld searches after the directories of -L (ld --verbose)."""


def main() -> None:
    """Read ld's arguments from stdin (separated by NUL) and print the missing archives."""
    words = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")
    link = ld_arguments.Link(words)
    for name, shared in shared_only(link, DEFAULT_DIRECTORIES):
        error = explain(name, shared)
        print(f"ukl: error: {link.output}: {error.message}", file=sys.stderr)
        print(f"  remedy: {error.remedy}", file=sys.stderr)


def shared_only(link: ld_arguments.Link, defaults: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each library without a static archive where ld searches."""
    directories = [
        item.value for item in link.items if item.name in {"L", "library-path"} and item.value
    ]
    searched = [*directories, *defaults]
    seen: set[str] = set()
    for item in link.items:
        if item.name == "" and ld_arguments.archive_of(item.value):
            path = Path(item.value)
            yield path.name.partition(".so")[0].removeprefix("lib"), path
        elif item.name in {"l", "library"} and item.value not in seen and item.value[:1] != ":":
            seen.add(item.value)
            if shared := _shared(item.value, searched):
                yield item.value, shared


def _shared(name: str, directories: Sequence[str]) -> Path | None:
    """Return the shared object that ld would use without -static, if there is no archive."""
    if any(Path(directory, f"lib{name}.a").exists() for directory in directories):
        return None
    for directory in directories:
        path = Path(directory, f"lib{name}.so")
        if path.exists():
            return path
    return None


def explain(name: str, shared: Path) -> InputError:
    """Return the error about a library without an archive; the remedy says how to get one."""
    error = missing_library(name, shared, Path())
    if name in PACKAGES:
        return error
    package = packages.owners([str(shared)])[str(shared)]
    if package is None:
        error.remedy = (
            f"build it as a static archive (./configure --enable-static, cmake "
            f"-DBUILD_SHARED_LIBS=OFF, meson -Ddefault_library=static): lib{name}.a"
        )
    elif not any(file.endswith(f"/lib{name}.a") for file in packages.files(package)):
        error.remedy = (
            f"the package {package} has no lib{name}.a: build the library from source with "
            "ukl-cc as a static archive, or configure the program without it"
        )
    return error
