# SPDX-License-Identifier: GPL-2.0
"""Finds in the kernel's Makefiles the options for which an object is built. Pure.

It reads only the necessary part of their language (Documentation/kbuild/makefiles.rst): lists
of objects and directories under a condition, `obj-$(CONFIG_X) += a.o dir/`, objects made of
parts, `a-$(CONFIG_Y) += b.o`, and the conditionals around them. Other conditions are ignored:
the object then counts as always built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

Read = Callable[[str], str | None]
"""Returns a file of the kernel's tree by its path there, or None."""

Condition = frozenset[str]
"""Options (without CONFIG_) that must all be on for an object to be built."""

_OPTION = re.compile(r"\$[({]CONFIG_(\w+)[)}]")
_ASSIGNMENT = re.compile(r"^\s*([\w$(){},. /+-]*?)\s*([:+?]?:?=)\s*(.*)$")
_LIST = re.compile(r"^(?P<name>[\w.+-]+?)-(?P<rest>y|objs|\$.*)$")
_DEFINED = re.compile(r"^(ifdef|ifndef)\s+CONFIG_(\w+)")
_EQUAL = re.compile(r"^(ifeq|ifneq)\s*\(\s*(.*?)\s*,\s*(.*?)\s*\)\s*$")

_ROOTS = frozenset({"obj", "lib", "core", "drivers", "libs", "virt", "net", "head", "init"})
"""Lists that are linked directly; other lists are the parts of the object of their name."""

_FILES = ("Kbuild", "Makefile")
_ARCH = PurePosixPath("arch/x86")


@dataclass(slots=True)
class _Makefile:
    """The lists of one file.

    `lists` maps an object or directory, as written there, to (name of the list, condition).
    """

    lists: dict[str, list[tuple[str, Condition]]] = field(default_factory=dict)


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("\t"):  # a recipe
            continue
        yield line.partition("#")[0].strip()


def _branch(line: str) -> Condition | None:
    """Return the options that an `if` requires to be on; None if it requires something else."""
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
    around: list[Condition] = []
    for line in _lines(text):
        word = line.split("(")[0].split()[0] if line.split("(")[0].split() else ""
        if word in {"ifdef", "ifndef", "ifeq", "ifneq"}:
            around.append(_branch(line) or frozenset())
        elif word == "else" and around:
            # Options that are off in this branch do not matter; `else ifdef` starts a new one.
            rest = line[4:].strip()
            around[-1] = (_branch(rest) or frozenset()) if rest else frozenset()
        elif word == "endif" and around:
            around.pop()
        elif assignment := _ASSIGNMENT.match(line):
            _assign(found, assignment[1].strip(), assignment[3], frozenset().union(*around))
    return found


def _assign(found: _Makefile, variable: str, value: str, around: Condition) -> None:
    match = _LIST.match(variable)
    if match is None:
        return
    condition = around | frozenset(_OPTION.findall(match["rest"]))
    for word in re.sub(r"\$[({][^)}]*[)}]", " ", value).split():
        if word.endswith((".o", "/")):
            entry = match["name"], condition
            found.lists.setdefault(word.removeprefix("./"), []).append(entry)


@dataclass(slots=True)
class Kbuild:
    """Finds the options for which objects are built, reading each Makefile once."""

    read: Read
    _files: dict[str, _Makefile] = field(default_factory=dict)
    _directories: dict[str, frozenset[Condition]] = field(default_factory=dict)

    def conditions(self, path: str) -> frozenset[Condition]:
        """Return the conditions for the object at `path`, of which one must hold.

        An empty condition always holds.
        """
        place = PurePosixPath(path)
        return self._of(place, frozenset())

    def _makefile(self, directory: PurePosixPath) -> _Makefile:
        key = directory.as_posix()
        if key not in self._files:
            merged = _Makefile()
            for name in _FILES:
                # Read both: arch/x86 has directories in each.
                text = self.read((directory / name).as_posix())
                for word, places in parse(text).lists.items() if text is not None else ():
                    merged.lists.setdefault(word, []).extend(places)
            self._files[key] = merged
        return self._files[key]

    def _of(self, place: PurePosixPath, above: frozenset[str]) -> frozenset[Condition]:
        """Return an object's conditions; `above` are the objects of which it is a part."""
        found: set[Condition] = set()
        for parent in place.parents:
            relative = place.relative_to(parent).as_posix()
            for name, condition in self._makefile(parent).lists.get(relative, ()):
                if name in _ROOTS:
                    outer = self._directory(parent)
                elif name in above or f"{name}.o" == relative:
                    continue
                else:
                    whole = parent / f"{name}.o"
                    outer = self._of(whole, above | {name})
                found |= {condition | each for each in outer}
        return frozenset(found) or frozenset({frozenset()})

    def _directory(self, place: PurePosixPath) -> frozenset[Condition]:
        key = place.as_posix()
        if key == ".":
            return frozenset({frozenset()})
        if key not in self._directories:
            self._directories[key] = frozenset({frozenset()})  # for a directory that names itself
            found: set[Condition] = set()
            for parent in place.parents:
                word = f"{place.relative_to(parent).as_posix()}/"
                for _, condition in self._makefile(parent).lists.get(word, ()):
                    found |= {condition | each for each in self._directory(parent)}
            if _ARCH in place.parents:
                # The top Makefile includes arch/x86/Makefile, which names paths from the top.
                entries = self._makefile(_ARCH).lists.get(f"{key}/", ())
                found |= {condition for _, condition in entries}
            self._directories[key] = frozenset(found) or frozenset({frozenset()})
        return self._directories[key]
