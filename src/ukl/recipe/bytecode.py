# SPDX-License-Identifier: GPL-2.0
"""Byte code of a Python program's files, made on the host by the guest's own interpreter.

Without it the guest compiles each module that it imports at each boot: up to half a minute for a
web framework under emulation. The files have unchecked hashes (PEP 552): the guest takes them
whatever the times of the sources are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from ukl.base.model import AppSpec, PythonSpec
from ukl.base.progress import Progress
from ukl.host import exec as host_exec
from ukl.host.store import Store, digest
from ukl.recipe import python

KIND = "python"
FORMAT = 1
PLACEHOLDER = "left-out"
"""Empty file in the place of each extension module that is left out: the interpreter finds it,
and the import says why it fails (examples/python/main.c)."""

_COMPILE = """
import importlib.util, json, py_compile, sys
for guest, host in json.load(sys.stdin).items():
    py_compile.compile(host, sys.argv[1] + importlib.util.cache_from_source(guest), guest,
                       quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def with_files(spec: AppSpec, script: PythonSpec, store: Store, progress: Progress) -> AppSpec:
    """Return `spec`, whose interpreter is built, with byte code and placeholders in its files."""
    if spec.program is None or store.dry:
        return spec
    library = next((path for path in spec.files.values() if path.suffix == ".zip"), None)
    if library is None:
        return spec
    sources = {
        guest: file
        for guest, file in python.files(script).items()
        if file.suffix == ".py" and file != script.script
    }
    absent = tuple(python.without_source(script))
    if not sources and not absent:
        return spec
    made = compiled(
        spec,
        spec.program,
        sources,
        store,
        progress,
        environment={"PYTHONPATH": str(library), "PYTHONHOME": "/usr"},
        absent=absent,
    )
    return replace(spec, files={**made, **spec.files})


def compiled(
    spec: AppSpec,
    program: Path,
    sources: Mapping[str, Path],
    store: Store,
    progress: Progress,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    absent: tuple[str, ...] = (),
) -> dict[str, Path]:
    """Return path in the guest -> file, of the byte code of the sources, made by `program`.

    In the place of `absent` extension modules are empty files.
    """
    with progress.stage(f"byte code of {spec.name}") as stage:
        key = digest("bytecode", FORMAT, sources, program)
        if store.get(KIND, key) is not None:
            stage.cached()

        def work(directory: Path) -> None:
            (directory / PLACEHOLDER).touch()
            _compile(program, environment, sources, directory / "out")

        directory = store.make(KIND, key, {"name": spec.name}, work)
    out = directory / "out"
    made = {f"/{file.relative_to(out).as_posix()}": file for file in sorted(out.rglob("*.pyc"))}
    return {**made, **dict.fromkeys(absent, directory / PLACEHOLDER)}


def _compile(
    program: Path, environment: Mapping[str, str], sources: Mapping[str, Path], output: Path
) -> None:
    """Compile the files that can be; a package may have others, such as templates."""
    given = json.dumps({guest: str(file) for guest, file in sources.items()}).encode()
    host_exec.run([program, "-c", _COMPILE, output], env=environment, stdin=given, timeout=600)
