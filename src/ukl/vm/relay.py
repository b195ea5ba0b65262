# SPDX-License-Identifier: GPL-2.0
"""Between the clients of `ukl exec` and the guest's agent: a channel for each client.

The keeper does nothing with the frames but write the channel's number into them. How
much may be under way is settled between client and agent; a client that nevertheless
does not take what comes loses its channel, not the others theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from ukl.base.errors import UklError
from ukl.vm import agent, status
from ukl.vm.agent import Decoder, Frame, Type
from ukl.vm.session import Session

HELLO_TIMEOUT = 30.0
"""Seconds the agent may take to start; a busy emulated guest needs some."""

_CHUNK = 1 << 16


class Relay:
    """The agent's port of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._decoder: Decoder | None = None
        self._greeted = asyncio.Event()
        self._starting = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._clients: dict[int, asyncio.StreamWriter] = {}
        self._reader: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until the agent is there; UklError if it does not come."""
        async with self._starting:
            if self._greeted.is_set():
                return
            nonce = self._session.settings.nonce
            if self._session.agent is None or nonce is None:
                raise UklError(
                    "nobody in this guest can execute something: the application is process 1",
                    remedy="run it without --init app",
                )
            self._decoder = Decoder(agent.hello(nonce))
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())
            self._session.say(status.AGENT)
            try:
                await asyncio.wait_for(self._greeted.wait(), HELLO_TIMEOUT)
            except TimeoutError:
                raise UklError(
                    "the guest does not answer",
                    remedy="it may be out of memory or stuck: ukl logs shows what it said, "
                    "and ukl gdb where it is",
                ) from None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client's frames both ways, until its program or the client has ended."""
        channel = next(self._numbers)
        self._clients[channel] = writer
        decoder = Decoder()
        try:
            while data := await reader.read(_CHUNK):
                for frame in decoder.feed(data):
                    if frame.type in agent.FROM_HOST:
                        await self._send(Frame(frame.type, channel, frame.data, frame.flags))
        finally:
            if self._clients.pop(channel, None) is not None and self._greeted.is_set():
                await self._send(Frame(Type.CLOSE, channel))

    def lost(self) -> None:
        """The agent has died: so have the programs' streams. The next client starts another."""
        self._greeted.clear()
        clients, self._clients = self._clients, {}
        for writer in clients.values():
            writer.close()

    async def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _send(self, frame: Frame) -> None:
        port = self._session.agent
        if port is not None:
            async with self._sending:  # a frame is not to be broken by another
                with contextlib.suppress(OSError):
                    await asyncio.get_running_loop().sock_sendall(port, agent.encode(frame))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        port = self._session.agent
        while port is not None:
            try:
                data = await loop.sock_recv(port, _CHUNK)
            except OSError:
                return
            if not data or self._decoder is None:
                return
            try:
                frames = self._decoder.feed(data)
            except agent.Malformed:  # whoever is root in the guest may write what he likes
                self.lost()
                return
            if self._decoder.greeted:
                self._greeted.set()
            for frame in frames:
                self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        writer = self._clients.get(frame.channel)
        if writer is None:
            return
        writer.write(agent.encode(Frame(frame.type, 0, frame.data, frame.flags)))
        if frame.type in agent.LAST:
            del self._clients[frame.channel]
            writer.close()
        elif writer.transport.get_write_buffer_size() > 4 * agent.GRANT:
            writer.transport.abort()
