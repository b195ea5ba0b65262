# SPDX-License-Identifier: GPL-2.0
"""What a compose file says, checked; and the order in which its services are started. Pure."""

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
"""Seconds until a service has to be ready; emulated ones are slow."""


class Condition(StrEnum):
    """What a service waits for before it is started."""

    STARTED = "started"
    """The other's program has been executed."""
    READY = "ready"
    """It answers: see Ready."""
    COMPLETED = "completed"
    """It has ended, with status 0."""


@dataclass(frozen=True, slots=True)
class Ready:
    """How it is told that a service is ready; asked in the guest.

    Either somebody listens on all these `ports` there, or `command`, executed there, ends
    with 0. Not from outside: QEMU's user network takes connections before the guest does.
    """

    ports: tuple[tuple[Protocol, int], ...] = ()
    command: tuple[str, ...] = ()
    timeout: float = READY_TIMEOUT


@dataclass(frozen=True, slots=True)
class Service:
    """One guest. `target` is what `ukl run` takes, `spec` what that is with the file's words.

    `words` are the options of `ukl run` that make the same guest.
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
        """What stands for all that the file says of it: another one, another guest."""
        return digest("service", jsonable(self))


@dataclass(frozen=True, slots=True)
class Project:
    """A compose file: its name, and its services in the order in which they are started."""

    name: str
    origin: Path
    services: tuple[Service, ...]

    def chosen(self, names: Iterable[str]) -> tuple[Service, ...]:
        """Return those of these names and all that they depend on, in order; InputError."""
        known = {service.name: service for service in self.services}
        wanted: set[str] = set()
        left = list(names) or list(known)
        while left:
            name = left.pop()
            if name not in known:
                raise InputError(
                    f"there is no service {name}",
                    where=self.origin,
                    remedy=f"there are: {', '.join(known)}",
                )
            if name not in wanted:
                wanted.add(name)
                left += known[name].depends_on
        return tuple(service for service in self.services if service.name in wanted)


def ordered(depends_on: Mapping[str, Iterable[str]], where: Path) -> list[str]:
    """Return the names so that each comes after those it depends on; InputError for a circle."""
    sorter = graphlib.TopologicalSorter(depends_on)
    try:
        return list(sorter.static_order())
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise InputError(
            f"the services depend on each other in a circle: {circle}",
            where=where,
            remedy="leave one of these depends_on out",
        ) from error
