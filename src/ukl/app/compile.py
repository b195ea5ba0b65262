# SPDX-License-Identifier: GPL-2.0
"""Plans compiler runs: chooses compiler and arguments, explains its messages.

Pure: values in, argument lists out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.cflags import UKL_FLAGS
from ukl.base.errors import InputError
from ukl.pgo.flags import SUFFIX

INCLUDE = Path(__file__).parent / "include"
"""The directory with ukl.h, which every compilation searches last."""

DEFAULT_FLAGS = ("-O2", "-g")
"""Default flags, which the application's own flags override."""

CXX_SUFFIXES = frozenset({".cc", ".cpp", ".cxx", ".c++", ".C", ".cp", ".CPP"})
C_SUFFIXES = frozenset({".c"})
ASSEMBLER_SUFFIXES = frozenset({".S", ".sx", ".s"})

ENVIRONMENT = {"SOURCE_DATE_EPOCH": "0", "LC_ALL": "C.UTF-8"}
"""Makes `__DATE__` and `__TIME__` constant, and messages English."""

REMEDY = "correct the source, or `cflags` of [compile]; the log has the compiler's whole output"

SHOWN_ERRORS = 3
"""Number of the compiler's errors in the message."""

_ERROR = re.compile(r"^(?P<where>.+?:\d+(?::\d+)?): (?:fatal )?error: (?P<text>.+)$")
_BARE_ERROR = re.compile(r"^(?:\S*(?:gcc|g\+\+|cc1|cc1plus|as)\S*: )(?:fatal )?[Ee]rror: (.+)$")
_ASSEMBLER_ERROR = re.compile(r"^(?P<where>[^:]+:\d+): Error: (?P<text>.+)$")
_OTHER_FILES = re.compile(rb"include|import|embed|pragma")
_INCBIN = re.compile(rb'\.incbin\s*\\?"([^"\\\n]+)')


def is_cxx(source: Path) -> bool:
    """Whether `source` is C++ and needs the C++ runtime library."""
    return source.suffix in CXX_SUFFIXES


def check_suffix(source: Path) -> None:
    """Raise InputError for a file that is not a source for gcc or g++."""
    known = C_SUFFIXES | CXX_SUFFIXES | ASSEMBLER_SUFFIXES
    if source.suffix not in known:
        raise InputError(
            f"cannot compile `{source.name}`: unknown suffix",
            where=source,
            remedy=f"sources end in one of {' '.join(sorted(known))}; "
            "compiled code belongs in `objects` of [link]",
        )


@dataclass(frozen=True, slots=True)
class Feedback:
    """Branch counts: the flags (pgo/flags.py) that write or use them, and their directory.

    `directory` is a path in the guest when the program counts, on the host when the compiler
    uses the counts, "" without counts.
    """

    flags: tuple[str, ...] = ()
    directory: str = ""


NO_FEEDBACK = Feedback()


@dataclass(frozen=True, slots=True)
class Unit:
    """One source to compile: `source` is relative to `directory`, where the compiler runs."""

    directory: Path
    source: str
    compiler: str
    flags: tuple[str, ...]
    includes: tuple[Path, ...] = ()
    """Directories of ukl's headers. The key covers them through the preprocessed text."""
    counts: str = ""
    """Feedback.directory."""

    @property
    def counted(self) -> Path:
        """The file of its counts, which the program writes and the compiler reads."""
        # Stays within the directory even if the source is outside.
        inside = "/".join("_" if part == ".." else part for part in self.source.split("/"))
        return Path(self.counts, f"{inside.lstrip('/')}{SUFFIX}")

    @property
    def preprocessed(self) -> bool:
        """Whether it goes through the C preprocessor (`.s` does not)."""
        return not self.source.endswith(".s")

    def preprocess_argv(self, output: Path) -> list[str]:
        """Return the command that writes the preprocessed text, from which the key is made."""
        found = self._headers()
        return [self.compiler, *self.flags, *found, "-E", self.source, "-o", str(output)]

    def _dump(self) -> list[str]:
        """Return the options that name the counts' file after the source, not the object."""
        if not self.counts:
            return []
        return ["-dumpdir", f"{self.counted.parent}/", "-dumpbase", self.counted.stem]

    def _headers(self) -> list[str]:
        """Return the options that search `includes` after all other directories."""
        return [word for path in self.includes for word in ("-idirafter", str(path))]

    def compile_argv(self, output: Path, depfile: Path) -> list[str]:
        """Return the command that compiles it.

        `depfile` gets the names of all headers. No host path enters the object: debug
        information has /ukl in place of the application's directory.
        """
        prefix_maps = [f"-ffile-prefix-map={path}=/ukl-include" for path in self.includes]
        prefix_maps.append(f"-ffile-prefix-map={self.directory}=/ukl")
        dependencies = ["-MD", "-MF", str(depfile)] if self.preprocessed else []
        return [
            self.compiler,
            *self.flags,
            *self._headers(),
            *prefix_maps,
            # gcc makes names of static initialisers from it where no external name is available.
            f"-frandom-seed={self.source}",
            *self._dump(),
            *dependencies,
            "-c",
            self.source,
            "-o",
            str(output),
        ]


