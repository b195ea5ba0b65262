# SPDX-License-Identifier: GPL-2.0
"""Compiles functions of the kernel, and a program with them, by LLVM's tools."""

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
"""Where a kernel's objects are, as its link takes them."""

PROCEDURE = 1
"""Part of the keys: raised when the results change and the commands do not."""

TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Inlined:
    """Functions of a kernel for a program: modules of LLVM's code, and why others have none."""

    modules: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        """The kernel's variables that the functions read."""
        texts = (module.read_text() for module in self.modules.values())
        return tuple(sorted({name for text in texts for name in bodies.variables(text)}))


def check() -> None:
    """Raise MissingError, with the packages, unless all tools are there."""
    packages.require(*TOOLS)


def functions(names: Sequence[str], kernel: KernelBuild, store: Store) -> Inlined:
    """Return the bodies of the kernel's functions `names`, as far as they can have one."""
    found = Inlined()

    @cache
    def places() -> dict[str, str]:  # of no use where all is in the store
        return _objects(kernel, set(names))

    for name in names:
        try:
            found.modules[name] = _module(name, places, kernel, store)
        except bodies.Refused as refused:
            found.refused[name] = str(refused)
    return found


def _objects(kernel: KernelBuild, names: set[str]) -> dict[str, str]:
    """Return name -> object, within the kernel's build directory, that defines the function."""
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

    def words() -> list[str]:
        if name not in places():
            raise bodies.Refused("it is no global function of a source in C")
        place = objects / places()[name]
        saved = place.with_name(f".{place.name}.cmd")
        try:
            return bodies.clang_words(saved.read_text().partition("\n")[0])
        except (OSError, ValueError) as error:
            raise bodies.Refused("it is no function of a source in C") from error

    def work(directory: Path) -> None:
        try:
            for argv in _extraction(name, words(), directory):
                _run(argv, objects, directory)
            text = (directory / "alone.ll").read_text()
            (directory / "body.ll").write_text(bodies.fit(text, name))
        except bodies.Refused as refused:
            (directory / "refused").write_text(str(refused))

    def plan(directory: Path) -> list[Command]:
        try:
            argvs = _extraction(name, words(), directory)
        except bodies.Refused:
            return []
        return [Command(tuple(argv), objects) for argv in argvs]

    found = store.make("lto", key, {"name": name}, work, plan)
    if (refused := found / "refused").is_file():
        raise bodies.Refused(refused.read_text())
    return found / "body.ll"


def _extraction(name: str, words: Sequence[str], directory: Path) -> list[list[str]]:
    """Return the commands that leave of a source the function and what it reaches."""
    whole, cut, alone = (str(directory / file) for file in ("whole.bc", "cut.bc", "alone.ll"))
    return [
        [CLANG, *bodies.CLANG_FLAGS, *words[:-1], "-c", words[-1], "-o", whole],
        [EXTRACT, f"--func={name}", "--recursive", "--keep-const-init", whole, "-o", cut],
        # What llvm-extract has made visible to others, and constants that nobody uses.
        [
            *(OPT, "-S", "-passes=internalize,globaldce"),
            *(f"--internalize-public-api-list={name}", cut, "-o", alone),
        ],
    ]


def program(name: str, units: Sequence[Path], inlined: Inlined, store: Store, where: Path) -> Path:
    """Return the object of a program's `units`, which are LLVM's code, and the kernel's bodies.

    InputError, at `where`, if they do not go together.
    """
    modules = list(inlined.modules.values())
    inputs = [*map(str, units), *map(str, modules)]
    key = digest(PROCEDURE, [*units, *modules], UKL_FLAGS, host_exec.version(CLANG))

    def commands(directory: Path) -> list[list[str]]:
        own, whole, output = (str(directory / file) for file in ("own.bc", "all.bc", "out.o"))
        return [
            [LINK, *map(str, units), "-o", own],
            # What is linked in becomes the program's own, and goes where it was inlined.
            [LINK, "--internalize", own, *map(str, modules), "-o", whole],
            [CLANG, "-O2", "-w", *UKL_FLAGS, "-c", whole, "-o", output],
        ]

    def work(directory: Path) -> None:
        try:
            for argv in commands(directory):
                _run(argv, directory, directory)
        except UklError as error:
            raise InputError(
                f"the functions of the kernel do not fit the program: {error.message}",
                where=where,
                remedy="compare the prototypes in `imports` of [kernel] with the kernel's source",
            ) from error

    def plan(directory: Path) -> list[Command]:
        return [Command(tuple(argv), directory) for argv in commands(directory)]

    summary = {"name": name, "inputs": inputs}
    return store.make("lto", key, summary, work, plan) / "out.o"


def _run(argv: Sequence[str], where: Path, directory: Path) -> None:
    host_exec.run(argv, cwd=where, log=directory / "build.log", timeout=TIMEOUT)
