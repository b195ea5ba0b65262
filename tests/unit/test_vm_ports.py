# SPDX-License-Identifier: GPL-2.0
"""Ports are asked for before anything is started."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.base.model import PortForward, Protocol
from ukl.host.process import PIPE, spawn
from ukl.vm import ports
from ukl.vm.ports import PortBusy


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_busy_port_names_port_owner_and_remedy(taken: int) -> None:
    with pytest.raises(PortBusy) as caught:
        ports.check([PortForward(taken, 7)])
    error = caught.value
    assert str(taken) in error.message
    assert f"process {os.getpid()}" in error.message
    assert error.remedy is not None
    assert ":7" in error.remedy
    assert error.where == f"127.0.0.1:{taken}"


def test_udp_is_another_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(PortBusy) as caught:
            ports.check([PortForward(port, 7, protocol=Protocol.UDP)])
        assert f"process {os.getpid()}" in caught.value.message
        assert str(caught.value.remedy).endswith(":7/udp")
    both = [PortForward(port, 7), PortForward(port, 7, protocol=Protocol.UDP)]
    ports.check(both)
    with pytest.raises(InputError, match="twice"):
        ports.check([*both, both[1]])


def test_free_port_passes_and_stays_free(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    ports.check([PortForward(free, 7)])
    ports.check([PortForward(free, 7)])
    with pytest.raises(PortBusy):
        ports.check([PortForward(free, 7), PortForward(taken, 7)])


def test_port_that_lingers_is_free() -> None:
    """A connection of a former run in TIME_WAIT must not block the next one."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # we close first: TIME_WAIT is ours
    ports.check([PortForward(port, 7)])


@pytest.mark.parametrize("port", [PortForward(0, 7), PortForward(7000, 0), PortForward(65536, 7)])
def test_numbers_out_of_range(port: PortForward) -> None:
    with pytest.raises(InputError):
        ports.check([port])


def test_twice() -> None:
    with pytest.raises(InputError, match="twice"):
        ports.check([PortForward(40001, 1), PortForward(40001, 2)])


def test_owner_of_a_port_nobody_has(tmp_path: Path) -> None:
    assert ports.find_owner(1, tmp_path) is None


LISTENER = """
import socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1)
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def waiting(port: int, count: int, seconds: float) -> int:
    """Return how many of `count` connections that nobody accepts are made before that time."""
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        for _ in range(count):
            link = stack.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(("127.0.0.1", port))
            poll.register(link, select.POLLOUT)
        made: set[int] = set()
        end = time.monotonic() + seconds
        while len(made) < count and time.monotonic() < end:
            for descriptor, _ in poll.poll(100):
                made.add(descriptor)
                poll.unregister(descriptor)
        return len(made)


@pytest.mark.process
def test_connections_may_wait() -> None:
    with spawn([sys.executable, "-c", LISTENER], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert waiting(port, 20, 0.3) < 20
        both = [PortForward(port, 1), PortForward(port, 1, protocol=Protocol.UDP)]
        assert ports.widen(child, both) == 1
        assert waiting(port, 20, 60) == 20  # at once, but for a machine that is busy


def test_where_a_guest_is() -> None:
    named = (
        PortForward(5301, 53, protocol=Protocol.UDP),
        PortForward(8001, 80),
        PortForward(4431, 443),
    )
    assert ports.environment(named) == {
        "HOST": "127.0.0.1",
        "PORT": "8001",
        "PORT_53": "5301",
        "PORT_80": "8001",
        "PORT_443": "4431",
    }
    assert ports.environment(named[:1])["PORT"] == "5301"
    assert ports.environment(()) == {"HOST": "127.0.0.1"}


def test_ports_that_are_free() -> None:
    both = (PortForward(11211, 11211), PortForward(11211, 11211, protocol=Protocol.UDP))
    first, second = ports.with_free_hosts(both)
    # A client of either finds it by the same number.
    assert first.host == second.host != 11211
    assert (first.guest, second.protocol) == (11211, Protocol.UDP)
    ports.check((first, second))
