# SPDX-License-Identifier: GPL-2.0
"""Finds the libraries that static archives refer to, in the files of pkg-config.

A shared object records the libraries that it needs; an archive does not. The distribution's
lib*.pc files do: `Libs` and `Libs.private` name libraries, `Requires` and `Requires.private`
other such files. See pkg-config(1). Runs at every link of a build: imports little.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
"""Directory of the archives that these files describe."""

DIRECTORIES = (f"{LIBRARIES}/pkgconfig", "/usr/share/pkgconfig")

EMPTY = frozenset(("dl", "pthread", "rt"))
"""Libraries that are part of glibc's libc.a."""


def read() -> "dict[str, str]":
    """Return name -> text of the installed files."""
    found = {}
    for directory in DIRECTORIES:
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if name.endswith(".pc"):
                with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as stream:
                    found[name[:-3]] = stream.read()
    return found


class Table:
    """What the files say. Pure."""

    def __init__(self, texts: "Mapping[str, str]") -> None:
        self._libraries: dict[str, list[str]] = {}
        self._requires: dict[str, list[str]] = {}
        self._file_of: dict[str, str] = {}
        for name, text in sorted(texts.items()):
            fields = dict(
                line.split(":", 1) for line in text.splitlines() if ":" in line.partition("=")[0]
            )
            public = _libraries(fields.get("Libs", ""))
            self._libraries[name] = public + _libraries(fields.get("Libs.private", ""))
            required = f"{fields.get('Requires', '')} {fields.get('Requires.private', '')}"
            self._requires[name] = required.replace(",", " ").split()
            # The first library is the file's own; others may be in several files.
            for library in public[:1]:
                self._file_of.setdefault(library, name)

    def needed(self, library: str, exists: "Callable[[str], bool]") -> "list[str]":
        """Return the further libraries that the archive of `library` may refer to.

        Those without an archive are left out: it may have been built without them.
        """
        found: dict[str, None] = {}
        self._add(self._file_of.get(library), found, set())
        return [name for name in found if name != library and exists(f"{LIBRARIES}/lib{name}.a")]

    def _add(self, file: "str | None", found: "dict[str, None]", seen: "set[str]") -> None:
        if file is None or file in seen or file not in self._libraries:
            return
        seen.add(file)
        for name in self._libraries[file]:
            found[name] = None
            self._add(self._file_of.get(name), found, seen)
        for other in self._requires[file]:
            self._add(other, found, seen)


def _libraries(words: str) -> "list[str]":
    names = [word[2:] for word in words.split() if word[:2] == "-l"]
    return [name for name in names if name not in EMPTY]
