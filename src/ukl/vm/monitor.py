# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor (QMP) over a connected socket: `quit`, and two kinds of events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

from qemu.qmp import ConnectError, EventListener, QMPClient, QMPError, Runstate

from ukl.errors import UklError

PANICKED = "GUEST_PANICKED"
SHUTDOWN = "SHUTDOWN"

_LOST = (QMPError, OSError, EOFError)
"""What a connection that ends may raise; that QEMU ended is learned elsewhere."""


class Monitor:
    """A connection to QEMU's monitor. Nothing here raises because QEMU is gone."""

    def __init__(self) -> None:
        self._client = QMPClient("ukl")
        self._events = EventListener((PANICKED, SHUTDOWN))
        self._client.register_listener(self._events)
        # It logs what is handled here, a lost connection above all.
        logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

    async def connect(self, ours: socket.socket) -> bool:
        """Take `ours` over and greet; False when QEMU ended before it answered."""
        try:
            await self._client.connect(ours)
        except ConnectError:
            return False
        return True

    async def quit(self) -> None:
        """Ask QEMU to end."""
        with contextlib.suppress(*_LOST):
            await self._client.execute("quit")

    async def human(self, line: str) -> str:
        """Execute a command of QEMU's monitor for people and return what it prints."""
        try:
            said = await self._client.execute("human-monitor-command", {"command-line": line})
        except _LOST as error:
            raise UklError(f"QEMU does not execute `{line}`: {error}") from error
        return str(said)

    async def close(self) -> None:
        """Wait until QEMU has closed its end and all events are in; then close ours."""
        with contextlib.suppress(*_LOST):
            while self._client.runstate is Runstate.RUNNING:
                await self._client.runstate_changed()
        with contextlib.suppress(*_LOST):
            await self._client.disconnect()

    async def drop(self) -> None:
        """Close our end at once."""
        with contextlib.suppress(*_LOST, asyncio.InvalidStateError):
            await self._client.disconnect()

    @property
    def panicked(self) -> bool:
        """Whether the guest's pvpanic driver has told of a panic."""
        return any(event["event"] == PANICKED for event in self._events.history)

    @property
    def shutdown(self) -> str | None:
        """The reason of the first SHUTDOWN event, None without one."""
        for event in self._events.history:
            if event["event"] == SHUTDOWN:
                data = event.get("data")
                return str(data.get("reason", "unknown")) if isinstance(data, dict) else "unknown"
        return None
