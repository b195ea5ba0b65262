# SPDX-License-Identifier: GPL-2.0
"""For which options an object of the kernel is built: read from the kernel's Makefiles. Pure.

Only as much of their language as decides that (Documentation/kbuild/makefiles.rst):
lists of objects and directories under a condition, `obj-$(CONFIG_X) += a.o dir/`, objects
made of parts, `a-$(CONFIG_Y) += b.o`, and the conditionals around them. What cannot be
read gives no condition: the object then counts as one that every kernel has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

Read = Callable[[str], str | None]
"""Gives a file of the kernel's tree by its path in it, None if there is none."""

Way = frozenset[str]
"""Options (without CONFIG_) that have to be on together for an object to be built."""

_OPTION = re.compile(r"\$[({]CONFIG_(\w+)[)}]")
_ASSIGNMENT = re.compile(r"^\s*([\w$(){},. /+-]*?)\s*([:+?]?:?=)\s*(.*)$")
_LIST = re.compile(r"^(?P<name>[\w.+-]+?)-(?P<rest>y|objs|\$.*)$")
_DEFINED = re.compile(r"^(ifdef|ifndef)\s+CONFIG_(\w+)")
_EQUAL = re.compile(r"^(ifeq|ifneq)\s*\(\s*(.*?)\s*,\s*(.*?)\s*\)\s*$")

_ROOTS = frozenset({"obj", "lib", "core", "drivers", "libs", "virt", "net", "head", "init"})
"""Lists that are linked by themselves; the others are parts of the object of their name."""

_FILES = ("Kbuild", "Makefile")
_ARCH = PurePosixPath("arch/x86")


@dataclass(slots=True)
class _Makefile:
    """What one file says: for each word of its lists, where it stands and under which options.

    `lists` maps an object or directory, as it is written, to (list's name, way).
    """

    lists: dict[str, list[tuple[str, Way]]] = field(default_factory=dict)


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("\t"):  # a recipe
            continue
        yield line.partition("#")[0].strip()


def _branch(line: str) -> Way | None:
    """Return the options that are on behind this `if`, empty if it is about none.

    None: behind it something is off, or it cannot be told.
    """
    if match := _DEFINED.match(line):
        return frozenset({match[2]}) if match[1] == "ifdef" else None
    if match := _EQUAL.match(line):
        for one, other in ((match[2], match[3]), (match[3], match[2])):
            options = frozenset(_OPTION.findall(one))
            if options:
                on = other in {"y", "yy"} if match[1] == "ifeq" else other in {"", "n"}
                return options if on else None
    return None


def parse(text: str) -> _Makefile:
    """Read one Makefile."""
    found = _Makefile()
    around: list[Way] = []
    for line in _lines(text):
        word = line.split("(")[0].split()[0] if line.split("(")[0].split() else ""
        if word in {"ifdef", "ifndef", "ifeq", "ifneq"}:
            around.append(_branch(line) or frozenset())
        elif word == "else" and around:
            # What is off in this branch says nothing; `else ifdef` begins another one.
            rest = line[4:].strip()
            around[-1] = (_branch(rest) or frozenset()) if rest else frozenset()
        elif word == "endif" and around:
            around.pop()
        elif assignment := _ASSIGNMENT.match(line):
            _assign(found, assignment[1].strip(), assignment[3], frozenset().union(*around))
    return found


def _assign(found: _Makefile, variable: str, value: str, around: Way) -> None:
    match = _LIST.match(variable)
    if match is None:
        return
    way = around | frozenset(_OPTION.findall(match["rest"]))
    for word in re.sub(r"\$[({][^)}]*[)}]", " ", value).split():
        if word.endswith((".o", "/")):
            found.lists.setdefault(word.removeprefix("./"), []).append((match["name"], way))


@dataclass(slots=True)
class Kbuild:
    """Answers for which options objects are built, reading each Makefile once."""

    read: Read
    _files: dict[str, _Makefile] = field(default_factory=dict)
    _directories: dict[str, frozenset[Way]] = field(default_factory=dict)

    def ways(self, path: str) -> frozenset[Way]:
        """Return the sets of options of which one has to be on for the object at `path`.

        Empty sets in it are of no option, as for what is always built.
        """
        place = PurePosixPath(path)
        return self._of(place, frozenset())

    def _makefile(self, directory: PurePosixPath) -> _Makefile:
        key = directory.as_posix()
        if key not in self._files:
            merged = _Makefile()
            for name in _FILES:
                # Both: arch/x86 says its directories in either.
                text = self.read((directory / name).as_posix())
                for word, places in parse(text).lists.items() if text is not None else ():
                    merged.lists.setdefault(word, []).extend(places)
            self._files[key] = merged
        return self._files[key]

    def _of(self, place: PurePosixPath, above: frozenset[str]) -> frozenset[Way]:
        """Return the ways to an object; `above` are those it is known to be a part of."""
        found: set[Way] = set()
        for parent in place.parents:
            relative = place.relative_to(parent).as_posix()
            for name, way in self._makefile(parent).lists.get(relative, ()):
                if name in _ROOTS:
                    outer = self._directory(parent)
                elif name in above or f"{name}.o" == relative:
                    continue
                else:
                    whole = parent / f"{name}.o"
                    outer = self._of(whole, above | {name})
                found |= {way | each for each in outer}
        return frozenset(found) or frozenset({frozenset()})

    def _directory(self, place: PurePosixPath) -> frozenset[Way]:
        key = place.as_posix()
        if key == ".":
            return frozenset({frozenset()})
        if key not in self._directories:
            self._directories[key] = frozenset({frozenset()})  # one that names itself
            found: set[Way] = set()
            for parent in place.parents:
                word = f"{place.relative_to(parent).as_posix()}/"
                for _, way in self._makefile(parent).lists.get(word, ()):
                    found |= {way | each for each in self._directory(parent)}
            if _ARCH in place.parents:
                # The top's Makefile includes that one, which names whole paths.
                found |= {way for _, way in self._makefile(_ARCH).lists.get(f"{key}/", ())}
            self._directories[key] = frozenset(found) or frozenset({frozenset()})
        return self._directories[key]
