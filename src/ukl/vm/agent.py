# SPDX-License-Identifier: GPL-2.0
"""The language of the guest's agent: frames on a virtio-serial port. Pure.

guest/agent.c is the other side, docs/design/guest.md the description. A frame is

    type (1 byte)  flags (1)  length of the payload (2)  channel (4)  payload

little endian. The agent begins with the line `ukl-agent 1 NONCE`; what came before it is
an earlier agent's and counts for nothing.
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
"""Bytes of input that are sent in one frame."""

WINDOW = 65536
"""Bytes of input that the agent keeps for a program: no more without its TAKEN."""

GRANT = 256 << 10
"""Bytes of output that a client takes before it has to grant more."""

TERMINAL = 1
"""Flag of EXEC: the program gets a terminal."""


class Type(IntEnum):
    """The frames; below 16 the host's."""

    EXEC = 1
    """Text of a run description whose companion is the program."""
    INPUT = 2
    """Bytes; none: the end."""
    SIGNAL = 3
    """One byte: the number, for the program's process group."""
    RESIZE = 4
    """Rows and columns, 2 bytes each."""
    CLOSE = 5
    """Nobody waits for the program any more: SIGHUP."""
    GRANT = 6
    """4 bytes: how much more output is taken."""

    STARTED = 16
    """4 bytes: process id. execve() has succeeded."""
    FAILED = 17
    """4 bytes: errno, and its text. The channel has ended."""
    OUTPUT = 18
    ERRORS = 19
    """Bytes of standard output and standard error; none: the end."""
    EXITED = 20
    """4 bytes: status as of wait(2). The channel has ended."""
    TAKEN = 21
    """4 bytes: how much input was taken."""


FROM_HOST = frozenset(kind for kind in Type if kind < 16)
LAST = frozenset({Type.FAILED, Type.EXITED})
"""Behind these comes nothing more of their channel."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    type: Type
    channel: int
    data: bytes = b""
    flags: int = 0

    @property
    def number(self) -> int:
        """The number at the beginning of the payload, 0 if there is none."""
        return int.from_bytes(self.data[:4], "little") if len(self.data) >= 4 else 0


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes."""
    return HEADER.pack(frame.type, frame.flags, len(frame.data), frame.channel) + frame.data


def number(kind: Type, channel: int, value: int) -> Frame:
    """Return a frame with a number."""
    return Frame(kind, channel, value.to_bytes(4, "little"))


def exec_frame(channel: int, run: GuestRun) -> Frame:
    """Return the frame that starts the companion of `run`; InputError for what is too long."""
    data = rundesc.encode(run)
    if len(data) > MAX_PAYLOAD:
        raise InputError(
            f"arguments and environment are too long: {len(data)} bytes",
            remedy=f"at most {MAX_PAYLOAD} go to a guest; put them into a file (ukl cp)",
        )
    return Frame(Type.EXEC, channel, data, TERMINAL if run.console.interactive else 0)


class Malformed(ValueError):
    """What came is no frame."""


@dataclass(slots=True)
class Decoder:
    """Cuts bytes into frames. With `hello`, those before that line are thrown away."""

    hello: bytes | None = None
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they came and return the frames that are complete now."""
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
                raise Malformed(f"a frame of the unknown type {kind}") from None
            frames.append(frame)
            del self._rest[:end]
        return frames

    @property
    def greeted(self) -> bool:
        """Whether the agent's hello has come."""
        return self.hello is None


def hello(nonce: str) -> bytes:
    """Return the agent's first line."""
    return f"ukl-agent 1 {nonce}\n".encode()


def exit_code(wait_status: int) -> int:
    """Return what a shell makes of a status of wait(2): 128 + N for signal N."""
    signal = wait_status & 0x7F
    return 128 + signal if signal else wait_status >> 8 & 0xFF
