# SPDX-License-Identifier: GPL-2.0
"""What all tests share: a store of their own, and skips that can be forced to fail."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol

import pytest

from ukl.base.progress import Progress
from ukl.host import exec as host_exec
from ukl.host.exec import Completed
from ukl.host.store import Store
from ukl.kernel import source

TOP = Path(__file__).resolve().parents[1]

OPTIONAL = "optional:"
"""How the reason of a skip begins that is right even where nothing may be skipped."""


class Cli(Protocol):
    """Runs our command line in a process of its own."""

    def __call__(self, *argv: str, cwd: Path | None = None, **env: str) -> Completed: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the directory they lie in."""
    for item in items:
        group = item.path.relative_to(TOP / "tests").parts[0]
        if group in {"tool", "boot", "apps"}:
            item.add_marker(group)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With UKL_NO_SKIP a test that skips itself for want of something has failed.

    The reports of a test on several kernels differ: `test_x (7.3)`.
    """
    report = yield
    if (series := os.environ.get(source.SERIES)) and "tests/boot/" in report.nodeid:
        report.nodeid += f" ({series})"
    if os.environ.get("UKL_NO_SKIP") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(OPTIONAL):
            report.outcome = "failed"
            report.longrepr = f"skipped, where nothing may be: {reason}"
    return report


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store, gone after the test."""
    return Store(tmp_path / "cache", notify=lambda text: None)


@pytest.fixture(scope="session")
def shared_store() -> Store:
    """Return the store of this machine: kernels are built once for all tests."""
    return Store.default()


@pytest.fixture
def progress() -> Progress:
    """Return a printer that prints nothing."""
    return Progress.quiet()


def skip_without(*programs: str) -> None:
    """Skip the test unless all the programs named are there."""
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        pytest.skip(f"not on this machine: {', '.join(absent)}")


@pytest.fixture
def need() -> Callable[..., None]:
    """Return skip_without."""
    return skip_without


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs `ukl` with an empty cache and gives back what it printed.

    stdout and stderr are apart; keyword arguments are added to the environment.
    """

    def run(*argv: str, cwd: Path | None = None, **env: str) -> Completed:
        environment = {"UKL_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(TOP / "src")}
        return host_exec.run_apart(
            [sys.executable, "-m", "ukl", *argv],
            cwd=cwd or tmp_path,
            env={**environment, **env},
            check=False,
            timeout=120,
        )

    return run
