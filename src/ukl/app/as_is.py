# SPDX-License-Identifier: GPL-2.0
"""Programs that run in ring 0 as they are: an executable, its loader and shared objects.

Nothing is compiled or linked. The kernel has no application linked in; a marker file in the
guest names the program, and the kernel starts it in supervisor mode.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ukl.app import captured
from ukl.base.model import AppObject, AppSpec, ObjectFacts
from ukl.elf import needed
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec
from ukl.host.store import Store, digest

SYSTEM = ("/bin", "/lib", "/lib64", "/opt", "/sbin", "/usr")
"""Programs in these directories have the same path in the guest."""

LINKED = {"ET_EXEC", "ET_DYN"}
"""Kinds of ELF files that can be executed or loaded."""

ELSEWHERE = "/usr/local/bin"
"""Where all others are in the guest."""


def is_as_is(spec: AppSpec, store: Store) -> bool:
    """Whether `spec` names an executable that ukl-cc has not linked."""
    if spec.program is None or spec.build is not None:
        return False
    elf = Elf.open(spec.program)
    return elf.kind in LINKED and not captured.is_known(spec.program, store)


def guest_path(program: Path) -> str:
    """Return the path that the program has in the guest. Pure."""
    if any(program.is_relative_to(directory) for directory in SYSTEM):
        return str(program)
    return f"{ELSEWHERE}/{program.name}"


def prepared(spec: AppSpec) -> AppSpec:
    """Return `spec` with the program and all that it loads among the guest's files.

    Raises InputError for what is not found.
    """
    assert spec.program is not None
    # Some find their other files from their own path, such as Java's: that of the file itself.
    program = spec.program.resolve()
    path = guest_path(program)
    cache = _cache()
    found = needed.needed(program, cache)
    for each in sorted(_objects(spec.files.values())):
        found = {**needed.needed(each, cache, strict=False), **found}
    return replace(spec, executable=path, files={**found, path: program, **spec.files})


def files(program: Path) -> dict[str, Path]:
    """Return path in the guest -> file, of all that the program loads. Raises InputError."""
    return needed.needed(program, _cache())


def _objects(given: Iterable[Path]) -> Iterator[Path]:
    """Yield the programs and shared objects among the files, which need others in turn."""
    for top in given:
        for file in top.rglob("*") if top.is_dir() else (top,):
            if file.is_file() and needed.fits(file) and Elf.open(file).kind in LINKED:
                yield file


def build(spec: AppSpec) -> AppObject:
    """Return the program in the place of a linked object: only its executable is used."""
    assert spec.program is not None
    nothing = ObjectFacts(0, 0, 0, 0, 0, 1, (), (), 0)
    return AppObject(spec.name, spec.program, spec.program, nothing, digest([spec.program]))


def _cache() -> dict[str, str]:
    """Return the dynamic loader's cache of this machine."""
    # In /sbin, which the PATH of normal users lacks.
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ldconfig is None:
        return {}  # musl has none
    return needed.parse_cache(host_exec.run([ldconfig, "-p"], timeout=20).stdout)
