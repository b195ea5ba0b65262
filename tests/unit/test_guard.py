# SPDX-License-Identifier: GPL-2.0
"""The mark `process` is what it says: without it no process is started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from tests.unit.conftest import GUARD, pytest_runtest_call


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run([sys.executable, "--version"], check=False),
        lambda: os.posix_spawn(sys.executable, [sys.executable, "--version"], {}),
        os.fork,
    ],
    ids=["subprocess", "posix_spawn", "fork"],
)
def test_a_start_without_the_mark_is_refused(start: object) -> None:
    assert callable(start)
    with pytest.raises(pytest.fail.Exception, match="not marked `process`"):
        start()
    GUARD.refused = None


def test_a_refusal_that_is_swallowed_fails_the_test() -> None:
    rest = pytest_runtest_call()
    next(rest)
    with contextlib.suppress(BaseException):
        os.fork()
    with pytest.raises(pytest.fail.Exception, match=r"os\.fork"):
        next(rest)
    GUARD.refused = None


@pytest.mark.process
def test_with_the_mark_it_is_not() -> None:
    assert subprocess.run([sys.executable, "--version"], check=False).returncode == 0
    assert GUARD.refused is None
