# SPDX-License-Identifier: GPL-2.0
"""Compiles the kernel code of an application: `sources` of [kernel].

kbuild compiles it, with the flags of built-in code and objtool, in a work directory like that
of the final link. The result is one object with the entries of the exported functions as its
only global symbols. Only the final link uses it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, KernelBuild
from ukl.base.progress import Progress
from ukl.elf.names import OWN
from ukl.elf.reader import SHF_TLS, Elf
from ukl.host import exec as host_exec
from ukl.host.exec import CommandFailed, run
from ukl.host.store import Command, Store, digest, is_no_space
from ukl.kernel import side_checks, symbols
from ukl.kernel.link import compose
from ukl.kernel.make_args import LinkRecipe, check_path

OBJECT = "kernel.o"

_FORMAT = 1
"""Part of the key; incremented when the same inputs give another object."""

_DIRECTORY = "ukl"
"""Where in the work directory the sources are."""

_ENTRIES = "_entries"

MAKEFILE = """\
obj-y := {objects}
asflags-y := -I$(srctree)
ccflags-y := {includes} -fcallgraph-info -Werror=vla -Werror=alloca
frame := $(filter-out 0,$(CONFIG_FRAME_WARN))
ccflags-y += $(addprefix -Werror=frame-larger-than=,$(frame))
ccflags-y += -Werror=implicit-function-declaration
"""

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)

_ARCHIVES = ("lib/lib.a", "arch/x86/lib/lib.a")
"""What the final link takes objects from when a symbol needs them."""


def build(
    spec: AppSpec, names: Sequence[str], kernel: KernelBuild, store: Store, progress: Progress
) -> Path:
    """Return the object with the kernel code of `spec`, for this kernel; it exports `names`.

    Raises InputError, with the line where possible, for what kernel code must not do.
    """
    directories = list(dict.fromkeys(source.parent for source in spec.kernel_sources))
    for directory in directories:
        check_path(directory)
    inputs = [(file.name, file) for file in (*spec.kernel_sources, *headers(spec.kernel_sources))]
    key = digest("side", _FORMAT, MAKEFILE, kernel.key, list(names), inputs)
    makefile = MAKEFILE.format(
        objects=" ".join(f"{stem}.o" for stem in _stems(spec)),
        includes=" ".join(f"-iquote {directory}" for directory in directories),
    )

    def work(out: Path) -> None:
        place = out / "work"
        _compose(spec, kernel, place, makefile, names)
        _compile(spec, kernel, place, progress)
        (place / OBJECT).rename(out / OBJECT)
        shutil.rmtree(place)

    def plan(out: Path) -> list[Command]:
        place = out / "work"
        return [Command(tuple(argv), place) for argv in _commands(spec, kernel, place)]

    with progress.stage(f"compile the kernel code of {spec.name}") as stage:
        if store.get("side", key) is not None:
            stage.cached()
        summary = {"name": spec.name, "kernel": kernel.key, "exports": list(names)}
        return store.make("side", key, summary, work, plan) / OBJECT


def headers(sources: Sequence[Path]) -> list[Path]:
    """Return the headers that the sources include by `#include "..."`, and these in turn."""
    directories = [source.parent for source in sources]
    found: dict[Path, None] = {}
    left = list(sources)
    while left:
        file = left.pop()
        for name in _INCLUDE.findall(file.read_text(errors="replace")):
            for directory in (file.parent, *directories):
                header = directory / name
                if header.is_file() and header not in found:
                    found[header] = None
                    left.append(header)
    return sorted(found)


def _stems(spec: AppSpec) -> list[str]:
    return [*(source.stem for source in spec.kernel_sources), _ENTRIES]


def _compose(
    spec: AppSpec, kernel: KernelBuild, work: Path, makefile: str, names: Sequence[str]
) -> None:
    """Make the work directory: the kernel's, with the sources, their Makefile and the entries."""
    compose(kernel.directory / "objects", work)
    place = work / _DIRECTORY
    place.mkdir()
    (place / "Makefile").write_text(makefile)
    entries = ["#include <arch/x86/ukl/function.S>", *(f"ukl_function_entry {n}" for n in names)]
    (place / f"{_ENTRIES}.S").write_text("\n".join([*entries, ""]))
    for source in spec.kernel_sources:
        shutil.copyfile(source, place / source.name)


