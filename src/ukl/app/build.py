# SPDX-License-Identifier: GPL-2.0
"""Builds an application: sources and archives in, an object for the kernel out.

Each compiled source and each linked application is an entry of the cache, keyed
by the content of everything that went into it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.app import compile as plan
from ukl.app import link, planned, populated, sections, toolchain
from ukl.app.linking import SCRIPTS, Hint, Linking, known
from ukl.app.linking import summary as linked
from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import AppObject, AppSpec, KernelBuild, Level
from ukl.base.progress import Progress
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec
from ukl.host.store import Command, Store, digest
from ukl.lto import build as lto
from ukl.pgo import counts
from ukl.pgo.flags import COUNTED, COUNTING, ROOT

PROCEDURE = 6
"""Part of the key: raised when the link's result changes and its argument lists do not."""


def build(
    spec: AppSpec, store: Store, progress: Progress, kernel: KernelBuild | None = None
) -> AppObject:
    """Build `spec` and return its object, facts and the normal executable of the same.

    With `kernel`, functions of it that are imported are compiled into the application.
    Raises InputError for sources that do not compile and for symbols or libraries
    that are missing or doubled, MissingError for tools that are not installed.
    """
    if not spec.sources and not spec.objects:
        raise InputError(
            "nothing to build: neither sources nor objects",
            where=spec.origin,
            remedy="name a C or C++ file in `sources` of [app]",
        )
    for source in spec.sources:
        plan.check_suffix(source)
    is_cxx = any(plan.is_cxx(source) for source in spec.sources)
    tools = toolchain.find(cxx=is_cxx)
    scripts = resources.path(SCRIPTS)
    compiled: list[str] = []
    inlined = _inlined(spec, kernel, store, progress) if kernel is not None else None
    includes = (plan.INCLUDE, *_imports(spec, store, inlined.modules if inlined else ()))

    with progress.stage(f"compile {spec.name}") as stage:
        feedback = _feedback(spec, store)
        units = [_unit(source, spec, tools, includes, feedback) for source in spec.sources]
        if inlined:
            units = [plan.intermediate(unit, lto.CLANG) for unit in units]
        ours = [
            plan.unit(source, source.parent, (), tools.cc, tools.cxx)
            for source in (scripts / "crt.S", scripts / "syscall.S", *populated.sources(spec))
        ]
        made: list[Path] = []
        for number, unit in enumerate([*units, *ours]):
            stage.update(number, len(units), unit.source)
            made.append(compile_unit(unit, store, compiled))
        if not compiled:
            stage.cached()
    own, (crt, syscall, *populate) = made[: len(units)], made[len(units) :]
    if inlined:
        with progress.stage(
            f"compile {spec.name} and {len(inlined.modules)} of the kernel's functions"
        ):
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
        linking = Linking(
            tools.ld,
            tools.objcopy,
            tuple(link.words(tools, inputs)),
            scripts,
            origin,
            spec.origin,
            _hint(tools, inputs.libraries),
        )
        summary = {"name": spec.name, "objects": objects, "libraries": inputs.libraries}

        def work(directory: Path) -> None:
            linking.run(directory)
            populated.join(tools.ld, tools.objcopy, directory, populate)
            linking.finish(directory, syscall, level=spec.rewriting)

        def commands(directory: Path) -> list[Command]:
            return planned.links(linking, directory, syscall, populate)

        directory = store.make("app", key, summary, work, commands)
        found = known(directory)
        stage.result(linked(found))
    variables = inlined.variables if inlined else ()
    return AppObject(spec.name, directory / "app.o", directory / "user", found, key, variables)


def _inlined(spec: AppSpec, kernel: KernelBuild, store: Store, progress: Progress) -> lto.Inlined:
    """Return the bodies of the functions that `spec` imports; says which have none, and why."""
    from ukl.settings import prototypes  # noqa: PLC0415 - as in _imports()

    lto.check()
    others = [source for source in spec.sources if source.suffix not in plan.C_SUFFIXES]
    if others:
        raise InputError(
            f"{others[0].name} is not C: with --lto all sources have to be",
            where=spec.origin,
            remedy="leave --lto out, or put it into `objects` of [link], compiled",
        )
    if spec.counting or spec.pgo is not None:
        raise InputError(
            "--lto and --pgo do not go together: one is clang's, the other gcc's",
            where=spec.origin,
            remedy="leave one of them out",
        )
    names = [prototypes.parse(prototype).name for prototype in spec.imports]
    if not names:
        raise InputError(
            "--lto compiles functions of the kernel into the application, and it names none",
            where=spec.origin,
            remedy="write their prototypes into `imports` of [kernel]",
        )
    with progress.stage(f"functions of the kernel for {spec.name}"):
        found = lto.functions(names, kernel, store)
    for name, reason in found.refused.items():
        progress.line(f"{name} stays in the kernel and is called: {reason}")
    return found


def _imports(spec: AppSpec, store: Store, inlined: Collection[str] = ()) -> list[Path]:
    """Return the directory with the header of the kernel's functions that `spec` imports."""
    if not spec.imports:
        return []
    from ukl.app import imports  # noqa: PLC0415 - pycparser takes 0.1 s that others do not need

    text = imports.header(spec.imports, inlined)

    def work(directory: Path) -> None:
        (directory / imports.HEADER).write_text(text)

    return [store.make("imports", digest("imports", text), {"name": spec.name}, work)]


def _feedback(spec: AppSpec, store: Store) -> plan.Feedback:
    """Return how the sources are compiled to count, or by counts."""
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
        raise InputError("the source is not there", where=source, remedy=f"see {spec.origin}")
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
    """Return the compiled object of `unit`; a run that was needed is noted in `compiled`."""
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
    """Return what stands for the counts in the key: theirs, or the name they will have."""
    if not unit.counts:
        return []
    file = unit.counted
    return [file if file.is_file() else unit.counts.startswith(ROOT) and str(file)]


def _text(unit: plan.Unit) -> bytes:
    """Return what the compiler proper would see; the preprocessor's complaints if it fails.

    These make a key of their own, under which the compilation then fails with
    the same words, and a log.
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
                "changed while it was compiled", where=header, remedy="run the command again"
            )


# --- link -----------------------------------------------------------------


def _check_objects(spec: AppSpec) -> None:
    for path in spec.objects:
        if path.suffix == ".a":
            if not path.is_file():
                raise InputError("the archive is not there", where=path)
            continue
        elf = Elf.open(path)
        if elf.machine != "EM_X86_64":
            raise InputError(f"an object for {elf.machine}, not for x86-64", where=path)


def _libraries(spec: AppSpec, tools: link.Toolchain, is_cxx: bool) -> tuple[Path, ...]:
    """Return all archives: those of the application first, so that theirs win."""
    paths = [path for path in spec.objects if path.suffix == ".a"]
    names = [
        *spec.libraries,
        *(link.CXX_LIBRARIES if is_cxx else ()),
        *(("gcov",) if spec.counting else ()),
    ]
    for name in dict.fromkeys(names):
        found = toolchain.library(tools.cc, name)
        if found is None:
            raise link.missing_library(name, toolchain.shared(tools.cc, name), spec.origin)
        paths.append(found)
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
    bare = link.words(tools, link.Inputs((), (), Path("crt")))
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
    """Return the function that names an installed library which defines missing symbols."""

    def look(missing: Sequence[str]) -> str | None:
        return toolchain.library_that_defines(tools, missing, {*libraries, *tools.runtime})

    return look
