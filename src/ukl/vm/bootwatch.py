# SPDX-License-Identifier: GPL-2.0
"""Watches a boot from outside: when QEMU is ready, when the kernel starts, and its log.

The machine starts paused and is resumed here, so its start time is known. Until the kernel
runs, the first processor's registers are polled: its mode and descriptor tables distinguish
firmware, decompressor and kernel, without any change to them. The kernel's log is read from
the guest's memory after the boot, or at the machine's end, without help from the guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.debug import printk
from ukl.debug.bootchart import Event, Marks
from ukl.debug.placement import offset_of
from ukl.debug.unwind import Unreadable
from ukl.elf.reader import Elf
from ukl.vm import postmortem, status
from ukl.vm.session import Session
from ukl.vm.streams import Sink, Streams

KERNEL_WORDS = ("initcall_debug", "log_buf_len=1M")
"""Kernel parameters that make the log show the time of each initcall. Documented in
Documentation/admin-guide/kernel-parameters.txt."""

INTERVAL = 0.001
"""Seconds between two polls of the processor."""

SILENT = 5.0
"""Seconds to wait for the application's first output after its start."""

SETTLE = 0.1
"""Seconds to wait for further messages of the boot after the first output."""

_EFER = re.compile(r"^EFER=([0-9a-f]{16})", re.MULTILINE)
_GDT = re.compile(r"^GDT=\s*([0-9a-f]{16}|[0-9a-f]{8})", re.MULTILINE)
_LONG_MODE = 1 << 10
"""EFER.LMA (Intel SDM vol. 3, 2.2.1)."""

_KERNEL_HALF = 1 << 63


def stage(registers: str) -> tuple[bool, bool]:
    """Return whether `info registers` shows long mode, and the kernel's tables. Pure.

    The decompressor runs in long mode with tables at low addresses; the kernel's first
    instructions load tables in the kernel half (arch/x86/kernel/head_64.S).
    """
    efer, gdt = _EFER.search(registers), _GDT.search(registers)
    if efer is None or gdt is None:
        raise UklError("QEMU does not print the processor's mode")
    long_mode = bool(int(efer[1], 16) & _LONG_MODE)
    return long_mode, long_mode and bool(int(gdt[1], 16) & _KERNEL_HALF)


Attend = Callable[[Session], AbstractAsyncContextManager[object]]


class Watch:
    """Watches the boot of one session and passes its marks to `done`, called in a thread.

    `done` is called once: after the application's first output, after SILENT seconds without
    any, or at the machine's end.
    """

    def __init__(self, vmlinux: Path, done: Callable[[Marks], None]) -> None:
        self._vmlinux = vmlinux
        self._done = done
        self._begin = 0.0
        self._resumed = 0.0
        self._long_mode: float | None = None
        self._kernel: float | None = None
        self._ready: float | None = None
        self._output: float | None = None
        self._events: list[Event] = []
        self._has_output = asyncio.Event()
        self._finishing = asyncio.Lock()
        self._finished = False

    def wrap_sink(self, sink: Sink) -> Sink:
        """Return a sink that also notes the time of the application's first output."""

        def write(data: bytes) -> None:
            if self._output is None and self._ready is not None:
                self._output = self._now()
                self._has_output.set()
            sink(data)

        return write

    def wrap_streams(self, streams: Streams) -> Streams:
        """Return the streams with sinks that also note that time."""
        return replace(
            streams,
            output=self.wrap_sink(streams.output),
            errors=self.wrap_sink(streams.errors),
        )

    def wrap_attend(self, attend: Attend) -> Attend:
        """Return an `Attend` that watches the boot around `attend`."""

        @contextlib.asynccontextmanager
        async def both(session: Session) -> AsyncIterator[object]:
            self._begin = session.begin
            session.on_shutdown = lambda: self._finish(session)
            async with attend(session) as value:
                tasks = [
                    asyncio.create_task(each)
                    for each in (self._follow(session), self._wait(session), self._poll(session))
                ]
                try:
                    yield value
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    await self._finish(None)

        return both

    def _now(self) -> float:
        return time.monotonic() - self._begin

    async def _poll(self, session: Session) -> None:
        self._resumed = self._now()
        await session.monitor.resume()
        with contextlib.suppress(UklError):
            while self._kernel is None:
                before = self._now()
                long_mode, kernel = stage(await session.monitor.human("info registers"))
                # QEMU read the registers between the question and the answer.
                seen = (before + self._now()) / 2
                if long_mode and self._long_mode is None:
                    self._long_mode = seen
                if kernel:
                    self._kernel = seen
                await asyncio.sleep(INTERVAL)

    async def _follow(self, session: Session) -> None:
        async for message in session.follow():
            now = self._now()
            relevant = message.who in {None, status.APPLICATION}
            if relevant and message.type is not status.Type.CLOCK:
                self._events.append(Event(message.type.value, message.seconds, now))
            if message.type is status.Type.READY:
                self._ready = now

    async def _wait(self, session: Session) -> None:
        await session.until(status.Type.STARTED)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_output.wait(), SILENT)
            await asyncio.sleep(SETTLE)
        await self._finish(session)

    async def _finish(self, session: Session | None) -> None:
        """Read the log, if a machine is left to read it from, and call `done`; once."""
        async with self._finishing:
            if self._finished:
                return
            self._finished = True
            log: tuple[printk.Message, ...] = ()
            missing = "the guest was gone before its log was read"
            if session is not None:
                try:
                    log, missing = await self._log(session), ""
                except (UklError, Unreadable, OSError) as error:
                    missing = f"its log could not be read: {error}"
            marks = Marks(
                resumed=self._resumed,
                long_mode=self._long_mode,
                kernel=self._kernel,
                events=tuple(self._events),
                output=self._output,
                log=log,
                missing=missing,
            )
        await asyncio.to_thread(self._done, marks)

    async def _log(self, session: Session) -> tuple[printk.Message, ...]:
        kernel = await asyncio.to_thread(Elf.open, self._vmlinux)
        pointer = kernel.addresses([printk.SYMBOL]).get(printk.SYMBOL)
        if pointer is None:
            raise UklError(f"the kernel has no symbol {printk.SYMBOL}")
        loop = asyncio.get_running_loop()
        running = await session.monitor.running()
        if running:
            await session.monitor.stop()
        try:
            offset = offset_of(kernel, await postmortem.handler_address(session.monitor))
            with tempfile.TemporaryDirectory(prefix="ukl-log-") as temporary:
                file = Path(temporary) / "memory"

                def fetch(address: int, size: int) -> bytes:
                    saved = session.monitor.save(address, size, file)
                    asyncio.run_coroutine_threadsafe(saved, loop).result()
                    return file.read_bytes()

                found = await asyncio.to_thread(printk.messages, fetch, pointer + offset)
        finally:
            if running:
                await session.monitor.resume()
        return tuple(found)
