# SPDX-License-Identifier: GPL-2.0
"""Measures a server by requests from outside of the guest: what the network costs is in it.

A figure is the slope between a small and a large number of requests, so that what happens
meanwhile without them (timers, the reading of the counts) does not count.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ukl.base.model import Counting, Guest, Mode, Protocol
from ukl.bench import counting, functions
from ukl.bench.peer import Peer
from ukl.bench.suites import HEADERS, PROGRAMS, REQUESTS_SOURCES, ServerSuite
from ukl.flow import counted, host_command, running, suite
from ukl.flow.bootable import Bootable
from ukl.flow.context import Context
from ukl.guest import build as guest_build
from ukl.host import exec as host_exec
from ukl.host import probe
from ukl.kernel import symbols
from ukl.vm import launch, qemu

FEW, MANY = 300, 3300
"""Requests of which the difference counts."""

SAMPLES = 5
"""Slopes per boot."""

LATENCIES = 5000
"""Requests of which each is timed."""

LOADS = ((1, 1), (10, 1), (50, 1), (10, 16))
"""Clients, and requests that each has on its way at a time."""

WARM_UP = 1000
"""Requests before the first sample."""

SETTLE = 0.02
"""Seconds after the last answer until its acknowledgement has arrived."""

KERNEL = ("nokaslr",)
"""Words for the kernel's command line: counts are by address."""

Rows = dict[str, tuple[float, ...]]
Profiles = dict[str, functions.Profile]
"""Row -> instructions of each function."""


def title(row: str, clients: int, depth: int) -> str:
    """Return the name of a request with its load. Pure."""
    words = "1 client" if clients == 1 else f"{clients} clients"
    return f"{row}, {words}" + (f" × {depth}" if depth > 1 else "")


def network(context: Context) -> str:
    """Return how the clients reach a guest: `tap`, or `user` for QEMU's user network."""
    directory = running.run_directory(context.store, "requests")
    with _peer(context, directory) as peer:
        return "user" if peer.network.descriptor is None else "tap"


def _peer(context: Context, directory: Path) -> Peer:
    sources, store = REQUESTS_SOURCES, context.store
    program = guest_build.program("requests", PROGRAMS, sources, HEADERS, store)
    return Peer(program, directory / "requests.log")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has been built, and how to reach it with a row of the suite's requests."""

    made: Bootable
    suite: ServerSuite
    mode: Mode
    context: Context

    def exits(self, profiles: Profiles | None = None) -> Rows:
        """Return the events per request of one boot: row and event -> samples.

        Also put the instructions of each function into `profiles`.
        """
        meters: list[counting.Meter] = []
        store = self.context.store
        version = probe.parse_version(host_exec.version(qemu.QEMU))
        plugin = counting.plugin(qemu.QEMU, version, store)
        table = symbols.read_map(self.made.image.system_map)

        def counter(directory: Path) -> Counting:
            file = directory / "counts"
            meters.append(counting.Meter(file))
            return Counting(plugin, file)

        found: dict[str, list[float]] = defaultdict(list)
        place = None
        if profiles is not None:
            place = counted.places(self.made, self.mode, self.context)
        for name, peer in self._loads(counter):
            [meter] = meters
            instructions: Counter[int] = Counter()
            for _ in range(SAMPLES):
                few, many = _cost(meter, peer, FEW), _cost(meter, peer, MANY)
                first, second = few.named(table), many.named(table)
                for event in counting.NAMES:
                    slope = (second[event] - first[event]) / (MANY - FEW)
                    found[f"{name}: {event}"].append(slope)
                instructions.update(many.instructions)
                instructions.subtract(few.instructions)
            if profiles is not None and place is not None:
                requests = SAMPLES * (MANY - FEW)
                each = {at: number / requests for at, number in instructions.items()}
                profiles[name] = functions.profile(each, place)
        return {row: tuple(values) for row, values in found.items()}

    def latencies(self) -> Rows:
        """Return the nanoseconds of each of many requests of one boot, by row."""
        return {
            f"{name}: latency": tuple(map(float, peer.latencies(LATENCIES)))
            for name, peer in self._loads(None)
        }

    def _loads(self, counter: Callable[[Path], Counting] | None) -> Iterator[tuple[str, Peer]]:
        """Boot the guest, and yield each load, connected and warmed up."""
        directory = running.run_directory(self.context.store, self.made.spec.name)
        with _peer(self.context, directory) as peer:
            network = peer.network
            spec = host_command.with_free_ports(self.made.spec)
            port = next(each for each in spec.ports if each.protocol is Protocol.TCP)
            guest = Guest(mode=self.mode, network=network, append=KERNEL if counter else ())
            options = launch.Options(
                guest, output=running.discard, counting=counter(directory) if counter else None
            )
            plan = running.plan(self.made, options, self.context, directory, spec)
            try:
                with suite.Guest(plan.machine, plan.settings):
                    for row, clients, depth in _all(self.suite):
                        number = port.guest if network.descriptor is not None else port.host
                        peer.connect(self.suite.protocol, row, number, clients, depth)
                        peer.ask(WARM_UP)
                        yield title(self.suite.requests[row], clients, depth), peer
            finally:
                plan.machine.initrd.unlink(missing_ok=True)


def _all(suite: ServerSuite) -> Iterator[tuple[int, int, int]]:
    for row in range(len(suite.requests)):
        for clients, depth in LOADS:
            if depth == 1 or suite.pipelined:
                yield row, clients, depth


def _cost(meter: counting.Meter, peer: Peer, number: int) -> counting.Counts:
    before = meter.read()
    peer.ask(number)
    time.sleep(SETTLE)
    return meter.read() - before
