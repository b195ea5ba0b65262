# SPDX-License-Identifier: GPL-2.0
"""A recipe's own tests against the unikernel and against the normal process, side by side."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ukl import pipeline
from ukl.errors import InputError
from ukl.host.store import Store
from ukl.image import initrd as initrd_room
from ukl.model import AppSpec, PortForward, Protocol
from ukl.progress import Progress
from ukl.recipe import build as recipe_build
from ukl.recipe import suite
from ukl.recipe.suite import SuiteResult
from ukl.vm import launch

MODES: Mapping[str, bool] = {"unikernel": False, "process": True}
"""Name -> whether it is a normal process on the same kernel (`--user`)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of each mode."""

    name: str
    results: Mapping[str, SuiteResult]

    @property
    def is_good(self) -> bool:
        """Whether all went well in each mode, and no test differs."""
        return all(row.is_good for row in self.results.values()) and not self.differences

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """The tests that ended differently; none when there is but one mode."""
        if len(self.results) < 2:
            return []
        one, other = (self.results[mode] for mode in MODES)
        return suite.differences(one, other)


def compare(
    spec: AppSpec,
    store: Store,
    progress: Progress,
    *,
    modes: Mapping[str, bool] = MODES,
    quick: bool = False,
    jobs: int | None = None,
) -> Comparison:
    """Run the suite of `spec` in each mode; `quick`: the part that takes minutes.

    Raises InputError when the recipe has no suite or no TCP port, and the errors of
    building and booting.
    """
    tests, build = spec.suite, spec.build
    tcp = [port for port in spec.ports if port.protocol is Protocol.TCP]
    if tests is None or build is None or not tcp:
        raise InputError(
            "there are no tests that can be run: it takes [build], [test] and a TCP port",
            where=spec.origin,
            remedy="add a table [test]; see docs/howto/recipes.md",
        )
    recipe_build.ensure(tests.packages, f"the test suite of {spec.name}", progress)
    caps = pipeline.host_caps(store, progress)
    spec = pipeline.prepared(spec, store, progress, jobs)
    app, _, image = pipeline.build_image(spec, store, progress, jobs=jobs)
    initrd = initrd_room.build(image, spec, app.user, store, progress)
    tree = recipe_build.tree_of(spec, build)
    commands = tests.quick if quick and tests.quick else tests.commands
    results = {}
    for mode, user in modes.items():
        host = _free_port()
        forwards = {tcp[0].guest: host}
        served = replace(
            spec,
            args=spec.args if tests.args is None else tests.args,
            ports=tuple(
                PortForward(forwards[port.guest], port.guest, protocol=port.protocol)
                for port in spec.ports
                if port.guest in forwards
            ),
        )
        directory = launch.run_directory(store.root / pipeline.RUNS, f"{spec.name}-tests")
        options = launch.Options(output=lambda data: None, user=user)
        plan = launch.prepare(
            image,
            served,
            initrd,
            accelerator=caps.accelerator,
            options=options,
            directory=directory,
        )
        with (
            progress.stage(f"tests of {spec.name}: {mode}") as stage,
            suite.copied(tree, directory) as copy,
            suite.Guest(plan.machine, plan.settings) as guest,
        ):
            suite.wait_for_port(host, guest)
            log = directory / "tests.log"
            results[mode] = suite.run(
                tests, commands, tree=copy, port=host, guest=guest, log=log, stage=stage
            )
            stage.outcome = "" if results[mode].is_good else "FAILED"
    return Comparison(spec.name, results)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def table(comparison: Comparison) -> list[str]:
    """Return the lines of the table that people see. Pure."""
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
                how = "took too long" if status is None else f"ended with status {status}"
                lines.append(f"  {mode}: `{command}` {how}; log: {result.log}")
        if result.lost:
            lines.append(f"  {mode}: {result.lost}")
        failed = [name for name, kind in result.tests.items() if kind == suite.FAILED]
        lines += [f"  {mode}: failed: {name}" for name in failed]
    for name, one, other in comparison.differences:
        lines.append(f"  differs: {name}: {one} in the unikernel, {other} in the process")
    if len(comparison.results) == len(MODES) and not comparison.differences:
        lines.append("no test differs")
    return lines
