# SPDX-License-Identifier: GPL-2.0
"""Runs a suite of bench/ in all its variants, interleaved, and returns the samples."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.app import build as app_build
from ukl.app.compile import INCLUDE
from ukl.base.errors import UklError, UsageError
from ukl.base.model import AppSpec, Guest, Outcome
from ukl.bench import environment, samples, stats
from ukl.bench.functions import Profile, mean
from ukl.bench.samples import Key, Meter, Profiled, Report
from ukl.bench.suites import (
    HEADERS,
    LOAD,
    LOAD_SOURCES,
    PROGRAMS,
    SUITES,
    BootSuite,
    BuildSuite,
    ProgramSuite,
    ServerSuite,
    Suite,
)
from ukl.bench.variants import VARIANTS, Variant
from ukl.flow import kernel as kernels
from ukl.flow import outside, running
from ukl.flow.bootable import Bootable, bootable, prepared
from ukl.flow.context import Context
from ukl.guest import build as guest_build
from ukl.kernel import link as kernel_link
from ukl.settings import manifest
from ukl.settings.table import Overrides, overridden
from ukl.vm import launch, outcome, session

TIMEOUT = 900.0
"""Seconds for one boot and all samples of it."""

SAMPLE_MS = 50
"""Minimum milliseconds of a timed sample."""

ROUNDS: Mapping[Meter, int] = {Meter.INSTRUCTIONS: 2, Meter.TIME: 5, Meter.EXITS: 2}
"""Boots per variant. For counts, two show that boots give (nearly) the same numbers."""

COUNTED = ("nokaslr", "norandmaps")
"""Words for the kernel's command line while counting: addresses influence some counts."""

COST_LIMIT = 3
"""Instructions that a normal process's getppid() may take more than on unpatched Linux."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure. `rounds` None: the default of each meter; `rows` empty: all rows.

    `functions`: also profile by function what is counted from outside. `overrides` are settings
    of all guests, except for `pgo`, which is only for the variant that
    uses branch counts.
    """

    variants: tuple[Variant, ...]
    meters: tuple[Meter, ...]
    rounds: int | None = None
    rows: tuple[str, ...] = ()
    overrides: Overrides = field(default_factory=dict)
    functions: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A variant that has been built."""

    variant: Variant
    spec: AppSpec
    made: Bootable


@dataclass(frozen=True, slots=True)
class _Boot:
    """A guest's output, and the seconds from QEMU's start to the first of it."""

    console: str
    first_output: float


@dataclass(frozen=True, slots=True)
class _Lab:
    """The common parts of all measurements."""

    wanted: Wanted
    context: Context
    kernels: dict[str, str]
    """Variant -> version and key of its kernel; filled by the builds."""
    profiles: dict[Profiled, list[Profile]] = field(default_factory=dict)
    """One for each boot; filled by the measurements."""


def measure(suites: Sequence[Suite], wanted: Wanted, context: Context) -> Report:
    """Build what is necessary, run `suites`, and return all samples.

    Raises the errors of building and booting, UklError if a program failed, and
    KeyboardInterrupt if Ctrl-C stopped a guest.
    """
    caps = running.host_caps(context.store, context.progress)
    lab = _Lab(wanted, context, {})
    found = environment.gather(caps)
    suites = _measured(lab, suites)
    series: dict[Key, list[tuple[float, ...]]] = {}
    kernels.announce(_kernels(lab, suites), context)
    for suite in suites:
        if isinstance(suite, BuildSuite):
            _builds(lab, suite, series)
        else:
            _guests(lab, suite, series)
    found["kernels"] = lab.kernels
    if any(key.meter is Meter.EXITS for key in series):
        found["clients' network"] = outside.network(context)
    return Report(
        found,
        {key: tuple(rounds) for key, rounds in series.items()},
        {key: mean(every) for key, every in lab.profiles.items()},
    )


def _kernels(lab: _Lab, suites: Sequence[Suite]) -> Iterator[kernels.Wanted]:
    """Yield the kernel of each variant of each suite."""
    for suite in suites:
        if isinstance(suite, ProgramSuite):
            spec = suite.spec()
        else:
            spec = manifest.resolve(suite.example if isinstance(suite, BuildSuite) else suite.name)
        for variant in lab.wanted.variants:
            wanted = kernels.wanted_by((variant.applied(_overridden(lab, spec, variant)),))
            yield replace(wanted, patched=variant.patched)


def cost(context: Context) -> Mapping[str, float]:
    """Return the instructions of a normal process's getppid() on both kernels, by variant."""
    names = ("unpatched", "process")
    variants = tuple(each for each in VARIANTS if each.name in names)
    wanted = Wanted(variants, (Meter.INSTRUCTIONS,), None, (samples.LOOP, "getppid"))
    suite = next(suite for suite in SUITES if suite.name == "syscalls")
    figures = stats.figures(measure([suite], wanted, context), suite.name, Meter.INSTRUCTIONS)
    return {name: figures["getppid", name].value for name in names}


