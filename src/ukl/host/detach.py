# SPDX-License-Identifier: GPL-2.0
"""Continues in the background: a fork of this process in a new session.

A fork instead of a new program keeps what was built, and the held locks of the cache (flock
belongs to the open file, which both processes share).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

Report = Callable[[bytes], None]


def detach(work: Callable[[Report], None], log: Path) -> bytes:
    """Run `work` in the background and return its report, empty if it ended without one.

    `work` gets a function to call once with the report; then this returns. Its standard
    output and error go to `log`; it keeps neither the terminal nor inherited descriptors. It
    runs in a fork, so the caller must have no threads and no event loop.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        os.close(reader)
        _continue(work, writer, log)
    os.close(writer)
    try:
        os.waitpid(middle, 0)
        parts = []
        while part := os.read(reader, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(reader)


def _continue(work: Callable[[Report], None], writer: int, log: Path) -> None:
    """In the child: become a daemon and do the work. Never returns."""
    code = 1
    try:
        os.setsid()
        if os.fork():  # a session's leader could acquire a terminal again; its child cannot
            os._exit(0)
        _replace_streams(log)

        def report(data: bytes) -> None:
            with os.fdopen(writer, "wb") as stream:
                stream.write(data)

        work(report)
        code = 0
    except BaseException:  # noqa: BLE001 - above is only a copy of the parent's stack
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _replace_streams(log: Path) -> None:
    os.chdir("/")
    # Close inherited descriptors: the reader of a shell's pipe would wait for this process.
    for link in list(Path("/proc/self/fd").iterdir()):
        descriptor = int(link.name)
        if descriptor > 2:
            try:
                if os.get_inheritable(descriptor):
                    os.close(descriptor)
            except OSError:  # the descriptor of /proc/self/fd itself
                continue
    empty = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(empty, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(empty)
    os.close(out)
