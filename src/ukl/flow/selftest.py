# SPDX-License-Identifier: GPL-2.0
"""Runs the linters and the tests of a checkout, one stage each, and counts.

Each linter counts as one test. Logs and JUnit files go to build/selftest/.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base import resources
from ukl.base.errors import MissingError, TimeoutExpired
from ukl.base.progress import Progress, Stage
from ukl.flow import kernel as kernels
from ukl.flow.context import Context
from ukl.host import exec as host_exec
from ukl.host.exec import Completed
from ukl.host.store import Store

LINTERS: dict[str, tuple[str, ...]] = {
    "ruff check": ("ruff", "check", "--no-fix"),
    "ruff format": ("ruff", "format", "--check"),
    "mypy": ("mypy",),
}
"""Name of the stage -> module and arguments, run in the checkout."""

TIMEOUTS = {"unit": 600.0, "tool": 900.0, "boot": 4500.0, "apps": 6 * 3600.0}
"""Seconds for all tests of a group; kernels are built before."""

KERNELS: tuple[dict[str, str], ...] = (
    {},
    {
        f"CONFIG_{name}": "y"
        for name in (
            # For tools/testing/selftests/ukl.
            *("DEBUG_FS", "UKL_TEST"),
            # What Linux can do to, and for, a process beyond the base configuration.
            *("CGROUPS", "MEMCG", "CGROUP_PIDS", "CPUSETS"),
            *("CGROUP_SCHED", "FAIR_GROUP_SCHED", "CFS_BANDWIDTH"),
            *("NAMESPACES", "UTS_NS", "IPC_NS", "PID_NS", "NET_NS", "USER_NS", "TIME_NS"),
            *("SWAP", "BLK_DEV_RAM", "HUGETLBFS", "USERFAULTFD", "KSM", "CHECKPOINT_RESTORE"),
            *("X86_MCE", "MEMORY_FAILURE"),
            # Doors into the kernel that normal processes try, and that look at its text.
            *("MODIFY_LDT_SYSCALL", "KPROBES", "FTRACE", "KPROBE_EVENTS", "BPF_SYSCALL"),
            # The kernel's own checks of its entry code.
            *("DEBUG_KERNEL", "DEBUG_ENTRY"),
            # Its unit tests, which run if the command line says so.
            *("KUNIT", "KUNIT_DEBUGFS", "UKL_KUNIT_TEST"),
        )
    }
    | {"CONFIG_KUNIT_DEFAULT_ENABLED": "n"},
)
"""Options of the kernels that the boot tests use; the first is everybody's."""

LINT_TIMEOUT = 300.0
NO_TESTS = 5
"""pytest's status when nothing was collected."""

NEEDED = ("pytest", "pytest_timeout", "ruff", "mypy")

_OUTCOME = re.compile(r" (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*\[ *(\d+)%\]$")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
        )

    def line(self) -> str:
        """Return the closing line: `41 passed, 0 failed`, with the skipped if there are any."""
        text = f"{self.passed} passed, {self.failed} failed"
        return f"{text}, {self.skipped} skipped" if self.skipped else text


def run(
    groups: Sequence[str],
    store: Store,
    progress: Progress,
    *,
    expression: str | None = None,
    no_skip: bool = False,
) -> Tally:
    """Run `groups` (of lint, unit, tool, boot) in that order and return the sum.

    Raises MissingError when this is no checkout, or without the development tools.
    """
    top = resources.checkout()
    if top is None or not (top / "tests").is_dir():
        raise MissingError(
            "the tests are not part of an installed package",
            where=resources.root(),
            remedy="clone the repository and run ./ukl selftest there",
        )
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingError(
            f"the development tools are not there: {', '.join(absent)}",
            where=sys.prefix,
            remedy="run ./ukl selftest (it installs them), or: uv sync --group dev",
        )
    results = top / "build" / "selftest"
    results.mkdir(parents=True, exist_ok=True)
    total = Tally()
    if "lint" in groups:
        for name, argv in LINTERS.items():
            total += _lint(name, argv, top, results, progress)
    for group in TIMEOUTS:
        if group in groups:
            if group == "boot" and expression is None:
                _build_kernels(store, progress)
            suite = Suite(group, top, results, expression, no_skip)
            total += suite.run(store, progress)
    return total


