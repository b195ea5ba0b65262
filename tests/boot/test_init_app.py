# SPDX-License-Identifier: GPL-2.0
"""The application as the guest's first process, without an init of ours."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.boot import echo_client
from tests.boot.harness import Built, Lab, mode_of
from tests.boot.test_endings import timed_out
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

BOTH = pytest.mark.parametrize("user", [False, True], ids=["ukl", "user"])


@BOTH
def test_start_and_end(lab: Lab, checks: Built, *, user: bool) -> None:
    ran = lab.run(
        checks, "start", "two words", "x=1", env={"LEVEL": "3"},
        options=Options(Guest(mode=mode_of(user), init="app")),
    )  # fmt: skip
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.result
    assert ran.error is None
    path = "/user/checks" if user else "/ukl/checks"
    assert f"argc 4, argv[0] {path}" in ran.lines
    assert "argv[2] <two words>" in ran.lines
    assert "argv[3] <x=1>" in ran.lines
    assert "uid 0 gid 0 pid 1" in ran.lines
    assert "/proc is not there" in ran.lines
    # The panic that this end is for the kernel is not for people.
    assert "panic" not in ran.text
    assert b"Attempted to kill init" in ran.result.console.read_bytes()


@BOTH
def test_status(lab: Lab, checks: Built, *, user: bool) -> None:
    ran = lab.run(
        checks,
        "exit",
        "7",
        options=Options(Guest(mode=mode_of(user), init="app")),
    )
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 7)


@BOTH
def test_signal(lab: Lab, checks: Built, *, user: bool) -> None:
    ran = lab.run(
        checks,
        "segv",
        options=Options(Guest(mode=mode_of(user), init="app")),
    )
    assert (ran.result.outcome, ran.result.status) == (Outcome.SIGNALED, signal.SIGSEGV)


@BOTH
def test_abort(lab: Lab, checks: Built, *, user: bool) -> None:
    """SIGABRT does not end process 1; the instruction that abort() then executes does."""
    options = Options(Guest(mode=mode_of(user), init="app"))
    ran = lab.run(checks, "abort", options=options)
    number = signal.SIGSEGV if user else signal.SIGILL
    assert (ran.result.outcome, ran.result.status) == (Outcome.SIGNALED, number)


def test_hang(lab: Lab, checks: Built) -> None:
    ran = timed_out(lab, checks, "hang", "hanging", Options(Guest(init="app")))
    assert ran.result.outcome is Outcome.TIMEOUT


def test_server(lab: Lab, echo: Built) -> None:
    """The kernel itself configures the network then."""

    async def whole() -> None:
        options = Options(Guest(init="app"))
        async with lab.boot(echo, guest_port=5555, options=options) as guest:
            await guest.says("listening on port")
            await echo_client.load(guest.port, clients=10, messages=20, size=1024)
            ran = await guest.stop()
            assert ran.result.outcome is Outcome.STOPPED

    asyncio.run(whole())
