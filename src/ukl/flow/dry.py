# SPDX-License-Identifier: GPL-2.0
"""`--dry-run`: the commands of a build and a run, without executing them.

The normal code runs with a cache that builds nothing. It uses the entries that exist, and records
the commands for those that do not. Since keys depend on contents, the plan ends at the first
missing entry whose content is needed; the rest is unknown until that is built. The only programs
that run are queries: the versions of tools, and the preprocessor.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import NO_NETWORK, AppSpec, Guest, Network
from ukl.flow import containers, running
from ukl.flow import kernel as kernels
from ukl.flow.bootable import Bootable, bootable
from ukl.flow.context import Context
from ukl.guest import rundesc
from ukl.host.store import Command, Plan, Store
from ukl.vm import launch, network, qemu, registry, storage

RUN = "NAME-DATE-XXXXXXXX"
"""Placeholder for the directory of a run, which is created when the run starts."""

_FIRST_DESCRIPTOR = 3

_TITLES: Mapping[str, str] = {
    "app": "partial link",
    "container": "root file system",
    "container-image": "image of",
    "container-program": "program",
    "download": "download",
    "guest-init": "guest init",
    "image": "link vmlinux",
    "imports": "header of kernel functions",
    "initrd": "initrd",
    "kernel": "kernel objects",
    "map": "linker map",
    "linked": "object linked by ukl-cc",
    "object": "compile",
    "lto": "LLVM bitcode of",
    "probe": "try KVM",
    "recipe": "build of the program",
    "recipe-source": "source of the program",
    "side": "kernel code of",
    "source": "unpack the kernel source",
    "tree": "patch the kernel source",
}


_NAMED = frozenset(
    {"app", "container", "container-image", "imports", "initrd", "lto", "object", "recipe", "side"}
)
"""Kinds with several entries, whose names are shown."""


@dataclass(frozen=True, slots=True)
class Step:
    """An entry that exists (`cached`), or that `commands` would create, or another step."""

    title: str
    place: Path | None = None
    cached: bool = False
    commands: tuple[Command, ...] = ()
    note: str = ""


class NotBuilt(UklError):
    """The content of an entry is needed that is not built yet."""


class DryStore(Store):
    """A cache that builds nothing, and records what it would build."""

    dry = True

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.steps: list[Step] = []
        self.planned: list[Path] = []

    def make(
        self,
        kind: str,
        key: str,
        inputs: Mapping[str, object],
        build: Callable[[Path], None],
        plan: Plan | None = None,
    ) -> Path:
        """Return the entry's directory; NotBuilt if it does not exist.

        A compiled file or an initrd need not exist: later steps only need its path.
        """
        name = inputs.get("source" if kind == "object" else "name") if kind in _NAMED else None
        title = " ".join([_TITLES.get(kind, kind), *([str(name)] if name else [])])
        directory = self.place(kind, key)
        if self.get(kind, key) is not None:
            self._record(Step(title, directory, cached=True))
            return directory
        commands = tuple(plan(directory)) if plan is not None else ()
        self._record(Step(title, directory, commands=commands))
        self.planned.append(directory)
        if kind in {"imports", "initrd", "object"}:
            return directory
        raise NotBuilt(f"{title} is not built yet")

    def _record(self, step: Step) -> None:
        if step not in self.steps:
            self.steps.append(step)


def _until_not_built(store: DryStore, work: Callable[[], None]) -> bool:
    """Do `work` until it needs an entry that is not built; return whether it is complete."""
    try:
        work()
    except NotBuilt:
        return False
    except FileNotFoundError as error:
        # Not an error if the file belongs to an entry that is not built.
        name = Path(os.fsdecode(error.filename)) if error.filename else None
        if name is None or not any(directory in name.parents for directory in store.planned):
            raise
        return False
    return True


def built(
    spec: AppSpec,
    context: Context,
    guest: Guest | None = None,
    then: Callable[[Context, Bootable], Step] | None = None,
) -> list[Step]:
    """Return the build steps of `spec`, and the step of `then` if the plan is complete."""
    dry = DryStore(context.store.root)
    planned = replace(context, store=dry).quiet()
    last: list[Step] = []

    def everything() -> None:
        made = bootable(containers.described(spec, planned), planned, guest)
        if then is not None:
            last.append(then(planned, made))

    if not _until_not_built(dry, everything):
        # The steps of the kernel are known: they do not depend on the application.
        wanted = kernels.wanted_by((spec, *spec.with_))
        _until_not_built(dry, lambda: _discard(kernels.build(wanted, planned)))
        last.append(Step("the rest", note="known when that is built"))
    return [*dry.steps, *last]


def _discard(value: object) -> None:
    """Ignore a value."""


def run(spec: AppSpec, options: running.RunOptions, context: Context) -> list[Step]:
    """Return the steps of `ukl run`: the build, and the virtual machine."""

    def machine(planned: Context, made: Bootable) -> Step:
        app, image = made.spec, made.image
        caps = running.host_caps(planned.store, planned.progress)
        launch_options = running.launch_options(options)
        launch.check(launch_options, app)
        directory = planned.store.own(running.RUNS) / RUN
        accelerator = launch.accelerator_for(launch_options, caps.accelerator)
        guest = replace(launch_options.guest, network=_connected(app, options, context.store))
        vm = launch.machine(
            image,
            app,
            replace(launch_options, guest=guest),
            directory / "initrd",
            accelerator,
            clocks=launch.clock_words(accelerator, launch_options),
            firmware=qemu.firmware(accelerator),
        )
        argv = qemu.argv(vm, _channels(options.guest), version=caps.qemu_version)
        disks = [
            Command(argv)
            for disk in app.disks
            if not disk.file.exists()
            for argv in (
                ("truncate", "-s", str(disk.size), str(disk.file)),
                (storage.find_mke2fs(), *storage.MKE2FS_OPTIONS, str(disk.file)),
            )
        ]
        line = _application(launch.guest_run(image, app, launch_options, ""))
        return Step(
            "the virtual machine",
            commands=(*disks, Command(tuple(argv))),
            note=f"the descriptors are sockets of ukl; in the guest: {line}",
        )

    return built(spec, context, options.guest, machine)


def _application(guest: rundesc.GuestRun) -> str:
    """Return the command that init executes, in shell syntax."""
    words = [guest.path, *guest.argv[1:]] if guest.start else list(guest.companion)
    variables = [
        f"{key}={value}"
        for key, value in guest.env.items()
        if rundesc.DEFAULT_ENV.get(key) != value
    ]
    return shlex.join([*(["env", *variables] if variables else []), *words])


def _connected(spec: AppSpec, options: running.RunOptions, store: Store) -> Network:
    found = options.guest.network
    if found == NO_NETWORK:
        return found
    guests = registry.of(store)
    mac = network.hardware_address(options.name or spec.name, guests.root.absolute())
    return replace(found, mac=mac, cache=guests.root.absolute())


def _channels(guest: Guest) -> qemu.Channels:
    """Return the descriptors that QEMU would inherit, if ukl had no other open files."""
    has_init = guest.init == "ukl"
    numbers = iter(range(_FIRST_DESCRIPTOR, 100))
    return qemu.Channels(
        console=next(numbers),
        qmp=next(numbers),
        status=next(numbers) if has_init else None,
        agent=next(numbers) if has_init and not guest.icount else None,
        core=next(numbers) if has_init and not guest.icount else None,
        streams=next(numbers) if has_init and not guest.icount and not guest.shell else None,
        tap=next(numbers) if guest.network.kind in network.DEVICES else None,
    )


# --- output -----------------------------------------------------------------------------------


def text(steps: list[Step]) -> list[str]:
    """Return the steps as shell commands, with comments. Pure."""
    lines = []
    for step in steps:
        state = "cached" if step.cached else step.note or ("" if step.commands else "to be built")
        place = f" -> {step.place}" if step.place is not None and not step.cached else ""
        lines.append(f"# {step.title}{place}{f': {state}' if state else ''}")
        for command in step.commands:
            line, directory = shlex.join(command.argv), command.directory
            lines.append(f"(cd {shlex.quote(str(directory))} && {line})" if directory else line)
    return lines
