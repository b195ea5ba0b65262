# SPDX-License-Identifier: GPL-2.0
"""Builds an application from sources and archives into an object for the kernel.

Each compiled source and each linked application is a cache entry, keyed by the
content of all its inputs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.app import compile as plan
from ukl.app import link, link_commands, linking, populated, sections, toolchain
from ukl.app.linking import Hint, Linking
from ukl.base import pkgconfig, resources
from ukl.base.cflags import SANITIZER_REMEDY, refused_sanitizers, sanitizers
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec, KernelBuild, Level
from ukl.base.progress import Progress
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec
from ukl.host.store import Command, Store, digest
from ukl.lto import build as lto
from ukl.pgo import counts
from ukl.pgo.flags import COUNTED, COUNTING, ROOT

PROCEDURE = 13
"""Part of the key. Raise it when the link's result changes but its argument lists do not."""


def build(
    spec: AppSpec, store: Store, progress: Progress, kernel: KernelBuild | None = None
) -> AppObject:
    """Build `spec`; return its object, the facts about it and its normal executable.

    With `kernel`, the kernel functions that `spec` imports are compiled into the
    application. Raises InputError for sources that do not compile and for missing or
    duplicate symbols or libraries, MissingError for tools that are not installed.
    """
    if not spec.sources and not spec.objects:
        raise InputError(
            "nothing to build: no sources and no objects",
            where=spec.origin,
            remedy="name a C or C++ file in `sources` of [app]",
        )
    if refused := refused_sanitizers(spec.cflags):
        raise InputError(refused, where=spec.origin, remedy=SANITIZER_REMEDY)
    for source in spec.sources:
        plan.check_suffix(source)
    is_cxx = any(plan.is_cxx(source) for source in spec.sources)
    tools = toolchain.find(cxx=is_cxx)
    scripts = resources.path(linking.SCRIPTS)
    compiled: list[str] = []
    inlined = _inlined(spec, kernel, store, progress) if kernel is not None else None
    includes = (plan.INCLUDE, *_headers(spec, store, inlined.modules if inlined else ()))

    with progress.stage(f"compile {spec.name}") as stage:
        feedback = _feedback(spec, store)
        units = [_unit(source, spec, tools, includes, feedback) for source in spec.sources]
        if inlined:
            units = [plan.intermediate(unit, lto.CLANG) for unit in units]
        support = [
            plan.unit(source, source.parent, (), tools.cc, tools.cxx)
            for source in (scripts / "crt.S", scripts / "syscall.S", *populated.sources(spec))
        ]
        made: list[Path] = []
        for number, unit in enumerate([*units, *support]):
            stage.update(number, len(units), unit.source)
            made.append(compile_unit(unit, store, compiled))
        if not compiled:
            stage.cached()
    own, (crt, syscall, *populate) = made[: len(units)], made[len(units) :]
    if inlined:
        with progress.stage(f"compile {spec.name} with {len(inlined.modules)} kernel functions"):
            own = [lto.program(spec.name, own, inlined, store, spec.origin)]
    objects = [*own, *(path for path in spec.objects if path.suffix != ".a")]
    _check_objects(spec)
    inputs = link.Inputs(tuple(objects), _libraries(spec, tools, is_cxx), crt=crt)
    origin = {str(path): unit.source for path, unit in zip(made, units, strict=False)}
    if inlined:
        origin[str(own[0])] = spec.name
    with progress.stage(f"partial link {spec.name}") as stage:
        key = _link_key(tools, inputs, syscall, scripts, populate, level=spec.rewriting)
        if store.get("app", key) is not None:
            stage.cached()
        links = Linking(
            tools.ld,
            tools.objcopy,
            tuple(link.ld_inputs(tools, inputs)),
            scripts,
            origin,
            spec.origin,
            _hint(tools, inputs.libraries),
        )
        summary = {"name": spec.name, "objects": objects, "libraries": inputs.libraries}

        def work(directory: Path) -> None:
            links.run(directory)
            populated.join(tools.ld, tools.objcopy, directory, populate)
            links.finish(directory, syscall, level=spec.rewriting)

        def commands(directory: Path) -> list[Command]:
            return link_commands.links(links, directory, syscall, populate)

        directory = store.make("app", key, summary, work, commands)
        found = linking.read_facts(directory)
        stage.result(linking.summary(found))
    variables = inlined.variables if inlined else ()
    return AppObject(spec.name, directory / "app.o", directory / "user", found, key, variables)


