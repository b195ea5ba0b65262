# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitor (QMP) over a connected socket: a few commands, and two kinds of events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, EventListener, QMPClient, QMPError, Runstate

from ukl.base.errors import UklError

PANICKED = "GUEST_PANICKED"
SHUTDOWN = "SHUTDOWN"

_LOST = (QMPError, OSError, EOFError)
"""What a lost connection may raise; the end of QEMU is noticed elsewhere."""


class Monitor:
    """A connection to QEMU's monitor. Nothing here raises because QEMU is gone."""

    def __init__(self) -> None:
        self._client = QMPClient("ukl")
        self._events = EventListener((PANICKED, SHUTDOWN))
        self._client.register_listener(self._events)
        self._panics = EventListener(PANICKED)
        self._client.register_listener(self._panics)
        self._shutdowns = EventListener(SHUTDOWN)
        self._client.register_listener(self._shutdowns)
        # It logs errors that are handled here, such as a lost connection.
        logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

    async def connect(self, connection: socket.socket) -> bool:
        """Take `connection` over and greet; return False if QEMU ended before it answered."""
        try:
            await self._client.connect(connection)
        except ConnectError:
            return False
        return True

    async def quit(self) -> None:
        """Ask QEMU to end."""
        with contextlib.suppress(*_LOST):
            await self._client.execute("quit")

    @property
    def version(self) -> str:
        """QEMU's version, with that of its package."""
        greeting = self._client.greeting
        if greeting is None:
            return "unknown"
        version: Any = greeting.QMP.version
        text = "{major}.{minor}.{micro}".format(**version["qemu"])
        package = str(version.get("package", "")).strip()
        return f"{text} ({package})" if package else text

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Execute a command and return its answer; raises UklError if it fails."""
        try:
            return await self._client.execute(command, dict(arguments or {}))
        except _LOST as error:
            raise UklError(f"QEMU does not execute {command}: {error}") from error

    async def human(self, line: str, cpu: int | None = None) -> str:
        """Execute a command of QEMU's human monitor and return its output.

        `cpu` is the processor whose registers and memory it uses (None: the first).
        """
        words: dict[str, object] = {"command-line": line}
        if cpu is not None:
            words["cpu-index"] = cpu
        return str(await self.execute("human-monitor-command", words))

    async def panic(self) -> None:
        """Wait until the guest's kernel has panicked."""
        await self._panics.get()

    async def end(self) -> str:
        """Wait until the machine shuts down or resets, and return the reason."""
        return _reason(await self._shutdowns.get())

    async def stop(self) -> None:
        """Pause the machine."""
        with contextlib.suppress(*_LOST):
            await self._client.execute("stop")

    async def dump(self, file: Path) -> None:
        """Write the machine's memory into a file, as an ELF core in virtual addresses."""
        words = {"paging": True, "protocol": f"file:{file}", "detach": False}
        try:
            await self._client.execute("dump-guest-memory", words)
        except _LOST as error:
            raise UklError(f"QEMU does not dump the memory: {error}") from error

    async def running(self) -> bool:
        """Tell whether the machine runs, and is neither paused nor gone."""
        try:
            answer = await self._client.execute("query-status")
        except _LOST:
            return False
        return isinstance(answer, dict) and answer.get("running") is True

    async def save(self, address: int, size: int, file: Path) -> None:
        """Write memory at a virtual address, as the first processor sees it, into a file."""
        output = await self.human(f'memsave {address:#x} {size} "{file}"', cpu=0)
        if words := " ".join(output.split()):
            raise UklError(f"QEMU does not save the memory at {address:#x}: {words}")

    async def resume(self) -> None:
        """Resume a paused machine."""
        with contextlib.suppress(*_LOST):
            await self._client.execute("cont")

    async def close(self) -> None:
        """Wait until QEMU has closed its end and all events are in; then disconnect."""
        with contextlib.suppress(*_LOST):
            while self._client.runstate is Runstate.RUNNING:
                await self._client.runstate_changed()
        with contextlib.suppress(*_LOST):
            await self._client.disconnect()

    async def drop(self) -> None:
        """Disconnect at once."""
        with contextlib.suppress(*_LOST, asyncio.InvalidStateError):
            await self._client.disconnect()

    @property
    def panicked(self) -> bool:
        """Whether the guest's pvpanic driver has reported a panic."""
        return any(event["event"] == PANICKED for event in self._events.history)

    @property
    def shutdown(self) -> str | None:
        """The reason of the first SHUTDOWN event, None without one."""
        for event in self._events.history:
            if event["event"] == SHUTDOWN:
                return _reason(event)
        return None


def _reason(event: Mapping[str, object]) -> str:
    data = event.get("data")
    return str(data.get("reason", "unknown")) if isinstance(data, dict) else "unknown"
