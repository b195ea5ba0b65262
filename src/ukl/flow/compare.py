# SPDX-License-Identifier: GPL-2.0
"""Compares the results of a recipe's own tests as unikernel and as normal process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Disk, Guest, Mode, Protocol, RunResult, SuiteSpec, Volume
from ukl.flow import kernel as kernels
from ukl.flow import running, suite
from ukl.flow.bootable import Bootable, bootable
from ukl.flow.context import Context
from ukl.flow.suite import SuiteResult
from ukl.flow.watch import Watch
from ukl.recipe import build as recipe_build
from ukl.recipe import newest
from ukl.settings.volumes import merged
from ukl.vm import launch, ports, session
from ukl.vm.streams import Sink


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of a suite in each mode."""

    name: str
    results: Mapping[Mode, SuiteResult]

    @property
    def is_good(self) -> bool:
        """Whether the suite succeeded in each mode, and no test differs."""
        return all(row.is_good for row in self.results.values()) and not self.differences

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """The tests whose results differ; empty if there is only one mode."""
        if len(self.results) < 2:
            return []
        one, other = (self.results[mode] for mode in Mode)
        return suite.differences(one, other)


def compare(
    spec: AppSpec,
    context: Context,
    *,
    modes: Iterable[Mode] = tuple(Mode),
    quick: bool = False,
    watch: Watch | None = None,
) -> Comparison:
    """Run the suite of `spec`, or its `quick` part, in each mode.

    `watch` records which kernel code runs. Raises InputError if the recipe has no suite, or no
    TCP port for it, and the errors of building and booting.
    """
    spec = newest.named(spec)
    tests, build = spec.suite, spec.build
    tcp = [port for port in spec.ports if port.protocol is Protocol.TCP]
    if tests is None or build is None or not (tcp or tests.runs):
        raise InputError(
            "there are no tests to run: that takes [build], and [test] with runs, "
            "or with commands and a TCP port",
            where=spec.origin,
            remedy="add a table [test]; see docs/howto/recipes.md",
        )
    kernels.announce((kernels.wanted_by((spec, *spec.with_)),), context)
    recipe_build.ensure(tests.packages, f"the test suite of {spec.name}", context.progress)
    spec = replace(spec, files={**spec.files, **tests.files})
    modes = tuple(modes)
    # One initrd for all modes: that of the process has more files.
    most = Mode.PROCESS if Mode.PROCESS in modes else Mode.UNIKERNEL
    made = bootable(spec, context, Guest(mode=most))
    tree = recipe_build.tree_of(made.spec, build)
    lab = _Lab(made, tests, context, quick, watch)
    results = {mode: lab.runs(mode) if tests.runs else lab.commands(mode, tree) for mode in modes}
    return Comparison(spec.name, results)


@dataclass(frozen=True, slots=True)
class _Lab:
    """The common parts of the runs in both modes."""

    made: Bootable
    tests: SuiteSpec
    context: Context
    quick: bool
    watch: Watch | None

    def _directory(self) -> Path:
        return running.run_directory(self.context.store, f"{self.made.spec.name}-tests")

    def _plan(self, spec: AppSpec, options: launch.Options, directory: Path) -> launch.Plan:
        if self.tests.disk:
            disk = Disk(directory / "disk.img", self.tests.disk)
            spec = replace(spec, disks=merged(spec.disks, (disk,)))
        options = replace(options, traced=self.watch.ranges if self.watch else ())
        return running.plan(self.made, options, self.context, directory, spec)

    @property
    def _attend(self) -> session.Attend | None:
        return self.watch.attend if self.watch else None

    def runs(self, mode: Mode) -> SuiteResult:
        """Run the program once for each test, in a new guest."""
        names = self.tests.quick if self.quick and self.tests.quick else tuple(self.tests.runs)
        log = self._directory() / "tests.log"

        def start(name: str, output: Sink) -> RunResult:
            directory = self._directory()
            guest = Guest(mode=mode, timeout=self.tests.timeout)
            options = launch.Options(guest, output=output)
            spec = replace(self.made.spec, args=self.tests.runs[name], ports=())
            plan = self._plan(spec, options, directory)
            try:
                return launch.run_plan(plan, self._attend)
            finally:
                for disk in plan.machine.disks:
                    if disk.file.parent == directory:
                        disk.file.unlink(missing_ok=True)

        with self.context.progress.stage(f"tests of {self.made.spec.name}: {mode}") as stage:
            result = suite.run_in_guests(self.tests, names, start, log=log, stage=stage)
            stage.outcome = "" if result.is_good else "FAILED"
        return result

    def commands(self, mode: Mode, tree: Path) -> SuiteResult:
        """Run the commands against one guest; `tree` is the built source."""
        spec, tests = self.made.spec, self.tests
        commands = tests.quick if self.quick and tests.quick else tests.commands
        served = replace(
            spec,
            args=spec.args if tests.args is None else tests.args,
            ports=ports.with_free_hosts(spec.ports),
        )
        env = {
            **ports.environment(served.ports),
            **recipe_build.source_version(tree),
            "RECIPE": str(spec.directory),
        }
        directory = self._directory()
        options = launch.Options(Guest(mode=mode), output=lambda data: None)
        log = directory / "tests.log"
        with contextlib.ExitStack() as stack:
            stage = stack.enter_context(
                self.context.progress.stage(f"tests of {spec.name}: {mode}")
            )
            where = directory
            if tests.shared:
                # The program may be another user than root, and not allowed into /root.
                where = Path(stack.enter_context(TemporaryDirectory(prefix="ukl-tests-")))
            copy = stack.enter_context(suite.copied(tree, where))
            if tests.shared:
                served = replace(served, volumes=(*spec.volumes, Volume(copy, str(copy))))
            plan = self._plan(served, options, directory)
            guest = stack.enter_context(suite.Guest(plan.machine, plan.settings, self._attend))
            suite.wait_for_port(int(env["PORT"]), guest)
            if tests.ready is not None:
                suite.wait_until_ready(tests.ready, tree=copy, env=env, guest=guest, log=log)
            result = suite.run(
                tests, commands, tree=copy, env=env, guest=guest, log=log, stage=stage
            )
            stage.outcome = "" if result.is_good else "FAILED"
        return result


def table(comparison: Comparison) -> list[str]:
    """Return the lines of the table that is printed. Pure."""
    head = f"{comparison.name:<20} {'passed':>8} {'failed':>8} {'skipped':>8} {'seconds':>9}"
    lines = [head]
    for mode, result in comparison.results.items():
        counts = " ".join(
            f"{result.count(kind):>8}" for kind in (suite.PASSED, suite.FAILED, suite.SKIPPED)
        )
        lines.append(f"{mode:<20} {counts} {result.seconds:>9.1f}")
    for mode, result in comparison.results.items():
        for command, status in result.ended.items():
            if status != 0:
                how = "timed out" if status is None else f"ended with status {status}"
                lines.append(f"  {mode}: `{command}` {how}; log: {result.log}")
        if result.lost:
            lines.append(f"  {mode}: {result.lost}")
        failed = [name for name, kind in result.tests.items() if kind == suite.FAILED]
        lines += [f"  {mode}: failed: {name}" for name in failed]
    for name, one, other in comparison.differences:
        lines.append(f"  differs: {name}: {one} in the unikernel, {other} in the process")
    if len(comparison.results) == len(Mode) and not comparison.differences:
        lines.append("no test differs")
    return lines
