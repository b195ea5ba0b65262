# SPDX-License-Identifier: GPL-2.0
"""Composes the rooms: specification -> application, kernel, image -> run.

The steps themselves live in app/, kernel/, image/ and vm/; here is only their order.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ukl import __version__, manifest, python
from ukl.app import build as app_build
from ukl.app import captured
from ukl.bench import syscalls
from ukl.errors import InputError, UklError, UsageError
from ukl.host import packages, probe
from ukl.host.requirements import REQUIREMENTS
from ukl.host.store import Store, digest, jsonable
from ukl.image import initrd as initrd_room
from ukl.kernel import build as kernel_build
from ukl.kernel import check_profile, compare, default_spec, export, recipe, versions
from ukl.kernel import link as kernel_link
from ukl.kernel import source as kernel_source_room
from ukl.model import (
    Accelerator,
    AppObject,
    AppSpec,
    Disk,
    HostCaps,
    Image,
    KernelBuild,
    KernelSpec,
    PortForward,
    RunResult,
    Volume,
)
from ukl.progress import Progress
from ukl.recipe import build as recipe_build
from ukl.vm import keeper, launch, outcome, ports, registry, session, storage
from ukl.volumes import merged

BENCH_TIMEOUT = 120.0
"""Seconds for one run of the benchmark, boot included; it takes a few."""

RUNS = "runs"
"""Directory of the cache with the consoles of runs."""

GUESTS = "guests"
"""Directory of the cache with the entries of guests."""

BUILD_TOOLS = tuple(row.tool for row in REQUIREMENTS if not row.optional)
"""What must be there before a kernel is built: found missing at once, not after minutes."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says instead of the manifest; None: the manifest's."""

    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[PortForward, ...] | None = None
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    memory: int | None = None
    cpus: int | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an application is run. `timeout` is in seconds.

    `guest` is the guest's name (None: the application's, with a number if need be).
    """

    guest: str | None = None
    user: bool = False
    init: Literal["ukl", "app"] = "ukl"
    shell: bool = False
    timeout: float | None = None
    append: tuple[str, ...] = ()
    icount: bool = False
    kernel_source: str | None = None
    verbose: bool = False
    jobs: int | None = None


def overridden(spec: AppSpec, overrides: Overrides) -> AppSpec:
    """Return the specification with the command line's words in it. Pure."""
    return replace(
        spec,
        args=spec.args if overrides.args is None else overrides.args,
        env={**spec.env, **overrides.env},
        ports=spec.ports if overrides.ports is None else overrides.ports,
        volumes=merged(spec.volumes, overrides.volumes),
        disks=merged(spec.disks, overrides.disks),
        memory=overrides.memory or spec.memory,
        cpus=overrides.cpus or spec.cpus,
        kernel_profile=spec.kernel_profile if overrides.profile is None else overrides.profile,
    )


# --- kernel -----------------------------------------------------------------


def _kernel_spec(
    store: Store,
    progress: Progress,
    source: str | None,
    options: Mapping[str, str],
    profile: str = "",
) -> KernelSpec:
    # Before a source is fetched into it
    recipe.check_path(store.root)
    check_profile(profile)
    found = kernel_source_room.fetch(source, store, progress)
    return default_spec(found, options, profile)


def build_kernel(
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    kernel_options: Mapping[str, str] | None = None,
    profile: str = "",
    jobs: int | None = None,
) -> KernelBuild:
    """Return the compiled kernel objects, from the cache if they are there."""
    packages.require(*BUILD_TOOLS)
    spec = _kernel_spec(store, progress, kernel_source, kernel_options or {}, profile)
    return kernel_build.build(spec, store, progress, jobs)


def kernel_config(
    directory: Path,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    kernel_options: Mapping[str, str] | None = None,
    profile: str = "",
) -> Path:
    """Write the `.config` into `directory` and return its path."""
    packages.require(*BUILD_TOOLS)
    spec = _kernel_spec(store, progress, kernel_source, kernel_options or {}, profile)
    directory.mkdir(parents=True, exist_ok=True)
    return kernel_build.config(spec, store, progress, directory)


