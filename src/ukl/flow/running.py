# SPDX-License-Identifier: GPL-2.0
"""Boots what pipeline.py has built: in the foreground, or detached."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ukl.base.errors import UsageError
from ukl.base.model import (
    LOG_LIMITS,
    NO_NETWORK,
    Accelerator,
    AppSpec,
    HostCaps,
    LogLimits,
    Network,
    Restart,
    RunResult,
)
from ukl.base.progress import Progress
from ukl.debug import bootchart, bootplot, crash
from ukl.elf.reader import Elf
from ukl.flow import pipeline
from ukl.host import probe
from ukl.host.store import Store
from ukl.image import initrd as initrd_room
from ukl.vm import (
    bootwatch,
    keeper,
    launch,
    network,
    outcome,
    ports,
    postmortem,
    registry,
    session,
    storage,
    terminal,
)

RUNS = "runs"
"""Directory of the cache with the consoles of runs."""


@dataclass(frozen=True, slots=True)
class Member:
    """A service of a compose file; `config` stands for all that the file says of it."""

    project: str
    service: str
    config: str


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an application is run. `timeout` is in seconds.

    `guest` is the guest's name (None: the application's, with a number if need be). `dump`
    keeps the memory of what crashes, not only its backtraces. `restart` says when a guest in
    the background is started again, `member` to which service of a compose file it belongs.
    `bootchart` is the file that gets a chart of the boot (debug/bootplot.py). `log` bounds
    what is kept of its console.
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
    network: Network = NO_NETWORK
    dump: bool = True
    restart: Restart = Restart.NO
    member: Member | None = None
    bootchart: Path | None = None
    log: LogLimits = LOG_LIMITS


def host_caps(store: Store, progress: Progress) -> HostCaps:
    """Return what this machine can do; says once per boot that guests are emulated."""
    caps, fresh = probe.probe_noted(store)
    if fresh and caps.accelerator is not Accelerator.KVM:
        for note in caps.notes:
            progress.line(f"{note}; guests run by emulation (TCG)")
    return caps


def run_directory(store: Store, name: str) -> Path:
    """Make the directory of a new run; those that living guests write to stay."""
    consoles = (guest.console for guest in registry.of(store).all())
    writing = [console.parent for console in consoles if console is not None]
    return launch.run_directory(store.root / RUNS, name, writing)


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
    launching_ = launching(options, output or session.to_descriptor(1), source)
    _check_run(launching_, spec)
    check_chart(options)
    with _claimed(spec, options, store, detached=False) as entry:
        running = _ready(spec, options, launching_, store, progress, entry=entry)
        if spec.ports:
            forwards = ", ".join(map(ports.written, spec.ports))
            progress.line(f"  {spec.name}: {forwards}; Ctrl-C ends it")
        directory = run_directory(store, spec.name)
        result = keeper.attended(entry, directory, running, dumping=options.dump)
    reports = postmortem.reports(directory)
    if (error := outcome.error_of(result, reports)) is not None:
        raise error
    if death := outcome.death(result):
        progress.line(f"{spec.name}: {death}")
    for report in reports:
        for line in crash.lines_about(report):
            progress.line(line)
    return result


def start_app(
    spec: AppSpec, options: RunOptions, store: Store, progress: Progress
) -> registry.Record:
    """Build what is not built, boot it in the background, and return the guest's record.

    That is when the program has been started. Raises the errors of the rooms, and that
    of a guest which ended before.
    """
    quiet = launching(options)
    _check_run(quiet, spec)
    if options.bootchart is not None:
        raise UsageError(
            "a boot chart is made in the foreground", remedy="leave --detach or --bootchart out"
        )
    if options.shell:
        raise UsageError(
            "a detached guest has no console for a shell",
            remedy="leave --shell out; `ukl shell NAME` gives one later",
        )
    with _claimed(spec, options, store, detached=True) as entry:
        return keeper.detached(
            entry,
            _ready(spec, options, quiet, store, progress, entry=entry),
            dumping=options.dump,
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
        network=network.label(options.network),
        address=options.network.address,
        memory=spec.memory,
        cpus=spec.cpus,
        restart=options.restart,
    )
    if (member := options.member) is not None:
        record = replace(
            record, project=member.project, service=member.service, config=member.config
        )
    return keeper.claimed(registry.of(store), record, automatic=options.guest is None)


def _nowhere(data: bytes) -> None:
    """Take the console's bytes of a guest whose console is only written to its file."""


