# SPDX-License-Identifier: GPL-2.0
"""Plans a guest's machine from an image and options, and runs it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.errors import InputError, UsageError
from ukl.base.model import (
    SMALL,
    Accelerator,
    AppSpec,
    Counting,
    Guest,
    Image,
    Machine,
    NetworkKind,
    RunResult,
    Trace,
)
from ukl.elf import reader
from ukl.guest import rundesc
from ukl.guest.mounts import marker_path, mounts
from ukl.guest.rundesc import Console, GuestRun, Owner, Stop
from ukl.host import exec as host_exec
from ukl.host import probe, tsc
from ukl.image import initrd as initrd_image
from ukl.image import names
from ukl.vm import ports, qemu, session, status, storage, terminal
from ukl.vm.settings import STOP_GRACE, Settings
from ukl.vm.streams import Sink, Streams, forgiving, to_descriptor

SHELL = ("/bin/sh", "-l")

MAX_COMMAND_LINE = 2047
"""Bytes: COMMAND_LINE_SIZE of x86, with its NUL."""

MAX_INIT_WORDS = 30
"""The most arguments, and the most variables, that the kernel passes to PID 1 (limit 32)."""

NETWORK = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off"
"""Makes the kernel configure the network (CONFIG_IP_PNP) where no init does."""

TRACE = "boot.trace"
"""File in a run's directory with the code that QEMU has translated."""

_ENV_KEY = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Options:
    """How a guest is launched.

    `input` is the descriptor of the console's input, `output` gets the console's bytes.
    `streams` are the application's, if it does not use the console.
    `agent` allows to execute programs in the running guest (`ukl exec`). `crashes` pauses a
    guest whose kernel panics until `attend` resumes it, and sends it core files
    (vm/postmortem.py). `paused` starts the machine paused: `attend` resumes it. `traced` are
    ranges of the kernel's link addresses: the guest is emulated, and the code that it executes
    there is written into TRACE (flow/watch.py). `counting` counts what is executed.
    """

    guest: Guest = field(default_factory=Guest)
    output: Sink = field(default_factory=lambda: forgiving(to_descriptor(1)))
    input: int | None = None
    streams: Streams | None = None
    qemu: str = qemu.QEMU
    agent: bool = False
    crashes: bool = False
    paused: bool = False
    traced: tuple[tuple[int, int], ...] = ()
    counting: Counting | None = None

    @property
    def has_companion(self) -> bool:
        """Whether another program runs beside the application."""
        return self.guest.shell or bool(self.guest.companion)


def guest_run(image: Image, spec: AppSpec, options: Options, nonce: str) -> GuestRun:
    """Return the run description for the guest's init. Pure, but for the terminal."""
    rows, columns = (0, 0) if options.streams is None else options.streams.size
    if options.guest.shell and options.input is not None:
        rows, columns = terminal.size(options.input)
    has_terminal = options.streams is not None and "t" in options.streams.kinds
    own = {"TERM": os.environ.get("TERM", "linux")} if has_terminal else {}
    program = program_path(image, spec, options)
    run = GuestRun(
        name=spec.name,
        path=spec.entrypoint or program,
        argv=initrd_image.argument_vector(spec, program),
        env={**rundesc.DEFAULT_ENV, **own, **spec.env},
        nonce=nonce,
        cwd=spec.workdir or "/",
        owner=Owner(options.guest.uid, options.guest.gid),
        start=options.guest.start,
        companion=SHELL if options.guest.shell else options.guest.companion,
        console=Console(
            input=options.input is not None and not options.guest.shell,
            interactive=options.guest.shell,
            rows=rows,
            columns=columns,
            streams=options.streams.kinds if options.streams is not None else "",
        ),
        stop=Stop(round(1000 * storage.GRACE) if has_storage(spec) else rundesc.GRACE_MS),
        mounts=mounts(spec),
        address=options.guest.network.address,
        cores=options.crashes,
    )
    return initrd_image.started(run, spec, process=options.guest.is_process)


def has_storage(spec: AppSpec) -> bool:
    """Tell whether the application has volumes or disks, and needs time to save. Pure."""
    return bool(spec.volumes or spec.disks or spec.root)


def program_path(image: Image, spec: AppSpec, options: Options) -> str:
    """Return the path of the program in the guest. Pure."""
    if options.guest.is_process:
        return initrd_image.user_path(spec.name)
    if image.marker is None and options.guest.start:
        raise InputError(f"the kernel does not contain the application {spec.name}")
    return marker_path(spec.name)


def accelerator_for(options: Options, available: Accelerator) -> Accelerator:
    """Return what runs the guest: only emulation counts or traces instructions. Pure."""
    emulated = options.guest.icount or options.traced or options.counting is not None
    return Accelerator.TCG if emulated else available


