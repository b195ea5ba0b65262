# SPDX-License-Identifier: GPL-2.0
"""Sees which code of the kernel runs, and when: QEMU's emulator says what it translates.

It translates a block of code before it executes it for the first time, and writes it down
(`-d in_asm`); the guest is what it always is. A block that ran while the kernel booted is
not translated again, and would not be seen when the application executes it. So at that
moment the emulator is asked not to chain blocks (`log nochain`): for that it translates
all anew. Source: QEMU's accel/tcg/cpu-exec.c, curr_cflags().
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
    """Return where the blocks in QEMU's log begin, each once, in their order. Pure."""
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
    """Watches guests with a traced machine, one after the other, and collects what ran.

    `boot` has the addresses until a guest's init started the application, `work` those from
    then until the application's end, in the order in which they were first executed.
    """

    def __init__(self, ranges: tuple[tuple[int, int], ...], seconds: float | None = None) -> None:
        """Watch code in `ranges`; `seconds` after the begin of the work the guest is ended."""
        self.ranges = ranges
        self.boot: dict[int, None] = {}
        self.work: dict[int, None] = {}
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def attend(self, session: Session) -> AsyncIterator[None]:
        """Watch one session, until the block is left."""
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
                # What init does after that is no part of the work.
                with contextlib.suppress(UklError):
                    await session.monitor.human("log none")


async def _begin(session: Session) -> None:
    file = session.settings.directory / _WORK
    for command in (f"logfile {file}", "log in_asm,nochain"):
        if said := (await session.monitor.human(command)).strip():
            raise UklError(f"QEMU does not write down what it executes: {said}")


def _ends(message: status.Message) -> bool:
    ended = message.type in {status.Type.EXITED, status.Type.SIGNALED}
    return ended and message.who in {status.APPLICATION, status.COMPANION}


def _read(file: Path) -> dict[int, None]:
    with file.open("rb") as stream:
        return blocks(stream)
