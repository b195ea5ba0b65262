# SPDX-License-Identifier: GPL-2.0
"""The socket on which a guest's keeper takes requests from other `ukl` processes.

A client sends one line of JSON, and the keeper answers with one:

    {"request": "stop", "grace": SECONDS or null}     {"ok": true}
    {"request": "exec"}                               {"ok": true}, then frames (vm/agent.py)
    {"request": "gdb", "stub": PATH}                  {"ok": true}, then {"idt": …}
    an unknown request, or one that fails             {"ok": false, "message": …, "remedy": …}

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
"""Seconds that a keeper may take to answer; on a loaded machine it takes a few."""


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Yield a path of the socket that fits into struct sockaddr_un's 108 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{CONTROL}"
    finally:
        os.close(descriptor)


def listen(directory: Path) -> socket.socket:
    """Return the listening socket of a guest's keeper."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        (directory / CONTROL).unlink(missing_ok=True)
        with _short(directory) as path:
            listener.bind(path)
        listener.listen(16)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def request(
    record: Record, directory: Path, timeout: float = TIMEOUT, **values: Any
) -> socket.socket:
    """Send a request to a running guest's keeper and return the connection.

    `timeout` is the number of seconds that the answer may take. Raises UklError if the
    guest does not run, or its keeper does not answer or refuses the request.
    """
    if (state := effective(record)) is not State.RUNNING:
        raise not_running(record, state)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with _short(directory) as path:
            connection.connect(path)
        connection.sendall(json.dumps(values).encode() + b"\n")
        answer = _answer(connection)
        connection.settimeout(None)
    except OSError as error:
        connection.close()
        raise UklError(
            f"process {record.keeper.pid}, the keeper of {record.name}, does not answer: "
            f"{error.strerror or 'timeout'}",
            remedy=f"ukl stop {record.name} still ends the guest",
        ) from error
    except BaseException:
        connection.close()
        raise
    if answer.get("ok") is not True:
        connection.close()
        remedy = answer.get("remedy")
        raise UklError(
            str(answer.get("message") or "the guest's keeper refused the request"),
            remedy=str(remedy) if remedy else None,
        )
    return connection


def _answer(connection: socket.socket) -> Mapping[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE:
        byte = connection.recv(1)  # one at a time: the caller reads what follows the line
        if not byte:
            raise ConnectionResetError(104, "it closed the connection")
        line += byte
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def parse(line: bytes) -> Mapping[str, Any]:
    """Return a client's request, empty if it is malformed. Pure."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def accepted() -> bytes:
    """Return the answer that a request is accepted. Pure."""
    return b'{"ok": true}\n'


def refused(message: str, remedy: str | None = None) -> bytes:
    """Return the answer that a request is refused. Pure."""
    return json.dumps({"ok": False, "message": message, "remedy": remedy}).encode() + b"\n"


def not_running(record: Record, state: State) -> UklError:
    """Return the error about a guest that does not run yet, or no longer runs."""
    if state in {State.BUILDING, State.STARTING}:
        return UklError(f"the guest {record.name} is not up yet", remedy="try again later")
    how = "was lost" if state is State.LOST else "has ended"
    return UklError(
        f"the guest {record.name} {how}",
        remedy=f"ukl logs {record.name} shows its output, ukl ps lists running guests",
    )
