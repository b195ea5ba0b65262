# SPDX-License-Identifier: GPL-2.0
"""Finds what a target names, reads or compiles its files, and runs the checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from ukl.app import as_is as programs
from ukl.app import build as app_build
from ukl.app import captured, toolchain
from ukl.base import resources
from ukl.base.errors import InputError, UklError, UsageError
from ukl.base.model import AppSpec, PythonSpec
from ukl.base.progress import Progress
from ukl.check import (
    as_is,
    engines,
    instructions,
    languages,
    layout,
    licences,
    loading,
    processor,
    symbols,
)
from ukl.check.model import Finding, Kind, LinkedLibrary, Report, Subject, finding
from ukl.check.rules import RULES, Severity
from ukl.check.unit import Place, Unit
from ukl.elf import archive
from ukl.elf.reader import Elf
from ukl.flow.bootable import prepared
from ukl.flow.context import Context
from ukl.host import packages
from ukl.host.store import Store
from ukl.image import initrd
from ukl.kernel.symbols import DATA_BASE, data_limit, physical_start
from ukl.recipe import installed, python
from ukl.settings import manifest

CONFIG = "kernel/config"
START = "PHYSICAL_START"
DOC = Path("/usr/share/doc")
_ELF = b"\x7fELF"
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True, slots=True)
class _Input:
    """The files to check and the linked archives; `failure` if the build failed."""

    kind: Kind
    units: tuple[Unit, ...]
    libraries: tuple[str, ...] = ()
    failure: Finding | None = None
    others: tuple[Finding, ...] = ()
    userspace: bool = True
    start: int | None = None
    """CONFIG_PHYSICAL_START of the kernel; None: that of the default kernel."""


def check(target: str, store: Store, progress: Progress, rules: Iterable[str] = ()) -> Report:
    """Check what `target` names and return the report, limited to `rules` if any are given.

    Raises InputError for a target that cannot be read, UsageError for an unknown rule.
    """
    only = frozenset(rules)
    if unknown := sorted(only - set(RULES)):
        raise UsageError(f"unknown rule `{unknown[0]}`", remedy=f"choose from: {', '.join(RULES)}")
    given = _open(target, store, progress, scripts=False)
    with progress.stage(f"check {target}"):
        limit, exact = _data_limit(store, start() if given.start is None else given.start)
        owners = packages.owners(given.libraries)
        subject = Subject(
            kind=given.kind,
            units=given.units,
            runtime=_runtime(),
            data_limit=limit,
            limit_is_exact=exact,
            libraries=tuple(LinkedLibrary(path, owners[path]) for path in given.libraries),
            userspace=given.userspace,
        )
        found = [*([given.failure] if given.failure else []), *given.others]
        if given.units:
            found += _all(subject)
        counts = instructions.counts(subject)
    kept = [item for item in found if not only or item.rule in only]
    kept.sort(key=lambda item: _ORDER[item.severity])
    return Report(target, given.kind, counts, tuple(kept))


def libraries(target: str, store: Store, progress: Progress) -> tuple[LinkedLibrary, ...]:
    """Return the static archives linked into a target, each with its Debian package."""
    given = _open(target, store, progress)
    owners = packages.owners(given.libraries)
    return tuple(LinkedLibrary(path, owners[path]) for path in given.libraries)


def licence(package: str) -> str:
    """Return the licence that a Debian package's copyright file states; "": unclear."""
    return licences.name_of(_copyright(package) or "")


def _all(subject: Subject) -> list[Finding]:
    foreign = any(unit.elf.machine != "EM_X86_64" for unit in subject.units)
    if subject.kind is Kind.EXECUTABLE and not foreign:
        found = [*as_is.findings(subject, _missing(subject))]
        return [*found, *engines.findings(subject, as_is=True)]
    found = [*layout.findings(subject)]
    if foreign:
        return found
    found += symbols.findings(subject, _hint)
    found += loading.findings(subject)
    found += instructions.findings(subject)
    found += processor.findings(subject)
    found += languages.findings(subject)
    found += engines.findings(subject, as_is=False)
    found += licences.findings(subject, _copyright)
    return found


# --- the target ---------------------------------------------------------------


def _open(target: str, store: Store, progress: Progress, *, scripts: bool = True) -> _Input:
    """Return the files of a target; without `scripts`, no interpreter is built for a script."""
    path = Path(target).expanduser()
    if manifest.find_example(target) is None and path.is_file():
        if archive.is_archive(path):
            return _archive(path)
        with path.open("rb") as stream:
            magic = stream.read(len(_ELF))
        if magic == _ELF:
            return _elf(path, store)
        if magic[:2] == b"#!" and path.suffix != ".py":
            raise InputError(
                "this is a script; the program is its interpreter",
                where=path,
                remedy="check the interpreter, which is linked into the kernel",
            )
    spec = manifest.resolve(target)
    if spec.python and not scripts:
        return _Input(Kind.SCRIPT, (), others=_scripts(spec.python))
    given = _specified(spec, store, progress)
    return replace(
        given,
        start=start(spec.profile, spec.kernel_options),
        userspace=initrd.has_userspace(spec),
    )


