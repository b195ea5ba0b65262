# SPDX-License-Identifier: GPL-2.0
"""Sends input to the guest's console: bytes of a descriptor, in order, once it listens.

The guest's terminal buffers a few thousand bytes for a program that does not read, and
drops the rest: this is for people and scripts, not for bulk data.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from ukl.vm.terminal import Keys

END_OF_INPUT = b"\x04"
"""Ctrl-D: for a terminal in canonical mode, the end of the input."""

_CHUNK = 4096


class Feed:
    """Sends bytes to the console's socket.

    With `keys` the descriptor is a terminal: it is read at once, so that the keys that end
    the guest work from the beginning (they call `on_quit`); other keys are kept until `open`.
    Without `keys` it is read only from `open` on.
    """

    def __init__(
        self,
        console: socket.socket,
        descriptor: int | None,
        keys: Keys | None,
        on_quit: Callable[[], None],
    ) -> None:
        self._console = console
        self._descriptor = descriptor
        self._keys = keys
        self._on_quit = on_quit
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._watched = False
        self._open = False
        if keys is not None:
            self._watch()

    def open(self) -> None:
        """Start to send: the guest listens."""
        if self._open:
            return
        self._open = True
        self._tasks.append(asyncio.get_running_loop().create_task(self._send()))
        if self._keys is None:
            self._watch()

    def type(self, data: bytes) -> None:
        """Send bytes after those that were read or typed before."""
        self._queue.put_nowait(data)

    async def close(self) -> None:
        """Stop reading and sending."""
        self._unwatch()
        self._descriptor = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # QEMU is gone
            while True:
                await loop.sock_sendall(self._console, await self._queue.get())
                if self._queue.empty() and self._keys is None:
                    self._watch()

    def _watch(self) -> None:
        if self._descriptor is None or self._watched:
            return
        try:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
            self._watched = True
        except PermissionError:  # a regular file: always ready, and epoll refuses it
            self._read()

    def _unwatch(self) -> None:
        if self._descriptor is not None and self._watched:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._watched = False

    def _read(self) -> None:
        if self._descriptor is None:
            return
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            self._unwatch()
            self._descriptor = None
            self.type(END_OF_INPUT)
            return
        if self._keys is None:
            self._unwatch()  # until these bytes are sent, to bound the memory
        else:
            data = self._keys.feed(data)
        if data:
            self.type(data)
        if self._keys is not None and self._keys.quit:
            self._on_quit()
