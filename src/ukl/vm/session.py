# SPDX-License-Identifier: GPL-2.0
"""A session with a virtual machine: from the start of QEMU to the verdict.

All communication with QEMU goes over socket pairs whose other ends QEMU inherits: no socket
files are needed, no other process can connect, and end of file means that QEMU has ended. The
console's output is shown and logged as it arrives. QEMU does not outlive this process, even
if that is killed (see host/process.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from ukl.base.errors import UklError, VmLost
from ukl.base.model import Machine, PortForward, RunResult
from ukl.guest import rundesc
from ukl.host.process import Process, spawn
from ukl.vm import (
    console,
    network,
    outcome,
    ports,
    qemu,
    startup,
    status,
    terminal,
    volume_locks,
)
from ukl.vm.feed import Feed
from ukl.vm.log import Log
from ukl.vm.monitor import Monitor
from ukl.vm.settings import STOP_GRACE, Settings
from ukl.vm.streams import Pump

QUIT_GRACE = 1.0
"""Seconds that QEMU has to exit after QMP's `quit`."""

POWER_OFF_GRACE = 10.0
"""Seconds that QEMU has to exit after init's last message."""

QMP_TIMEOUT = 20.0
"""Seconds that QEMU may take for its QMP greeting; a loaded machine needs a few."""

_CHUNK = 1 << 16

EXAMINE_TIMEOUT = 60.0
"""Seconds that the examination of a paused machine may take, without its dump."""

RESET = "guest-reset"
"""The reason of QMP's SHUTDOWN event for a reset of the machine."""


@dataclass(slots=True)
class _Seen:
    """The events so far."""

    messages: list[status.Message] = field(default_factory=list)
    timed_out: bool = False
    stopped: bool = False


class PauseReason(StrEnum):
    """Why a machine is paused."""

    PANIC = "panic"
    RESET = "reset"
    TIMEOUT = "timeout"