def launching(
    options: RunOptions, output: session.Sink = _nowhere, source: int | None = None
) -> launch.Options:
    """Return how the guest of these options is launched. Pure."""
    return launch.Options(
        output=output,
        input=source,
        user=options.user,
        init=options.init,
        shell=options.shell,
        timeout=options.timeout,
        append=(*options.append, *(bootwatch.KERNEL_WORDS if options.bootchart else ())),
        icount=options.icount,
        verbose=options.verbose,
        agent=options.init == "ukl" and not options.icount,
        network=options.network,
        crashes=not options.icount,
        paused=options.bootchart is not None,
        log=options.log,
    )


def check_chart(options: RunOptions) -> None:
    """Raise UsageError for what a boot chart does not go with, and its file's errors."""
    if options.bootchart is None:
        return
    if options.init != "ukl" or options.icount:
        raise UsageError(
            "a boot chart needs our init, which tells what time it is", remedy="use --init ukl"
        )
    bootplot.check(options.bootchart)


def _watch(file: Path, title: str, vmlinux: Path, progress: Progress) -> bootwatch.Watch:
    """Return what watches a boot and writes its chart."""

    def done(marks: bootchart.Marks) -> None:
        found = bootchart.chart(title, marks, bootchart.levels(Elf.open(vmlinux)))
        for line in bootchart.text(found):
            progress.line(line)
        bootplot.write(found, file)
        progress.line(f"boot chart: {file}")

    return bootwatch.Watch(vmlinux, done)


def _check_run(options: launch.Options, spec: AppSpec) -> None:
    launch.check(options, spec)
    ports.check(spec.ports)
    network.check(options.network)
    storage.check(spec)


def _ready(
    spec: AppSpec,
    options: RunOptions,
    options_: launch.Options,
    store: Store,
    progress: Progress,
    *,
    entry: registry.Entry,
) -> keeper.Run:
    """Build what is not built and return what runs it."""
    caps = host_caps(store, progress)
    spec = pipeline.prepared(spec, store, progress, options.jobs)
    app, _, image = pipeline.build_image(
        spec, store, progress, kernel_source=options.kernel_source, jobs=options.jobs
    )
    userspace = needs_userspace(spec, options)
    initrd = initrd_room.build(image, spec, app.user, store, progress, userspace=userspace)
    debug = app.path.with_name("app.debug.o")
    connected = replace(options_, network=network.connected(options.network, entry))
    entry.change(
        vmlinux=image.vmlinux,
        image=image.key,
        debug=debug if debug.exists() else None,
        program=app.user,
    )

    watch: bootwatch.Watch | None = None
    if options.bootchart is not None:
        title = f"{spec.name}, {caps.accelerator.value.upper()}"
        watch = _watch(bootplot.check(options.bootchart), title, image.vmlinux, progress)
        connected = replace(connected, output=watch.listening(connected.output))

    def run(directory: Path, attend: session.Attend) -> RunResult:
        if watch is not None:
            attend = watch.attending(attend)
        return launch.attempt(
            image,
            spec,
            initrd,
            accelerator=Accelerator.TCG if options.icount else caps.accelerator,
            options=connected,
            directory=directory,
            attend=attend,
        )

    return run


def needs_userspace(spec: AppSpec, options: RunOptions) -> bool:
    """Tell whether a normal userspace has to be in the guest: asked for, or in use. Pure."""
    asks = options.network.address == network.DHCP  # by a client of that userspace
    return initrd_room.has_userspace(spec) or options.user or options.shell or asks


def _standard_input(*, ours: bool, shell: bool) -> int | None:
    """Return the descriptor that becomes the guest's console input, None for none.

    A terminal whose foreground we are not in must not be read: that would stop us.
    Instead of the null device, init (if it is `ours`) gives the program the guest's;
    a program that is process 1 reads the console, and has to be told of the end.
    """
    try:
        if os.isatty(0):
            return 0 if shell or terminal.is_ours(0) else None
        status = os.fstat(0)
    except OSError:  # closed
        return None
    is_null = stat.S_ISCHR(status.st_mode)
    return None if is_null and ours and not shell else 0
