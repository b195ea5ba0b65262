# SPDX-License-Identifier: GPL-2.0
"""Finds the functions that kernel code exports to its application: UKL_EXPORT(). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import InputError
from ukl.settings.prototypes import Import, parse

MACRO = "UKL_EXPORT"
EXAMPLE = f"{MACRO}(long serve, (int fd, void __user *data, unsigned long size))"
SUFFIX = ".c"

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.c")
_USE = re.compile(rf"\b{MACRO}\s*\(")
_THREAD_LOCAL = re.compile(r"\b(__thread|_Thread_local|thread_local)\b")
_IGNORED = re.compile(
    r"//(?:\\\n|[^\n])*"
    r"|/\*.*?\*/"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'"
    r"|^[ \t]*#(?:\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)
_SPARSE = re.compile(r"\b__(?:user|force|rcu|iomem|percpu)\b")
_KERNEL_TYPE = re.compile(r"\b([su](?:8|16|32|64))\b")


@dataclass(frozen=True, slots=True)
class Export:
    """A kernel function for the application, and where its source defines it."""

    prototype: Import
    source: Path
    line: int

    @property
    def name(self) -> str:
        """The function's name."""
        return self.prototype.name


def check_name(source: Path) -> None:
    """Raise InputError for a file that kbuild cannot compile, by its name."""
    if not _FILE.fullmatch(source.name):
        raise InputError(
            f"kernel code is in C files whose names have letters, digits, `_`, `-` and `.`; "
            f"`{source.name}` is not one",
            where=source,
            remedy="rename the file, or name it in `sources` of [app]",
        )


def find(source: Path, text: str) -> tuple[Export, ...]:
    """Return what the C file `source` with this text exports.

    Raises InputError, with the line, for what is not a function that can be called, and for
    thread-local variables, which the kernel does not have.
    """
    plain = _IGNORED.sub(_blanked, text)

    def place(at: int) -> str:
        return f"{source}:{plain.count(chr(10), 0, at) + 1}"

    if match := _THREAD_LOCAL.search(plain):
        raise InputError(
            f"{match[1]}: the kernel has no thread-local variables",
            where=place(match.start()),
            remedy="use DEFINE_PER_CPU() for a variable of each processor, or pass a pointer",
        )
    found: dict[str, Export] = {}
    for match in _USE.finditer(plain):
        where = place(match.start())
        declaration, parameters = _arguments(plain, match.end(), where)
        line = int(where.rpartition(":")[2])
        export = Export(_prototype(declaration, parameters, where), source, line)
        if export.name in found:
            raise InputError(f"{export.name} is exported twice", where=where)
        found[export.name] = export
    return tuple(found.values())


def _blanked(match: re.Match[str]) -> str:
    """Keep the lines of what is not code, and their lengths."""
    return re.sub(r"[^\n]", " ", match[0])


def _arguments(text: str, at: int, where: str) -> tuple[str, str]:
    """Return the macro's two arguments; `at` is behind its opening parenthesis."""
    depth, comma = 1, -1
    for end in range(at, len(text)):
        character = text[end]
        if character == "," and depth == 1 and comma < 0:
            comma = end
        depth += (character == "(") - (character == ")")
        if depth == 0:
            declaration, parameters = text[at:comma].strip(), text[comma + 1 : end].strip()
            if comma > 0 and parameters.startswith("(") and parameters.endswith(")"):
                return declaration, parameters
            break
    raise InputError(
        f"{MACRO} takes the type and name of a function, and its parameters in parentheses",
        where=where,
        remedy=f"write it like: {EXAMPLE}",
    )


def _prototype(declaration: str, parameters: str, where: str) -> Import:
    text = _SPARSE.sub("", f"{declaration} {parameters}")
    text = " ".join(_KERNEL_TYPE.sub(r"__\1", text).split())
    try:
        return parse(text, keep_names=True)
    except ValueError as error:
        raise InputError(str(error), where=where, remedy=f"write it like: {EXAMPLE}") from error


def all_of(sources: tuple[Path, ...]) -> tuple[Export, ...]:
    """Return what the files export; InputError as `find`, if two use one name, or for nothing."""
    found: dict[str, Export] = {}
    names: dict[str, Path] = {}
    for source in sources:
        check_name(source)
        if (other := names.setdefault(source.stem, source)) is not source:
            raise InputError(f"another source has the same name: {other}", where=source)
        for export in find(source, source.read_text(errors="replace")):
            if (first := found.setdefault(export.name, export)) is not export:
                raise InputError(
                    f"{export.name} is exported twice, also in {first.source}:{first.line}",
                    where=f"{source}:{export.line}",
                )
    if not found:
        raise InputError(
            "this kernel code exports no function to the application",
            where=sources[0],
            remedy=f"define one like: {EXAMPLE}",
        )
    return tuple(found.values())
