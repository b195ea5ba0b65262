# SPDX-License-Identifier: GPL-2.0
"""Records which kernel code runs, and when, by the log of QEMU's emulator.

The emulator translates a block of code before it first executes it, and logs the block
(`-d in_asm`). The guest is not changed. A block that ran during the boot is not translated again,
so its execution by the application would not be logged. When the application starts, the
emulator is therefore told not to chain blocks (`log nochain`), which makes it translate all code
again. Source: QEMU's accel/tcg/cpu-exec.c, curr_cflags().
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from ukl.base.errors import UklError
from ukl.vm import status
from ukl.vm.launch import TRACE
from ukl.vm.session import Session

_WORK = "work.trace"

_BLOCK = re.compile(rb"^0x([0-9a-f]+):")


def blocks(lines: Iterable[bytes]) -> dict[int, None]:
    """Return the start addresses of blocks in QEMU's log, without duplicates, in order. Pure."""
    found: dict[int, None] = {}
    first = False
    for line in lines:
        if line.startswith(b"IN:"):
            first = True
        elif first and (match := _BLOCK.match(line)):
            found[int(match[1], 16)] = None
            first = False
    return found


class Watch:
    """Traces guests, one after another, and collects the addresses of blocks that ran.

    `boot` has those until the guest's init started the application, `work` those from then until
    the application ended, in the order of their first execution.
    """

    def __init__(self, ranges: tuple[tuple[int, int], ...], seconds: float | None = None) -> None:
        """Trace code in `ranges`; stop the guest `seconds` after the workload starts."""
        self.ranges = ranges
        self.boot: dict[int, None] = {}
        self.work: dict[int, None] = {}
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def attend(self, session: Session) -> AsyncIterator[None]:
        """Trace one session until the block is left."""
        following = asyncio.create_task(self._follow(session))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            for name, found in ((TRACE, self.boot), (_WORK, self.work)):
                file = session.settings.directory / name
                with contextlib.suppress(FileNotFoundError):
                    found.update(await asyncio.to_thread(_read, file))
                    file.unlink()

    async def _follow(self, session: Session) -> None:
        async for message in session.follow():
            if message.type is status.Type.READY:
                await _begin(session)
                if self._seconds is not None:
                    asyncio.get_running_loop().call_later(self._seconds, session.stop)
            elif _ends(message):
                # What init does afterwards is not part of the workload.
                with contextlib.suppress(UklError):
                    await session.monitor.human("log none")


async def _begin(session: Session) -> None:
    file = session.settings.directory / _WORK
    for command in (f"logfile {file}", "log in_asm,nochain"):
        if reply := (await session.monitor.human(command)).strip():
            raise UklError(f"QEMU does not log the code that it executes: {reply}")


def _ends(message: status.Message) -> bool:
    ended = message.type in {status.Type.EXITED, status.Type.SIGNALED}
    return ended and message.who in {status.APPLICATION, status.COMPANION}


def _read(file: Path) -> dict[int, None]:
    with file.open("rb") as stream:
        return blocks(stream)
