# SPDX-License-Identifier: GPL-2.0
"""The echo server itself, as a normal process: what it promises its clients."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import eventually
from ukl.app.build import build
from ukl.base import resources
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.settings import manifest

TIMEOUT = 20.0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = manifest.load(resources.path("examples/tcp-echo"))
    return build(spec, Store(tmp_path_factory.mktemp("store")), Progress.quiet()).user


class Server:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident(self) -> int:
        """Return its resident memory in pages."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(program: Path, *prefix: str) -> Iterator[Server]:
    port = free_port()
    with subprocess.Popen(
        [*prefix, program, str(port)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"tcp-echo: listening on port {port}\n"
            yield Server(process, port)
            assert process.poll() is None, "the server is gone"
        finally:
            process.kill()


@pytest.fixture
def server(program: Path) -> Iterator[Server]:
    with serving(program) as running:
        yield running


def receive(client: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = client.recv(count - len(data))
        if not part:
            break
        data += part
    return bytes(data)


def pattern(seed: int, count: int) -> bytes:
    return bytes((seed * 7 + position * 13) & 255 for position in range(count))


@pytest.mark.parametrize("size", [1, 1024, 65536])
def test_two_hundred_clients_at_once(server: Server, size: int) -> None:
    rounds = {1: 50, 1024: 20, 65536: 4}[size]
    clients = [server.connect() for _ in range(200)]
    for number in range(rounds):
        for seed, client in enumerate(clients):
            client.sendall(pattern(seed + number, size))
        for seed, client in enumerate(clients):
            assert receive(client, size) == pattern(seed + number, size)
    for client in clients:
        client.close()
    assert eventually(lambda: server.descriptors() <= 7)


def test_half_close_gets_the_rest(server: Server) -> None:
    data = pattern(1, 3 << 20)
    with server.connect() as client, selectors.DefaultSelector() as selector:
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        sent, got = 0, bytearray()
        while len(got) < len(data):
            for _, events in selector.select(TIMEOUT):
                if events & selectors.EVENT_READ:
                    part = client.recv(65536)
                    assert part, f"closed after {len(got)} bytes"
                    got += part
                if events & selectors.EVENT_WRITE and sent < len(data):
                    sent += client.send(data[sent : sent + 65536])
                    if sent == len(data):
                        client.shutdown(socket.SHUT_WR)
                        selector.modify(client, selectors.EVENT_READ)
        client.settimeout(TIMEOUT)
        assert client.recv(1) == b""
    assert bytes(got) == data


def test_a_client_that_does_not_read_stops_only_itself(server: Server) -> None:
    with server.connect() as deaf, server.connect() as other:
        deaf.settimeout(1)
        before = server.resident()
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 256 << 20:
                sent += deaf.send(bytes(65536))
        assert sent < 256 << 20, "the server takes everything in"
        assert server.resident() - before < 1000
        other.sendall(b"still there")
        assert receive(other, 11) == b"still there"
        deaf.settimeout(TIMEOUT)
        assert len(receive(deaf, sent)) == sent


def test_clients_that_vanish(server: Server) -> None:
    for number in range(300):
        client = server.connect()
        if number % 3:
            client.sendall(bytes(1 + number * 100))
        if number % 2:  # a reset instead of an orderly end
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    with server.connect() as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        assert eventually(lambda: server.descriptors() <= 8)


def test_out_of_descriptors_it_waits_and_goes_on(program: Path) -> None:
    limit = ["prlimit", "--nofile=32:32"]
    if os.geteuid() == 0:  # who may raise the hard limit raises it
        limit += ["setpriv", "--bounding-set=-all"]
    with serving(program, *limit) as server:
        clients = [server.connect() for _ in range(60)]
        clients[0].sendall(b"first")
        assert receive(clients[0], 5) == b"first"
        before = Path(f"/proc/{server.process.pid}/stat").read_text().split()
        time.sleep(0.5)
        assert server.descriptors() == 32
        after = Path(f"/proc/{server.process.pid}/stat").read_text().split()
        # utime + stime in ticks of 10 ms: it sleeps and does not spin.
        assert sum(map(int, after[13:15])) - sum(map(int, before[13:15])) < 20
        for client in clients[:40]:
            client.close()
        clients[59].sendall(b"last")
        assert receive(clients[59], 4) == b"last"
        for client in clients:
            client.close()


def test_idle_clients_cost_no_time(server: Server) -> None:
    clients = [server.connect() for _ in range(50)]
    clients[0].sendall(b"x")
    assert receive(clients[0], 1) == b"x"
    before = Path(f"/proc/{server.process.pid}/stat").read_text().split()
    time.sleep(0.5)
    after = Path(f"/proc/{server.process.pid}/stat").read_text().split()
    assert after[13:15] == before[13:15]
    for client in clients:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked(program: Path, number: signal.Signals) -> None:
    port = free_port()
    with subprocess.Popen([program, str(port)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(TIMEOUT) == 0


def test_it_listens_on_both_protocols(server: Server) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("optional: no IPv6 on this machine")
    with socket.create_connection(("::1", server.port), timeout=TIMEOUT) as client:
        client.sendall(b"six")
        assert receive(client, 3) == b"six"


@pytest.mark.parametrize("port", ["0", "65536", "x", "", "80x", "-1"])
def test_bad_port(program: Path, port: str) -> None:
    done = subprocess.run([program, port], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_port_in_use(program: Path, server: Server) -> None:
    done = subprocess.run([program, str(server.port)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bind" in done.stderr
