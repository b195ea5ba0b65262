# SPDX-License-Identifier: GPL-2.0
"""Python programs: their files in the guest, and the modules that cannot run there."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, PythonSpec
from ukl.base.progress import Progress
from ukl.settings.python import guest_path, guest_script

EXTENSION = ".so"
"""Suffix of extension modules that are not built in."""

SKIPPED = frozenset({"__pycache__", ".git"})
"""Names of directories that do not go into the guest. Byte code of other interpreters on the
host is not the guest's: bytecode.py makes that."""

MISSING: Mapping[str, str] = {
    "_ctypes": "ctypes",
    "ctypes": "ctypes",
    "curses": "curses",
    "dbm.gnu": "dbm.gnu",
    "dbm.ndbm": "dbm.ndbm",
    "ensurepip": "ensurepip",
    "idlelib": "idlelib",
    "lib2to3": "lib2to3",
    "nis": "nis",
    "ossaudiodev": "ossaudiodev",
    "readline": "readline",
    "tkinter": "tkinter",
    "turtle": "tkinter",
    "venv": "ensurepip",
}
"""Module of the standard library that the guest lacks -> the missing part of the library."""

SHOWN = 10
"""Number of packages with left-out files that a message names."""


def with_files(spec: AppSpec, progress: Progress) -> AppSpec:
    """Return `spec` with the script and the packages among its files; itself without a script.

    Reports the extension modules that are left out. Importing one raises ImportError, on
    which many packages fall back to an implementation in Python.
    """
    if spec.python is None:
        return spec
    left_out = by_package(spec.python)
    if left_out:
        names = ", ".join(left_out[:SHOWN])
        more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        progress.line(
            f"{spec.name}: left out, because the linked interpreter cannot load extension "
            f"modules: {names}{more}"
        )
    return replace(spec, python=None, files={**files(spec.python), **spec.files})


def files(python: PythonSpec) -> dict[str, Path]:
    """Return path in the guest -> file on the host, of the script and the packages."""
    return {guest: file for guest, file in everything(python) if not _is_module(file)}


def extension_modules(python: PythonSpec) -> list[Path]:
    """Return the extension modules among the packages."""
    return [file for _, file in everything(python) if _is_module(file)]


def without_source(python: PythonSpec) -> list[str]:
    """Return the guest's paths of the extension modules that have no form in Python beside them."""
    return [
        guest
        for guest, file in everything(python)
        if _is_module(file) and not file.with_name(f"{_module(file)}.py").exists()
    ]


def by_package(python: PythonSpec) -> list[str]:
    """Return the names of the packages that have extension modules, with these, sorted."""
    found: dict[str, list[str]] = {}
    for top in (python.script, *python.path):
        for file in below(top):
            if _is_module(file):
                package = file.relative_to(top).parts[0]
                found.setdefault(package.partition(".")[0], []).append(_module(file))
    return [
        package
        if modules == [package]
        else f"{package} ({modules[0] if len(modules) == 1 else f'{len(modules)} modules'})"
        for package, modules in sorted(found.items())
    ]


def everything(python: PythonSpec) -> Iterator[tuple[str, Path]]:
    """Yield path in the guest and file on the host, of all files."""
    places = [(guest_script(python.script), python.script)]
    places += [(guest_path(number), path) for number, path in enumerate(python.path)]
    for guest, top in places:
        if top.is_file():
            yield guest, top
        for file in below(top):
            yield f"{guest}/{file.relative_to(top).as_posix()}", file


def _is_module(file: Path) -> bool:
    return file.name.endswith(EXTENSION)


def _module(file: Path) -> str:
    return file.name.partition(".")[0]


def missing_modules(python: PythonSpec) -> list[tuple[int, str]]:
    """Return line and name of each imported module that the guest's library lacks.

    Raises InputError for a script that is not Python.
    """
    script = python.script / "__main__.py" if python.script.is_dir() else python.script
    if script.suffix != ".py":
        return []
    try:
        tree = ast.parse(script.read_bytes(), str(script))
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise InputError(
            f"not a Python program: {error.msg if isinstance(error, SyntaxError) else error}",
            where=f"{script}:{line}" if line else script,
        ) from error
    return [(line, name) for line, name in _imports(tree) if _missing(name)]


def _missing(name: str) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:depth]) in MISSING for depth in range(1, len(parts) + 1))


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


def below(top: Path) -> Sequence[Path]:
    """Return the files below a directory, sorted; none for a file."""
    if not top.is_dir():
        return ()
    return sorted(
        file
        for file in top.rglob("*")
        if file.is_file() and not SKIPPED.intersection(file.relative_to(top).parts[:-1])
    )
