# SPDX-License-Identifier: GPL-2.0
"""The keeper: the `ukl` process that supervises one guest, in the foreground or detached.

It is QEMU's parent, which does not outlive it; it keeps the guest's record up to date, and
serves requests of other `ukl` processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukl.base.errors import ExitCode, UklError
from ukl.base.model import Outcome, Restart, RunResult
from ukl.host import detach
from ukl.vm import control, outcome, registry, saving, status
from ukl.vm.monitor import Monitor
from ukl.vm.registry import End, Entry, Record, Registry, State
from ukl.vm.relay import Relay
from ukl.vm.session import Attend, Session

if TYPE_CHECKING:
    from ukl.vm.postmortem import PostMortem

NAMES_INTERVAL = 0.5
"""Seconds between two checks for guests that join or leave the guest's network."""

Run = Callable[[Path, Attend], RunResult]
"""Runs the guest: gets the directory for its files, and what to do while it runs."""


@contextlib.contextmanager
def claimed(guests: Registry, record: Record, *, automatic: bool) -> Iterator[Entry]:
    """Claim a guest's entry for the block; an error deletes it, unless the guest has run."""
    entry = guests.claim(record, automatic=automatic)
    try:
        yield entry
    except BaseException:
        if entry.record.state is not State.ENDED:
            entry.release()
        raise


# --- while the guest runs -------------------------------------------------------


