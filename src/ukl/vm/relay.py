# SPDX-License-Identifier: GPL-2.0
"""Relays frames between the clients of `ukl exec` and the guest's agent.

Each client has a channel; the keeper only writes its number into the frames. Client and
agent do their own flow control; a client that still does not read its frames loses its
channel, without an effect on other clients.
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
"""Seconds that the agent may take to start; a busy emulated guest needs some."""

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
        """Start the agent and wait until it is ready; raises UklError if it does not answer."""
        async with self._starting:
            if self._greeted.is_set():
                return
            nonce = self._session.settings.nonce
            if self._session.agent is None or nonce is None:
                raise UklError(
                    "this guest cannot execute programs: the application is process 1",
                    remedy="run it without --init app",
                )
            self._decoder = Decoder(agent.hello(nonce))
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())
            self._session.send(status.AGENT)
            try:
                await asyncio.wait_for(self._greeted.wait(), HELLO_TIMEOUT)
            except TimeoutError:
                raise UklError(
                    "the guest does not answer",
                    remedy="it may be out of memory or stuck: ukl logs shows its output, "
                    "ukl gdb where it is",
                ) from None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one client's frames both ways, until its program or the client has ended."""
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
        """Close all clients after the agent's death. The next client starts another agent."""
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
            async with self._sending:  # frames must not interleave
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
            except agent.Malformed:  # root in the guest may write anything to the port
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
