# SPDX-License-Identifier: GPL-2.0
"""Starts guests from a snapshot.

A copy's memory is the snapshot's file, mapped privately: copies share the pages that none of
them has changed. QEMU loads the devices, and before a program runs, the guest's init takes what
is the copy's own (guest/snapshot.c). Only then does QEMU open the forwarded ports: a client that
came earlier would wait for seconds.

`ukl run --from` imports this module and what it needs, and nothing else (cli/lean.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.base.model import (
    AUTOMATIC,
    LOG_LIMITS,
    NO_NETWORK,
    Accelerator,
    NetworkKind,
    PortForward,
    Restart,
    RunResult,
)
from ukl.host.store import Store
from ukl.vm import keeper, ports, registry, saving, session, snapshot, startup, status
from ukl.vm.keeper import Keeper
from ukl.vm.registry import Entry, Record
from ukl.vm.runs import run_directory
from ukl.vm.session import Attend, Session
from ukl.vm.settings import Copy, Settings
from ukl.vm.snapshot import Snapshot
from ukl.vm.streams import Sink, Streams

LOAD_TIMEOUT = 60.0
"""Seconds that a copy may take until its programs run; an emulated one needs a fraction."""

RUNS = "runs"
"""Directory of the cache with the consoles of runs."""

KVM = Path("/dev/kvm")


@dataclass(frozen=True, slots=True)
class Wish:
    """What copies are wanted: `ports` None are the original's, `name` None is chosen."""

    file: Path
    ports: tuple[PortForward, ...] | None = None
    name: str | None = None
    count: int = 1


def discard(data: bytes) -> None:
    """Discard console output, which is also in the guest's log."""


def started(wish: Wish, store: Store) -> list[Record]:
    """Start copies in the background; return their records when their programs run."""
    with _opened(wish) as (descriptor, found):
        records = []
        for number in range(wish.count):
            copy = _Made(wish, found, descriptor, number)
            with copy.claimed(store, detached=True) as entry:
                run = copy.runner(entry, discard, discard)
                records.append(keeper.detached(entry, run))
        return records


def run(wish: Wish, store: Store, output: Sink, errors: Sink) -> RunResult:
    """Run one copy in the foreground, and return how it ended."""
    with _opened(wish) as (descriptor, found):
        copy = _Made(wish, found, descriptor, 0)
        with copy.claimed(store, detached=False) as entry:
            consoles = (each.life.console for each in registry.of(store).all())
            used = [console.parent for console in consoles if console is not None]
            directory = run_directory(store.own(RUNS), found.record.application, used)
            return keeper.attended(entry, directory, copy.runner(entry, output, errors))