def _inlined(spec: AppSpec, kernel: KernelBuild, store: Store, progress: Progress) -> lto.Inlined:
    """Return the bodies of the functions that `spec` imports; report those without, and why."""
    from ukl.settings import prototypes  # noqa: PLC0415 - as in _imports()

    lto.check()
    others = [source for source in spec.sources if source.suffix not in plan.C_SUFFIXES]
    if others:
        raise InputError(
            f"{others[0].name} is not C: --lto requires that all sources are C",
            where=spec.origin,
            remedy="leave --lto out, or name its compiled object in `objects` of [link]",
        )
    if spec.counting or spec.pgo is not None:
        raise InputError(
            "--lto and --pgo exclude each other: --lto uses clang, --pgo uses gcc",
            where=spec.origin,
            remedy="leave one of them out",
        )
    names = [prototypes.parse(prototype).name for prototype in spec.imports]
    if not names:
        raise InputError(
            "--lto compiles kernel functions into the application, but it imports none",
            where=spec.origin,
            remedy="write their prototypes into `imports` of [kernel]",
        )
    with progress.stage(f"kernel functions for {spec.name}"):
        found = lto.functions(names, kernel, store)
    for name, reason in found.refused.items():
        progress.line(f"{name} stays in the kernel and is called: {reason}")
    return found


def _headers(spec: AppSpec, store: Store, inlined: Collection[str]) -> list[Path]:
    return [*_imports(spec, store, inlined), *exported_headers(spec, store)]


def _imports(spec: AppSpec, store: Store, inlined: Collection[str] = ()) -> list[Path]:
    """Return the directory with the header that declares the kernel functions `spec` imports."""
    if not spec.imports:
        return []
    from ukl.app import imports  # noqa: PLC0415 - pycparser takes 0.1 s that others do not need

    text = imports.header(spec.imports, inlined)

    def work(directory: Path) -> None:
        (directory / imports.HEADER).write_text(text)

    return [store.make("imports", digest("imports", text), {"name": spec.name}, work)]


def exported_headers(spec: AppSpec, store: Store) -> list[Path]:
    """Return the directory with the headers of the kernel code of `spec`."""
    if not spec.kernel_sources:
        return []
    from ukl.app import exported  # noqa: PLC0415 - as in _imports()
    from ukl.settings import exports  # noqa: PLC0415

    found = exports.all_of(spec.kernel_sources)
    texts = {}
    for source in spec.kernel_sources:
        name = exported.name_of(source)
        for directory in {source.parent, *(each.parent for each in spec.sources)}:
            if (directory / name).exists():
                raise InputError(
                    f"{name} would hide the header of that name that ukl makes from {source.name}",
                    where=directory / name,
                    remedy="rename one of the files",
                )
        own = [each for each in found if each.source == source]
        texts[name] = exported.header(source, own)

    def work(directory: Path) -> None:
        for name, text in texts.items():
            (directory / name).write_text(text)

    return [store.make("imports", digest("exports", texts), {"name": spec.name}, work)]


def _feedback(spec: AppSpec, store: Store) -> plan.Feedback:
    """Return the compiler's options that count branches, or that use such counts."""
    if spec.counting:
        return plan.Feedback(COUNTING, f"{ROOT}{spec.name}")
    if spec.pgo is None:
        return plan.NO_FEEDBACK
    directory = counts.unpacked(spec.pgo, counts.APP, store) / spec.name
    return plan.Feedback(COUNTED, str(directory))


def _unit(
    source: Path,
    spec: AppSpec,
    tools: link.Toolchain,
    includes: Sequence[Path],
    feedback: plan.Feedback,
) -> plan.Unit:
    if not source.is_file():
        raise InputError(
            "no such source file", where=source, remedy=f"correct `sources` in {spec.origin}"
        )
    return plan.unit(
        source,
        spec.directory,
        spec.cflags,
        tools.cc,
        tools.cxx,
        includes=includes,
        feedback=feedback,
    )


# --- compile --------------------------------------------------------------


def compile_unit(unit: plan.Unit, store: Store, compiled: list[str]) -> Path:
    """Return the compiled object of `unit`; if the compiler ran, append it to `compiled`."""
    begin = time.time_ns()
    text = _text(unit)
    key = digest(
        text,
        [unit.directory / name for name in _incbins(unit, text)],
        unit.source,
        unit.flags,
        plan.ENVIRONMENT,
        host_exec.version(unit.compiler),
        *_counted(unit),
    )
    summary = {"source": unit.source, "directory": unit.directory, "flags": unit.flags}

    def work(directory: Path) -> None:
        compiled.append(unit.source)
        _run_compiler(unit, directory, begin)

    def commands(directory: Path) -> list[Command]:
        argv = unit.compile_argv(directory / "out.o", directory / "out.d")
        return [Command(tuple(argv), unit.directory)]

    return store.make("object", key, summary, work, commands) / "out.o"


