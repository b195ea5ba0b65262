# SPDX-License-Identifier: GPL-2.0
"""An application has kernel code of its own; as a normal process it does without."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.boot import cache_client, echo_client
from tests.boot.harness import PROGRAMS, Built, Lab
from tests.boot.test_crashes import Crashes, functions
from ukl.base.errors import InputError
from ukl.base.model import Guest, Mode, Outcome
from ukl.host.store import Store
from ukl.settings import manifest
from ukl.vm.launch import Options

PARTS = ("facilities", "interrupted", "stormed", "stepped", "threads", "buffers")


@pytest.fixture(scope="module")
def side(lab: Lab) -> Built:
    return lab.program("side")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cpus", [1, 2])
def test_in_the_kernel(lab: Lab, side: Built, cpus: int) -> None:
    ran = lab.run(side, cpus=cpus)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert ran.lines == [f"{part}: ok" for part in ("arguments", *PARTS)], ran.text


@pytest.mark.timeout(300)
def test_as_a_normal_process(lab: Lab, side: Built) -> None:
    """Functions with a fallback run it; the others fail with ENOSYS."""
    ran = lab.run(side, options=Options(Guest(mode=Mode.PROCESS)))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert ran.lines == ["arguments: ok", "process: ok"], ran.text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", list(Mode))
def test_an_event_loop_ends_by_a_signal(lab: Lab, mode: Mode) -> None:
    """The server of the example echoes, keeps nothing that has ended, and stops at SIGTERM."""

    async def whole() -> None:
        options = Options(Guest(mode=mode, timeout=240))
        built = lab.example("tcp-echo-kernel")
        async with lab.boot(built, cpus=2, guest_port=5555, options=options) as guest:
            await guest.says("listening on port")
            for size in (1, 1000, 100_000):
                await echo_client.load(guest.port, clients=20, messages=3, size=size)
            ran = await guest.stop()
            assert (ran.result.outcome, ran.result.status) == (Outcome.STOPPED, 0), ran.result

    asyncio.run(whole())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", list(Mode))
def test_requests_are_answered_where_they_arrive(lab: Lab, mode: Mode) -> None:
    """The cache of the example: GET by kernel code, the other requests by the program."""

    async def whole() -> None:
        options = Options(Guest(mode=mode, timeout=240))
        built = lab.example("cache-kernel")
        async with lab.boot(built, cpus=2, guest_port=11211, options=options) as guest:
            await guest.says("listening on port")
            for act in (
                cache_client.converse,
                partial(cache_client.mix, clients=8),
                partial(cache_client.leave, clients=40),
                cache_client.read_late,
                cache_client.converse,
            ):
                await asyncio.to_thread(act, guest.port)
            answered = await asyncio.to_thread(cache_client.answered_in_the_kernel, guest.port)
            assert (answered > 100) == (mode is Mode.UNIKERNEL)
            ran = await guest.stop()
            assert (ran.result.outcome, ran.result.status) == (Outcome.STOPPED, 0), ran.result

    asyncio.run(whole())


OOPS = """
echo 0 > /proc/sys/kernel/panic_on_oops
$UKL oops; echo "ended: $?"
dmesg | grep -E 'BUG:|RIP:' | sed 's/^/log: /'
"""


@pytest.mark.timeout(300)
def test_a_mistake_ends_the_process(lab: Lab, side: Built) -> None:
    """Kernel code that follows a pointer of the program is refused by SMAP, with its name."""
    ran = lab.script(side, OOPS)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "ended: 137" in ran.text, ran.text
    assert re.search("log: .*RIP: 0010:(follow|inner)[+]", ran.text), ran.text


@pytest.mark.timeout(300)
def test_the_report_of_a_mistake_goes_through_both(shared_store: Store, side: Built) -> None:
    crashes = Crashes(shared_store)
    name = f"side-{os.getpid()}"
    program = str(PROGRAMS / "side")
    done = crashes("run", "--timeout", "100", "--name", name, program, "--", "oops")
    assert "Fatal exception" in done.stderr, done.stderr
    [trace] = crashes.report("side")["traces"]
    names = functions(trace)
    order = ["follow", "ukl_kernel_follow", "mistaken", "main"]
    assert [name for name in names if name in order and name != "follow"] == order[1:], names
    assert "follow" in names


@pytest.mark.timeout(300)
def test_a_loop_that_nothing_ends_is_named(shared_store: Store, side: Built) -> None:
    crashes = Crashes(shared_store)
    name = f"turn-{os.getpid()}"
    done = crashes("run", "--timeout", "15", "--name", name, str(PROGRAMS / "side"), "--", "turn")
    assert done.returncode == 124, done.stderr
    traces = [functions(trace) for trace in crashes.report("turn")["traces"]]
    [names] = [each for each in traces if "turn" in each]
    assert names.index("turn") < names.index("main"), names


HEAD = "#include <ukl/kernel.h>\n"
MAIN = '#include "wrong.h"\nint main(void) { return (int)wrong(1); }\n'


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("UKL_EXPORT(long wrong, (int n))\n{\n\treturn n * 0.5;\n}", "SSE", 4),
        (
            "UKL_EXPORT(long wrong, (int n))\n{\n\tchar big[9000];\n\n"
            "\tmemset(big, n, sizeof(big));\n\tOPTIMIZER_HIDE_VAR(n);\n\tbarrier_data(big);\n"
            "\treturn big[n];\n}",
            "frame size",
            10,
        ),
        (
            "UKL_EXPORT(long wrong, (int n))\n{\n\tchar text[n];\n\n\tbarrier_data(text);\n"
            "\treturn text[0];\n}",
            "variable length array",
            4,
        ),
        (
            "UKL_EXPORT(long wrong, (int n))\n{\n\tchar *text = __builtin_alloca(n);\n\n"
            "\tbarrier_data(text);\n\treturn text[0];\n}",
            "alloca",
            4,
        ),
        ('UKL_EXPORT(long wrong, (int n))\n{\n\treturn printf("%d", n);\n}', "implicit", 4),
        ("#include <stdio.h>\nUKL_EXPORT(long wrong, (int n)) { return n; }", "stdio.h", 2),
        (
            'int puts(const char *);\nUKL_EXPORT(long wrong, (int n))\n{\n\treturn puts("");\n}',
            "the kernel has no puts",
            5,
        ),
        (
            "static noinline int f(int n)\n{\n\treturn n < 2 ? n : f(n - 1) + f(n - 2);\n}\n"
            "UKL_EXPORT(long wrong, (int n)) { return f(n); }",
            "recursion: f calls f",
            4,
        ),
        (
            "static __thread int n;\nUKL_EXPORT(long wrong, (int a)) { return n; }",
            "thread-local",
            2,
        ),
    ],
)
def test_what_kernel_code_may_not_do(
    lab: Lab, tmp_path: Path, text: str, said: str, line: int
) -> None:
    """The error comes before the link, and names the line."""
    code, main = tmp_path / "wrong.c", tmp_path / "main.c"
    code.write_text(HEAD + text)
    main.write_text(MAIN)
    spec = manifest.load(PROGRAMS / "side")
    spec = replace(spec, name="wrong", sources=(main,), kernel_sources=(code,))
    with pytest.raises(InputError, match=said) as error:
        lab.build(spec)
    assert str(error.value.where) == f"{code}:{line}", error.value
