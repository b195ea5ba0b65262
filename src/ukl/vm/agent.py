# SPDX-License-Identifier: GPL-2.0
"""The protocol of the guest's agent: frames on a virtio-serial port. Pure.

guest/agent.c is the other side; docs/design/guest.md describes the protocol. A frame is

    type (1 byte)  flags (1)  length of the payload (2)  channel (4)  payload

in little-endian order. The agent begins with the line `ukl-agent 1 NONCE`; bytes before it
come from an earlier agent and are discarded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from ukl.base.errors import InputError
from ukl.guest import rundesc
from ukl.guest.rundesc import GuestRun

HEADER = struct.Struct("<BBHI")
MAX_PAYLOAD = 65535
CHUNK = 16384
"""Most bytes of input in one frame."""

WINDOW = 65536
"""Bytes of input that the agent buffers for a program; a TAKEN frame allows more."""

GRANT = 256 << 10
"""Bytes of output that a client accepts before it must grant more."""

TERMINAL = 1
"""Flag of EXEC: give the program a terminal."""


class Type(IntEnum):
    """The types of frames; the host sends those below 16."""

    EXEC = 1
    """The text of a run description whose companion is the program."""
    INPUT = 2
    """Bytes of standard input; none at its end."""
    SIGNAL = 3
    """One byte: the number of a signal to the program's process group."""
    RESIZE = 4
    """Rows and columns, 2 bytes each."""
    CLOSE = 5
    """The client is gone: the program gets SIGHUP."""
    GRANT = 6
    """4 bytes: how many more bytes of output the client accepts."""
    SHUT = 7
    """One byte: no process reads this stream (1, 2) any more."""

    STARTED = 16
    """4 bytes: process id. execve() has succeeded."""
    FAILED = 17
    """4 bytes: errno, and its text. Ends the channel."""
    OUTPUT = 18
    ERRORS = 19
    """Bytes of standard output and standard error; none at their ends."""
    EXITED = 20
    """4 bytes: status as of wait(2), and the kernel's reason. Ends the channel."""
    TAKEN = 21
    """4 bytes: how many bytes of input the program has taken."""


FROM_HOST = frozenset(kind for kind in Type if kind < 16)
LAST = frozenset({Type.FAILED, Type.EXITED})
"""The frames that end a channel."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    type: Type
    channel: int
    data: bytes = b""
    flags: int = 0

    @property
    def number(self) -> int:
        """The number at the beginning of the payload, or 0."""
        return int.from_bytes(self.data[:4], "little") if len(self.data) >= 4 else 0


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes."""
    return HEADER.pack(frame.type, frame.flags, len(frame.data), frame.channel) + frame.data


def number(kind: Type, channel: int, value: int) -> Frame:
    """Return a frame with a number."""
    return Frame(kind, channel, value.to_bytes(4, "little"))


def exec_frame(channel: int, run: GuestRun) -> Frame:
    """Return the frame that starts the companion of `run`; raises InputError if it is too long."""
    data = rundesc.encode(run)
    if len(data) > MAX_PAYLOAD:
        raise InputError(
            f"arguments and environment are too long: {len(data)} bytes",
            remedy=f"a guest accepts at most {MAX_PAYLOAD}; put them into a file (ukl cp)",
        )
    return Frame(Type.EXEC, channel, data, TERMINAL if run.console.interactive else 0)


class Malformed(ValueError):
    """The received bytes are not a frame."""


@dataclass(slots=True)
class Decoder:
    """Splits bytes into frames. With `hello`, discards all bytes up to that line."""

    hello: bytes | None = None
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Frame]:
        """Take received bytes and return the frames that are now complete."""
        self._rest += data
        if self.hello is not None:
            at = self._rest.find(self.hello)
            if at < 0:
                del self._rest[: max(0, len(self._rest) - len(self.hello))]
                return []
            del self._rest[: at + len(self.hello)]
            self.hello = None
        frames = []
        while len(self._rest) >= HEADER.size:
            kind, flags, length, channel = HEADER.unpack_from(self._rest)
            end = HEADER.size + length
            if len(self._rest) < end:
                break
            try:
                frame = Frame(Type(kind), channel, bytes(self._rest[HEADER.size : end]), flags)
            except ValueError:
                raise Malformed(f"a frame of unknown type {kind}") from None
            frames.append(frame)
            del self._rest[:end]
        return frames

    @property
    def rest(self) -> bytes:
        """What has come of a frame that is not complete."""
        return bytes(self._rest)

    @property
    def greeted(self) -> bool:
        """Whether the agent's hello has come."""
        return self.hello is None


def hello(nonce: str) -> bytes:
    """Return the agent's first line."""
    return f"ukl-agent 1 {nonce}\n".encode()


def exit_code(wait_status: int) -> int:
    """Return a shell's exit code for a status of wait(2): 128 + N for signal N."""
    signal = wait_status & 0x7F
    return 128 + signal if signal else wait_status >> 8 & 0xFF