def clock_words(accelerator: Accelerator, options: Options) -> tuple[str, ...]:
    """Return the kernel parameters that tell an emulated guest the frequency of its clocks.

    KVM tells them itself. The time-stamp counter is the host's; with icount it counts
    instructions, and the guest can calibrate it: its time is then deterministic.
    """
    if accelerator is not Accelerator.TCG:
        return ()
    timer = f"ukl.lapic_khz={qemu.LAPIC_KHZ}"
    khz = None if options.guest.icount else tsc.khz()
    return (timer,) if khz is None else (timer, f"tsc_early_khz={khz}")


def command_line(
    image: Image, spec: AppSpec, options: Options, clocks: tuple[str, ...] = ()
) -> str:
    """Return the kernel's command line. Pure. Raises InputError for what it cannot hold."""
    words = qemu.kernel_words(spec, verbose=options.guest.verbose)
    words += clocks
    words += ["nokaslr"] if options.traced else []  # keeps the ranges at their link addresses
    words += options.guest.append
    if options.guest.init == "app":
        path = program_path(image, spec, options)
        # Both: if the first fails, the kernel must not fall back to a shell.
        words += [NETWORK, f"rdinit={path}", f"init={path}"]
        args = (*spec.command, *spec.args)
        words += init_words(args, {"PATH": rundesc.DEFAULT_ENV["PATH"], **spec.env})
    line = " ".join(words)
    if len(line.encode("utf-8", "surrogateescape")) > MAX_COMMAND_LINE:
        raise InputError(
            f"the kernel's command line is too long: {len(line)} characters",
            remedy="use fewer arguments, or let `--init ukl` start the program",
        )
    return line


