# SPDX-License-Identifier: GPL-2.0
"""Plans compiler runs: which compiler, which arguments, what its messages mean.

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
"""The directory with ukl.h: found by every compilation, behind all others."""

DEFAULT_FLAGS = ("-O2", "-g")
"""What the application's own flags may override."""

CXX_SUFFIXES = frozenset({".cc", ".cpp", ".cxx", ".c++", ".C", ".cp", ".CPP"})
C_SUFFIXES = frozenset({".c"})
ASSEMBLER_SUFFIXES = frozenset({".S", ".sx", ".s"})

ENVIRONMENT = {"SOURCE_DATE_EPOCH": "0", "LC_ALL": "C.UTF-8"}
"""`__DATE__` and `__TIME__` give the same text always; messages are in English."""

REMEDY = "correct the source, or `cflags` of [compile]; the log has all that the compiler said"

SHOWN_ERRORS = 3
"""How many of the compiler's errors the message shows."""

_ERROR = re.compile(r"^(?P<where>.+?:\d+(?::\d+)?): (?:fatal )?error: (?P<text>.+)$")
_BARE_ERROR = re.compile(r"^(?:\S*(?:gcc|g\+\+|cc1|cc1plus|as)\S*: )(?:fatal )?[Ee]rror: (.+)$")
_ASSEMBLER_ERROR = re.compile(r"^(?P<where>[^:]+:\d+): Error: (?P<text>.+)$")
_OTHER_FILES = re.compile(rb"include|import|embed|pragma")
_INCBIN = re.compile(rb'\.incbin\s*\\?"([^"\\\n]+)')


def is_cxx(source: Path) -> bool:
    """Whether `source` is C++; its runtime library is linked then."""
    return source.suffix in CXX_SUFFIXES


def check_suffix(source: Path) -> None:
    """Raise InputError for a file that is not a source gcc or g++ compiles."""
    known = C_SUFFIXES | CXX_SUFFIXES | ASSEMBLER_SUFFIXES
    if source.suffix not in known:
        raise InputError(
            f"do not know how to compile `{source.name}`",
            where=source,
            remedy=f"sources end in one of {' '.join(sorted(known))}; "
            "compiled code belongs into `objects` of [link]",
        )


@dataclass(frozen=True, slots=True)
class Feedback:
    """Counts of branches: the flags of pgo/flags.py that make or read them, and their directory.

    It is that of the program that counts, or of this machine; "": there are none.
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
    """Directories of headers of ours: what they have is part of the preprocessed text."""
    counts: str = ""
    """Directory of the counts of branches, that of the program or of this machine; "": none."""

    @property
    def counted(self) -> Path:
        """The file of its counts, where the compiler reads and the program writes them."""
        # Within the directory, wherever the source is.
        inside = "/".join("_" if part == ".." else part for part in self.source.split("/"))
        return Path(self.counts, f"{inside.lstrip('/')}{SUFFIX}")

    @property
    def preprocessed(self) -> bool:
        """Whether the C preprocessor sees it (`.s` is plain assembler)."""
        return not self.source.endswith(".s")

    def preprocess_argv(self, output: Path) -> list[str]:
        """Return the command that writes the text the key is made of."""
        found = self._headers()
        return [self.compiler, *self.flags, *found, "-E", self.source, "-o", str(output)]

    def _dump(self) -> list[str]:
        """Return the options that say where counts are: by the source, not by the object."""
        if not self.counts:
            return []
        return ["-dumpdir", f"{self.counted.parent}/", "-dumpbase", self.counted.stem]

    def _headers(self) -> list[str]:
        """Return the options that find `includes`, behind all other directories."""
        return [word for path in self.includes for word in ("-idirafter", str(path))]

    def compile_argv(self, output: Path, depfile: Path) -> list[str]:
        """Return the command that compiles it.

        `depfile` gets the names of all headers. No path of this machine enters
        the object: debug information says /ukl for the application's directory.
        """
        prefix_maps = [f"-ffile-prefix-map={path}=/ukl-include" for path in self.includes]
        prefix_maps.append(f"-ffile-prefix-map={self.directory}=/ukl")
        dependencies = ["-MD", "-MF", str(depfile)] if self.preprocessed else []
        return [
            self.compiler,
            *self.flags,
            *self._headers(),
            *prefix_maps,
            # Names of static initialisers without an external name beside them.
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
    """Plan the compilation of `source` for an application that lives in `directory`."""
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
    """Return `unit` as LLVM's intermediate code, by `compiler`, a clang. Pure.

    The kernel is compiled so that null is an address as any other. A function of which that is
    said is inlined only into one of which it is said, too.
    """
    flags = (*unit.flags, "-fno-delete-null-pointer-checks", "-emit-llvm")
    return replace(unit, compiler=compiler, flags=flags)


def included_binaries(text: bytes) -> tuple[str, ...]:
    """Return the files that `.incbin` in preprocessed text names: part of the key as well."""
    return tuple(sorted({name.decode("utf-8", "replace") for name in _INCBIN.findall(text)}))


def is_alone(text: bytes, flags: Sequence[str]) -> bool:
    """Say whether nothing but `text` and `flags` decides what the preprocessor makes of it.

    It is enough that no directive (or `__has_include`) can name another file. Then the key
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
    """Turn the compiler's output into the error that a person sees."""
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
