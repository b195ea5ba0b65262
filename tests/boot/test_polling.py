# SPDX-License-Identifier: GPL-2.0
"""A server polls its network device: Linux from 6.13 on suspends the interrupts meanwhile."""

from __future__ import annotations

import asyncio
import errno
import re
import socket

import pytest

from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import Guest, Outcome
from ukl.flow import kernel
from ukl.vm.launch import Options

BYTES = 300


@pytest.fixture(scope="module")
def polling(lab: Lab) -> Built:
    return lab.program("polling")


def exchange(port: int, how: bytes) -> None:
    """Send a byte when the last one has come back."""
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(BYTES):
            client.sendall(how)
            assert client.recv(1) == how


def counted(lab: Lab, built: Built, user: bool, how: bytes) -> dict[str, str]:
    async def run() -> str:
        options = Options(Guest(mode=mode_of(user)))
        async with lab.boot(built, guest_port=5555, options=options) as booted:
            await booted.says("listening")
            await asyncio.to_thread(exchange, booted.port, how)
            ran = await booted.end()
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
        return ran.text

    found = dict(re.findall(r"^([\w ]+): (.+)$", asyncio.run(run()), re.MULTILINE))
    assert found["NAPI instance"] == "known"
    assert int(found["bytes"]) == BYTES
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("user", [False, True])
def test_interrupts_are_suspended(lab: Lab, polling: Built, user: bool) -> None:
    waited = counted(lab, polling, user, b"w")
    # Each byte is a packet, for which the program waits.
    assert int(waited["interrupts"]) >= BYTES * 0.9
    polled = counted(lab, polling, user, b"s")
    if kernel.specified(kernel.PLAIN, lab.context).series.parent.name == "6.12":
        assert polled["suspension"] == f"errno {errno.EOPNOTSUPP}"
        return
    assert polled["suspension"] == polled["polling"] == "errno 0"
    assert int(polled["interrupts"]) <= BYTES / 2
