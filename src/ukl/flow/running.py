# SPDX-License-Identifier: GPL-2.0
"""Builds and boots a guest, in the foreground or detached."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.errors import UsageError
from ukl.base.model import (
    LOG_LIMITS,
    Accelerator,
    AppSpec,
    Guest,
    HostCaps,
    Restart,
    RunResult,
)
from ukl.base.progress import Progress
from ukl.debug import bootchart, bootplot, crash
from ukl.elf.reader import Elf
from ukl.flow import containers
from ukl.flow.bootable import Bootable, bootable
from ukl.flow.context import Context
from ukl.host import probe
from ukl.host.store import Store
from ukl.vm import (
    bootwatch,
    keeper,
    launch,
    network,
    outcome,
    ports,
    postmortem,
    registry,
    runs,
    session,
    storage,
    terminal,
)
from ukl.vm.streams import Sink, Streams, forgiving, kinds, to_descriptor

RUNS = "runs"
"""Directory of the cache with the consoles of runs."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an application is run.

    `name` is the guest's name (None: the application's, with a number if it is taken). `dump`
    keeps a memory dump after a crash, in addition to backtraces. `restart` says when a guest in
    the background is restarted, `member` to which service of a compose file it belongs.
    `bootchart` is the file for a chart of the boot (debug/bootplot.py). `tty` gives the program
    a terminal, or forbids it (None: what we have).
    """

    guest: Guest = field(default_factory=lambda: Guest(log=LOG_LIMITS))
    name: str | None = None
    dump: bool = True
    restart: Restart = Restart.NO
    member: registry.Member = registry.NO_MEMBER
    bootchart: Path | None = None
    tty: bool | None = None


def host_caps(store: Store, progress: Progress) -> HostCaps:
    """Return the capabilities of the host. Once per boot, report that guests are emulated."""
    caps, fresh = probe.probe_noted(store)
    if fresh and caps.accelerator is not Accelerator.KVM:
        for note in caps.notes:
            progress.line(f"{note}; guests run by emulation (TCG)")
    return caps


def run_directory(store: Store, name: str) -> Path:
    """Create the directory of a new run. Directories that running guests write to are kept."""
    consoles = (guest.life.console for guest in registry.of(store).all())
    writing = [console.parent for console in consoles if console is not None]
    return runs.run_directory(store.own(RUNS), name, writing)


def plan(
    made: Bootable,
    options: launch.Options,
    context: Context,
    directory: Path,
    spec: AppSpec | None = None,
) -> launch.Plan:
    """Return how a guest of `made` runs; `spec` overrides its arguments, ports and disks."""
    caps = host_caps(context.store, context.progress)
    return launch.prepare(
        made.image,
        spec or made.spec,
        made.initrd,
        accelerator=caps.accelerator,
        options=options,
        directory=directory,
    )


def run_app(
    spec: AppSpec,
    options: RunOptions,
    context: Context,
    output: Sink | None = None,
) -> RunResult:
    """Build what is necessary, boot it, and return how the application ended.

    `output` receives all output instead of our own streams. Raises the errors of building and
    booting. Ports are checked before the build.
    """
    guest = options.guest
    spec = containers.described(spec, context)
    source = _standard_input(has_init=guest.init == "ukl", shell=guest.shell)
    streams = _streams(options, output, source)
    console = output or forgiving(to_descriptor(1 if streams is None else 2))
    run_options = launch_options(
        options, console, source if streams is None else None, streams=streams
    )
    _check_run(run_options, spec)
    check_chart(options)
    with _claim(spec, options, context.store, detached=False) as entry:
        running = _prepare(spec, options, run_options, context, entry)
        if spec.ports:
            forwards = ", ".join(map(ports.host_end, spec.ports))
            always = ", Ctrl-] in any case" if streams and streams.keyboard is not None else ""
            context.progress.line(f"  {spec.name}: {forwards}; Ctrl-C ends it{always}")
        directory = run_directory(context.store, spec.name)
        result = keeper.attended(entry, directory, running, dumping=options.dump)
    reports = postmortem.reports(directory)
    if (error := outcome.error_of(result, reports)) is not None:
        raise error
    if death := outcome.death(result):
        context.progress.line(f"{spec.name}: {death}")
    for report in reports:
        for line in crash.lines_about(report):
            context.progress.line(line)
    return result


def start_app(spec: AppSpec, options: RunOptions, context: Context) -> registry.Record:
    """Build what is necessary, boot it in the background, and return the guest's record.

    It returns when the program has been started. Raises the errors of building and booting, and
    that of a guest that ended earlier.
    """
    spec = containers.described(spec, context)
    pipes = Streams("npp", discard, discard) if options.tty is False else None
    run_options = launch_options(options, streams=pipes)
    _check_run(run_options, spec)
    if options.bootchart is not None:
        raise UsageError(
            "a boot chart needs a guest in the foreground",
            remedy="leave --detach or --bootchart out",
        )
    if options.guest.shell:
        raise UsageError(
            "a detached guest has no console for a shell",
            remedy="leave --shell out; `ukl shell NAME` starts one later",
        )
    with _claim(spec, options, context.store, detached=True) as entry:
        run = _prepare(spec, options, run_options, context, entry)
        return keeper.detached(entry, run, dumping=options.dump)


def _claim(
    spec: AppSpec, options: RunOptions, store: Store, *, detached: bool
) -> contextlib.AbstractContextManager[registry.Entry]:
    interface = options.guest.network
    record = registry.Record(
        name=options.name or spec.name,
        application=spec.name,
        keeper=registry.myself(),
        kept=detached,
        detached=detached,
        given=registry.Given(
            mode=options.guest.mode,
            args=spec.args,
            env=spec.env,
            ports=tuple(f"{ports.host_end(port)}->{port.guest}" for port in spec.ports),
            volumes=tuple(f"{volume.source}:{volume.target}" for volume in spec.volumes),
            disks=tuple(f"{disk.file}:{disk.target}" for disk in spec.disks),
            network=network.label(interface),
            address=interface.address,
            memory=spec.memory,
            cpus=spec.cpus,
            restart=options.restart,
            init=options.guest.init,
        ),
        images=registry.Images(sources=spec.directory),
        member=options.member,
    )
    return keeper.claimed(registry.of(store), record, automatic=options.name is None)


def discard(data: bytes) -> None:
    """Discard console output, which is also in the guest's log."""