def unit(
    source: Path,
    directory: Path,
    cflags: Sequence[str],
    cc: str,
    cxx: str,
    *,
    includes: Sequence[Path] = (INCLUDE,),
    feedback: Feedback = NO_FEEDBACK,
) -> Unit:
    """Plan the compilation of `source` for an application in `directory`."""
    check_suffix(source)
    return Unit(
        directory,
        os.path.relpath(source, directory),
        cxx if is_cxx(source) else cc,
        (*DEFAULT_FLAGS, *cflags, *UKL_FLAGS, *feedback.flags),
        tuple(includes),
        feedback.directory,
    )


def intermediate(unit: Unit, compiler: str) -> Unit:
    """Return `unit` compiled by `compiler`, a clang, to LLVM's intermediate code. Pure.

    The kernel is compiled with -fno-delete-null-pointer-checks. clang inlines a function
    with this attribute only into functions that have it, too.
    """
    flags = (*unit.flags, "-fno-delete-null-pointer-checks", "-emit-llvm")
    return replace(unit, compiler=compiler, flags=flags)


def included_binaries(text: bytes) -> tuple[str, ...]:
    """Return the files that `.incbin` in preprocessed text names: they are part of the key."""
    return tuple(sorted({name.decode("utf-8", "replace") for name in _INCBIN.findall(text)}))


def is_alone(text: bytes, flags: Sequence[str]) -> bool:
    """Whether the preprocessed text depends on `text` and `flags` alone.

    That is so if no directive (or `__has_include`) can name another file. Then the key
    needs no run of the preprocessor.
    """
    forced = any(flag.startswith(("-include", "-imacros", "-Wp,", "@")) for flag in flags)
    return not forced and not _OTHER_FILES.search(text)


def dependencies(depfile: str) -> Iterator[str]:
    """Yield the file names of a make rule as gcc's -MD writes it."""
    _, _, names = depfile.replace("\\\n", " ").partition(": ")
    for name in re.split(r"(?<!\\)\s+", names.strip()):
        if name:
            yield name.replace("\\ ", " ").replace("\\#", "#").replace("$$", "$")


def explain(source: Path, output: str, log: Path | None) -> InputError:
    """Turn the compiler's output into the error for the user."""
    errors: list[tuple[str | None, str]] = []
    for line in output.splitlines():
        if match := _ERROR.match(line) or _ASSEMBLER_ERROR.match(line):
            errors.append((match["where"], match["text"]))
        elif match := _BARE_ERROR.match(line):
            errors.append((None, match[1]))
    if not errors:
        tail = "\n".join(output.strip().splitlines()[-5:]) or "the compiler gave no message"
        return InputError(f"compilation failed:\n{tail}", where=source, remedy=REMEDY, log=log)
    where, text = errors[0]
    shown = [text]
    shown += [f"{place or source}: {more}" for place, more in errors[1:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        shown.append(f"({len(errors) - SHOWN_ERRORS} more)")
    missing = re.match(r"(?P<name>\S+): No such file or directory", text)
    remedy = REMEDY
    if missing and missing["name"].endswith((".h", ".hpp", ".hh")):
        remedy = (
            f"install the package that has {missing['name']}, or add its directory "
            "to `cflags` of [compile] as -I"
        )
    return InputError("\n".join(shown), where=where or source, remedy=remedy, log=log)
