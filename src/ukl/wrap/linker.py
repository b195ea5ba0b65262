# SPDX-License-Identifier: GPL-2.0
"""Stands for the linker that the compiler runs: the same link, and then the partial one.

Here the arguments are final and the temporary objects still exist. A link that makes
no program, and a configure script's probe, only go through.
"""

import os
import sys

from ukl.wrap import arguments, driver, ldwords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def main(argv: "list[str]") -> int:
    """Link what `argv` (START --linker NAME WORDS...) says; return ld's own status."""
    name, words = argv[2], argv[3:]
    linker = real(name)
    if linker is None:
        sys.stderr.write(f"ukl: error: the linker `{name}` is not on this machine\n")
        return 3
    full = arguments.expand(words, driver.read)
    link = ldwords.Link(full)
    if not link.program:
        os.execv(linker, [linker, *words])
    if link.static:
        full = ldwords.static_words(link, os.path.exists)
        link = ldwords.Link(full)
    for suffix in (".ukl.o", ".ukl.json"):  # never those of an older program
        try:
            os.unlink(link.output + suffix)
        except OSError:
            pass
    pid = os.posix_spawn(linker, [linker, *full], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    patterns = probes(os.environ)
    if ldwords.is_probe(link.output, patterns):
        return status if status >= 0 else 1
    if link.static:  # else ld was called directly, for something that is not ours
        follow("capture" if status == 0 else "missing", full)
    return status if status >= 0 else 1


def follow(module: str, words: "list[str]") -> None:
    """Run one of the modules that need the whole of ukl, with ld's arguments on its stdin."""
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


def real(name: str) -> "str | None":
    """Return the linker that would have been run: the compiler's own, or that of PATH."""
    for variable in ("COMPILER_PATH", "PATH"):
        path = os.environ.get(variable, "")
        if found := driver.find(name, driver.cleaned(path)):
            return found
    return None


def probes(environment: "Mapping[str, str]") -> "list[str]":
    """Return the patterns of programs for which no object is made."""
    if environment.get("UKL_WRAP_ALL"):
        return []
    return [*ldwords.DEFAULT_PROBES, *filter(None, environment.get("UKL_WRAP_SKIP", "").split(":"))]
