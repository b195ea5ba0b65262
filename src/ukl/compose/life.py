# SPDX-License-Identifier: GPL-2.0
"""The life cycle of a project: builds, starts, shows and stops its guests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ukl.base.errors import InputError
from ukl.base.model import Guest
from ukl.base.progress import Progress
from ukl.compose import ready
from ukl.flow import dry, running
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.flow.dry import Step
from ukl.flow.running import RunOptions
from ukl.settings.project import Condition, Project, Service
from ukl.vm import keeper, registry, storage
from ukl.vm.log import Reader
from ukl.vm.registry import ALIVE, Member, Record, Registry, effective

POLL = 0.1


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How a project is started."""

    verbose: bool = False
    wait: bool = False
    """Whether to wait until all services are ready, not only those that others depend on."""


def members(guests: Registry, project: Project) -> list[Record]:
    """Return the guests of a project, including those of services that its file no longer has."""
    return [each for each in guests.all() if each.member.project == project.name]


def up(
    project: Project,
    services: Sequence[Service],
    options: UpOptions,
    context: Context,
) -> list[Record]:
    """Start the services that do not run, or run with other settings than in the file.

    All are built before the first is started. Raises the errors of building and booting; guests
    that have been started by then keep running.
    """
    guests, progress = registry.of(context.store), context.progress
    for service in services:
        _check(guests, project, service)
    missing = [service for service in services if not _runs(guests, service)]
    if missing:
        running.host_caps(context.store, progress)  # reports once that guests are emulated
    for service in missing:
        bootable(service.spec, context, _guest(service, options))
    known = {service.name: service for service in project.services}
    for service in services:
        if _runs(guests, service):
            progress.line(f"  {service.name}: runs already")
            continue
        for name, condition in service.depends_on.items():
            _wait(guests, known[name], condition, progress)
        _forget(guests, service.guest)
        # Quiet: everything is in the cache.
        chosen = _run_options(project, service, options)
        running.start_app(service.spec, chosen, context.quiet())
        progress.line(f"  {service.name}: started")
    if options.wait:
        for service in services:
            _wait(guests, service, Condition.READY, progress)
    return [guests.get(service.guest) for service in services]


def planned(
    project: Project, services: Sequence[Service], options: UpOptions, context: Context
) -> list[Step]:
    """Return the steps of up(), for `--dry-run`."""
    guests = registry.of(context.store)
    steps = []
    for service in services:
        _check(guests, project, service)
        if _runs(guests, service):
            steps.append(Step(f"service {service.name}", note="runs already"))
            continue
        waits = ", ".join(f"{name} is {each}" for name, each in service.depends_on.items())
        steps.append(Step(f"service {service.name}", note=f"when {waits}" if waits else "at once"))
        steps += dry.run(service.spec, _run_options(project, service, options), context)
    return steps


def _check(guests: Registry, project: Project, service: Service) -> None:
    """Raise InputError if a guest with the service's name does not belong to the project."""
    for each in guests.all():
        if each.name == service.guest and each.member.project != project.name:
            raise InputError(
                f"a guest {service.guest} exists that does not belong to this project",
                where=project.origin,
                remedy="give the project another name, or remove the guest: "
                f"ukl rm --force {service.guest}",
            )


def _runs(guests: Registry, service: Service) -> bool:
    return any(
        each.name == service.guest
        and each.member.config == service.config
        and effective(each) in ALIVE
        for each in guests.all()
    )


def _forget(guests: Registry, name: str) -> None:
    """Stop and remove the guest with that name, if it exists."""
    if any(each.name == name for each in guests.all()):
        keeper.stop(guests, name, None, storage.GRACE + keeper.STOP_MARGIN)
        guests.remove(name)


def _wait(guests: Registry, service: Service, condition: Condition, progress: Progress) -> None:
    began = time.monotonic()
    ready.wait(guests, service.guest, condition, service.ready)
    if condition is not Condition.STARTED:
        progress.line(f"  {service.name}: {condition} after {time.monotonic() - began:.1f} s")


def _run_options(project: Project, service: Service, options: UpOptions) -> RunOptions:
    return RunOptions(
        guest=_guest(service, options),
        name=service.guest,
        restart=service.restart,
        member=Member(project.name, service.name, service.config),
    )


def _guest(service: Service, options: UpOptions) -> Guest:
    return Guest(
        mode=service.mode,
        append=service.append,
        verbose=options.verbose,
        network=service.network,
        log=service.log,
    )


def down(guests: Registry, project: Project, grace: float | None = None) -> list[str]:
    """Stop and remove all guests of a project in reverse order; return their names.

    `grace` is the time in seconds that each has to end (None: what it was started with).
    """
    order = {service.guest: number for number, service in enumerate(project.services)}
    found = sorted(members(guests, project), key=lambda each: -order.get(each.name, 1 << 30))
    patience = storage.GRACE if grace is None else grace
    for record in found:
        keeper.stop(guests, record.name, grace, patience + keeper.STOP_MARGIN)
        guests.remove(record.name)
    return [record.name for record in found]


# --- consoles -------------------------------------------------------------------------------


@dataclass(slots=True)
class Follower:
    """Passes the lines of several consoles to `write`, each with the name of its service."""

    guests: Registry
    write: Callable[[str, bytes], None]
    _readers: dict[str, Reader] = field(default_factory=dict)
    _rest: dict[str, bytes] = field(default_factory=dict)

    def look(self, records: Iterable[Record], *, last: bool = False) -> None:
        """Write the new lines; `last`: also an unfinished one."""
        for record in records:
            *lines, rest = (self._rest.get(record.name, b"") + self._new(record)).split(b"\n")
            if last and rest:
                lines, rest = [*lines, rest], b""
            self._rest[record.name] = rest
            for line in lines:
                self.write(record.member.service, line)

    def _new(self, record: Record) -> bytes:
        if record.life.console is None:
            return b""
        if record.name not in self._readers:
            try:
                self._readers[record.name] = Reader(record.life.console)
            except FileNotFoundError:
                return b""
        return b"".join(iter(self._readers[record.name].read, b""))

    def follow(self, names: Sequence[str], until: str | None = None) -> None:
        """Write lines until the guests `names`, or the guest `until`, have ended."""
        while True:
            # Checked before reading, so that all output of a guest that has ended is read.
            records = [each for each in self.guests.all() if each.name in names]
            watched = [each for each in records if until in {None, each.name}]
            alive = any(effective(each) in ALIVE for each in watched)
            self.look(records, last=not alive)
            if not alive:
                return
            time.sleep(POLL)


def only(project: Project, guests: Registry, names: Iterable[str]) -> list[Record]:
    """Return the guests of the named services (none: of all); InputError."""
    wanted = list(names)
    known = {service.name for service in project.services}
    for name in wanted:
        if name not in known:
            project.chosen([name])  # raises
    return [
        each for each in members(guests, project) if not wanted or each.member.service in wanted
    ]
