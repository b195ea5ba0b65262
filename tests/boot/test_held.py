# SPDX-License-Identifier: GPL-2.0
"""Held notifications of the network device: a reply leaves, whatever its sender does next."""

from __future__ import annotations

import asyncio
import re
import socket
import time

import pytest

from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import Guest, Outcome
from ukl.vm.launch import Options

LONG = 1.0
"""Seconds that the program is busy with something else; see programs/held."""

PROMPT = 0.5
"""Seconds in which a reply arrives on a slow machine, if nothing holds it."""

TRIES = 4
WARM_UP = 30

ACTIONS = {
    "computes": b"c",
    "sleeps": b"s",
    "waits for a futex": b"f",
    "is stopped": b"t",
    "is killed": b"k",
    "shares the processor": b"h",
    "has sent much": b"b",
}


@pytest.fixture(scope="module")
def held(lab: Lab) -> Built:
    return lab.program("held")


def reply(client: socket.socket, what: bytes) -> float:
    """Return the seconds until the program's answer."""
    begin = time.monotonic()
    client.sendall(what)
    assert client.recv(1) == what
    return time.monotonic() - begin


def delays(port: int) -> dict[str, float]:
    """Return the shortest of some delays for each action: others are the machine's."""
    found: dict[str, float] = {}
    for name, what in ACTIONS.items():
        for _ in range(TRIES):
            with socket.create_connection(("127.0.0.1", port), 60) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(WARM_UP):
                    reply(client, b"n")
                found[name] = min(found.get(name, LONG), reply(client, what))
            if found[name] < PROMPT:
                break
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(b"q")
        client.recv(1)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("cpus", [1, 4])
def test_a_reply_does_not_wait(lab: Lab, held: Built, cpus: int, user: bool) -> None:
    async def run() -> tuple[dict[str, float], str]:
        guest = Guest(mode=mode_of(user), append=("held_kick.packets=32",))
        async with lab.boot(held, guest_port=5555, options=Options(guest), cpus=cpus) as booted:
            await booted.says("listening")
            found = await asyncio.to_thread(delays, booted.port)
            ran = await booted.end()
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
        return found, ran.text

    found, text = asyncio.run(run())
    assert all(delay < PROMPT for delay in found.values()), found
    counts = re.search(r"^counts: packets (\d+) wait (\d+) block (\d+) tick (\d+)", text, re.M)
    assert counts is not None, text
    packets, waits, _, ticks = map(int, counts.groups())
    # Nothing is held for a while after a program has computed.
    assert packets > 50, text
    assert waits > 0
    assert ticks > 0, "a program that computes: only a tick can have sent its reply"


def test_it_is_off_by_default(lab: Lab, held: Built) -> None:
    async def run() -> str:
        async with lab.boot(held, guest_port=5555) as booted:
            await booted.says("listening")
            found = await asyncio.to_thread(delays, booted.port)
            ran = await booted.end()
        assert all(delay < PROMPT for delay in found.values()), found
        return ran.text

    assert "counts: packets 0 wait 0" in asyncio.run(run())
