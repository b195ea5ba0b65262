# SPDX-License-Identifier: GPL-2.0
"""Runs the linters and the tests of a checkout, group by group, and counts.

What they print is shown as it comes, and kept in build/selftest/ with pytest's JUnit files.
Each linter counts as one test.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ukl.base import resources
from ukl.base.errors import MissingError, TimeoutExpired, UklError
from ukl.base.progress import Progress
from ukl.flow import kernel
from ukl.flow.context import Context
from ukl.host import exec as host_exec
from ukl.host.programs import find
from ukl.host.store import Store
from ukl.kernel import source, versions

Tally: TypeAlias = Counter[str]
"""How many tests `passed`, `failed` and were `skipped`."""

LINTERS = {
    "ruff-check": "ruff check --no-fix",
    "ruff-format": "ruff format --check",
    "mypy": "mypy",
}
"""Name of the log -> module and its arguments."""

PYTEST = "pytest --color=no --tb=short --durations=10"

KERNELS = "tests.boot.kernels"
"""The module that builds what guests boot: minutes, which are no single test's."""

LIMITS = {"unit": 1800.0, "tool": 3600.0, "boot": 9000.0, "apps": 6 * 3600.0}
"""Seconds for all tests of a group, of which a busy machine takes ten times its best."""

OTHERS = 9000.0
"""Seconds for a linter, the kernels, or a suite."""

SUITES = ("bookworm", "trixie", "sid")
"""The suites of Debian that .ci/distribution tests in minimal roots: each counts as one test."""

NO_TESTS = 5
"""pytest's status when nothing was collected."""

RESULTS = "build/selftest"
"""Directory below the checkout with the log and the JUnit file of each group."""

NEEDED = ("pytest", "pytest_timeout", "ruff", "mypy")


def run(
    groups: Collection[str],
    store: Store,
    progress: Progress,
    *,
    expression: str | None = None,
    no_skip: bool = False,
) -> Tally:
    """Run `groups`, of lint, unit, tool, boot, apps and distributions, in that order.

    Return the sum. Raises MissingError when this is no checkout, or without the development tools.
    """
    top = _checkout()
    results = top / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    environment = {
        "PYTHONPATH": str(top / "src"),
        "UKL_CACHE_DIR": str(store.root),
        "UKL_NO_SKIP": "1" if no_skip else "",
        # On servers, pytest does not cut the lines of its summary.
        **{name: os.environ[name] for name in ("CI",) if name in os.environ},
    }

    def status(name: str, words: str, *more: str) -> int:
        return ended(name, [sys.executable, "-m", *words.split(), *more], environment)

    def ended(name: str, argv: list[str], env: Mapping[str, str]) -> int:
        log = results / f"{name}.log"
        log.unlink(missing_ok=True)
        with progress.stage(name) as stage:
            try:
                done = host_exec.run(
                    argv,
                    cwd=top,
                    env=env,
                    log=log,
                    check=False,
                    timeout=LIMITS.get(name, OTHERS),
                    on_line=progress.line,
                )
                code = done.returncode
            except TimeoutExpired as error:
                stage.note(error.message)
                code = -1
            stage.outcome = f"status {code}; log: {log}" if code else ""
        return code

    total: Tally = Counter()
    if "lint" in groups:
        total += Counter("failed" if status(*each) else "passed" for each in LINTERS.items())
    for suite in suites(groups, lambda: [] if expression else other_series(store, progress)):
        environment[source.SERIES] = suite.series or os.environ.get(source.SERIES, "")
        if suite.kernels and not expression and status(suite.kernels, KERNELS):
            total["failed"] += 1
        junit = results / f"{suite.name}.xml"
        junit.unlink(missing_ok=True)
        chosen = ("-k", expression) if expression else ()
        code = status(suite.name, PYTEST, f"--junitxml={junit}", *suite.paths, *chosen)
        counted: Tally = read_junit(junit.read_text()) if junit.is_file() else Counter()
        # An interrupted or crashed pytest must not count as a success.
        good = {0, 1, NO_TESTS} if expression else {0, 1}
        if code not in good and not counted["failed"]:
            counted["failed"] += 1
        total += counted
    if "distributions" in groups:
        _check_root()
        for name in SUITES:  # with the environment's proxies, which commands do not get else
            failed = ended(name, [str(top / ".ci/distribution"), name], os.environ)
            total["failed" if failed else "passed"] += 1
    return total


@dataclass(frozen=True, slots=True)
class Suite:
    """One call of pytest, and the name of its log. `series`: on another kernel than the default.

    `kernels` names the log of the kernels' build.
    """

    name: str
    paths: tuple[str, ...]
    series: str = ""
    kernels: str = ""


def suites(groups: Collection[str], others: Callable[[], Sequence[str]]) -> Iterator[Suite]:
    """Yield what belongs to `groups`; `others` are the kernel series beside the default.

    On the others, the boot tests run with the group apps.
    """
    for group in LIMITS:
        boots = group == "boot"
        if group in groups:
            yield Suite(group, (f"tests/{group}",), kernels="kernels" if boots else "")
        if boots and "apps" in groups:
            for name in others():
                yield Suite(f"boot-{name}", ("tests/boot",), name, f"kernels-{name}")


def other_series(store: Store, progress: Progress) -> list[str]:
    """Return the kernel series beside the default, which is then known; none without a source.

    None, too, if the environment names the kernel: then all tests are for that one.
    """
    if os.environ.get(source.SERIES) or os.environ.get(source.ENVIRONMENT):
        return []
    try:
        found = kernel.fetched(Context(store, progress))
    except UklError:
        return []
    return [base.name for base in versions.bases() if not base.covers(found.version)]


def _check_root() -> None:
    find("debootstrap")
    if os.geteuid() != 0:
        raise MissingError("debootstrap needs root", remedy="sudo ./ukl selftest --distributions")


def _checkout() -> Path:
    top = resources.checkout()
    if top is None or not (top / "tests").is_dir():
        raise MissingError(
            "the tests are not part of an installed package",
            where=resources.root(),
            remedy="clone the repository and run ./ukl selftest there",
        )
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise MissingError(
            f"the development tools are not there: {', '.join(absent)}",
            where=sys.prefix,
            remedy="run ./ukl selftest (it installs them), or: uv sync --group dev",
        )
    return top


def read_junit(text: str) -> Tally:
    """Return the counts of a JUnit file. Pure."""
    tally: Tally = Counter()
    for case in ET.fromstring(text).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            tally["failed"] += 1
        else:
            tally["skipped" if "skipped" in kinds else "passed"] += 1
    return tally


def failures(group: str) -> list[str]:
    """Return the names of the tests of a group that failed in the last run."""
    text = (_checkout() / RESULTS / f"{group}.xml").read_text()
    return [
        f"{case.get('classname')}::{case.get('name')}"
        for case in ET.fromstring(text).iter("testcase")
        if {child.tag for child in case} & {"failure", "error"}
    ]


def line(tally: Tally) -> str:
    """Return the closing line: `41 passed, 0 failed`, with the skipped if there are any."""
    text = f"{tally['passed']} passed, {tally['failed']} failed"
    return f"{text}, {tally['skipped']} skipped" if tally["skipped"] else text
