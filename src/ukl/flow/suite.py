# SPDX-License-Identifier: GPL-2.0
"""Runs a program's own tests against a guest, and compares the results of two runs.

The tests run on the host, in a copy of the built source, and connect to the guest's forwarded
ports (HOST and PORT). Or they are runs of the program with given arguments, each in a new guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ukl.base.errors import TimeoutExpired, UklError, VmLost
from ukl.base.model import Machine, Outcome, RunResult, SuiteSpec
from ukl.base.progress import Stage
from ukl.host import exec as host_exec
from ukl.vm import outcome, session, status
from ukl.vm.settings import Settings
from ukl.vm.streams import Sink

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

START_TIMEOUT = 300.0
"""Seconds from the start of QEMU until the program must accept connections."""

READY_TIMEOUT = 30.0
"""Seconds for one run of the command that checks whether the program is ready."""

READY_INTERVAL = 0.5
"""Seconds between two of these checks."""

OPEN_TIME = 0.3
"""Seconds after which an open connection has reached the program: QEMU accepts every
connection, and closes it if the guest refuses it."""


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The results of a suite's tests, and how its commands ended.

    `ended` maps each command to its exit status, None if it timed out. `lost` says how the
    guest ended, if it ended before the tests.
    """

    tests: Mapping[str, str]
    ended: Mapping[str, int | None]
    seconds: float
    log: Path
    lost: str = ""

    def count(self, kind: str) -> int:
        """Return the number of tests with the result `kind`: passed, failed or skipped."""
        return sum(1 for value in self.tests.values() if value == kind)

    @property
    def is_good(self) -> bool:
        """Whether tests passed, none failed, all commands succeeded, and the guest was not lost."""
        ended = all(status == 0 for status in self.ended.values())
        return ended and not self.lost and not self.count(FAILED) and bool(self.count(PASSED))