def _counted(unit: plan.Unit) -> list[object]:
    """Return the counts' part of the key: their file, or the path they will be written to."""
    if not unit.counts:
        return []
    file = unit.counted
    return [file if file.is_file() else unit.counts.startswith(ROOT) and str(file)]


def _text(unit: plan.Unit) -> bytes:
    """Return the preprocessed source, or the preprocessor's messages if it fails.

    The messages then form the key; the compilation fails with the same messages
    and writes a log.
    """
    text = (unit.directory / unit.source).read_bytes()
    if not unit.preprocessed or plan.is_alone(text, unit.flags):
        return text
    with TemporaryDirectory(prefix="ukl-") as temporary:
        output = Path(temporary) / "text"
        result = host_exec.run(
            unit.preprocess_argv(output), cwd=unit.directory, env=plan.ENVIRONMENT, check=False
        )
        return output.read_bytes() if result.returncode == 0 else result.stdout.encode()


def _incbins(unit: plan.Unit, text: bytes) -> list[str]:
    return [n for n in plan.included_binaries(text) if (unit.directory / n).is_file()]


def _run_compiler(unit: plan.Unit, directory: Path, begin: int) -> None:
    """Compile into `directory`; `begin` is when its sources were first read [ns]."""
    log, depfile = directory / "compile.log", directory / "out.d"
    try:
        host_exec.run(
            unit.compile_argv(directory / "out.o", depfile),
            cwd=unit.directory,
            env=plan.ENVIRONMENT,
            log=log,
        )
    except host_exec.CommandFailed as error:
        raise plan.explain(unit.directory / unit.source, error.output, log) from error
    if not unit.preprocessed:
        return
    for name in plan.dependencies(depfile.read_text()):
        header = unit.directory / name
        if header.is_file() and header.stat().st_mtime_ns > begin:
            raise InputError(
                "changed during compilation", where=header, remedy="run the command again"
            )


# --- link -----------------------------------------------------------------


def _check_objects(spec: AppSpec) -> None:
    for path in spec.objects:
        if path.suffix == ".a":
            if not path.is_file():
                raise InputError("no such archive", where=path)
            continue
        elf = Elf.open(path)
        if elf.machine != "EM_X86_64":
            raise InputError(f"object for {elf.machine}, not for x86-64", where=path)


def _libraries(spec: AppSpec, tools: link.Toolchain, is_cxx: bool) -> tuple[Path, ...]:
    """Return all archives: the application's own first, so that they take precedence."""
    paths = [path for path in spec.objects if path.suffix == ".a"]
    names = [
        *spec.libraries,
        *(link.CXX_LIBRARIES if is_cxx else ()),
        *(("gcov",) if spec.counting else ()),
        *(("ubsan",) if sanitizers(spec.cflags) else ()),
    ]
    table = pkgconfig.Table(pkgconfig.read() if names else {})
    for name in dict.fromkeys(names):
        found = toolchain.library(tools.cc, name)
        if found is None:
            raise link.missing_library(name, toolchain.shared(tools.cc, name), spec.origin)
        paths.append(found)
        for other in table.needed(name, os.path.exists):
            if (archive := toolchain.library(tools.cc, other)) is not None:
                paths.append(archive)
    return tuple(dict.fromkeys(paths))


def _link_key(
    tools: link.Toolchain,
    inputs: link.Inputs,
    syscall: Path,
    scripts: Path,
    populate: Sequence[Path],
    *,
    level: Level | None,
) -> str:
    bare = link.ld_inputs(tools, link.Inputs((), (), Path("crt")))
    out = Path("out")
    return digest(
        PROCEDURE,
        level,
        tools.identity,
        link.partial_argv(tools.ld, bare, script=out, parts=out, output=out),
        link.weaken_argv(tools.objcopy, out, out),
        link.localise_argv(tools.objcopy, out, out),
        link.user_argv(tools.ld, out, out, Path("script"), out),
        sorted(sections.IMPORTS),
        [*inputs.objects, *inputs.libraries, inputs.crt, syscall],
        [*tools.crt_before, *tools.crt_after, *tools.runtime],
        [scripts / "app.lds", scripts / "user.lds"],
        *populate,
        *populated.argvs(tools.ld, tools.objcopy, out, [out] * len(populate)),
    )


def _hint(tools: link.Toolchain, libraries: tuple[Path, ...]) -> Hint:
    """Return the function that finds an installed library which defines missing symbols."""

    def find(missing: Sequence[str]) -> str | None:
        return toolchain.library_that_defines(tools, missing, {*libraries, *tools.runtime})

    return find
