# SPDX-License-Identifier: GPL-2.0
"""Forwarded ports: checked for availability before the start, and given a larger backlog."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.base.model import PortForward, Protocol
from ukl.host.process import Process

PROC = Path("/proc")

HOST = "127.0.0.1"
"""The address on which a guest for measurements accepts connections."""

BACKLOG = 4096
"""Connections that may wait on a forwarded port; net.core.somaxconn limits this."""

_STATE = {Protocol.TCP: "0A", Protocol.UDP: "07"}
"""State of a listening socket in /proc/net/tcp and udp: TCP_LISTEN and TCP_CLOSE in the
kernel's tcp_states.h."""


class PortBusy(UklError):
    """Another process listens on a port that the guest needs."""


def free() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        number: int = probe.getsockname()[1]
        return number


def with_free_hosts(ports: Sequence[PortForward]) -> tuple[PortForward, ...]:
    """Return forwards to the same guest ports from free host ports: another guest may run."""
    hosts = {port.guest: free() for port in ports}
    return tuple(
        PortForward(hosts[each.guest], each.guest, protocol=each.protocol) for each in ports
    )


def environment(ports: Sequence[PortForward]) -> dict[str, str]:
    """Return the variables with a guest's address: HOST, PORT, and PORT_n for its port n. Pure.

    PORT is that of the first TCP port, or else of the first port.
    """
    variables = {"HOST": HOST, **{f"PORT_{each.guest}": str(each.host) for each in ports}}
    first = min(ports, key=lambda each: each.protocol is not Protocol.TCP, default=None)
    return variables if first is None else {**variables, "PORT": str(first.host)}


def check(ports: Sequence[PortForward]) -> None:
    """Raise an error for the first port that is not available.

    InputError for a port that is out of range or given twice, PortBusy for one in use.
    """
    seen = set()
    for port in ports:
        if not 0 < port.host < 1 << 16 or not 0 < port.guest < 1 << 16:
            raise InputError(f"not a port: {port.host}:{port.guest}", remedy="use 1 to 65535")
        if (port.address, port.host, port.protocol) in seen:
            raise InputError(f"port {port.host} is forwarded twice", remedy="omit one of the two")
        seen.add((port.address, port.host, port.protocol))
        _try(port)


def _try(port: PortForward) -> None:
    is_tcp = port.protocol is Protocol.TCP
    kind = socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if is_tcp:
            # Like QEMU: connections of a previous run in TIME_WAIT do not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.address, port.host))
            if is_tcp:
                probe.listen(1)
        except OSError as error:
            raise _explain(port, error) from error


def _explain(port: PortForward, error: OSError) -> UklError:
    suffix = _suffix(port)
    where = host_end(port)
    example = f"{_another(port.host)}:{port.guest}{suffix}"
    if error.errno == errno.EADDRINUSE:
        owner = find_owner(port.host, protocol=port.protocol)
        by = f" by {owner[1]} (process {owner[0]})" if owner else ""
        stop = f"stop process {owner[0]}, or " if owner else ""
        return PortBusy(
            f"port {port.host} is already in use{by}",
            where=where,
            remedy=f"{stop}forward another port, e.g. -p {example}",
        )
    if error.errno == errno.EACCES:
        return UklError(
            f"no permission to listen on port {port.host}",
            where=where,
            remedy=f"forward a port above 1023, e.g. -p {example}",
        )
    return UklError(f"cannot listen on port {port.host}: {error.strerror}", where=where)


def host_end(port: PortForward) -> str:
    """Return the host's end as text: `127.0.0.1:53/udp`. Pure."""
    return f"{port.address}:{port.host}{_suffix(port)}"


def _suffix(port: PortForward) -> str:
    return "" if port.protocol is Protocol.TCP else f"/{port.protocol}"


def _another(port: int) -> int:
    return port + 10000 if port + 10000 < 1 << 16 else port - 10000


def find_owner(
    port: int, proc: Path = PROC, protocol: Protocol = Protocol.TCP
) -> tuple[int, str] | None:
    """Return id and name of a process that listens on a port, None if it cannot be found."""
    state = _STATE[protocol]
    inodes = {
        inode
        for table in (protocol.value, f"{protocol}6")
        for inode in _listening(proc / "net" / table, port, state)
    }
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            if any(_target(link) in wanted for link in (process / "fd").iterdir()):
                return int(process.name), (process / "comm").read_text().strip()
        except OSError:  # another user's, or has ended
            continue
    return None


def widen(process: Process, ports: Sequence[PortForward], proc: Path = PROC) -> int:
    """Raise the backlog of QEMU's TCP ports; return the number of ports changed.

    libslirp listens with a backlog of 1. If more connections arrive at once, Linux drops
    their handshakes and retries after 1 s, 2 s, 4 s, ...: some clients then wait for more
    than a minute. A second listen() changes the backlog. Where that is not permitted,
    nothing changes.
    """
    state = _STATE[Protocol.TCP]
    wanted = {
        f"socket:[{inode}]"
        for port in ports
        if port.protocol is Protocol.TCP
        for inode in _listening(proc / "net" / "tcp", port.host, state)
    }
    done = 0
    with contextlib.suppress(OSError):
        for link in (proc / str(process.pid) / "fd").iterdir():
            if _target(link) in wanted:
                with socket.socket(fileno=process.duplicate(int(link.name))) as listener:
                    listener.listen(BACKLOG)
                    done += 1
    return done


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _listening(table: Path, port: int, state: str) -> Iterator[str]:
    """Yield the inodes of sockets that listen on `port`; format: man 5 proc, /proc/net/tcp."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == state and int(fields[1].split(":")[1], 16) == port:
            yield fields[9]
