# SPDX-License-Identifier: GPL-2.0
"""The standard streams of the application: bytes between our descriptors and the guest.

What is a pipe or a file here is a pipe for the program, and a terminal is a terminal. The
frames are those of vm/agent.py, on a port of their own, with one channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from ukl.vm import agent, terminal
from ukl.vm.agent import Decoder, Frame, Type
from ukl.vm.terminal import Keys

Sink = Callable[[bytes], None]

CHANNEL = 0

INTERRUPT = b"\x03"
"""Ctrl-C. Until the program has a terminal that makes a signal of it, it ends the guest."""

USUAL_SIZE = (24, 80)
"""Rows and columns of a program's terminal where we have none."""

_TYPED_MOST = 1 << 20
"""Bytes of typed keys that are kept for a program that does not read."""


def to_descriptor(descriptor: int) -> Sink:
    """Return a sink that writes to a descriptor (1: standard output) at once.

    Raises BrokenPipeError if the reader is gone.
    """

    def write(data: bytes) -> None:
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:
                time.sleep(0.01)

    return write


def forgiving(sink: Sink) -> Sink:
    """Return a sink that discards what comes after the reader has gone."""
    gone = False

    def write(data: bytes) -> None:
        nonlocal gone
        if not gone:
            try:
                sink(data)
            except BrokenPipeError:
                gone = True

    return write


@dataclass(frozen=True, slots=True)
class Streams:
    """The program's streams.

    `kinds` has a letter for each: `p` is a pipe, `t` the terminal, `n` no input. `input` is
    the descriptor whose bytes it reads (None: the end at once).
    `window` is the terminal whose size it gets.
    """

    kinds: str
    output: Sink
    errors: Sink
    input: int | None = None
    window: int | None = None

    @property
    def keyboard(self) -> int | None:
        """The terminal whose keys are the program's, None if there is none."""
        if self.kinds[0] != "t" or self.input is None or not os.isatty(self.input):
            return None
        return self.input

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the program's terminal."""
        if "t" not in self.kinds:
            return (0, 0)
        found = (0, 0) if self.window is None else terminal.size(self.window)
        return found if all(found) else USUAL_SIZE


def kinds(terminals: tuple[bool, bool, bool], *, readable: bool, wanted: bool | None) -> str:
    """Return the kinds of the program's streams. Pure.

    `terminals` says which of our streams are terminals, `readable` whether we may read ours.
    `wanted` forces a terminal or forbids it. A terminal is read as one only if its output is
    there too: echo and line editing make no sense elsewhere, and `ukl run … | less` leaves the
    terminal as less needs it.
    """
    if wanted:
        return "ttt"
    shown = [False, False, False] if wanted is False else list(terminals)
    first = "n" if not readable else "t" if shown[0] and shown[1] else "p"
    return first + "".join("t" if each else "p" for each in shown[1:])


