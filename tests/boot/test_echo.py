# SPDX-License-Identifier: GPL-2.0
"""The echo server under load, and with clients that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.boot import echo_client
from tests.boot.harness import Booted, Built, Lab
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

PORT = 5555
LISTENING = "listening on port"

CLIENTS = 200

LOAD_SECONDS = 900.0


@pytest.fixture(params=["tcp-echo", "tcp-echo-kernel"])
def echo(lab: Lab, request: pytest.FixtureRequest) -> Built:
    """Return each of the servers: a loop with epoll, and one in the kernel."""
    return lab.example(request.param)


def serving(
    lab: Lab,
    echo: Built,
    talk: Callable[[Booted], Awaitable[None]],
    *,
    cpus: int = 1,
    timeout: float = 180.0,
) -> None:
    """Boot the server, let the test talk to it, and see that it lives and stops well."""

    async def whole() -> None:
        options = Options(Guest(timeout=timeout))
        async with lab.boot(echo, cpus=cpus, guest_port=PORT, options=options) as guest:
            await guest.says(LISTENING)
            await talk(guest)
            # It still serves everybody else.
            await echo_client.load(guest.port, clients=3, messages=3, size=100)
            ran = await guest.stop()
            assert ran.result.outcome is Outcome.STOPPED, ran.result
            # It handles SIGTERM itself.
            assert ran.result.status == 0, ran.result

    asyncio.run(whole())


@pytest.mark.timeout(LOAD_SECONDS + 60)
@pytest.mark.parametrize(("size", "messages"), [(1, 500), (1024, 500), (65536, 500)])
def test_two_hundred_clients(lab: Lab, echo: Built, size: int, messages: int) -> None:
    if echo.spec.name != "tcp-echo":
        messages //= 10  # most of the time is the network's

    async def talk(guest: Booted) -> None:
        print(await echo_client.load(guest.port, clients=CLIENTS, messages=messages, size=size))

    serving(lab, echo, talk, timeout=LOAD_SECONDS)


@pytest.mark.timeout(LOAD_SECONDS + 60)
def test_two_hundred_clients_and_two_processors(lab: Lab, echo: Built) -> None:
    async def talk(guest: Booted) -> None:
        print(await echo_client.load(guest.port, clients=CLIENTS, messages=100, size=1024))

    serving(lab, echo, talk, cpus=2, timeout=LOAD_SECONDS)


def connect(guest: Booted) -> socket.socket:
    """Return a connected socket. Blocking calls on it are made in a thread."""
    return socket.create_connection(("127.0.0.1", guest.port), timeout=60)


def vanish(client: socket.socket) -> None:
    """Close with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_clients_that_vanish(lab: Lab, echo: Built) -> None:
    def rude(guest: Booted) -> None:
        for number in range(100):
            client = connect(guest)
            if number % 3:
                client.sendall(b"x" * (1 << number % 16))
            if number % 3 == 2:
                client.recv(1)
            vanish(client)
            time.sleep(echo_client.PAUSE)

    async def talk(guest: Booted) -> None:
        calm = asyncio.create_task(echo_client.load(guest.port, clients=10, messages=50, size=1024))
        await asyncio.to_thread(rude, guest)
        await calm

    serving(lab, echo, talk)


def test_clients_that_send_nothing(lab: Lab, echo: Built) -> None:
    async def talk(guest: Booted) -> None:
        with contextlib.ExitStack() as stack:
            silent = []
            for _ in range(50):
                silent.append(stack.enter_context(connect(guest)))
                await asyncio.sleep(echo_client.PAUSE)
            await echo_client.load(guest.port, clients=20, messages=20, size=1024)
            for client in silent:  # all are still connected, and nothing came
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(1)

    serving(lab, echo, talk)


def test_half_closed_client_gets_the_rest(lab: Lab, echo: Built) -> None:
    data = echo_client.PATTERN * 8

    async def talk(guest: Booted) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", guest.port)
        writer.write(data)
        writer.write_eof()
        got = await asyncio.wait_for(reader.read(), 60)
        assert got == data
        writer.close()

    serving(lab, echo, talk)


def test_client_that_does_not_read_blocks_nobody(lab: Lab, echo: Built) -> None:
    """And it gets everything when it reads at last.

    It must not vanish instead: libslirp 4.7 in QEMU aborts when a forwarded connection
    breaks while its buffer is full (soread, "buf_len != 0").
    """

    def fill(client: socket.socket) -> int:
        client.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += client.send(echo_client.PATTERN[sent % len(echo_client.PATTERN) :])
        return sent

    def drain(client: socket.socket, count: int) -> None:
        client.settimeout(60)
        got = 0
        while got < count:
            data = client.recv(1 << 16)
            begin = got % len(echo_client.PATTERN)
            assert data
            assert data == (echo_client.PATTERN * 2)[begin : begin + len(data)]
            got += len(data)

    async def talk(guest: Booted) -> None:
        with connect(guest) as deaf:
            sent = await asyncio.to_thread(fill, deaf)
            assert sent < 64 << 20  # it was stopped
            await echo_client.load(guest.port, clients=10, messages=20, size=1024)
            await asyncio.to_thread(drain, deaf, sent)

    serving(lab, echo, talk)