def kernel_compare(
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    jobs: int | None = None,
) -> compare.Comparison:
    """Return what the series changes in object code where CONFIG_UKL is off."""
    packages.require(*BUILD_TOOLS)
    spec = _kernel_spec(store, progress, kernel_source, {})
    return compare.compare(spec, store, progress, jobs)


def kernel_export(directory: Path, series: str | None = None) -> list[Path]:
    """Write the patch series as mails into `directory` and return the files.

    `series` names one by its kernel, such as 6.12; the newest otherwise.
    """
    known = {base.series.parent.name: base for base in versions.bases()}
    name = series or next(iter(known))
    if name not in known:
        raise InputError(
            f"there is no series for Linux {name}", remedy=f"there are: {', '.join(known)}"
        )
    return export.export(known[name].series, directory)


# --- application and image ---------------------------------------------------


def _kernel_options(specs: Sequence[AppSpec]) -> dict[str, str]:
    """Return the options that all of `specs` ask for; InputError where they disagree."""
    options: dict[str, str] = {}
    for spec in specs:
        for name, value in spec.kernel_options.items():
            if options.setdefault(name, value) != value:
                raise InputError(
                    f"{name} is to be `{options[name]}` for one application and `{value}` "
                    f"for {spec.name}",
                    where=spec.origin,
                    remedy="applications in one kernel have to agree on its options",
                )
    return options


def _kernel_profile(specs: Sequence[AppSpec]) -> str:
    """Return the profile of those of `specs` that ask for one; InputError for two."""
    asked = {spec.kernel_profile: spec for spec in specs if spec.kernel_profile}
    if len(asked) > 1:
        raise InputError(
            f"the kernel is to have the profiles {' and '.join(sorted(asked))}",
            where=specs[0].origin,
            remedy="applications in one kernel have to agree on its profile",
        )
    return next(iter(asked), "")


def prepared(spec: AppSpec, store: Store, progress: Progress, jobs: int | None = None) -> AppSpec:
    """Return `spec` with the programs of its recipes built; the same where there is none."""
    spec = python.placed(spec, progress)
    if spec.build is None and not any(other.build for other in spec.others):
        return spec
    packages.require(*BUILD_TOOLS)
    others = (prepared(other, store, progress, jobs) for other in spec.others)
    return recipe_build.prepared(replace(spec, others=tuple(others)), store, progress, jobs)


def build_image(
    spec: AppSpec,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    jobs: int | None = None,
) -> tuple[AppObject, KernelBuild, Image]:
    """Return the application's object, the kernel it goes into, and both linked."""
    packages.require(*BUILD_TOOLS)
    spec = prepared(spec, store, progress, jobs)
    app, *others = (
        (captured if each.program else app_build).build(each, store, progress)
        for each in (spec, *spec.others)
    )
    kernel = build_kernel(
        store,
        progress,
        kernel_source=kernel_source,
        kernel_options=_kernel_options((spec, *spec.others)),
        profile=_kernel_profile((spec, *spec.others)),
        jobs=jobs,
    )
    return app, kernel, kernel_link.link(kernel, app, store, progress, others)


