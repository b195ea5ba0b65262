# SPDX-License-Identifier: GPL-2.0
"""A plain client of Redis' protocol, RESP2."""

from __future__ import annotations

import asyncio


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