def _prepare(lab: _Lab, spec: AppSpec, variant: Variant) -> _Prepared:
    spec = variant.applied(_overridden(lab, spec, variant))
    guest = Guest(mode=variant.mode)
    made = bootable(spec, lab.context, guest, patched=variant.patched)
    lab.kernels[variant.name] = f"{made.kernel.version} {made.kernel.key}"
    return _Prepared(variant, made.spec, made)


def _overridden(lab: _Lab, spec: AppSpec, variant: Variant) -> AppSpec:
    """Return `spec` with the settings of the command line for a variant. Pure."""
    overrides = {
        name: value for name, value in lab.wanted.overrides.items() if name != "pgo" or variant.pgo
    }
    return overridden(spec, overrides)


# --- in guests ----------------------------------------------------------------------


def _spec(lab: _Lab, suite: Suite, variant: Variant) -> AppSpec:
    """Return the specification of a suite's program; a recipe is built for the variant."""
    if isinstance(suite, ProgramSuite):
        spec = suite.spec()
        if not variant.as_is:
            return spec
        headers = app_build.exported_headers(spec, lab.context.store)
        flags = tuple(f"-I{each}" for each in (INCLUDE, *headers))  # and dynamic
        program = guest_build.program(
            spec.name, PROGRAMS, suite.sources, HEADERS, lab.context.store, flags=flags
        )
        return replace(spec, sources=(), kernel_sources=(), program=program)
    assert isinstance(suite, ServerSuite)
    recipe = manifest.resolve(suite.name)
    if variant.as_is:
        recipe = replace(recipe, build=None, program=_installed(suite))
    recipe = prepared(_overridden(lab, recipe, variant), lab.context)
    load = guest_build.program("load", PROGRAMS, LOAD_SOURCES, HEADERS, lab.context.store)
    return suite.spec(recipe, load)


def _installed(suite: ServerSuite) -> Path | None:
    """Return the distribution's own program of a suite, if it has one and that is there."""
    found = shutil.which(suite.installed) if suite.installed else None
    return Path(found) if found else None


def _variants(lab: _Lab, suite: Suite) -> Sequence[Variant]:
    """Return the variants of a suite that can be measured: as it is only what is there."""
    wanted = lab.wanted.variants
    if not isinstance(suite, ServerSuite) or _installed(suite) is not None:
        return wanted
    return [each for each in wanted if not each.as_is]


def _measured(lab: _Lab, suites: Sequence[Suite]) -> list[Suite]:
    """Return the suites that have a variant to measure. Raises UsageError if none has."""
    found = [suite for suite in suites if _variants(lab, suite)]
    if not found:
        first = suites[0]
        program = first.installed if isinstance(first, ServerSuite) else ""
        raise UsageError(
            f"`{first.name}` has no program to run as it is",
            remedy=f"install {program}" if program else "choose another variant",
        )
    return found


def _guests(lab: _Lab, suite: Suite, series: dict[Key, list[tuple[float, ...]]]) -> None:
    built = [_prepare(lab, _spec(lab, suite, each), each) for each in _variants(lab, suite)]
    for meter in suite.meters:
        if meter not in lab.wanted.meters:
            continue
        rounds = lab.wanted.rounds or ROUNDS[meter]
        with lab.context.progress.stage(f"{suite.name}, {meter.value}") as stage:
            for number, each in enumerate(_interleaved(built, rounds)):
                stage.update(number, rounds * len(built), each.variant.name)
                for row, taken in _rows(lab, suite, each, meter).items():
                    key = Key(suite.name, row, each.variant.name, meter)
                    series.setdefault(key, []).append(taken)


def _interleaved(built: Sequence[_Prepared], rounds: int) -> list[_Prepared]:
    """Return all of `built` for each round, and let each round begin with the next one. Pure."""
    size = len(built)
    return [built[(turn + index) % size] for turn in range(rounds) for index in range(size)]


