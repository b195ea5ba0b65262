# SPDX-License-Identifier: GPL-2.0
"""The client of a measured server, outside the guest: programs/requests.c.

Where this user may have a network namespace, the guest gets a tap device in one of the client's
own: nothing of the host's network takes part. Otherwise it is QEMU's user network, which sends
more and smaller packets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from ukl.base.errors import UklError
from ukl.base.model import NO_NETWORK, Network, NetworkKind
from ukl.host import process

HOST, GUEST = "127.0.0.1", "10.78.0.2"
"""Where the server is on the user network, and on the tap device. The client is 10.78.0.1."""

_MAC = "52:54:00:78:00:02"


class Peer:
    """A running client. Its calls raise UklError when it fails."""

    def __init__(self, program: Path, log: Path) -> None:
        self._log = log
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = GUEST, str(theirs.fileno())
            self._process = _start(program, words, log, [theirs.fileno()])
            theirs.close()
            self._tap = _received(ours)
        if self._tap is None:
            # That one may be in a namespace from which nothing is to be reached.
            self._process.__exit__()
            self._process = _start(program, (HOST,), log)

    @property
    def network(self) -> Network:
        """The guest's network; NO_NETWORK if it is the user network alone."""
        if self._tap is None:
            return NO_NETWORK
        return Network(NetworkKind.TAP, "requests", f"{GUEST}/24", _MAC, descriptor=self._tap)

    def connect(self, protocol: str, row: int, port: int, clients: int, depth: int) -> None:
        """Make connections that send a protocol's request, `depth` at once on each."""
        answer = self._say(f"connect {protocol} {row} {port} {clients} {depth}")
        if answer != "ready":
            raise self._failed(answer)

    def ask(self, number: int) -> int:
        """Make so many requests; return the nanoseconds that they took."""
        return int(self._say(str(number)))

    def latencies(self, number: int) -> list[int]:
        """Make so many requests; return the nanoseconds of each."""
        return [int(word) for word in self._say(f"latencies {number}").split()[1:]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tap is not None:
            os.close(self._tap)
        self._process.__exit__()

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = b""
        if not answer:
            raise self._failed("it ended")
        return answer.decode().strip()

    def _failed(self, how: str) -> UklError:
        lines = self._log.read_text(errors="replace").splitlines()[1:]
        return UklError(f"the client failed: {lines[-1] if lines else how}", log=self._log)


def _start(
    program: Path, words: Sequence[str], log: Path, descriptors: Sequence[int] = ()
) -> process.Process:
    return process.spawn(
        [program, *words],
        log=log,
        stdin=process.PIPE,
        stdout=process.PIPE,
        pass_fds=descriptors,
    )


def _received(connection: socket.socket) -> int | None:
    """Return the tap device that the client sends; None if it could not make one."""
    data, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    if not data:
        return None
    return descriptors[0] if descriptors else None