def build_into(
    spec: AppSpec,
    directory: Path,
    store: Store,
    progress: Progress,
    *,
    kernel_source: str | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Write the bootable files and a manifest into `directory`; return the manifest.

    `directory` appears (or is exchanged for the new one) when all files are whole.
    An existing one must be empty or ours: InputError otherwise.
    """
    _check_output(directory)
    spec = prepared(spec, store, progress, jobs)
    app, kernel, image = build_image(spec, store, progress, kernel_source=kernel_source, jobs=jobs)
    initrd = initrd_room.build(image, spec, app.user, store, progress)
    sources = {
        "vmlinux": image.vmlinux,
        "bzImage": image.bzimage,
        "initrd": initrd,
        "System.map": image.system_map,
    }
    summary: dict[str, Any] = {
        "ukl": __version__,
        "name": spec.name,
        "kernel": kernel.version,
        "build_id": image.build_id.hex(),
        "keys": {"app": app.key, "kernel": kernel.key, "image": image.key},
        "facts": jsonable(app.facts),
        "files": {name: path.stat().st_size for name, path in sources.items()},
        "digests": {name: digest(path) for name, path in sources.items()},
    }
    with progress.stage(f"write {directory}"), _beside(directory) as temporary:
        for name, path in sources.items():
            shutil.copyfile(path, temporary / name)
        (temporary / "manifest.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


_OUTPUTS = frozenset({"vmlinux", "bzImage", "initrd", "System.map", "manifest.json"})


def _check_output(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(
            "this is not a directory", where=directory, remedy="name another one with -o"
        )
    strange = {path.name for path in directory.iterdir()} - _OUTPUTS if directory.exists() else None
    if strange:
        raise InputError(
            f"the output directory holds something else: {min(strange)}",
            where=directory,
            remedy="name an empty or a new directory with -o",
        )


@contextlib.contextmanager
def _beside(directory: Path) -> Iterator[Path]:
    """Give an empty directory that takes the place of `directory` when the block succeeds."""
    target = directory.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            target.rename(old)  # onto an empty directory: allowed by rename(2)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


# --- run --------------------------------------------------------------------


def host_caps(store: Store, progress: Progress) -> HostCaps:
    """Return what this machine can do; says once per boot that guests are emulated."""
    caps, fresh = probe.probe_noted(store)
    if fresh and caps.accelerator is not Accelerator.KVM:
        for note in caps.notes:
            progress.line(f"{note}; guests run by emulation (TCG)")
    return caps


def guests_of(store: Store) -> registry.Registry:
    """Return the guests that were started with this cache."""
    return registry.Registry(store.root / GUESTS)


def run_app(
    spec: AppSpec,
    options: RunOptions,
    store: Store,
    progress: Progress,
    output: session.Sink | None = None,
) -> RunResult:
    """Build what is not built, boot it, and return how the application ended.

    `output` gets what the console says (None: our standard output). Raises the
    errors of the rooms; a port in use is found before anything is built.
    """
    source = _standard_input(ours=options.init == "ukl", shell=options.shell)
    launching = _launching(options, output or session.to_descriptor(1), source)
    _check_run(launching, spec)
    with _claimed(spec, options, store, detached=False) as entry:
        running = _ready(spec, options, launching, store, progress, entry=entry)
        if spec.ports:
            forwards = ", ".join(map(ports.written, spec.ports))
            progress.line(f"  {spec.name}: {forwards}; Ctrl-C ends it")
        known = (guest.console for guest in entry.registry.all())
        writing = [console.parent for console in known if console is not None]
        directory = launch.run_directory(store.root / RUNS, spec.name, writing)
        result = keeper.attended(entry, directory, running)
    if (error := outcome.error_of(result)) is not None:
        raise error
    if death := outcome.death(result):
        progress.line(f"{spec.name}: {death}")
    return result


def start_app(
    spec: AppSpec, options: RunOptions, store: Store, progress: Progress
) -> registry.Record:
    """Build what is not built, boot it in the background, and return the guest's record.

    That is when the program has been started. Raises the errors of the rooms, and that
    of a guest which ended before.
    """
    launching = _launching(options, lambda data: None, None)
    _check_run(launching, spec)
    if options.shell:
        raise UsageError(
            "a detached guest has no console for a shell",
            remedy="leave --shell out; `ukl shell NAME` gives one later",
        )
    with _claimed(spec, options, store, detached=True) as entry:
        return keeper.detached(
            entry, _ready(spec, options, launching, store, progress, entry=entry)
        )


def _claimed(
    spec: AppSpec, options: RunOptions, store: Store, *, detached: bool
) -> contextlib.AbstractContextManager[registry.Entry]:
    record = registry.Record(
        name=options.guest or spec.name,
        application=spec.name,
        keeper=registry.myself(),
        kept=detached,
        detached=detached,
        user=options.user,
        sources=spec.directory,
        args=spec.args,
        env=spec.env,
        ports=tuple(f"{ports.written(port)}->{port.guest}" for port in spec.ports),
        volumes=tuple(f"{volume.source}:{volume.target}" for volume in spec.volumes),
        disks=tuple(f"{disk.file}:{disk.target}" for disk in spec.disks),
        memory=spec.memory,
        cpus=spec.cpus,
    )
    return keeper.claimed(guests_of(store), record, automatic=options.guest is None)


def _launching(options: RunOptions, output: session.Sink, source: int | None) -> launch.Options:
    return launch.Options(
        output=output,
        input=source,
        user=options.user,
        init=options.init,
        shell=options.shell,
        timeout=options.timeout,
        append=options.append,
        icount=options.icount,
        verbose=options.verbose,
        agent=options.init == "ukl" and not options.icount,
    )


def _check_run(launching: launch.Options, spec: AppSpec) -> None:
    launch.check(launching, spec)
    ports.check(spec.ports)
    storage.check(spec)


def _ready(
    spec: AppSpec,
    options: RunOptions,
    launching: launch.Options,
    store: Store,
    progress: Progress,
    *,
    entry: registry.Entry,
) -> keeper.Run:
    """Build what is not built and return what runs it."""
    caps = host_caps(store, progress)
    spec = prepared(spec, store, progress, options.jobs)
    app, _, image = build_image(
        spec, store, progress, kernel_source=options.kernel_source, jobs=options.jobs
    )
    initrd = initrd_room.build(image, spec, app.user, store, progress)
    debug = app.path.with_name("app.debug.o")
    entry.change(vmlinux=image.vmlinux, image=image.key, debug=debug if debug.exists() else None)

    def run(directory: Path, attend: session.Attend) -> RunResult:
        return launch.attempt(
            image,
            spec,
            initrd,
            accelerator=Accelerator.TCG if options.icount else caps.accelerator,
            options=launching,
            directory=directory,
            attend=attend,
        )

    return run


def _standard_input(*, ours: bool, shell: bool) -> int | None:
    """Return the descriptor that becomes the guest's console input, None for none.

    A terminal whose foreground we are not in must not be read: that would stop us.
    Instead of the null device, init (if it is `ours`) gives the program the guest's;
    a program that is process 1 reads the console, and has to be told of the end.
    """
    try:
        if os.isatty(0):
            return 0 if shell or os.tcgetpgrp(0) == os.getpgrp() else None
        status = os.fstat(0)
    except OSError:  # closed
        return None
    is_null = stat.S_ISCHR(status.st_mode)
    return None if is_null and ours and not shell else 0


def bench_syscalls(
    store: Store, progress: Progress, *, kernel_source: str | None = None
) -> list[syscalls.Row]:
    """Run the example that calls getppid(), as unikernel and as process, and count."""
    spec = overridden(manifest.resolve(syscalls.EXAMPLE), Overrides(args=(str(syscalls.COUNT),)))
    consoles = {}
    for user, mode in syscalls.MODES.items():
        console = bytearray()
        options = RunOptions(
            user=user, icount=True, timeout=BENCH_TIMEOUT, kernel_source=kernel_source
        )
        result = run_app(spec, options, store, progress, console.extend)
        if outcome.exit_code(result) != 0:
            raise UklError(
                f"{spec.name} ended with {result.outcome.value} {result.status}",
                log=result.console,
            )
        consoles[mode] = console.decode("utf-8", "replace")
    return syscalls.rows(consoles)
