# SPDX-License-Identifier: GPL-2.0
"""Compiles kernel functions, and a program with them, with LLVM's tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ukl.base.cflags import UKL_FLAGS
from ukl.base.errors import InputError, UklError
from ukl.base.model import KernelBuild
from ukl.host import exec as host_exec
from ukl.host import packages
from ukl.host.store import Command, Store, digest
from ukl.lto import bodies

CLANG, LINK, EXTRACT, OPT = "clang", "llvm-link", "llvm-extract", "opt"
TOOLS = (CLANG, LINK, EXTRACT, OPT)

ARCHIVES = ("vmlinux.a", "lib/lib.a", "arch/x86/lib/lib.a")
"""The archives with a kernel's objects, as its link names them."""

PROCEDURE = 1
"""Part of the keys. Raise it when the results change but the commands do not."""

TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Inlined:
    """Kernel functions for a program: modules in LLVM's code, or the reasons for refusal."""

    modules: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """The kernel variables that the functions read."""
        texts = (module.read_text() for module in self.modules.values())
        return tuple(sorted({name for text in texts for name in bodies.variables(text)}))


def check() -> None:
    """Raise MissingError, with the packages, unless all tools are installed."""
    packages.require(*TOOLS)


def functions(names: Sequence[str], kernel: KernelBuild, store: Store) -> Inlined:
    """Return the bodies of the kernel functions `names`, or the reasons for refusal."""
    found = Inlined()

    @cache
    def places() -> dict[str, str]:  # not called if the store has all modules
        return _objects(kernel, set(names))

    for name in names:
        try:
            found.modules[name] = _module(name, places, kernel, store)
        except bodies.Refused as refused:
            found.refused[name] = str(refused)
    return found


def _objects(kernel: KernelBuild, names: set[str]) -> dict[str, str]:
    """Return name -> the object in the kernel's build directory that defines the function."""
    directory = kernel.directory / "objects"
    places: dict[str, str] = {}
    for archive in ARCHIVES:
        listing = host_exec.run(
            ["nm", "-A", "-g", "--defined-only", archive], cwd=directory, check=False
        )
        for line in listing.stdout.splitlines():
            place, _, rest = line.rpartition(":")
            _, kind, name = rest.split(" ", 2)
            if name in names and kind in {"T", "W"}:
                places.setdefault(name, place.removeprefix(f"{archive}:"))
    return places


def _module(
    name: str, places: Callable[[], Mapping[str, str]], kernel: KernelBuild, store: Store
) -> Path:
    objects = kernel.directory / "objects"
    key = digest(PROCEDURE, name, kernel.key, host_exec.version(CLANG), bodies.CLANG_FLAGS)

    def arguments() -> list[str]:
        if name not in places():
            raise bodies.Refused("it is not a global function in a C source")
        place = objects / places()[name]
        saved = place.with_name(f".{place.name}.cmd")
        try:
            return bodies.clang_arguments(saved.read_text().partition("\n")[0])
        except (OSError, ValueError) as error:
            raise bodies.Refused("it is not a function in a C source") from error

    def work(directory: Path) -> None:
        try:
            for argv in _extraction(name, arguments(), directory):
                _run(argv, objects, directory)
            text = (directory / "alone.ll").read_text()
            (directory / "body.ll").write_text(bodies.fit(text, name))
        except bodies.Refused as refused:
            (directory / "refused").write_text(str(refused))

    def plan(directory: Path) -> list[Command]:
        try:
            argvs = _extraction(name, arguments(), directory)
        except bodies.Refused:
            return []
        return [Command(tuple(argv), objects) for argv in argvs]

    found = store.make("lto", key, {"name": name}, work, plan)
    if (refused := found / "refused").is_file():
        raise bodies.Refused(refused.read_text())
    return found / "body.ll"


def _extraction(name: str, arguments: Sequence[str], directory: Path) -> list[list[str]]:
    """Return the commands that extract from a source the function and all that it uses."""
    whole, cut, alone = (str(directory / file) for file in ("whole.bc", "cut.bc", "alone.ll"))
    return [
        [CLANG, *bodies.CLANG_FLAGS, *arguments[:-1], "-c", arguments[-1], "-o", whole],
        [EXTRACT, f"--func={name}", "--recursive", "--keep-const-init", whole, "-o", cut],
        # Make internal what llvm-extract made external, and remove unused constants.
        [
            *(OPT, "-S", "-passes=internalize,globaldce"),
            *(f"--internalize-public-api-list={name}", cut, "-o", alone),
        ],
    ]


def program(name: str, units: Sequence[Path], inlined: Inlined, store: Store, where: Path) -> Path:
    """Return the object made of a program's `units` (LLVM's code) and the kernel's bodies.

    Raises InputError, at `where`, if they do not fit together.
    """
    modules = list(inlined.modules.values())
    inputs = [*map(str, units), *map(str, modules)]
    key = digest(PROCEDURE, [*units, *modules], UKL_FLAGS, host_exec.version(CLANG))

    def commands(directory: Path) -> list[list[str]]:
        own, whole, output = (str(directory / file) for file in ("own.bc", "all.bc", "out.o"))
        return [
            [LINK, *map(str, units), "-o", own],
            # --internalize makes the bodies internal, so that inlined ones are removed.
            [LINK, "--internalize", own, *map(str, modules), "-o", whole],
            [CLANG, "-O2", "-w", *UKL_FLAGS, "-c", whole, "-o", output],
        ]

    def work(directory: Path) -> None:
        try:
            for argv in commands(directory):
                _run(argv, directory, directory)
        except UklError as error:
            raise InputError(
                f"the kernel functions do not fit the program: {error.message}",
                where=where,
                remedy="compare the prototypes in `imports` of [kernel] with the kernel's source",
            ) from error

    def plan(directory: Path) -> list[Command]:
        return [Command(tuple(argv), directory) for argv in commands(directory)]

    summary = {"name": name, "inputs": inputs}
    return store.make("lto", key, summary, work, plan) / "out.o"


def _run(argv: Sequence[str], where: Path, directory: Path) -> None:
    host_exec.run(argv, cwd=where, log=directory / "build.log", timeout=TIMEOUT)