def _build_kernels(store: Store, progress: Progress) -> None:
    """Build what the boot tests boot: minutes, which belong to no single test's time."""
    context = Context(store, progress)
    for options in KERNELS:
        # The tests skip, or fail with --no-skip, for want of the same tool.
        with contextlib.suppress(MissingError):
            kernels.build(kernels.Wanted(options), context)
    # What normal processes are measured on beside ours.
    with contextlib.suppress(MissingError):
        kernels.build(kernels.Wanted(patched=False), context)


def _lint(name: str, argv: Sequence[str], top: Path, results: Path, progress: Progress) -> Tally:
    log = results / f"{name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)
    with progress.stage(name) as stage:
        done = host_exec.run(
            [sys.executable, "-m", *argv], cwd=top, log=log, check=False, timeout=LINT_TIMEOUT
        )
        stage.outcome = "" if done.returncode == 0 else "FAILED"
    if done.returncode == 0:
        return Tally(passed=1)
    _show(done.stdout, log, progress)
    return Tally(failed=1)


@dataclass(frozen=True, slots=True)
class Suite:
    """One directory of tests."""

    group: str
    top: Path
    results: Path
    expression: str | None
    no_skip: bool

    def argv(self, junit: Path) -> list[str]:
        """Return the command that runs it. Pure."""
        words = [sys.executable, "-m", "pytest", "-v", "--color=no", "--tb=short"]
        words += [f"--junitxml={junit}", "-o", "junit_family=xunit2", f"tests/{self.group}"]
        return [*words, "-k", self.expression] if self.expression else words

    def run(self, store: Store, progress: Progress) -> Tally:
        """Run it as a stage and return what came out."""
        log, junit = self.results / f"{self.group}.log", self.results / f"{self.group}.xml"
        log.unlink(missing_ok=True)
        junit.unlink(missing_ok=True)
        env = {"UKL_CACHE_DIR": str(store.root), "UKL_NO_SKIP": "1" if self.no_skip else ""}
        if "XDG_CACHE_HOME" in os.environ:
            env["XDG_CACHE_HOME"] = os.environ["XDG_CACHE_HOME"]
        with progress.stage(f"tests/{self.group}") as stage:
            try:
                done = host_exec.run(
                    self.argv(junit),
                    cwd=self.top,
                    env=env,
                    log=log,
                    check=False,
                    timeout=TIMEOUTS[self.group],
                    on_line=_Follower(stage).line,
                )
            except TimeoutExpired as error:
                progress.line(f"  {error.message}; log: {log}")
                done = Completed((), -1, "", TIMEOUTS[self.group])
            tally = self._tally(done.returncode, junit)
            stage.outcome = tally.line()
        if tally.failed:
            _show(_summary(done.stdout), log, progress)
        elif tally.skipped:
            _show("\n".join(re.findall(r"(?m)^SKIPPED .*$", done.stdout)), log, progress)
        return tally

    def _tally(self, status: int, junit: Path) -> Tally:
        if status == NO_TESTS:
            return Tally() if self.expression else Tally(failed=1)
        tally = read_junit(junit.read_text()) if junit.is_file() else Tally()
        # An interrupted or crashed pytest must not count as a success.
        return tally if status in {0, 1} or tally.failed else tally + Tally(failed=1)


def read_junit(text: str) -> Tally:
    """Return the counts of a JUnit file. Pure."""
    total = Tally()
    for case in ET.fromstring(text).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            total += Tally(failed=1)
        elif "skipped" in kinds:
            total += Tally(skipped=1)
        else:
            total += Tally(passed=1)
    return total


class _Follower:
    """Tells the stage how far pytest is, from its own output."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def line(self, text: str) -> None:
        if match := _OUTCOME.search(text):
            name = text.split(" ", 1)[0].rpartition("::")[2]
            self._stage.update(int(match[2]), 100, name)
            if match[1] in {"FAILED", "ERROR"}:
                self._stage.note(f"{match[1]} {text.split(' ', 1)[0]}")


def _summary(output: str) -> str:
    """Return pytest's failures and short summary, without the list of what passed. Pure."""
    for mark in ("= ERRORS =", "= FAILURES ="):
        if (at := output.find(mark)) >= 0:
            return output[output.rfind("\n", 0, at) + 1 :]
    return output[-4000:]


def _show(text: str, log: Path, progress: Progress) -> None:
    for line in text.rstrip().splitlines()[-80:]:
        progress.line(f"    {line}")
    progress.line(f"    log: {log}")