class Pump:
    """Moves the bytes of one session, from the relay's first line on.

    `log` gets all output. `on_quit` is called for the keys that end the guest.
    """

    def __init__(
        self,
        port: socket.socket,
        streams: Streams,
        nonce: str,
        log: Sink,
        on_quit: Callable[[], None],
    ) -> None:
        self._port = port
        self._streams = streams
        self._log = log
        self._on_quit = on_quit
        self._decoder = Decoder(agent.hello(nonce))
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._input = streams.input
        self._keys = Keys(prefix=None) if streams.keyboard is not None else None
        self._typed = b""
        self._window = 0
        self._open = False
        self._watched = False
        self._gone: set[Type] = set()
        loop = asyncio.get_running_loop()
        self._sender = loop.create_task(self._send_all())
        if streams.window is not None:
            # Only in the main thread; a change is then seen at the next start.
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(signal.SIGWINCH, self._resize)
        if self._keys is not None:
            self._watch()

    def go_on(self, rest: bytes) -> None:
        """Go on in a copy of a guest, whose relay has said its first line to the original.

        `rest` is the beginning of a frame. The program gets no input: what it has read of the
        original's is in its memory.
        """
        self._decoder = Decoder()
        self._decoder.feed(rest)
        self._open = True
        self._send(agent.number(Type.GRANT, CHANNEL, agent.GRANT))

    @property
    def rest(self) -> bytes:
        """The beginning of a frame whose end has not come."""
        return self._decoder.rest

    async def close(self) -> None:
        """Stop reading and sending."""
        self._unwatch()
        self._input = None
        if self._streams.window is not None:
            with contextlib.suppress(ValueError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)

    # --- from the guest ----------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Take bytes of the port. Raises the OSErrors of the sinks."""
        try:
            frames = self._decoder.feed(data)
        except agent.Malformed:  # not from our relay: the guest's root may do as it likes
            return
        if self._decoder.greeted and not self._open:
            self._begin()
        for frame in frames:
            self._take(frame)

    def _begin(self) -> None:
        self._open = True
        self._send(agent.number(Type.GRANT, CHANNEL, agent.GRANT))
        self._resize()  # it may have changed during the boot
        self._window = agent.WINDOW
        if self._input is None and self._streams.kinds[0] != "n":
            self._send(Frame(Type.INPUT, CHANNEL))
        self._send_typed()
        self._watch()

    def _take(self, frame: Frame) -> None:
        match frame.type:
            case Type.OUTPUT | Type.ERRORS if frame.data:
                self._log(frame.data)
                self._deliver(frame)
                self._send(agent.number(Type.GRANT, CHANNEL, len(frame.data)))
            case Type.TAKEN:
                self._window += frame.number
                self._send_typed()
                self._watch()
            case Type.EXITED:
                self._send(Frame(Type.CLOSE, CHANNEL))

    def _deliver(self, frame: Frame) -> None:
        if frame.type in self._gone:
            return
        first = frame.type is Type.OUTPUT
        try:
            (self._streams.output if first else self._streams.errors)(frame.data)
        except BrokenPipeError:
            self._gone.add(frame.type)
            self._send(Frame(Type.SHUT, CHANNEL, b"\x01" if first else b"\x02"))

    # --- to the guest ------------------------------------------------------------

    def _send(self, frame: Frame) -> None:
        self._queue.put_nowait(agent.encode(frame))

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # QEMU is gone
            while True:
                await loop.sock_sendall(self._port, await self._queue.get())

    def _resize(self) -> None:
        if self._open and self._streams.window is not None:
            rows, columns = self._streams.size
            size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little")
            self._send(Frame(Type.RESIZE, CHANNEL, size))

    def _watch(self) -> None:
        """Read on, if there is room: keys at any time, other input when the program has room."""
        if self._watched or self._input is None:
            return
        if self._keys is None and (not self._open or not self._window):
            return
        try:
            asyncio.get_running_loop().add_reader(self._input, self._read)
            self._watched = True
        except PermissionError:  # a regular file: always ready, and epoll refuses it
            while self._input is not None and self._window:
                self._read()

    def _unwatch(self) -> None:
        if self._watched and self._input is not None:
            asyncio.get_running_loop().remove_reader(self._input)
        self._watched = False

    def _read(self) -> None:
        assert self._input is not None
        most = agent.CHUNK if self._keys is not None else min(agent.CHUNK, self._window)
        try:
            data = os.read(self._input, most)
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            data = b""
        if self._keys is not None and data:
            self._press(self._keys, data)
            return
        if not data:
            self._unwatch()
            self._input = None
        self._window -= len(data)
        self._send(Frame(Type.INPUT, CHANNEL, data))
        if not self._window:
            self._unwatch()

    def _press(self, keys: Keys, data: bytes) -> None:
        passed = keys.feed(data)
        if keys.quit or (not self._open and INTERRUPT in passed):
            self._on_quit()
            return
        self._typed = (self._typed + passed)[:_TYPED_MOST]
        self._send_typed()

    def _send_typed(self) -> None:
        while self._open and self._typed and self._window:
            data = self._typed[: min(agent.CHUNK, self._window)]
            self._typed = self._typed[len(data) :]
            self._window -= len(data)
            self._send(Frame(Type.INPUT, CHANNEL, data))
