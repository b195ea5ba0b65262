# SPDX-License-Identifier: GPL-2.0
"""What an application's work is, and whether it was done: run once for each kernel tried."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ukl.base.errors import InputError, TimeoutExpired, UklError
from ukl.base.model import AppSpec, Guest, Mode, Outcome, PortForward, RunResult
from ukl.flow import compare, running, suite, working
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.flow.watch import Watch
from ukl.vm import launch, outcome, session

IDLE = ("/bin/sh", "-c", "kill -STOP $$")
"""A companion that does nothing, and needs nothing of the kernel for that."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a workload ended: whether well, and what a person is told of it."""

    good: bool
    text: str
    log: Path | None = None


class Workload(Protocol):
    """Something that an application does."""

    @property
    def title(self) -> str:
        """What people call it."""

    def run(self, spec: AppSpec, watch: Watch | None = None) -> Done:
        """Build `spec` if need be, and do it in a guest; `watch` sees what of the kernel runs.

        Raises the errors of building, and of a machine that cannot be started.
        """


@dataclass(frozen=True, slots=True)
class Bench:
    """What all workloads have in common. `timeout` is in seconds."""

    context: Context
    timeout: float = 600.0

    def plan(
        self, spec: AppSpec, watch: Watch | None, options: launch.Options
    ) -> tuple[launch.Plan, session.Attend | None]:
        """Return how a guest with `spec` is run, which was built, as its stages have said."""
        quiet = self.context.quiet()
        made = bootable(spec, quiet, options.guest)
        directory = running.run_directory(quiet.store, f"{spec.name}-trim")
        options = replace(options, traced=watch.ranges if watch else ())
        plan = running.plan(made, options, quiet, directory)
        return plan, watch.attend if watch else None


def _nowhere(data: bytes) -> None:
    """Take the console's bytes: they are in its file."""


@contextlib.contextmanager
def _stage(bench: Bench, title: str, watch: Watch | None) -> Iterator[list[Done]]:
    """Show a run as a stage; the block puts how it ended into the list."""
    done: list[Done] = []
    watched = ", watched" if watch else ""
    with bench.context.progress.stage(f"{title}{watched}") as stage:
        yield done
        if done and not done[-1].good:
            stage.outcome = f"FAILED: {done[-1].text}"


@dataclass(frozen=True, slots=True)
class Own:
    """The program's own run, until it exits with status 0."""

    bench: Bench
    title: str = "the program's own run"

    def run(self, spec: AppSpec, watch: Watch | None = None) -> Done:
        """Run it to its end."""
        options = launch.Options(Guest(timeout=self.bench.timeout), output=_nowhere)
        plan, attend = self.bench.plan(spec, watch, options)
        with _stage(self.bench, self.title, watch) as done:
            done.append(_judged(launch.run_plan(plan, attend)))
        return done[0]


def _judged(result: RunResult) -> Done:
    if result.outcome is Outcome.EXITED:
        return Done(result.status == 0, f"status {result.status}", result.console)
    error = outcome.error_of(result)
    text = error.message.splitlines()[0] if error else outcome.death(result) or "it was stopped"
    return Done(False, text, result.console)


@dataclass(frozen=True, slots=True)
class Command:
    """A command on this machine that has the program work, while it serves.

    HOST, PORT and PORT_n (n: the guest's port) say where; it has to end with status 0.
    """

    bench: Bench
    command: str

    @property
    def title(self) -> str:
        """The command."""
        return f"`{self.command}`"

    def run(self, spec: AppSpec, watch: Watch | None = None) -> Done:
        """Start the program, wait until it takes connections, and run the command."""
        served = working.served(spec)
        options = launch.Options(output=_nowhere)
        plan, attend = self.bench.plan(served, watch, options)
        log = plan.settings.directory / "workload.log"
        try:
            with (
                _stage(self.bench, self.title, watch) as done,
                suite.Guest(plan.machine, plan.settings, attend) as guest,
            ):
                done.append(self._work(guest, served.ports, log))
        finally:
            plan.machine.initrd.unlink(missing_ok=True)
        return done[0]

    def _work(self, guest: suite.Guest, ports: tuple[PortForward, ...], log: Path) -> Done:
        work = working.Work(self.command, self.bench.timeout)
        try:
            status = work.run(guest, ports, log)
        except (TimeoutExpired, UklError) as error:
            return Done(False, error.message.splitlines()[0], error.log or log)
        if status != 0:
            return Done(False, f"it ended with status {status}", log)
        if not guest.is_running:
            return Done(False, "the guest had ended by then", log)
        return Done(True, "status 0", log)


@dataclass(frozen=True, slots=True)
class Suite:
    """The quick part of the recipe's own tests."""

    bench: Bench
    title: str = "the recipe's tests"

    def run(self, spec: AppSpec, watch: Watch | None = None) -> Done:
        """Run the tests."""
        bench = self.bench
        found = compare.compare(
            spec,
            bench.context,
            modes=[Mode.UNIKERNEL],
            quick=True,
            watch=watch,
        )
        [result] = found.results.values()
        passed, failed = result.count(suite.PASSED), result.count(suite.FAILED)
        text = f"{passed} passed, {failed} failed" + (f", {result.lost}" if result.lost else "")
        return Done(result.is_good, text, result.log)


def chosen(spec: AppSpec, command: str | None, bench: Bench) -> Workload:
    """Return the workload of an application: what a person says, its tests, or its own run.

    InputError for a server of which nobody says what it does.
    """
    if command is not None:
        return Command(bench, command)
    if spec.suite is not None and spec.build is not None:
        return Suite(bench)
    if spec.ports:
        raise InputError(
            f"{spec.name} serves, and nothing says what its work is",
            where=spec.origin,
            remedy="name a command that uses it: --workload 'curl -fsS $HOST:$PORT' "
            "(HOST and PORT say where it is)",
        )
    return Own(bench)


def idle(spec: AppSpec, watch: Watch, bench: Bench) -> None:
    """Run a guest of the same kernel in which nobody does anything; `watch` ends it.

    UklError if it ends by itself.
    """
    options = launch.Options(Guest(start=False, companion=IDLE), output=_nowhere)
    plan, attend = bench.plan(replace(spec, ports=()), watch, options)
    with bench.context.progress.stage("a guest that does nothing, watched"):
        result = launch.run_plan(plan, attend)
    if result.outcome is not Outcome.STOPPED:
        raise outcome.error_of(result) or UklError(
            "the guest that should do nothing ended", log=result.console
        )
