# SPDX-License-Identifier: GPL-2.0
"""Physical memory of a machine that stands still, by way of QEMU's gdb stub.

Only reading, one packet after the other. The protocol: gdb's manual, "Remote Serial
Protocol"; `qqemu.PhyMemMode`: QEMU's manual, "GDB usage".
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from ukl.debug.unwind import Unreadable

PIECE = 2048
"""Bytes that an answer has at most: QEMU's packets had 4096 hexadecimal digits up to 8.1."""

TIMEOUT = 20.0
"""Seconds that an answer may take."""


def packet(payload: str) -> bytes:
    """Return a packet with its checksum. Pure."""
    return f"${payload}#{sum(payload.encode()) & 0xFF:02x}".encode()


class Stub:
    """A connection; the machine stands still as long as it is there."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._stream = ours.makefile("rb")
        self._socket.sendall(b"+")
        # It may tell by itself that the machine stands still: read up to an answer.
        said = self._ask("qAttached")
        while said != "1":
            said = self._receive()
        self._physical: bool | None = None

    @classmethod
    def connect(cls, path: Path) -> Self:
        """Connect to the socket at `path`."""
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            ours.settimeout(TIMEOUT)
            ours.connect(str(path))
            return cls(ours)
        except BaseException:
            ours.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._socket.close()

    def _receive(self) -> str:
        while (byte := self._stream.read(1)) != b"$":
            if not byte:
                raise Unreadable("QEMU's gdb stub has closed the connection")
        payload = bytearray()
        while (byte := self._stream.read(1)) != b"#":
            if not byte:
                raise Unreadable("QEMU's gdb stub has closed the connection")
            payload += byte
        self._stream.read(2)
        self._socket.sendall(b"+")
        return payload.decode("ascii", "replace")

    def _ask(self, payload: str) -> str:
        self._socket.sendall(packet(payload))
        return self._receive()

    def _mode(self, *, physical: bool) -> None:
        if self._physical is not physical:
            said = self._ask(f"Qqemu.PhyMemMode:{int(physical)}")
            if said != "OK":
                raise Unreadable("this QEMU does not read physical memory (needs 4.1)")
            self._physical = physical

    def read(self, address: int, size: int, *, physical: bool) -> bytes:
        """Return memory; Unreadable where there is none.

        Virtual addresses are those of the first processor at this moment.
        """
        self._mode(physical=physical)
        found = bytearray()
        while len(found) < size:
            at, count = address + len(found), min(PIECE, size - len(found))
            said = self._ask(f"m{at:x},{count:x}")
            try:
                data = bytes.fromhex(said)
            except ValueError:
                data = b""
            if len(said) == 3 or len(data) != count:  # `E14`
                raise Unreadable(f"{at:#x}")
            found += data
        return bytes(found)
