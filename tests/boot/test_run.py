# SPDX-License-Identifier: GPL-2.0
"""A program starts with what it was given, and ends as itself."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace

import pytest

from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import Guest, Mode, Outcome
from ukl.vm import outcome
from ukl.vm.launch import Options

BOTH = pytest.mark.parametrize("user", [False, True], ids=["ukl", "user"])


def test_hello(lab: Lab, hello: Built) -> None:
    ran = lab.run(hello)
    assert ran.result.outcome is Outcome.EXITED, ran.text
    assert ran.result.status == 0
    assert "Hello from supervisor mode." in ran.lines
    assert ran.error is None
    assert ran.result.console.read_bytes() == ran.output
    assert ran.result.started is not None
    print(f"started after {ran.result.started:.2f} s, ended after {ran.result.seconds:.2f} s")


def test_hello_as_a_normal_process(lab: Lab, hello: Built) -> None:
    ran = lab.run(hello, options=Options(Guest(mode=Mode.PROCESS)))
    assert ran.result.status == 0
    assert "Hello from user mode." in ran.lines


@BOTH
def test_exit_status(lab: Lab, checks: Built, *, user: bool) -> None:
    ran = lab.run(checks, "exit", "7", options=Options(Guest(mode=mode_of(user))))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 7)
    assert ran.lines == ["exiting"]
    assert outcome.exit_code(ran.result) == 7


@BOTH
@pytest.mark.parametrize(("check", "number"), [("abort", signal.SIGABRT), ("segv", signal.SIGSEGV)])
def test_signals(lab: Lab, checks: Built, check: str, number: int, *, user: bool) -> None:
    ran = lab.run(checks, check, options=Options(Guest(mode=mode_of(user))))
    assert (ran.result.outcome, ran.result.status) == (Outcome.SIGNALED, number)
    assert outcome.exit_code(ran.result) == 128 + number


@BOTH
@pytest.mark.parametrize("words", [("oom",), ("oom", "child")])
def test_the_kernel_says_that_memory_ran_out(
    lab: Lab, checks: Built, words: tuple[str, ...], *, user: bool
) -> None:
    ran = lab.run(checks, *words, options=Options(Guest(mode=mode_of(user))))
    assert ran.result.status == (signal.SIGKILL if len(words) == 1 else 5)
    assert re.search(
        r"out of memory: the kernel killed process \d+, checks, which had \d+ MiB; -m",
        outcome.death(ran.result),
    )


@BOTH
def test_arguments_environment_and_user(lab: Lab, checks: Built, *, user: bool) -> None:
    words = ("two words", "", "new\nline", "back\\slash", "ümläut", 'qu"ote', "--", "$HOME")
    ran = lab.run(
        checks,
        "start",
        *words,
        env={"PATH": "/somewhere"},
        options=Options(Guest(mode=mode_of(user), uid=1000, gid=100)),
    )
    assert ran.result.status == 0
    text = ran.text
    assert "argc 10, argv[0] checks\n" in text
    for number, word in enumerate(words, start=2):
        assert f"argv[{number}] <{word}>\n" in text
    assert "PATH=/somewhere\n" in text
    assert "uid 1000 gid 100 pid other\n" in text
    assert "host checks\n" in text
    assert "/proc is there\n" in text


def test_standard_input_is_the_console(lab: Lab, checks: Built) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"first\nsecond line\n")
    os.close(writer)
    try:
        ran = lab.run(checks, "cat", options=Options(input=reader))
    finally:
        os.close(reader)
    assert ran.result.status == 0
    assert ran.lines == ["<first>", "<second line>"]


def test_without_input_there_is_none(lab: Lab, checks: Built) -> None:
    ran = lab.run(checks, "cat")
    assert ran.result.status == 0
    assert ran.lines == []


def test_parameters_of_the_kernel(lab: Lab, checks: Built) -> None:
    wanted = {"vm.overcommit_memory": "1", "net.ipv4.ip_local_port_range": "1024 2000"}
    built = replace(checks, spec=replace(checks.spec, sysctl=wanted))
    ran = lab.script(
        built, "cat /proc/sys/vm/overcommit_memory /proc/sys/net/ipv4/ip_local_port_range"
    )
    assert ran.lines == ["1", "1024\t2000"]


def test_quiet_unless_asked(lab: Lab, hello: Built) -> None:
    assert b"Linux version" not in lab.run(hello).output
    assert b"Linux version" in lab.run(hello, options=Options(Guest(verbose=True))).output


def test_two_processors(lab: Lab, checks: Built) -> None:
    ran = lab.run(checks, "processors", cpus=2)
    assert ran.lines == ["processors 2", "met"]
    assert ran.result.status == 0
