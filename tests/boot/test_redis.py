# SPDX-License-Identifier: GPL-2.0
"""Redis from the distribution's source, unpatched, serves from inside the kernel."""

from __future__ import annotations

import asyncio

import pytest

from tests.boot import redis_app
from tests.boot.harness import Built, Lab

PORT = 6379


@pytest.fixture(scope="module")
def redis(lab: Lab) -> Built:
    """Return Redis, built; skips when its source cannot be had."""
    try:
        return lab.build(redis_app.spec(lab.store, lab.progress))
    except redis_app.Unavailable as error:
        pytest.skip(str(error))


class Client:
    """Speaks just enough of Redis' protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        """Connect to the forwarded port."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def do(self, *words: str | bytes) -> bytes | int | None:
        """Send a command and return its answer; an error of the server fails the test."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        request = b"*%d\r\n" % len(parts)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._writer.write(request)
        await self._writer.drain()
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        assert kind != b"-", rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else (await self._reader.readexactly(size + 2))[:-2]
        return rest

    async def info(self, section: str) -> dict[str, str]:
        """Return what INFO says about a section."""
        text = await self.do("INFO", section)
        assert isinstance(text, bytes)
        pairs = (line.partition(":") for line in text.decode().splitlines() if ":" in line)
        return {name: value for name, _, value in pairs}


def test_it_serves_and_saves(lab: Lab, redis: Built) -> None:
    async def talk() -> None:
        args = (*redis.spec.args, "--dir", "/tmp")
        async with lab.boot(redis, *args, guest_port=PORT) as guest:
            await guest.says("Ready to accept connections")
            client = await Client.connect(guest.port)
            big = bytes(range(256)) * 400
            assert await client.do("SET", "word", "value") == b"OK"
            assert await client.do("SET", "big", big) == b"OK"
            assert await client.do("GET", "word") == b"value"
            assert await client.do("GET", "big") == big
            assert await client.do("GET", "nothing") is None
            # An error of a script travels by longjmp.
            script = (
                "local ok = pcall(error, 'x') return redis.call('get', KEYS[1]) .. tostring(ok)"
            )
            assert await client.do("EVAL", script, "1", "word") == b"valuefalse"

            # BGSAVE forks: the child writes while the parent goes on.
            before = (await client.info("persistence"))["rdb_last_save_time"]
            await asyncio.sleep(1.1)  # the time has seconds
            await client.do("BGSAVE")
            for number in range(500):
                assert await client.do("SET", f"key{number}", str(number)) == b"OK"
            info = await client.info("persistence")
            for _ in range(200):
                if info["rdb_last_save_time"] != before:
                    break
                await asyncio.sleep(0.1)
                info = await client.info("persistence")
            assert info["rdb_last_bgsave_status"] == "ok"
            assert info["rdb_last_save_time"] != before
            assert await client.do("DBSIZE") == 502
            assert await client.do("GET", "key499") == b"499"

    asyncio.run(talk())