def _rows(lab: _Lab, suite: Suite, each: _Prepared, meter: Meter) -> dict[str, tuple[float, ...]]:
    if meter is Meter.EXITS:
        profiles: outside.Profiles | None = {} if lab.wanted.functions else None
        rows = _server(lab, suite, each).exits(profiles)
        for row, profile in (profiles or {}).items():
            key = Profiled(suite.name, row, each.variant.name)
            lab.profiles.setdefault(key, []).append(profile)
        return rows
    counted = meter is Meter.INSTRUCTIONS
    words = (meter.value,) if counted else (meter.value, str(SAMPLE_MS))
    words = (*words, *lab.wanted.rows)
    load = (suite.load or suite.name) if isinstance(suite, ServerSuite) else ""
    guest = Guest(
        mode=each.variant.mode,
        timeout=TIMEOUT,
        append=COUNTED if counted else (),
        icount=counted,
        # When the companion ends, the run and its server end.
        companion=(LOAD, load, *words) if load else (),
    )
    if load:
        inside = replace(each, spec=replace(each.spec, ports=()))
        rows = samples.parse(_boot(lab, inside, guest).console, "user", meter)
        return rows if counted else {**rows, **_server(lab, suite, each).latencies()}
    path = launch.program_path(each.made.image, each.spec, launch.Options(guest))
    spec = replace(
        each.spec,
        args=words,
        env={"BENCH_SELF": path, "BENCH_OTHER": "/bin/true"},
    )
    boot = _boot(lab, replace(each, spec=spec), guest)
    rows = samples.parse(boot.console, each.variant.ring, meter)
    if isinstance(suite, BootSuite) and not counted:
        # The guest's clocks start later than QEMU, so this time is measured on the host.
        rows["QEMU's start to first output"] = (boot.first_output * 1e9,)
    return rows


def _server(lab: _Lab, suite: Suite, each: _Prepared) -> outside.Server:
    assert isinstance(suite, ServerSuite)
    return outside.Server(each.made, suite, each.variant.mode, lab.context)


def _boot(lab: _Lab, each: _Prepared, guest: Guest) -> _Boot:
    """Run a guest until it ends; UklError unless its program or companion exited with 0."""
    console = bytearray()
    moments: dict[str, float] = {}

    def take(data: bytes) -> None:
        moments.setdefault("output", time.monotonic())
        console.extend(data)

    @contextlib.asynccontextmanager
    async def attend(guest_session: session.Session) -> AsyncIterator[None]:
        moments["begin"] = guest_session.begin
        yield

    directory = running.run_directory(lab.context.store, each.spec.name)
    options = launch.Options(guest, output=take)
    plan = running.plan(each.made, options, lab.context, directory, each.spec)
    result = launch.run_plan(plan, attend)
    if result.outcome is Outcome.STOPPED:
        raise KeyboardInterrupt
    if (error := outcome.error_of(result)) is not None:
        raise error
    text = console.decode("utf-8", "replace")
    if outcome.exit_code(result) != 0:
        raise UklError(
            f"{each.spec.name} ended with {result.outcome.value} {result.status}",
            where=each.variant.name,
            log=result.console,
        )
    return _Boot(text, moments.get("output", 0.0) - moments["begin"])


# --- on the host --------------------------------------------------------------------


def _builds(lab: _Lab, suite: BuildSuite, series: dict[Key, list[tuple[float, ...]]]) -> None:
    """Time the builds after a change of a source, for unikernels only."""
    if Meter.TIME not in lab.wanted.meters:
        return
    rounds = lab.wanted.rounds or ROUNDS[Meter.TIME]
    variants = [each for each in lab.wanted.variants if not (each.is_process or each.as_is)]
    with TemporaryDirectory(prefix="ukl-bench-") as name:
        original = manifest.resolve(suite.example)
        [source] = original.sources
        copy = Path(name) / source.name
        quiet = replace(lab, context=lab.context.quiet())
        for variant in variants:
            _prepare(lab, original, variant)  # builds the kernel, which is not timed
        with lab.context.progress.stage(f"{suite.name}, {Meter.TIME.value}") as stage:
            for number in range(rounds):
                for variant in variants:
                    stage.update(number, rounds, variant.name)
                    marked = f"{source.read_text()}\nconst long ukl_bench = {time.time_ns()};\n"
                    copy.write_text(marked)
                    spec = replace(original, directory=copy.parent, sources=(copy,))
                    spec = variant.applied(_overridden(lab, spec, variant))
                    for row, seconds in _timed_build(quiet, spec).items():
                        key = Key(suite.name, row, variant.name, Meter.TIME)
                        series.setdefault(key, []).append((seconds * 1e9,))


def _timed_build(lab: _Lab, spec: AppSpec) -> dict[str, float]:
    """Return the seconds of each step; delete its results."""
    store, progress = lab.context.store, lab.context.progress
    kernel = kernels.build(kernels.wanted_by((spec,)), lab.context)
    begin = time.monotonic()
    app = app_build.build(spec, store, progress)
    middle = time.monotonic()
    image = kernel_link.link(kernel, app, store, progress)
    end = time.monotonic()
    store.discard("image", image.key)
    store.discard("app", app.key)
    return {
        "compile, partial link": middle - begin,
        "final link, bzImage": end - middle,
        "both": end - begin,
    }