def _recipe(kernel: KernelBuild, work: Path) -> LinkRecipe:
    recipe = LinkRecipe.read(kernel.directory / "link.json").for_directory(kernel.source, work)
    # ccache does not know the file with the call graph.
    environment = recipe.environment
    environment["CC"] = environment.get("CC", "gcc").removeprefix("ccache ")
    return recipe


def _commands(spec: AppSpec, kernel: KernelBuild, work: Path) -> list[list[str]]:
    """Return the commands that compile and join the objects. Pure, but for the kernel's recipe."""
    environment = _recipe(kernel, work).environment
    objects = [f"{_DIRECTORY}/{stem}.o" for stem in _stems(spec)]
    return [
        [
            *("make", "-f", str(kernel.source / "scripts/Makefile.build"), f"obj={_DIRECTORY}"),
            # The sources are here and not in the kernel's tree.
            f"src={_DIRECTORY}",
            # Where objtool runs on the linked kernel, this object is not part of that yet.
            *("delay-objtool=", "need-builtin=1", "-j2", *objects),
        ],
        [environment.get("LD", "ld"), "-r", "-o", OBJECT, *objects],
    ]


def _compile(spec: AppSpec, kernel: KernelBuild, work: Path, progress: Progress) -> None:
    environment = _recipe(kernel, work).environment
    sources = {f"{_DIRECTORY}/{source.name}": source for source in spec.kernel_sources}
    log = work.parent / "compile.log"
    make, join = _commands(spec, kernel, work)
    try:
        output = run(make, cwd=work, env=environment, log=log).stdout
        graphs = [file.read_text() for file in sorted((work / _DIRECTORY).glob("*.ci"))]
        graph = side_checks.calls(graphs, sources)
        side_checks.check_recursion(graph)
        run(join, cwd=work, env=environment, log=log)
    except CommandFailed as error:
        if is_no_space(error):
            raise
        raise side_checks.explain(error.output, sources, error.log) from None
    for line in side_checks.warnings(output, sources):
        progress.line(line)
    elf = Elf.open(work / OBJECT)
    if any(section.flags & SHF_TLS for section in elf.sections):
        raise InputError(
            "a thread-local variable: the kernel has none",
            where=spec.kernel_sources[0],
            remedy="use DEFINE_PER_CPU() for a variable of each processor, or pass a pointer",
        )
    missing = _missing(elf, kernel)
    side_checks.check_undefined(missing, graph, spec.kernel_sources[0])
    # All else becomes local, so that names of the kernel and of other applications are free.
    objcopy = environment.get("OBJCOPY", "objcopy")
    keep = f"--keep-global-symbol={OWN}*"
    run([objcopy, "--wildcard", keep, OBJECT], cwd=work, env=environment, log=log)


def _missing(elf: Elf, kernel: KernelBuild) -> list[str]:
    """Return the undefined names that the final link will not find."""
    objects = kernel.directory / "objects"
    known = symbols.read_map(objects / "System.map")
    missing = {
        symbol.name
        for symbol in elf.symbols
        if symbol.undefined and symbol.name and not known.get(symbol.name, (0, ""))[1].isupper()
    }
    if missing:
        listing = host_exec.run(["nm", "-g", "--defined-only", *_ARCHIVES], cwd=objects).stdout
        missing -= set(re.findall(r"^\S+ [A-Z] (\S+)$", listing, re.MULTILINE))
    return sorted(missing)
