# SPDX-License-Identifier: GPL-2.0
"""The recipe of memcached: large items over TCP by many connections, and datagrams."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests.boot.harness import Built, Lab
from ukl.base.model import Protocol
from ukl.recipe import debian

PORT = 11211
HEAD = struct.Struct("!HHHH")
"""Request, number and count of the datagram, nothing: memcached's doc/protocol.txt, UDP."""


@pytest.fixture(scope="module")
def memcached(lab: Lab) -> Built:
    """Return memcached, built; skips when its source cannot be had."""
    try:
        return lab.example("memcached")
    except debian.Unavailable as error:
        pytest.skip(str(error))


async def ask(port: int, request: bytes, end: bytes) -> bytes:
    """Send a request by a connection of its own and return the answer up to `end`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 << 20)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.readuntil(end), 60)
    finally:
        writer.close()


def ask_udp(port: int, request: bytes) -> bytes:
    """Send a datagram, again if nothing comes, and return the answer without its head."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(2)
        for number in range(1, 11):
            link.sendto(HEAD.pack(number, 0, 1, 0) + request, ("127.0.0.1", port))
            try:
                answer = link.recv(65536)
            except TimeoutError:
                continue
            assert HEAD.unpack_from(answer) == (number, 0, 1, 0)
            return answer[HEAD.size :]
    raise AssertionError("no datagram came back")


def test_it_serves(lab: Lab, memcached: Built) -> None:
    big = bytes(range(1, 9)) * 100_000

    async def talk() -> None:
        both = (Protocol.TCP, Protocol.UDP)
        args = (*memcached.spec.args, "-t", "4", "-vv")
        async with lab.boot(memcached, *args, guest_port=PORT, protocols=both) as guest:
            await guest.says("server listening")
            store = b"set big 7 0 %d\r\n%s\r\n" % (len(big), big)
            assert await ask(guest.port, store, b"\r\n") == b"STORED\r\n"
            got = await ask(guest.port, b"get big\r\n", b"END\r\n")
            assert got == b"VALUE big 7 %d\r\n%s\r\nEND\r\n" % (len(big), big)
            # Each thread has some of them.
            jobs = (
                ask(guest.port, b"set k%d 0 0 1\r\nx\r\n" % number, b"\r\n") for number in range(40)
            )
            assert set(await asyncio.gather(*jobs)) == {b"STORED\r\n"}
            udp = await asyncio.to_thread(ask_udp, guest.port, b"get k39\r\n")
            assert udp == b"VALUE k39 0 1\r\nx\r\nEND\r\n"
            assert b"STAT threads 4\r\n" in await ask(guest.port, b"stats\r\n", b"END\r\n")

    asyncio.run(talk())
