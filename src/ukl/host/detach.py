# SPDX-License-Identifier: GPL-2.0
"""Going on in the background: a fork of ourselves in a session of its own.

Not a program that is started anew: what was built and what locks of the cache are held
(flock belongs to the open file, which both processes have) stays as it is.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

Report = Callable[[bytes], None]


def detach(work: Callable[[Report], None], log: Path) -> bytes:
    """Run `work` in the background and return what it reports, empty if it ended without.

    `work` gets a function to be called once, which lets us go on. Its standard output
    and error become `log`; nothing of the terminal, and of what our caller left open,
    stays in its hands. Both sides go on with the same memory: no threads, no event loop.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    middle = os.fork()
    if middle == 0:
        os.close(reader)
        _leave(work, writer, log)
    os.close(writer)
    try:
        os.waitpid(middle, 0)
        parts = []
        while part := os.read(reader, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(reader)


def _leave(work: Callable[[Report], None], writer: int, log: Path) -> None:
    """In the child: become nobody's, do the work, and never return."""
    code = 1
    try:
        os.setsid()
        if os.fork():  # the leader of a session could get a terminal again; its child cannot
            os._exit(0)
        _own_streams(log)

        def report(data: bytes) -> None:
            with os.fdopen(writer, "wb") as stream:
                stream.write(data)

        work(report)
        code = 0
    except BaseException:  # noqa: BLE001 - nobody above us but our parent's stack
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _own_streams(log: Path) -> None:
    os.chdir("/")
    # What our caller gave us on purpose or not: a pipe of a shell would wait for our end.
    for link in list(Path("/proc/self/fd").iterdir()):
        descriptor = int(link.name)
        if descriptor > 2:
            try:
                if os.get_inheritable(descriptor):
                    os.close(descriptor)
            except OSError:  # the one that listed them
                continue
    empty = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(empty, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(empty)
    os.close(out)