@contextlib.contextmanager
def _opened(wish: Wish) -> Iterator[tuple[int, Snapshot]]:
    if wish.name is not None and wish.count > 1:
        raise InputError("several copies cannot have one name", remedy="leave --name out")
    descriptor, found = snapshot.opened(wish.file)
    try:
        # Without QEMU's version: it says that itself when it runs.
        accelerator = found.host.accelerator
        if accelerator is Accelerator.KVM and not os.access(KVM, os.R_OK | os.W_OK):
            accelerator = Accelerator.TCG
        ours = snapshot.this_host(found.host.qemu, accelerator)
        snapshot.check(found.host, ours, wish.file)
        yield descriptor, found
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Made:
    """One of the copies, by its number."""

    wish: Wish
    found: Snapshot
    descriptor: int
    number: int

    @property
    def ports(self) -> tuple[PortForward, ...]:
        """The forwarded ports: each copy has the next one of this machine."""
        given = self.found.machine.ports if self.wish.ports is None else self.wish.ports
        return tuple(replace(each, host=each.host + self.number) for each in given)

    def claimed(self, store: Store, *, detached: bool) -> contextlib.AbstractContextManager[Entry]:
        """Claim the copy's entry among the guests."""
        original = self.found.record
        ports.check(self.ports)
        file = self.wish.file.absolute()
        given = replace(
            original.given,
            ports=tuple(f"{ports.host_end(each)}->{each.guest}" for each in self.ports),
            disks=tuple(f"{file}:{each.target}" for each in self.found.machine.disks),
            address=AUTOMATIC,
            restart=Restart.NO,
        )
        record = Record(
            name=self.wish.name or original.name,
            application=original.application,
            keeper=registry.myself(),
            kept=detached,
            detached=detached,
            given=given,
            images=_existing(original.images),
        )
        return keeper.claimed(registry.of(store), record, automatic=self.wish.name is None)

    def runner(self, entry: Entry, output: Sink, errors: Sink) -> keeper.Run:
        """Return the function that runs the copy."""
        found = self.found
        # The network as its record names it, in this cache.
        network = found.machine.network
        network = NO_NETWORK if network.kind is NetworkKind.NONE else entry.connected(network)
        machine = replace(
            found.machine,
            ports=self.ports,
            network=network,
            disks=tuple(
                each
                if each.offset is None
                else replace(each, file=Path(f"/dev/fd/{self.descriptor}"))
                for each in found.machine.disks
            ),
        )
        streams = Streams(found.streams, output, errors) if found.streams else None

        def run(directory: Path, attend: Attend) -> RunResult:
            settings = Settings(
                directory=directory,
                nonce=found.nonce,
                output=errors if streams is not None else output,
                companion=found.companion,
                stop_grace=found.stop_grace,
                qemu_version=tuple(map(int, re.findall(r"\d+", found.host.qemu)[:3])),
                agent=found.agent,
                cores=found.cores,
                log=LOG_LIMITS,
                streams=streams,
                copy=Copy(self.descriptor, found.rest),
            )
            return session.run(machine, settings, self._attend(entry, attend))

        return run

    def _attend(self, entry: Entry, attend: Attend) -> Attend:
        @contextlib.asynccontextmanager
        async def both(running: Session) -> AsyncIterator[object]:
            async with attend(running) as value:
                pid = await self._begin(running, entry)
                assert isinstance(value, Keeper)
                value.started(pid)
                yield value

        return both

    async def _begin(self, running: Session, entry: Entry) -> int | None:
        """Load the state and let the copy run; return the program's process id."""
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                await self._load(running)
                message = await self._resume(running, entry)
                await self._forward(running)
                return message.number("pid")
        except TimeoutError:
            raise UklError("the copy does not answer", log=running.settings.console_log) from None

    async def _load(self, running: Session) -> None:
        found, monitor = self.found, running.monitor
        ours = replace(found.host, qemu=monitor.version)
        snapshot.check(found.host, ours, self.wish.file)
        offset, size = found.devices
        try:
            # Otherwise the guest would announce the original's address; and Linux, which waits in
            # virtnet_close() for the announcement, with the lock that this needs, would hang.
            await monitor.execute("migrate-set-parameters", {"announce-rounds": 0})
            await running.feed(os.pread(self.descriptor, size, offset))
            while True:
                answer = await monitor.execute("query-status")
                if isinstance(answer, dict) and answer.get("status") != "inmigrate":
                    return
                await asyncio.sleep(saving.POLL)
        except UklError as error:
            raise running.start_error() from error

    async def _resume(self, running: Session, entry: Entry) -> status.Message:
        network, monitor = running.machine.network, running.monitor
        shared = network.kind is not NetworkKind.NONE
        if shared:  # it still has the original's addresses
            await monitor.execute("set_link", {"name": "net1", "up": False})
        own = (network.address, network.mac) if shared else ("-", "-")
        running.send(running.greeting + saving.news((entry.record.name, *own)))
        await monitor.execute("cont")
        message = await running.until(status.Type.RESUMED)
        if shared:
            await monitor.execute("set_link", {"name": "net1", "up": True})
        return message

    async def _forward(self, running: Session) -> None:
        for each in self.ports:
            rule = f"{each.protocol.value}:{each.address}:{each.host}-:{each.guest}"
            if said := (await running.monitor.human(f"hostfwd_add net0 {rule}")).strip():
                if startup.BUSY.lower() in said.lower():
                    raise startup.port_busy(running.settings.qemu_log)
                raise UklError(f"QEMU does not forward a port: {said}")
        running.widen(self.ports)


def _existing(images: registry.Images) -> registry.Images:
    """Return the files that still exist: those of the cache may be deleted meanwhile."""
    kept = {
        name: path
        for name in ("vmlinux", "program", "debug", "sources")
        if (path := getattr(images, name)) is not None and path.exists()
    }
    return replace(images, **{"vmlinux": None, "program": None, "debug": None, **kept})