@dataclass(slots=True)
class Reader:
    """Finds the tests in the output of a suite's commands, line by line."""

    suite: SuiteSpec
    tests: dict[str, str] = field(default_factory=dict)
    _seen: Counter[str] = field(default_factory=Counter)
    _patterns: list[tuple[str, re.Pattern[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        suite = self.suite
        kinds = ((SKIPPED, suite.skipped), (FAILED, suite.failed), (PASSED, suite.passed))
        self._patterns = [(kind, re.compile(pattern)) for kind, pattern in kinds if pattern]

    def line(self, text: str) -> str | None:
        """Parse a line; return the name of its test, if any."""
        for kind, pattern in self._patterns:
            if match := pattern.search(text):
                name = match[1].strip()
                self._seen[name] += 1
                number = self._seen[name]
                # Suites repeat a test, for example with several encodings.
                self.tests[name if number == 1 else f"{name} #{number}"] = kind
                return name
        return None


def differences(one: SuiteResult, other: SuiteResult) -> list[tuple[str, str, str]]:
    """Return the tests whose results differ: name, result in `one`, result in `other`. Pure."""
    names = dict.fromkeys((*one.tests, *other.tests))
    absent = "did not run"
    rows = [(name, one.tests.get(name, absent), other.tests.get(name, absent)) for name in names]
    return [row for row in rows if row[1] != row[2]]


class Guest:
    """A guest that runs in a separate thread until the block is left.

    `attend` is entered in that thread when QEMU has started, and left when QEMU ends.
    """

    def __init__(
        self,
        machine: Machine,
        settings: Settings,
        attend: session.Attend | None = None,
    ) -> None:
        self._attend = attend
        self._session = session.Session(machine, settings)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self.result: RunResult | None = None

    def __enter__(self) -> Guest:
        self._thread.start()
        try:
            self._started.wait()
            if self._error is not None:
                raise self._error
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def is_running(self) -> bool:
        """Whether the guest has not ended yet."""
        return self._thread.is_alive()

    def wait(self, timeout: float) -> RunResult | None:
        """Wait `timeout` seconds for the guest to end; None if it still runs."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return self.result

    def _stop(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._session.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the other thread
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        attend = self._attend
        async with (
            self._session as running,
            attend(running) if attend is not None else contextlib.nullcontext(),
        ):
            await running.until(status.Type.STARTED)
            self._started.set()
            self.result = await running.wait()


def wait_for_port(port: int, guest: Guest, timeout: float = START_TIMEOUT) -> None:
    """Wait until the program in the guest accepts connections on a forwarded TCP port."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not guest.is_running:
            raise _ended_early(guest)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as link:
            link.settimeout(OPEN_TIME)
            try:
                if link.recv(1):
                    return
            except TimeoutError:
                return
        time.sleep(0.1)
    raise TimeoutExpired(f"the program accepted no connection within {timeout:g} s")


def wait_until_ready(
    command: str,
    *,
    tree: Path,
    env: Mapping[str, str],
    guest: Guest,
    log: Path,
    timeout: float = START_TIMEOUT,
) -> None:
    """Repeat `command` in `tree` until it exits with status 0."""
    end = time.monotonic() + timeout
    how = "did not end"
    while (left := end - time.monotonic()) > 0:
        # A command that started too early may wait forever for an answer.
        with contextlib.suppress(TimeoutExpired):
            done = host_exec.run(
                ["sh", "-c", command],
                cwd=tree,
                env=env,
                log=log,
                check=False,
                timeout=min(left, READY_TIMEOUT),
            )
            if done.returncode == 0:
                return
            how = f"ended with status {done.returncode}"
        if not guest.is_running:
            raise _ended_early(guest)
        time.sleep(min(READY_INTERVAL, max(0.0, end - time.monotonic())))
    raise TimeoutExpired(
        f"the program was not ready within {timeout:g} s: `{command}` {how}", log=log
    )


def _ended_early(guest: Guest) -> UklError:
    if guest.result is None:
        return VmLost("the guest ended before its tests")
    return outcome.error_of(guest.result) or UklError(
        f"the program ended before its tests: {guest.result.outcome.value} {guest.result.status}",
        log=guest.result.console,
    )


@contextlib.contextmanager
def copied(tree: Path, directory: Path) -> Iterator[Path]:
    """Copy a built source tree for the block, so that tests may write to it."""
    copy = directory / "tree"
    shutil.copytree(tree, copy, symlinks=True)
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def run(
    suite: SuiteSpec,
    commands: Sequence[str],
    *,
    tree: Path,
    env: Mapping[str, str],
    guest: Guest,
    log: Path,
    stage: Stage,
) -> SuiteResult:
    """Run `commands` in `tree`, with variables `env`, against `guest`; return the results."""
    begin = time.monotonic()
    reader = Reader(suite)
    ended: dict[str, int | None] = {}
    lost = ""

    def line(text: str) -> None:
        if name := reader.line(text):
            stage.update(len(reader.tests), None, name[:60])

    for command in commands:
        try:
            done = host_exec.run(
                ["sh", "-c", command],
                cwd=tree,
                env=env,
                log=log,
                check=False,
                timeout=suite.timeout,
                on_line=line,
            )
            ended[command] = done.returncode
        except TimeoutExpired:
            ended[command] = None
        if not guest.is_running:
            lost = _ended_early(guest).message
            break
    return SuiteResult(reader.tests, ended, time.monotonic() - begin, log, lost)


def run_in_guests(
    suite: SuiteSpec,
    names: Sequence[str],
    start: Callable[[str, Sink], RunResult],
    *,
    log: Path,
    stage: Stage,
) -> SuiteResult:
    """Call `start` to run the program once for each of `names`; return the results.

    A run is itself a test, which passes if the program exits with status 0. Tests found in its
    output are named `RUN: TEST`.
    """
    begin = time.monotonic()
    tests: dict[str, str] = {}
    ended: dict[str, int | None] = {}
    with log.open("wb") as stream:
        for name in names:
            stage.update(len(tests), None, name)
            output = bytearray()

            def take(data: bytes, output: bytearray = output) -> None:
                stream.write(data)
                output.extend(data)

            result = start(name, take)
            reader = Reader(suite)
            for line in output.decode("utf-8", "replace").splitlines():
                reader.line(line)
            good = result.outcome is Outcome.EXITED and result.status == 0
            tests |= {f"{name}: {test}": kind for test, kind in reader.tests.items()}
            tests[name] = PASSED if good else FAILED
            timed_out = result.outcome is Outcome.TIMEOUT
            ended[name] = None if timed_out else outcome.exit_code(result)
    return SuiteResult(tests, ended, time.monotonic() - begin, log)
