# SPDX-License-Identifier: GPL-2.0
"""Programs that run in ring 0 as they are: an executable, its loader and shared objects.

Nothing is compiled or linked. The kernel has no application linked in; a marker file in the
guest names the program, and the kernel starts it in supervisor mode.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ukl.app import captured, rewritten
from ukl.app.rewritten import LINKED
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec, ObjectFacts
from ukl.elf import needed
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec
from ukl.host import packages
from ukl.host.requirements import install_command
from ukl.host.store import Store, digest

SYSTEM = ("/bin", "/lib", "/lib64", "/opt", "/sbin", "/usr")
"""Programs in these directories have the same path in the guest."""

LOADERS = {"/lib64/ld-linux-x86-64.so.2": "libc6", "/lib/ld-musl-x86_64.so.1": "musl"}
"""Dynamic loaders, and the Debian packages that have them."""

ELSEWHERE = "/usr/local/bin"
"""Where all others are in the guest."""


def is_as_is(spec: AppSpec, store: Store) -> bool:
    """Whether `spec` names an executable that ukl-cc has not linked."""
    if spec.program is None or spec.build is not None:
        return False
    elf = Elf.open(spec.program)
    return elf.kind in LINKED and not captured.is_known(spec.program, store)


def is_system(path: str | Path) -> bool:
    """Whether the file has the same path in the guest. Pure."""
    return any(Path(path).is_relative_to(directory) for directory in SYSTEM)


def guest_path(program: Path) -> str:
    """Return the path that the program has in the guest. Pure."""
    if is_system(program):
        return str(program)
    return f"{ELSEWHERE}/{program.name}"


def prepared(spec: AppSpec) -> AppSpec:
    """Return `spec` with the program and all that it loads among the guest's files.

    Raises InputError for what is not found.
    """
    assert spec.program is not None
    # Some find their other files from their own path, such as Java's: that of the file itself.
    program = spec.program.resolve()
    if not Elf.open(program).entry:
        raise InputError(
            "a shared object, not a program: it has no entry point",
            where=program,
            remedy="name the program that loads it, and it with --with-file",
        )
    if not program.stat().st_mode & 0o111:
        raise InputError(
            "this program is not executable",
            where=program,
            remedy=f"make it executable: chmod +x {program.name}",
        )
    # Where a file of the user's list is, if it is one of these.
    paths = (guest for guest, file in spec.files.items() if file.resolve() == program)
    path = next(paths, guest_path(program))
    cache = _cache()
    given = dict(_objects(spec.files))
    found = {**_needed_by(given, cache), **_needed(program, cache, given)}
    own = Path(os.path.normpath(spec.program))
    link = guest_path(own) if own.name != program.name else ""
    files = {**found, path: program, **spec.files}
    return replace(spec, executable=path, invoked=link, files=files)


def with_objects(spec: AppSpec) -> AppSpec:
    """Return `spec`, a linked program that may load shared objects, with what these need."""
    found = _needed_by(dict(_objects(spec.files)), _cache())
    return replace(spec, files={**found, **spec.files})


def _needed_by(given: Mapping[str, Path], cache: Mapping[str, str]) -> dict[str, Path]:
    """Return what the given programs and shared objects need: path in the guest -> file."""
    found: dict[str, Path] = {}
    objects = {file.resolve() for file in given.values()}
    for each in sorted(objects):
        others = needed.needed(each, cache, strict=False, given=given)
        # Those that it finds beside itself ($ORIGIN) it has there in the guest, too.
        found |= {at: file for at, file in others.items() if is_system(at) or file not in objects}
    return found


def with_fast_calls(spec: AppSpec, store: Store) -> AppSpec:
    """Return `spec` with files that make fast calls in the place of those that can."""
    return replace(spec, files={**spec.files, **rewritten.files(spec.files, store)})


def files(program: Path) -> dict[str, Path]:
    """Return path in the guest -> file, of all that the program loads. Raises InputError."""
    return _needed(program, _cache(), {})


def _needed(program: Path, cache: Mapping[str, str], given: Mapping[str, Path]) -> dict[str, Path]:
    try:
        return needed.needed(program, cache, given=given)
    except needed.NotFound as error:
        package = LOADERS.get(error.name) or packages.of_object(error.name)
        if package is not None:
            error.remedy = install_command(package)
        raise


def _objects(given: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield path in the guest and file, of the programs and shared objects among the files."""
    for path, file in needed.objects(given):
        if Elf.open(file).kind in LINKED:
            yield posixpath.normpath(path), file


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
