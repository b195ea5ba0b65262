# SPDX-License-Identifier: GPL-2.0
"""A test here starts no process unless it is marked `process`; `cli` is called in this one."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import typer.main

from tests.conftest import Cli
from tests.typed import root
from ukl import cli as command_line
from ukl.cli import complete
from ukl.cli.state import STATE
from ukl.host.exec import Completed
from ukl.host.programs import clean_environment

STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec")
"""What Python tells its audit hooks when a process is started (PEP 578)."""

ALLOWED = "fc-list"
"""What matplotlib asks for fonts, once for each user of a machine."""


class Guard:
    """Refuses processes while a test without the mark runs, and remembers that it did."""

    refuses = False
    refused: str | None = None

    def heed(self, event: str, args: tuple[object, ...]) -> None:
        """Be Python's audit hook."""
        if self.refuses and event in STARTS and args[:1] != (ALLOWED,):
            self.refused = f"not marked `process`, and starts one: {event}{args[:2]}"
            pytest.fail(self.refused)


GUARD = Guard()
sys.addaudithook(GUARD.heed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse processes from the first fixture to the last; called for tests of other tiers, too."""
    ours = Path(__file__).parent in item.path.parents
    GUARD.refuses, GUARD.refused = ours and not item.get_closest_marker("process"), None
    try:
        return (yield)
    finally:
        GUARD.refuses = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Fail also a test that went on after a refusal: commands report what they catch."""
    yield
    if GUARD.refused:
        pytest.fail(GUARD.refused, pytrace=False)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return what `cli` of tests/conftest.py does, called here rather than in a new process."""

    def run(*argv: str, cwd: Path | None = None, **env: str) -> Completed:
        environment = {**clean_environment(), "UKL_CACHE_DIR": str(tmp_path / "cache"), **env}
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(3)]
        numbers = (signal.SIGTERM, signal.SIGHUP)
        handlers = [signal.getsignal(number) for number in numbers]
        begin = time.monotonic()
        with (
            monkeypatch.context() as patch,
            contextlib.chdir(cwd or tmp_path),
            contextlib.redirect_stdout(streams[1]),
            contextlib.redirect_stderr(streams[2]),
        ):
            patch.setattr(sys, "stdin", streams[0])
            patch.setattr(os, "environ", environment)
            if not complete.is_asked(env):  # which leaves its mark on the command
                patch.setattr(typer.main, "get_command", lambda application: root())
            patch.setattr(gc, "freeze", lambda: None)  # this process has more to come
            patch.setattr(STATE, "_progress", None)
            try:
                code = command_line.main(argv)
            finally:
                for number, handler in zip(numbers, handlers, strict=True):
                    signal.signal(number, handler)
        out, err = (stream.detach().getvalue().decode() for stream in streams[1:])
        return Completed(("ukl", *argv), code, out, time.monotonic() - begin, err)

    return run
