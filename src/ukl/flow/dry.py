# SPDX-License-Identifier: GPL-2.0
"""`--dry-run`: what would be made and run, without making or running it.

The way is the real one, with a cache that makes nothing: what is there is taken, of what is not
the commands are noted. Keys are made of contents, so behind something that is not there the way
ends, and the rest is known once that is built. Only questions are asked of the machine: the
versions of its tools, and what the preprocessor makes of a source.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import NO_NETWORK, Accelerator, AppSpec, Guest, Network
from ukl.flow import kernel as kernels
from ukl.flow import running
from ukl.flow.bootable import Bootable, bootable
from ukl.flow.context import Context
from ukl.guest import rundesc
from ukl.host.store import Command, Plan, Store
from ukl.vm import launch, network, qemu, registry, storage

RUN = "NAME-DATE-XXXXXXXX"
"""What stands for a run's directory, which is made when it begins."""

_FIRST_DESCRIPTOR = 3

_TITLES: Mapping[str, str] = {
    "app": "partial link",
    "download": "download",
    "guest-init": "the guest's init",
    "image": "link vmlinux",
    "imports": "the header of the kernel's functions",
    "initrd": "initrd",
    "kernel": "kernel objects",
    "map": "the linker's map",
    "linked": "the object that ukl-cc linked",
    "object": "compile",
    "lto": "LLVM's code of",
    "probe": "try KVM",
    "recipe": "the program's own build",
    "recipe-source": "the program's source",
    "source": "unpack the kernel's source",
    "tree": "patch the kernel's source",
}


_NAMED = frozenset({"app", "imports", "initrd", "lto", "object", "recipe"})
"""Kinds of which there may be several, so that their names are shown."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is there already (`cached`), or would be made by `commands`."""

    title: str
    place: Path | None = None
    cached: bool = False
    commands: tuple[Command, ...] = ()
    note: str = ""


class NotThere(UklError):
    """Behind what is not there yet nothing can be known."""


class DryStore(Store):
    """A cache that makes nothing, and notes what it would."""

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
        """Return the entry's directory; NotThere for what is not there.

        Of a compiled file, and of the initrd, the place where it would be is enough to go on.
        """
        of = inputs.get("source" if kind == "object" else "name") if kind in _NAMED else None
        title = " ".join([_TITLES.get(kind, kind), *([str(of)] if of else [])])
        place = self.place(kind, key)
        if self.get(kind, key) is not None:
            self._note(Step(title, place, cached=True))
            return place
        commands = tuple(plan(place)) if plan is not None else ()
        self._note(Step(title, place, commands=commands))
        self.planned.append(place)
        if kind in {"imports", "initrd", "object"}:
            return place
        raise NotThere(f"{title} is not there yet")

    def _note(self, step: Step) -> None:
        if step not in self.steps:
            self.steps.append(step)


def _until_not_there(store: DryStore, work: Callable[[], None]) -> bool:
    """Do `work` as far as it goes; False if it ended before its end."""
    try:
        work()
    except NotThere:
        return False
    except FileNotFoundError as error:
        # A file of an entry that would have been made.
        name = Path(os.fsdecode(error.filename)) if error.filename else None
        if name is None or not any(place in name.parents for place in store.planned):
            raise
        return False
    return True


def built(
    spec: AppSpec,
    context: Context,
    guest: Guest | None = None,
    then: Callable[[Context, Bootable], Step] | None = None,
) -> list[Step]:
    """Return the steps to what boots, and what `then` gives when all of it is known."""
    dry = DryStore(context.store.root)
    planned = replace(context, store=dry).quiet()
    last: list[Step] = []

    def everything() -> None:
        made = bootable(spec, planned, guest)
        if then is not None:
            last.append(then(planned, made))

    if not _until_not_there(dry, everything):
        # The kernel does not depend on the application: that much is known.
        wanted = kernels.wanted_by((spec, *spec.with_))
        _until_not_there(dry, lambda: _discard(kernels.build(wanted, planned)))
        last.append(Step("the rest", note="known when that is there"))
    return [*dry.steps, *last]


def _discard(value: object) -> None:
    """Take a value that is not needed."""


def run(spec: AppSpec, options: running.RunOptions, context: Context) -> list[Step]:
    """Return the steps of `ukl run`: those to the image, and the virtual machine."""

    def machine(planned: Context, made: Bootable) -> Step:
        ready, image = made.spec, made.image
        caps = running.host_caps(planned.store, planned.progress)
        launching = running.launching(options)
        launch.check(launching, ready)
        where = planned.store.root / running.RUNS / RUN
        accelerator = Accelerator.TCG if options.guest.icount else caps.accelerator
        network_ = _connected(ready, options, context.store)
        virtual = launch.machine(
            image,
            ready,
            replace(launching, guest=replace(launching.guest, network=network_)),
            where / "initrd",
            accelerator,
            clocks=launch.clock_words(accelerator, launching),
            firmware=qemu.firmware(accelerator),
        )
        argv = qemu.argv(virtual, _channels(options.guest), version=caps.qemu_version)
        disks = [
            Command(argv)
            for disk in ready.disks
            if not disk.file.exists()
            for argv in (
                ("truncate", "-s", str(disk.size), str(disk.file)),
                (storage.find_mke2fs(), *storage.MKE2FS_OPTIONS, str(disk.file)),
            )
        ]
        line = _application(launch.guest_run(image, ready, launching, ""))
        return Step(
            "the virtual machine",
            commands=(*disks, Command(tuple(argv))),
            note=f"the descriptors are sockets of ukl's; in the guest: {line}",
        )

    return built(spec, context, options.guest, machine)


def _application(run_: rundesc.GuestRun) -> str:
    """Return what init executes, as one would type it."""
    words = [run_.path, *run_.argv[1:]] if run_.start else list(run_.companion)
    variables = [
        f"{key}={value}" for key, value in run_.env.items() if rundesc.DEFAULT_ENV.get(key) != value
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
    """Return the descriptors as they would be, if ours were the first free ones."""
    ours = guest.init == "ukl"
    numbers = iter(range(_FIRST_DESCRIPTOR, 100))
    return qemu.Channels(
        console=next(numbers),
        qmp=next(numbers),
        status=next(numbers) if ours else None,
        agent=next(numbers) if ours and not guest.icount else None,
        core=next(numbers) if ours and not guest.icount else None,
        tap=next(numbers) if guest.network.kind in network.DEVICES else None,
    )


# --- for people, and for their programs -----------------------------------------------------


def text(steps: list[Step]) -> list[str]:
    """Return the steps as a shell would take them: commands, and comments about them. Pure."""
    lines = []
    for step in steps:
        state = "cached" if step.cached else step.note or ("" if step.commands else "would be made")
        place = f" -> {step.place}" if step.place is not None and not step.cached else ""
        lines.append(f"# {step.title}{place}{f': {state}' if state else ''}")
        for command in step.commands:
            typed = shlex.join(command.argv)
            place_ = command.directory
            lines.append(f"(cd {shlex.quote(str(place_))} && {typed})" if place_ else typed)
    return lines