def launch_options(
    options: RunOptions,
    output: Sink = discard,
    source: int | None = None,
    streams: Streams | None = None,
) -> launch.Options:
    """Return the options for launching a guest. Pure.

    `output` receives the console, `source` is the descriptor of its input. `streams` are the
    program's, if it does not use the console.
    """
    guest = options.guest
    if options.bootchart is not None:
        guest = replace(guest, append=(*guest.append, *bootwatch.KERNEL_WORDS))
    return launch.Options(
        guest,
        output=output,
        input=source,
        streams=streams,
        agent=guest.init == "ukl" and not guest.icount,
        crashes=not guest.icount,
        paused=options.bootchart is not None,
    )


def check_chart(options: RunOptions) -> None:
    """Raise UsageError for options that exclude a boot chart, and the errors of its file."""
    if options.bootchart is None:
        return
    if options.guest.init != "ukl" or options.guest.icount:
        raise UsageError(
            "a boot chart needs ukl's init, which reports the time", remedy="use --init ukl"
        )
    bootplot.check(options.bootchart)


def _watch(file: Path, title: str, vmlinux: Path, progress: Progress) -> bootwatch.Watch:
    """Return the watcher of a boot, which writes the chart."""

    def done(marks: bootchart.Marks) -> None:
        chart = bootchart.chart(title, marks, bootchart.levels(Elf.open(vmlinux)))
        for line in bootchart.text(chart):
            progress.line(line)
        bootplot.write(chart, file)
        progress.line(f"boot chart: {file}")

    return bootwatch.Watch(vmlinux, done)


def _check_run(options: launch.Options, spec: AppSpec) -> None:
    launch.check(options, spec)
    ports.check(spec.ports)
    network.check(options.guest.network)
    storage.check(spec)


def _prepare(
    spec: AppSpec,
    options: RunOptions,
    run_options: launch.Options,
    context: Context,
    entry: registry.Entry,
) -> keeper.Run:
    """Build what is necessary, and return the function that runs it."""
    caps = host_caps(context.store, context.progress)
    made = bootable(spec, context, options.guest)
    spec, image = made.spec, made.image
    debug = made.app.path.with_name("app.debug.o")
    guest = run_options.guest
    guest = replace(guest, network=entry.connected(guest.network))
    connected = replace(run_options, guest=guest)
    entry.change(
        images=registry.Images(
            image=image.key,
            vmlinux=image.vmlinux,
            program=made.app.user,
            debug=debug if debug.exists() else None,
            sources=spec.directory,
            executable=spec.executable,
        )
    )

    watch: bootwatch.Watch | None = None
    if options.bootchart is not None:
        title = f"{spec.name}, {caps.accelerator.value.upper()}"
        watch = _watch(bootplot.check(options.bootchart), title, image.vmlinux, context.progress)
        streams = connected.streams
        connected = replace(
            connected,
            output=watch.wrap_sink(connected.output) if streams is None else connected.output,
            streams=None if streams is None else watch.wrap_streams(streams),
        )

    def run(directory: Path, attend: session.Attend) -> RunResult:
        if watch is not None:
            attend = watch.wrap_attend(attend)
        return launch.attempt(
            image,
            spec,
            made.initrd,
            accelerator=caps.accelerator,
            options=connected,
            directory=directory,
            attend=attend,
        )

    return run


def _streams(options: RunOptions, output: Sink | None, source: int | None) -> Streams | None:
    """Return the program's streams; None: it has the console.

    A shell has the console, and so has a program that is process 1. With a clock that counts
    instructions, the work for another channel would change the result.
    """
    guest = options.guest
    if guest.shell or guest.init == "app" or guest.icount:
        if options.tty is not None:
            raise UsageError(
                "with --shell or --init app the program has the console",
                remedy="leave --tty and --no-tty out",
            )
        return None
    ours = (os.isatty(0), os.isatty(1) and not output, os.isatty(2) and not output)
    found = kinds(ours, readable=source is not None, wanted=options.tty)
    window = next((each for each in (1, 2, 0) if ours[each]), None)
    return Streams(
        found,
        output=output or to_descriptor(1),
        errors=output or to_descriptor(2),
        input=source,
        window=window if "t" in found else None,
    )


def _standard_input(*, has_init: bool, shell: bool) -> int | None:
    """Return the descriptor for the guest's console input; None: no input.

    A terminal is not read by a background process, since that would stop it. If the guest
    `has_init`, init opens the guest's /dev/null for the program instead of the host's. A program
    that is process 1 reads the console, so it needs the end of file of the host's /dev/null.
    """
    try:
        if os.isatty(0):
            return 0 if shell or terminal.is_foreground(0) else None
        status = os.fstat(0)
    except OSError:  # closed
        return None
    is_null = stat.S_ISCHR(status.st_mode)
    return None if is_null and has_init and not shell else 0
