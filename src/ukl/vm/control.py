# SPDX-License-Identifier: GPL-2.0
"""The socket on which a guest's keeper takes requests of other `ukl` processes.

A client sends one line of JSON, the keeper answers with one:

    {"request": "stop", "grace": SECONDS or null}     {"ok": true}
    {"request": "exec"}                               {"ok": true}, then frames (vm/agent.py)
    anything else, or what cannot be done             {"ok": false, "message": …, "remedy": …}

The socket lies in the guest's directory, which only its owner may enter.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ukl.base.errors import UklError
from ukl.vm.registry import CONTROL, Record, State, effective

MAX_LINE = 1 << 16
TIMEOUT = 20.0
"""Seconds a keeper may take to answer; on a loaded machine it takes a few."""


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Give a path of the socket that fits into struct sockaddr_un's 108 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{CONTROL}"
    finally:
        os.close(descriptor)


def listen(directory: Path) -> socket.socket:
    """Return the listening socket of a guest's keeper."""
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        (directory / CONTROL).unlink(missing_ok=True)
        with _short(directory) as path:
            ours.bind(path)
        ours.listen(16)
        ours.setblocking(False)
    except BaseException:
        ours.close()
        raise
    return ours


def request(
    record: Record, directory: Path, timeout: float = TIMEOUT, **values: Any
) -> socket.socket:
    """Send a request to a running guest's keeper and return the connection.

    `timeout` is how many seconds the answer may take.
    UklError if the guest does not run, its keeper does not answer, or refuses.
    """
    if (state := effective(record)) is not State.RUNNING:
        raise not_running(record, state)
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.settimeout(timeout)
        with _short(directory) as path:
            ours.connect(path)
        ours.sendall(json.dumps(values).encode() + b"\n")
        answer = _answer(ours)
        ours.settimeout(None)
    except OSError as error:
        ours.close()
        raise UklError(
            f"process {record.keeper.pid}, which attends to {record.name}, does not answer: "
            f"{error.strerror or 'it takes too long'}",
            remedy=f"ukl stop {record.name} ends the guest nevertheless",
        ) from error
    except BaseException:
        ours.close()
        raise
    if answer.get("ok") is not True:
        ours.close()
        remedy = answer.get("remedy")
        raise UklError(
            str(answer.get("message") or "the guest's keeper refuses"),
            remedy=str(remedy) if remedy else None,
        )
    return ours


def _answer(ours: socket.socket) -> Mapping[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE:
        byte = ours.recv(1)  # no more: what follows is not ours to read
        if not byte:
            raise ConnectionResetError(104, "it closed the connection")
        line += byte
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def parse(line: bytes) -> Mapping[str, Any]:
    """Return a client's request, empty for what is none. Pure."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def accepted() -> bytes:
    """Return the answer that a request is taken. Pure."""
    return b'{"ok": true}\n'


def refused(message: str, remedy: str | None = None) -> bytes:
    """Return the answer that it is not. Pure."""
    return json.dumps({"ok": False, "message": message, "remedy": remedy}).encode() + b"\n"


def not_running(record: Record, state: State) -> UklError:
    """Return the error about a guest that does not run (yet, or any more)."""
    if state in {State.BUILDING, State.STARTING}:
        return UklError(f"the guest {record.name} is not up yet", remedy="try it again")
    how = "was lost" if state is State.LOST else "has ended"
    return UklError(
        f"the guest {record.name} {how}",
        remedy=f"ukl logs {record.name} shows what it said, ukl ps lists those that run",
    )
