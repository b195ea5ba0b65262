# SPDX-License-Identifier: GPL-2.0
"""Reads virtual and physical memory of a stopped machine through QEMU's gdb stub.

The protocol: gdb's manual, "Remote Serial Protocol"; `qqemu.PhyMemMode`: QEMU's manual, "GDB
usage".
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from ukl.debug.unwind import Unreadable

PIECE = 2048
"""Maximum bytes per reply: QEMU's packets had 4096 hexadecimal digits up to 8.1."""

TIMEOUT = 20.0
"""Timeout of a reply in seconds."""


def packet(payload: str) -> bytes:
    """Return a packet with its checksum. Pure."""
    return f"${payload}#{sum(payload.encode()) & 0xFF:02x}".encode()


class Stub:
    """A connection; the machine is stopped as long as it exists."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._stream = connection.makefile("rb")
        self._send(b"+")
        # The stub may first report that the machine has stopped: skip that.
        reply = self._ask("qAttached")
        while reply != "1":
            reply = self._receive()
        self._physical: bool | None = None

    @classmethod
    def connect(cls, path: Path) -> Self:
        """Connect to the socket at `path`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            return cls(connection)
        except BaseException:
            connection.close()
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
        self._send(b"+")
        return payload.decode("ascii", "replace")

    def _ask(self, payload: str) -> str:
        self._send(packet(payload))
        return self._receive()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except ConnectionError:
            raise Unreadable("QEMU's gdb stub has closed the connection") from None

    def _mode(self, *, physical: bool) -> None:
        if self._physical is not physical:
            reply = self._ask(f"Qqemu.PhyMemMode:{int(physical)}")
            if reply != "OK":
                raise Unreadable("this QEMU cannot read physical memory (needs 4.1)")
            self._physical = physical

    def read(self, address: int, size: int, *, physical: bool) -> bytes:
        """Return memory; Unreadable if the address is not mapped.

        Virtual addresses are translated by the first processor's current page tables.
        """
        self._mode(physical=physical)
        found = bytearray()
        while len(found) < size:
            at, count = address + len(found), min(PIECE, size - len(found))
            reply = self._ask(f"m{at:x},{count:x}")
            try:
                data = bytes.fromhex(reply)
            except ValueError:
                data = b""
            if len(reply) == 3 or len(data) != count:  # `E14`
                raise Unreadable(f"{at:#x}")
            found += data
        return bytes(found)