def _archive(path: Path) -> _Input:
    units = tuple(
        Unit(Elf(data, f"{file}({name})"), str(path), name)
        for file in archive.files(path)
        for name, data in archive.members(file)
        if data[:4] == _ELF
    )
    if not units:
        raise InputError("the archive has no machine code", where=path)
    return _Input(Kind.ARCHIVE, units, (str(path.resolve()),))


def _elf(path: Path, store: Store) -> _Input:
    elf = Elf.open(path)
    if elf.kind == "ET_REL":
        kind = Kind.APPLICATION if captured.is_application(path) else Kind.OBJECT
        return _Input(kind, (Unit(elf, str(path)),), _recorded(path))
    if elf.kind not in {"ET_EXEC", "ET_DYN"} or elf.machine != "EM_X86_64":
        return _Input(Kind.EXECUTABLE, (Unit(elf, str(path)),))
    try:
        found = captured.find(path, store)
    except InputError:
        return _Input(Kind.EXECUTABLE, (Unit(elf, str(path)),))
    return _Input(Kind.APPLICATION, (Unit(Elf.open(found), str(path)),), _recorded(found))


def _recorded(path: Path) -> tuple[str, ...]:
    """Return the archives that the compiler wrapper recorded beside an object."""
    name = path.name.removesuffix(captured.OBJECT_SUFFIX) + captured.FACTS_SUFFIX
    beside = path.with_name("ukl.json" if path.name == "ukl.o" else name)
    try:
        rows = json.loads(beside.read_text())["libraries"]
        return tuple(str(row["path"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _specified(spec: AppSpec, store: Store, progress: Progress) -> _Input:
    """Compile and partially link the program of a manifest or C file."""
    spec = prepared(spec, Context(store, progress))
    try:
        if spec.program is not None:
            found = captured.find(spec.program, store)
            unit = Unit(Elf.open(found), str(spec.program))
            return _Input(Kind.APPLICATION, (unit,), _recorded(found))
        # The check counts `syscall` instructions that are not rewritten yet.
        app = app_build.build(replace(spec, rewrite_syscalls=False), store, progress)
    except InputError as error:
        failure = finding(
            "build",
            [Place(error.where or str(spec.origin))],
            error.message,
            remedy=error.remedy or "",
        )
        return _Input(Kind.APPLICATION, (), (), failure)
    tools = toolchain.find()
    archives = [path for path in spec.objects if path.suffix == ".a"]
    archives += [
        path for name in spec.libraries if (path := toolchain.library(tools.cc, name)) is not None
    ]
    names = tuple(dict.fromkeys(map(str, [*archives, *tools.runtime])))
    return _Input(Kind.APPLICATION, (Unit(Elf.open(app.path), spec.name),), names)


def _scripts(script: PythonSpec) -> tuple[Finding, ...]:
    """Return the findings about a Python program itself, not its interpreter."""
    found = []
    if (other := installed.chosen(script)) is not None:
        modules = [Place(str(path)) for path in python.extension_modules(script)]
        return (finding("python-installed", modules, str(other.program)),)
    if missing := python.missing_modules(script):
        names = ", ".join(dict.fromkeys(name for _, name in missing))
        places = [Place(f"{script.script}:{line}") for line, _ in missing]
        found.append(finding("python-module", places, names))
    if shared := python.extension_modules(script):
        found.append(finding("python-extension", [Place(str(path)) for path in shared]))
    return tuple(found)


# --- the machine --------------------------------------------------------------


def _runtime() -> frozenset[str]:
    """Return the names that the installed C library and compiler runtime define."""
    return frozenset().union(*(archive.defined(path) for path in toolchain.find().runtime))


def start(profile: str = "", options: Mapping[str, str] = MappingProxyType({})) -> int:
    """Return the CONFIG_PHYSICAL_START of a kernel with this profile and these options.

    It bounds the size of the application's data (kernel.symbols.data_limit).
    """
    asked = {name.removeprefix("CONFIG_"): value for name, value in options.items()}
    if START in asked:
        return int(asked[START], 0)
    for name in (profile, "base"):
        file = resources.path(CONFIG) / f"{name}.config"
        text = file.read_text() if file.is_file() else ""
        if match := re.search(rf"^CONFIG_{START}=(0x[0-9a-f]+)", text, re.MULTILINE):
            return int(match[1], 16)
    raise UklError(f"base.config has no CONFIG_{START}")


def _data_limit(store: Store, begin: int) -> tuple[int, bool]:
    """Return the size limit of data [bytes] for a kernel at physical address `begin`.

    The second value is whether it is exact, from a kernel in the cache. Kernels at other
    addresses are ignored.
    """
    maps = (store.root / "kernel").glob("*/objects/System.map")
    for file in sorted(maps, key=lambda file: file.stat().st_mtime, reverse=True):
        if physical_start(file) == begin and (limit := data_limit(file)):
            return limit, True
    return begin - DATA_BASE, False


def _hint(names: list[str]) -> str | None:
    return toolchain.library_that_defines(toolchain.find(), names, toolchain.find().runtime)


def _copyright(package: str) -> str | None:
    try:
        return (DOC / package / "copyright").read_text(errors="replace")
    except OSError:
        return None


def _missing(subject: Subject) -> InputError | None:
    """Return why not all files are found that a program loads."""
    try:
        programs.files(Path(subject.units[0].file))
    except InputError as error:
        return error
    return None
