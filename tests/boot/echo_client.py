# SPDX-License-Identifier: GPL-2.0
"""A load for the echo server that checks every byte that comes back.

Also a program: python -m tests.boot.echo_client PORT [CLIENTS MESSAGES SIZE]
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass

PATTERN = random.Random(7).randbytes(1 << 17)
"""Messages are pieces of it; from where depends on client and number, so that bytes of
another client or message are noticed."""

PAUSE = 0.005
"""Seconds between two connections."""

STRIDE_CLIENT = 257
STRIDE_MESSAGE = 31


class Wrong(AssertionError):
    """What came back is not what was sent."""


@dataclass(frozen=True)
class Load:
    """What a load did."""

    clients: int
    messages: int
    size: int
    seconds: float

    def __str__(self) -> str:
        total = self.clients * self.messages
        rate = total / self.seconds
        volume = rate * self.size / (1 << 20)
        return (
            f"{self.clients} clients x {self.messages} x {self.size} B: {self.seconds:.1f} s, "
            f"{rate:.0f} messages/s, {volume:.1f} MiB/s each way"
        )


def message(client: int, number: int, size: int) -> bytes:
    """Return what a client sends as its message of that number. Pure."""
    begin = (client * STRIDE_CLIENT + number * STRIDE_MESSAGE) % (len(PATTERN) - size)
    return PATTERN[begin : begin + size]


class _Client(asyncio.Protocol):
    """Sends a message, waits for all of it, compares, sends the next."""

    def __init__(self, identity: int, messages: int, size: int) -> None:
        self._identity = identity
        self._messages = messages
        self._size = size
        self._number = 0
        self._at = 0
        self._expected = message(identity, 0, size)
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def start(self) -> None:
        """Send the first message."""
        assert self._transport is not None
        self._transport.write(self._expected)

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return self._fail(f"{len(data)} bytes more than were sent")
        end = self._at + len(data)
        if data != self._expected[self._at : end]:
            return self._fail(f"message {self._number} differs in bytes {self._at}-{end}")
        self._at = end
        if end < self._size:
            return None
        self._at = 0
        self._number += 1
        assert self._transport is not None
        if self._number == self._messages:
            self.done.set_result(None)
            self._transport.write_eof()
            return None
        self._expected = message(self._identity, self._number, self._size)
        self._transport.write(self._expected)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"connection lost in message {self._number}: {exc}")

    def _fail(self, what: str) -> None:
        if not self.done.done():
            self.done.set_exception(Wrong(f"client {self._identity}: {what}"))
        if self._transport is not None:
            self._transport.abort()


async def load(port: int, *, clients: int, messages: int, size: int) -> Load:
    """Let all clients connect, then talk at the same time; Wrong if a byte is.

    QEMU takes two forwarded connections at most that wait to be accepted, and what
    is above that tries again after a second: so they connect one after the other.
    """
    loop = asyncio.get_running_loop()
    found: list[_Client] = []
    for identity in range(clients):
        _, client = await loop.create_connection(
            lambda identity=identity: _Client(identity, messages, size),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        found.append(client)
        await asyncio.sleep(PAUSE)
    begin = time.monotonic()
    for client in found:
        client.start()
    await asyncio.gather(*(client.done for client in found))
    return Load(clients, messages, size, time.monotonic() - begin)


def _main() -> None:
    given = [int(word) for word in sys.argv[1:]]
    port, clients, messages, size = [*given, *(0, 200, 500, 1024)[len(given) :]]
    print(asyncio.run(load(port, clients=clients, messages=messages, size=size)))


if __name__ == "__main__":
    _main()