class Session:
    """One run of one machine, as an asynchronous context manager.

    Leaving the block always ends QEMU. QEMU is killed if the thread that entered the block
    ends.
    """

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self.machine = machine
        self.settings = settings
        self.begin = 0.0
        self.greeting = b""
        """Lines that the guest's init reads before it starts the application."""
        self.on_pause: Callable[[PauseReason], Awaitable[None]] | None = None
        """Called when a `stop_on_crash` machine is paused, before it resumes."""
        self.on_shutdown: Callable[[], Awaitable[None]] | None = None
        """Called when a `stop_on_crash` machine has shut down, before QEMU ends."""
        self._seen = _Seen()
        self._process: Process | None = None
        self._monitor = Monitor()
        self._sockets: dict[str, socket.socket] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._handlers: list[asyncio.Task[None]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._ended = asyncio.Event()
        self._news = asyncio.Condition()
        self._filter = console.InitFilter() if settings.nonce is None else None
        self._feed: Feed | None = None
        self._pump: Pump | None = None
        self._greeted = False
        self._log: Log | None = None
        self._failure: OSError | None = None
        self._locks = contextlib.ExitStack()

    # --- begin and end ---------------------------------------------------

    async def __aenter__(self) -> Self:
        self.begin = time.monotonic()
        try:
            self._locks.enter_context(volume_locks.held(self.machine.volumes))
            self._log = Log(self.settings.console_log, self.settings.log)
            self._spawn()
            await self._connect()
        except BaseException:
            await self._close()
            raise
        if self.settings.timeout is not None:
            left = self.begin + self.settings.timeout - time.monotonic()
            self._later(max(0.0, left), self._time_out)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def _spawn(self) -> None:
        optional = {
            "status": self.settings.nonce is not None,
            "agent": self.settings.agent,
            "core": self.settings.cores,
            "streams": self.settings.streams is not None,
            "state": self.settings.copy is not None,
        }
        names = ["console", "qmp", *(name for name, wanted in optional.items() if wanted)]
        remote = {}
        with contextlib.ExitStack() as stack:
            for name in names:
                local, other = socket.socketpair()
                remote[name] = stack.enter_context(other)
                local.setblocking(False)
                self._sockets[name] = local
            tap = network.open_device(self.machine.network)
            inherited = [other.fileno() for other in remote.values()]
            if tap is not None:
                stack.callback(os.close, tap)
                inherited.append(tap)
            memory = None if self.settings.copy is None else self.settings.copy.descriptor
            if memory is not None:
                inherited.append(memory)
            channels = qemu.Channels(
                memory=memory,
                console=remote["console"].fileno(),
                qmp=remote["qmp"].fileno(),
                tap=tap,
                **{name: remote[name].fileno() if name in remote else None for name in optional},
            )
            self._process = spawn(
                qemu.argv(
                    self.machine,
                    channels,
                    qemu=self.settings.qemu,
                    version=self.settings.qemu_version,
                ),
                log=self.settings.qemu_log,
                pass_fds=inherited,
            )

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._process is not None
        loop.add_reader(self._process.fileno(), self._qemu_ended)
        keys = terminal.Keys() if self.settings.interactive else None
        self._feed = Feed(self._sockets["console"], self.settings.input, keys, self.stop)
        self._tasks.append(loop.create_task(self._read("console", self._on_console)))
        if self.settings.nonce is not None:
            reader = status.Reader(self.settings.nonce)
            self._tasks.append(
                loop.create_task(self._read("status", lambda data: self._on_status(reader, data)))
            )
            self._start_pump(self.settings.nonce)
        connect = loop.create_task(self._monitor.connect(self._sockets.pop("qmp")))
        done, _ = await asyncio.wait({connect}, timeout=QMP_TIMEOUT)
        if not done or not connect.result():
            connect.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), QUIT_GRACE)
            raise self.start_error()
        self._greeted = True
        if self.machine.stop_on_crash:
            handlers = (self._handle_panics(), self._handle_end())
            self._handlers = [loop.create_task(each) for each in handlers]
        self.widen(self.machine.ports)

    def widen(self, forwards: Sequence[PortForward]) -> None:
        """Raise the backlog of QEMU's ports (vm/ports.py)."""
        assert self._process is not None
        ports.widen(self._process, forwards)

    def start_error(self) -> UklError:
        """Return the error about a QEMU that has not started."""
        return startup.error(self.settings.qemu_log, self.settings.qemu, self.machine.disks)

    def _start_pump(self, nonce: str) -> None:
        if self.settings.streams is not None:
            assert self._log is not None
            self._pump = Pump(
                self._sockets["streams"], self.settings.streams, nonce, self._log.write, self.stop
            )
            if self.settings.copy is not None:
                self._pump.go_on(self.settings.copy.rest)
            reading = self._read("streams", self._pump.take)
            self._tasks.append(asyncio.get_running_loop().create_task(reading))

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for timer in self._timers:
            timer.cancel()
        if self._process is not None:
            if not self._ended.is_set():
                loop.remove_reader(self._process.fileno())
                self._process.kill()
            self._process.wait()
        self._locks.close()
        if self._feed is not None:
            await self._feed.close()
        if self._pump is not None:
            await self._pump.close()
        tasks = [*self._tasks, *self._handlers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._monitor.drop()
        for local in self._sockets.values():
            local.close()
        if self._log is not None:
            self._log.close()

    async def wait(self) -> RunResult:
        """Wait until QEMU has ended and return the verdict."""
        await self._ended.wait()
        assert self._process is not None
        code = self._process.wait()
        # The sockets still hold what QEMU wrote before it ended; then they reach end of file.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._monitor.close()
        if self._failure is not None:
            raise UklError(
                f"cannot write the guest's output: {self._failure.strerror}",
                where=self.settings.console_log,
            ) from self._failure
        if self._filter is not None:
            self.settings.output(self._filter.flush())
        if not self._seen.stopped and any(
            each.who == status.STREAMS_PROCESS for each in self._seen.messages
        ):
            raise VmLost(
                "the program's output may be incomplete: the guest's process that passes it on "
                "was killed",
                remedy="it dies of a SIGKILL to all processes, or of too little memory (-m)",
                log=self.settings.console_log,
            )
        verdict = outcome.judge(
            outcome.Observed(
                messages=self._seen.messages,
                tail=self.tail(),
                companion=self.settings.companion,
                init_is_app=self.settings.nonce is None,
                panicked=self._monitor.panicked,
                timed_out=self._seen.timed_out,
                stopped=self._seen.stopped,
                shutdown=self._monitor.shutdown,
                qemu_status=code,
                qemu_output=startup.output(self.settings.qemu_log, self.settings.qemu),
            )
        )
        return RunResult(
            outcome=verdict.outcome,
            status=verdict.status,
            console=self.settings.console_log,
            seconds=time.monotonic() - self.begin,
            detail=verdict.detail,
            started=self._started(),
        )

    def _started(self) -> float | None:
        for message in self._seen.messages:
            if message.type is status.Type.STARTED:
                return message.seconds
        return None

    async def until(self, kind: status.Type, first: int = 0) -> status.Message:
        """Wait for a message of the guest's init; raises UklError if QEMU ends without it.

        `first` is the number of messages that do not count.
        """
        async with self._news:
            while True:
                for message in self._seen.messages[first:]:
                    if message.type is kind:
                        return message
                if self._ended.is_set():
                    raise UklError(
                        f"the guest ended before its message `{kind.value}`",
                        log=self.settings.console_log,
                    )
                await self._news.wait()

    async def follow(self) -> AsyncIterator[status.Message]:
        """Yield each message of the guest's init, from the first to the end of QEMU."""
        seen = 0
        while True:
            async with self._news:
                while len(self._seen.messages) == seen and not self._ended.is_set():
                    await self._news.wait()
                new = self._seen.messages[seen:]
            if not new:
                return
            for message in new:
                yield message
            seen += len(new)

    @property
    def messages(self) -> tuple[status.Message, ...]:
        """The messages of the guest's init so far."""
        return tuple(self._seen.messages)

    def tail(self) -> bytes:
        """Return the end of the console's output in this session."""
        assert self._log is not None
        return self._log.tail()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor."""
        return self._monitor

    @property
    def agent(self) -> socket.socket | None:
        """The port of the guest's agent, None if it has none."""
        return self._sockets.get("agent")

    @property
    def core(self) -> socket.socket | None:
        """The port to which the guest sends core files, None if it has none."""
        return self._sockets.get("core")

    @property
    def channels(self) -> tuple[socket.socket, ...]:
        """All open channels to the guest."""
        return tuple(self._sockets.values())

    @property
    def streams_rest(self) -> bytes:
        """The beginning of a frame of the program's streams, whose end has not come."""
        return b"" if self._pump is None else self._pump.rest

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._seen.stopped

    # --- ways to end it --------------------------------------------------

    def stop(self, grace: float | None = None) -> None:
        """Ask the guest to end, then QEMU, then kill it. A second call does not wait.

        `grace` is the number of seconds for the application; None: as in its run description.
        """
        if self._seen.stopped or self.settings.nonce is None:
            self._seen.stopped = True
            self._quit()
            return
        self._seen.stopped = True
        self.send(status.stop(grace))
        margin = STOP_GRACE - rundesc.GRACE_MS / 1000
        self._later(self.settings.stop_grace if grace is None else grace + margin, self._quit)

    def _time_out(self) -> None:
        self._seen.timed_out = True
        if not self.machine.stop_on_crash or self._ended.is_set():
            self._quit()
            return

        async def examine() -> None:
            try:
                await self._monitor.stop()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._paused(PauseReason.TIMEOUT), EXAMINE_TIMEOUT)
            finally:
                self._quit()

        self._tasks.append(asyncio.get_running_loop().create_task(examine()))

    async def _paused(self, why: PauseReason) -> None:
        if self.on_pause is not None:
            await self.on_pause(why)

    async def _handle_panics(self) -> None:
        """Call `on_pause` for a panic, and resume the machine, which then resets itself."""
        while True:
            await self._monitor.panic()
            try:
                await self._paused(PauseReason.PANIC)
            finally:
                await self._monitor.resume()

    async def _handle_end(self) -> None:
        """End a QEMU that is paused at the machine's end."""
        reason = await self._monitor.end()
        try:
            # A kernel without ACPI also ends by a reset, after init's last message.
            done = any(each.type is status.Type.DONE for each in self._seen.messages)
            if reason == RESET and not self._monitor.panicked and not done:
                await self._paused(PauseReason.RESET)
            elif self.on_shutdown is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.on_shutdown(), EXAMINE_TIMEOUT)
        finally:
            self._quit()

    def _quit(self) -> None:
        """End QEMU by QMP, or else by SIGKILL."""
        if self._ended.is_set():
            return
        if self._greeted:
            self._tasks.append(asyncio.get_running_loop().create_task(self._monitor.quit()))
        self._later(QUIT_GRACE, self._kill)

    def _kill(self) -> None:
        if self._process is not None and not self._ended.is_set():
            self._process.kill()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, call))

    # --- what comes in ---------------------------------------------------

    def _qemu_ended(self) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(self._process.fileno())
        self._ended.set()
        self._notify()

    def _notify(self) -> None:
        async def notify() -> None:
            async with self._news:
                self._news.notify_all()

        self._tasks.append(asyncio.get_running_loop().create_task(notify()))

    async def _read(self, name: str, take: Callable[[bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self._sockets[name], _CHUNK)
            except ConnectionError:
                return
            if not data:
                return
            try:
                take(data)
            except OSError as error:  # the disk is full, the terminal is gone
                self._failure = self._failure or error
                self._quit()

    def _on_console(self, data: bytes) -> None:
        assert self._log is not None
        self._log.write(data)
        if self._filter is None:
            shown = data
        else:
            shown = self._filter.feed(data)
            # The first output shows that the application runs: no init reports it here.
            if self._feed is not None:
                self._feed.open()
        if shown:
            self.settings.output(shown)

    def _on_status(self, reader: status.Reader, data: bytes) -> None:
        for message in reader.feed(data):
            self._seen.messages.append(message)
            if message.type is status.Type.HELLO:
                self.send(self.greeting)
            if message.type is status.Type.CLOCK:
                self.send(status.clock(time.time_ns()))
            if message.type is status.Type.READY and self._feed is not None:
                self._feed.open()
            if message.type is status.Type.DONE:
                self.send(status.ACK)
                self._later(POWER_OFF_GRACE, self._quit)
            self._notify()

    # --- what goes out ---------------------------------------------------

    async def feed(self, state: bytes) -> None:
        """Send QEMU the state of the devices, all of it."""
        with self._sockets.pop("state") as channel, contextlib.suppress(OSError):  # it has ended
            await asyncio.get_running_loop().sock_sendall(channel, state)

    def send(self, lines: bytes) -> None:
        """Send lines to the guest's init."""
        with contextlib.suppress(OSError):  # a few bytes: they fit, or QEMU has ended
            self._sockets["status"].send(lines)

    def type(self, data: bytes) -> None:
        """Send bytes to the guest's console, as soon as it listens."""
        assert self._feed is not None
        self._feed.type(data)


# --- the whole run -----------------------------------------------------------


@contextlib.contextmanager
def _stop_on_signals(session: Session) -> Iterator[None]:
    """Make Ctrl-C, SIGTERM and a closed terminal stop only the guest during the block."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        if before[number] is not signal.SIG_IGN:
            loop.add_signal_handler(number, session.stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


Attend = Callable[[Session], AbstractAsyncContextManager[object]]
"""Does further work with a session while it runs."""


async def _run(machine: Machine, settings: Settings, attend: Attend | None) -> RunResult:
    session = Session(machine, settings)
    with _stop_on_signals(session):
        async with session, attend(session) if attend else contextlib.nullcontext():
            return await session.wait()


def run(machine: Machine, settings: Settings, attend: Attend | None = None) -> RunResult:
    """Run `machine` to its end and return how it ended. Must be called in the main thread.

    Ctrl-C stops it in steps: init ends the application, then QMP ends QEMU, then SIGKILL;
    a second Ctrl-C skips the first step. Raises UklError if QEMU does not start.
    """
    settings.directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if settings.interactive and settings.input is not None:
            stack.enter_context(terminal.raw(settings.input))
        if settings.streams is not None and settings.streams.keyboard is not None:
            stack.enter_context(terminal.raw(settings.streams.keyboard))
        return asyncio.run(_run(machine, settings, attend))
