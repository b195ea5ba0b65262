# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the boot tests: one kernel, one image per program, as many boots as wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab
from tests.conftest import OPTIONAL
from ukl.base.errors import MissingError
from ukl.base.progress import Progress
from ukl.flow import kernel
from ukl.flow.context import Context
from ukl.host import probe
from ukl.host.store import Store
from ukl.kernel.suites import MovedOn


@pytest.fixture(scope="session")
def lab(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Return the builder and runner of guests; skips where their tools are not installed."""
    try:
        caps = probe.probe(shared_store)
        kernel.fetched(Context(shared_store, Progress.quiet()))
    except MovedOn as error:  # nothing can be installed against that
        pytest.skip(f"{OPTIONAL} {error.message}")
    except MissingError as error:
        pytest.skip(error.message)
    if caps.qemu is None:
        pytest.skip("no QEMU on this machine")
    runs: Path = tmp_path_factory.mktemp("runs")
    return Lab(shared_store, caps.accelerator, runs)


@pytest.fixture(scope="session")
def hello(lab: Lab) -> Built:
    """Return the example that says hello."""
    return lab.example("hello")


@pytest.fixture(scope="session")
def echo(lab: Lab) -> Built:
    """Return the TCP echo server."""
    return lab.example("tcp-echo")


@pytest.fixture(scope="session")
def checks(lab: Lab) -> Built:
    """Return the program of many checks."""
    return lab.program("checks")
