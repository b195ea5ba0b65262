# SPDX-License-Identifier: GPL-2.0
"""Runs in place of the compiler: adds the flags, then executes the real one (execv(2)).

It starts with every compilation of a build, so it imports nothing but os and sys.
"""

import os
import sys

from ukl.base.cflags import SANITIZER_REMEDY, refused_sanitizers
from ukl.wrap import arguments

HERE = os.path.dirname(os.path.abspath(__file__))
WRAPPERS = tuple(os.path.join(HERE, name) for name in ("bin", "as-gcc"))
"""The wrapper's own directories in PATH."""

DRIVERS = "ukl-drivers"
"""Last part of its other directory in PATH, with the names of the installed compilers."""

LINKERS = os.path.join(HERE, "linkers")

FLAGS = "UKL_WRAP_FLAGS"
"""Variable with further options for gcc, to compile and to link: those of pgo/flags.py."""

DEFAULTS = {"cc": "gcc", "c++": "g++"}
GNAT = ("gnatmake", "gnatlink", "gnatbind")
VARIABLES = {"cc": "UKL_CC_COMPILER", "c++": "UKL_CXX_COMPILER"}


def main(argv: "list[str]") -> int:
    """Execute the compiler for the wrapper's name `argv[1]`; return only on failure."""
    name, words = argv[1], argv[2:]
    path = without_wrappers(os.environ.get("PATH", os.defpath))
    compiler = command(name)
    program = find(compiler[0], path)
    if program is None:
        remedy = f"install it, or name another in {VARIABLES['cc']} and {VARIABLES['c++']}"
        sys.stderr.write(
            f"ukl: error: {name}: the compiler `{compiler[0]}` is not in PATH\n  remedy: {remedy}\n"
        )
        return 3
    if any(tool in name for tool in GNAT):
        # They call the compiler, which must be the wrapper.
        wrappers = [part for part in os.environ["PATH"].split(":") if _is_wrapper(part)]
        return execute(program, [program, *gnat(name, words, wrappers[-1])])
    clang = any("clang" in os.path.basename(word) for word in compiler)
    more = [] if clang else os.environ.get(FLAGS, "").split()
    given = words
    words, links = arguments.plan(words, clang=clang, linkers=LINKERS, read=read, more=more)
    # ccache and distcc search PATH for a compiler: they must not find the wrapper again.
    os.environ["PATH"] = path
    if links and (refused := refused_sanitizers(arguments.expand(given, read))):
        sys.stderr.write(f"ukl: error: {refused}\n  remedy: {SANITIZER_REMEDY}\n")
        return 1
    if links:
        os.environ["UKL_WRAP_PYTHON"] = sys.executable
    return execute(program, [*compiler, *words])


def gnat(name: str, words: "list[str]", wrappers: str) -> "list[str]":
    """Return the arguments of GNAT's tool `name`: it links statically, by the wrapper. Pure.

    Left alone it calls the compiler in its own directory.
    """
    tool = next(tool for tool in GNAT if tool in name)
    compiler = f"--GCC={wrappers}/{name.replace(tool, 'gcc')}"
    if tool == "gnatbind":
        return [*words, "-static"] if words else words
    if tool == "gnatlink":
        return [compiler, *words]
    linker = f"--GNATLINK={name.replace(tool, 'gnatlink')}"
    return [compiler, f"{linker} {compiler}", *words, "-bargs", "-static"]


def execute(program: str, argv: "list[str]") -> int:
    """Replace this process by `program`; return only on failure."""
    try:
        os.execv(program, argv)
    except OSError as error:
        sys.stderr.write(f"ukl: error: {program}: {error.strerror}\n")
        return 1


def command(name: str) -> "list[str]":
    """Return the compiler for the wrapper's name: the user's choice, or that name itself."""
    generic = name.removeprefix("ukl-")
    if generic in DEFAULTS:
        chosen = os.environ.get(VARIABLES[generic], "").split()
        return chosen or [DEFAULTS[generic]]
    return [name]


def without_wrappers(path: str) -> str:
    """Return `path`, a value of PATH, without the wrapper's directories."""
    return ":".join(part for part in path.split(":") if not _is_wrapper(part or "."))


def _is_wrapper(directory: str) -> bool:
    return os.path.basename(directory) == DRIVERS or os.path.realpath(directory) in WRAPPERS


def find(program: str, path: str) -> "str | None":
    """Return the path of `program`, searched in `path` unless it has a slash, or None."""
    if "/" in program:
        return program if os.access(program, os.X_OK) else None
    for part in path.split(":"):
        found = os.path.join(part or ".", program)
        if not os.access(found, os.X_OK) or os.path.isdir(found):
            continue
        # Skip symlinks to the wrapper, such as one in ~/bin.
        if not os.path.realpath(found).startswith(f"{HERE}/"):
            return found
    return None


def read(name: str) -> "str | None":
    """Return the text of a response file, or None if there is no such file."""
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return None


def cc() -> int:
    """Entry point `ukl-cc` of an installed package."""
    return main([sys.argv[0], "ukl-cc", *sys.argv[1:]])


def cxx() -> int:
    """Entry point `ukl-c++` of an installed package."""
    return main([sys.argv[0], "ukl-c++", *sys.argv[1:]])