class Keeper:
    """Supervises one session. `announce` is called when the application has started.

    `dumping` keeps dumps of crashes, beside their backtraces.
    """

    def __init__(
        self, entry: Entry, announce: Callable[[], None] | None = None, *, dumping: bool = True
    ) -> None:
        self._entry = entry
        self._dumping = dumping
        self._announce = announce
        self._clients: set[asyncio.Task[None]] = set()
        self._relay: Relay | None = None
        self._session: Session | None = None
        self._crashes: PostMortem | None = None
        self._debugged = False
        self._saved = asyncio.Event()
        """Set unless a snapshot is being taken."""
        self._saved.set()

    @contextlib.asynccontextmanager
    async def attend(self, session: Session) -> AsyncIterator[Keeper]:
        """Serve clients and update the record, until the block is left."""
        self._entry.change(
            state=State.STARTING,
            life=replace(
                self._entry.record.life,
                qemu=registry.identify(session.pid),
                console=session.settings.console_log,
                agent=session.agent is not None,
            ),
        )
        self._relay = Relay(session)
        if self._entry.record.given.network:
            session.greeting = _hosts(self._entry)
        listening = control.listen(self._entry.directory)
        server = await asyncio.start_unix_server(
            lambda reader, writer: self._client(session, reader, writer), sock=listening
        )
        watching = asyncio.create_task(self._watch(session))
        naming = asyncio.create_task(self._send_hosts(session))
        self._session = session
        if session.settings.copy is None:
            self._crashes = self._examiner(session)
        try:
            yield self
        finally:
            if self._crashes is not None:
                await self._crashes.finish()
            server.close()
            tasks = [watching, naming, *self._clients]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._relay.close()

    def _examiner(self, session: Session) -> PostMortem | None:
        record = self._entry.record
        images = record.images
        if not session.machine.stop_on_crash or images.vmlinux is None:
            return None
        from ukl.vm.postmortem import PostMortem, Subject  # noqa: PLC0415 - a copy runs before

        subject = Subject(
            guest=record.name,
            application=record.application,
            vmlinux=images.vmlinux,
            user=images.program,
            debug=images.debug,
            sources=images.sources,
            cpus=record.given.cpus,
            as_is={images.executable: record.given.mode} if images.executable else {},
        )
        crashes = PostMortem(
            session,
            subject,
            lambda directory: self._entry.change(crash=directory),
            dumping=self._dumping,
        )
        crashes.begin()
        return crashes

    async def _watch(self, session: Session) -> None:
        if session.settings.nonce is None:
            self.started(1)
            return
        async for message in session.follow():
            if message.type is status.Type.STARTED and message.who == status.APPLICATION:
                self.started(message.number("pid"))
            ended = message.type in {status.Type.EXITED, status.Type.SIGNALED}
            if ended and message.who == status.AGENT_PROCESS and self._relay is not None:
                self._relay.lost()

    async def _send_hosts(self, session: Session) -> None:
        """Send the guest the names and addresses in its network, whenever they change."""
        record, known = self._entry.record, session.greeting
        if record.given.network and session.settings.nonce is not None:
            copy = session.settings.copy is not None
            await session.until(status.Type.RESUMED if copy else status.Type.HELLO)
            while True:
                hosts = _hosts(self._entry)
                if hosts != known:
                    session.send(hosts)
                    known = hosts
                await asyncio.sleep(NAMES_INTERVAL)

    def started(self, pid: int | None) -> None:
        """Note that the program runs, and announce it."""
        life = replace(self._entry.record.life, started=time.time(), pid=pid)
        self._entry.change(state=State.RUNNING, life=life)
        if self._announce is not None:
            self._announce()
        if self._session is not None and self._session.settings.copy is not None:
            self._crashes = self._examiner(self._session)

    async def _client(
        self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            line = await reader.readline()
            await self._serve(session, control.parse(line), reader, writer)
        except (OSError, ValueError):  # the client is gone, or sent a line that is too long
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(
        self,
        session: Session,
        request: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        match request.get("request"):
            case "stop":
                grace = request.get("grace")
                # Unlike a second Ctrl-C, a second `ukl stop` must not shorten the grace period.
                if not session.stopping or grace == 0:
                    session.stop(float(grace) if isinstance(grace, int | float) else None)
                writer.write(control.accepted())
            case "snapshot":
                await self._snapshot(session, Path(str(request.get("file"))), reader, writer)
            case "exec" if self._relay is not None:
                await self._saved.wait()
                try:
                    await self._relay.ready()
                except UklError as error:
                    writer.write(control.refused(error.message, error.remedy))
                else:
                    writer.write(control.accepted())
                    await self._relay.serve(reader, writer)
            case "gdb" if not self._debugged:
                self._debugged = True
                try:
                    await _debug(session.monitor, str(request.get("stub")), reader, writer)
                except UklError as error:
                    writer.write(control.refused(error.message, error.remedy))
                finally:
                    self._debugged = False
            case "gdb":
                writer.write(control.refused("another gdb is attached to this guest"))
            case other:
                writer.write(control.refused(f"unknown request: {other!r}"))
        await writer.drain()

    async def _snapshot(
        self,
        session: Session,
        file: Path,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Take a snapshot, unless the client goes first."""
        if not self._saved.is_set():
            writer.write(control.refused("another snapshot of this guest is being taken"))
            return
        self._saved.clear()
        taking = asyncio.create_task(saving.take(session, self._entry.record, file))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({taking, gone}, return_when=asyncio.FIRST_COMPLETED)
            taking.cancel()
            await taking
        except asyncio.CancelledError:
            return
        except UklError as error:
            writer.write(control.refused(error.message, error.remedy))
        else:
            writer.write(control.accepted())
        finally:
            for each in (taking, gone):
                each.cancel()
            await asyncio.gather(taking, gone, return_exceptions=True)
            self._saved.set()


def _hosts(entry: Entry) -> bytes:
    """Return the message with the hosts in a guest's network (vm/status.py)."""
    return status.hosts(entry.registry.hosts(entry.record.given.network))


async def _debug(
    monitor: Monitor, stub: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Open QEMU's gdb stub on the socket `stub` until the client closes its connection.

    Sends the client a gate of the interrupt descriptor table: see debug/placement.py.
    """
    from ukl.debug.placement import gate_dump, idt_base  # noqa: PLC0415 - for ukl gdb only

    table = idt_base(await monitor.human("info registers"))
    gate = await monitor.human(gate_dump(table))
    output = await monitor.human(f"gdbserver unix:{stub.replace(',', ',,')},server=on,wait=off")
    if not Path(stub).exists():
        raise UklError(f"QEMU does not open its gdb stub: {output.strip()}")
    try:
        writer.write(control.accepted() + json.dumps({"idt": gate}).encode() + b"\n")
        await writer.drain()
        while await reader.read(1 << 10):
            pass
    finally:
        with contextlib.suppress(UklError):
            await monitor.human("gdbserver none")
            await monitor.human("cont")  # a gdb that was killed leaves the machine stopped


def _ended(entry: Entry, result: RunResult) -> None:
    entry.change(
        state=State.ENDED,
        end=End(
            ended=time.time(),
            outcome=result.outcome.value,
            status=result.status,
            exit_code=outcome.exit_code(result),
            detail=result.detail,
        ),
    )


# --- in the foreground ------------------------------------------------------------


def attended(entry: Entry, directory: Path, run: Run, *, dumping: bool = True) -> RunResult:
    """Run a guest in this process and return how it ended; deletes the entry."""
    try:
        return run(directory, Keeper(entry, dumping=dumping).attend)
    finally:
        entry.release()


# --- detached -----------------------------------------------------------------------


def detached(entry: Entry, run: Run, *, dumping: bool = True) -> Record:
    """Run a guest in a new process, and return its record when the program has started.

    Raises what `run` raises until then, and an error for a guest that ended before.
    """
    parent = entry.record
    try:
        answer = detach.detach(
            lambda report: _background(entry, run, report, dumping),
            entry.directory / "keeper.log",
        )
    except BaseException:  # Ctrl-C: do not leave the guest behind
        with contextlib.suppress(UklError):
            registry.kill(entry.registry.get(parent.name))
        raise
    if not answer:
        raise UklError(
            "the guest's keeper process ended without a report",
            log=entry.directory / "keeper.log",
        )
    error = _decode_error(json.loads(answer))
    if error is None or (entry.directory / registry.RECORD).exists():
        entry.record = entry.registry.get(parent.name)
    if error is not None:
        raise error
    return entry.record


RESTART_FIRST, RESTART_MOST = 0.5, 60.0
"""Seconds before the first restart of a guest, and at most before any."""

RESTART_WELL = 10.0
"""Seconds after which the time before a restart is reset."""


def should_restart(policy: Restart, result: RunResult) -> bool:
    """Tell whether the policy restarts a guest that ended with this result. Pure."""
    if policy is Restart.NO or result.outcome in {Outcome.STOPPED, Outcome.TIMEOUT}:
        return False
    return policy is Restart.ALWAYS or outcome.exit_code(result) != 0


@dataclass(slots=True)
class Backoff:
    """The time before a restart: doubles each time, and is reset after a long run."""

    seconds: float = RESTART_FIRST

    def wait(self, ran: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait after a run of `ran` seconds."""
        if ran >= RESTART_WELL:
            self.seconds = RESTART_FIRST
        sleep(self.seconds)
        self.seconds = min(RESTART_MOST, 2 * self.seconds)


def _background(entry: Entry, run: Run, report: detach.Report, dumping: bool) -> None:
    entry.change(keeper=registry.myself())
    backoff = Backoff()
    reported = False

    def report_once(value: dict[str, Any]) -> None:
        nonlocal reported
        if not reported:
            reported = True
            report(json.dumps(value).encode())

    try:
        while True:
            began = time.monotonic()
            keeper = Keeper(entry, lambda: report_once({}), dumping=dumping)
            result = run(entry.directory, keeper.attend)
            if not reported or not should_restart(entry.record.given.restart, result):
                break
            backoff.wait(time.monotonic() - began)
            life = entry.record.life
            entry.change(
                state=State.STARTING,
                life=replace(life, restarts=life.restarts + 1, agent=False),
            )
        _ended(entry, result)
        from ukl.vm import postmortem  # noqa: PLC0415 - a copy runs before

        error = outcome.error_of(result, postmortem.reports(entry.directory))
    except (UklError, KeyboardInterrupt) as failure:
        if isinstance(failure, UklError):
            error = failure
        else:
            error = UklError("the guest was stopped before it had started")
        if entry.record.life.qemu is None:  # the guest never ran: keep no entry
            entry.release()
        else:
            entry.change(state=State.ENDED, end=End(time.time(), detail=error.message))
    if error is not None:
        sys.stderr.write(f"{error.message}\n")
        report_once(_encode_error(error))
    report_once({})


def _encode_error(error: UklError) -> dict[str, Any]:
    return {
        "message": error.message,
        "where": error.where,
        "remedy": error.remedy,
        "log": str(error.log) if error.log else None,
        "code": int(error.code),
    }


def _decode_error(value: dict[str, Any]) -> UklError | None:
    if not value:
        return None
    error = UklError(
        value["message"],
        where=value["where"],
        remedy=value["remedy"],
        log=Path(value["log"]) if value["log"] else None,
    )
    error.code = ExitCode(value["code"])
    return error


# --- from outside -------------------------------------------------------------------

STOP_MARGIN = 15.0
"""Seconds beyond the application's grace period until a guest that does not end is killed:
for init's SIGKILL, the unmounting, and QMP's `quit`."""

POLL = 0.05


def stop(guests: Registry, name: str, grace: float | None, patience: float) -> None:
    """Stop a guest: its program, then the machine; kill it if that does not end it.

    `grace` is the number of seconds between SIGTERM and SIGKILL for the program (None: as
    the guest was started), `patience` the number of seconds until the guest is killed. Does
    nothing if the guest has ended.
    """
    record = guests.get(name)
    if registry.effective(record) not in registry.ALIVE:
        return
    try:
        control.request(record, guests.place(name), request="stop", grace=grace).close()
    except UklError:
        registry.send(record.keeper, signal.SIGTERM)  # not up yet, or the keeper does not answer
    if _gone(record, patience):
        return
    registry.kill(record)
    _gone(record, STOP_MARGIN)


def _gone(record: Record, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while record.keeper.alive:
        if time.monotonic() >= end:
            return False
        time.sleep(POLL)
    return True
