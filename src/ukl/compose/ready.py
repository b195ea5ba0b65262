# SPDX-License-Identifier: GPL-2.0
"""Waits until a service has started, is ready, or has completed."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ukl.base.errors import TimeoutExpired, UklError
from ukl.base.model import Protocol
from ukl.settings.project import Condition, Ready
from ukl.vm import execute
from ukl.vm.registry import ALIVE, Record, Registry, State, effective

POLL = 0.3
"""Seconds between two checks; each starts a process in the guest."""

TABLES = {
    Protocol.TCP: ("/proc/net/tcp", "/proc/net/tcp6"),
    Protocol.UDP: ("/proc/net/udp", "/proc/net/udp6"),
}

_LISTEN = "0A"
"""TCP_LISTEN of include/net/tcp_states.h; UDP sockets never have this state."""

_LOOPBACK4 = 127
_LOOPBACK6 = "00000000000000000000000001000000"


def listening(text: str, protocol: Protocol) -> set[int]:
    """Return the ports that are open to other machines, according to TABLES' text. Pure.

    Ports that are bound only to the loopback address are not included.
    """
    found = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or not words[0].endswith(":") or ":" not in words[1]:
            continue
        address, _, port = words[1].rpartition(":")
        if protocol is Protocol.TCP and words[3] != _LISTEN:
            continue
        # Words of four bytes in little-endian order: 127.0.0.1 is 0100007F.
        is_local = address == _LOOPBACK6 or (
            len(address) == 8 and int(address[6:], 16) == _LOOPBACK4
        )
        if not is_local:
            found.add(int(port, 16))
    return found


def is_ready(guests: Registry, name: str, ready: Ready) -> bool:
    """Run the readiness check in the guest. UklError if the guest does not answer."""
    for protocol, tables in TABLES.items():
        wanted = {port for kind, port in ready.ports if kind is protocol}
        if wanted:
            # The exit status is ignored: a kernel without IPv6 does not have all tables.
            _, output = execute.captured(guests, name, ("cat", *tables))
            if not wanted <= listening(output.decode("ascii", "replace"), protocol):
                return False
    if ready.command:
        code, _ = execute.captured(guests, name, ready.command)
        return code == 0
    return True


def wait(guests: Registry, name: str, condition: Condition, ready: Ready) -> None:
    """Wait until the guest meets `condition`.

    UklError if it has ended (COMPLETED: with another status than 0), TimeoutExpired after
    the timeout of `ready`, which COMPLETED does not have.
    """
    end = time.monotonic() + ready.timeout
    while True:
        record = guests.get(name)
        if _is_met(guests, record, condition, ready):
            return
        if condition is not Condition.COMPLETED and time.monotonic() >= end:
            raise TimeoutExpired(
                f"{name} is not {condition} after {ready.timeout:g} s" + _reason(ready),
                remedy=f"ukl logs {name} shows its console; ready = {{ timeout = … }} gives it "
                "more time",
            )
        time.sleep(POLL)


def _reason(ready: Ready) -> str:
    if ready.ports:
        return ": no program in it listens on " + _listed(ready.ports)
    return ": its `ready` command fails" if ready.command else ""


def _listed(ports: Iterable[tuple[Protocol, int]]) -> str:
    return ", ".join(f"{port}/{protocol}" for protocol, port in ports)


def _is_met(guests: Registry, record: Record, condition: Condition, ready: Ready) -> bool:
    state = effective(record)
    if state not in ALIVE:
        if condition is Condition.COMPLETED and state is State.ENDED and record.end.exit_code == 0:
            return True
        how = f" with status {record.end.exit_code}" if record.end.exit_code is not None else ""
        raise UklError(
            f"{record.name} has ended{how}, and is not {condition}",
            remedy=f"ukl logs {record.name} shows its console",
        )
    if state is not State.RUNNING or condition is Condition.COMPLETED:
        return False
    if condition is Condition.STARTED:
        return True
    try:
        return is_ready(guests, record.name, ready)
    except UklError:
        if effective(guests.get(record.name)) is not State.RUNNING:
            return False  # it has just ended, or restarts: check again
        raise
