# SPDX-License-Identifier: GPL-2.0
"""Finds the compiler, the linker, and the compiler's start files and libraries."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from ukl.app.link import Toolchain
from ukl.base.errors import MissingError
from ukl.elf import archive
from ukl.host import exec as host_exec
from ukl.host.programs import find as find_program
from ukl.host.requirements import install_command

CRT_BEFORE = ("crt1.o", "crti.o", "crtbeginS.o")
"""Not crtbeginT.o, which is for static programs: it is not position-independent."""

CRT_AFTER = ("crtendS.o", "crtn.o")

RUNTIME = ("libgcc.a", "libgcc_eh.a", "libc.a")


@cache
def _directories(cc: str) -> tuple[Path, ...]:
    """Return the directories where `cc` searches files to link, in order.

    `-print-file-name` searches the same (gcc.cc: both use startfile_prefixes), but
    would take a process for each file.
    """
    answer = host_exec.run([cc, "-print-search-dirs"], timeout=20).stdout
    line = re.search(r"^libraries: =(.*)$", answer, re.MULTILINE)
    return tuple(map(Path, line[1].split(":"))) if line else ()


def search(cc: str, name: str) -> Path | None:
    """Return the file that `cc` would link for `name`, or None."""
    for directory in _directories(cc):
        if (directory / name).is_file():
            return (directory / name).resolve()
    return None


@cache
def find(*, cxx: bool = False) -> Toolchain:
    """Return the installed tool chain; the C++ compiler is searched only with `cxx`.

    Raises MissingError with the command that installs what is missing.
    """
    programs = {name: find_program(name) for name in ("gcc", "ld", "objcopy")}
    programs["g++"] = find_program("g++") if cxx else "g++"
    cc = programs["gcc"]

    def files(names: Iterable[str]) -> tuple[Path, ...]:
        return tuple(_required(cc, name) for name in names)

    return Toolchain(
        cc=cc,
        cxx=programs["g++"],
        ld=programs["ld"],
        objcopy=programs["objcopy"],
        identity="; ".join(host_exec.version(programs[name]) for name in ("gcc", "ld")),
        crt_before=files(CRT_BEFORE),
        crt_after=files(CRT_AFTER),
        runtime=files(RUNTIME),
    )


def _required(cc: str, name: str) -> Path:
    found = search(cc, name)
    if found is None:
        package = "gcc" if name.startswith(("libgcc", "crtbegin", "crtend")) else "libc6-dev"
        raise MissingError(
            f"the C library's {name} is not installed"
            if package == "libc6-dev"
            else f"the compiler's {name} is not installed",
            where=cc,
            remedy=install_command(package),
        )
    return found


@cache
def library(cc: str, name: str) -> Path | None:
    """Return the static archive of library `name`, or None."""
    return search(cc, f"lib{name}.a")


@cache
def shared(cc: str, name: str) -> Path | None:
    """Return the shared object of library `name`, or None."""
    return search(cc, f"lib{name}.so")


def library_that_defines(
    tools: Toolchain, names: Collection[str], linked: Collection[Path]
) -> str | None:
    """Return the name of an installed library that defines most of `names`, or None."""
    best, most = None, 0
    directories = dict.fromkeys(path.parent for path in reversed(tools.runtime))
    for directory in directories:
        for path in sorted(directory.glob("lib*.a")):
            if path.resolve() in linked:
                continue
            count = len(archive.defined(path.resolve()).intersection(names))
            if count > most:
                best, most = _library_name(path), count
    return best


def _library_name(path: Path) -> str:
    """Return the -l name of `path`; glibc's libm.a is a script that names libm-2.36.a."""
    name = path.name.removeprefix("lib").removesuffix(".a")
    plain = re.sub(r"-\d+(\.\d+)+$", "", name)
    return plain if path.with_name(f"lib{plain}.a").exists() else name
