# SPDX-License-Identifier: GPL-2.0
"""Runs in place of the linker: the normal link first, then the partial one.

At this point the arguments are final and the temporary objects still exist. Probes of
configure scripts, and links that do not make a program, get the normal link only.
"""

import os
import sys

from ukl.base import pkgconfig
from ukl.wrap import arguments, driver, ld_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def main(argv: "list[str]") -> int:
    """Link as `argv` (START --linker NAME ARGUMENTS...) asks; return ld's exit status."""
    name, words = argv[2], argv[3:]
    linker = find_linker(name)
    if linker is None:
        sys.stderr.write(f"ukl: error: the linker `{name}` is not installed\n")
        return 3
    full = arguments.expand(words, driver.read)
    link = ld_arguments.Link(full)
    if not link.program:
        os.execv(linker, [linker, *words])
    if link.static:
        table = pkgconfig.Table(pkgconfig.read())
        full = ld_arguments.static_arguments(
            link, os.path.exists, lambda library: table.needed(library, os.path.exists)
        )
        link = ld_arguments.Link(full)
    for suffix in (".ukl.o", ".ukl.json"):  # never leave those of an older program
        try:
            os.unlink(link.output + suffix)
        except OSError:
            pass
    pid = os.posix_spawn(linker, [linker, *full], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    patterns = probes(os.environ)
    if ld_arguments.is_probe(link.output, patterns):
        return status if status >= 0 else 1
    if link.static:  # else the build called ld directly, not through the compiler wrapper
        run_module("capture" if status == 0 else "missing", full)
    return status if status >= 0 else 1


def run_module(module: str, words: "list[str]") -> None:
    """Run a module that imports all of ukl, with ld's arguments on its stdin."""
    top = driver.HERE.rpartition("/ukl/wrap")[0]
    code = (
        f"import sys; sys.path.insert(0, {top!r}); from ukl.wrap import {module}; {module}.main()"
    )
    reader, writer = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, reader, 0),
        (os.POSIX_SPAWN_CLOSE, writer),
    ]
    argv = [sys.executable, "-I", "-c", code]
    pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
    os.close(reader)
    try:
        with open(writer, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write("\0".join(words))
    except BrokenPipeError:
        pass
    os.waitpid(pid, 0)


def find_linker(name: str) -> "str | None":
    """Return the linker that the compiler would run: its own, or the one in PATH."""
    for variable in ("COMPILER_PATH", "PATH"):
        path = os.environ.get(variable, "")
        if found := driver.find(name, driver.without_wrappers(path)):
            return found
    return None


def probes(environment: "Mapping[str, str]") -> "list[str]":
    """Return the patterns of programs for which no object is made."""
    if environment.get("UKL_WRAP_ALL"):
        return []
    skipped = environment.get("UKL_WRAP_SKIP", "").split(":")
    return [*ld_arguments.DEFAULT_PROBES, *filter(None, skipped)]
