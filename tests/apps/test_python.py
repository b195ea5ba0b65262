# SPDX-License-Identifier: GPL-2.0
"""CPython: a part of its own test suite, and a server, in the kernel and as normal process."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from dataclasses import replace

import pytest

from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import Guest, Outcome, Volume
from ukl.vm.launch import Options

TESTS = (
    "test_context",
    "test_queue",
    "test_mmap",
    "test_epoll",
    "test_poll",
    "test_fork1",
    "test_threading",
)

WITHOUT_TESTCAPI = (
    "test_daemon_threads_fatal_error",
    "test_frame_tstate_tracing",
    "test_poll_c_limits",
    "test_threads_join",
    "test_threads_join_2",
)
"""What takes the module _testcapi for granted, which is not built in."""

PORT = 8000


@pytest.fixture(scope="module")
def python(lab: Lab) -> Built:
    """Return the interpreter, built."""
    return lab.example("python")


def failed(text: str) -> set[str]:
    """Return the names of the tests that failed, as the report says."""
    return set(re.findall(r"(?m)^(?:ERROR|FAIL): (\S+ \(\S+\))$", text))


def counts(text: str) -> list[int]:
    """Return how many tests each file of the suite had."""
    return [int(number) for number in re.findall(r"(?m)^Ran (\d+) tests? in", text)]


@pytest.mark.timeout(7200)
def test_its_own_tests(lab: Lab, python: Built) -> None:
    assert python.spec.suite is not None
    (suite,) = python.spec.suite.files.values()
    if not all((suite / f"{name}.py").is_file() for name in TESTS):
        pytest.skip(f"{python.spec.suite.packages[0]} is not installed")
    mounted = replace(python.spec, volumes=(Volume(suite, str(suite), read_only=True),))
    ignored = [word for name in WITHOUT_TESTCAPI for word in ("--ignore", name)]
    texts = []
    for user in (False, True):
        options = Options(Guest(mode=mode_of(user), timeout=3000))
        built = replace(python, spec=mounted)
        ran = lab.run(built, "-m", "test", "-v", *ignored, *TESTS, options=options)
        assert ran.result.outcome is Outcome.EXITED, ran.text[-3000:]
        assert not failed(ran.text), ran.text[-3000:]
        assert ran.result.status == 0, ran.text[-3000:]
        assert len(counts(ran.text)) == len(TESTS)
        texts.append(ran.text)
    unikernel, process = texts
    assert counts(unikernel) == counts(process)


def test_a_web_server(lab: Lab, python: Built, user: bool) -> None:
    def get(port: int) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/hosts", timeout=60) as answer:
            body: bytes = answer.read()
            return body

    async def talk() -> None:
        args = ("-u", "-m", "http.server", str(PORT), "--directory", "/")
        async with lab.boot(
            python,
            *args,
            guest_port=PORT,
            options=Options(Guest(mode=mode_of(user))),
        ) as guest:
            await guest.says("Serving HTTP on")
            answers = await asyncio.gather(*(asyncio.to_thread(get, guest.port) for _ in range(8)))
            assert all(b"10.0.2.15 python" in answer for answer in answers)

    asyncio.run(talk())
