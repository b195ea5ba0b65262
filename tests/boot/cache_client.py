# SPDX-License-Identifier: GPL-2.0
"""A client of the example cache-kernel, which speaks a part of memcached's protocol."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

SECONDS = 60.0
"""For each answer: a limit that only catches a hang."""


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection: socket.socket, expected: bytes) -> None:
    got = bytearray()
    while len(got) < len(expected) and (data := connection.recv(len(expected) - len(got))):
        got += data
    assert got == expected, (bytes(got[:99]), expected[:99])


def ask(connection: socket.socket, request: bytes, expected: bytes, piece: int = 1 << 20) -> None:
    """Send a request in pieces, and compare the answer."""
    for begin in range(0, len(request), piece):
        connection.sendall(request[begin : begin + piece])
    receive(connection, expected)


def value(key: bytes, data: bytes, flags: int = 0) -> bytes:
    return b"VALUE %s %d %d\r\n%s\r\n" % (key, flags, len(data), data)


def found(key: bytes, data: bytes, flags: int = 0) -> bytes:
    return value(key, data, flags) + b"END\r\n"


def store(key: bytes, data: bytes, flags: int = 0) -> bytes:
    return b"set %s %d 0 %d\r\n%s\r\n" % (key, flags, len(data), data)


LARGE = random.Random(1).randbytes(4096)
INSIDE = b"get a\r\nget a\r\n"
"""A value that looks like requests."""

CONVERSATION: list[tuple[bytes, bytes, int]] = [
    (b"get none\r\n", b"END\r\n", 100),
    (store(b"a", b"abc", 7), b"STORED\r\n", 100),
    (b"get a\r\n", found(b"a", b"abc", 7), 100),
    (b"get a\r\n" * 50, found(b"a", b"abc", 7) * 50, 100),
    (store(b"x", INSIDE) + b"get a\r\n", b"STORED\r\n" + found(b"a", b"abc", 7), 1),
    (b"get x\r\nversion\r\nget a\r\n",
     found(b"x", INSIDE) + b"VERSION 1\r\n" + found(b"a", b"abc", 7), 3),
    (b"get a x none\r\n", value(b"a", b"abc", 7) + found(b"x", INSIDE), 100),
    (store(b"large", LARGE), b"STORED\r\n", 1 << 20),
    (b"get large\r\n" * 100, found(b"large", LARGE) * 100, 1 << 20),
    (store(b"a", LARGE * 3) + b"get a\r\n",
     b"SERVER_ERROR object too large for cache\r\n" + found(b"a", b"abc", 7), 999),
    (b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad command line format\r\n", 1 << 20),
    (b"get\r\n\r\nget \r\n", b"ERROR\r\n" * 3, 4),
]  # fmt: skip
"""Requests, their answers, and in which pieces they are sent."""


def converse(port: int) -> None:
    with closing(connect(port)) as connection:
        for request, expected, piece in CONVERSATION:
            ask(connection, request, expected, piece)


def _turns(number: int) -> Iterator[tuple[bytes, bytes, int]]:
    chance = random.Random(number)
    key = b"key-%d" % number
    for turn in range(40):
        data = INSIDE * chance.choice((0, 1, 100))
        gets = chance.randrange(4)
        request = store(key, data, turn) + b"get %s\r\n" % key * gets
        expected = b"STORED\r\n" + found(key, data, turn) * gets
        yield request, expected, chance.choice((7, 100, 1 << 20))


def mix(port: int, clients: int) -> None:
    """Let clients write and read their own keys at the same time."""

    def one(number: int) -> None:
        with closing(connect(port)) as connection:
            for request, expected, piece in _turns(number):
                ask(connection, request, expected, piece)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))


def leave(port: int, clients: int) -> None:
    """Close connections with requests that are not complete, and answers that nobody reads."""
    for number in range(clients):
        with closing(connect(port)) as connection:
            words = (b"get large\r\n" * 99, b"set a", b"ge", b"set q 0 0 100\r\nxx")
            connection.sendall(words[number % len(words)])


def read_late(port: int) -> None:
    """Have more answers than the socket takes before a request of another kind."""
    with closing(connect(port)) as connection:
        number = 2000
        with ThreadPoolExecutor(1) as pool:
            request = b"get large\r\n" * number + store(b"z", b"z") + b"get z\r\n"
            sent = pool.submit(connection.sendall, request)
            receive(connection, found(b"large", LARGE) * number)
            receive(connection, b"STORED\r\n" + found(b"z", b"z"))
            sent.result()


def answered_in_the_kernel(port: int) -> int:
    with closing(connect(port)) as connection:
        connection.sendall(b"stats\r\n")
        line, end = connection.makefile("rb").readline(), b"STAT get_kernel "
        assert line.startswith(end)
        return int(line.removeprefix(end))
