# SPDX-License-Identifier: GPL-2.0
"""The checked content of a compose file, and the order in which its services start. Pure."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import (
    LOG_LIMITS,
    NO_NETWORK,
    AppSpec,
    LogLimits,
    Mode,
    Network,
    Protocol,
    Restart,
)
from ukl.host.store import digest, jsonable

READY_TIMEOUT = 120.0
"""Seconds until a service must be ready; emulated guests are slow."""


class Condition(StrEnum):
    """The state of another service that a service waits for before it starts."""

    STARTED = "started"
    """Its program has been executed."""
    READY = "ready"
    """It passes its readiness check: see Ready."""
    COMPLETED = "completed"
    """It has ended with status 0."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The readiness check of a service.

    It passes when programs in the guest listen on all `ports`, and `command`, executed in the
    guest, exits with status 0. `timeout` is in seconds. The check runs in the guest, because
    QEMU's user network accepts connections before the guest does.
    """

    ports: tuple[tuple[Protocol, int], ...] = ()
    command: tuple[str, ...] = ()
    timeout: float = READY_TIMEOUT


@dataclass(frozen=True, slots=True)
class Service:
    """One guest. `target` is an argument of `ukl run`, `spec` its specification with the
    file's settings.

    `words` are the arguments of `ukl run` that start the same guest.
    """

    name: str
    guest: str
    target: str
    spec: AppSpec
    words: tuple[str, ...]
    mode: Mode = Mode.UNIKERNEL
    network: Network = NO_NETWORK
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    ready: Ready = field(default_factory=Ready)
    restart: Restart = Restart.NO
    append: tuple[str, ...] = ()
    log: LogLimits = LOG_LIMITS

    @property
    def config(self) -> str:
        """Digest of all settings of the service; when it changes, `up` replaces the guest."""
        return digest("service", jsonable(self))


@dataclass(frozen=True, slots=True)
class Project:
    """A compose file: its name, and its services in the order in which they start."""

    name: str
    origin: Path
    services: tuple[Service, ...]

    def chosen(self, names: Iterable[str]) -> tuple[Service, ...]:
        """Return the named services (default: all) and their dependencies, in order.

        InputError for an unknown name.
        """
        known = {service.name: service for service in self.services}
        wanted: set[str] = set()
        left = list(names) or list(known)
        while left:
            name = left.pop()
            if name not in known:
                raise InputError(
                    f"there is no service {name}",
                    where=self.origin,
                    remedy=f"the services are: {', '.join(known)}",
                )
            if name not in wanted:
                wanted.add(name)
                left += known[name].depends_on
        return tuple(service for service in self.services if service.name in wanted)


def ordered(depends_on: Mapping[str, Iterable[str]], where: Path) -> list[str]:
    """Return the names, each after those it depends on. InputError for a cycle."""
    sorter = graphlib.TopologicalSorter(depends_on)
    try:
        return list(sorter.static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise InputError(
            f"the services depend on each other in a cycle: {cycle}",
            where=where,
            remedy="remove one of these depends_on",
        ) from error
