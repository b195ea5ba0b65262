# SPDX-License-Identifier: GPL-2.0
"""The workload of an application, which runs once for each trial kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ukl.base.errors import InputError, TimeoutExpired, UklError
from ukl.base.model import AppSpec, Guest, Mode, Outcome, PortForward, RunResult
from ukl.flow import compare, host_command, running, suite
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.flow.watch import Watch
from ukl.vm import launch, outcome, session

IDLE = ("/bin/sh", "-c", "kill -STOP $$")
"""A companion that does nothing and uses no kernel code for it."""


@dataclass(frozen=True, slots=True)
class WorkloadResult:
    """How a workload ended: whether it succeeded, and a text for the user."""

    good: bool
    text: str
    log: Path | None = None


class Workload(Protocol):
    """Something that an application does."""

    @property
    def title(self) -> str:
        """Its name in messages."""

    def run(self, spec: AppSpec, watch: Watch | None = None) -> WorkloadResult:
        """Build `spec` if necessary, and run the workload in a guest, traced by `watch`.

        Raises the errors of building and of starting the machine.
        """


@dataclass(frozen=True, slots=True)
class Bench:
    """The common parts of all workloads. `timeout` is in seconds."""

    context: Context
    timeout: float = 600.0

    def plan(
        self, spec: AppSpec, watch: Watch | None, options: launch.Options
    ) -> tuple[launch.Plan, session.Attend | None]:
        """Return how a guest with `spec` is run. The build is in the cache already."""
        quiet = self.context.quiet()
        made = bootable(spec, quiet, options.guest)
        directory = running.run_directory(quiet.store, f"{spec.name}-trim")
        options = replace(options, traced=watch.ranges if watch else ())
        plan = running.plan(made, options, quiet, directory)
        return plan, watch.attend if watch else None


@contextlib.contextmanager
def _stage(bench: Bench, title: str, watch: Watch | None) -> Iterator[list[WorkloadResult]]:
    """Show a run as a stage; the block appends its result to the list."""
    results: list[WorkloadResult] = []
    traced = ", traced" if watch else ""
    with bench.context.progress.stage(f"{title}{traced}") as stage:
        yield results
        if results and not results[-1].good:
            stage.outcome = f"FAILED: {results[-1].text}"


@dataclass(frozen=True, slots=True)
class OwnRun:
    """A run of the program without a host command; it must exit with status 0."""

    bench: Bench
    title: str = "the program's own run"

    def run(self, spec: AppSpec, watch: Watch | None = None) -> WorkloadResult:
        """Run the program until it ends."""
        options = launch.Options(Guest(timeout=self.bench.timeout), output=running.discard)
        plan, attend = self.bench.plan(spec, watch, options)
        with _stage(self.bench, self.title, watch) as results:
            results.append(_result_of(launch.run_plan(plan, attend)))
        return results[0]


def _result_of(result: RunResult) -> WorkloadResult:
    if result.outcome is Outcome.EXITED:
        return WorkloadResult(result.status == 0, f"status {result.status}", result.console)
    error = outcome.error_of(result)
    text = error.message.splitlines()[0] if error else outcome.death(result) or "it was stopped"
    return WorkloadResult(False, text, result.console)


@dataclass(frozen=True, slots=True)
class Command:
    """A host command that uses the program, which is a server.

    HOST, PORT and PORT_n (n: the guest's port) are its address. The command must exit with
    status 0.
    """

    bench: Bench
    command: str

    @property
    def title(self) -> str:
        """The command."""
        return f"`{self.command}`"

    def run(self, spec: AppSpec, watch: Watch | None = None) -> WorkloadResult:
        """Start the program, wait until it accepts connections, and run the command."""
        served = host_command.with_free_ports(spec)
        options = launch.Options(output=running.discard)
        plan, attend = self.bench.plan(served, watch, options)
        log = plan.settings.directory / "workload.log"
        try:
            with (
                _stage(self.bench, self.title, watch) as results,
                suite.Guest(plan.machine, plan.settings, attend) as guest,
            ):
                results.append(self._execute(guest, served.ports, log))
        finally:
            plan.machine.initrd.unlink(missing_ok=True)
        return results[0]

    def _execute(
        self, guest: suite.Guest, ports: tuple[PortForward, ...], log: Path
    ) -> WorkloadResult:
        command = host_command.HostCommand(self.command, self.bench.timeout)
        try:
            status = command.run(guest, ports, log)
        except (TimeoutExpired, UklError) as error:
            return WorkloadResult(False, error.message.splitlines()[0], error.log or log)
        if status != 0:
            return WorkloadResult(False, f"it ended with status {status}", log)
        if not guest.is_running:
            return WorkloadResult(False, "the guest ended before the command", log)
        return WorkloadResult(True, "status 0", log)


@dataclass(frozen=True, slots=True)
class Suite:
    """The quick part of the recipe's own tests."""

    bench: Bench
    title: str = "the recipe's tests"

    def run(self, spec: AppSpec, watch: Watch | None = None) -> WorkloadResult:
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
        return WorkloadResult(result.is_good, text, result.log)


def chosen(spec: AppSpec, command: str | None, bench: Bench) -> Workload:
    """Return the workload of an application: the given command, its tests, or its own run.

    InputError for a server without a command and without tests.
    """
    if command is not None:
        return Command(bench, command)
    if spec.suite is not None and spec.build is not None:
        return Suite(bench)
    if spec.ports:
        raise InputError(
            f"{spec.name} is a server: it needs a workload",
            where=spec.origin,
            remedy="name a command that uses it: --workload 'curl -fsS $HOST:$PORT' "
            "(HOST and PORT are its address)",
        )
    return OwnRun(bench)


def idle(spec: AppSpec, watch: Watch, bench: Bench) -> None:
    """Run a guest of the same kernel in which no program does anything; `watch` stops it.

    UklError if it ends earlier.
    """
    options = launch.Options(Guest(start=False, companion=IDLE), output=running.discard)
    plan, attend = bench.plan(replace(spec, ports=()), watch, options)
    with bench.context.progress.stage("an idle guest, traced"):
        result = launch.run_plan(plan, attend)
    if result.outcome is not Outcome.STOPPED:
        raise outcome.error_of(result) or UklError("the idle guest ended", log=result.console)