def init_words(args: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
    """Return the words of the kernel's command line for PID 1's variables and arguments.

    The kernel passes parameters that it does not know to PID 1: `KEY=VALUE` in the
    environment, and all words after `--` as arguments. Double quotes keep a word together
    and cannot be escaped.
    """
    remedy = "change it, or let `--init ukl` start the program"
    for key in env:
        if not _ENV_KEY.fullmatch(key):
            raise InputError(
                f"with --init app the kernel would take {key!r} for a kernel parameter",
                remedy="use capital letters, digits and `_`, or `--init ukl`",
            )
    if len(args) > MAX_INIT_WORDS or len(env) > MAX_INIT_WORDS:
        raise InputError(
            f"the kernel passes at most {MAX_INIT_WORDS} arguments and variables to PID 1",
            remedy=remedy,
        )
    for word in (*args, *env.values()):
        if word == "--" or any(char in word for char in '"\0\n'):
            raise InputError(
                f"the kernel's command line cannot hold the word {word!r}", remedy=remedy
            )
    words = [qemu.quoted(f"{key}={value}") for key, value in sorted(env.items())]
    return [*words, "--", *map(qemu.quoted, args)] if args else words


MEMORY = 64 << 20
"""Bytes that a kernel needs, except with the profile SMALL."""


def check(options: Options, spec: AppSpec) -> None:
    """Raise UsageError for options that conflict with each other or with `spec`."""
    guest = options.guest
    if spec.memory < MEMORY and spec.profile != SMALL:
        raise UsageError(
            f"{spec.memory >> 20}M is too little memory for this kernel; it needs {MEMORY >> 20}M",
            remedy=f"give it more with --memory, or use --profile {SMALL}",
        )
    if spec.root is not None and spec.profile == SMALL:
        raise UsageError(
            f"the profile {SMALL} has no disks, and a root file system is on one",
            remedy="leave the profile out",
        )
    if guest.init == "app" and (options.has_companion or not guest.start or guest.uid or guest.gid):
        raise UsageError(
            "with --init app only the application runs, as root",
            remedy="omit --shell, or use --init ukl",
        )
    if guest.init == "app" and spec.entrypoint:
        raise UsageError(
            f"with --init app no process runs {spec.entrypoint}, which starts {spec.name}",
            remedy="use --init ukl",
        )
    if guest.init == "app" and spec.workdir:
        raise UsageError(
            "with --init app no process changes the working directory",
            remedy="omit --workdir, or use --init ukl",
        )
    if guest.init == "app" and has_storage(spec):
        what = "root file system" if spec.root is not None else "volumes and disks"
        raise UsageError(
            f"with --init app no process mounts the {what}",
            remedy="omit them, or use --init ukl",
        )
    if guest.init == "app" and guest.network.kind is not NetworkKind.NONE:
        raise UsageError(
            "with --init app no process sets up a second interface",
            remedy="omit the network, or use --init ukl",
        )
    if guest.shell and guest.companion:
        raise UsageError("a run has only one companion: the shell or another program")


def check_room(image: Image, memory: int, base: bytes) -> None:
    """Raise InputError if the guest's files do not fit into its memory.

    They are in a tmpfs, which may take half of the memory that the kernel has at the time; the
    initrd, from which they are unpacked, and the page descriptors are in memory as well.
    """
    size = initrd_image.unpacked_size(base)
    if size + len(base) <= memory // 8:  # as usual: the kernel is never that large
        return
    kernel = sum(
        each.memory_size for each in reader.segments(image.vmlinux) if each.kind == "PT_LOAD"
    )
    needed = (2 * size + len(base) + kernel) * 64 // 63
    if needed <= memory:
        return
    raise InputError(
        f"the guest's files take {size >> 20} MiB, too much for {memory >> 20} MiB of memory: "
        f"half of it at most, after the kernel and the initrd of {len(base) >> 20} MiB",
        remedy=f"give it {(needed >> 20) + ROOM}M or more with -m, or put them on a volume (-v) or "
        "a disk (--disk)",
    )


ROOM = 32
"""MiB that the remedy leaves for the program."""


def machine(
    image: Image,
    spec: AppSpec,
    options: Options,
    initrd: Path,
    accelerator: Accelerator,
    *,
    clocks: tuple[str, ...] = (),
    firmware: Path | None = None,
) -> Machine:
    """Return the machine for a run. Pure."""
    return Machine(
        # The decompressor relocates the kernel (KASLR); otherwise vmlinux needs no unpacking.
        kernel=image.bzimage if image.relocatable else image.vmlinux,
        initrd=initrd,
        cmdline=command_line(image, spec, options, clocks),
        firmware=firmware,
        memory=spec.memory,
        cpus=spec.cpus,
        accelerator=accelerator,
        ports=spec.ports,
        volumes=spec.volumes,
        disks=spec.disks,
        network=options.guest.network,
        icount=options.guest.icount,
        interactive=options.guest.shell,
        stop_on_crash=options.crashes,
        paused=options.paused,
        trace=options.counting,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """A machine and the settings of its session."""

    machine: Machine
    settings: Settings


def prepare(
    image: Image,
    spec: AppSpec,
    initrd: Path,
    *,
    accelerator: Accelerator,
    options: Options,
    directory: Path,
) -> Plan:
    """Write the run's initrd into `directory` and return the plan.

    `initrd` is the base of image.initrd.build(). Makes missing disks. Raises UsageError for
    a bad combination of options, PortBusy for a port in use, and the errors of vm/storage.py.
    """
    check(options, spec)
    storage.check(spec)
    own = directory / "initrd"
    accelerator = accelerator_for(options, accelerator)
    clocks = clock_words(accelerator, options)
    planned = machine(
        image,
        spec,
        options,
        own,
        accelerator,
        clocks=clocks,
        firmware=qemu.firmware(accelerator),
    )
    if options.traced:
        planned = replace(planned, trace=Trace(directory / TRACE, options.traced))
    nonce = None if options.guest.init == "app" else status.make_nonce()
    base = initrd.read_bytes()
    check_room(image, spec.memory, base)
    ports.check(spec.ports)
    storage.prepare(spec)
    if nonce is None:
        own.write_bytes(base)
    else:
        run = guest_run(image, spec, options, nonce)
        # For `ukl exec -t` as well, whatever the program's own streams are.
        files = names.terminal(os.environ.get("TERM", ""))
        own.write_bytes(initrd_image.with_run(base, run, files))
    settings = Settings(
        directory=directory,
        nonce=nonce,
        output=options.output,
        companion=options.has_companion,
        input=options.input,
        interactive=options.guest.shell,
        timeout=options.guest.timeout,
        stop_grace=STOP_GRACE + (storage.GRACE if has_storage(spec) else 0),
        qemu=options.qemu,
        qemu_version=_qemu_version(options.qemu) if planned.cpus > 1 else None,
        agent=options.agent and nonce is not None,
        cores=options.crashes and nonce is not None,
        log=options.guest.log,
        streams=options.streams,
    )
    return Plan(planned, settings)


def _qemu_version(program: str) -> tuple[int, ...] | None:
    return probe.parse_version(host_exec.version(program))


def attempt(
    image: Image,
    spec: AppSpec,
    initrd: Path,
    *,
    accelerator: Accelerator,
    options: Options,
    directory: Path,
    attend: session.Attend | None = None,
) -> RunResult:
    """Run `spec` in `image` and return how that ended, well or not.

    The console's log is written into `directory`. `attend` is entered when QEMU runs, and
    left at its end. Raises an error if QEMU cannot start.
    """
    plan = prepare(
        image, spec, initrd, accelerator=accelerator, options=options, directory=directory
    )
    if options.guest.shell and options.input is not None:
        sys.stderr.write(f"{terminal.HINT}\n")
    return run_plan(plan, attend)


def run_plan(plan: Plan, attend: session.Attend | None = None) -> RunResult:
    """Run a planned guest to its end, and return how it ended; deletes its initrd."""
    try:
        return session.run(plan.machine, plan.settings, attend)
    finally:
        plan.machine.initrd.unlink(missing_ok=True)
