# SPDX-License-Identifier: GPL-2.0
"""Python programs whose packages have extension modules: an installed interpreter, as it is.

An extension module needs the interpreter's functions as dynamic symbols, which a static program
such as the linked interpreter does not have. The interpreter of a virtual environment, or the
system's, has them, and nothing is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.app import as_is
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, PythonSpec
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.recipe import bytecode, python
from ukl.settings.python import LINKED, VENV

SYSTEM = Path("/usr/bin/python3")

LEFT_OUT = frozenset(
    {"dist-packages", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "turtledemo"}
)
"""Directories of the standard library that do not go into the guest; nor does `config-*`."""

_EXECUTABLE = re.compile(r"python(3\.\d+)")
_TAG = re.compile(r"\.cpython-3(\d+)-")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An installed CPython: its executable, its version, and its standard library."""

    program: Path
    version: str
    library: Path


def chosen(script: PythonSpec) -> Interpreter | None:
    """Return the interpreter that runs the script; None: the linked one.

    Raises InputError if there is none for the modules, or if it is asked for and there is none.
    """
    modules = python.extension_modules(script)
    if script.interpreter == LINKED or not (modules or script.interpreter):
        return None
    found = find(script)
    theirs = {f"3.{match[1]}" for each in modules if (match := _TAG.search(each.name))}
    if theirs and found.version not in theirs:
        raise InputError(
            f"its extension modules are for CPython {', '.join(sorted(theirs))}, and the "
            f"interpreter is {found.version}",
            where=found.program,
            remedy="make the virtual environment anew with an interpreter that is installed",
        )
    return found


def find(script: PythonSpec) -> Interpreter:
    """Return the interpreter of the script's virtual environment, or the system's."""
    places = [
        above / "bin/python"
        for directory in script.path
        for above in directory.parents
        if (above / VENV).is_file()
    ]
    program = (places[0] if places else SYSTEM).resolve()
    if not program.is_file():
        raise InputError(
            "there is no such interpreter, which the extension modules of the packages need",
            where=places[0] if places else SYSTEM,
            remedy="make the virtual environment anew, or install python3",
        )
    match = _EXECUTABLE.fullmatch(program.name)
    library = program.parent.parent / "lib" / program.name
    if match is None or not (library / "os.py").is_file():
        raise InputError(
            "not a CPython with its standard library, which the extension modules need",
            where=program,
            remedy="make the virtual environment with the system's python3, or install the "
            "standard library (libpython3-stdlib)",
        )
    return Interpreter(program, match[1], library)


def prepared(
    spec: AppSpec, script: PythonSpec, found: Interpreter, store: Store, progress: Progress
) -> AppSpec:
    """Return `spec` as a program that runs as it is: the interpreter, with all files."""
    names = ", ".join(python.by_package(script)[: python.SHOWN])
    why = f": extension modules of {names}" if names else ""
    progress.line(f"{spec.name}: {found.program} as it is{why}")
    top = Path(as_is.guest_path(found.program)).parent.parent / "lib" / found.library.name
    library = {f"{top}/{name}": file for name, file in _library(found.library)}
    given = dict(python.everything(script))
    sources = {
        guest: file
        for guest, file in {**library, **given}.items()
        if file.suffix == ".py" and file != script.script
    }
    compiled = {} if store.dry else bytecode.compiled(spec, found.program, sources, store, progress)
    files = {**library, **given, **compiled, **spec.files}
    return replace(spec, build=None, python=None, program=found.program, files=files)


def _library(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of all of the standard library that the guest gets."""
    for file in python.below(directory):
        name = file.relative_to(directory)
        if name.parts[0] not in LEFT_OUT and not name.parts[0].startswith("config-"):
            yield name.as_posix(), file
